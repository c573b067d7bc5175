"""What a run records while it trains: metrics.csv, timings, last.ckpt."""

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint

from daezoo.files import write_text
from daezoo.models.base import is_recorded
from daezoo.stopping import Stopping


class RunRecorder(Checkpoint):
    """Writes metrics.csv and checkpoints/last.ckpt, so that a killed run can go on as if nothing had happened.

    A checkpoint is written at every epoch's end, every `every_n_steps` steps, and when a signal stops the training;
    where validation follows a step, after it. metrics.csv has one row for each step that logged anything, each epoch's
    last among them, and is complete up to the checkpoint whenever one is written.

    Args:
        every_n_steps: Steps between checkpoints inside an epoch, >= 1; None for no last.ckpt at all.
        stopping: What heeds signals.

    Raises:
        ValueError: If `every_n_steps` < 1.
    """

    def __init__(self, every_n_steps: int | None = 500, stopping: Stopping | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"A checkpoint can be written every 1 step or more, got {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self.stopping = stopping or Stopping()
        self.folder: Path | None = None
        self.rows: dict[int, dict[str, Any]] = {}
        self.timings = {"seconds": 0.0, "batch_seconds": 0.0, "samples": 0}
        self._started = self._batch_started = 0.0
        self._saved_step = 0
        self._open = False  # whether a step is done but for its validation
        self._stale: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Timings so far."""
        self._tick()
        return dict(self.timings)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting where the checkpoint was written."""
        self.timings.update(state_dict)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the run's clock."""
        self._started = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the rows up to the checkpoint that training resumes from, which is known only now."""
        if trainer.is_global_zero and self.folder and (self.folder / "metrics.csv").is_file():
            with open(self.folder / "metrics.csv", newline="") as file:
                rows = list(csv.DictReader(file))
            self.rows = {
                int(row["step"]): {key: value for key, value in row.items() if key != "step" and value}
                for row in rows
                if int(row["step"]) <= trainer.global_step
            }

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the first batch's clock; loading and corrupting it counts."""
        self._batch_started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; record its metrics and write a checkpoint where they are due."""
        self.timings["batch_seconds"] += time.perf_counter() - self._batch_started
        self.timings["samples"] += len(batch.clean) * trainer.world_size
        last = batch_idx + 1 == trainer.num_training_batches
        if last or not (batch_idx + 1) % trainer.accumulate_grad_batches:
            if is_recorded(trainer, batch_idx, trainer.global_step):
                self._record(trainer, "train/")
            self._open = not last
            loops = trainer.fit_loop
            if not loops.epoch_loop._should_check_val_fx(loops._data_fetcher):  # type: ignore[arg-type]
                self._end_step(trainer)
        self._batch_started = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember what earlier validations left: a stacked model logs other names in every phase."""
        self._stale = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the validation metrics of a fit."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._record(trainer, "val/")
            self._end_step(trainer)
        self._batch_started = time.perf_counter()

    def _end_step(self, trainer: L.Trainer) -> None:
        """Write a checkpoint, if one is due or the training is to stop, once a step's validation is over too."""
        if not self._open:
            return
        self._open = False
        step, stopped = trainer.global_step, self.stopping.wanted(trainer)
        if stopped or (self.every_n_steps and (step == trainer.max_steps or step % self.every_n_steps == 0)):
            self._save(trainer)
        if stopped:
            self.stopping.stop(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait for the device, so that the timings hold, and write a checkpoint."""
        if pl_module.device.type == "cuda":
            waiting = time.perf_counter()
            torch.cuda.synchronize()
            self.timings["batch_seconds"] += time.perf_counter() - waiting
        if self._saved_step != trainer.global_step:  # max_steps can end an epoch early, which is not complete then
            self._save(trainer)
        if self.stopping.wanted(trainer):
            self.stopping.stop(trainer)

    def _record(self, trainer: L.Trainer, prefix: str) -> None:
        if not trainer.is_global_zero or self.folder is None:
            return
        row = self.rows.setdefault(trainer.global_step, {"epoch": trainer.current_epoch})
        for name, value in trainer.callback_metrics.items():
            if name.startswith(prefix) and self._stale.get(name) is not value:
                row[name] = value.clone()  # a number only when it is written, so that no step waits for the device

    def _save(self, trainer: L.Trainer) -> None:
        if self.folder is None:
            return
        self._saved_step = trainer.global_step
        self._tick()
        if trainer.is_global_zero:
            self._write_rows(self.folder / "metrics.csv")
        if self.every_n_steps:
            trainer.save_checkpoint(self.folder / "checkpoints" / "last.ckpt", weights_only=False)

    def _write_rows(self, path: Path) -> None:
        for row in self.rows.values():
            row.update({name: value.item() for name, value in row.items() if isinstance(value, torch.Tensor)})
        names = sorted({name for row in self.rows.values() for name in row} - {"epoch"})
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", "epoch", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"step": step, **row} for step, row in self.rows.items())
        write_text(path, text.getvalue())

    def _tick(self) -> None:
        now = time.perf_counter()
        self.timings["seconds"] += now - self._started
        self._started = now


class EpochLines(Callback):
    """One plain line per epoch, for output that is no terminal.

    Args:
        shown: Names of the metrics in it.
    """

    def __init__(self, shown: Sequence[str] = ("train/loss", "val/loss", "val/mse")) -> None:
        self.shown = shown

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch's last losses."""
        if trainer.is_global_zero:
            metrics = trainer.callback_metrics
            values = [f"{name} {metrics[name]:.4g}" for name in self.shown if name in metrics]
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", *values, sep="  ", flush=True)
