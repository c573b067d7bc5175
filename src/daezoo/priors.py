"""Distributions of codes to draw from: what an adversarial autoencoder's codes are to be told apart from.

A prior is called as a corruption is, of which nothing of the clean codes is left: so its draws come from a batch's own
noise, and are a function of the same key.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf, pi

import torch
from torch import Tensor

from daezoo.batch import Corrupted


class Prior(ABC):
    """A distribution p(h) of codes."""

    @abstractmethod
    def draw(self, codes: Tensor, generator: torch.Generator | None) -> Tensor:
        """Codes from p(h), (batch, code).

        Args:
            codes: What says how many, how wide, of which type and where.
            generator: Where they are drawn from, on that device; torch's global one if None.
        """

    def __call__(self, clean: Tensor, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Draws in place of codes, (batch, code)."""
        return Corrupted(self.draw(clean, generator), clean.new_ones(len(clean)), torch.ones_like(clean).bool())


def _check(prior: Prior, **positive: float) -> None:
    for name, value in positive.items():
        if not 0 < value < inf:
            raise ValueError(f"{type(prior).__name__} {name} must be positive and finite, got {value}.")


@dataclass(frozen=True)
class Normal(Prior):
    """N(0, scale² I).

    Args:
        scale: Standard deviation, > 0.

    Raises:
        ValueError: If `scale` is not positive.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _check(self, scale=self.scale)

    def draw(self, codes: Tensor, generator: torch.Generator | None) -> Tensor:
        """Codes from p(h), (batch, code)."""
        return self.scale * torch.empty_like(codes).normal_(generator=generator)


@dataclass(frozen=True)
class Uniform(Prior):
    """Uniform in a cube, [-scale, scale) in every unit.

    Args:
        scale: Half the side of the cube, > 0.

    Raises:
        ValueError: If `scale` is not positive.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _check(self, scale=self.scale)

    def draw(self, codes: Tensor, generator: torch.Generator | None) -> Tensor:
        """Codes from p(h), (batch, code)."""
        return torch.empty_like(codes).uniform_(-self.scale, self.scale, generator=generator)


@dataclass(frozen=True)
class Mixture(Prior):
    """Normal distributions of equal weight, their means evenly on a circle of the first two units, 0 in all others.

    Args:
        components: How many, >= 1.
        radius: Of the circle, > 0.
        scale: Standard deviation of each, > 0.

    Raises:
        ValueError: If a number is not positive.
    """

    components: int = 10
    radius: float = 4.0
    scale: float = 0.5

    def __post_init__(self) -> None:
        _check(self, components=self.components, radius=self.radius, scale=self.scale)

    def draw(self, codes: Tensor, generator: torch.Generator | None) -> Tensor:
        """Codes from p(h), (batch, code).

        Raises:
            ValueError: If a code has one unit only.
        """
        if codes.shape[1] < 2:
            raise ValueError(f"A Mixture lies on a circle of two units, got codes of {codes.shape[1]}.")
        drawn = Normal(self.scale).draw(codes, generator)
        which = torch.randint(self.components, (len(codes),), generator=generator, device=codes.device)
        angle = 2 * pi * which / self.components
        drawn[:, 0] += self.radius * angle.cos()
        drawn[:, 1] += self.radius * angle.sin()
        return drawn
