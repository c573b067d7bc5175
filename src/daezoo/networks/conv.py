"""A convolutional autoencoder, with or without a fully connected code."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class ConvAutoencoder(nn.Module):
    """Strided convolutions down to a code, transposed convolutions back up; each stage halves height and width.

    Args:
        shape: Shape of one image, (C, H, W).
        channels: Channels after each stage, from the input up.
        code: Width of the code, a linear layer on the last feature map; if None, the map itself is the code.
        kernel: Side of the encoder's kernels, odd; the decoder's are one larger.
        batch_norm: Normalise the encoder's maps, channel by channel, before their rectifiers.
        parameters: Outputs for each element of the input: so many times as many channels.

    Raises:
        ValueError: If the input is no image, its size is not divided by the strides, a width is below 1, or the kernel
            is not odd.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        code: int | None,
        kernel: int = 3,
        batch_norm: bool = False,
        parameters: int = 1,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ValueError(f"A convolutional model needs images (C, H, W), got samples of shape {tuple(shape)}.")
        if not channels or min(*shape, *channels, 1 if code is None else code) < 1:
            raise ValueError(
                f"A convolutional model needs one stage or more and widths >= 1, got {shape=}, {channels=}, {code=}."
            )
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"The kernel's side must be odd, got {kernel}.")
        colors, height, width = shape
        stride = 2 ** len(channels)
        if height % stride or width % stride:
            raise ValueError(
                f"{len(channels)} stages of stride 2 need height and width divided by {stride}, got {height}x{width}. "
                "Use fewer channels entries, or other images."
            )
        top = (channels[-1], height // stride, width // stride)
        features = top[0] * top[1] * top[2]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for below, above in pairwise([colors, *channels]):
            norm = [nn.BatchNorm2d(above)] if batch_norm else []
            down += [nn.Conv2d(below, above, kernel, stride=2, padding=kernel // 2), *norm, nn.ReLU()]
            outputs = below if up else below * parameters
            up = [nn.ReLU(), nn.ConvTranspose2d(above, outputs, kernel + 1, stride=2, padding=kernel // 2), *up]
        if code is None:
            self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up[1:])
        else:
            self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, code))
            self.decoder = nn.Sequential(nn.Linear(code, features), nn.Unflatten(1, top), *up)

    def encode(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch code *map"]:
        """The code: a linear layer on the last feature map, (batch, code), or that map, (batch, channels, h, w)."""
        return self.encoder(x)

    def encode_layers(
        self, x: Float[Tensor, "batch channels height width"], after: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """The feature map of every stage, and the code if there is one; the next sees what `after` makes of each."""
        layers = []
        for module in self.encoder:
            x = module(x)
            if isinstance(module, nn.ReLU | nn.Linear):
                x = after(x)
                layers.append(x)
        return layers

    def decode(self, code: Float[Tensor, "batch code *map"]) -> Float[Tensor, "batch outputs height width"]:
        """The raw reconstruction, (batch, parameters * C, H, W)."""
        return self.decoder(code)
