"""Going on with a run: by which command, and whether its checkpoint, configuration and data still fit."""

from pathlib import Path
from typing import Any

import yaml

from daezoo import runs
from daezoo.checkpoint import read
from daezoo.data.base import DenoisingDataModule
from daezoo.models import DenoisingAutoencoder
from daezoo.parser import read_configuration


def is_finished(folder: Path) -> bool:
    """Whether a run is finished, which is then said."""
    summary = runs.summary_of(folder)
    if summary:
        print(f"{folder} is finished: {summary.get('epochs')} epochs, {summary.get('steps')} steps. Nothing to do.")
    return bool(summary)


def resume_arguments(folder: Path, others: list[str]) -> list[str] | None:
    """The command line that goes on with a run; None if it is finished.

    Raises:
        ValueError: If the folder is no run folder, or more than the trainer would be changed.
    """
    config = folder / "config.yaml"
    if not config.is_file():
        raise ValueError(f"{folder} is no run folder: there is no file {config}.")
    if "trainer" not in read_configuration(config):
        raise ValueError(f"{folder} is no run of daezoo fit, so it cannot be resumed.")
    strange = [other for other in others if other.startswith("-") and not other.startswith(("--trainer.", "--force"))]
    if strange:
        raise ValueError(
            "A run is resumed with the configuration it started with; only --trainer.* can be changed, "
            f"got {strange[0]}."
        )
    if not others and is_finished(folder):
        return None
    return ["fit", "--config", str(config), *others]


def check_same(folder: Path, configuration: str) -> None:
    """Raise ValueError if a run was begun with another configuration, the trainer's aside, than it would go on."""
    now, then = (
        {key: value for key, value in _flat(tree).items() if not key.startswith("trainer.")}
        for tree in (yaml.safe_load(configuration), read_configuration(folder / "config.yaml"))
    )
    other = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
    if other:
        raise ValueError(
            f"{folder} was begun with {other[0]} {then.get(other[0])}, and is to go on with {now.get(other[0])}. "
            f"Choose another name, or go on as it was begun: daezoo fit --resume {folder}"
        )


def check_checkpoint(
    last: Path, model: DenoisingAutoencoder, data: DenoisingDataModule, max_epochs: int | None, force: bool
) -> None:
    """Raise ValueError if a run's checkpoint cannot go on with its configuration; it may have none yet."""
    if not last.is_file():
        return
    checkpoint = read(last)
    lacking = {
        "loops",
        "optimizer_states",
        "lr_schedulers",
        "callbacks",
        "epoch",
        "global_step",
    } - checkpoint.keys()
    if lacking:
        raise ValueError(f"{last} is no checkpoint of a training: it lacks {' and '.join(sorted(lacking))}.")
    saved = str(checkpoint["hyper_parameters"].get("_class_path")).rpartition(".")[2]
    if saved != type(model).__name__:
        raise ValueError(f"{last} is of class {saved}, but this run trains a {type(model).__name__}.")
    held, wanted = (
        {name: tuple(value.shape) for name, value in state.items()}
        for state in (checkpoint["state_dict"], model.state_dict())
    )
    strange = sorted(name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name))
    if strange:
        raise ValueError(
            f"{last} does not fit the model of {last.parent.parent / 'config.yaml'}, in {', '.join(strange)}: one "
            "of them was changed or damaged."
        )
    was = checkpoint.get(type(data).__qualname__, {}).get("fingerprint")  # older ones have none
    now = data.fingerprint or ""
    if was not in (None, now) and not force:
        raise ValueError(
            f"The data is no longer what {last} was trained on: its fingerprint was {was[:16]}, and is now "
            f"{now[:16]}. Put the old files back, or go on all the same: --force"
        )
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if 0 <= (max_epochs or -1) < epochs:
        raise ValueError(f"{last} has {epochs} epochs already, more than max_epochs {max_epochs}.")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    joined = f"{prefix}." if prefix else ""
    return {key: found for name, one in value.items() for key, found in _flat(one, f"{joined}{name}").items()}
