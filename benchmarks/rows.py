"""What is measured: models, data and batch sizes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jsonargparse import ArgumentParser

from benchmarks.system import ROOT, fit
from daezoo.corruption import Corruption
from daezoo.hardware import cpu_features
from daezoo.models import DenoisingAutoencoder


@dataclass(frozen=True)
class Row:
    """One training set-up.

    Args:
        model: Name of the shipped configuration.
        shape: Shape of one sample.
        batch: Batch size.
        batches: Batches in an epoch.
        turn: Steps in a turn; divides `batches`.
        changes: What differs from the shipped configuration of the model.
        columns: What ours is measured against.
    """

    model: str
    shape: tuple[int, int, int]
    batch: int
    batches: int
    turn: int
    changes: tuple[tuple[str, Any], ...] = ()
    columns: tuple[str, ...] = ("ours", "bare", "float32", "items", "limit")

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of a sample as files and Pillow have it: (H, W) or (H, W, C)."""
        color, *size = self.shape
        return (*size, color) if color > 1 else tuple(size)

    def build(self) -> tuple[DenoisingAutoencoder, Corruption]:
        """The model and the corruption of the shipped configuration, with the row's changes."""
        config = yaml.safe_load((ROOT / "configs" / "model" / f"{self.model}.yaml").read_text())
        config["model"]["init_args"] |= dict(self.changes) | {"shape": list(self.shape)}
        parser = ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(DenoisingAutoencoder, "model")
        parser.add_subclass_arguments(Corruption, "corruption")
        described = {"model": config["model"], "corruption": config["data"]["init_args"]["corruption"]}
        built = parser.instantiate(parser.parse_object(described))
        return built.model, built.corruption

    def command(self, path: Path, runs: Path, batches: int, epochs: int) -> list[str]:
        """The arguments of our command line: the shipped defaults on an .npz file of random images, which is written.

        Args:
            path: The .npz file.
            runs: Folder of the run folders.
            batches: Batches in an epoch.
            epochs: Epochs to train, or epochs of each phase of a model that has phases.
        """
        self._write(path, batches * self.batch)
        line = [
            *fit("arrays", self.model),
            "--data.path",
            str(path),
            "--data.batch_size",
            str(self.batch),
            "--data.valid",
            "0.02",
        ]
        line += [
            "--runs",
            str(runs),
            *(part for name, value in self.changes for part in (f"--model.{name}", str(value))),
        ]
        spare = epochs + 2  # for the warm-up, and for a step that ends the last turn
        if self.model == "stacked":
            line += ["--model.epochs_per_layer", str(epochs), "--model.end_to_end_epochs", str(spare)]
        else:
            line += ["--trainer.max_epochs", str(spare)]
        return [*line, "--trainer.callbacks+=benchmarks.pace.Pace"]

    def _write(self, path: Path, samples: int) -> None:
        draw = np.random.default_rng(0)
        counts = {"train_images": round(samples / 0.98) + 1, "test_images": 64}
        arrays = {name: draw.integers(0, 256, (count, *self.stored), np.uint8) for name, count in counts.items()}
        np.savez(path, **arrays)


DIGIT, COLOR = (1, 28, 28), (3, 32, 32)
DEEP = {"class_path": "daezoo.architectures.ConvStack", "init_args": {"depth": 17}}
ROWS = {
    "vanilla-128": Row("vanilla", DIGIT, 128, 420, 60, columns=("ours", "bare", "float32", "items", "pythae", "limit")),
    "vanilla-512": Row("vanilla", DIGIT, 512, 105, 15, columns=("ours", "bare", "float32", "items", "pythae", "limit")),
    "stacked-128": Row("stacked", DIGIT, 128, 420, 60, columns=("ours", "bare", "float32", "limit")),
    "conv-28": Row("conv", DIGIT, 128, 100, 50),
    "conv-32x3": Row("conv", COLOR, 128, 100, 50),
    "residual-17x64": Row("residual", (1, 40, 40), 64, 2, 1, (("network", DEEP),)),
}


def precision() -> str:
    """The precision that the command line would train in, on this machine."""
    return "bf16" if cpu_features() and not torch.cuda.is_available() else "float32"
