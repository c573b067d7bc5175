"""The numbers of an entry: measured once when it is exported, and again whenever somebody doubts them."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import torch
from jsonargparse import Namespace

from daezoo.checkpoint import rebuild
from daezoo.corruption import Clean, Corruption
from daezoo.data.base import SPLITS
from daezoo.data.splits import to_unit
from daezoo.evaluation import likelihood
from daezoo.evaluation.features import extract, numbered_classes
from daezoo.evaluation.probe import PROTOCOL, Part, Probe, judge, linear_probe, predicted, protocol_of
from daezoo.evaluation.restoration import evaluate
from daezoo.evaluation.target import Target, open_target
from daezoo.hardware import describe
from daezoo.hyperparameters import plain
from daezoo.models import VariationalDAE
from daezoo.zoo.entry import LARGEST_TOLERANCE, Built, Metric

CLASSIFICATION = "finetune-v1"
"""As `daezoo finetune`: clean test samples in float32."""
RECONSTRUCTION = "reconstruction-v1"
"""As `daezoo evaluate`: noise keyed by (split_seed, sample), mean over test samples, nothing clipped or quantised."""
LIKELIHOOD, CODES = "iw-nll-v1", 100
"""As `daezoo evaluate --likelihood`, with so many codes of a sample, which the protocol of a metric names."""
NLL_TOLERANCE = 0.05
"""In nats; codes are drawn from the samples' own noise, so that rounding alone is left."""
ACCURACY_TOLERANCE, PSNR_TOLERANCE, MSE_TOLERANCE = 0.002, 0.05, 0.01
"""Absolute, but no less than two test samples; in dB; relative."""


class Again(NamedTuple):
    """A metric, and what it is now."""

    metric: Metric
    value: float

    @property
    def holds(self) -> bool:
        """Whether it is within its tolerance."""
        return abs(self.value - self.metric.value) <= self.metric.tolerance

    def as_row(self) -> dict[str, Any]:
        """The metric as plain data, with what was measured now."""
        return {**self.metric.model_dump(), "measured": self.value, "holds": self.holds}


def opened(name: str, source: str | None = None, root: str | None = None, device: str = "cpu") -> Target:
    """A run or a pretrained model with the data that it was trained on, as `daezoo probe` opens it.

    Raises:
        DataMissing: If that data is not here.
        ValueError: If the model cannot be had, or does not fit the data.
    """
    return open_target(Namespace(target=name, source=source, root=root, device=device, data=None, batch_size=None))


def _reconstruction(target: Target, corruption: Corruption) -> dict[str, float]:
    data = target.data
    return evaluate(target.model, data.evaluation_batches("test", corruption), data.splits["train"].mean())


def measure(target: Target, levels: Sequence[float] = (), known: dict[str, Probe] | None = None) -> list[Metric]:
    """All metrics of a model: reconstruction under the noise it was trained with, and, with labels, a linear probe.

    A model with a classifier reconstructs nothing. One of random codes has a likelihood of binary images.

    Args:
        target: The model and its data.
        levels: Further noise levels for the reconstruction.
        known: As for `daezoo.evaluation.probe.judge`.
    """
    data = target.data
    where: dict[str, Any] = {"hardware": describe(target.model.device), "threads": torch.get_num_threads()}
    metrics = []
    trained = data.evaluation_corruption
    for corruption in [] if target.model.classifier else (trained, *(trained.at(level) for level in levels)):
        found = _reconstruction(target, corruption)
        shared = {
            "protocol": RECONSTRUCTION,
            "corruption": Built(**plain(corruption)),
            "samples": len(data.splits["test"]),
            **where,
        }
        baselines = {"noisy input": found["mse_noisy_input"], "training mean": found["mse_train_mean"]}
        tolerance = _tolerance(found["mse"], MSE_TOLERANCE * found["mse"])
        metrics.append(Metric(name="mse", value=found["mse"], tolerance=tolerance, baselines=baselines, **shared))
        noisy = {"noisy input": found["psnr_noisy_input"]} if isfinite(found["psnr_noisy_input"]) else {}
        if isfinite(found["psnr"]):
            tolerance = _tolerance(found["psnr"], PSNR_TOLERANCE)
            metrics.append(Metric(name="psnr", value=found["psnr"], tolerance=tolerance, baselines=noisy, **shared))
    if isinstance(target.model, VariationalDAE) and getattr(data, "binarise", None) is not None:
        metrics.append(_likelihood(target, where))
    if _has_labels(target):
        result = judge(target, known=known)
        samples = result["samples"]["test"]
        metrics.append(
            Metric(
                protocol=result["protocol"],
                name="accuracy",
                value=result["accuracy"],
                tolerance=_tolerance(result["accuracy"], max(ACCURACY_TOLERANCE, 2.5 / samples)),
                baselines={"raw pixels": result["raw_pixels"], "untrained": result["untrained"]},
                corruption=None,
                samples=samples,
                **where,
            )
        )
    return metrics


