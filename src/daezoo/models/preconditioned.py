"""A denoising autoencoder for Gaussian noise of any level, whose residual is a score."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Literal, get_args

import torch
from torch import Tensor

from daezoo.architectures import Architecture, Points, UNet
from daezoo.batch import Batch
from daezoo.corruption import Corruption, Gaussian, Masking
from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder, identity
from daezoo.networks.residual import Condition, NoisePredictor
from daezoo.optim import Optimizer

Weighting = Literal["edm", "score", "error"]


class PreconditionedDAE(DenoisingAutoencoder):
    """A denoiser for Gaussian noise of any level σ, preconditioned as in EDM (Karras et al., 2022).

    r(x̃, σ) = μ + c_skip (x̃ − μ) + c_out net(c_in (x̃ − μ), ln(σ) / 4), where μ and s are mean and standard deviation of
    the data, c_skip = s² / (s² + σ²), c_out = σ s / √(s² + σ²), c_in = 1 / √(s² + σ²). In and output of the network
    have unit variance at every σ. Untrained, r is the best denoiser of N(μ, s² I).

    Its score is (r(x̃, σ) − x̃) / σ² (`daezoo.sampling.score`), that of the noisy density p_σ. Trained under a level that
    is LogUniform, it is what the samplers of `daezoo.sampling` need.

    With `classes`, training tells the network the label of most samples, so that it learns r(x̃, σ | c) beside r(x̃, σ)
    (Ho and Salimans, 2022); `daezoo.sampling.of_class` samples from it. Validation and tests are without labels.

    Args:
        shape: Shape of one sample: an image (C, H, W), or a vector (D,).
        network: The network; a UNet for images and Points for vectors if None.
        condition: How the network is told ln(σ) / 4: as an embedding (film), one of sines and cosines of it
            (sinusoidal), or a map beside the image (map).
        data_mean: μ of the elements, in data units.
        data_std: s of the elements, in data units, > 0.
        lowest: Lower levels than this count as this, > 0: such as that of clean samples, when they are encoded.
        weighting: What the loss of a sample counts under noise σ: 1 / c_out², which makes all σ count alike (edm);
            1 / σ², the weight of denoising score matching of Song and Ermon (2019), σ² ‖score − ∇ log q(x̃|x)‖² (score);
            1, the plain squared error (error).
        classes: How many classes it is told apart: labels 0 to classes − 1; 0 if it is told none.
        unlabelled: Share of training samples whose label it is not told, in (0, 1).
        loss: The reconstruction loss, whose link must be the identity; squared error if None.
        penalties: Terms added to it.
        optimizer: What trains it; AdamW if None.

    Raises:
        ValueError: If a number lies out of range, the network is not for samples of this shape or is not told the
            level, or the loss is bounded.
    """

    def __init__(
        self,
        shape: Sequence[int],
        network: Architecture | None = None,
        condition: Condition = "film",
        data_mean: float = 0.0,
        data_std: float = 0.5,
        lowest: float = 0.01,
        weighting: Weighting = "edm",
        classes: int = 0,
        unlabelled: float = 0.1,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        network = network or (UNet() if len(self.shape) == 3 else Points())
        if len(self.shape) != network.dimensions:
            kind = "images (C, H, W)" if network.dimensions == 3 else "vectors (D,)"
            raise ValueError(f"{type(network).__name__} is for {kind}, got samples of shape {self.shape}.")
        if condition == "none":
            raise ValueError("PreconditionedDAE must be told the level: condition film, sinusoidal or map.")
        if not (0 < data_std < inf and 0 < lowest < inf and abs(data_mean) < inf):
            raise ValueError(
                f"PreconditionedDAE needs finite data_std > 0 and lowest > 0, got {data_mean=}, {data_std=}, {lowest=}."
            )
        if classes < 0 or not 0 < unlabelled < 1:
            raise ValueError(
                f"PreconditionedDAE needs classes >= 0 and unlabelled in (0, 1), got {classes=}, {unlabelled=}."
            )
        if weighting not in get_args(Weighting):
            raise ValueError(f"The weighting must be one of {', '.join(get_args(Weighting))}, got {weighting!r}.")
        if not self.loss.identity_link:
            raise ValueError(
                f"PreconditionedDAE needs an unbounded output and cannot train with {type(self.loss).__name__}. Use "
                "SquaredError."
            )
        self.save_hyperparameters()
        self.data_mean, self.data_std, self.lowest = data_mean, data_std, lowest
        self.weighting, self.classes, self.unlabelled = weighting, classes, unlabelled
        self.network = network.build(self.shape[0], condition, classes)
        if len(self.shape) == 3:
            self.network.to(memory_format=torch.channels_last)

    code_pooling = "avg1x1"

    def check_corruption(self, corruption: Corruption) -> None:
        """Raise ValueError unless the noise is Gaussian, of a level above 0."""
        super().check_corruption(corruption)
        if not (isinstance(corruption, Gaussian) and corruption.level is not None and corruption.level.bounds[0] > 0):
            raise ValueError(
                f"PreconditionedDAE is for Gaussian noise of a level above 0, got {corruption}. Pass --data.corruption "
                "Gaussian --data.corruption.sigma LogUniform."
            )

    def check_values(self, x: Tensor, clean: bool = False) -> None:
        """As the base says of clean samples; noisy ones may lie anywhere, but must be of the weights' type."""
        if clean or x.dtype != self.dtype:
            super().check_values(x, clean)

    def check_batch(self, batch: Batch) -> None:
        """As the base says, and raise ValueError if a label is none of the classes."""
        super().check_batch(batch)
        if self.classes:
            self.check_labels(batch.label)

    def check_told_classes(self) -> None:
        """Raise ValueError if training told it no classes."""
        if not self.classes:
            raise ValueError("This PreconditionedDAE was not told classes. Train with --model.classes 10, say.")

    def check_labels(self, labels: Tensor) -> None:
        """Raise ValueError if a label is none of the classes."""
        if not (labels.min() >= 0 and labels.max() < self.classes):
            raise ValueError(
                f"PreconditionedDAE with {self.classes} classes needs labels from 0 to {self.classes - 1}, got "
                f"{labels.unique().tolist()}. Set --model.classes, or choose labelled data."
            )

    def loss_terms(self, batch: Batch, output: Tensor | None = None) -> dict[str, Tensor]:
        """As the base says; in training, of an output that knows most labels."""
        if self.classes and output is None:
            hidden = batch.noise(Masking(self.unlabelled), torch.ones_like(batch.level)[:, None], "labels").mask[:, 0]
            output = self(batch.noisy, batch.level, batch.label.masked_fill(hidden, -1))
        return super().loss_terms(batch, output)

    def level_weight(self, level: Tensor) -> Tensor | float:
        """What the loss of a sample counts, (batch,)."""
        if self.weighting == "error":
            return 1.0
        variance = level.float().clamp_min(self.lowest).square()
        return 1 / variance + (1 / self.data_std**2 if self.weighting == "edm" else 0)

    def forward(self, noisy: Tensor, level: Tensor | float | None = None, label: Tensor | None = None) -> Tensor:
        """The denoised samples r(x̃, σ), the same shape.

        Args:
            noisy: Noisy samples, (batch, *shape).
            level: σ, a number or (batch,).
            label: The class of each, (batch,); -1, or any number that is no class, where it is not known.

        Raises:
            ValueError: If the shape does not fit, or there is no level, or one that is no number or negative.
        """
        self.check_shape(noisy)
        if level is None:
            raise ValueError(
                "PreconditionedDAE denoises noise of a known level: pass it, denoise(noisy, sigma), as a number or one "
                "for each sample."
            )
        levels = torch.as_tensor(level, device=noisy.device).to(noisy)
        # in training, where the data module draws them, levels are not looked at: a GPU would have to wait
        fit = levels.shape in ((), (1,), (len(noisy),))
        if not fit or not (self.training or (levels.isfinite() & (levels >= 0)).all()):
            raise ValueError(
                f"The noise level must be a number, or one for each of the {len(noisy)} samples, finite and at least "
                f"0; got {level}."
            )
        if label is not None:
            self.check_told_classes()
        sigma, centred, within = self._scaled(noisy, levels.expand(len(noisy)))
        predicted = self.network(within, self._told(sigma, label))
        total = self.data_std**2 + sigma.square()
        kept = self.data_std**2 / total * centred
        return self.data_mean + kept + sigma * self.data_std * total.rsqrt() * predicted

    def encode(self, x: Tensor) -> Tensor:
        """The network's smallest maps averaged over the image, or its last hidden layer: (batch, width); σ = lowest."""
        self.check_shape(x, clean=True)
        return self._code(x)

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """The code alone, after `after`; of samples that may be noisy, as if they were not."""
        self.check_shape(x)
        return [after(self._code(x))]

    def _code(self, x: Tensor) -> Tensor:
        sigma, _, within = self._scaled(x, x.new_zeros(len(x)))
        code: Tensor = self.network.code(within, self._told(sigma))
        return code

    def _told(self, sigma: Tensor, label: Tensor | None = None) -> Tensor:
        """What the network is told: ln(σ) / 4, (batch,), and with classes a one for the class beside it."""
        told = sigma.flatten().log() / 4
        if not self.classes:
            return told
        names = torch.arange(self.classes, device=told.device)
        known = torch.full_like(told, -1) if label is None else label
        return torch.cat([told[:, None], (known[:, None] == names).to(told)], 1)

    def _scaled(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """σ of each sample, shaped to broadcast, the samples around the mean, and these scaled to unit variance."""
        sigma = level.clamp_min(self.lowest).view(-1, *[1] * (x.ndim - 1))
        centred = x - self.data_mean
        return sigma, centred, centred * (self.data_std**2 + sigma.square()).rsqrt()

    def filters(self) -> Tensor | None:
        """The first layer's kernels, (filters, C, H, W); None for vectors."""
        return self.network.filters if isinstance(self.network, NoisePredictor) else None
