"""The residual-prediction denoising autoencoder."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder, identity
from daezoo.networks.residual import NoisePredictor
from daezoo.optim import Optimizer

TILE = 1024
"""Side of the tiles in which large images are denoised, in pixels."""


class ResidualDAE(DenoisingAutoencoder):
    """Predicts the noise and subtracts it: x̂ = x̃ − net(x̃), as DnCNN does (Zhang et al., 2017).

    Under squared error this is the same objective as predicting the clean image. Untrained it is the identity.
    Fully convolutional: trained on patches, it denoises images of any size.

    Args:
        shape: Shape of one training image, (C, H, W); only C binds.
        width: Channels of the hidden layers.
        depth: Number of convolutions, >= 2.
        channels_last: Keep weights in channels-last memory order, which trains convolutions faster.
        loss: The reconstruction loss; its link must be the identity. Squared error if None.
        penalties: Terms added to it.
        optimizer: What trains it; AdamW if None.

    Raises:
        ValueError: If the loss is bounded, or the samples are no images.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 64,
        depth: int = 8,
        channels_last: bool = True,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        if not self.loss.identity_link:
            raise ValueError(
                f"ResidualDAE needs an unbounded output and cannot train with {type(self.loss).__name__}, whose output "
                "passes a sigmoid. Use SquaredError, AbsoluteError or Charbonnier."
            )
        if len(self.shape) != 3:
            raise ValueError(f"ResidualDAE needs images (C, H, W), got samples of shape {self.shape}.")
        self.save_hyperparameters()
        self.network = NoisePredictor(self.shape[0], width, depth)
        if channels_last:
            self.network.to(memory_format=torch.channels_last)

    code_pooling = "avg1x1"

    def check_shape(self, x: Tensor, clean: bool = False) -> None:
        """Raise ValueError unless `x` is (batch, C, H, W) with the trained C."""
        if x.ndim != 4 or x.shape[1] != self.shape[0]:
            raise ValueError(
                f"ResidualDAE expects images of shape (batch, {self.shape[0]}, height, width), got {tuple(x.shape)}."
            )
        self.check_values(x, clean)

    def encode(self, x: Tensor) -> Tensor:
        """The last hidden feature map averaged over the image, (batch, width)."""
        self.check_shape(x, clean=True)
        return self.network.features(x).mean((2, 3))

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """The code alone, after `after`; of samples that may be noisy."""
        self.check_shape(x)
        return [after(self.network.features(x).mean((2, 3)))]

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """The denoised images x̃ − net(x̃), the same shape; `level` is ignored."""
        self.check_shape(noisy)
        return noisy - self.network(noisy)

    def denoise(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """The denoised images, in tiles where they are large: memory does not grow with their size.

        A pixel depends on neighbours no further away than there are convolutions, so tiles that overlap by twice as
        much give what the whole image would.

        Args:
            noisy: Noisy images, (batch, C, height, width), of any size.
            level: Ignored.

        Raises:
            ValueError: If the shape does not fit the model.
        """
        self.check_shape(noisy)
        if max(noisy.shape[2:]) <= TILE:
            return super().denoise(noisy, level)
        denoised, halo = torch.empty_like(noisy, dtype=torch.float32), self.network.depth
        height, width = noisy.shape[2:]
        for top, left in product(range(0, height, TILE), range(0, width, TILE)):
            above, before = min(top, halo), min(left, halo)
            tile = noisy[:, :, top - above : top + TILE + halo, left - before : left + TILE + halo]
            place = denoised[:, :, top : top + TILE, left : left + TILE]
            inner = super().denoise(tile, level)[:, :, above:, before:]
            place.copy_(inner[:, :, : place.shape[2], : place.shape[3]])
        return denoised

    def filters(self) -> Tensor:
        """The first layer's kernels, (width, C, 3, 3)."""
        return self.network.get_parameter("hidden.0.weight").detach()
