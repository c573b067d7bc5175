"""`daezoo sample`: samples of what a model has learned, and of what fits what is known of a picture."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jsonargparse import Namespace
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from daezoo import figures, hardware
from daezoo.checkpoint import load_model
from daezoo.corruption import Corruption, Gaussian
from daezoo.data.base import DenoisingDataModule
from daezoo.data.splits import Split, to_unit
from daezoo.evaluation import sample_quality
from daezoo.evaluation.target import data_names, on_device, open_target, own_data, parse, target_parser
from daezoo.files import check_output, to_json, write_atomically
from daezoo.models import DenoisingAutoencoder, PreconditionedDAE
from daezoo.randomness import generator
from daezoo.sampling import Denoiser, Known, Means, Measurement, Watch, chain, heun, ignore, ladder, langevin, of_class
from daezoo.zoo import loading

Result = TypeVar("Result")
Sampler = Literal["ode", "stochastic", "langevin", "chain"]
Problem = Literal["top-half", "missing-80", "half-size"]
STEPS = {"ode": 18, "stochastic": 32, "langevin": 32, "chain": 100}
CHURN = 0.2
"""Of the stochastic sampler."""
TOGETHER = 64
"""Samples come in batches of so many, each with a generator of its own: the first of many are those of few."""
REFERENCE = 10_000
"""Samples of a split that others are compared with, at the most."""
ENDINGS = {"out": (".png", ".webp"), "frames": (".gif", ".webp"), "array": (".npy",)}
"""Of the files, by their options."""
ENCODERS = {"digits": "stacked.digits-mask", "mnist": "stacked.mnist-best", "fashion_mnist": "stacked.fashion-mask25"}
"""In whose codes the Fréchet distance is taken, by data; one with a classifier says how sure it is, too."""


class Ask(NamedTuple):
    """How samples are drawn.

    Attributes:
        sampler: Which.
        steps: Levels of a ladder, or steps of a chain.
        seed: Of all noise.
        bf16: Whether the network runs in bf16.
        labels: The classes of the samples, in turn; of no class in particular if there are none.
        guidance: As for `of_class`.
    """

    sampler: Sampler
    steps: int
    seed: int
    bf16: bool = False
    labels: tuple[int, ...] = ()
    guidance: float = 1.0


def suited(sampler: Sampler | None, model: DenoisingAutoencoder, corruption: Corruption) -> Sampler:
    """The sampler, or the one that suits a model.

    Raises:
        ValueError: If it does not, or the model was fine-tuned to classify, which leaves its decoder behind.
    """
    if model.classifier is not None:
        raise ValueError(f"This {type(model).__name__} was fine-tuned to classify, so it has nothing to sample with.")
    ladders = isinstance(model, PreconditionedDAE)
    if sampler is not None and ladders == (sampler == "chain"):
        kind = "trained for noise of any level: take ode, stochastic or langevin"
        raise ValueError(
            f"--sampler {sampler} does not suit a {type(model).__name__} that was trained under {corruption}. It is "
            f"{kind if ladders else 'for the sampler chain; the others need one of model score'}."
        )
    return sampler or ("ode" if ladders else "chain")


def in_turn(labels: tuple[int, ...], rows: Tensor) -> Tensor:
    """The labels of samples, by their places, if they go round."""
    return torch.tensor(labels)[rows % len(labels)]


@torch.no_grad()
def draw(
    model: DenoisingAutoencoder,
    corruption: Corruption,
    count: int,
    ask: Ask,
    train: Split | None = None,
    known: Measurement | None = None,
    watch: Watch = ignore,
) -> Tensor:
    """Samples, (count, *shape), on the CPU.

    Args:
        model: In eval mode.
        corruption: What it was trained under.
        count: How many.
        ask: How.
        train: What chains start from.
        known: What the samples are to agree with.
        watch: Called with the first batch after every step.
    """
    device, found = model.device, []
    console = Console(stderr=True)
    batches = range(0, count, TOGETHER)
    for first in track(batches, "sampling", console=console, transient=True, disable=not console.is_terminal):
        draws = generator("samples", ask.seed, first, device=device)
        seen = ignore if first else watch
        with torch.autocast(device.type, torch.bfloat16) if ask.bf16 else nullcontext():
            if isinstance(model, PreconditionedDAE):
                assert isinstance(corruption, Gaussian) and corruption.level is not None
                highest = corruption.level.bounds[1]
                start = model.data_mean + highest * torch.randn(TOGETHER, *model.shape, generator=draws, device=device)
                levels = ladder(model.lowest, highest, ask.steps)
                denoise: Denoiser = model.denoise
                if ask.labels:
                    asked = in_turn(ask.labels, torch.arange(first, first + TOGETHER))
                    denoise = of_class(model, asked.to(device), ask.guidance)
                if ask.sampler == "langevin":
                    samples = langevin(denoise, start, levels, generator=draws, watch=seen)
                else:
                    churn = CHURN if ask.sampler == "stochastic" else 0.0
                    rows = torch.arange(first, first + TOGETHER).clamp_max(count - 1)
                    fit = None if known is None else known.take(rows, device)
                    samples = heun(denoise, start, levels, churn, draws, fit, model.data_std, seen)
            else:
                assert train is not None
                rows = torch.randint(len(train), (TOGETHER,), generator=generator("starts", ask.seed, first))
                start = to_unit(train.__getitems__(rows).clean).to(device)
                samples = chain(model, corruption, start, ask.steps, True, draws, seen)
        found.append(samples.float().cpu())
    return torch.cat(found)[:count]


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What comes of some work, and how many seconds it took."""
    started = time.perf_counter()
    return work(), round(time.perf_counter() - started, 1)


