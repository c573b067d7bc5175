"""Runs trained at some noise levels and types, judged at others, beside two baselines."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import Namespace
from torch import Tensor

from daezoo.batch import Batch
from daezoo.checkpoint import load_model, locate
from daezoo.corruption import Clean, Corruption
from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.splits import rows_at_once, spread
from daezoo.evaluation.features import extract, layer_codes, numbered_classes
from daezoo.evaluation.probe import PROTOCOL, TRAINING, Part, Probe, accuracy_of, linear_probe, protocol_of
from daezoo.evaluation.restoration import evaluate
from daezoo.evaluation.target import check_whitening, on_device, own_data
from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder
from daezoo.report import say
from daezoo.zoo import loading

WIDEST = 4096
"""Elements of the largest sample that a linear denoiser is fitted to: it has the square of that many weights."""
MOMENTS = 65_536
"""Training samples, evenly spread, that its moments are estimated from; all of them where there are fewer."""
RIDGE = 1e-8
"""What is added to the variance of each noisy element, relative to their mean variance."""

BASELINES = ("identity", "linear")


class Run(NamedTuple):
    """A trained model.

    Attributes:
        name: Its run folder or checkpoint, as it was given.
        model: In eval mode, on the device asked for.
        corruption: What it was trained with.
        seed: Of its training.
    """

    name: str
    model: DenoisingAutoencoder
    corruption: Corruption
    seed: int


class Condition(NamedTuple):
    """A noise that is tested.

    Attributes:
        kind: The corruption's type, as `kind_of` names it.
        level: 0 for the clean input; None where there is no single level.
        corruption: What draws it.
    """

    kind: str
    level: float | None
    corruption: Corruption


class Row(NamedTuple):
    """One denoiser under one test condition: a line of the CSV.

    Attributes:
        denoiser: The model's class, or identity or linear.
        run: As it was given; empty for a baseline.
        seed: Of the run.
        train_corruption: The type of the noise that the run was trained with.
        train_level: Its level, as one number or as low-high.
        test_corruption: The type of the noise that is tested.
        test_level: Its level; 0 for the clean input.
        mse: See `restoration.PROTOCOL`.
        psnr: In dB.
        probe_accuracy: Of a probe fitted on clean codes, on codes of noisy test samples, in [0, 1].
        samples: Test samples.
        probe: Protocol of the probe, which says how feature maps are pooled.
    """

    denoiser: str
    run: str
    seed: int | None
    train_corruption: str
    train_level: str
    test_corruption: str
    test_level: float | None
    mse: float
    psnr: float
    probe_accuracy: float | None
    samples: int
    probe: str | None


@dataclass(frozen=True)
class Affine:
    """An affine map of vectors.

    Args:
        gain: (D, D) float64.
        offset: (D,) float64.
    """

    gain: Tensor
    offset: Tensor

    def __call__(self, noisy: Tensor) -> Tensor:
        """Its value for each row of `noisy`, (batch, D)."""
        return noisy.double() @ self.gain.mT + self.offset


class Baseline(DenoisingAutoencoder):
    """A denoiser that was not trained; its code is what it makes of a sample, so that a probe of pixels can judge it.

    Args:
        shape: Shape of one sample.
        function: Denoises vectors, (batch, D).
    """

    def __init__(self, shape: Sequence[int], function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(shape)
        self.function = function

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """The function's value, in the shape of the sample."""
        return self.function(noisy.flatten(1)).view_as(noisy)

    def encode(self, x: Tensor) -> Tensor:
        """The same as vectors, (batch, D)."""
        return self(x).flatten(1).float()


@torch.inference_mode()
def fit_linear(data: DenoisingDataModule, corruption: Corruption, device: torch.device | str = "cpu") -> Affine:
    """The affine denoiser of least expected squared error, from moments of noisy training samples.

    x̂ = μ_x + Cov(x, x̃) Cov(x̃)⁻¹ (x̃ − μ_x̃). With additive Gaussian noise, where Cov(x, x̃) = Σ and Cov(x̃) = Σ + σ²I,
    this is the Wiener filter Σ(Σ + σ²I)⁻¹ of the centred sample. Moments are sums in float64 over the training split,
    with the noise that evaluation gives it; a small ridge settles what pixels that never vary would leave open.

    Args:
        data: Set up.
        corruption: The noise.
        device: Where to compute.
    """
    train, width = data.splits["train"], prod(data.shape)
    rows = spread(len(train), MOMENTS)
    center = train.mean().flatten().double().to(device)  # any vector would do; near the mean, no digits are lost
    sums = torch.zeros(2, width, dtype=torch.float64, device=device)
    cross, second = (torch.zeros(width, width, dtype=torch.float64, device=device) for _ in range(2))
    for batch in noisy_batches(data, "train", corruption, rows, rows_at_once(width), device):
        clean, noisy = (part.flatten(1).double() - center for part in (batch.clean, batch.noisy))
        sums += torch.stack([clean.sum(0), noisy.sum(0)])
        cross += clean.mT @ noisy
        second += noisy.mT @ noisy
    mean, noisy_mean = sums / len(rows)
    cross = cross / len(rows) - mean.outer(noisy_mean)
    second = second / len(rows) - noisy_mean.outer(noisy_mean)
    second.diagonal().add_(max(RIDGE * float(second.trace()) / width, 1e-12))
    gain = torch.linalg.solve(second, cross.mT).mT
    return Affine(gain, center + mean - gain @ (center + noisy_mean))


