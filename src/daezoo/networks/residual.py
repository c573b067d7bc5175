"""Networks that predict the noise of images of any size: convolutions, as DnCNN and FFDNet, and a U-Net, as DRUNet."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from math import pi
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Images = Float[Tensor, "batch channels rows columns"]
Maps = Float[Tensor, "batch maps height width"]
Levels = Float[Tensor, "batch *told"]
"""Noise levels (batch,) or, with classes, (batch, 1 + classes): a one for the class, zeros if it is unknown."""
Condition = Literal["none", "map", "film", "sinusoidal"]

EMBEDDING = 64
"""Width of an embedded noise level."""
FREQUENCIES = 16
"""Of a sinusoidal embedding, from half a period over a level of 1 up to 256 of them."""
DEEPEST = 1000
"""Layers of a kind in a row, at the most: a larger number is a slip, and building them would not end."""


class Embedding(nn.Module):
    """A small network on noise levels and, if there are any, classes.

    Args:
        sinusoidal: Feed it sines and cosines of the level, of rising frequency, instead of the level itself.
        classes: How many.
    """

    def __init__(self, sinusoidal: bool, classes: int = 0) -> None:
        super().__init__()
        self.sinusoidal = sinusoidal
        inputs = (2 * FREQUENCIES if sinusoidal else 1) + classes
        self.layers = nn.Sequential(nn.Linear(inputs, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU())

    def forward(self, level: Levels) -> Float[Tensor, "batch embedding"]:
        """The embedding of each level."""
        features = level if level.ndim == 2 else level[:, None]
        if self.sinusoidal:
            steps = torch.linspace(0, 8, FREQUENCIES, device=level.device)
            angles = pi * features[:, :1] * 2**steps
            features = torch.cat([angles.sin(), angles.cos(), features[:, 1:]], 1)
        return self.layers(features)


def embedding_of(condition: Condition, classes: int) -> Embedding | None:
    """The embedding by which a network is told, where it is told by one.

    Raises:
        ValueError: If it is not, and there are classes to be told.
    """
    if condition not in ("film", "sinusoidal"):
        if classes:
            raise ValueError(
                f"A network is told classes by an embedding: condition film or sinusoidal, got {condition}."
            )
        return None
    return Embedding(condition == "sinusoidal", classes)


def mirrored(images: Images, stride: int) -> Float[Tensor, "batch channels height width"]:
    """Images of a height and width that are multiples of the stride: what is lacking is mirrored at the last pixel."""
    for dimension in (2, 3):
        size = images.shape[dimension]
        if size % stride:
            period = max(1, 2 * (size - 1))
            place = torch.arange(size + -size % stride, device=images.device) % period
            images = images.index_select(dimension, torch.minimum(place, period - place))
    return images


class Modulated(nn.Module):
    """A convolution, batch norm if wanted, and FiLM if there is an embedding: y → (1 + scale) y + shift, by channel.

    Scale and shift are linear in the embedding and start at zero (Perez et al., 2018).

    Args:
        channels: Of the input.
        width: Channels of the output.
        embedded: Whether it is modulated.
        norm: Whether it has batch norm, in place of a bias.
    """

    def __init__(self, channels: int, width: int, embedded: bool, norm: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1, bias=not norm)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.film = nn.Linear(EMBEDDING, 2 * width) if embedded else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> Maps:
        """The maps, before a rectifier."""
        x = self.norm(self.convolution(x))
        if self.film is None:
            return x
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        return (1 + scale) * x + shift


class NoisePredictor(nn.Module, ABC):
    """A network (noisy images, noise levels) → predicted noise, for images of any size.

    The last layer starts at zero, so an untrained network predicts no noise at all.

    Args:
        colors: Channels of the image.
        condition: How it is told the noise level: not at all, by a map, which is one more channel of the input, or by
            FiLM from an embedding of the level or of sines and cosines of it.
        shuffle: The image is taken apart into the pixels of every so many rows and columns, which become channels.
        classes: How many it is told apart, beside the level; 0 for none, and without an embedding.

    Attributes:
        last: The last convolution.
        stride: What height and width are padded to a multiple of, by mirroring: repeated rows of noise are no noise.
        reach: An output pixel depends on no input pixel further away than this.
    """

    last: nn.Conv2d
    stride: int
    reach: int

    def __init__(self, colors: int, condition: Condition, shuffle: int, classes: int) -> None:
        super().__init__()
        if min(colors, shuffle) < 1:
            raise ValueError(f"Channels and shuffle must be at least 1, got {colors=}, {shuffle=}.")
        if condition not in get_args(Condition):
            raise ValueError(f"The condition must be one of {', '.join(get_args(Condition))}, got {condition!r}.")
        self.condition, self.shuffle = condition, shuffle
        self.parts = colors * shuffle**2
        self.inputs = self.parts + (condition == "map")
        self.embedding = embedding_of(condition, classes)

    @property
    @abstractmethod
    def kernels(self) -> Tensor:
        """The first layer's kernels, (filters, inputs, 3, 3)."""

    @property
    def filters(self) -> Tensor:
        """The first layer's kernels as pictures, (filters, C, 3 shuffle, 3 shuffle), without those on the map."""
        return F.pixel_shuffle(self.kernels[:, : self.parts].detach(), self.shuffle)

    @abstractmethod
    def hidden_maps(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> Maps:
        """The last hidden feature map, of the padded and shuffled image with its map."""

    def code_maps(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> Maps:
        """The map that says most of what is in an image, of the same input: the last unless a network has a better."""
        return self.hidden_maps(x, embedding)

    def features(self, noisy: Images, level: Levels | None = None) -> Maps:
        """The last hidden feature map, (batch, width, H / shuffle, W / shuffle) of the padded image."""
        return self.hidden_maps(*self._told(noisy, level))

    def code(self, noisy: Images, level: Levels | None = None) -> Float[Tensor, "batch maps"]:
        """What `code_maps` finds, averaged over the image."""
        return self.code_maps(*self._told(noisy, level)).mean((2, 3))

    def _told(
        self, noisy: Images, level: Levels | None
    ) -> tuple[Float[Tensor, "batch inputs height width"], Float[Tensor, "batch embedding"] | None]:
        """The padded and shuffled image with its map of the level, and the level's embedding, where there is one."""
        x = F.pixel_unshuffle(mirrored(noisy, self.stride), self.shuffle)
        if self.condition == "none":
            return x, None
        if level is None:
            raise ValueError(f"A network that is conditioned on the noise level ({self.condition}) needs it.")
        if self.embedding is not None:
            return x, self.embedding(level)
        told = level.to(x.dtype)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        return torch.cat([x, told], 1), None

    def forward(self, noisy: Images, level: Levels | None = None) -> Images:
        """The predicted noise, shaped like the input."""
        height, width = noisy.shape[2:]
        return F.pixel_shuffle(self.last(self.features(noisy, level)), self.shuffle)[:, :, :height, :width]


class ConvStack(NoisePredictor):
    """3 x 3 convolutions of one width with rectifiers between.

    DnCNN (Zhang et al., 2017) has a depth of 17 and batch norm; FFDNet (Zhang et al., 2018) a depth of 15, batch norm,
    a map of the noise level, and works on the image in shuffle² = 4 parts of half its size, at a quarter of the cost.

    Args:
        colors: As for NoisePredictor.
        condition: As for NoisePredictor.
        width: Channels of the hidden layers.
        depth: Number of convolutions, >= 2.
        norm: Whether all but the first and the last have batch norm.
        shuffle: As for NoisePredictor.
        classes: As for NoisePredictor.

    Raises:
        ValueError: If a number lies out of range.
    """

    def __init__(
        self,
        colors: int,
        condition: Condition,
        width: int = 64,
        depth: int = 8,
        norm: bool = False,
        shuffle: int = 1,
        classes: int = 0,
    ) -> None:
        super().__init__(colors, condition, shuffle, classes)
        if not 2 <= depth <= DEEPEST or width < 1:
            raise ValueError(
                f"A stack of convolutions needs a depth of 2 to {DEEPEST} and width >= 1, got {depth=}, {width=}."
            )
        self.stride, self.reach = shuffle, (depth + 1) * shuffle - 1  # from one edge of a shuffled pixel to the other
        embedded = self.embedding is not None
        first = Modulated(self.inputs, width, embedded)
        self.hidden = nn.ModuleList([first, *(Modulated(width, width, embedded, norm) for _ in range(depth - 2))])
        self.last = nn.Conv2d(width, self.parts, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    @property
    def kernels(self) -> Tensor:
        """The first layer's kernels, (width, inputs, 3, 3)."""
        return self.hidden.get_parameter("0.convolution.weight")

    def hidden_maps(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> Maps:
        """The last hidden feature map, (batch, width, H / shuffle, W / shuffle)."""
        for layer in self.hidden:
            x = F.relu(layer(x, embedding))
        return x


class Block(nn.Module):
    """Two convolutions around which the input is added again.

    Args:
        width: Channels.
        embedded: Whether the first is modulated.
    """

    def __init__(self, width: int, embedded: bool) -> None:
        super().__init__()
        self.first = Modulated(width, width, embedded)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]
        nn.init.kaiming_normal_(self.second.weight, nonlinearity="linear")
        with torch.no_grad():
            self.second.weight.mul_(0.1)  # blocks start near the identity, so that deep networks do

    def forward(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> Images:
        """The maps."""
        return x + self.second(F.relu(self.first(x, embedding)))


class Blocks(nn.Module):
    """Residual blocks, one after the other.

    Args:
        width: Channels.
        count: How many.
        embedded: Whether they are modulated.
    """

    def __init__(self, width: int, count: int, embedded: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, embedded) for _ in range(count))

    def forward(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> Images:
        """The maps."""
        for block in self.blocks:
            x = block(x, embedding)
        return x


class UNet(NoisePredictor):
    """A U-Net of residual blocks without batch norm, after DRUNet (Zhang et al., 2021).

    Each scale halves height and width by a strided convolution and comes back by a transposed one; what comes back is
    added to what went down. Unlike DRUNet, it predicts the noise, and adds before the blocks of the way up.

    Args:
        colors: As for NoisePredictor.
        condition: As for NoisePredictor.
        widths: Channels of each scale, from the image's own down. DRUNet: 64, 128, 256, 512.
        blocks: Residual blocks of a scale on either way, >= 1. DRUNet: 4.
        shuffle: As for NoisePredictor. DRUNet: 1.
        classes: As for NoisePredictor.

    Raises:
        ValueError: If a number lies out of range.
    """

    def __init__(
        self,
        colors: int,
        condition: Condition,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        shuffle: int = 1,
        classes: int = 0,
    ) -> None:
        super().__init__(colors, condition, shuffle, classes)
        if not widths or min(*widths, blocks) < 1 or blocks > DEEPEST:
            raise ValueError(
                f"A U-Net needs one scale or more, widths >= 1 and 1 to {DEEPEST} blocks, got {widths=}, {blocks=}."
            )
        embedded = self.embedding is not None
        self.stride = shuffle * 2 ** (len(widths) - 1)
        self.first = nn.Conv2d(self.inputs, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList(Blocks(width, blocks, embedded) for width in widths[:-1])
        self.halved = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairwise(widths))
        self.bottom = Blocks(widths[-1], blocks, embedded)
        self.doubled = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Blocks(width, blocks, embedded) for width in widths[:-1])
        self.last = nn.Conv2d(widths[0], self.parts, 3, padding=1, bias=False)
        nn.init.zeros_(self.last.weight)
        # two convolutions a block, down and up again; pixels of scale k are 2ᵏ shuffle of the image's apart
        convolutions = (2 * blocks * (1 if k == len(widths) - 1 else 2) + 1 for k in range(len(widths)))
        self.reach = shuffle * (2 + sum(2**k * count for k, count in enumerate(convolutions)))

    @property
    def kernels(self) -> Tensor:
        """The first layer's kernels, (widths[0], inputs, 3, 3)."""
        return self.first.weight

    def hidden_maps(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> Maps:
        """The last hidden feature map, (batch, widths[0], H / shuffle, W / shuffle)."""
        x, kept = self._down(x, embedding)
        for blocks, double in zip(reversed(self.up), reversed(self.doubled), strict=True):
            x = blocks(double(x) + kept.pop(), embedding)
        return x

    def code_maps(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> Maps:
        """The smallest maps, (batch, widths[-1], …)."""
        return self._down(x, embedding)[0]

    def _down(self, x: Images, embedding: Float[Tensor, "batch embedding"] | None) -> tuple[Maps, list[Tensor]]:
        """The smallest maps, and those of the larger scales."""
        x, kept = self.first(x), []
        for blocks, halve in zip(self.down, self.halved, strict=True):
            x = blocks(x, embedding)
            kept.append(x)
            x = halve(x)
        return self.bottom(x, embedding), kept