def problem_of(problem: Problem, clean: Tensor, seed: int, each: int = 1) -> tuple[Measurement, Tensor]:
    """What is known of clean pictures (batch, C, H, W), and a picture of that, in which the rest is grey.

    Args:
        problem: What is known.
        clean: The pictures.
        seed: Of pixels that are missing at random.
        each: How often what is known of a picture is repeated, in a row: for as many samples.

    Raises:
        ValueError: If they are no pictures, or of an odd size that is to be halved.
    """
    if clean.ndim != 4 or (problem == "half-size" and (clean.shape[2] % 2 or clean.shape[3] % 2)):
        raise ValueError(f"--known {problem} is for pictures of even size, got samples of {tuple(clean.shape[1:])}.")
    if problem == "half-size":
        small = F.avg_pool2d(clean, 2)
        return Means(small.repeat_interleave(each, 0)), small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    mask = torch.ones_like(clean, dtype=torch.bool)
    if problem == "top-half":
        mask[:, :, : clean.shape[2] // 2] = False
    else:
        mask &= torch.rand(clean[:, :1].shape, generator=generator("missing", seed)) >= 0.8
    known = Known(clean.repeat_interleave(each, 0), mask.repeat_interleave(each, 0))
    return known, torch.where(mask, clean, 0.5)


def side_by_side(clean: Tensor, shown: Tensor, samples: Tensor) -> Tensor:
    """Rows of a grid: a picture, what is known of it, and its samples, (batch · each, C, H, W)."""
    parts = (clean[:, None], shown[:, None], samples.view(len(clean), -1, *clean.shape[1:]))
    return torch.cat(parts, 1).flatten(0, 1)


def grid(pictures: Tensor, columns: int) -> Image.Image:
    """Pictures (N, C, H, W) of one or three channels, in [0, 1], side by side, black lines between."""
    sheet = figures.laid_out(pictures.clamp(0, 1), min(columns, len(pictures)), 0)
    pixels = (255 * sheet).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels.squeeze(2) if len(sheet) == 1 else pixels)


