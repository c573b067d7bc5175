"""Classifiers on an encoder: the probe that streams, and fine-tuning."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from math import inf
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daezoo.batch import Batch
from daezoo.checkpoint import locate, read, rebuild
from daezoo.data.base import DenoisingDataModule
from daezoo.data.splits import rows_at_once, to_unit
from daezoo.evaluation.features import places, scale_of
from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder
from daezoo.models.base import is_recorded, pooled, weight
from daezoo.optim import AdamW, Optimizer

Schedule = Literal["cycle", "constant"]


class EncoderClassifier(L.LightningModule, ABC):
    """A linear classifier on the code of an encoder: p(y | x) = softmax(Wᵀ f(x) + b)_y, trained by cross-entropy.

    The learning rate rises and falls in one cycle (`torch.optim.lr_scheduler.OneCycleLR`). Validation logs val/loss
    and val/accuracy, of clean samples; test logs test/accuracy.

    Args:
        encoder: What is judged, or tuned.
        labels: The classes: different integers, in any order.
        optimizer: What trains it, at the peak of its learning rate.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        schedule: One cycle of the learning rate, or a constant one.

    Raises:
        ValueError: If there are fewer than two classes, `label_smoothing` lies out of range, or the optimizer has a
            schedule.
    """

    def __init__(
        self,
        encoder: DenoisingAutoencoder,
        labels: Sequence[int],
        optimizer: Optimizer,
        label_smoothing: float = 0.0,
        schedule: Schedule = "cycle",
    ) -> None:
        super().__init__()
        known = torch.tensor(sorted(set(labels)))
        if len(known) < 2:
            raise ValueError(f"A classifier needs two classes or more, got {known.tolist()}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}.")
        if optimizer.schedule != "constant":
            raise ValueError(f"A classifier has a schedule of its own; leave that of {optimizer} out.")
        self.encoder = encoder
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.schedule = schedule
        self.labels: Tensor
        self.register_buffer("labels", known)
        # plain data, from which `load_classifier` builds the encoder
        kind = type(self).__name__
        self.save_hyperparameters({"classifier": kind, "encoder": dict(encoder.hparams), "labels": known.tolist()})
        with torch.inference_mode():
            width = encoder.encode(torch.zeros(1, *encoder.shape, device=encoder.device)).shape[1]
        self.head = nn.Linear(width, len(known))

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The logits of samples (batch, *shape): (batch, classes)."""

    def predict(self, x: Tensor) -> Tensor:
        """The labels of samples (batch, *shape), uint8 or in [0, 1]: (batch,)."""
        return self.labels[self(to_unit(x)).argmax(1)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss on noisy samples.

        Raises:
            ValueError: If a sample is of none of the classes, or has no label.
        """
        target = places(self.labels, batch.label)
        unknown = batch.label[target < 0]
        if len(unknown):
            raise ValueError(
                f"A classifier of {self.labels.tolist()} cannot be trained on a sample of class {int(unknown[0])}. "
                "A sample without a label has class -1."
            )
        loss = self.training_loss(batch.noisy, target)
        if is_recorded(self.trainer, batch_idx, self.trainer.global_step + 1):
            self.log("train/loss", loss.detach(), batch_size=len(target))
        return loss

    def training_loss(self, x: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the logits of samples with class numbers, a scalar."""
        return F.cross_entropy(self(x), target, label_smoothing=self.label_smoothing)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log val/loss and val/accuracy."""
        logits = self(batch.clean)
        target = places(self.labels, batch.label)
        right = self.labels[logits.argmax(1)] == batch.label
        logged = {"val/loss": F.cross_entropy(logits, target, ignore_index=-1), "val/accuracy": right.float().mean()}
        self.log_dict(logged, batch_size=weight(len(right), self.trainer), sync_dist=True)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log test/accuracy."""
        right = self.predict(batch.clean) == batch.label
        self.log("test/accuracy", right.float().mean(), batch_size=weight(len(right), self.trainer), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimizer over what is trained, and one cycle of its learning rate, unless that is constant."""
        optimizer = self.optimizer.build(self.trained())
        if self.schedule == "constant":
            return optimizer
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.optimizer.lr, total_steps=steps + 1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return list(self.parameters())


class LinearProbe(EncoderClassifier):
    """The linear probe for data whose codes do not fit into memory: the encoder is frozen, codes are made as needed.

    Codes of clean samples are standardised by mean and standard deviation over the training split, found in one pass
    before training. Beside `linear_probe`, which finds the optimum, this is an approximation.

    Args:
        encoder: What is judged; a copy is kept, which is never changed.
        labels: The classes.
        optimizer: AdamW with a learning rate of 3e-3 and a weight decay of 1e-2 if None.
    """

    def __init__(
        self, encoder: DenoisingAutoencoder, labels: Sequence[int], optimizer: Optimizer | None = None
    ) -> None:
        frozen = deepcopy(encoder).eval().requires_grad_(False)
        super().__init__(frozen, labels, optimizer or AdamW(3e-3, 1e-2))
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(self.head.in_features))
        self.register_buffer("scale", torch.ones(self.head.in_features))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def train(self, mode: bool = True) -> "LinearProbe":
        """As usual, but the encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Standardise by the training split.

        Raises:
            ValueError: If the data is of no data module of daezoo.
        """
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, DenoisingDataModule):
            raise ValueError(
                "LinearProbe standardises by the training split of a data module of daezoo. Give one: "
                "trainer.fit(probe, datamodule=…)."
            )
        split = data.splits["train"]
        total = torch.zeros(2, self.head.in_features, dtype=torch.float64, device=self.device)
        for rows in torch.arange(len(split)).split(rows_at_once(split[0].clean.numel(), 512)):
            codes = self.codes(to_unit(split.__getitems__(rows).clean.to(self.device))).double()
            total += torch.stack([codes.sum(0), codes.square().sum(0)])
        mean, square = total / len(split)
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(scale_of(deviation, mean))

    @torch.no_grad()
    @exact_float32()
    def codes(self, x: Tensor) -> Tensor:
        """The code of clean samples, in float32 whatever the trainer's precision: (batch, code)."""
        with torch.autocast(x.device.type, enabled=False):
            return self.encoder.encode(x)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of samples (batch, *shape): (batch, classes)."""
        return self.head((self.codes(x) - self.mean) / self.scale)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss on clean samples."""
        return super().training_step(batch._replace(noisy=batch.clean), batch_idx)

    def trained(self) -> list[nn.Parameter]:
        """The classifier."""
        return list(self.head.parameters())


class FineTuned(EncoderClassifier):
    """A pretrained encoder and a classifier on its code, trained end to end.

    Args:
        encoder: Where it starts; the module itself is trained.
        labels: The classes.
        optimizer: AdamW with a learning rate of 1e-3 and a weight decay of 1e-2 if None.
        dropout: Probability with which units of every layer that `encode_layers` gives are left out in training, in
            [0, 1).
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        adversarial: Radius, >= 0, of the step by which each training sample is moved where its loss rises fastest:
            x + radius · g / ‖g‖₂, g = ∇ₓ of the cross-entropy of the network without dropout (Goodfellow et al., 2015,
            with another norm). None if 0.
        schedule: One cycle of the learning rate, or a constant one.

    Raises:
        ValueError: If a number lies out of range.
    """

    def __init__(
        self,
        encoder: DenoisingAutoencoder,
        labels: Sequence[int],
        optimizer: Optimizer | None = None,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        adversarial: float = 0.0,
        schedule: Schedule = "cycle",
    ) -> None:
        super().__init__(encoder, labels, optimizer or AdamW(1e-3, 1e-2), label_smoothing, schedule)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}.")
        if not 0 <= adversarial < inf:
            raise ValueError(f"adversarial must be finite and at least 0, got {adversarial}.")
        self.dropout = nn.Dropout(dropout)
        self.adversarial = adversarial

    def forward(self, x: Tensor) -> Tensor:
        """The logits of samples (batch, *shape): (batch, classes)."""
        return self.head(pooled(self.encoder.encode_layers(x, self.dropout)[-1]).flatten(1))

    def training_loss(self, x: Tensor, target: Tensor) -> Tensor:
        """The loss on samples, moved to where it is higher if that is wanted."""
        if self.adversarial:
            moved = x.detach().requires_grad_()
            self.dropout.eval()
            (gradient,) = torch.autograd.grad(F.cross_entropy(self(moved), target), moved)
            self.dropout.train(self.training)
            size = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))
            x = x + self.adversarial * gradient / size
        return super().training_loss(x, target)


def load_classifier(path: str | Path) -> LinearProbe | FineTuned:
    """A classifier, in eval mode, to `predict` with.

    Args:
        path: Its checkpoint, or a folder with checkpoints/best.ckpt, such as RUN/pretrained of a fine-tuning.

    Raises:
        ValueError: If there is no such file, or it holds no classifier.
    """
    file = Path(path)
    file = locate(file / "checkpoints" / "best.ckpt" if file.is_dir() else file)
    checkpoint = read(file)
    known = checkpoint["hyper_parameters"]
    kind = {kind.__name__: kind for kind in (LinearProbe, FineTuned)}.get(known.get("classifier"))
    if kind is None:
        raise ValueError(f"{file} holds no classifier of daezoo.")
    model = kind(rebuild(file, known["encoder"], DenoisingAutoencoder), known["labels"])
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    return model.eval()
