"""Fully connected autoencoder layers, with tied or untied weights."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Outputs = Float[Tensor, "batch *outputs"]
Activation = Literal["sigmoid", "relu", "linear", "tanh"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "linear": lambda x: x,
    "tanh": torch.tanh,
}
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda h: h * (1 - h),
    "relu": lambda h: (h > 0).to(h.dtype),
    "linear": torch.ones_like,
    "tanh": lambda h: 1 - h.square(),
}
"""s' as a function of s."""


class AutoencoderLayer(nn.Module):
    """One layer of an autoencoder: h = s(W x + b), z = W' h + b', with W' = Wᵀ when tied (Vincent et al., 2008).

    Tied weights are one parameter used twice, so the state dict holds only `weight`.

    Args:
        visible: Width of x.
        hidden: Width of h.
        activation: s, the logistic function, the rectifier, the identity or tanh.
        tied: Whether the decoder uses the encoder's weights.
        parameters: Outputs for each element of x.
        kept: How many of the largest units of h keep their value, the others becoming 0 (k-sparse: Makhzani and Frey,
            2014); all if None.

    Raises:
        ValueError: If tied weights are to give several outputs, or more units kept than there are.
    """

    def __init__(
        self,
        visible: int,
        hidden: int,
        activation: Activation,
        tied: bool,
        parameters: int = 1,
        kept: int | None = None,
    ) -> None:
        super().__init__()
        if tied and parameters > 1:
            raise ValueError(
                f"Tied weights give one output for each element, and this loss needs {parameters}. Set tied: false."
            )
        if kept is not None and not 1 <= kept <= hidden:
            raise ValueError(f"Of {hidden} units between 1 and {hidden} may be kept, got {kept}.")
        self.activation = activation
        self.parameters_per_element = parameters
        self.kept = kept
        self.weight = nn.Parameter(torch.empty(hidden, visible))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.visible_bias = nn.Parameter(torch.zeros(parameters * visible))
        self.decoder_weight = None if tied else nn.Parameter(torch.empty(parameters * visible, hidden))
        nn.init.xavier_uniform_(self.weight)
        if self.decoder_weight is not None:
            nn.init.xavier_uniform_(self.decoder_weight)

    def encode(self, x: Float[Tensor, "batch visible"]) -> Float[Tensor, "batch hidden"]:
        """The code h."""
        code = ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))
        if self.kept is None:
            return code
        places = code.topk(self.kept, 1).indices
        return torch.zeros_like(code).scatter(1, places, code.gather(1, places))

    def jacobian_norm(self, x: Float[Tensor, "batch visible"]) -> Float[Tensor, " batch"]:
        """‖∂h/∂x‖²_F of each sample: Σⱼ s'(aⱼ)² ‖Wⱼ‖², aⱼ what s is applied to, over the units that are kept."""
        code = self.encode(x).float()
        slopes = SLOPES[self.activation](code) if self.kept is None else SLOPES[self.activation](code) * (code != 0)
        return slopes.square() @ self.weight.square().sum(1)

    def decode(self, code: Float[Tensor, "batch hidden"]) -> Outputs:
        """The raw reconstruction z, before any link: (batch, visible), or (batch, parameters, visible)."""
        weight = self.weight.t() if self.decoder_weight is None else self.decoder_weight
        z = F.linear(code, weight, self.visible_bias)
        return z if self.parameters_per_element == 1 else z.unflatten(1, (self.parameters_per_element, -1))

    def forward(self, x: Float[Tensor, "batch visible"]) -> Outputs:
        """The raw reconstruction of the layer by itself."""
        return self.decode(self.encode(x))


class MLPAutoencoder(nn.Module):
    """A stack of autoencoder layers: encode all the way up, decode all the way down.

    Args:
        visible: Width of the input.
        hidden: Width of each hidden layer, from the input up; the last is the code.
        activation: Of every hidden layer, in the encoder and in the decoder.
        tied: Whether each layer's decoder uses its encoder's weights.
        parameters: Outputs for each element of the input.
        kept: How many of the code's largest units keep their value; all if None.
        code_activation: Of the top layer's code; `activation` if None.

    Raises:
        ValueError: If there is no hidden layer, a width is below 1, or the activation is unknown.
    """

    layers: Sequence[AutoencoderLayer]

    def __init__(
        self,
        visible: int,
        hidden: Sequence[int],
        activation: Activation,
        tied: bool,
        parameters: int = 1,
        kept: int | None = None,
        code_activation: Activation | None = None,
    ) -> None:
        super().__init__()
        if not hidden or min(visible, *hidden) < 1:
            raise ValueError(
                "An autoencoder needs one hidden layer or more and widths of at least 1, "
                f"got {visible} and {list(hidden)}."
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"The activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}.")
        self.activation = activation
        top = len(hidden) - 1
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            AutoencoderLayer(
                below,
                above,
                code_activation or activation if k == top else activation,
                tied,
                parameters if k == 0 else 1,
                kept if k == top else None,
            )
            for k, (below, above) in enumerate(pairwise([visible, *hidden]))
        )

    def encode(self, x: Float[Tensor, "batch visible"]) -> Float[Tensor, "batch code"]:
        """The code of the top layer."""
        for layer in self.layers:
            x = layer.encode(x)
        return x

    def encode_layers(self, x: Float[Tensor, "batch visible"], after: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """The codes of all layers, from the input up; `after` is applied to each before the next sees it."""
        codes = []
        for layer in self.layers:
            x = after(layer.encode(x))
            codes.append(x)
        return codes

    def decode(self, code: Float[Tensor, "batch code"]) -> Outputs:
        """The raw reconstruction: hidden layers apply the activation, the last leaves it to the loss's link."""
        first, *others = self.layers
        for layer in reversed(others):
            code = ACTIVATIONS[self.activation](layer.decode(code))
        return first.decode(code)

    def filters(self, shape: Sequence[int]) -> Tensor | None:
        """The first layer's weights as pictures of a shape (C, H, W); None where samples are vectors (D,)."""
        weight = self.layers[0].weight.detach()
        return weight.view(-1, *shape) if len(shape) == 3 else None


class Perceptron(nn.Module):
    """Fully connected layers, an activation after each but the last.

    Args:
        widths: Of the input, the hidden layers and the output.
        activation: Of the hidden layers.

    Raises:
        ValueError: If a width is below 1, or the activation is unknown.
    """

    def __init__(self, widths: Sequence[int], activation: Activation) -> None:
        super().__init__()
        if min(widths) < 1:
            raise ValueError(f"Layers need widths of at least 1, got {list(widths)}.")
        if activation not in ACTIVATIONS:
            raise ValueError(f"The activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}.")
        self.activation = activation
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in pairwise(widths))

    def forward(self, x: Float[Tensor, "batch below"]) -> Float[Tensor, "batch above"]:
        """The output, without an activation."""
        return self.all_layers(x, lambda layer: layer)[-1]

    def all_layers(self, x: Float[Tensor, "batch below"], after: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """What every layer makes of samples, the output last; `after` is applied to each before the next sees it."""
        found = []
        *hidden, last = self.layers
        for layer in hidden:
            x = after(ACTIVATIONS[self.activation](layer(x)))
            found.append(x)
        return [*found, after(last(x))]

    def filters(self, shape: Sequence[int]) -> Tensor | None:
        """The first layer's weights as pictures of a shape (C, H, W); None where samples are vectors (D,)."""
        weight = self.get_parameter("layers.0.weight").detach()
        return weight.view(-1, *shape) if len(shape) == 3 else None
