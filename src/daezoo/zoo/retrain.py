"""Training a pretrained model once more, by the command in its entry."""

import shlex
import subprocess
import sys
from pathlib import Path

from daezoo.runs import clear
from daezoo.zoo.entry import Entry, ZooError, check_name, read
from daezoo.zoo.measure import Again, again
from daezoo.zoo.source import shipped_folder
from daezoo.zoo.tuned import opened_run


def shipped(name: str) -> Entry:
    """An entry that came with this package: nobody else's command is run.

    Raises:
        ZooError: If there is none.
    """
    path = shipped_folder() / f"{check_name(name)}.yaml"
    if not path.is_file():
        raise ZooError(f"{name} does not come with daezoo, and the commands of others are not run.")
    return read(path)


def retrain(entry: Entry, runs: Path) -> Path:
    """Run an entry's commands in the checkout that its configuration files are in.

    A run that was killed goes on, a fine-tuning that was begins anew; what is finished is left as it is.

    Args:
        entry: The model's.
        runs: Where its run folder goes, runs/<model>-<data>/<name>.

    Returns:
        The run folder, of the fine-tuning if the entry has a classifier.

    Raises:
        ZooError: If this is no checkout, the command is no training, or it fails.
    """
    checkout = shipped_folder().parent
    if not (checkout / "configs").is_dir():
        raise ZooError("Training again needs a checkout of daezoo: its folder configs is not in the package.")
    words = shlex.split(entry.training.command)
    if words[:2] != ["daezoo", "fit"] or any(word.split("=")[0] in ("--runs", "--name", "--resume") for word in words):
        raise ZooError(f"The entry {entry.name} has no training command: {entry.training.command!r}.")
    runs = runs.absolute()
    begun = sorted(runs.glob(f"{entry.family}-*/{entry.name}/config.yaml"))
    command = ["fit", "--resume", str(begun[0].parent)] if begun else [*words[1:], "--runs", str(runs)]
    command += [] if begun else ["--name", entry.name]
    run = _run(entry.name, command, checkout, runs, f"{entry.family}-*")
    if entry.classifier is None:
        return run
    words = shlex.split(entry.classifier.command)
    if words[:3] != ["daezoo", "finetune", "RUN"]:
        raise ZooError(f"The entry {entry.name} has no command of fine-tuning: {entry.classifier.command!r}.")
    for begun_before in runs.glob(f"finetune-*/{entry.name}"):
        clear(begun_before, "summary.json")
    done = sorted(runs.glob(f"finetune-*/{entry.name}/summary.json"))
    place = ["--runs", str(runs), "--name", entry.name]
    if done:
        return done[0].parent
    return _run(entry.name, ["finetune", str(run), *words[3:], *place], checkout, runs, "finetune-*")


def _run(name: str, command: list[str], checkout: Path, runs: Path, where: str) -> Path:
    # what it says goes to stderr: stdout is for the comparison
    status = subprocess.run([sys.executable, "-m", "daezoo", *command], cwd=checkout, stdout=2).returncode
    found = sorted(runs.glob(f"{where}/{name}/summary.json"))
    if status or not found:
        raise ZooError(f"Training {name} again failed with status {status}: daezoo {shlex.join(command)}")
    return found[0].parent


def compare(entry: Entry, run: Path) -> list[Again]:
    """The entry's metrics, of a run that its command made."""
    return again(entry.metrics, opened_run(run))
