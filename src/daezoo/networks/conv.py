"""A convolutional autoencoder with a fully connected code."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class ConvAutoencoder(nn.Module):
    """Strided convolutions down to a code, transposed convolutions back up; each stage halves height and width.

    Args:
        shape: Shape of one image, (C, H, W).
        channels: Channels after each stage, from the input up.
        code: Width of the code.

    Raises:
        ValueError: If the input is no image, its size is not divided by the strides, or a width is below 1.
    """

    def __init__(self, shape: Sequence[int], channels: Sequence[int], code: int) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ValueError(f"A convolutional model needs images (C, H, W), got samples of shape {tuple(shape)}.")
        if not channels or min(*shape, *channels, code) < 1:
            raise ValueError(
                f"A convolutional model needs one stage or more and widths >= 1, got {shape=}, {channels=}, {code=}."
            )
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
            down += [nn.Conv2d(below, above, 3, stride=2, padding=1), nn.ReLU()]
            up = [nn.ReLU(), nn.ConvTranspose2d(above, below, 4, stride=2, padding=1), *up]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, code))
        self.decoder = nn.Sequential(nn.Linear(code, features), nn.Unflatten(1, top), *up)

    def encode(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch code"]:
        """The code: a linear layer on the last feature map."""
        return self.encoder(x)

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch channels height width"]:
        """The raw reconstruction."""
        return self.decoder(code)