def noisy_batches(
    data: DenoisingDataModule,
    split: str,
    corruption: Corruption,
    rows: Tensor,
    size: int,
    device: torch.device | str,
) -> Iterator[Batch]:
    """Rows of a split with the noise that evaluation always gives them, `size` at a time, on a device."""
    for some in rows.split(size):
        sample = data.splits[split].__getitems__(some)
        yield data.evaluation_batch(sample._replace(clean=sample.clean.to(device)), split, corruption)


def kind_of(corruption: Corruption) -> str:
    """The name of a corruption's type, with those arguments that are not the level and not the default."""
    others = {field.name: (getattr(corruption, field.name), field.default) for field in fields(corruption)}  # type: ignore[arg-type]
    others.pop(corruption.level_name or "", None)
    said = [_said(name, value) for name, (value, default) in others.items() if value != default]
    return type(corruption).__name__ + (f" ({', '.join(said)})" if said else "")


def _said(name: str, value: Any) -> str:
    if isinstance(value, Corruption):
        return f"{kind_of(value)} {level_of(value)}".strip()
    return ", ".join(_said(name, one) for one in value) if isinstance(value, list | tuple) else f"{name}={value}"


def level_of(corruption: Corruption) -> str:
    """The level that a corruption trains at: a number, low-high for a range, or nothing where there is none."""
    if corruption.level is None:
        return ""
    return "-".join(f"{bound:g}" for bound in dict.fromkeys(corruption.level.bounds))


def conditions(trained: Sequence[Corruption], levels: Sequence[float] | None = None) -> list[Condition]:
    """What runs trained with these corruptions are tested with.

    Args:
        trained: The runs' corruptions.
        levels: Levels of every type; those that it was trained at, of a range both ends, if None.

    Returns:
        For each type, the clean input and then every level; a type without a single level as it is.

    Raises:
        ValueError: If a type does not allow a level.
    """
    kinds: dict[str, list[Corruption]] = {}
    for corruption in trained:
        if not isinstance(corruption, Clean):
            kinds.setdefault(kind_of(corruption), []).append(corruption)
    found = []
    for kind, members in kinds.items():
        bounds = [bound for one in members if one.level is not None for bound in one.level.bounds]
        grid = sorted({round(level, 6) for level in (bounds if levels is None else levels)} - {0.0})
        found.append(Condition(kind, 0.0, Clean()))
        if members[0].level is None:
            found.append(Condition(kind, None, members[0]))
        else:
            found += [Condition(kind, level, members[0].at(level)) for level in grid]
    return found or [Condition(kind_of(Clean()), 0.0, Clean())]


def find(targets: Sequence[str]) -> list[tuple[str, Path]]:
    """The runs in folders, by name, with their checkpoints, each once.

    Raises:
        ValueError: If there are none.
    """
    found: dict[Path, tuple[str, Path]] = {}
    for target in targets:
        if Path(target).is_dir():
            paths = sorted(Path(target).glob("**/checkpoints/last.ckpt"))
            named = [(str(path.parent.parent), path) for path in paths]
        else:
            named = [(target, Path(target))] if loading.is_name(target) else [(target, locate(target))]
        if not named:
            raise ValueError(f"There is no run in {target}: no folder in it has a file checkpoints/last.ckpt.")
        for name, path in named:
            found.setdefault(path.resolve(), (name, path))
    return list(found.values())


def open_runs(options: Namespace) -> tuple[list[Run], DenoisingDataModule]:
    """The runs, ordered by training noise, and the one data module that all are judged on, set up.

    Raises:
        ValueError: If there are none, one cannot be read, or they do not fit the same data.
    """
    runs: list[Run] = []
    data, first = options.data, None
    for name, path in find(options.targets):
        checkpoint = loading.open_target(name if loading.is_name(name) else path, options.source)[1]
        if "datamodule_hyper_parameters" not in checkpoint:
            raise ValueError(f"{name} does not say what noise it was trained with. Leave it out.")
        own = own_data(path, checkpoint, options.root)
        model = on_device(load_model(path, checkpoint), options.device)
        runs.append(Run(name, model, own.corruption, own.seed))
        data, first = data or own, first or own
        if options.data is None:
            _check_same(own, name, first, runs[0].name)
        check_whitening(name, checkpoint, data)
    data.prepare_data()
    data.setup("test")
    for one in runs:
        try:
            one.model.check_shape(torch.empty(1, *data.shape, device="meta"))
        except ValueError as error:
            raise ValueError(f"{type(data).__name__} does not fit {one.name}: {error}") from None

    def order(one: Run) -> tuple[Any, ...]:
        bounds = one.corruption.level.bounds if one.corruption.level else (0.0, 0.0)
        return type(one.model).__name__, not _noiseless(one.corruption), kind_of(one.corruption), bounds

    return sorted(runs, key=order), data


