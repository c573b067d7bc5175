"""ZCA whitening of a data set that is held in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

from daezoo.data.splits import InMemory, Split, rows_at_once, to_unit

CONTRAST = (10 / 255) ** 2
"""Added to a sample's variance, so that noise in a flat one is not blown up."""

SMOOTHING = 0.1
"""Added to the eigenvalues, so that directions of next to no variance stay small."""

DEVIATIONS = 3.0
"""Whitened values of so many standard deviations to either side of 0 are mapped to [0, 1]."""

LARGEST = 8192
"""Elements of the largest sample whose covariance is decomposed."""


def whiten(splits: dict[str, Split]) -> dict[str, Split]:
    """The same splits with every sample normalised for contrast, whitened, and mapped to [0, 1] again.

    u = (x − mean(x)) / √(var(x) + (10/255)²), z = E (Λ + 0.1)^(−1/2) Eᵀ (u − μ), y = clip(1/2 + z / (6 s), 0, 1): μ and
    E Λ Eᵀ are mean and covariance of u over the training split, s is the standard deviation of z over all its elements.
    Neighbouring pixels are then hardly correlated, as Coates et al. (2011, "An Analysis of Single-Layer Networks in
    Unsupervised Feature Learning") want patches; this whitens whole samples.

    Args:
        splits: train, valid and test, in memory. For samples of 3,072 elements it takes about half a minute on a core.

    Raises:
        ValueError: If a split is not in memory, samples are too large, or the training samples do not differ.
    """
    lazy = [name for name, split in splits.items() if not isinstance(split, InMemory)]
    if lazy:
        raise ValueError(
            f"Whitening needs data held in memory; {' and '.join(lazy)} is read bit by bit. Whiten it first."
        )
    held = {name: split for name, split in splits.items() if isinstance(split, InMemory)}
    width = held["train"].clean[0].numel()
    if width > LARGEST:
        raise ValueError(f"Whitening takes samples of up to {LARGEST} elements, got {width}. Use smaller images.")
    count = len(held["train"])
    mean, covariance = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for part in _normalised(held["train"]):
        mean += part.sum(0, dtype=torch.float64) / count
    for part in _normalised(held["train"]):
        centred = part - mean.float()
        covariance += centred.mT @ centred / count
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0)
    scale = (values / (values + SMOOTHING)).mean().sqrt()
    if scale < 1e-6:
        raise ValueError("The training samples do not differ but in brightness and contrast; they cannot be whitened.")
    to_white = (vectors * (values + SMOOTHING).rsqrt() @ vectors.mT / (2 * DEVIATIONS * scale)).float()
    offset = 0.5 - mean.float() @ to_white

    def whitened(split: InMemory) -> InMemory:
        clean = torch.empty(len(split), *split.clean.shape[1:])
        start = 0
        for part in _normalised(split):
            clean[start : start + len(part)] = (part @ to_white + offset).clamp(0, 1).view(-1, *clean.shape[1:])
            start += len(part)
        return InMemory(clean, split.label[split.rows])

    return {name: whitened(split) for name, split in held.items()}


def _normalised(split: InMemory) -> Iterator[Tensor]:
    """A split's samples a few at a time, (rows, D) float32, without their own mean and contrast."""
    for places in split.rows.split(rows_at_once(split.clean[0].numel())):
        x = to_unit(split.clean[places]).flatten(1)
        x = x - x.mean(1, keepdim=True)
        yield x / (x.square().mean(1, keepdim=True) + CONTRAST).sqrt()
