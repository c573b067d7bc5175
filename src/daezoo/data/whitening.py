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

    Black is then far below the mean, by 3 s or more: Gaussian noise suits such data, masking does not.

    Args:
        splits: train, valid and test. All of it is then held in memory, as float32, by every process. For 40,000
            samples of 3,072 elements it takes about half a minute on a core.

    Raises:
        ValueError: If the samples of a split are not fixed, they are too large, or the training samples do not differ.
    """
    lazy = [name for name, split in splits.items() if not isinstance(split, InMemory)]
    if lazy:
        raise ValueError(
            f"Whitening needs a fixed set of samples; {' and '.join(lazy)} is cut or read anew each time. Whiten the "
            "files first, or use arrays."
        )
    held = {name: split for name, split in splits.items() if isinstance(split, InMemory)}
    # in the order of what may be mapped from a file
    train = InMemory(held["train"].clean, held["train"].label, held["train"].rows.sort().values)
    width = train.clean[0].numel()
    if width > LARGEST:
        raise ValueError(f"Whitening takes samples of up to {LARGEST} elements, got {width}. Use smaller images.")
    count = len(train)
    mean, covariance = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for part in _normalised(train):
        mean += part.sum(0, dtype=torch.float64) / count
    for part in _normalised(train):
        centred = part - mean.float()
        covariance += centred.mT @ centred / count
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0)
    scale = (values / (values + SMOOTHING)).mean().sqrt()
    if scale < 1e-3:  # what is left is rounding
        raise ValueError("The training samples do not differ, or in brightness alone; they cannot be whitened.")
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
