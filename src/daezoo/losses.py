"""Reconstruction losses with their output link, and penalties.

A network's output is raw: `link` takes it into data space, and the loss is computed from the raw output, so that a
sigmoid is never applied twice. Losses sum over elements and leave one number per sample; steps average over samples.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from daezoo.batch import Batch
from daezoo.corruption import Corruption, Gaussian

Samples = Float[Tensor, "batch *dims"]
Outputs = Float[Tensor, "batch *outputs"]
Mask = Bool[Tensor, "batch *dims"]


@dataclass(frozen=True)
class ReconstructionLoss(ABC):
    """L(x, output) per sample, with emphasis: Σᵢ wᵢ ℓ(xᵢ, outputᵢ), wᵢ = alpha where corrupted, else beta.

    Emphasis is from Vincent et al. (2010); their full emphasis is alpha = 1, beta = 0.
    Shapes: clean (batch, *dims); output likewise or, of a loss with several `parameters`, (batch, parameters, *dims).

    Args:
        alpha: Weight of corrupted elements, >= 0.
        beta: Weight of untouched elements, >= 0.

    Raises:
        ValueError: If a weight is negative, or both are 0.
    """

    alpha: float = 1.0
    beta: float = 1.0
    identity_link: ClassVar[bool] = True
    parameters: ClassVar[int] = 1
    """Outputs that the network has to have for each element."""

    def __post_init__(self) -> None:
        if not (0 <= self.alpha < inf and 0 <= self.beta < inf and self.alpha + self.beta > 0):
            raise ValueError(
                f"Emphasis needs alpha, beta >= 0 and one of them > 0, got alpha={self.alpha}, beta={self.beta}."
            )

    def __call__(
        self, output: Outputs, clean: Samples, mask: Mask | None = None, observed: Mask | None = None
    ) -> Float[Tensor, " batch"]:
        """The loss of each sample.

        Args:
            output: Raw output of a network.
            clean: The target.
            mask: True where an element was corrupted; needed only when alpha and beta differ.
            observed: False where the target is missing: such elements cost nothing. None if all are there.

        Raises:
            ValueError: If alpha and beta differ and there is no mask.
        """
        precise = torch.promote_types(output.dtype, torch.float32)
        loss = self.elementwise(output.to(precise), clean.to(precise))
        if self.alpha != self.beta:
            if mask is None:
                raise ValueError("A loss with alpha different from beta needs the mask of corrupted elements.")
            loss = loss * torch.where(mask, self.alpha, self.beta)
        elif self.alpha != 1.0:
            loss = loss * self.alpha
        if observed is not None:
            loss = loss * observed
        return loss.flatten(1).sum(1)

    @abstractmethod
    def elementwise(self, output: Outputs, clean: Samples) -> Samples:
        """ℓ of each element."""

    def link(self, output: Outputs) -> Samples:
        """The output in data space; the identity unless a loss says otherwise."""
        return output

    def sample(self, output: Outputs, generator: torch.Generator | None = None) -> Samples:
        """Samples of the distribution of which the loss is −log, given a raw output, (batch, *dims).

        Args:
            output: Raw output of a network.
            generator: On its device; torch's global one if None.

        Raises:
            ValueError: If the loss is of no distribution that can be sampled.
        """
        raise ValueError(
            f"{type(self).__name__} is of no distribution that could be sampled: train with CrossEntropy or "
            "FixedGaussian, or take means."
        )

    def check(self, clean: Samples) -> None:
        """Raise ValueError if `clean` cannot be a target of this loss."""

    def check_likelihood(self, clean: Samples) -> None:
        """Raise ValueError unless this loss is −log p(clean | output) in nats, as no loss is that does not say so."""
        raise ValueError(
            f"{type(self).__name__} is no likelihood. Train with CrossEntropy on binary data (--data.binarise fixed), "
            "or with FixedGaussian, LearnedGaussian or Categorical."
        )


@dataclass(frozen=True)
class SquaredError(ReconstructionLoss):
    """Squared error: ℓ = (output - x)²; up to constants −log of a Gaussian with fixed variance."""

    def elementwise(self, output: Samples, clean: Samples) -> Samples:
        """(output - x)²."""
        return (output - clean).square()


@dataclass(frozen=True)
class AbsoluteError(ReconstructionLoss):
    """L1: ℓ = |output - x|."""

    def elementwise(self, output: Samples, clean: Samples) -> Samples:
        """|output - x|."""
        return (output - clean).abs()


@dataclass(frozen=True)
class Charbonnier(ReconstructionLoss):
    """A smooth L1: ℓ = √((output - x)² + ε²).

    Args:
        alpha: Weight of corrupted elements, >= 0.
        beta: Weight of untouched elements, >= 0.
        epsilon: Where it turns from quadratic to linear, in data units, > 0.

    Raises:
        ValueError: If `epsilon` is not positive.
    """

    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.epsilon < inf:
            raise ValueError(f"Charbonnier epsilon must be positive, got {self.epsilon}.")

    def elementwise(self, output: Samples, clean: Samples) -> Samples:
        """√((output - x)² + ε²)."""
        return ((output - clean).square() + self.epsilon**2).sqrt()


@dataclass(frozen=True)
class CrossEntropy(ReconstructionLoss):
    """Cross-entropy with logits: ℓ = −x log σ(output) − (1 − x) log(1 − σ(output)), σ the logistic function.

    −log of a Bernoulli, in nats, where x is binary. For data in [0, 1] only. Its smallest value is the entropy of x,
    not 0.
    """

    identity_link: ClassVar[bool] = False

    def elementwise(self, output: Samples, clean: Samples) -> Samples:
        """Cross-entropy from logits; safe under autocast."""
        return F.binary_cross_entropy_with_logits(output, clean, reduction="none")

    def link(self, output: Samples) -> Samples:
        """σ(output)."""
        return output.sigmoid()

    def sample(self, output: Samples, generator: torch.Generator | None = None) -> Samples:
        """Binary samples of the Bernoulli whose mean is σ(output)."""
        return output.sigmoid().bernoulli(generator=generator)

    def check(self, clean: Samples) -> None:
        """Raise ValueError unless `clean` lies in [0, 1]."""
        low, high = clean.min().item(), clean.max().item()
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"CrossEntropy needs data in [0, 1], got values from {low:g} to {high:g}. "
                "Rescale the data, or train with SquaredError."
            )

    def check_likelihood(self, clean: Samples) -> None:
        """Raise ValueError unless `clean` is binary, and no element counts more than others."""
        check_weights(self)
        if not ((clean == 0) | (clean == 1)).all():
            raise ValueError(
                "CrossEntropy is a likelihood of binary data only. Pass --data.binarise fixed, or train with "
                "FixedGaussian, LearnedGaussian or Categorical."
            )


def check_weights(loss: ReconstructionLoss) -> None:
    """Raise ValueError if a loss has emphasis, under which it is no likelihood."""
    if (loss.alpha, loss.beta) != (1.0, 1.0):
        raise ValueError(
            f"Under emphasis {type(loss).__name__} is no likelihood, got alpha={loss.alpha} and beta={loss.beta}."
        )


@runtime_checkable
class Encoder(Protocol):
    """What a penalty needs of a model."""

    def encode(self, x: Tensor) -> Tensor:
        """The code of samples."""


class Penalty(ABC):
    """A term added to the loss: penalty(model, batch) -> scalar, weight included, logged as `train/<name>`."""

    name: ClassVar[str]
    weight: float

    def __post_init__(self) -> None:
        """Check the weight.

        Raises:
            ValueError: If `weight` is negative.
        """
        if not 0 <= self.weight < inf:
            raise ValueError(f"{type(self).__name__} weight must be finite and at least 0, got {self.weight}.")

    @abstractmethod
    def __call__(self, model: Encoder, batch: Batch) -> Tensor:
        """The weighted penalty, a scalar."""

    def check(self, model: Any) -> None:
        """Raise ValueError if this penalty makes no sense for `model`."""

    def check_corruption(self, corruption: Corruption) -> None:
        """Raise ValueError if this penalty makes no sense under this corruption of the training data."""

    def prepare(self, model: nn.Module) -> None:
        """Give `model` the parameters of the penalty's own, if it has any."""

    def adapt(self, model: nn.Module, batch: Batch) -> Batch:
        """The batch that `model` trains on; the same unless a penalty says otherwise."""
        return batch


