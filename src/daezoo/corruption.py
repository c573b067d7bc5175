"""Corruption processes q(noisy | clean): frozen dataclasses that run on any device, with or without Lightning.

>>> import torch
>>> noisy, level, mask = Masking(0.25)(torch.ones(8, 1, 28, 28))

No corruption changes its input, keeps state, or rescales what survives (masking is not dropout).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from io import BytesIO
from math import ceil, fsum, isfinite, log, pi
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from daezoo.batch import Corrupted
from daezoo.schedule import Fixed, Level

Samples = Float[Tensor, "batch *dims"]
PerSample = Float[Tensor, " batch"]


class Corruption(ABC):
    """A corruption process q(noisy | clean).

    A subclass is a frozen dataclass that names the field holding its level and draws the noise when called.

    Attributes:
        measure: What exp of `log_prob` is, a "probability" or a "density"; None if neither, or there is none.
    """

    measure: ClassVar[str | None] = None
    level_name: ClassVar[str | None] = None
    highest: ClassVar[float] = 1.0
    unit: ClassVar[str] = "probability"

    def __post_init__(self) -> None:
        """Check the level's range.

        Raises:
            ValueError: If the level can leave its range.
        """
        if self.level_name is not None:
            self._check(self.level_name, self.highest, int | float | Level)

    def _check(self, name: str, highest: float, kind: Any = int | float) -> None:
        value = getattr(self, name)
        if not isinstance(value, kind):
            wanted = "a number or a Level" if Level in get_args(kind) else "a number"
            raise ValueError(f"{type(self).__name__} {name} must be {wanted}, got {value!r}.")
        low, high = value.bounds if isinstance(value, Level) else (value, value)
        if not (0.0 <= low <= high <= highest) or high == float("inf"):
            allowed = f"lie in [0, {highest:g}]" if highest < float("inf") else "be finite and at least 0"
            raise ValueError(f"{type(self).__name__} {name} must {allowed}, got {value}.")

    @property
    def level(self) -> Level | None:
        """How the level is drawn; None where there is not one single level."""
        if self.level_name is None:
            return None
        value = getattr(self, self.level_name)
        return value if isinstance(value, Level) else Fixed(float(value))

    def at(self, level: float) -> "Corruption":
        """The same corruption at another, fixed level.

        Raises:
            ValueError: If there is no single level to set, or it lies out of range.
        """
        if self.level_name is None:
            raise ValueError(f"{type(self).__name__} has no single level that could be set to {level}.")
        return replace(self, **{self.level_name: level})  # type: ignore[type-var]

    def bound(self, reservoir: "Callable[[], Reservoir]") -> "Corruption":
        """The same corruption, with samples to take values from: what `SwapNoise` needs, alone or in others."""
        return self

    @abstractmethod
    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Draw noisy from q(noisy | clean).

        Args:
            clean: Clean samples, (batch, *dims); not modified.
            generator: Where the noise is drawn from, on the device of `clean`; torch's global one if None.
            progress: Share of the training that is over, in [0, 1], for progressive levels.
        """

    def log_prob(self, noisy: Samples, clean: Samples) -> PerSample:
        """The logarithm of q(noisy | clean) in nats, summed over elements: -inf where no noise leads.

        Args:
            noisy: Noisy samples, (batch, *dims).
            clean: Clean samples of the same shape.

        Raises:
            ValueError: If no formula of it is known, the level is not fixed or leaves no density, or shapes differ.
        """
        raise ValueError(f"{type(self).__name__} has no log_prob: no formula of q(noisy | clean) is known.")

    def score(self, noisy: Samples, clean: Samples) -> Samples:
        """The gradient of `log_prob` with respect to noisy, (batch, *dims).

        Raises:
            ValueError: If q(noisy | clean) is no density, or one without a formula; else as `log_prob`.
        """
        raise ValueError(f"{type(self).__name__} has no score: q(noisy | clean) is no density of a known formula.")

    def mean_squared_error_of_identity(self, clean: Samples) -> PerSample:
        """E‖noisy − clean‖² / elements over the noise and its level: what leaving everything as it is costs.

        A progressive level is at its end.

        Raises:
            ValueError: If no formula of it is known.
        """
        self._check_floating(clean)
        none = torch.zeros_like(clean)
        return _flat(self._moved(clean, none, none)[1]).mean(1)

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        """E[e] and E[e²] of noisy = clean + e, from those before this corruption: what makes `Compose` easy."""
        raise ValueError(f"{type(self).__name__} has no mean_squared_error_of_identity: no formula of it is known.")

    def _moment(self, power: int) -> float:
        assert self.level is not None
        return self.level.moment(power)

    def _fixed_level(self, method: str, noisy: Tensor, clean: Tensor) -> float:
        """The level, if samples and level are such that the method has an answer."""
        self._check_floating(noisy, clean)
        if noisy.shape != clean.shape:
            shapes = f"{tuple(noisy.shape)} and {tuple(clean.shape)}"
            raise ValueError(f"{type(self).__name__} {method} needs noisy and clean of one shape, got {shapes}.")
        assert self.level is not None
        level, highest = self.level.bounds
        if level < highest:
            raise ValueError(f"{type(self).__name__} {method} needs a fixed level, got {self.level}: use .at(level).")
        if level == 0 and self.measure == "density":
            raise ValueError(f"{type(self).__name__} {method} needs {self.level_name} > 0: at 0 it is a point mass.")
        return float(level)

    def _check_floating(self, *samples: Tensor) -> None:
        for one in samples:
            if not one.is_floating_point():
                raise ValueError(
                    f"{type(self).__name__} is for floating point in [0, 1], got {one.dtype}: divide by 255."
                )

    def draw_level(self, clean: Samples, generator: torch.Generator | None, progress: float) -> Tensor:
        """A level for each sample, shaped to broadcast against `clean`: (batch, 1, …).

        Raises:
            ValueError: If `clean` is of whole numbers.
        """
        self._check_floating(clean)
        if self.level is None:
            return torch.zeros(len(clean), *[1] * (clean.ndim - 1), device=clean.device)
        level = self.level.draw(len(clean), generator, progress, clean.device)
        return level.view(-1, *[1] * (clean.ndim - 1))


