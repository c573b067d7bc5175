"""The stacked denoising autoencoder: greedy layer-wise pretraining in one fit."""

from collections.abc import Callable, Sequence
from math import prod

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from daezoo.batch import Batch
from daezoo.corruption import Corruption, Masking
from daezoo.losses import CrossEntropy, Penalty, ReconstructionLoss, SquaredError
from daezoo.models.base import DenoisingAutoencoder, identity, no_reservoir
from daezoo.networks.mlp import Activation, MLPAutoencoder
from daezoo.optim import Optimizer


class StackedDAE(DenoisingAutoencoder):
    """A stack of denoising autoencoders trained one layer after the other: Σ_l E L(h_l, D_l(E_l(h̃_l))).

    Layer l trains on the *clean* codes h_l of the finished layers below, corrupted at its own input (Vincent et al.,
    2010). The first layer sees the data module's corruption, the others `code_corruption`. Sigmoid codes are
    reconstructed under cross-entropy, rectified ones under squared error, with the emphasis of `loss`. Afterwards,
    optionally, the whole stack is trained to denoise the data end to end. The active phase follows from the epoch and
    is never stored.

    Outside `fit`, and in `encode` and `denoise` at any time, this is the whole stack.

    Args:
        shape: Shape of one sample, (C, H, W) or (D,).
        hidden: Width of each layer, from the input up; the last is the code.
        activation: Of every layer.
        tied: Whether each layer's decoder uses its encoder's weights.
        epochs_per_layer: Epochs each layer trains for, >= 1.
        end_to_end_epochs: Epochs of the whole stack afterwards, >= 0.
        code_corruption: One corruption per layer above the first; masking of a quarter of the units if None.
        loss: The reconstruction loss of the data, with its output link; squared error if None.
        penalties: Terms added to it, of the active layer or of the whole stack.
        optimizer: What trains it; AdamW if None.

    Raises:
        ValueError: If epochs or code corruptions do not fit.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (1000, 1000, 1000),
        activation: Activation = "sigmoid",
        tied: bool = True,
        epochs_per_layer: int = 15,
        end_to_end_epochs: int = 0,
        code_corruption: Sequence[Corruption] | None = None,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        self._reduced: int | None = -1  # the layer whose gradients are reduced over processes, None for the whole stack
        self.save_hyperparameters()
        if epochs_per_layer < 1 or end_to_end_epochs < 0:
            raise ValueError(
                "StackedDAE needs epochs_per_layer >= 1 and end_to_end_epochs >= 0, "
                f"got {epochs_per_layer} and {end_to_end_epochs}."
            )
        self.activation = activation
        self.epochs_per_layer = epochs_per_layer
        self.end_to_end_epochs = end_to_end_epochs
        self.network = MLPAutoencoder(prod(self.shape), hidden, activation, tied, self.loss.parameters)
        kind = CrossEntropy if activation == "sigmoid" else SquaredError
        self.code_loss = kind(self.loss.alpha, self.loss.beta)
        self.code_corruption = [Masking()] * (len(hidden) - 1) if code_corruption is None else list(code_corruption)
        if len(self.code_corruption) != len(hidden) - 1:
            raise ValueError(
                f"StackedDAE with {len(hidden)} layers needs {len(hidden) - 1} code corruptions, one for each "
                f"layer above the first, got {len(self.code_corruption)}."
            )
        for corruption in self.code_corruption:
            corruption.bound(no_reservoir)

    def bottom(self, layers: int) -> "StackedDAE":
        """A stack of the first layers of this one, with the same weights.

        It is what training so many layers would have given, unless there were epochs end to end, or levels that grow
        over training.

        Args:
            layers: How many, from 1 to the depth.

        Raises:
            ValueError: If there are not so many.
        """
        if not 1 <= layers <= self.depth:
            raise ValueError(f"layers must lie between 1 and {self.depth}, got {layers}.")
        widths = [len(layer.weight) for layer in self.network.layers[:layers]]
        found = StackedDAE(
            self.shape,
            widths,
            self.activation,
            self.network.layers[0].decoder_weight is None,
            self.epochs_per_layer,
            self.end_to_end_epochs,
            self.code_corruption[: layers - 1],
            self.loss,
            self.penalties,
            self.optimizer,
        )
        state = self.state_dict()
        found.load_state_dict({name: state[name].clone() for name in found.state_dict()})
        found.value_range = self.value_range
        return found.to(self.device).train(self.training)

    def compile_networks(self, mode: str) -> None:
        """Compile the whole stack and, for their own phases, its layers, in place."""
        super().compile_networks(mode)
        for layer in self.network.layers:
            layer.compile(mode=mode)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.network.layers)

    @property
    def total_epochs(self) -> int:
        """Epochs of all phases together: what `max_epochs` has to be."""
        return self.depth * self.epochs_per_layer + self.end_to_end_epochs

    @property
    def active_layer(self) -> int | None:
        """The layer in training, from 0; None for the whole stack, which is also all there is outside `fit`."""
        if self._trainer is None or self.trainer.state.fn != "fit":
            return None
        layer = self.current_epoch // self.epochs_per_layer
        return layer if layer < self.depth else None

    def progress(self, batch_idx: int) -> float:
        """The share of the phase that is over when a batch begins, in [0, 1): every phase is a training of its own."""
        layer, batches = self.active_layer, self.trainer.num_training_batches
        first = (self.depth if layer is None else layer) * self.epochs_per_layer
        epochs = self.end_to_end_epochs if layer is None else self.epochs_per_layer
        return (self.current_epoch - first + batch_idx / batches) / epochs

    def encode(self, x: Tensor) -> Tensor:
        """The code of the whole stack for samples (batch, *shape): (batch, hidden[-1])."""
        self.check_shape(x, clean=True)
        return self.network.encode(x.flatten(1))

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """The codes of all hidden layers, from the input up, each after `after`."""
        self.check_shape(x)
        return self.network.encode_layers(x.flatten(1), after)

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """Raw output of the whole stack for samples (batch, *shape), of `output_shape`; `level` is ignored."""
        self.check_shape(noisy)
        return self.network.decode(self.network.encode(noisy.flatten(1))).view(-1, *self.output_shape)

    def loss_terms(self, batch: Batch, output: Tensor | None = None) -> dict[str, Tensor]:
        """The terms of the active layer, or of the whole stack, whose output may be known already."""
        if self.active_layer is None:
            return super().loss_terms(batch, output)
        return self.layer_terms(self.active_layer, batch)

    def layer_terms(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """Terms of one layer, trained on the clean codes below it; only its own parameters get gradients."""
        layer = self.network.layers[index]
        if index == 0:
            parts = ("noisy", "clean", "mask", *(() if batch.observed is None else ("observed",)))
            flat = batch._replace(**{k: getattr(batch, k).flatten(1) for k in parts})
            loss: ReconstructionLoss = self.loss
        else:
            with torch.no_grad():
                codes = batch.clean.flatten(1)
                for below in self.network.layers[:index]:
                    codes = below.encode(codes)
                codes = codes.float()
            corrupted = batch.noise(self.code_corruption[index - 1], codes, f"layer{index}")
            flat = batch._replace(clean=codes, observed=None, **corrupted._asdict())
            loss = self.code_loss
        output = layer(flat.noisy)
        terms = {"reconstruction": loss(output, flat.clean, flat.mask, flat.observed).mean()}
        return terms | {penalty.name: penalty(layer, flat) for penalty in self.penalties}

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Also the phase, because losses of different layers are not comparable."""
        return "loss", "stack" if self.active_layer is None else f"layer{self.active_layer + 1}"

    def on_train_start(self) -> None:
        """See `on_train_epoch_start`, which a training that is resumed inside an epoch begins without."""
        self._reduced = -1
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """When a phase begins, have DistributedDataParallel reduce the gradients of the layer in training alone.

        It is wrapped around the model anew: it cannot be told later which parameters it has to wait for.
        """
        strategy, layer = self.trainer.strategy, self.active_layer
        if not isinstance(strategy, DDPStrategy) or layer == self._reduced:
            return
        active = self if layer is None else self.network.layers[layer]
        kept = {id(parameter) for parameter in active.parameters()}
        idle = [name for name, parameter in self.named_parameters() if id(parameter) not in kept]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, idle)
        strategy.model = strategy._setup_model(self)
        strategy._register_ddp_hooks()
        self._reduced = layer

    def check_trainer(self, trainer: L.Trainer) -> None:
        """Check the schedule against the trainer.

        Raises:
            ValueError: If the trainer's epochs differ from the phases', it stops early on a loss that is not comparable
                between layers, or it would train layers that are to rest.
        """
        super().check_trainer(trainer)
        limited = trainer.max_steps >= 0 or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        if trainer.max_epochs != self.total_epochs and not limited:
            raise ValueError(
                f"StackedDAE trains {self.depth} layers x {self.epochs_per_layer} epochs and {self.end_to_end_epochs} "
                f"epochs end to end, {self.total_epochs} in all, but max_epochs is {trainer.max_epochs}. Leave "
                "max_epochs out, or set epochs_per_layer and end_to_end_epochs."
            )
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.monitor.endswith(("/loss", "/reconstruction")):
                raise ValueError(
                    f"StackedDAE cannot stop early on {callback.monitor}, which is another loss in every layer. "
                    "Set epochs_per_layer instead."
                )
        if isinstance(trainer.strategy, FSDPStrategy):
            raise ValueError(
                "StackedDAE trains one layer at a time, but FSDP gives the others gradients of zero, by which momentum "
                "and weight decay move them. Use --trainer.strategy ddp."
            )

    def filters(self) -> Tensor | None:
        """The first layer's weights as pictures, (hidden[0], C, H, W); None for vectors."""
        return self.network.filters(self.shape)