def _likelihood(target: Target, where: dict[str, Any]) -> Metric:
    found = likelihood.estimate(target.model, target.data, CODES)
    mean = target.data.splits["train"].mean().clamp(1e-3, 1 - 1e-3)
    test = (batch.clean for batch in target.data.evaluation_batches("test", Clean()))
    pixels = torch.cat([(x * mean.log() + (1 - x) * (1 - mean).log()).flatten(1).sum(1) for x in test])
    return Metric(
        protocol=f"{LIKELIHOOD}-k{CODES}",
        name="nll",
        value=found["nll"],
        tolerance=_tolerance(found["nll"], NLL_TOLERANCE),
        baselines={"evidence lower bound": found["bound"], "independent pixels": -float(pixels.mean())},
        corruption=None,
        samples=found["samples"],
        **where,
    )


def classification(target: Target, baselines: dict[str, float]) -> Metric:
    """The test error of a model's classifier.

    Args:
        target: The model and its data.
        baselines: Errors to print beside it.
    """
    error, samples = _error(target), len(target.data.splits["test"])
    return Metric(
        protocol=CLASSIFICATION,
        name="error",
        value=error,
        tolerance=_tolerance(error, max(ACCURACY_TOLERANCE, 2.5 / samples)),
        baselines=baselines,
        corruption=None,
        samples=samples,
        hardware=describe(target.model.device),
        threads=torch.get_num_threads(),
    )


def _error(target: Target) -> float:
    model, test = target.model, target.data.splits["test"]
    known = torch.tensor(model.labels, device=model.device)
    found, labels = predicted(lambda x: known[model.classify(to_unit(x)).argmax(1)], test, model.device)
    return int((found != labels).sum()) / len(test)


def _tolerance(value: float, wanted: float) -> float:
    return max(1e-9, min(wanted, LARGEST_TOLERANCE * abs(value)))


def _has_labels(target: Target) -> bool:
    return int(target.data.splits["test"][0].label) >= 0


def _accuracy(target: Target) -> float:
    classes, labels = numbered_classes(target.data)
    device = target.model.device
    codes = {name: extract(target.model, target.data.splits[name], device)[-1] for name in SPLITS}
    train, valid, test = (Part(codes[name], labels[name].to(device)) for name in SPLITS)
    return linear_probe(train, valid, test, classes).accuracy


def again(metrics: Sequence[Metric], target: Target, say: Callable[[str], None] | None = None) -> list[Again]:
    """The same metrics once more.

    Args:
        metrics: As they are recorded.
        target: The model and its data.
        say: Told what is being measured.
    """
    done: list[Again] = []
    seen: dict[str, dict[str, float]] = {}
    for metric in metrics:
        if say:
            say(f"{target.name}: {metric.protocol} {metric.name}")
        if metric.protocol == CLASSIFICATION:
            done.append(Again(metric, _error(target)))
            continue
        if metric.protocol.startswith(f"{LIKELIHOOD}-k"):
            codes = int(metric.protocol.removeprefix(f"{LIKELIHOOD}-k"))
            done.append(Again(metric, likelihood.estimate(target.model, target.data, codes)["nll"]))
            continue
        if not metric.protocol.startswith((RECONSTRUCTION, PROTOCOL)):
            raise ValueError(f"This version of daezoo does not know the protocol {metric.protocol} of {target.name}.")
        if metric.corruption is None:
            if protocol_of(target.model, -1) != metric.protocol:
                raise ValueError(
                    f"{target.name} is measured by {protocol_of(target.model, -1)}, not {metric.protocol}."
                )
            done.append(Again(metric, _accuracy(target)))
            continue
        config = {"_class_path": metric.corruption.class_path, **metric.corruption.init_args}
        corruption = rebuild(target.path, config, Corruption)
        if str(corruption) not in seen:
            seen[str(corruption)] = _reconstruction(target, corruption)
        done.append(Again(metric, seen[str(corruption)][metric.name]))
    return done
