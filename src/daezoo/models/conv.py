"""The convolutional denoising autoencoder."""

from collections.abc import Sequence

import torch
from torch import Tensor

from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder
from daezoo.networks.conv import ConvAutoencoder
from daezoo.optim import Optimizer


class ConvDAE(DenoisingAutoencoder):
    """A convolutional denoising autoencoder with a vector code.

    Each stage halves height and width, so 2 ** len(channels) must divide both.

    Args:
        shape: Shape of one image, (C, H, W).
        channels: Channels after each stage, from the input up.
        code: Width of the code.
        channels_last: Keep weights in channels-last memory order, which trains convolutions faster.
        loss: The reconstruction loss, with its output link; squared error if None.
        penalties: Terms added to it.
        optimizer: What trains it; AdamW if None.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        code: int = 128,
        channels_last: bool = True,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        self.save_hyperparameters()
        self.network = ConvAutoencoder(shape, channels, code)
        if channels_last:
            self.network.to(memory_format=torch.channels_last)

    def encode(self, x: Tensor) -> Tensor:
        """The code of images (batch, C, H, W): (batch, code)."""
        self.check_shape(x)
        return self.network.encode(x)

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """Raw output for noisy images, the same shape; `level` is ignored."""
        return self.network.decode(self.encode(noisy))

    def filters(self) -> Tensor:
        """The first layer's kernels, (channels[0], C, 3, 3)."""
        return self.network.get_parameter("encoder.0.weight").detach()
