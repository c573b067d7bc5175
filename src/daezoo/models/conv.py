"""The convolutional denoising autoencoder."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder, identity, pooled
from daezoo.networks.conv import ConvAutoencoder
from daezoo.optim import Optimizer


class ConvDAE(DenoisingAutoencoder):
    """A convolutional denoising autoencoder with a vector code.

    Each stage halves height and width, so 2 ** len(channels) must divide both.

    Args:
        shape: Shape of one image, (C, H, W).
        channels: Channels after each stage, from the input up.
        code: Width of the code, a linear layer on the last feature map. If None, there is none: the decoder sees the
            map, and `encode` averages it over a 4 x 4 grid.
        kernel: Side of the encoder's kernels, odd.
        channels_last: Keep weights in channels-last memory order, which trains convolutions faster.
        batch_norm: Batch normalisation (Ioffe and Szegedy, 2015) after each of the encoder's convolutions; training
            then bears a higher learning rate. Its statistics are of noisy samples, and each process takes its own:
            on several GPUs set `--trainer.sync_batchnorm true`.
        loss: The reconstruction loss, with its output link; squared error if None.
        penalties: Terms added to it.
        optimizer: What trains it; AdamW if None.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        code: int | None = 128,
        kernel: int = 3,
        channels_last: bool = True,
        batch_norm: bool = False,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        self.save_hyperparameters()
        self.network = ConvAutoencoder(shape, channels, code, kernel, batch_norm, self.loss.parameters)
        if channels_last:
            self.network.to(memory_format=torch.channels_last)

    def encode(self, x: Tensor) -> Tensor:
        """The code of images (batch, C, H, W): (batch, code)."""
        self.check_shape(x, clean=True)
        return pooled(self.network.encode(x)).flatten(1)

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """The feature map of every stage, (batch, channels, height, width), and the code if there is one."""
        self.check_shape(x)
        return self.network.encode_layers(x, after)

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """Raw output for noisy images, of `output_shape`; `level` is ignored."""
        self.check_shape(noisy)
        output = self.network.decode(self.network.encode(noisy))
        return output if self.loss.parameters == 1 else output.unflatten(1, self.output_shape[:2])

    def filters(self) -> Tensor:
        """The first layer's kernels, (channels[0], C, kernel, kernel)."""
        return self.network.get_parameter("encoder.0.weight").detach()
