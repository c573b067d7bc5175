"""`daezoo reproduce samples`: samples of the zoo's models, judged side by side."""

from pathlib import Path
from typing import Literal, NamedTuple

import torch

from daezoo import hardware, runs
from daezoo.data.splits import to_unit
from daezoo.evaluation.sample_quality import nearest
from daezoo.evaluation.target import open_target, parse, target_parser
from daezoo.parser import Parser
from daezoo.sampling_command import (
    STEPS,
    Ask,
    Problem,
    Sampler,
    agreement,
    draw,
    first,
    grid,
    judge_of,
    problem_of,
    quality,
    save,
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
        sampler: How it is sampled.
        known: What is known of pictures that are completed; nothing if empty.
    """

    target: str
    sampler: Sampler
    known: Problem | Literal[""] = ""


TRIALS = (
    Trial("unet.mnist-score", "ode"),
    Trial("unet.mnist-score", "stochastic"),
    Trial("unet.fashion-score", "ode"),
    Trial("unet.mnist-score", "ode", "top-half"),
    Trial("unet.mnist-score", "ode", "missing-80"),
    Trial("unet.mnist-score", "ode", "half-size"),
)
EACH = 4
"""Samples of each picture that is completed."""
SHOWN = 64
"""Samples that are drawn as a picture."""


def measure(trial: Trial, count: int, seed: int, docs: Path) -> dict[str, object]:
    """Draw samples, judge them, and draw the first of them: the row."""
    target = open_target(parse(target_parser("samples", ""), [trial.target]))
    data, model = target.data, target.model
    judge = judge_of(data, None)[1]
    bf16 = hardware.default_precision(model.device.type) == "bf16-mixed"
    ask = Ask(trial.sampler, STEPS[trial.sampler], seed, bf16)
    file = docs / "images" / file_of(*trial)
    if not trial.known:
        samples, seconds = timed(lambda: draw(model, data.corruption, count, ask, data.splits["train"]))
        save(file, grid(samples[:SHOWN], 16))
        every = first(data, "train", len(data.splits["train"]))
        near = every[nearest(samples[:16], every)[1]]
        save(file.with_stem(f"{file.stem}-nearest"), grid(torch.cat([samples[: len(near)], near]), len(near)))
        found = quality(samples, data, judge)
        beside = {f"training_{name}": value for name, value in found["training samples"].items()}
        return {"seconds": seconds, **found["samples"], **beside, "commit": runs.commit()}
    whole = data.splits["test"].__getitems__(torch.arange(min(len(data.splits["test"]), max(1, count // 20))))
    clean = to_unit(whole.clean)
    known, shown = problem_of(trial.known, clean, seed)
    fit = known.take(torch.arange(len(clean)).repeat_interleave(EACH))
    samples, seconds = timed(lambda: draw(model, data.corruption, len(clean) * EACH, ask, known=fit))
    rows = torch.cat([clean[:, None], shown[:, None], samples.view(len(clean), EACH, *clean.shape[1:])], 1)
    save(file, grid(rows[: SHOWN // 4].flatten(0, 1), 3 * (2 + EACH)))
    error = (samples.view(len(clean), EACH, -1).mean(1) - clean.flatten(1)).square().mean().item()
    right = agreement(samples, clean, whole.label, judge)
    return {"seconds": seconds, "mse_of_mean": error, **right, "commit": runs.commit()}


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
