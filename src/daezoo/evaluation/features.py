"""Features of clean samples, and what can be said of them without labels."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from daezoo.corruption import Corruption
from daezoo.data.base import DenoisingDataModule
from daezoo.data.splits import Split, rows_at_once, spread, to_unit
from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder
from daezoo.models.base import pooled

EXAMINED = 2_000
"""Test samples, evenly spread, from which effective rank and invariance are computed."""
LEVELS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Noise levels of the invariance curve."""


def scale_of(deviation: Tensor, mean: Tensor) -> Tensor:
    """What features are divided by: their deviation, or 1 where they do not vary, up to rounding; (D,)."""
    return torch.where(deviation > 1e-6 * mean.abs() + 1e-12, deviation, torch.ones_like(deviation))


def layer_codes(model: DenoisingAutoencoder, x: Tensor) -> list[Tensor]:
    """The codes of every layer as vectors: feature maps are pooled.

    Args:
        model: In eval mode.
        x: Clean or noisy samples in [0, 1], (batch, *shape).

    Returns:
        A tensor (batch, D) for each layer; the last is that of `encode`.
    """
    return [pooled(layer).flatten(1) for layer in model.encode_layers(x)]


@torch.inference_mode()
@exact_float32()
def extract(model: DenoisingAutoencoder | None, split: Split, device: torch.device) -> list[Tensor]:
    """The codes of all clean samples of a split, one (N, D) float32 tensor for each layer; with no model, the samples.

    So many samples at a time that nothing else, such as the batch size, decides the last digit.

    Args:
        model: In eval mode.
        split: The samples.
        device: Where they go.
    """
    chunks = []
    for rows in torch.arange(len(split)).split(rows_at_once(split[0].clean.numel(), 512)):
        x = to_unit(split.__getitems__(rows).clean.to(device))
        chunks.append([x.flatten(1)] if model is None else layer_codes(model, x))
    # a copy, because what is made in inference mode cannot be used outside
    return [torch.cat(layer).float() for layer in zip(*chunks, strict=True)]


def classes_of(split: Split) -> Tensor:
    """The labels of a split's samples, (N,).

    Raises:
        ValueError: If a sample has none.
    """
    chunks = torch.arange(len(split)).split(rows_at_once(split[0].clean.numel()))
    labels = torch.cat([split.__getitems__(rows).label for rows in chunks])
    missing = int((labels < 0).sum())
    if missing:
        raise ValueError(
            f"Every sample needs a label here, but {missing:,} of {len(labels):,} have none. "
            "Give arrays train_labels and test_labels, or choose labelled data."
        )
    return labels


def places(classes: Tensor, labels: Tensor) -> Tensor:
    """Each label's place in the sorted classes, -1 for one that is none of them; (N,)."""
    found = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
    return torch.where(classes[found] == labels, found, -1)


def numbered_classes(data: DenoisingDataModule) -> tuple[int, dict[str, Tensor]]:
    """The number of classes, and each split's labels as class numbers.

    Returns:
        How many classes the training split has, and for each split (N,) int64: places in the sorted list of these
        classes, -1 for a class that the training split does not have.

    Raises:
        ValueError: If samples have no labels, or the training split has one class only.
    """
    labels = {name: classes_of(split) for name, split in data.splits.items()}
    classes = labels["train"].unique()
    if len(classes) < 2:
        raise ValueError(
            f"A classifier needs two classes or more, but all {len(labels['train']):,} training samples of "
            f"{type(data).__name__} are of class {int(classes[0])}."
        )
    return len(classes), {name: places(classes, values) for name, values in labels.items()}


def effective_rank(codes: Tensor) -> float:
    """Effective rank: exp of the entropy of the singular values' shares (Roy and Vetterli, 2007), of centred codes.

    exp(−Σ p log p), p = s / Σ s, s the singular values of the (N, D) matrix of codes less their mean; from 1 to
    min(N, D), or 0 if all codes are equal.
    """
    moved = codes.double() - codes[0].double()  # so that equal codes are exactly 0
    values = torch.linalg.svdvals(moved - moved.mean(0))
    shares = values[values > 0] / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum())) if len(shares) else 0.0


@torch.inference_mode()
@exact_float32()
def describe(
    model: DenoisingAutoencoder, data: DenoisingDataModule, codes: Tensor, layer: int, corruption: Corruption
) -> dict[str, Any]:
    """Numbers that representation analysis asks for, without labels.

    Args:
        model: In eval mode.
        data: Whose test samples are used.
        codes: A layer's codes of all of them, (N, D).
        layer: The layer, from 0.
        corruption: The noise of the invariance curve.

    Returns:
        `mean_activation`; `dead`, the share of units that are the same for every sample (such as a rectified unit
        that is never active); `saturated`, the share of activations of logistic units below 0.05 or above 0.95 (None
        for other units); `effective_rank` of the codes of EXAMINED samples, at most their number; `invariance`, a list
        of `level` and `cosine`, the mean over these samples of the cosine between the codes of clean and noisy, at
        LEVELS of the corruption (or as it is, where it has no single level); `cosine_between_samples`, that between
        the codes of different clean samples, beside which the others mean something.
    """
    test = data.splits["test"]
    rows = spread(len(test), EXAMINED)
    some = codes[rows.to(codes.device)]
    curve = []
    for noise in [corruption.at(level) for level in LEVELS] if corruption.level is not None else [corruption]:
        parts = []
        for chosen, clean in zip(rows.split(512), some.split(512), strict=True):
            batch = data.evaluation_batch(test.__getitems__(chosen), "test", noise)
            noisy = layer_codes(model, batch.noisy.to(codes.device))[layer].float()
            parts.append(F.cosine_similarity(clean, noisy))
        level = None if noise.level is None else noise.level.bounds[0]
        curve.append({"level": level, "cosine": float(torch.cat(parts).double().mean())})
    logistic = getattr(model, "activation", None) == "sigmoid"
    return {
        "mean_activation": float(codes.double().mean()),
        "dead": float((codes.amax(0) == codes.amin(0)).double().mean()),
        "saturated": float(((codes < 0.05) | (codes > 0.95)).double().mean()) if logistic else None,
        "effective_rank": effective_rank(some),
        "corruption": type(corruption).__name__,
        "invariance": curve,
        "cosine_between_samples": float(F.cosine_similarity(some, some.roll(1, 0)).double().mean()),
    }
