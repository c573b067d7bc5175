"""How the noise level is drawn: fixed, uniform or log-uniform per sample, or progressive over training."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite, log

import torch
from torch import Tensor


class Level(ABC):
    """A rule that gives every sample of a batch its noise level."""

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ValueError: If a bound is no finite number.
        """
        for name, value in vars(self).items():
            if not isinstance(value, int | float) or not isfinite(value):
                raise ValueError(f"{type(self).__name__} {name} must be a finite number, got {value!r}.")

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest level that can come."""

    @abstractmethod
    def draw(
        self, batch: int, generator: torch.Generator | None, progress: float, device: torch.device | None = None
    ) -> Tensor:
        """Levels of a batch, (batch,).

        Args:
            batch: Number of samples.
            generator: Where random levels are drawn from; torch's global one if None.
            progress: Share of the training that is over, in [0, 1].
            device: Where the levels are wanted.
        """

    @abstractmethod
    def moment(self, power: int) -> float:
        """The mean of levelᵖ, p the power, at the end of the training."""


@dataclass(frozen=True)
class Fixed(Level):
    """The same level for every sample; a plain number means this.

    Args:
        value: The level.
    """

    value: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The value, twice."""
        return self.value, self.value

    def draw(
        self, batch: int, generator: torch.Generator | None, progress: float, device: torch.device | None = None
    ) -> Tensor:
        """The value, `batch` times."""
        return torch.full((batch,), self.value, device=device)

    def moment(self, power: int) -> float:
        """The value's power."""
        return self.value**power


@dataclass(frozen=True)
class Uniform(Level):
    """A level of its own for every sample, uniform in [low, high).

    Args:
        low: Smallest level.
        high: Largest level.

    Raises:
        ValueError: If low > high.
    """

    low: float = 0.0
    high: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"Uniform needs low <= high, got low={self.low} and high={self.high}.")

    @property
    def bounds(self) -> tuple[float, float]:
        """Low and high."""
        return self.low, self.high

    def draw(
        self, batch: int, generator: torch.Generator | None, progress: float, device: torch.device | None = None
    ) -> Tensor:
        """One independent level per sample."""
        return self.low + (self.high - self.low) * torch.rand(batch, generator=generator, device=device)

    def moment(self, power: int) -> float:
        """(aᵖ + aᵖ⁻¹b + … + bᵖ) / (p + 1), a and b the bounds."""
        return sum(self.low ** (power - k) * self.high**k for k in range(power + 1)) / (power + 1)


@dataclass(frozen=True)
class LogUniform(Level):
    """A level of its own for every sample, whose logarithm is uniform in [ln low, ln high): each scale as often.

    Args:
        low: Smallest level, > 0.
        high: Largest level.

    Raises:
        ValueError: If not 0 < low <= high.
    """

    low: float = 0.01
    high: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.low <= self.high:
            raise ValueError(f"LogUniform needs 0 < low <= high, got low={self.low} and high={self.high}.")

    @property
    def bounds(self) -> tuple[float, float]:
        """Low and high."""
        return self.low, self.high

    def draw(
        self, batch: int, generator: torch.Generator | None, progress: float, device: torch.device | None = None
    ) -> Tensor:
        """One independent level per sample."""
        part = torch.rand(batch, generator=generator, device=device)
        return (log(self.low) + log(self.high / self.low) * part).exp()

    def moment(self, power: int) -> float:
        """(bᵖ − aᵖ) / (p ln(b/a)), a and b the bounds."""
        if power == 0 or self.low == self.high:
            return self.low**power
        return (self.high**power - self.low**power) / (power * log(self.high / self.low))


@dataclass(frozen=True)
class Progressive(Level):
    """A level that moves over training: start + progress * (stop - start), the same for all samples of a batch.

    Outside training, progress is 1 and the level is `stop`.

    Args:
        start: Level at the first step.
        stop: Level after the last.
    """

    start: float = 0.0
    stop: float = 0.5

    @property
    def bounds(self) -> tuple[float, float]:
        """The smaller and the larger of start and stop."""
        return min(self.start, self.stop), max(self.start, self.stop)

    def draw(
        self, batch: int, generator: torch.Generator | None, progress: float, device: torch.device | None = None
    ) -> Tensor:
        """The level at this point of the training, `batch` times."""
        return torch.full((batch,), self.start + progress * (self.stop - self.start), device=device)

    def moment(self, power: int) -> float:
        """That of `stop`."""
        return self.stop**power
