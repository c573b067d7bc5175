"""The cells of a study: each trains one model, judges it, and becomes one row of a CSV."""

import csv
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daezoo.evaluation import probe_command
from daezoo.evaluation.probe import Probe
from daezoo.files import write_text
from daezoo.runs import lock

NEIGHBOURS = 20
"""k of the kNN classifier."""


@dataclass(frozen=True)
class Cell:
    """One row of a study: a model, trained with a seed and judged.

    Args:
        model: Name of a file in configs/model.
        data: Name of a file in configs/data.
        seed: Of the run.
        variant: What is different from the shipped configuration, in words; nothing if empty.
        fit: Options of `daezoo fit` that make it so.
        layer: Which layer is probed: last, or a number from 1.
        finetune: Whether it is judged by fine-tuning instead.
    """

    model: str
    data: str
    seed: int = 0
    variant: str = ""
    fit: Sequence[str] = ()
    layer: str = "last"
    finetune: bool = False

    @property
    def key(self) -> dict[str, str]:
        """The columns that tell this cell from others."""
        names = ("model", "data", "variant", "layer", "seed")
        return {name: str(getattr(self, name)) for name in names}

    @property
    def name(self) -> str:
        """Name of its run folder."""
        words = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in self.variant)
        return f"{words or 'shipped'}-s{self.seed}"

    def measure(self, configs: Path, folder: Path, known: dict[str, Probe]) -> dict[str, Any]:
        """Train, unless that is done, and judge: by fine-tuning or by a linear probe.

        Args:
            configs: The folder with trainer.yaml, data/ and model/.
            folder: Where run folders go; a run that was killed is gone on with.
            known: Baselines of cells measured before, as for `evaluation.probe.judge`.

        Returns:
            The row.

        Raises:
            ValueError: If a command fails.
        """
        run = folder / f"{self.model}-{self.data}" / self.name
        if not (run / "config.yaml").is_file():
            files = ("trainer", f"data/{self.data}", f"model/{self.model}")
            named = [part for file in files for part in ("--config", str(configs / f"{file}.yaml"))]
            place = ["--runs", str(folder), "--name", self.name, "--seed_everything", str(self.seed)]
            daezoo("fit", *named, *place, *self.fit)
        elif not (run / "summary.json").is_file():
            daezoo("fit", "--resume", str(run))
        return self.key | (self._tuned(run, folder) if self.finetune else self._probed(run, known))

    def _probed(self, run: Path, known: dict[str, Probe]) -> dict[str, Any]:
        found = run / f"probe-{self.data}-{self.layer}.json"
        print("daezoo probe", run, "--layer", self.layer, flush=True)
        probe_command.run([str(run), "--layer", self.layer, "--k", str(NEIGHBOURS)], known)
        probe, summary = json.loads(found.read_text()), json.loads((run / "summary.json").read_text())
        return {
            "protocol": probe["protocol"],
            "features": probe["layers"][-1]["features"],
            "accuracy": probe["accuracy"],
            "low": probe["interval"][0],
            "high": probe["interval"][1],
            **{name: probe[name] for name in ("raw_pixels", "untrained", "knn")},
            "effective_rank": probe["layers"][-1]["codes"]["effective_rank"],
            "mse": summary["test"]["mse"],
            "mse_noisy_input": summary["test"]["mse_noisy_input"],
            "train_seconds": summary["seconds"],
            "precision": summary["precision"],
            "commit": summary["commit"],
        }

    def _tuned(self, run: Path, folder: Path) -> dict[str, Any]:
        tuned = folder / f"finetune-{self.model}-{self.data}" / self.name
        if not (tuned / "summary.json").is_file():
            if tuned.exists():  # a fine-tuning that was killed starts anew
                held = lock(tuned)
                shutil.rmtree(tuned)
                os.close(held)
            place = ["--runs", str(folder), "--name", self.name, "--seed", str(self.seed)]
            daezoo("finetune", str(run), *place)
        summary = json.loads((tuned / "summary.json").read_text())
        return {
            "protocol": summary["protocol"].partition(":")[0],
            **{f"{name}_error": summary[name]["error"] for name in ("pretrained", "scratch")},
            **{f"{name}_valid": 1 - summary[name]["valid_accuracy"] for name in ("pretrained", "scratch")},
            "seconds": summary["pretrained"]["seconds"] + summary["scratch"]["seconds"],
            "commit": summary["commit"],
        }


def daezoo(*args: str) -> None:
    """Run a daezoo command in a process of its own, its output passed on.

    Raises:
        ValueError: If it fails.
    """
    print("daezoo", *args, flush=True)
    done = subprocess.run([sys.executable, "-m", "daezoo", *args], check=False)
    if done.returncode:
        raise ValueError(f"daezoo {' '.join(args)} failed with status {done.returncode}.")


def rows_of(table: Path) -> list[dict[str, str]]:
    """The rows of a study's CSV; none if there is no file yet."""
    if not table.is_file():
        return []
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


def add_row(table: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV, which is complete at any time; several processes may add to it at once."""
    with _alone(table):
        rows: list[dict[str, Any]] = [*rows_of(table), row]
        names = list(dict.fromkeys(name for one in rows for name in one))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(table, text.getvalue())


@contextmanager
def _alone(table: Path) -> Iterator[None]:
    table.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(table.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
