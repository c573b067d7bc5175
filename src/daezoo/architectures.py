"""Networks as plain descriptions, so that a checkpoint's hyperparameters stay readable."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from daezoo.networks import residual
from daezoo.networks.points import PointNetwork
from daezoo.networks.residual import Condition, NoisePredictor


@dataclass(frozen=True)
class Architecture(ABC):
    """A network that predicts noise, not built yet."""

    dimensions: ClassVar[int] = 3
    """Of a sample: 3 for images (C, H, W), 1 for vectors (D,)."""

    @abstractmethod
    def build(self, colors: int, condition: Condition, classes: int = 0) -> NoisePredictor | PointNetwork:
        """The network, for images of so many channels, or vectors of so many elements, told so many classes apart.

        Raises:
            ValueError: If a number lies out of range.
        """


@dataclass(frozen=True)
class ConvStack(Architecture):
    """Plain 3 x 3 convolutions, as in DnCNN and FFDNet: `daezoo.networks.residual.ConvStack`.

    Args:
        width: Channels of the hidden layers.
        depth: Number of convolutions, >= 2.
        norm: Batch norm after all but the first and the last.
        shuffle: The image is taken apart into shuffle² parts of a size as much smaller.
    """

    width: int = 64
    depth: int = 8
    norm: bool = False
    shuffle: int = 1

    def build(self, colors: int, condition: Condition, classes: int = 0) -> NoisePredictor:
        """The network."""
        return residual.ConvStack(colors, condition, self.width, self.depth, self.norm, self.shuffle, classes)


@dataclass(frozen=True)
class UNet(Architecture):
    """A U-Net of residual blocks, as in DRUNet: `daezoo.networks.residual.UNet`.

    Args:
        widths: Channels of each scale, from the image's own down.
        blocks: Residual blocks of a scale on either way, >= 1.
        shuffle: The image is taken apart into shuffle² parts of a size as much smaller.
    """

    widths: Sequence[int] = (32, 64, 128)
    blocks: int = 2
    shuffle: int = 1

    def build(self, colors: int, condition: Condition, classes: int = 0) -> NoisePredictor:
        """The network."""
        return residual.UNet(colors, condition, self.widths, self.blocks, self.shuffle, classes)


@dataclass(frozen=True)
class Points(Architecture):
    """Fully connected residual blocks, for vectors: `daezoo.networks.points.PointNetwork`.

    Args:
        width: Of the hidden layers.
        blocks: How many, >= 1.
    """

    width: int = 128
    blocks: int = 3
    dimensions: ClassVar[int] = 1

    def build(self, colors: int, condition: Condition, classes: int = 0) -> PointNetwork:
        """The network."""
        return PointNetwork(colors, condition, self.width, self.blocks, classes)
