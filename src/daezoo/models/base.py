"""What all denoising autoencoders share: the objective, the steps, the optimizer."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import ClassVar, NoReturn

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daezoo.batch import Batch
from daezoo.corruption import Corruption
from daezoo.hyperparameters import PlainHyperparameters
from daezoo.losses import Penalty, ReconstructionLoss, SquaredError
from daezoo.optim import AdamW, Optimizer

GRID = 4
"""Feature maps are averaged over the cells of a grid of so many rows and columns."""


def pooled(layer: Tensor) -> Tensor:
    """Feature maps (batch, C, H, W) averaged over the cells of a GRID x GRID grid; smaller ones, and vectors, as is."""
    if layer.ndim < 4 or max(layer.shape[2:]) <= GRID:
        return layer
    return F.adaptive_avg_pool2d(layer, (min(GRID, layer.shape[2]), min(GRID, layer.shape[3])))


def identity(x: Tensor) -> Tensor:
    """The same."""
    return x


def is_recorded(trainer: L.Trainer, batch_idx: int, step: int) -> bool:
    """Whether the training metrics of a batch, after which so many steps are done, go into metrics.csv."""
    every, last = trainer.log_every_n_steps, batch_idx + 1 == trainer.num_training_batches  # type: ignore[attr-defined]
    return last or step == trainer.max_steps or (every > 0 and step % every == 0)


def weight(samples: int, trainer: L.Trainer) -> int:
    """What a batch counts in a mean that Lightning takes over processes.

    It averages the sums of weights over processes as an integer, so that 63 samples on two of them would count as 62.
    """
    return samples * trainer.world_size


def no_reservoir() -> NoReturn:
    """Raise ValueError: codes are those of one batch."""
    raise ValueError("Codes cannot be corrupted by SwapNoise, which takes values of other samples of the data.")


class DenoisingAutoencoder(PlainHyperparameters, L.LightningModule, ABC):
    """A denoising autoencoder: min over θ of E_x E_{x̃∼q(x̃|x)} L(x, g(f(x̃))) (Vincent et al., 2008).

    A family supplies `forward` and `encode`. Inputs are (batch, *shape); a fully connected family flattens them and
    restores the shape by itself.

    Args:
        shape: Shape of one sample, (C, H, W) or (D,).
        loss: The reconstruction loss, with its output link.
        penalties: Terms added to it.
        optimizer: What trains it.

    Attributes:
        value_range: Smallest and largest value of clean samples; None if not known, as while training.
        labels: The classes that `classify` tells apart; none if there is no classifier.
    """

    code_pooling: ClassVar[str] = ""
    """How `encode` pools a feature map, as it is said in a probe's protocol; nothing if it does not."""

    def __init__(
        self,
        shape: Sequence[int],
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.loss = loss or SquaredError()
        self.penalties = list(penalties or ())
        self.optimizer = optimizer or AdamW()
        self.compile_mode: str | None = None
        self.value_range: tuple[float, float] | None = None
        self.labels: tuple[int, ...] = ()
        self.classifier: nn.Linear | None = None
        if len({penalty.name for penalty in self.penalties}) < len(self.penalties):
            raise ValueError(f"Each kind of penalty may appear once, got {self.penalties}.")
        for penalty in self.penalties:
            penalty.prepare(self)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of an output of `forward`: that of a sample or, where the loss needs several, (parameters, *shape)."""
        return self.shape if self.loss.parameters == 1 else (self.loss.parameters, *self.shape)

    @abstractmethod
    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """Raw output of the network for noisy samples (batch, *shape), before the loss's link: (batch, *output_shape).

        Args:
            noisy: Noisy samples.
            level: Noise level, a number or (batch,); ignored by families that are not conditioned on it.
        """

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """The code of samples (batch, *shape), noise-free and deterministic: (batch, code)."""

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """What every layer of the encoder makes of samples, the code last.

        Args:
            x: Samples, (batch, *shape).
            after: Applied to each layer's output before the next layer sees it, such as dropout.

        Returns:
            Vectors (batch, D), or feature maps (batch, C, H, W).
        """
        return [after(self.encode(x))]

    def denoise(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """The reconstruction x̂ of noisy samples, in data space and of their shape.

        Args:
            noisy: Noisy samples, (batch, *shape).
            level: Noise level, a number or (batch,); ignored by families that are not conditioned on it.

        Raises:
            ValueError: If the shape does not fit the model, or it was fine-tuned to classify, which leaves its decoder
                behind.
        """
        if self.classifier is not None:
            raise ValueError(
                f"This {type(self).__name__} was fine-tuned to classify, so its decoder no longer fits its encoder. "
                "Denoise with a model that was not: daezoo zoo list"
            )
        return self.loss.link(self(noisy, level).float())

    def add_classifier(self, labels: Sequence[int], width: int) -> None:
        """Put a linear classifier on the code, whose weights are still to be loaded.

        Args:
            labels: The classes, in ascending order.
            width: Of the code.
        """
        self.labels = tuple(labels)
        self.classifier = nn.Linear(width, len(labels), device=self.device)

    def classify(self, x: Tensor) -> Tensor:
        """The logits of clean samples (batch, *shape): (batch, classes), in the order of `labels`.

        Raises:
            ValueError: If this model has no classifier, or the shape does not fit.
        """
        if self.classifier is None:
            raise ValueError(
                f"This {type(self).__name__} has no classifier. Train one by daezoo finetune, or load a model with one."
            )
        logits: Tensor = self.classifier(self.encode(x))
        return logits

    def check_shape(self, x: Tensor, clean: bool = False) -> None:
        """Raise ValueError unless `x` is (batch, *shape), and its values fit as `check_values` says."""
        if tuple(x.shape[1:]) != self.shape:
            expected = ", ".join(["batch", *map(str, self.shape)])
            raise ValueError(f"{type(self).__name__} expects samples of shape ({expected}), got {tuple(x.shape)}.")
        self.check_values(x, clean)

    def check_values(self, x: Tensor, clean: bool = False) -> None:
        """Check that samples are on the scale the model was trained on, where that is known.

        Args:
            x: The samples, which may be noisy.
            clean: Warn if they leave the range of clean values, as they do if they are on another scale, or noisy.

        Raises:
            ValueError: If they are of another type than the weights, or further from the range of clean values than
                ten times its width.
        """
        wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)  # inside torch.func, where no value can be read
        if self.value_range is None or self.training or x.is_meta or wrapped or torch.compiler.is_compiling():
            return
        low, high = self.value_range
        expected = f"{type(self).__name__} expects floating point, clean values in [{low:g}, {high:g}]"
        if not x.is_floating_point():
            raise ValueError(f"{expected}, got {x.dtype}. Bytes are to be divided by 255.")
        dtype = next(self.parameters()).dtype
        cast = torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
        if x.dtype != dtype and not cast:
            raise ValueError(f"{expected} of type {dtype}, got {x.dtype}. Convert the samples: x.to({dtype}).")
        margin = 10 * (high - low)
        smallest, largest = (value.item() for value in x.aminmax()) if x.numel() else (low, high)
        if not (low - margin <= smallest and largest <= high + margin):
            raise ValueError(f"{expected}, got values from {smallest:g} to {largest:g}. Rescale them first.")
        if clean and (smallest < low - 1e-3 * margin or largest > high + 1e-3 * margin):
            warnings.warn(
                f"{expected}, got values from {smallest:g} to {largest:g}. If they are not noisy, rescale them.",
                stacklevel=4,
            )

    def loss_terms(self, batch: Batch, output: Tensor | None = None) -> dict[str, Tensor]:
        """The named scalars whose sum is the loss, each averaged over the batch.

        Args:
            batch: The noisy batch.
            output: What `forward` made of it, if that is known already.
        """
        return self.terms(self(batch.noisy, batch.level) if output is None else output, batch)

    def terms(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Reconstruction loss of an output, weighted as its level says, and the penalties."""
        losses = self.loss(output, batch.clean, batch.mask, batch.observed) * self.level_weight(batch.level)
        terms = {"reconstruction": losses.mean()}
        return terms | {penalty.name: penalty(self, batch) for penalty in self.penalties}

    def level_weight(self, level: Tensor) -> Tensor | float:
        """What the loss of a sample counts under noise of a level, (batch,): 1 unless a family says otherwise."""
        return 1.0

    def compile_networks(self, mode: str) -> None:
        """Compile `forward` by torch.compile; corruption and loss stay outside, and weights keep their names.

        Args:
            mode: torch.compile's mode: default, reduce-overhead (CUDA graphs, for small models) or max-autotune.
        """
        # not self.compile(): under DDP, Lightning calls the module for training_step, which would be compiled with it
        self.forward = torch.compile(self.forward, mode=mode)  # type: ignore[method-assign]

    def filters(self) -> Tensor | None:
        """Filters of the first layer as pictures, (filters, C, H, W); None where there are none to show."""
        return None

    def check_batch(self, batch: Batch) -> None:
        """Raise ValueError if this model cannot be trained on such a batch."""
        self.loss.check(batch.clean)

    def check_trainer(self, trainer: L.Trainer) -> None:
        """Raise ValueError if this model cannot be trained as the trainer would."""
        if self.optimizer.schedule != "constant" and trainer.max_steps < 0 and (trainer.max_epochs or 0) < 0:
            raise ValueError(
                f"A learning rate that falls ({self.optimizer.schedule}) needs an end of the training. Set max_epochs "
                "or max_steps."
            )
        for penalty in self.penalties:
            penalty.check(self)

    def check_corruption(self, corruption: Corruption) -> None:
        """Raise ValueError if this model cannot be trained under this corruption."""
        for penalty in self.penalties:
            penalty.check_corruption(corruption)

    def on_fit_start(self) -> None:
        """Stop before anything trains if the trainer does not fit; compile, in every process, if that is wanted."""
        self.check_trainer(self.trainer)
        if self.compile_mode:
            self.compile_networks(self.compile_mode)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Check the batch once, on the first batch of a run; set the learning rate, where it changes."""
        if self.trainer.global_step == 0 and batch_idx == 0:
            self.check_batch(batch)
        if self.optimizer.schedule != "constant":
            rate = self.optimizer.rate(self.progress(batch_idx))
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = rate

    def progress(self, batch_idx: int) -> float:
        """The share of the training that is over when a batch begins, in [0, 1)."""
        trainer = self.trainer
        done = [0.0]
        if trainer.max_steps > 0:
            done.append(trainer.global_step / trainer.max_steps)
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            batches = trainer.num_training_batches
            done.append((trainer.current_epoch + batch_idx / batches) / trainer.max_epochs)
        return max(done)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Under which names validation logs the loss."""
        return ("loss",)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss; it, its terms and a learnt noise level are logged under train/, in the steps that are recorded.

        They are means over the whole batch, on however many processes it is.
        """
        seen = reduce(lambda adapted, penalty: penalty.adapt(self, adapted), self.penalties, batch)
        terms = self.loss_terms(seen)
        loss = reduce(add, terms.values())
        # Lightning takes a millisecond to note a value, wanted or not
        if is_recorded(self.trainer, batch_idx, self.trainer.global_step + 1):
            logged = {"train/loss": loss} | {f"train/{name}": value for name, value in terms.items()}
            logged |= {} if seen is batch else {"train/level": seen.level.mean()}
            self.log_dict({name: value.detach() for name, value in logged.items()}, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log val/loss, its terms, and val/mse: mean squared error per element of the reconstruction."""
        output = self(batch.noisy, batch.level)
        terms = self.loss_terms(batch, output)
        loss = reduce(add, terms.values())
        self._log_evaluation("val", terms | dict.fromkeys(self.loss_names, loss), output, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log test/mse beside test/mse_noisy_input, that of leaving the input as it is."""
        terms = {"mse_noisy_input": batch.squared_error(batch.noisy).mean()}
        self._log_evaluation("test", terms, self(batch.noisy, batch.level), batch)

    def _log_evaluation(self, stage: str, terms: dict[str, Tensor], output: Tensor, batch: Batch) -> None:
        terms["mse"] = batch.squared_error(self.loss.link(output.float())).mean()
        logged = {f"{stage}/{name}": value for name, value in terms.items()}
        self.log_dict(logged, batch_size=weight(len(batch.clean), self.trainer), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Reconstructions of a batch."""
        return self.denoise(batch.noisy, batch.level)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The configured optimizer over all parameters; not fused where gradients are clipped, which rules it out."""
        clipped = self._trainer is not None and self.trainer.gradient_clip_val
        return self.optimizer.build(self.parameters(), fused=not clipped)
