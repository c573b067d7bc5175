"""The linear probe: how well a linear classifier on frozen codes does, beside what makes that meaningful."""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, NamedTuple

import torch
from scipy.stats import binomtest
from torch import Tensor

from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.splits import Split, rows_at_once
from daezoo.evaluation.features import describe, extract, numbered_classes, scale_of
from daezoo.evaluation.logreg import Linear, logistic_regression, nearest_neighbours, second_moment
from daezoo.evaluation.target import Target
from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder
from daezoo.models.base import GRID
from daezoo.report import say

PROTOCOL = "logreg-v1"
STRENGTHS = tuple(10.0**exponent for exponent in (0, -0.5, -1, -1.5, -2, -2.5, -3, -3.5, -4, -4.5, -5))
"""The grid of L2 strengths λ, from the strongest: each fit starts where the one before ended."""


TRAINING = signature(DenoisingDataModule).parameters.keys() - {"split_seed", "whiten", "classes"}
"""Arguments of a data module that do not change its samples."""


class Part(NamedTuple):
    """One split of a classification problem.

    Attributes:
        features: (N, D) float32.
        labels: (N,) int64, on the same device; -1 for a class unknown in training, which no prediction can meet.
    """

    features: Tensor
    labels: Tensor


class Probe(NamedTuple):
    """A fitted probe.

    Attributes:
        accuracy: On the test split, in [0, 1].
        interval: Its 95 % interval.
        strength: The λ that was picked.
        valid_accuracy: On the validation split, before the last fit: what it was picked by.
        mean: (D,) of the training features.
        scale: (D,) of the training features; 1 where they do not vary.
        classifier: On standardised features.
    """

    accuracy: float
    interval: tuple[float, float]
    strength: float
    valid_accuracy: float
    mean: Tensor
    scale: Tensor
    classifier: Linear

    def predict(self, features: Tensor) -> Tensor:
        """The class of samples with these features, (N,)."""
        return self.classifier.predict((features - self.mean) / self.scale)


