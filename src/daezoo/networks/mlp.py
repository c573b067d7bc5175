"""Fully connected autoencoder layers, with tied or untied weights."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["sigmoid", "relu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "relu": torch.relu}


class AutoencoderLayer(nn.Module):
    """One layer of an autoencoder: h = s(W x + b), z = W' h + b', with W' = Wᵀ when tied (Vincent et al., 2008).

    Tied weights are one parameter used twice, so the state dict holds only `weight`.

    Args:
        visible: Width of x.
        hidden: Width of h.
        activation: s, the logistic function or the rectifier.
        tied: Whether the decoder uses the encoder's weights.
    """

    def __init__(self, visible: int, hidden: int, activation: Activation, tied: bool) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(torch.empty(hidden, visible))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.decoder_weight = None if tied else nn.Parameter(torch.empty(visible, hidden))
        nn.init.xavier_uniform_(self.weight)
        if self.decoder_weight is not None:
            nn.init.xavier_uniform_(self.decoder_weight)

    def encode(self, x: Float[Tensor, "batch visible"]) -> Float[Tensor, "batch hidden"]:
        """The code h."""
        return ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))

    def decode(self, code: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch visible"]:
        """The raw reconstruction z, before any link."""
        weight = self.weight.t() if self.decoder_weight is None else self.decoder_weight
        return F.linear(code, weight, self.visible_bias)

    def forward(self, x: Float[Tensor, "batch visible"]) -> Float[Tensor, "batch visible"]:
        """The raw reconstruction of the layer by itself."""
        return self.decode(self.encode(x))


class MLPAutoencoder(nn.Module):
    """A stack of autoencoder layers: encode all the way up, decode all the way down.

    Args:
        visible: Width of the input.
        hidden: Width of each hidden layer, from the input up; the last is the code.
        activation: Of every hidden layer, in the encoder and in the decoder.
        tied: Whether each layer's decoder uses its encoder's weights.

    Raises:
        ValueError: If there is no hidden layer, a width is below 1, or the activation is unknown.
    """

    layers: Sequence[AutoencoderLayer]

    def __init__(self, visible: int, hidden: Sequence[int], activation: Activation, tied: bool) -> None:
        super().__init__()
        if not hidden or min(visible, *hidden) < 1:
            raise ValueError(
                "An autoencoder needs one hidden layer or more and widths of at least 1, "
                f"got {visible} and {list(hidden)}."
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"The activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}.")
        self.activation = activation
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            AutoencoderLayer(below, above, activation, tied) for below, above in pairwise([visible, *hidden])
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

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch visible"]:
        """The raw reconstruction: hidden layers apply the activation, the last leaves it to the loss's link."""
        first, *others = self.layers
        for layer in reversed(others):
            code = ACTIVATIONS[self.activation](layer.decode(code))
        return first.decode(code)

    def filters(self, shape: Sequence[int]) -> Tensor | None:
        """The first layer's weights as pictures of a shape (C, H, W); None where samples are vectors (D,)."""
        weight = self.layers[0].weight.detach()
        return weight.view(-1, *shape) if len(shape) == 3 else None