def scatter(points: Tensor, training: Tensor) -> Figure:
    """Points (N, *dims) beside training points, by their first and their last coordinate."""
    figure = Figure((9, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, what, title in zip(axes, (points, training), ("samples", "training points"), strict=True):
        axis.scatter(what.flatten(1)[:, 0], what.flatten(1)[:, -1], s=3, color="black", linewidths=0)
        axis.set(title=f"{len(what):,} {title}", aspect="equal")
    return figure


def save(path: Path, image: Image.Image, frames: list[Image.Image] | None = None) -> None:
    """Write a picture, or an animation of frames that ends with it, in the format of the name's ending."""
    options: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    if frames is not None:
        options |= {"save_all": True, "append_images": [*frames[1:], *[image] * 8], "duration": 120, "loop": 0}
    shown = image if frames is None else frames[0]
    write_atomically(path, lambda file: shown.save(file, path.suffix[1:].upper(), **options))


def first_labelled(data: DenoisingDataModule, split: str, count: int) -> tuple[Tensor, Tensor]:
    """The first samples of a split, on the scale of the model, and their labels."""
    held = data.splits[split]
    found = held.__getitems__(torch.arange(min(count, len(held))))
    return to_unit(found.clean), found.label


def first(data: DenoisingDataModule, split: str, count: int = REFERENCE) -> Tensor:
    """The first samples of a split, on the scale of the model."""
    return first_labelled(data, split, count)[0]


def quality(samples: Tensor, data: DenoisingDataModule, encoder: DenoisingAutoencoder) -> dict[str, dict[str, Any]]:
    """What is measured of samples and, to compare with, of as many training samples."""
    train, valid, test = first(data, "train", 10**9), first(data, "valid"), first(data, "test")
    found = {}
    for kind, what in (("samples", samples.clamp(0, 1)), ("training samples", train[: len(samples)])):
        windows = sample_quality.parzen(what, valid, test)
        near = sample_quality.nearest(what[:1000] if kind == "samples" else valid[:1000], train)[0]
        found[kind] = {
            **{f"parzen_{name}": value for name, value in windows._asdict().items()},
            "frechet": sample_quality.frechet(what, test, encoder),
            "confidence": sample_quality.confidence(what, encoder) if encoder.classifier is not None else None,
            "nearest": near.mean().item(),
        }
    return found


@torch.inference_mode()
def classified(judge: DenoisingAutoencoder, pictures: Tensor) -> Tensor:
    """The likeliest class of each, (batch,)."""
    return torch.tensor(judge.labels)[judge.classify(pictures).argmax(1)]


def agreement(samples: Tensor, clean: Tensor, labels: Tensor, judge: DenoisingAutoencoder) -> dict[str, Any]:
    """How often a completed picture's class is found, of pictures that are classified right when whole.

    By one sample, and by all samples of a picture together: the class of the largest mean probability.

    Args:
        samples: (N · each, *shape), those of a picture in a row.
        clean: The whole pictures, (N, *shape).
        labels: Their classes, (N,).
        judge: Has a classifier.
    """
    classes, right = torch.tensor(judge.labels), classified(judge, clean) == labels
    with torch.inference_mode():
        sure = judge.classify(samples.clamp(0, 1)).softmax(1).view(len(clean), -1, len(classes))
        single, together = classes[sure.argmax(2)] == labels[:, None], classes[sure.mean(1).argmax(1)] == labels
    return {
        "classified_right": single[right].float().mean().item(),
        "classified_right_together": together[right].float().mean().item(),
        "of_pictures": int(right.sum()),
    }


def of_asked_class(samples: Tensor, labels: tuple[int, ...], judge: DenoisingAutoencoder) -> float:
    """The share of samples (N, *shape) that a classifier puts into the class they were asked for, in turn."""
    asked = in_turn(labels, torch.arange(len(samples)))
    return (classified(judge, samples.clamp(0, 1)) == asked).float().mean().item()


def options_of(args: list[str]) -> Namespace:
    """The parsed command line.

    Raises:
        ValueError: If an option does not fit.
    """
    parser = target_parser("sample", "Samples of what a model has learned, as a picture.")
    parser.add_argument("--n", type=int, default=64, help="How many; with --known, pictures of the test split.")
    parser.add_argument("--out", type=str, default="samples.png", help="The picture: .png or .webp.")
    parser.add_argument("--sampler", type=Sampler | None, help="What suits the model if not given: ode or chain.")
    parser.add_argument("--steps", type=int | None, help=f"Levels of noise, or steps of a chain: {STEPS}.")
    parser.add_argument("--seed", type=int, default=0, help="Of all noise.")
    parser.add_argument("--labels", type=int, nargs="+", help="Classes of the samples, in turn, if trained with them.")
    parser.add_argument("--guidance", type=float, default=1.0, help="Above 1, samples are surer of these classes.")
    parser.add_argument("--known", type=Problem | None, help="Complete pictures of which only this is known.")
    parser.add_argument("--each", type=int, default=6, help="With --known, samples of each picture.")
    parser.add_argument("--frames", type=str | None, help="The steps of the first 64, moving: .gif or .webp.")
    parser.add_argument("--array", type=str | None, help="The samples as float32 (N, *shape): .npy.")
    parser.add_argument("--quality", action="store_true", help="Judge them, beside training samples.")
    parser.add_argument("--classifier", type=str | None, help="Model that judges, in place of the zoo's for the data.")
    parser.add_argument(
        "--precision", type=Literal["bf16-mixed", "32-true"] | None, help="That of trainings if not given."
    )
    parser.add_argument("--json", action="store_true", help="Print what was measured as JSON.")
    parser.add_argument("--force", action="store_true", help="Write over what is there.")
    options = parse(parser, args)
    steps = 2 if options.steps is None else options.steps
    if min(options.n, options.each, steps - 1) < 1 or options.seed < 0:
        raise ValueError(
            f"sample needs n and each of at least 1, 2 steps or more and a seed of at least 0, got {options.n}, "
            f"{options.each}, {steps} and {options.seed}."
        )
    if options.guidance != 1 and not options.labels:
        raise ValueError("--guidance is towards a class: say which, --labels 3.")
    if options.classifier is not None and not options.quality:
        raise ValueError("--classifier judges samples: say --quality too.")
    outputs = {option: Path(options[option]) for option in ENDINGS if options[option] is not None}
    if len({path.resolve() for path in outputs.values()}) < len(outputs):
        raise ValueError("--out, --frames and --array must be different files.")
    for option, path in outputs.items():
        check_output(path, options.force, ENDINGS[option])
    return options


def judge_of(data: DenoisingDataModule, name: str | None) -> tuple[str, DenoisingAutoencoder]:
    """The model that judges samples of some data, and its name.

    Raises:
        ValueError: If there is none, or it is not for such samples.
    """
    kinds = {kind: short for short, kind in data_names().items()}
    name = name or ENCODERS.get(kinds.get(type(data).__name__, ""))
    if name is None:
        raise ValueError(f"No model of the zoo judges samples of {type(data).__name__}: say one, --classifier TARGET.")
    judge = loading.load(name).eval()
    judge.check_shape(torch.empty(1, *data.shape, device="meta"))
    return name, judge


def fitting_sampler(options: Namespace, model: DenoisingAutoencoder, corruption: Corruption) -> Sampler:
    """The sampler that is asked for, or the one that suits a model.

    Raises:
        ValueError: If it or another option does not fit the model.
    """
    sampler, pictures = suited(options.sampler, model, corruption), len(model.shape) == 3
    if options.known is not None and sampler not in ("ode", "stochastic"):
        raise ValueError(f"--known is for the samplers ode and stochastic, of models of model score; got {sampler}.")
    if options.labels:
        if not isinstance(model, PreconditionedDAE):
            raise ValueError(f"--labels is for models of model score, trained with --model.classes; got {sampler}.")
        of_class(model, torch.tensor(options.labels), options.guidance)
    if pictures and model.shape[0] not in (1, 3):
        raise ValueError(f"Pictures have one channel or three, got a model of samples of {model.shape}.")
    if not pictures and (options.quality or options.frames is not None):
        raise ValueError(f"--quality and --frames are for pictures, got a model of samples of {model.shape}.")
    return sampler


def run(args: list[str]) -> None:
    """Draw samples, write and judge them.

    Args:
        args: The command line, without the command.

    Raises:
        ValueError: If something does not fit.
    """
    options = options_of(args)
    path, checkpoint = loading.open_target(options.target, options.source)
    model = on_device(load_model(path, checkpoint), options.device)
    corruption = own_data(path, checkpoint, None).corruption
    sampler, pictures = fitting_sampler(options, model, corruption), len(model.shape) == 3
    needed = sampler == "chain" or options.known is not None or options.quality or not pictures
    if not needed and (options.data is not None or options.root is not None):
        raise ValueError("--data and --root are for chains, --known and --quality: here the model is all that is used.")
    data = open_target(options).data if needed else None
    judge = judge_of(data, options.classifier) if data is not None and options.quality else None
    precision = options.precision or hardware.default_precision(model.device.type)
    steps, labels = options.steps or STEPS[sampler], tuple(options.labels or ())
    ask = Ask(sampler, steps, options.seed, precision == "bf16-mixed", labels, options.guidance)
    count, fit, whole, train = options.n, None, None, None if data is None else data.splits["train"]
    if data is not None and options.known is not None:
        whole, kinds = first_labelled(data, "test", count)
        fit, shown = problem_of(options.known, whole, options.seed, options.each)
        count = len(shown) * options.each
        ask = ask._replace(labels=tuple(in_turn(labels, torch.arange(options.each)).tolist()) if labels else ())
    if judge is not None and count < 2:
        raise ValueError("--quality needs two samples or more.")
    seen: list[Tensor] = []
    samples, seconds = timed(lambda: draw(model, corruption, count, ask, train, fit, seen.append))
    if options.array is not None:
        write_atomically(Path(options.array), lambda file: np.save(file, samples.numpy()))
    across = len(labels) if len(labels) > 1 else 8
    if data is not None and not pictures:
        figures.save(scatter(samples, first(data, "train", count)), Path(options.out))
    elif whole is not None:
        save(Path(options.out), grid(side_by_side(whole, shown, samples), 2 + options.each))
    else:
        save(Path(options.out), grid(samples, across))
    if options.frames is not None:
        frames = [grid(step.float().cpu()[:count], across) for step in seen]
        save(Path(options.frames), grid(samples[:TOGETHER], across), frames)
    found: dict[str, Any] = {"target": options.target, **ask._asdict(), "n": count, "seconds": seconds}
    if data is not None and judge is not None:
        found |= {"judge": judge[0]} | quality(samples, data, judge[1])
        if whole is not None and judge[1].classifier is not None:
            found |= agreement(samples, whole, kinds, judge[1])
        if labels and judge[1].classifier is not None:
            found["of_asked_class"] = of_asked_class(samples, ask.labels, judge[1])
    show(found, options)


def show(found: dict[str, Any], options: Namespace) -> None:
    """Print what was done and measured, as lines and a table or as JSON."""
    if options.json:
        print(to_json(found))
        return
    files = ", ".join(name for name in (options.out, options.frames, options.array) if name)
    how = f"{found['sampler']}, {found['steps']} steps, {found['seconds']} s"
    print(f"{files}: {found['n']:,} samples of {options.target}, {how}")
    if "judge" not in found:
        return
    kinds = ("samples", "training samples")
    table = Table(title=f"{found['n']:,} samples, judged by {found['judge']}", title_justify="left")
    for column in ("", "Parzen (nats)", "width", "Fréchet", "confidence", "nearest"):
        table.add_column(column, justify="right" if column else "left")
    for kind in kinds:
        nats, error, *others = found[kind].values()
        table.add_row(kind, f"{nats:.1f} ± {error:.1f}", *("" if value is None else f"{value:.3g}" for value in others))
    Console().print(table)
    if found.get("of_pictures"):
        right = f"{found['classified_right']:.2%} by one sample, {found['classified_right_together']:.2%} by all of one"
        print(f"classified right: {right}; of {found['of_pictures']:,} pictures that are when whole")
    if "of_asked_class" in found:
        print(f"of the class they were asked for: {found['of_asked_class']:.2%}")
    print(sample_quality.PROTOCOL)
