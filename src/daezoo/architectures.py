"""Networks as plain descriptions, so that a checkpoint's hyperparameters stay readable."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from daezoo.networks import residual
from daezoo.networks.residual import Condition, NoisePredictor


@dataclass(frozen=True)
class Architecture(ABC):
    """A network that predicts noise, not built yet."""

    @abstractmethod
    def build(self, colors: int, condition: Condition) -> NoisePredictor:
        """The network, for images of so many channels.

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

    def build(self, colors: int, condition: Condition) -> NoisePredictor:
        """The network."""
        return residual.ConvStack(colors, condition, self.width, self.depth, self.norm, self.shuffle)


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

    def build(self, colors: int, condition: Condition) -> NoisePredictor:
        """The network."""
        return residual.UNet(colors, condition, self.widths, self.blocks, self.shuffle)
