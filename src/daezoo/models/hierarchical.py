"""The hierarchical denoising autoencoder, a ladder."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daezoo.batch import Batch, Noise
from daezoo.corruption import Corruption, Gaussian
from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder, identity, no_reservoir
from daezoo.networks.mlp import ACTIVATIONS, Activation
from daezoo.optim import Optimizer


def normalised(z: Tensor) -> Tensor:
    """Codes (batch, width) less the mean of their units, over their standard deviation, in float32."""
    return F.layer_norm(z.float(), z.shape[1:])


class HierarchicalDAE(DenoisingAutoencoder):
    """A ladder: a code at every level, each denoising its own, with the level above and the noisy code beside it.

    z_l = N(W_l h_{l−1}), h_l = s(z_l + b_l), h_0 = x; on the noisy path z̃_l = z_l + noise, h̃_0 = x̃. Down again,
    u_l = N(V_l ẑ_{l+1}) and ẑ_l = v z̃_l + (1 − v) u_l, v = σ(A_l u_l + c_l), from u_L = N(V_L h̃_L); the output is
    V_0 ẑ_1. Minimises E L(x, V_0 ẑ_1) + Σ_l weight_l E ‖z_l − ẑ_l‖² / width_l, z_l of the clean path.

    Follows Rasmus et al. (2015), after Valpola (2015), and leaves out their classifier. Other than theirs: N takes the
    mean and the standard deviation of a sample's units, not of a unit over the batch, so that a code depends on its own
    sample alone; v, the share of the noisy code, is one logistic layer; clean codes are targets without
    gradients, so that no level is made easy by making all its codes alike; and there is no lateral connection at the
    input, whose output may be logits.

    Args:
        shape: Shape of one sample, (C, H, W) or (D,).
        hidden: Width of each level, two or more, from the input up.
        activation: s.
        weights: Weight of each level's denoising, >= 0; 1 for all if None.
        code_corruption: What makes the codes of all levels noisy; Gaussian of 0.3 if None.
        loss: The reconstruction loss, with its output link; squared error if None.
        penalties: Terms added to it.
        optimizer: What trains it; AdamW if None.

    Raises:
        ValueError: If there are fewer than two levels, or weights do not fit.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (500, 100),
        activation: Activation = "relu",
        weights: Sequence[float] | None = None,
        code_corruption: Corruption | None = None,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        self.save_hyperparameters()
        if len(hidden) < 2 or min(hidden) < 2:
            raise ValueError(f"HierarchicalDAE needs two levels or more, of two units or more, got {list(hidden)}.")
        weights = [1.0] * len(hidden) if weights is None else list(weights)
        if len(weights) != len(hidden) or not all(0 <= weight < inf for weight in weights):
            raise ValueError(
                f"HierarchicalDAE needs one weight for each of {len(hidden)} levels, finite and at least 0, "
                f"got {weights}."
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"The activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}.")
        self.activate = ACTIVATIONS[activation]
        self.weights = weights
        self.code_corruption = code_corruption or Gaussian(0.3)
        self.code_corruption.bound(no_reservoir)
        visible = prod(self.shape)
        self.up = nn.ModuleList(nn.Linear(below, above, bias=False) for below, above in pairwise([visible, *hidden]))
        self.biases = nn.ParameterList(torch.zeros(width) for width in hidden)
        above = [*hidden[1:], hidden[-1]]
        self.down = nn.ModuleList(nn.Linear(*widths, bias=False) for widths in zip(above, hidden, strict=True))
        self.gates = nn.ModuleList(nn.Linear(width, width) for width in hidden)
        self.output = nn.Linear(hidden[0], prod(self.output_shape))

    def ascend(
        self, x: Tensor, noise: Noise | None = None, after: Callable[[Tensor], Tensor] = identity
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The levels z_l, with noise if there is any, and h_l, after `after`, of samples (batch, *shape), upwards."""
        h, levels, codes = x.flatten(1), [], []
        for number, (up, bias) in enumerate(zip(self.up, self.biases, strict=True)):
            z = normalised(up(h))
            levels.append(z if noise is None else noise(self.code_corruption, z, f"level{number}").noisy)
            h = after(self.activate(levels[-1] + bias))
            codes.append(h)
        return levels, codes

    def descend(self, levels: list[Tensor], top: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The raw output, (batch, *output_shape), and the denoised levels ẑ_l, from those of the noisy path."""
        found, above = [], top
        for noisy, down, gate in zip(reversed(levels), reversed(self.down), reversed(self.gates), strict=True):
            u = normalised(down(above))
            share = gate(u).sigmoid()
            above = share * noisy + (1 - share) * u
            found.append(above)
        return self.output(above).view(-1, *self.output_shape), found[::-1]

    def encode(self, x: Tensor) -> Tensor:
        """The code of the highest level for samples (batch, *shape), without noise: (batch, hidden[-1])."""
        self.check_shape(x, clean=True)
        return self.ascend(x)[1][-1]

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """The codes of all levels, from the input up, each after `after`, before the next sees it."""
        self.check_shape(x)
        return self.ascend(x, after=after)[1]

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """Raw output for noisy samples (batch, *shape), of `output_shape`; codes get no noise, `level` is ignored."""
        self.check_shape(noisy)
        levels, codes = self.ascend(noisy)
        return self.descend(levels, codes[-1])[0]

    def loss_terms(self, batch: Batch, output: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruction, penalties, and how well each level is denoised, under noise of the codes."""
        with torch.no_grad():
            clean, _ = self.ascend(batch.clean)
        levels, codes = self.ascend(batch.noisy, batch.noise)
        output, denoised = self.descend(levels, codes[-1])
        errors = [(one - z).square().mean() for one, z in zip(denoised, clean, strict=True)]
        weighted = zip(self.weights, errors, strict=True)
        return self.terms(output, batch) | {
            f"level{k}": weight * error for k, (weight, error) in enumerate(weighted, 1)
        }

    def filters(self) -> Tensor | None:
        """The first level's weights as pictures, (hidden[0], C, H, W); None for vectors."""
        weight = self.get_parameter("up.0.weight").detach()
        return weight.view(-1, *self.shape) if len(self.shape) == 3 else None
