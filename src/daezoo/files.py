"""Files that are either complete or absent, and the folder of those that can be had again."""

import fcntl
import glob
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import platformdirs


def cache_root() -> Path:
    """The folder of what can be made or had again: the environment's DAEZOO_CACHE, else the platform's for caches."""
    return Path(os.environ.get("DAEZOO_CACHE") or platformdirs.user_cache_dir("daezoo"))


def files_in(folder: Path) -> list[Path]:
    """The files of a folder and its subfolders, in the order of paths, without what is hidden.

    Links to files count, and those that lead nowhere, which are for the reader to name; not those to folders or pipes.

    Raises:
        OSError: If a folder cannot be read.
    """
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_raised):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = (Path(place) / name for name in names if not name.startswith("."))
        found += [file for file in files if file.is_file() or (file.is_symlink() and not file.exists())]
    return sorted(found)


def _raised(error: OSError) -> None:
    raise error


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Raise ValueError if a file's name does not end as one of its kind."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}.")


def check_output(path: Path, force: bool, suffixes: Sequence[str]) -> None:
    """Check that a file can be written, before it is made.

    Raises:
        ValueError: If its kind is unknown, it is there and not to be written over, or its folder cannot be.
    """
    check_suffix(path, suffixes)
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise ValueError(f"{path} cannot be written, because {nearest} is no folder.")
    if path.is_dir() or (path.exists() and not force):
        way = "" if path.is_dir() else ", or write over it: --force"
        raise ValueError(f"{path} exists. Choose another name{way}")


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its target, fsync it, and rename it over the target.

    A killed process or a full disk leaves the old file, or none. What a killed process left behind is cleared by the
    next write of the same file; of two that write it at once, the later wins.

    Args:
        path: The target; its folder is made.
        write: Called with the open binary file.

    Raises:
        OSError: If the file cannot be written; it names the target.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    start = os.fsdecode(os.fsencode(path.name)[:200])  # a name has 255 bytes at the most
    for orphan in path.parent.glob(f".{glob.escape(start)}.*.tmp"):
        _clear(orphan)
    temporary = path.parent / f".{start}.{uuid4().hex}.tmp"
    try:
        with _locked(temporary) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # not the temporary file, which nobody knows
        raise
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _locked(temporary: Path) -> IO[bytes]:
    """A new file, locked as long as it is open, so that nobody takes it for one that was left behind."""
    while True:
        file = open(temporary, "xb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():  # else it was cleared before it was locked
            return file
        file.close()


def _clear(orphan: Path) -> None:
    """Remove a temporary file, unless somebody is writing it."""
    with suppress(FileNotFoundError, BlockingIOError, PermissionError), open(orphan, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        orphan.unlink()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in this block for the same folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def to_json(value: dict[str, Any]) -> str:
    """A dictionary as strict JSON; a number that is not finite, such as the PSNR of a perfect copy, becomes null."""

    def finite(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: finite(inner) for key, inner in item.items()}
        if isinstance(item, list | tuple):
            return [finite(inner) for inner in item]
        return None if isinstance(item, float) and not isfinite(item) else item

    return json.dumps(finite(value), indent=2, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))