def _check_same(own: DenoisingDataModule, name: str, first: DenoisingDataModule, first_name: str) -> None:
    for key, value in own.hparams.items():
        if key not in TRAINING and value != first.hparams.get(key):
            said = "" if type(own) is not type(first) else f" with {key} {value} and {first.hparams.get(key)}"
            raise ValueError(
                f"{name} was trained on {type(own).__name__}, {first_name} on {type(first).__name__}{said}. One grid "
                "is on one data set: leave one of them out, or say by --data what all are to be judged on."
            )


def _noiseless(corruption: Corruption) -> bool:
    return isinstance(corruption, Clean) or level_of(corruption) == "0"


@exact_float32()
def judge(
    runs: Sequence[Run], data: DenoisingDataModule, tested: Sequence[Condition], samples: int | None = None
) -> tuple[list[Row], list[str]]:
    """Every run and both baselines under every test condition.

    Args:
        runs: The runs, on one device.
        data: Set up.
        tested: The test conditions.
        samples: Test samples, evenly spread; all if None.

    Returns:
        The rows, a condition's together; and what has to be said of columns or rows that are left out.
    """
    device, rows = runs[0].model.device, spread(len(data.splits["test"]), samples or len(data.splits["test"]))
    notes: list[str] = []
    try:
        classes, labels = numbered_classes(data)
    except ValueError as error:
        classes, labels = 0, {}
        notes.append(f"No probe accuracy. {error}")
    labels = {name: values.to(device) for name, values in labels.items()}
    wanted = labels["test"][rows.to(device)] if labels else None

    def probed(model: DenoisingAutoencoder | None) -> Probe | None:
        if not labels:
            return None
        train, valid, test = (Part(extract(model, data.splits[name], device)[-1], labels[name]) for name in SPLITS)
        return linear_probe(train, valid, test, classes)

    probes = []
    for number, one in enumerate(runs, 1):
        say(f"run {number} of {len(runs)}: {one.name}")
        probes.append(probed(one.model))
    pixels = probed(None)
    narrow, size = prod(data.shape) <= WIDEST, rows_at_once(prod(data.shape), 512)  # as `extract` takes them
    if not narrow:
        notes.append(f"No linear denoiser. Samples of {prod(data.shape):,} elements are wider than {WIDEST:,}.")
    mean = data.splits["train"].mean()

    def measured(corruption: Corruption) -> list[tuple[float, float, float | None]]:
        baselines = [Baseline(data.shape, torch.Tensor.float)]
        if narrow:
            baselines.append(Baseline(data.shape, fit_linear(data, corruption, device)))
        batches = list(noisy_batches(data, "test", corruption, rows, size, device))
        values: list[tuple[float, float, float | None]] = []
        models = [*(one.model for one in runs), *(baseline.to(device) for baseline in baselines)]
        for model, probe in zip(models, probes + [pixels] * len(baselines), strict=True):
            metrics, accuracy = evaluate(model, batches, mean), None
            if probe is not None and wanted is not None:
                with torch.inference_mode():
                    guesses = [probe.predict(layer_codes(model, batch.noisy)[-1].float()) for batch in batches]
                accuracy = accuracy_of(torch.cat(guesses), wanted)[0]
            values.append((metrics["mse"], metrics["psnr"], accuracy))
        return values

    who = [
        (type(one.model).__name__, one.name, one.seed, kind_of(one.corruption), level_of(one.corruption))
        for one in runs
    ]
    names = [*who, *((name, "", None, "", "") for name in BASELINES[: 1 + narrow])]
    protocols = [*(protocol_of(one.model, -1) for one in runs), *(PROTOCOL for _ in BASELINES[: 1 + narrow])]
    found: list[Row] = []
    known: dict[str, list[tuple[float, float, float | None]]] = {}  # the clean input is the same for every type
    for number, (kind, level, corruption) in enumerate(tested, 1):
        say(f"condition {number} of {len(tested)}: {corruption}")
        values = known[str(corruption)] = known.get(str(corruption)) or measured(corruption)
        found += [
            Row(*name, kind, level, *value, len(rows), protocol if value[-1] is not None else None)
            for name, value, protocol in zip(names, values, protocols, strict=True)
        ]
    return found, notes
