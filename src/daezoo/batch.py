"""The tuples that cross the border between data, corruptions and models."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Corrupted(NamedTuple):
    """What a corruption returns.

    Attributes:
        noisy: Corrupted input, shaped like the clean one: (batch, *dims).
        level: One noise level per sample, (batch,): sigma in data units, or a probability.
        mask: True where an element was corrupted, (batch, *dims).
    """

    noisy: Tensor
    level: Tensor
    mask: Tensor


class Noise(Protocol):
    """A source of noise that is a function of a key: the same call gives the same noise."""

    def __call__(self, corruption: Any, clean: Tensor, stream: str) -> Corrupted:
        """Corrupt `clean`; `stream` names what the noise is for, and differently named streams are independent."""


class Sample(NamedTuple):
    """What a data set yields, already batched and uncorrupted.

    Attributes:
        clean: (batch, *dims); uint8 in 0..255 or floating point in [0, 1].
        label: (batch,) int64; -1 where there is none.
        index: (batch,) int64, the sample's place in its split.
        noisy: Shaped as `clean`, where the data comes with noisy samples of its own; else None.
        observed: False where a value is missing, and `clean` stands for none, (batch, *dims); None if all are there.
    """

    clean: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    noisy: Tensor | None = None
    observed: Tensor | None = None


class Batch(NamedTuple):
    """What a model sees, on its device.

    Attributes:
        noisy: Corrupted input, (batch, *dims).
        clean: The target, floating point in [0, 1], (batch, *dims).
        level: Noise level of each sample, (batch,).
        mask: True where an element was corrupted, (batch, *dims).
        label: (batch,) int64; -1 where there is none.
        index: (batch,) int64, the sample's place in its split.
        noise: Where this batch's noise came from, for models that corrupt codes of their own.
        observed: False where a value of `clean` is missing, (batch, *dims); None if all are there.
        corruption: What made `noisy` of `clean`, for training that corrupts again; None if that is not known.
    """

    noisy: Tensor
    clean: Tensor
    level: Tensor
    mask: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    noise: Noise
    observed: Tensor | None = None
    corruption: Any = None

    def squared_error(self, guess: Tensor) -> Tensor:
        """(guess − clean)², (batch, *dims), weighted so that a sample's mean is that over its observed elements."""
        error = (guess - self.clean).square()
        if self.observed is None:
            return error
        return error * self.observed / self.observed.float().mean(tuple(range(1, error.ndim)), keepdim=True)
