"""Fine-tuned classifiers as models: the encoder and the classifier of a fine-tuning in one state."""

from pathlib import Path
from typing import Any, NamedTuple

from daezoo import runs
from daezoo.checkpoint import load_model, locate, read
from daezoo.evaluation.probe import TRAINING
from daezoo.evaluation.target import Target, own_data
from daezoo.parser import read_configuration
from daezoo.zoo.entry import ZooError
from daezoo.zoo.measure import opened


def samples_of(data: dict[str, Any]) -> dict[str, Any]:
    """What decides a data module's samples and splits, of its hyperparameters."""
    found = {name: value for name, value in data.items() if name not in TRAINING and name != "_instantiator"}
    return found | {"_class_path": str(data.get("_class_path")).rpartition(".")[2]}  # a class has several paths


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
        ZooError: If it is not finished, started from no run, with fewer layers or on other data, or trained no
            pretrained network.
        ValueError: If a file cannot be read.
    """
    try:
        summary, config = runs.summary_of(run), read_configuration(run / "config.yaml")
    except ValueError as error:
        raise ZooError(f"{run} is no fine-tuning that can be read: {' '.join(str(error).split())}") from None
    if summary is None or not {"pretrained", "labels", "hardware"} <= summary.keys():
        raise ZooError(f"{run} is no finished fine-tuning of a pretrained network, or an older daezoo did it.")
    if not (isinstance(config.get("target"), str) and isinstance(config.get("data"), dict)):
        raise ZooError(f"{run / 'config.yaml'} does not say what the fine-tuning started from, and on what data.")
    path = Path(config["target"])
    base = path.parent.parent
    if path.name != "last.ckpt" or not base.is_dir() or runs.summary_of(base) is None:
        raise ZooError(f"{run} did not start from a finished run of daezoo fit, but from {path}.")
    state = read(locate(run / "pretrained" / "checkpoints" / "best.ckpt"))["state_dict"]
    contents = read(path)
    if samples_of(config["data"]) != samples_of(dict(own_data(path, contents, None).hparams)):
        raise ZooError(
            f"{run} was trained on other data than {base}, so its errors would not be of its own test split."
        )
    weights = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    if weights.keys() != contents["state_dict"].keys():
        raise ZooError(f"{run} has other layers than {base}, so their weights do not fit in one model.")
    weights |= {f"classifier.{name}": state[f"head.{name}"] for name in ("weight", "bias")}
    return Tuned(base, summary, path, {**contents, "state_dict": weights, "labels": summary["labels"]})


def opened_run(run: Path, root: str | None = None) -> Target:
    """A run, or a fine-tuning, as `daezoo.zoo.measure.opened` opens it."""
    if not is_tuned(run):
        return opened(str(run), root=root)
    return opened_tuned(read_tuned(run), root)


def opened_tuned(tuned: Tuned, root: str | None = None) -> Target:
    """A fine-tuning that was read, likewise."""
    return opened(str(tuned.base), root=root)._replace(model=load_model(tuned.path, tuned.contents))