@dataclass(frozen=True)
class L1Sparsity(Penalty):
    """L1 sparsity of the code: weight · mean over samples of Σⱼ |hⱼ(x̃)|.

    Args:
        weight: Weight of the penalty, >= 0.
    """

    weight: float = 1e-3
    name: ClassVar[str] = "l1_sparsity"

    def __call__(self, model: Encoder, batch: Batch) -> Tensor:
        """The weighted L1 norm of the codes of the noisy samples."""
        return self.weight * model.encode(batch.noisy).float().abs().sum(1).mean()


@dataclass(frozen=True)
class KLSparsity(Penalty):
    """KL sparsity: weight · Σⱼ KL(ρ ‖ ρ̂ⱼ), ρ̂ⱼ the batch mean of unit j's activation, for codes in [0, 1].

    KL(ρ ‖ ρ̂) = ρ log(ρ/ρ̂) + (1 − ρ) log((1 − ρ)/(1 − ρ̂)).
    Under several processes each takes the mean over its own share of the batch.

    Args:
        weight: Weight of the penalty, >= 0.
        target: ρ, the wanted mean activation, in (0, 1).

    Raises:
        ValueError: If `target` lies outside (0, 1), or the model's codes are not sigmoid units.
    """

    weight: float = 1e-2
    target: float = 0.05
    name: ClassVar[str] = "kl_sparsity"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.target < 1:
            raise ValueError(f"KLSparsity target must lie in (0, 1), got {self.target}.")

    def __call__(self, model: Encoder, batch: Batch) -> Tensor:
        """The weighted divergence of the mean activations from the target."""
        mean = model.encode(batch.noisy).float().mean(0).clamp(1e-6, 1 - 1e-6)
        rho = mean.new_tensor(self.target)
        return self.weight * (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).sum()

    def check(self, model: Any) -> None:
        """Raise ValueError unless the model's codes are sigmoid units."""
        of_code = getattr(model, "code_activation", None) or getattr(model, "activation", None)
        if of_code != "sigmoid":
            raise ValueError(
                f"KLSparsity needs codes in [0, 1], but those of {type(model).__name__} are no sigmoid units. "
                "Set activation or code_activation: sigmoid, or use L1Sparsity."
            )


