"""Likelihoods as reconstruction losses: −log p(x | h) in nats, of a decoder that says a distribution.

The Bernoulli is `daezoo.losses.CrossEntropy`, on binary data. A loss that needs several outputs for each element says
so by `parameters`; the network then gives (batch, parameters, *dims).
"""

from abc import ABC
from dataclasses import dataclass
from math import inf, log, log2, pi
from typing import ClassVar

import torch
from torch.nn import functional as F

from daezoo.losses import Outputs, ReconstructionLoss, Samples, check_weights


def bits_per_dimension(nats: float, dimensions: int, levels: int = 1) -> float:
    """A negative log-likelihood in bits per dimension: nats / (D ln 2) + log₂ levels.

    Args:
        nats: −log p of a sample.
        dimensions: D, elements of a sample.
        levels: By how much the scale is stretched on which a density is taken: 256 for one over 0..256 of values in
            [0, 1], which is comparable with the probability of bytes if these were dequantised; 1 as it is.
    """
    return nats / (dimensions * log(2)) + log2(levels)


@dataclass(frozen=True)
class Likelihood(ReconstructionLoss, ABC):
    """−log of a distribution of each element, given the output."""

    def check_likelihood(self, clean: Samples) -> None:
        """Raise ValueError under emphasis."""
        check_weights(self)


@dataclass(frozen=True)
class FixedGaussian(Likelihood):
    """−log N(x; output, σ²) = (x − output)² / 2σ² + ln σ + ½ ln 2π, a density.

    Args:
        alpha: Weight of corrupted elements, >= 0.
        beta: Weight of untouched elements, >= 0.
        sigma: σ in data units, > 0.

    Raises:
        ValueError: If `sigma` is not positive.
    """

    sigma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sigma < inf:
            raise ValueError(f"FixedGaussian sigma must be positive and finite, got {self.sigma}.")

    def elementwise(self, output: Outputs, clean: Samples) -> Samples:
        """−log of the density."""
        return ((clean - output) / self.sigma).square() / 2 + log(self.sigma) + log(2 * pi) / 2

    def sample(self, output: Outputs, generator: torch.Generator | None = None) -> Samples:
        """Samples of N(output, σ²)."""
        return output + self.sigma * torch.randn(
            output.shape, generator=generator, device=output.device, dtype=output.dtype
        )


@dataclass(frozen=True)
class LearnedGaussian(Likelihood):
    """−log N(x; μ, σ²), a density, with outputs (μ, a): σ = `lowest` + ln(1 + eᵃ).

    Where an element never varies the best σ is 0 and the density has no bound, so σ has one.

    Args:
        alpha: Weight of corrupted elements, >= 0.
        beta: Weight of untouched elements, >= 0.
        lowest: Lower bound of σ, in data units, > 0.

    Raises:
        ValueError: If `lowest` is not positive.
    """

    lowest: float = 0.01
    identity_link: ClassVar[bool] = False
    parameters: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.lowest < inf:
            raise ValueError(f"LearnedGaussian lowest must be positive and finite, got {self.lowest}.")

    def elementwise(self, output: Outputs, clean: Samples) -> Samples:
        """−log of the density."""
        mean, raw = output.unbind(1)
        sigma = self.lowest + F.softplus(raw)
        return ((clean - mean) / sigma).square() / 2 + sigma.log() + log(2 * pi) / 2

    def link(self, output: Outputs) -> Samples:
        """The mean."""
        return output[:, 0]


@dataclass(frozen=True)
class Categorical(Likelihood):
    """−log p(k), k = round(255 x), of 256 values with logits as outputs: a probability, of data in [0, 1].

    The reconstruction is the mean, Σₖ p(k) k / 255, which is best under squared error.
    """

    identity_link: ClassVar[bool] = False
    parameters: ClassVar[int] = 256

    def elementwise(self, output: Outputs, clean: Samples) -> Samples:
        """−log of the probability."""
        return F.cross_entropy(output, (255 * clean).round().long(), reduction="none")

    def link(self, output: Outputs) -> Samples:
        """The mean."""
        values = torch.arange(256, device=output.device, dtype=output.dtype) / 255
        return torch.einsum("bk...,k->b...", output.softmax(1), values)

    def check_likelihood(self, clean: Samples) -> None:
        """As the base, and as `check`."""
        super().check_likelihood(clean)
        self.check(clean)

    def check(self, clean: Samples) -> None:
        """Raise ValueError unless `clean` lies in [0, 1]."""
        low, high = clean.min().item(), clean.max().item()
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"Categorical needs data in [0, 1], got values from {low:g} to {high:g}. Rescale the data, or train "
                "with LearnedGaussian."
            )
