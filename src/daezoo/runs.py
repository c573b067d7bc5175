"""Run folders: runs/<model>-<data>/<name>/, each claimed by one run."""

import fcntl
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from daezoo.files import to_json, write_text


def claim(parent: Path, name: str | None, way_on: str | None = None) -> Path:
    """Make a run folder that nobody else has: `name`, or the next free integer.

    Args:
        parent: Where.
        name: Its name, or None.
        way_on: What else can be done, in the error, if the name is taken; to resume the run if None.

    Raises:
        ValueError: If `name` is taken or no plain folder name.
    """
    if name is not None and (name in ("", ".", "..") or Path(name).name != name):
        raise ValueError(f"The run's name must be a plain folder name, got {name!r}.")
    parent.mkdir(parents=True, exist_ok=True)
    if name is not None:
        folder = parent / name
        try:
            folder.mkdir()
        except FileExistsError:
            way_on = way_on or f"or go on with it: daezoo fit --resume {folder}"
            raise ValueError(f"The run folder {folder} exists. Choose another name, {way_on}") from None
        return folder
    taken = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
    number = max(taken, default=0)
    while True:  # mkdir decides between two runs that start at once
        number += 1
        folder = parent / str(number)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder


def lock(folder: Path) -> int:
    """Take a run folder for this process; the lock ends with the process, however it ends.

    Returns:
        The folder's open file descriptor, which holds the lock.

    Raises:
        ValueError: If another process trains in this folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ValueError(f"Another process is training in {folder}. Wait for it, or stop it first.") from None
    return descriptor


def clear(folder: Path, unless: str) -> None:
    """Remove what a killed process left behind, unless it is still at work, or was done meanwhile.

    Args:
        folder: A run folder, or where one would be.
        unless: Name of a file that says there is nothing to clear.

    Raises:
        ValueError: If another process trains in this folder.
    """
    if folder.exists():
        held = lock(folder)
        if not (folder / unless).is_file():
            shutil.rmtree(folder)
        os.close(held)


def summary_of(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run; None if it is not finished.

    Raises:
        ValueError: If its file is damaged.
    """
    path = folder / "summary.json"
    if not path.is_file():
        return None
    try:
        summary = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}. Delete it, and end the run again by --resume.") from error
    if not isinstance(summary, dict):
        raise ValueError(f"{path} is damaged: it is no summary of a run. Delete it, and end the run again by --resume.")
    return summary


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write summary.json, which marks the run as finished."""
    write_text(folder / "summary.json", to_json(summary) + "\n")


@cache
def commit() -> str | None:
    """The commit of the checkout that this package runs from, with -dirty if src or configs were changed since.

    None outside a checkout. It is looked up once in a process, which a long training should do when it begins.
    """
    source = Path(__file__).resolve()

    def git(*command: str) -> str:
        line = ["git", "-C", str(source.parents[2]), *command]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", str(source))
        return git("rev-parse", "HEAD") + ("-dirty" if git("diff", "--name-only", "HEAD", "src", "configs") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