@dataclass(frozen=True)
class Contractive(Penalty):
    """Contractive penalty: weight · mean over samples of ‖∂f/∂x‖²_F at the clean samples, f the encoder.

    From Rifai et al. (2011). Of one layer the norm has a closed form, Σⱼ s'(aⱼ)² ‖Wⱼ‖², aⱼ what the unit's activation
    s is applied to. Otherwise it is estimated without bias by random directions, ‖J‖²_F = E‖J v‖² for v ~ N(0, I),
    each one forward-mode product.

    Args:
        weight: Weight of the penalty, >= 0.
        directions: Random directions per step, >= 1. If None, the closed form of one layer, else one direction.

    Raises:
        ValueError: If `directions` < 1.
    """

    weight: float = 1e-3
    directions: int | None = None
    name: ClassVar[str] = "contractive"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.directions is not None and self.directions < 1:
            raise ValueError(f"Contractive directions must be at least 1, got {self.directions}.")

    def __call__(self, model: Encoder, batch: Batch) -> Tensor:
        """The weighted norm, or its estimate from the batch's own noise."""
        exact = getattr(model, "jacobian_norm", None) if self.directions is None else None
        norms = None if exact is None else exact(batch.clean)
        if norms is not None:
            return self.weight * norms.mean()
        directions = self.directions or 1
        total = batch.clean.new_zeros(())
        for k in range(directions):
            direction = batch.noise(Gaussian(1.0), torch.zeros_like(batch.clean), f"contractive{k}").noisy
            product = torch.func.jvp(model.encode, (batch.clean,), (direction,))[1]
            total = total + product.float().square().sum() / len(batch.clean)
        return self.weight * total / directions

    def check(self, model: Any) -> None:
        """Raise ValueError if a sample's code depends on the rest of its batch."""
        if any(
            isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm)
            for module in model.modules()
        ):
            raise ValueError(
                "Contractive needs codes that depend on their own sample alone; batch normalisation mixes a batch. "
                "Set batch_norm: false, or leave the penalty out."
            )
