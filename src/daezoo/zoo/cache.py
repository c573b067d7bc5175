"""Downloaded weights, each named by its sha256: complete and verified, or absent."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock

from daezoo.files import cache_root, write_atomically
from daezoo.zoo.entry import Weights, ZooError

_ELSEWHERE: ContextVar[Path | None] = ContextVar("elsewhere", default=None)
OURS = re.compile(r"\.?([0-9a-f]{64})\.(safetensors|part|safetensors\..*tmp)")
"""Names of the files that we put into the cache."""


def folder() -> Path:
    """The environment's DAEZOO_CACHE, else the platform's folder for caches."""
    elsewhere = _ELSEWHERE.get()
    return elsewhere or cache_root()


@contextmanager
def elsewhere(other: Path) -> Iterator[None]:
    """Use another cache meanwhile."""
    token = _ELSEWHERE.set(other)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


def offline() -> bool:
    """Whether DAEZOO_OFFLINE forbids the network, at this moment."""
    return os.environ.get("DAEZOO_OFFLINE", "").lower() not in ("", "0", "false", "no")


def place_of(weights: Weights) -> Path:
    """Where weights are in the cache, if they are there."""
    return folder() / f"{weights.sha256}.safetensors"


def partial_of(weights: Weights) -> Path:
    """Where the beginning of an unfinished download is kept."""
    return folder() / f"{weights.sha256}.part"


def _lock(digest: str) -> FileLock:
    path = folder() / "locks" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


@contextmanager
def locked(weights: Weights) -> Iterator[None]:
    """Hold the lock of one file: of processes that want the same, one downloads and the others wait."""
    try:
        lock = _lock(weights.sha256)
        lock.acquire()
    except OSError as error:
        raise ZooError(
            f"The cache {folder()} cannot be written: {error.strerror or error}. Set DAEZOO_CACHE to a folder that can."
        ) from None
    try:
        yield
    finally:
        lock.release()


def check(content: bytes, weights: Weights, where: str) -> bytes:
    """The content, if it is that of the weights.

    Args:
        content: Of a whole file.
        weights: What is expected.
        where: What the file is called in errors.

    Raises:
        ZooError: If length or digest are others.
    """
    check_size(len(content), weights, where)
    actual = hashlib.sha256(content).hexdigest()
    if actual != weights.sha256:
        raise ZooError(
            f"{where} is not {weights.file}: its sha256 is {actual}, and should be {weights.sha256}. It is damaged or "
            "another file. Delete it, or name another source: --source."
        )
    return content


def check_size(size: int, weights: Weights, where: str) -> None:
    """Raise ZooError unless a file's size is that of the weights."""
    if size != weights.bytes:
        raise ZooError(
            f"{where} has {size:,} bytes, and {weights.file} should have {weights.bytes:,}. It is damaged or another "
            "file. Delete it, or name another source: --source."
        )


def get(weights: Weights) -> bytes | None:
    """The content of cached weights, verified; None if they are not there. What is damaged is removed."""
    path = place_of(weights)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror or error}. Delete it, or set DAEZOO_CACHE.") from None
    try:
        return check(content, weights, str(path))
    except ZooError:
        path.unlink(missing_ok=True)  # the disk's fault, or an intruder's; it can be had again
        return None


def put(content: bytes, weights: Weights, where: str) -> None:
    """Keep verified weights.

    Raises:
        ZooError: If they are not what they should be, or cannot be written; the cache is then as it was.
    """
    check(content, weights, where)
    try:
        write_atomically(place_of(weights), lambda file: file.write(content))
    except OSError as error:
        raise ZooError(
            f"{weights.file} cannot be kept in the cache {folder()}: {error.strerror or error}. Free some space there, "
            "or set DAEZOO_CACHE to another folder."
        ) from None


def prune(kept: set[str], everything: bool = False) -> list[Path]:
    """Remove what nobody needs from the cache.

    Files that are being downloaded are left alone.

    Args:
        kept: Digests of the weights to keep.
        everything: Keep nothing, nor the entries that were imported or had from elsewhere.

    Returns:
        What was removed: unfinished downloads, damaged files, and weights that no entry names.
    """
    removed = []
    for path in sorted(folder().glob("*/*.yaml")) if everything else ():
        if path.parent.name in ("entries", "imported"):
            path.unlink()
            removed.append(path)
    for path in sorted(folder().glob("*")):
        ours = OURS.fullmatch(path.name)
        if not ours or not path.is_file():
            continue
        digest = ours[1]
        lock = _lock(digest)
        try:
            lock.acquire(timeout=0)
        except TimeoutError:
            continue
        try:
            whole = path.suffix == ".safetensors" and not everything and digest in kept
            if not whole or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                path.unlink(missing_ok=True)
                removed.append(path)
        finally:
            lock.release()
    return removed
