"""`daezoo reproduce samples`: samples of the zoo's models, judged side by side."""

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from daezoo import hardware, runs
from daezoo.data.base import DenoisingDataModule
from daezoo.evaluation.features import places
from daezoo.evaluation.sample_quality import nearest
from daezoo.evaluation.target import open_target, parse, target_parser
from daezoo.models import DenoisingAutoencoder
from daezoo.parser import Parser
from daezoo.sampling_command import (
    STEPS,
    Ask,
    Problem,
    Sampler,
    agreement,
    classified,
    draw,
    first,
    first_labelled,
    grid,
    judge_of,
    problem_of,
    quality,
    save,
    side_by_side,
    timed,
)
from daezoo.studies.cells import add_row, rows_of
from daezoo.studies.markdown import of
from daezoo.studies.samples_tables import file_of
from daezoo.studies.tables import render


class Trial(NamedTuple):
    """What becomes a row.

    Attributes:
        target: A name of the zoo.
        sampler: How it is sampled; none for a classifier that sees what is known alone, of pictures of its data.
        known: What is known of pictures that are completed; nothing if empty.
    """

    target: str
    sampler: Sampler | Literal["none"]
    known: Problem | Literal[""] = ""


TRIALS = (
    Trial("unet.mnist-score", "ode"),
    Trial("unet.mnist-score", "stochastic"),
    Trial("vanilla.mnist-salt50", "chain"),
    Trial("vanilla.mnist-walkback", "chain"),
    Trial("unet.fashion-score", "ode"),
    Trial("unet.mnist-score", "none", "top-half"),
    Trial("unet.mnist-score", "ode", "top-half"),
    Trial("unet.mnist-score", "stochastic", "top-half"),
    Trial("unet.mnist-score", "none", "missing-80"),
    Trial("unet.mnist-score", "ode", "missing-80"),
    Trial("unet.mnist-score", "none", "half-size"),
    Trial("unet.mnist-score", "ode", "half-size"),
    Trial("unet.fashion-score", "ode", "top-half"),
    Trial("unet.fashion-score", "ode", "missing-80"),
    Trial("unet.fashion-score", "ode", "half-size"),
)
EACH = 4
"""Samples of each picture that is completed."""
SHOWN = 64
"""Samples that are drawn as a picture."""


def completed(data: DenoisingDataModule, count: int) -> tuple[Tensor, Tensor]:
    """The test pictures that are completed where so many samples are drawn otherwise, and their labels."""
    return first_labelled(data, "test", max(1, count // 20))


def by_known_alone(
    problem: Problem, data: DenoisingDataModule, judge: DenoisingAutoencoder, count: int, seed: int
) -> dict[str, object]:
    """How far a classifier gets that is fitted to what is known of the training pictures: the row.

    Its mean probability of the right class is what samples of its own posterior would get one by one.
    """
    (clean, labels), (train, kinds) = completed(data, count), first_labelled(data, "train", len(data.splits["train"]))
    seen, known = (problem_of(problem, part, seed)[1].flatten(1) for part in (train, clean))
    network = MLPClassifier((1000,), batch_size=256, early_stopping=True, n_iter_no_change=3, random_state=seed)
    fitted, seconds = timed(lambda: network.fit(seen.numpy(), kinds.numpy()))
    right = classified(judge, clean) == labels
    chances = torch.from_numpy(fitted.predict_proba(known[right].numpy()))
    place = places(torch.from_numpy(fitted.classes_), labels[right])
    return {
        "seconds": seconds,
        "classified_right": chances.gather(1, place[:, None]).mean().item(),
        "classified_right_together": (chances.argmax(1) == place).float().mean().item(),
        "of_pictures": int(right.sum()),
        "commit": runs.commit(),
    }


def measure(trial: Trial, count: int, seed: int, docs: Path) -> dict[str, object]:
    """Draw samples, judge them, and draw the first of them: the row."""
    target = open_target(parse(target_parser("samples", ""), [trial.target]))
    model, corruption, train = target.model, target.data.corruption, target.data.splits["train"]
    # grey pictures, also where the model was trained on binary ones
    data = open_target(parse(target_parser("samples", ""), [trial.target, "--data", target.data_name])).data
    judge = judge_of(data, None)[1]
    bf16 = hardware.default_precision(model.device.type) == "bf16-mixed"
    if trial.sampler == "none":
        assert trial.known
        return by_known_alone(trial.known, data, judge, count, seed)
    ask = Ask(trial.sampler, STEPS[trial.sampler], seed, bf16)
    file = docs / "images" / file_of(*trial)
    if not trial.known:
        samples, seconds = timed(lambda: draw(model, corruption, count, ask, train))
        save(file, grid(samples[:SHOWN], 16))
        every = first(data, "train", len(data.splits["train"]))
        near = every[nearest(samples[:16], every)[1]]
        save(file.with_stem(f"{file.stem}-nearest"), grid(torch.cat([samples[: len(near)], near]), len(near)))
        found = quality(samples, data, judge)
        beside = {f"training_{name}": value for name, value in found["training samples"].items()}
        return {"seconds": seconds, **found["samples"], **beside, "commit": runs.commit()}
    clean, labels = completed(data, count)
    fit, shown = problem_of(trial.known, clean, seed, EACH)
    samples, seconds = timed(lambda: draw(model, corruption, len(clean) * EACH, ask, known=fit))
    save(file, grid(side_by_side(clean, shown, samples)[: SHOWN // 4 * (2 + EACH)], 3 * (2 + EACH)))
    error = (samples.view(len(clean), EACH, -1).mean(1) - clean.flatten(1)).square().mean().item()
    right = agreement(samples, clean, labels, judge) if judge.classifier is not None else {}
    return {"seconds": seconds, "mse_of_mean": error, "of_pictures": len(clean), **right, "commit": runs.commit()}


def run(args: list[str]) -> None:
    """Measure what is not done yet, and render the results.

    Args:
        args: The command line, without the command and the study.

    Raises:
        ValueError: If an option does not fit, or weights or data are not there.
    """
    parser = Parser(prog="daezoo reproduce samples", description="Samples of the zoo's models, judged side by side.")
    parser.add_argument("--n", type=int, default=10_000, help="Samples of each; a 20th as many pictures are completed.")
    parser.add_argument("--only", type=str, default="", help="Only trials whose target-sampler-known contains this.")
    parser.add_argument("--seed", type=int, default=0, help="Of all noise.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/*.csv and results.md go.")
    options = parser.parse_args(args)
    if options.n < 2 or options.seed < 0:
        raise ValueError(f"--n must be at least 2 and --seed at least 0, got {options.n} and {options.seed}.")
    docs = Path(options.docs)
    table = docs / "studies" / "samples.csv"
    for trial in TRIALS:
        key = {**trial._asdict(), "n": str(options.n), "seed": str(options.seed)}
        if options.only in "-".join(trial) and not of(rows_of(table), **key):
            print("daezoo sample", *filter(None, trial), flush=True)
            add_row(table, {**key, **measure(trial, options.n, options.seed, docs)}, key)
    print(*render(docs), sep="\n")
