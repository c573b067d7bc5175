"""A noise level that is learnt."""

from dataclasses import dataclass
from math import inf, log
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from daezoo.batch import Batch
from daezoo.corruption import Corruption, Gaussian
from daezoo.losses import Encoder, Penalty


@dataclass(frozen=True)
class LearnedNoise(Penalty):
    """The σ of Gaussian noise as a parameter: min over θ, σ of E L(x, r(x + σε)) + weight · D · KL(σ).

    KL(σ) = KL(N(x, σ²) ‖ N(x, prior²)) = σ²/(2 prior²) − ln(σ/prior) − ½, for each of D elements. The reconstruction
    alone is easiest without noise, so its loss would take σ to 0. But it is finite there, and KL grows beyond all
    bounds as −ln σ: at the minimum σ > 0. Nor is it above the prior, where less noise makes both terms smaller.

    Only training noise is rescaled, to x + σε, ε the data module's noise over its level; validation and test keep the
    noise of the data. σ is exp(log_sigma) of the model, logged as train/level.

    Args:
        weight: Weight of the penalty, > 0.
        initial: σ before training, in data units, > 0.
        prior: σ under the penalty alone, in data units, > 0.

    Raises:
        ValueError: If a number is not positive.
    """

    weight: float = 1e-2
    initial: float = 0.5
    prior: float = 1.0
    name: ClassVar[str] = "learned_noise"

    def __post_init__(self) -> None:
        for name in ("weight", "initial", "prior"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"LearnedNoise {name} must be positive and finite, got {getattr(self, name)}.")

    def __call__(self, model: Encoder, batch: Batch) -> Tensor:
        """The weighted divergence, which is the same for all samples."""
        ratio = sigma_of(model) / self.prior
        return self.weight * batch.clean[0].numel() * (ratio.square() / 2 - ratio.log() - 0.5)

    def check(self, model: Any) -> None:
        """Raise ValueError if a part of the training does not see the noise."""
        if hasattr(model, "active_layer"):
            raise ValueError(
                f"LearnedNoise needs all of the training to see the noise of the data, and {type(model).__name__} has "
                "layers that do not. Use VanillaDAE."
            )

    def check_corruption(self, corruption: Corruption) -> None:
        """Raise ValueError unless the data's noise is Gaussian, of a level above 0."""
        if not (isinstance(corruption, Gaussian) and corruption.level is not None and corruption.level.bounds[0] > 0):
            raise ValueError(
                f"LearnedNoise scales Gaussian noise of a level above 0, got {corruption}. Pass --data.corruption "
                "Gaussian, or leave the penalty out."
            )

    def prepare(self, model: nn.Module) -> None:
        """Give the model its log_sigma."""
        model.log_sigma = nn.Parameter(torch.tensor(log(self.initial)))

    def adapt(self, model: nn.Module, batch: Batch) -> Batch:
        """The batch under noise of the learnt level."""
        sigma = sigma_of(model)
        scale = (sigma / batch.level).view(-1, *[1] * (batch.clean.ndim - 1))
        noisy = batch.clean + scale * (batch.noisy - batch.clean)
        return batch._replace(noisy=noisy, level=sigma.expand_as(batch.level))


def sigma_of(model: Any) -> Tensor:
    """σ of a model that has a LearnedNoise, a scalar."""
    sigma: Tensor = model.log_sigma.exp()
    return sigma
