"""The cells of a study: each trains one model, judges it, and becomes one row of a CSV."""

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from daezoo.cli import main
from daezoo.evaluation import probe_command
from daezoo.evaluation.probe import Probe
from daezoo.files import alone, write_text
from daezoo.runs import clear
from daezoo.studies.markdown import of

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
        tune: Options of `daezoo finetune`.
    """

    model: str
    data: str
    seed: int = 0
    variant: str = ""
    fit: Sequence[str] = ()
    layer: str = "last"
    finetune: bool = False
    tune: Sequence[str] = ()

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
        run = trained(configs, folder, self.model, self.data, self.name, self.seed, self.fit)
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
        summary = tuned(run, folder, self.name, self.seed, self.tune)
        found = {name: summary[name] for name in ("pretrained", "scratch") if name in summary}
        return {
            "protocol": summary["protocol"].partition(":")[0],
            **{f"{name}_error": one["error"] for name, one in found.items()},
            **{f"{name}_valid": 1 - one["valid_accuracy"] for name, one in found.items()},
            "seconds": sum(one["seconds"] for one in found.values()),
            "commit": summary["commit"],
        }


def trained(
    configs: Path, folder: Path, model: str, data: str, name: str, seed: int, options: Sequence[str] = ()
) -> Path:
    """The run folder of a model, trained unless that is done; a run that was killed is gone on with.

    Args:
        configs: The folder with trainer.yaml, data/ and model/.
        folder: Where run folders go.
        model: Name of a file in configs/model.
        data: Name of a file in configs/data.
        name: Of the run folder.
        seed: Of the run.
        options: Further options of `daezoo fit`.

    Raises:
        ValueError: If the command fails, or there is a run of other options.
    """
    run = folder / f"{model}-{data}" / name
    wanted = ["--seed_everything", str(seed), *options]
    clear(run, "config.yaml")
    if not run.exists():
        files = ("trainer", f"data/{data}", f"model/{model}")
        named = [part for file in files for part in ("--config", str(configs / f"{file}.yaml"))]
        daezoo("fit", *named, "--runs", str(folder), "--name", name, *wanted)
        return run
    _check(run, wanted)
    if not (run / "summary.json").is_file():
        daezoo("fit", "--resume", str(run))
    return run


def tuned(run: Path, folder: Path, name: str, seed: int, options: Sequence[str] = ()) -> dict[str, Any]:
    """The summary of a fine-tuning, done unless it is there; one that was killed starts anew.

    Args:
        run: The run it starts from.
        folder: Where run folders go.
        name: Of its own.
        seed: Of the fine-tuning.
        options: Further options of `daezoo finetune`.

    Raises:
        ValueError: If the command fails, or there is a fine-tuning of other options.
    """
    # a fine-tuning is called after the model's class, a run after its configuration
    kind = yaml.safe_load((run / "config.yaml").read_text())["model"]["class_path"].rpartition(".")[2]
    data = run.parent.name.rpartition("-")[2]
    place = folder / f"finetune-{kind.removesuffix('DAE').lower()}-{data}" / name
    wanted = ["--seed", str(seed), *options]
    clear(place, "summary.json")
    if place.exists():
        _check(place, wanted)
    else:
        daezoo("finetune", str(run), "--runs", str(folder), "--name", name, *wanted)
    found: dict[str, Any] = json.loads((place / "summary.json").read_text())
    return found


def _check(run: Path, wanted: Sequence[str]) -> None:
    """Raise ValueError unless the command that made a run ends with these words."""
    first = (run / "config.yaml").read_text().partition("\n")[0] if (run / "config.yaml").is_file() else ""
    if not f"{first} ".endswith(f" {shlex.join(wanted)} "):
        raise ValueError(
            f"{run} was made with other options, by {first.removeprefix('# ')}. Delete it, or pass --runs DIR to keep "
            f"these runs elsewhere. Wanted: {shlex.join(wanted)}"
        )


def daezoo(*args: str) -> None:
    """Run a daezoo command, in this process.

    Raises:
        ValueError: If it fails.
        SystemExit: If it was interrupted.
    """
    command = shlex.join(["daezoo", *args])
    print(command, flush=True)
    try:
        status: Any = main(list(args))
    except SystemExit as stop:
        status = stop.code
    if status in (130, 143):  # told to stop
        raise SystemExit(status)
    if status:
        raise ValueError(f"{command} failed with status {status}.")


def configurations(folder: str) -> Path:
    """The folder with trainer.yaml, data/ and model/.

    Raises:
        ValueError: If it is none.
    """
    path = Path(folder)
    if not (path / "trainer.yaml").is_file():
        raise ValueError(f"There is no {path / 'trainer.yaml'}. Run this in a checkout, or pass --configs DIR.")
    return path


def rows_of(table: Path) -> list[dict[str, str]]:
    """The rows of a study's CSV; none if there is no file yet."""
    if not table.is_file():
        return []
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


def add_row(table: Path, row: dict[str, Any], key: Mapping[str, str] | None = None) -> None:
    """Add a row to a CSV, which is complete at any time; several processes may add to it at once.

    Args:
        table: The file.
        row: The row.
        key: Columns that tell it from others: if there is a row with these values already, none is added.
    """
    with alone(table.parent):
        held = rows_of(table)
        if key is not None and of(held, **key):
            return
        rows: list[dict[str, Any]] = [*held, row]
        names = list(dict.fromkeys(name for one in rows for name in one))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(table, text.getvalue())
