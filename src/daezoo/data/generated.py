"""Generated data sets: made once, then read from the cache."""

import warnings
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from daezoo.data.base import SPLITS
from daezoo.data.splits import InMemory, Split, digest
from daezoo.files import cache_root, write_atomically

Labelled = tuple[Tensor, Tensor]
"""Images, uint8 (N, C, H, W), and labels, int64 (N,)."""


def generated(name: str, key: tuple[object, ...], make: Callable[[str], Labelled]) -> dict[str, Split]:
    """The splits of a generated data set, from the cache if it was made before, else made and kept there.

    A file is read only if its digest is that of its content and of the key; one that is damaged is made again. The
    cache may be missing or full: then a warning says so, and nothing is kept.

    Args:
        name: What the file's name begins with.
        key: All that the samples depend on, the version of the generator included.
        make: The labelled images of a split, by its name.
    """
    path = cache_root() / "generated" / f"{name}-{digest([], key)[:16]}.safetensors"
    tensors = _read(path, key)
    if tensors is None:
        tensors = {}
        for split in SPLITS:
            tensors[f"{split}.images"], tensors[f"{split}.labels"] = make(split)
        try:
            content = safetensors.torch.save({**tensors, "sha256": _own(tensors, key)})
            write_atomically(path, lambda file: file.write(content))
        except OSError as error:
            warnings.warn(
                f"Generated images are not kept, because {path} cannot be written: {error.strerror}. Set DAEZOO_CACHE "
                "to a folder that can.",
                stacklevel=2,
            )
    return {split: InMemory(tensors[f"{split}.images"], tensors[f"{split}.labels"]) for split in SPLITS}


def _own(tensors: dict[str, Tensor], key: tuple[object, ...]) -> Tensor:
    found = digest((tensors[name] for name in sorted(tensors)), key)
    return torch.frombuffer(bytearray.fromhex(found), dtype=torch.uint8)


def _read(path: Path, key: tuple[object, ...]) -> dict[str, Tensor] | None:
    """What a file holds, if it is there, whole, and what was made for this key."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        recorded = tensors.pop("sha256")
        whole = torch.equal(recorded, _own(tensors, key))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, TypeError):  # as many as there are damages
        return None
    names = {f"{split}.{part}" for split in SPLITS for part in ("images", "labels")}
    return tensors if whole and tensors.keys() == names else None
