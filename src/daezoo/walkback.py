"""Walkback: training on what a chain of corruptions and reconstructions makes of a sample."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from daezoo.batch import Batch, Corrupted
from daezoo.corruption import Masking
from daezoo.losses import Penalty, ReconstructionLoss


@dataclass(frozen=True)
class Draws:
    """Samples of a loss's distribution, drawn as a corruption is: from a batch's own noise.

    Args:
        loss: The loss.
    """

    loss: ReconstructionLoss

    def __call__(self, clean: Tensor, generator: torch.Generator | None = None, progress: float = 1.0) -> Corrupted:
        """Samples of the raw outputs, (batch, *outputs)."""
        drawn = self.loss.sample(clean, generator)
        return Corrupted(drawn, clean.new_ones(len(clean)), torch.ones_like(drawn, dtype=torch.bool))


@dataclass(frozen=True)
class Walkback(Penalty):
    """Walkback (Bengio et al., 2013): weight · Σₖ L(x, x̂ₖ), k = 1 … K, beside the loss of x̂₀.

    x̂ₖ = r(x̃ₖ), x̃ₖ ~ q(· | x̂ₖ₋₁) or, if reconstructions are sampled, q(· | x'), x' ~ p(x | x̂ₖ₋₁); q is the data
    module's corruption. So the model learns to come back from where its own chain would stray to. What it starts from
    has no gradient. In the paper K is geometric and x' is sampled; a fixed K and means are the common simplification.

    Args:
        weight: Weight of the sum, >= 0.
        steps: K or, where that is drawn, the largest K, >= 1.
        continued: Probability in (0, 1) of every further step, drawn for each sample; if None, all steps are taken.
        sampled: Whether reconstructions are sampled, which takes a loss with a distribution; else means.

    Raises:
        ValueError: If a number lies out of range.
    """

    weight: float = 1.0
    steps: int = 4
    continued: float | None = None
    sampled: bool = True
    name: ClassVar[str] = "walkback"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not (self.continued is None or 0 < self.continued < 1):
            raise ValueError(
                f"Walkback needs steps >= 1 and continued in (0, 1), got {self.steps} and {self.continued}."
            )

    def check(self, model: Any) -> None:
        """Raise ValueError if a part of the training does not see noisy data, or nothing can be sampled."""
        if hasattr(model, "active_layer"):
            raise ValueError(f"Walkback is for models that train in one phase, not {type(model).__name__}.")
        if self.sampled:
            model.loss.sample(torch.zeros(1, *model.output_shape))

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """The weighted sum, averaged over the batch.

        Raises:
            ValueError: If the batch does not say what corrupted it.
        """
        if batch.corruption is None:
            raise ValueError("Walkback needs batches that say what corrupted them, as those of the data modules do.")
        with torch.no_grad():
            output = model(batch.noisy, batch.level)
        total, walking = batch.clean.new_zeros(()), torch.ones_like(batch.level, dtype=torch.bool)
        for k in range(1, self.steps + 1):
            if self.continued is not None:
                further = batch.noise(Masking(self.continued), batch.level[:, None], f"walkback{k}-further").mask
                walking = walking & further[:, 0]
            output = output.detach().float()
            if self.sampled:
                start = batch.noise(Draws(model.loss), output, f"walkback{k}-draw").noisy
            else:
                start = model.loss.link(output)
            noisy, level, mask = batch.noise(batch.corruption, start.to(batch.clean), f"walkback{k}")
            output = model(noisy, level)
            losses = model.loss(output, batch.clean, mask, batch.observed) * model.level_weight(level)
            total = total + (losses * walking).mean()
        return self.weight * total
