"""The residual-prediction denoising autoencoder."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from daezoo.architectures import Architecture, ConvStack
from daezoo.corruption import Clean, Corruption
from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder, identity
from daezoo.networks.residual import Condition, NoisePredictor
from daezoo.optim import Optimizer

TILE = 1024
"""Side of the tiles in which large images are denoised, in pixels, or a little less: a multiple of the stride."""


class ResidualDAE(DenoisingAutoencoder):
    """Predicts the noise and subtracts it: x̂ = x̃ − net(x̃, level), as DnCNN does (Zhang et al., 2017).

    Under squared error this is the same objective as predicting the clean image. Untrained it is the identity.
    Fully convolutional: trained on patches, it denoises images of any size.

    Args:
        shape: Shape of one training image, (C, H, W); only C binds.
        network: The network; a ConvStack of 8 convolutions if None.
        condition: How the network is told the noise level: not at all (none), by a map of it beside the image (map), or
            by scaling and shifting its feature maps as an embedding of the level says (film), or one of sines and
            cosines of it (sinusoidal).
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
        network: Architecture | None = None,
        condition: Condition = "none",
        channels_last: bool = True,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        if not self.loss.identity_link:
            raise ValueError(
                f"ResidualDAE needs an unbounded output and cannot train with {type(self.loss).__name__}, whose output "
                "is not the image itself. Use SquaredError, AbsoluteError, Charbonnier or FixedGaussian."
            )
        if len(self.shape) != 3:
            raise ValueError(f"ResidualDAE needs images (C, H, W), got samples of shape {self.shape}.")
        self.save_hyperparameters()
        built = (network or ConvStack()).build(self.shape[0], condition)
        if not isinstance(built, NoisePredictor):
            raise ValueError(f"ResidualDAE needs a network for images, not {type(network).__name__}.")
        self.network = built
        if channels_last:
            self.network.to(memory_format=torch.channels_last)

    code_pooling = "avg1x1"

    def check_corruption(self, corruption: Corruption) -> None:
        """Raise ValueError if there is nothing to learn."""
        super().check_corruption(corruption)
        if isinstance(corruption, Clean):
            raise ValueError(
                "Without noise there is nothing for ResidualDAE to learn: untrained, it is the identity. Pass "
                "--data.corruption Gaussian, or train another model."
            )

    def check_shape(self, x: Tensor, clean: bool = False) -> None:
        """Raise ValueError unless `x` is (batch, C, H, W) with the trained C."""
        if x.ndim != 4 or x.shape[1] != self.shape[0]:
            raise ValueError(
                f"ResidualDAE expects images of shape (batch, {self.shape[0]}, height, width), got {tuple(x.shape)}."
            )
        self.check_values(x, clean)

    def encode(self, x: Tensor) -> Tensor:
        """The last hidden feature map averaged over the image, (batch, width); the noise level is 0."""
        self.check_shape(x, clean=True)
        return self._features(x)

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """The code alone, after `after`; of samples that may be noisy, as if they were not."""
        self.check_shape(x)
        return [after(self._features(x))]

    def _features(self, x: Tensor) -> Tensor:
        return self.network.features(x, x.new_zeros(len(x))).mean((2, 3))

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """The denoised images x̃ − net(x̃, level), the same shape.

        Args:
            noisy: Noisy images, (batch, C, height, width), of any size.
            level: Noise level, a number or (batch,); not needed, and ignored, if the condition is none.

        Raises:
            ValueError: If the shape does not fit, or a level is needed and none is given.
        """
        self.check_shape(noisy)
        if self.network.condition == "none":
            return noisy - self.network(noisy)
        if level is None:
            raise ValueError(
                f"This ResidualDAE is conditioned on the noise level ({self.network.condition}): pass it, "
                "denoise(noisy, level), as a number or one for each image."
            )
        levels = torch.as_tensor(level, device=noisy.device).to(noisy)
        if levels.shape not in ((), (1,), (len(noisy),)) or not (levels.isfinite() & (levels >= 0)).all():
            raise ValueError(
                f"The noise level must be a number, or one for each of the {len(noisy)} images, finite and at least 0; "
                f"got {level}."
            )
        return noisy - self.network(noisy, levels.expand(len(noisy)))

    def denoise(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """The denoised images, in tiles where they are large: memory does not grow with their size.

        A pixel depends on no pixels further away than the network's reach, so tiles that overlap by twice as much give
        what the whole image would.

        Args:
            noisy: Noisy images, (batch, C, height, width), of any size.
            level: As for `forward`.

        Raises:
            ValueError: As for `forward`.
        """
        denoised = torch.empty_like(noisy, dtype=torch.float32)
        for place, tile in self.tiles(noisy, level):
            denoised[place] = tile
        return denoised

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Where the tiles of an image begin, from the top and from the left: on the network's own grid."""
        return list(product(range(0, height, self.side), range(0, width, self.side)))

    @property
    def side(self) -> int:
        """Of a tile, in pixels."""
        return max(1, TILE // self.network.stride) * self.network.stride

    def tiles(self, noisy: Tensor, level: Tensor | float | None = None) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
        """The denoised tiles of images, one after the other, and where they belong: for a progress bar.

        Args:
            noisy: As for `denoise`.
            level: As for `denoise`.
        """
        self.check_shape(noisy)
        height, width = noisy.shape[2:]
        side, stride = self.side, self.network.stride
        halo = -(-self.network.reach // stride) * stride
        for top, left in self.corners(height, width):
            above, before = min(top, halo), min(left, halo)
            rows, columns = slice(top, min(top + side, height)), slice(left, min(left + side, width))
            tile = noisy[:, :, top - above : rows.stop + halo, left - before : columns.stop + halo]
            inner = super().denoise(tile, level)[:, :, above:, before:]
            yield (slice(None), slice(None), rows, columns), inner[:, :, : rows.stop - top, : columns.stop - left]

    def filters(self) -> Tensor:
        """The first layer's kernels, (filters, C, H, W)."""
        return self.network.filters
