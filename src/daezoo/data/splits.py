"""Splits of a data set: samples by row number, and how to go over them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from copy import copy

import torch
from torch import Tensor
from torch.utils.data import Dataset

from daezoo.batch import Sample

FINGERPRINTED = 1024
"""Samples in the fingerprint of a split that is not held in memory, or larger than a GiB."""


def digest(parts: Iterable[Tensor], *words: object) -> str:
    """The sha256 of tensors, with their shapes and types, and of other things as they are written in Python."""
    found = hashlib.sha256(repr(words).encode())
    for part in parts:
        found.update(repr((tuple(part.shape), part.dtype)).encode())
        found.update(part.contiguous().numpy().data)
    return found.hexdigest()


class Split(Dataset[Sample], ABC):
    """One split: samples by row number, a batch at a time."""

    epoch_size: int | None = None
    """Samples drawn per training epoch, with repetition; None for every sample once."""

    runs: Sequence[int] | None = None
    """Lengths of the runs of rows that lie together on disk and are best read together; None if any order will do."""

    @property
    def nbytes(self) -> int | None:
        """Bytes that `on` would take on a device; None if the samples are not held in memory."""
        return None

    def on(self, device: torch.device) -> "Split":
        """The same split with its samples on a device; rows are then given there too."""
        raise NotImplementedError(f"{type(self).__name__} does not hold its samples in memory.")

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def __getitems__(self, rows: Tensor) -> Sample:
        """The samples of these rows, (batch,) int64, in one vectorised index."""

    @abstractmethod
    def mean(self) -> Tensor:
        """The mean sample, (*dims), in [0, 1]: what a model that knows nothing of its input would predict."""

    def fingerprint(self) -> str:
        """A digest that other samples, or more or fewer of them, hardly share: of `FINGERPRINTED` spread ones."""
        sample = self.__getitems__(spread(len(self), FINGERPRINTED))
        return digest([part for part in sample if part is not None], len(self))

    def __getitem__(self, row: int) -> Sample:
        """One sample, without the batch dimension."""
        sample = self.__getitems__(torch.tensor([row]))
        return Sample._make(None if part is None else part[0] for part in sample)


class InMemory(Split):
    """A split of samples held in one tensor, which may be mapped from a file.

    Args:
        clean: (N, *dims), uint8 or floating point in [0, 1].
        label: (N,) int64; -1 for all if None.
        rows: (M,) which of them make up the split, in this order; all if None.

    Raises:
        ValueError: If the split is empty or the lengths differ.
    """

    def __init__(self, clean: Tensor, label: Tensor | None = None, rows: Tensor | None = None) -> None:
        self.clean = clean
        self.label = torch.full((len(clean),), -1) if label is None else label.long()
        self.rows = torch.arange(len(clean)) if rows is None else rows
        if len(self.rows) == 0:
            raise ValueError("A split has no samples.")
        if len(self.label) != len(clean):
            raise ValueError(f"There must be one label for each sample, got {len(self.label)} for {len(clean)}.")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, rows: Tensor) -> Sample:
        places = self.rows[rows]
        return Sample(self.clean.index_select(0, places), self.label[places], rows)

    def mean(self) -> Tensor:
        """The mean of all samples, a few at a time."""
        chunks = self.rows.sort().values.split(rows_at_once(self.clean[0].numel()))
        return mean_of(self.clean.index_select(0, places) for places in chunks)

    @property
    def nbytes(self) -> int:
        """Bytes of the split's samples."""
        return len(self) * self.clean[0].nbytes

    def fingerprint(self) -> str:
        """Of all samples, up to a GiB of them."""
        if self.nbytes > 2**30:
            return super().fingerprint()
        return digest([self.clean, self.label, self.rows])

    def on(self, device: torch.device) -> "InMemory":
        """The same split with its samples on a device; rows are then given there too."""
        moved = copy(self)
        moved.clean, moved.label = (part[self.rows].to(device) for part in (self.clean, self.label))
        moved.rows = torch.arange(len(self), device=device)
        return moved


class Subset(Split):
    """Some samples of another split.

    Args:
        split: The other split.
        rows: (M,) which of its samples, in this order.
        epoch_size: Samples drawn per training epoch, with repetition; None for every sample once.
    """

    def __init__(self, split: Split, rows: Tensor, epoch_size: int | None = None) -> None:
        self.split, self.rows, self.epoch_size = split, rows, epoch_size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, rows: Tensor) -> Sample:
        return self.split.__getitems__(self.rows[rows])._replace(index=rows)

    def mean(self) -> Tensor:
        """The mean of these samples."""
        return mean_of(self.__getitems__(rows).clean for rows in torch.arange(len(self)).split(512))


def of_classes(splits: dict[str, Split], classes: Sequence[int]) -> dict[str, Split]:
    """The same splits, training and validation with the samples of some classes alone.

    Raises:
        ValueError: If the samples have no labels in memory, or the training split has not all of these classes.
    """
    kept = {name: split for name, split in splits.items() if isinstance(split, InMemory) and name != "test"}
    labels = {name: split.label[split.rows] for name, split in kept.items()}
    if len(kept) < 2 or any((label < 0).any() for label in labels.values()):
        raise ValueError(
            "classes choose among samples by their labels, and these have none, or are not held in memory. Leave "
            "--data.classes out, or choose labelled data: digits, mnist, or arrays with train_labels."
        )
    known = set(labels["train"].tolist())
    if not classes or not known.issuperset(classes):
        raise ValueError(f"classes must be some of {sorted(known)}, got {list(classes)}.")
    found: dict[str, Split] = {}
    for name, split in kept.items():
        found[name] = chosen = copy(split)
        chosen.rows = split.rows[torch.isin(labels[name], torch.tensor(classes))]
    return splits | found


def check_room(samples: int, *shape: int) -> None:
    """Raise ValueError if so many samples, of a byte an element, could not be held in memory."""
    try:
        torch.empty(samples, *shape, dtype=torch.uint8)
    except (RuntimeError, TypeError) as error:  # TypeError: a number of more than 64 bits
        raise ValueError(
            f"{samples:,} samples of shape {shape} are more than this machine can hold. Ask for fewer."
        ) from error


def rows_at_once(elements: int, most: int = 2**22) -> int:
    """How many samples of so many elements to take at a time in a pass over data that may not fit into memory.

    Args:
        elements: Of one sample.
        most: Samples at the most.
    """
    return max(1, min(most, 2**22 // elements))


def spread(size: int, wanted: int) -> Tensor:
    """So many rows of a split of some size, evenly spread; all of them if there are fewer."""
    return torch.linspace(0, size - 1, min(size, wanted), dtype=torch.float64).round().long()


def mean_of(chunks: Iterable[Tensor]) -> Tensor:
    """The mean sample of chunks (batch, *dims), in [0, 1]."""
    chunk, count, total = torch.empty(0), 0, torch.zeros((), dtype=torch.float64)
    for chunk in chunks:
        total, count = total + chunk.sum(0, dtype=torch.float64), count + len(chunk)
    return (total / count / (255 if chunk.dtype == torch.uint8 else 1)).float()


def to_unit(values: Tensor) -> Tensor:
    """Values as float32 in [0, 1]: uint8 is divided by 255."""
    return values.float() / 255 if values.dtype == torch.uint8 else values.float()