def interval(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy by Wilson's score, for so many independent test samples."""
    low, high = binomtest(correct, total).proportion_ci(method="wilson")
    return float(low), float(high)


def accuracy_of(predicted: Tensor, labels: Tensor) -> tuple[float, tuple[float, float]]:
    """Accuracy and its 95 % interval."""
    correct, total = int((predicted == labels).sum()), len(labels)
    return correct / total, interval(correct, total)


@torch.inference_mode()
@exact_float32()
def predicted(predict: Callable[[Tensor], Tensor], split: Split, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """What a classifier makes of all clean samples of a split, in float32, and their labels: (N,) each, on the CPU.

    Args:
        predict: Labels of samples (batch, *shape), uint8 or in [0, 1].
        split: The samples.
        device: Where `predict` wants them.
    """
    found, labels = [], []
    for rows in torch.arange(len(split)).split(rows_at_once(split[0].clean.numel(), 512)):
        sample = split.__getitems__(rows)
        found.append(predict(sample.clean.to(device)).cpu())
        labels.append(sample.label)
    return torch.cat(found), torch.cat(labels)


def linear_probe(train: Part, valid: Part, test: Part, classes: int, strengths: Sequence[float] = STRENGTHS) -> Probe:
    """Protocol logreg-v1.

    Features are standardised by mean and standard deviation of the training split. For each λ of the grid a multinomial
    logistic regression is fitted to the training split; the λ with the best validation accuracy (of equals, the
    strongest) is fitted again to training and validation split together, and measured on the test split, once.

    Args:
        train: The training split.
        valid: The validation split.
        test: The test split.
        classes: Number of classes.
        strengths: The grid, from the strongest.
    """
    mean = train.features.mean(0)
    scale = scale_of(train.features.std(0, correction=0), mean)
    both = torch.cat([(part.features - mean) / scale for part in (train, valid)])
    labels = torch.cat([train.labels, valid.labels])
    fitted, held_out = both.split([len(train.labels), len(valid.labels)])
    covariance = second_moment(fitted)
    found: list[tuple[float, float, Linear]] = []
    for strength in strengths:
        start = found[-1][2] if found else None
        model = logistic_regression(fitted, train.labels, classes, strength, start, 1e-6, covariance)
        found.append((accuracy_of(model.predict(held_out), valid.labels)[0], strength, model))
    best = max(found, key=lambda one: (one[0], one[1]))
    known = labels >= 0
    model = logistic_regression(both[known], labels[known], classes, best[1], best[2], 1e-8, covariance)
    accuracy = accuracy_of(model.predict((test.features - mean) / scale), test.labels)
    return Probe(*accuracy, best[1], best[0], mean, scale, model)


def chosen_layers(layer: str, count: int) -> list[int]:
    """The layers, from 0, that `--layer` asks for: last, all, or a number from 1.

    Raises:
        ValueError: If there is no such layer.
    """
    if layer == "all":
        return list(range(count))
    if layer == "last":
        return [count - 1]
    if not (layer.isdecimal() and 1 <= int(layer) <= count):
        raise ValueError(f"--layer must be last, all or a number from 1 to {count}, got {layer!r}.")
    return [int(layer) - 1]


def protocol_of(model: DenoisingAutoencoder, layer: int) -> str:
    """The protocol's name for a layer, from 0 or, as -1, the last; for feature maps it says how they are pooled."""
    with torch.inference_mode():
        maps = model.encode_layers(torch.zeros(1, *model.shape, device=model.device))
    if maps[layer].ndim == 4:
        return f"{PROTOCOL}-avg{GRID}x{GRID}"
    return f"{PROTOCOL}-{model.code_pooling}" if maps[layer] is maps[-1] and model.code_pooling else PROTOCOL


def judge(target: Target, layer: str = "last", k: int = 20, known: dict[str, Probe] | None = None) -> dict[str, Any]:
    """Probe a model's codes, and what they have to be compared with.

    The model is left as it was.

    Args:
        target: The model and the data.
        layer: last, all, or a layer's number from 1.
        k: Neighbours that vote in the kNN classifier, by cosine similarity of codes as they are.
        known: Baselines of models judged before, which are the same for many; added to.

    Returns:
        `protocol`, `accuracy`, `interval` (95 %) of the last of the layers asked for; beside it `raw_pixels`, the same
        probe on the samples themselves, `untrained`, on the same encoder before training, and `knn`; all in [0, 1].
        `layers` has these and the numbers of `describe` for every layer asked for.

    Raises:
        ValueError: If samples have no labels, the training split has one class only, or there are fewer samples than
            `k` neighbours.
    """
    model, data = target.model, target.data
    classes, labels = numbered_classes(data)
    references = sum(int((labels[name] >= 0).sum()) for name in ("train", "valid"))
    if not 1 <= k <= references:
        raise ValueError(
            f"k must lie between 1 and the {references:,} samples that neighbours are sought among, got {k}."
        )
    shown = model.encode_layers(torch.zeros(1, *data.shape, device=model.device))
    chosen = chosen_layers(layer, len(shown))
    labels = {name: values.to(model.device) for name, values in labels.items()}

    def parts(codes: dict[str, list[Tensor]], number: int) -> tuple[Part, Part, Part]:
        train, valid, test = (Part(codes[name][number], labels[name]) for name in SPLITS)
        return train, valid, test

    def extracted(encoder: DenoisingAutoencoder | None) -> dict[str, list[Tensor]]:
        return {name: extract(encoder, data.splits[name], model.device) for name in SPLITS}

    known = {} if known is None else known
    samples = {name: value for name, value in data.hparams.items() if name not in TRAINING}
    on_data = f"{type(data).__qualname__} {samples}"
    if on_data not in known:
        say("probing raw pixels")
        known[on_data] = linear_probe(*parts(extracted(None), 0), classes)
    raw = known[on_data]
    codes = extracted(model)
    if not all(layer.isfinite().all() for split in codes.values() for layer in split):
        raise ValueError(f"The codes of {target.name} are not all finite: its training went wrong.")
    layers = []
    for number in chosen:
        train, valid, test = parts(codes, number)
        say(f"probing layer {number + 1}: {test.features.shape[1]:,} features")
        probe = linear_probe(train, valid, test, classes)
        votes, voters = (torch.cat([train[place], valid[place]]) for place in (1, 0))
        guesses = nearest_neighbours(voters[votes >= 0], votes[votes >= 0], test.features, k)
        knn = accuracy_of(guesses, test.labels)
        layers.append(
            {
                "layer": number + 1,
                "protocol": protocol_of(model, number),
                "features": test.features.shape[1],
                "accuracy": probe.accuracy,
                "interval": probe.interval,
                "strength": probe.strength,
                "valid_accuracy": probe.valid_accuracy,
                "knn": knn[0],
                "knn_interval": knn[1],
                "codes": describe(model, data, test.features, number, data.evaluation_corruption),
            }
        )
    del codes, train, valid, test, voters  # as large as what comes next
    before = [f"{on_data} {target.seed} {number} {dict(model.hparams)}" for number in chosen]
    random = {} if known.keys() >= set(before) else extracted(target.untrained())
    for one, number, key in zip(layers, chosen, before, strict=True):
        if key not in known:
            say(f"probing layer {number + 1} before training")
            known[key] = linear_probe(*parts(random, number), classes)
        one |= {"untrained": known[key].accuracy, "untrained_interval": known[key].interval}
    last = layers[-1]
    return {
        "target": target.name,
        "step": target.step,
        "threads": torch.get_num_threads(),
        "model": type(model).__name__,
        "data": type(data).__name__,
        "data_arguments": {name: value for name, value in samples.items() if not name.startswith("_")},
        "samples": {name: len(values) for name, values in labels.items()},
        "classes": classes,
        "protocol": last["protocol"],
        "accuracy": last["accuracy"],
        "interval": last["interval"],
        "raw_pixels": raw.accuracy,
        "raw_pixels_interval": raw.interval,
        "untrained": last["untrained"],
        "knn": last["knn"],
        "k": k,
        "layers": layers,
    }
