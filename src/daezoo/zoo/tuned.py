"""Fine-tuned classifiers as models: the encoder and the classifier of a fine-tuning in one state."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from daezoo import runs
from daezoo.checkpoint import load_model, locate, read
from daezoo.evaluation.target import Target
from daezoo.zoo.entry import ZooError
from daezoo.zoo.measure import opened


class Tuned(NamedTuple):
    """A fine-tuning that started from a run.

    Attributes:
        base: The run's folder.
        summary: Of the fine-tuning.
        path: The checkpoint of the run.
        contents: Of that checkpoint, with the fine-tuned weights, the classifier's among them, and its labels.
    """

    base: Path
    summary: dict[str, Any]
    path: Path
    contents: dict[str, Any]


def is_tuned(run: Path) -> bool:
    """Whether a folder is that of a fine-tuning."""
    config = run / "config.yaml"
    return config.is_file() and config.read_text().startswith("# daezoo finetune ")


def read_tuned(run: Path) -> Tuned:
    """What a fine-tuning made of a run.

    Raises:
        ZooError: If it is not finished, started from no run or with fewer layers, or trained no pretrained network.
        ValueError: If a file cannot be read.
    """
    summary = runs.summary_of(run)
    if summary is None or "pretrained" not in summary:
        raise ZooError(f"{run} is no finished fine-tuning of a pretrained network.")
    path = Path(yaml.safe_load((run / "config.yaml").read_text())["target"])
    base = path.parent.parent
    if runs.summary_of(base) is None:
        raise ZooError(f"{run} did not start from a finished run: {base} has no summary.json.")
    state = read(locate(run / "pretrained" / "checkpoints" / "best.ckpt"))["state_dict"]
    contents = read(path)
    weights = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    if weights.keys() != contents["state_dict"].keys():
        raise ZooError(f"{run} has other layers than {base}, so their weights do not fit in one model.")
    weights |= {f"classifier.{name}": state[f"head.{name}"] for name in ("weight", "bias")}
    return Tuned(base, summary, path, {**contents, "state_dict": weights, "labels": summary["labels"]})


def opened_run(run: Path, root: str | None = None) -> Target:
    """A run, or a fine-tuning, as `daezoo.zoo.measure.opened` opens it."""
    if not is_tuned(run):
        return opened(str(run), root=root)
    tuned = read_tuned(run)
    return opened(str(tuned.base), root=root)._replace(model=load_model(tuned.path, tuned.contents))
