"""A loss that is not finite: stop before it reaches a checkpoint, or skip the step."""

import sys
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from daezoo.stopping import largest

EVERY = 25
"""Steps between two looks at the losses on a GPU, which has to be waited for."""


class NotFinite(ValueError):
    """A training whose losses or weights are not finite, in all its processes at once."""


class Finite(Callback):
    """Stops a training whose loss is no longer finite, or leaves out such steps.

    To stop, the losses of all processes are looked at after every step on a CPU, every 25 steps on a GPU, and before
    each checkpoint, as are the weights: a gradient may be infinite where the loss is not. To skip, gradients are looked
    at before each step of the optimizer, which waits for a GPU; if one is not finite, no weight and no moment changes.

    Args:
        action: What to do.

    Attributes:
        checkpoint: Where the last checkpoint is, if there is one.
        skipped: Steps that were left out.
    """

    def __init__(self, action: Literal["stop", "skip"] = "stop") -> None:
        self.action = action
        self.checkpoint: Path | None = None
        self.skipped = 0
        self._saved_step = 0
        self._state = torch.zeros(3, dtype=torch.float64)  # last finite loss, its step, first step without one or inf

    def state_dict(self) -> dict[str, Any]:
        """How many steps were left out."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with no loss."""
        # MPS has no float64
        kind = torch.float32 if pl_module.device.type == "mps" else torch.float64
        self._state = torch.tensor([float("nan"), 0.0, float("inf")], dtype=kind, device=pl_module.device)
        self._saved_step = trainer.global_step

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Note the loss, without waiting for the device."""
        value = loss.detach().to(self._state)
        step = torch.full_like(value, trainer.global_step + 1)
        last, at, first_bad = self._state
        finite = value.isfinite()
        self._state = torch.stack(
            [value.where(finite, last), step.where(finite, at), first_bad.where(finite, first_bad.minimum(step))]
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss, if that costs little."""
        if self._state.device.type == "cpu" or (batch_idx + 1) % EVERY == 0:
            self._look(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let no checkpoint be written with weights that are not finite."""
        self._look(trainer)
        finite = all(bool(parameter.isfinite().all()) for parameter in pl_module.parameters())
        if largest(trainer, float(not finite)):
            raise NotFinite(f"Weights are not finite after step {trainer.global_step}. {self._advice()}")
        self._saved_step = trainer.global_step

    def _look(self, trainer: L.Trainer) -> None:
        """Raise NotFinite if a loss was not finite, in any process."""
        if self.action == "skip":
            return
        first = -largest(trainer, -self._state[2].item())
        if isfinite(first):
            loss, step = self._state[:2].tolist()
            before = f"the last finite one was {loss:.6g}, at step {step:.0f}" if step else "none was finite before"
            raise NotFinite(f"The loss is not finite at step {first:.0f}; {before}. {self._advice()}")

    def _advice(self) -> str:
        kept = self.checkpoint and self.checkpoint.is_file() and f"{self.checkpoint} is of step {self._saved_step}. "
        return (
            f"{kept or 'There is no checkpoint yet. '}Lower the learning rate, look at the data, or leave such steps "
            "out: --not_finite skip."
        )

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take the gradients away if one is not finite; without them the optimizer does nothing."""
        if self.action == "stop":
            return
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        finite = bool(torch.nn.utils.get_total_norm(gradients).isfinite())
        if not largest(trainer, float(not finite)):
            return
        optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        if trainer.is_global_zero and self.skipped & (self.skipped - 1) == 0:  # 1, 2, 4, 8 …
            print(f"Skipped step {trainer.global_step + 1}: not finite; {self.skipped} in all so far.", file=sys.stderr)