def _hit(clean: Tensor, generator: torch.Generator | None, *ratios: Tensor) -> list[Tensor]:
    """For each ratio, which elements are hit with that probability; the sets for rising ratios are nested.

    An element takes 16 random bits, so that one 64-bit draw serves four: three times as fast as a uniform number for
    each. The thresholds are rounded up or down at random, once a sample, which makes the probabilities exact.
    """
    elements = clean.numel()
    draws = torch.empty((elements + 3) // 4, dtype=torch.int64, device=clean.device)
    bits = draws.random_(-(2**63), None, generator=generator).view(torch.int16)[:elements].view(clean.shape)
    dither = torch.rand(len(clean), generator=generator, device=clean.device).view(-1, *[1] * (clean.ndim - 1))
    steps = [ratio * 2**16 for ratio in ratios]
    return [bits < step.int() + (dither < step.frac()).int() - 2**15 for step in steps]


def _normal(clean: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)


def _flat(elements: Tensor) -> Tensor:
    """(batch, *dims) as (batch, D), of samples that are numbers too."""
    return elements[:, None].flatten(1)


def _log_normal(error: Tensor, sigma: Tensor | float) -> Tensor:
    return -0.5 * (error / sigma).square() - torch.as_tensor(sigma, dtype=error.dtype).log() - 0.5 * log(2 * pi)


def _log_chances(clean: Tensor, *chances: tuple[float, Tensor]) -> Tensor:
    """For each element, the logarithm of the sum of those probabilities whose condition holds.

    Sums are taken in float64 on the CPU, so that what is certain has the probability 1 in float32 too.
    """
    sums = [fsum(chance for place, (chance, _) in enumerate(chances) if key >> place & 1) for key in range(8)]
    key = torch.stack([holds.long() << place for place, (_, holds) in enumerate(chances)]).sum(0)
    return torch.tensor(sums, dtype=torch.float64).log().to(clean)[key]


@dataclass(frozen=True)
class Clean(Corruption):
    """No corruption: the plain autoencoder."""

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """A copy, and nothing masked."""
        level = self.draw_level(clean, generator, progress)
        return Corrupted(clean.clone(), level.flatten(), torch.zeros_like(clean, dtype=torch.bool))

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        return error, square


@dataclass(frozen=True)
class Recorded(Corruption):
    """Noise that the data brings along: see `daezoo.data.PairsData`. No level is known; it counts as 0."""

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Not to be drawn.

        Raises:
            ValueError: Always.
        """
        raise ValueError("Recorded noise cannot be drawn: it comes with the data, of --data pairs. Take another noise.")

    def between(self, clean: Samples, noisy: Samples) -> Corrupted:
        """The noise between clean samples and their noisy counterparts, (batch, *dims)."""
        return Corrupted(noisy, self.draw_level(clean, None, 1.0).flatten(), noisy != clean)


@dataclass(frozen=True)
class Gaussian(Corruption):
    """Additive Gaussian noise: x̃ = x + σ ε, ε ~ N(0, I).

    Every element counts as corrupted where σ > 0. Nothing is clipped.

    Args:
        sigma: Standard deviation in data units, >= 0.

    Raises:
        ValueError: If `sigma` is negative or not finite.
    """

    sigma: float | Level = 0.5
    level_name: ClassVar[str] = "sigma"
    unit: ClassVar[str] = "data units"
    highest: ClassVar[float] = float("inf")
    measure: ClassVar[str] = "density"

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Add the noise."""
        level = self.draw_level(clean, generator, progress)
        noisy = clean + level.to(clean.dtype) * _normal(clean, generator)
        return Corrupted(noisy, level.flatten(), (level > 0).expand_as(clean))

    def log_prob(self, noisy: Samples, clean: Samples) -> PerSample:
        """The log-density."""
        sigma = self._fixed_level("log_prob", noisy, clean)
        return _flat(_log_normal(noisy - clean, sigma)).sum(1)

    def score(self, noisy: Samples, clean: Samples) -> Samples:
        """(x − x̃) / σ²."""
        sigma = self._fixed_level("score", noisy, clean)
        return (clean - noisy) / sigma**2

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        return error, square + self._moment(2)


@dataclass(frozen=True)
class Masking(Corruption):
    """Masking noise: each element is set to 0 with probability `ratio`.

    x̃ᵢ = 0 with probability `ratio`, else x̃ᵢ = xᵢ (Vincent et al., 2008).
    Survivors keep their value; unlike dropout, nothing is rescaled.

    Args:
        ratio: Masking ratio, a probability in [0, 1].

    Raises:
        ValueError: If `ratio` lies outside [0, 1].
    """

    ratio: float | Level = 0.25
    level_name: ClassVar[str] = "ratio"
    measure: ClassVar[str] = "probability"

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Set the masked elements to 0."""
        level = self.draw_level(clean, generator, progress)
        (mask,) = _hit(clean, generator, level)
        return Corrupted(clean.masked_fill(mask, 0.0), level.flatten(), mask)

    def log_prob(self, noisy: Samples, clean: Samples) -> PerSample:
        """The log-probability; of an element that is 0 already, that of staying 0 is 1."""
        ratio = self._fixed_level("log_prob", noisy, clean)
        return _flat(_log_chances(clean, (ratio, noisy == 0), (1 - ratio, noisy == clean))).sum(1)

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        ratio = self._moment(1)
        return error.lerp(-clean, ratio), square.lerp(clean.square(), ratio)


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    """Salt-and-pepper noise: each element becomes `low` or `high`, with probability `ratio` / 2 each.

    Args:
        ratio: Share of corrupted elements, a probability in [0, 1].
        low: Value of pepper, the lower end of the data's range.
        high: Value of salt, the upper end.

    Raises:
        ValueError: If `ratio` lies outside [0, 1], or low >= high.
    """

    ratio: float | Level = 0.25
    low: float = 0.0
    high: float = 1.0
    level_name: ClassVar[str] = "ratio"
    measure: ClassVar[str] = "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self.high:
            raise ValueError(f"SaltAndPepper needs low < high, got low={self.low} and high={self.high}.")

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Replace the corrupted elements."""
        level = self.draw_level(clean, generator, progress)
        pepper, mask = _hit(clean, generator, level / 2, level)
        noisy = clean.masked_fill(mask, self.high).masked_fill(pepper, self.low)
        return Corrupted(noisy, level.flatten(), mask)

    def log_prob(self, noisy: Samples, clean: Samples) -> PerSample:
        """The log-probability; an element that is `low` or `high` already may stay so for two reasons."""
        ratio = self._fixed_level("log_prob", noisy, clean)
        pepper, salt = (ratio / 2, noisy == self.low), (ratio / 2, noisy == self.high)
        return _flat(_log_chances(clean, pepper, salt, (1 - ratio, noisy == clean))).sum(1)

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        ratio, pepper, salt = self._moment(1), self.low - clean, self.high - clean
        return error.lerp((pepper + salt) / 2, ratio), square.lerp((pepper.square() + salt.square()) / 2, ratio)


@dataclass(frozen=True)
class GaussianMasking(Corruption):
    """Masked elements are replaced by noise: x̃ᵢ ~ N(0, σ²) with probability `ratio`, else x̃ᵢ = xᵢ.

    Args:
        ratio: Share of replaced elements, a probability in [0, 1]; this is the level.
        sigma: Standard deviation of what replaces them, in data units, >= 0.

    Raises:
        ValueError: If `ratio` lies outside [0, 1], or `sigma` is negative.
    """

    ratio: float | Level = 0.25
    sigma: float = 0.5
    level_name: ClassVar[str] = "ratio"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("sigma", float("inf"))

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Replace the masked elements."""
        level = self.draw_level(clean, generator, progress)
        (mask,) = _hit(clean, generator, level)
        return Corrupted(torch.where(mask, self.sigma * _normal(clean, generator), clean), level.flatten(), mask)

    def log_prob(self, noisy: Samples, clean: Samples) -> PerSample:
        """The log-density with respect to Lebesgue measure plus a point mass of 1 at the clean element.

        It is log(1 − ratio) where x̃ᵢ = xᵢ, and log ratio + log N(x̃ᵢ; 0, σ²) elsewhere, or everywhere if the ratio is 1.
        """
        ratio = self._fixed_level("log_prob", noisy, clean)
        if self.sigma == 0:
            raise ValueError("GaussianMasking log_prob needs sigma > 0: at 0 it has no density. Take Masking.")
        replaced, kept = torch.tensor([ratio, 1 - ratio], dtype=torch.float64).log().tolist()
        here = (noisy == clean) & (ratio < 1)
        return _flat(torch.where(here, kept, replaced + _log_normal(noisy, self.sigma))).sum(1)

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        ratio = self._moment(1)
        return error.lerp(-clean, ratio), square.lerp(clean.square() + self.sigma**2, ratio)


@dataclass(frozen=True)
class BlockMasking(Corruption):
    """Structured masking: rectangles are set to one value, in all channels at once.

    A grid of `size` x `size` blocks is laid over each sample at a random offset, and each block is set to `value`
    with probability `ratio`, so every element is masked with exactly that probability. Neighbouring blocks join into
    larger rectangles. Vectors (batch, D) get runs of `size` elements.

    Args:
        ratio: Share of masked elements, a probability in [0, 1].
        size: Side of a block in elements, >= 1.
        value: What masked elements become. One that data does not have, such as -1, tells a hole from what is dark.

    Raises:
        ValueError: If `ratio` lies outside [0, 1], size < 1, or the value is not finite.
    """

    ratio: float | Level = 0.25
    size: int = 4
    value: float = 0.0
    level_name: ClassVar[str] = "ratio"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise ValueError(f"BlockMasking size must be at least 1, got {self.size}.")
        if not isfinite(self.value):
            raise ValueError(f"BlockMasking value must be finite, got {self.value}.")

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Set the masked blocks to the value."""
        level = self.draw_level(clean, generator, progress)
        batch, width = len(clean), clean.shape[-1]
        height = clean.shape[-2] if clean.ndim > 2 else 1
        blocks = torch.rand(
            (batch, height // self.size + 2, width // self.size + 2), generator=generator, device=clean.device
        )
        offset = torch.randint(self.size, (2, batch, 1), generator=generator, device=clean.device)
        row = (torch.arange(height, device=clean.device) + offset[0]) // self.size
        column = (torch.arange(width, device=clean.device) + offset[1]) // self.size
        sample = torch.arange(batch, device=clean.device)[:, None, None]
        draw = blocks[sample, row[:, :, None], column[:, None, :]]
        draw = draw.view(batch, *[1] * max(clean.ndim - 3, 0), *clean.shape[max(clean.ndim - 2, 1) :])
        mask = (draw < level).expand_as(clean)
        return Corrupted(clean.masked_fill(mask, self.value), level.flatten(), mask)

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        ratio, hole = self._moment(1), self.value - clean
        return error.lerp(hole, ratio), square.lerp(hole.square(), ratio)


class Reservoir(NamedTuple):
    """Samples that values are taken from.

    Attributes:
        rows: (rows, *dims).
        groups: (D,) int64, which column of a table each element belongs to; None if each is a column of its own.
    """

    rows: Tensor
    groups: Tensor | None = None

    @classmethod
    def of(cls, rows: Tensor, observed: Tensor | None, groups: Tensor | None) -> "Reservoir":
        """Of samples with missing values, in whose place other rows' values of the column are put, if any has one."""
        if observed is not None:
            rows = rows.clone()
            for group in [torch.tensor([k]) for k in range(rows.shape[1])] if groups is None else _places(groups):
                here = observed[:, group[0]]
                seen, holes = here.nonzero()[:, 0], (~here).nonzero()[:, 0]
                if len(seen):
                    rows[holes[:, None], group] = rows[seen[torch.arange(len(holes)) % len(seen)][:, None], group]
        return cls(rows, groups)


def _places(groups: Tensor) -> list[Tensor]:
    return [(groups == group).nonzero()[:, 0] for group in groups.unique()]


@dataclass(frozen=True)
class SwapNoise(Corruption):
    """Swap noise: each element becomes that of another sample, drawn anew for each, with probability `ratio`.

    x̃ᵢ = x'ᵢ, x' drawn from the data, with probability `ratio`, else x̃ᵢ = xᵢ: every column of a table keeps its
    distribution, whatever its units. Elements of one category in one-hot coding are swapped together.

    A data module takes x' from its training samples, of which a sample itself may be one. By itself, it takes those of
    the batch, which then needs two samples or more to change anything.

    Args:
        ratio: Share of swapped elements, a probability in [0, 1].

    Raises:
        ValueError: If `ratio` lies outside [0, 1].
    """

    ratio: float | Level = 0.15
    level_name: ClassVar[str] = "ratio"
    reservoir: ClassVar[Reservoir | None] = None  # of an object that is bound; it is not an argument

    def bound(self, reservoir: Callable[[], Reservoir]) -> "SwapNoise":
        """The same corruption, which takes values from a reservoir."""
        found = copy(self)
        object.__setattr__(found, "reservoir", reservoir())
        return found

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Swap."""
        level = self.draw_level(clean, generator, progress)
        rows, groups = self.reservoir or (clean, None)
        flat, donors = clean.flatten(1), rows.to(clean).flatten(1)
        cells = flat if groups is None else flat[:, : int(groups.max()) + 1]
        (mask,) = _hit(cells, generator, level.view(-1, 1))
        if self.reservoir is None:
            steps = torch.randint(max(len(clean) - 1, 1), cells.shape, generator=generator, device=clean.device)
            pick = (torch.arange(len(clean), device=clean.device)[:, None] + 1 + steps) % len(clean)
        else:
            pick = torch.randint(len(donors), cells.shape, generator=generator, device=clean.device)
        if groups is not None:
            mask, pick = mask[:, groups.to(clean.device)], pick[:, groups.to(clean.device)]
        noisy = torch.where(mask, donors.gather(0, pick), flat)
        return Corrupted(noisy.view_as(clean), level.flatten(), mask.view_as(clean))

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        if self.reservoir is None:
            raise ValueError(
                "SwapNoise has no mean_squared_error_of_identity while it takes values from the batch: use .bound."
            )
        ratio, rows = self._moment(1), self.reservoir.rows.to(clean)
        away = rows.mean(0) - clean
        return error.lerp(away, ratio), square.lerp(away.square() + rows.var(0, correction=0), ratio)


@dataclass(frozen=True)
class Scratches(Corruption):
    """Straight lines of any direction across images (batch, C, H, W) are set to one value, in all channels at once.

    Every line goes through a random place of the image: pixels whose centres are nearer to it than half the width.

    Args:
        width: Of a line in pixels, >= 0.
        count: Lines in an image, >= 1.
        value: What masked elements become; see BlockMasking.

    Raises:
        ValueError: If the width is negative or not finite, there are no lines, or the value is not finite.
    """

    width: float | Level = 2.0
    count: int = 4
    value: float = 0.0
    level_name: ClassVar[str] = "width"
    unit: ClassVar[str] = "pixels"
    highest: ClassVar[float] = float("inf")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1 or not isfinite(self.value):
            raise ValueError(f"Scratches needs count >= 1 and a finite value, got {self.count} and {self.value}.")

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Draw the lines.

        Raises:
            ValueError: If the samples are no images.
        """
        if clean.ndim != 4:
            raise ValueError(f"Scratches is for images (batch, C, H, W), got the shape {tuple(clean.shape)}.")
        level = self.draw_level(clean, generator, progress)
        batch, _, height, width = clean.shape
        draws = torch.rand(3, batch, self.count, 1, 1, generator=generator, device=clean.device)
        down, across = (pi * draws[0]).sin(), (pi * draws[0]).cos()
        rows = torch.arange(height, device=clean.device)[:, None] - (height - 1) * draws[1]
        columns = torch.arange(width, device=clean.device) - (width - 1) * draws[2]
        mask = ((down * rows + across * columns).abs() < level / 2).any(1, keepdim=True).expand_as(clean)
        return Corrupted(clean.masked_fill(mask, self.value), level.flatten(), mask)


@dataclass(frozen=True)
class Poisson(Corruption):
    """Shot noise, of light that arrives in photons: x̃ = gain · n, n ~ Poisson(x / gain).

    E[x̃] = x and Var[x̃] = gain · x. White, x = 1, is 1 / gain photons, which papers call the peak. Values below 0, which
    no light has, count as 0. Every element counts as corrupted, unless the gain is below 1e-9, whose noise nobody sees.

    Args:
        gain: Of one photon, in data units, >= 0.

    Raises:
        ValueError: If `gain` is negative or not finite.
    """

    gain: float | Level = 1 / 30
    level_name: ClassVar[str] = "gain"
    unit: ClassVar[str] = "data units"
    highest: ClassVar[float] = float("inf")
    measure: ClassVar[str] = "probability"

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Count the photons."""
        level = self.draw_level(clean, generator, progress)
        gain = level.to(clean.dtype)
        hit = level >= 1e-9  # float32 cannot hold more photons
        rates = clean.clamp_min(0) / torch.where(hit, gain, 1)
        # how many numbers a Poisson draw takes depends on its rate: with a generator of its own for each sample, no
        # sample's noise depends on the others
        seeds = torch.randint(2**62, (len(clean),), generator=generator, device=clean.device).tolist()
        photons = clean.clone()
        for row, seed in enumerate(seeds):
            photons[row] = torch.poisson(rates[row], torch.Generator(clean.device).manual_seed(seed))
        return Corrupted(torch.where(hit, gain * photons, clean), level.flatten(), hit.expand_as(clean))

    def log_prob(self, noisy: Samples, clean: Samples) -> PerSample:
        """The log-probability of so many photons: -inf unless x̃ is a multiple of the gain, up to rounding."""
        gain = self._fixed_level("log_prob", noisy, clean)
        if gain < 1e-9:
            return _flat(_log_chances(clean, (1.0, noisy == clean))).sum(1)
        count, rate = (noisy.double() / gain).round(), clean.double().clamp_min(0) / gain
        rounding = 4 * max(torch.finfo(kind).eps for kind in (noisy.dtype, torch.float32))  # levels are float32
        whole = torch.isclose(noisy.double(), gain * count, rtol=rounding, atol=0.0) & (count >= 0) & count.isfinite()
        logs = torch.xlogy(count, rate) - rate - (count + 1).lgamma()
        return _flat(logs.where(whole, -torch.inf)).sum(1).to(clean.dtype)

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        if square.any():
            raise ValueError("Poisson after other noise has no mean_squared_error_of_identity of a known formula.")
        gain, dark = self._moment(1), clean.clamp_max(0)
        return (error, square) if gain < 1e-9 else (-dark, dark.square() + gain * clean.clamp_min(0))


@dataclass(frozen=True)
class Speckle(Corruption):
    """Multiplicative Gaussian noise, as of coherent light: x̃ = x + σ x ε, ε ~ N(0, I).

    Every element counts as corrupted where σ > 0. Nothing is clipped.

    Args:
        sigma: Standard deviation relative to the element, >= 0.

    Raises:
        ValueError: If `sigma` is negative or not finite.
    """

    sigma: float | Level = 0.2
    level_name: ClassVar[str] = "sigma"
    unit: ClassVar[str] = "of the element"
    highest: ClassVar[float] = float("inf")
    measure: ClassVar[str] = "density"

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Scale every element by a factor of its own."""
        level = self.draw_level(clean, generator, progress)
        noisy = clean * (1 + level.to(clean.dtype) * _normal(clean, generator))
        return Corrupted(noisy, level.flatten(), (level > 0).expand_as(clean))

    def log_prob(self, noisy: Samples, clean: Samples) -> PerSample:
        """The log-density, of clean samples without zeros, which are point masses."""
        deviation = self._deviation("log_prob", noisy, clean)
        return _flat(_log_normal(noisy - clean, deviation)).sum(1)

    def score(self, noisy: Samples, clean: Samples) -> Samples:
        """(x − x̃) / (σ x)², of clean samples without zeros."""
        deviation = self._deviation("score", noisy, clean)
        return (clean - noisy) / deviation.square()

    def _deviation(self, method: str, noisy: Tensor, clean: Tensor) -> Tensor:
        deviation = self._fixed_level(method, noisy, clean) * clean.abs()
        if not deviation.all():
            raise ValueError(f"Speckle {method} needs clean elements other than 0, whose noise has no density.")
        return deviation

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        return error, square + self._moment(2) * (clean.square() + 2 * clean * error + square)


def _images(corruption: Corruption, clean: Tensor) -> None:
    if clean.ndim != 4:
        raise ValueError(
            f"{type(corruption).__name__} is for images (batch, C, H, W), got samples of shape "
            f"{tuple(clean.shape[1:])}."
        )


@dataclass(frozen=True)
class Blur(Corruption):
    """A blurred image: convolution with a Gaussian, the edge's pixels repeated beyond it.

    With noise, which makes it hard to undo: `Compose(Blur(1.6), Gaussian(0.01))`. Every element counts as corrupted
    where σ > 0. It draws nothing but its level.

    Args:
        sigma: Standard deviation of the Gaussian in pixels, in [0, 100].

    Raises:
        ValueError: If `sigma` lies out of range, or the samples are no images.
    """

    sigma: float | Level = 1.6
    level_name: ClassVar[str] = "sigma"
    unit: ClassVar[str] = "pixels"
    highest: ClassVar[float] = 100.0

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Blur every image by its own σ."""
        _images(self, clean)
        level = self.draw_level(clean, generator, progress)
        batch, channels, height, width = clean.shape
        assert self.level is not None
        radius = ceil(3 * self.level.bounds[1])
        sigma = level.to(clean.dtype).view(batch, 1).clamp_min(1e-3)
        place = torch.arange(-radius, radius + 1, device=clean.device, dtype=clean.dtype)
        kernel = torch.softmax(-0.5 * (place / sigma) ** 2, 1).repeat_interleave(channels, 0)[:, None]
        rows = F.pad(clean.reshape(1, -1, height, width), [radius] * 4, mode="replicate")
        once = F.conv2d(rows, kernel[..., None], groups=batch * channels)
        twice = F.conv2d(once, kernel[..., None, :], groups=batch * channels).view_as(clean)
        hit = (level > 0).expand_as(clean)
        return Corrupted(torch.where(hit, twice, clean), level.flatten(), hit)


def _compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """An image (H, W, C), as it comes back from a JPEG file."""
    file = BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return np.array(opened).reshape(image.shape)


@dataclass(frozen=True)
class JPEG(Corruption):
    """An image that was saved as JPEG and opened again: clipped to [0, 1], rounded to 8 bits, compressed.

    Every element counts as corrupted. It draws nothing but its level, which is 1 - quality / 100 of the file. The work
    is the CPU's.

    Args:
        strength: Of the compression, in [0, 1]: libjpeg's quality is 100 (1 - strength), rounded, and 1 at the least.

    Raises:
        ValueError: If `strength` lies outside [0, 1], or the samples are no images of one or three channels.
    """

    strength: float | Level = 0.8
    level_name: ClassVar[str] = "strength"
    unit: ClassVar[str] = "1 - quality / 100"

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Compress every image with its own quality."""
        _images(self, clean)
        if clean.shape[1] not in (1, 3):
            raise ValueError(f"JPEG is for images of one or three channels, got {clean.shape[1]}.")
        qualities = (100 - 100 * self.draw_level(clean, generator, progress).flatten()).round().clamp_min(1)
        images = (255 * clean.clamp(0, 1)).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()
        opened = [_compressed(*one) for one in zip(images, qualities.int().tolist(), strict=True)]
        noisy = (torch.from_numpy(np.stack(opened)).permute(0, 3, 1, 2).to(clean) / 255).contiguous()
        return Corrupted(noisy, 1 - qualities / 100, torch.ones_like(clean, dtype=torch.bool))


@dataclass(frozen=True)
class Compose(Corruption):
    """Two corruptions, one after the other; an element counts as corrupted if either touched it.

    The level reported is the second's.

    Args:
        first: Applied to the clean sample.
        second: Applied to the result.
    """

    first: Corruption
    second: Corruption

    def bound(self, reservoir: Callable[[], Reservoir]) -> "Compose":
        """The same two, both bound."""
        return Compose(self.first.bound(reservoir), self.second.bound(reservoir))

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Draw from the first, then from the second."""
        once = self.first(clean, generator, progress)
        twice = self.second(once.noisy, generator, progress)
        return Corrupted(twice.noisy, twice.level, once.mask | twice.mask)

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        return self.second._moved(clean, *self.first._moved(clean, error, square))


@dataclass(frozen=True)
class OneOf(Corruption):
    """One of several corruptions, picked for every sample with equal probability.

    Args:
        choices: The corruptions to pick from, at least one.

    Raises:
        ValueError: If there is nothing to pick from.
    """

    choices: Sequence[Corruption]

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("OneOf needs at least one corruption to pick from, got none.")

    def bound(self, reservoir: Callable[[], Reservoir]) -> "OneOf":
        """The same choices, all bound."""
        return OneOf([choice.bound(reservoir) for choice in self.choices])

    def __call__(self, clean: Samples, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Draw from all of them, and keep one for each sample."""
        pick = torch.randint(len(self.choices), (len(clean),), generator=generator, device=clean.device)
        drawn = [choice(clean, generator, progress) for choice in self.choices]
        sample = torch.arange(len(clean), device=clean.device)
        return Corrupted(*(torch.stack(parts)[pick, sample] for parts in zip(*drawn, strict=True)))

    def log_prob(self, noisy: Samples, clean: Samples) -> PerSample:
        """The logarithm of the mean over choices, all of which must have densities or all probabilities."""
        kinds = [choice.measure for choice in self.choices]
        if None in kinds or len(set(kinds)) > 1:
            raise ValueError(f"OneOf log_prob needs choices that all have densities or all probabilities, got {kinds}.")
        found = torch.stack([choice.log_prob(noisy, clean) for choice in self.choices])
        return found.logsumexp(0) - log(len(found))

    def _moved(self, clean: Tensor, error: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        means, squares = zip(*(choice._moved(clean, error, square) for choice in self.choices), strict=True)
        return torch.stack(means).mean(0), torch.stack(squares).mean(0)
