"""Data sets that torchvision downloads and reads, in one shape."""

import os
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from daezoo.data.base import DenoisingDataModule, InMemory, Split


def data_root(root: str | None) -> Path:
    """Where data sets are looked for: `root`, else the environment's DAEZOO_DATA, else data/."""
    return Path(root or os.environ.get("DAEZOO_DATA") or "data")


def fetch(source: Callable[..., Any], root: str | None) -> None:
    """Download a torchvision data set unless it is there.

    Raises:
        ValueError: If it is neither there nor to be had, with where it was looked for.
    """
    folder = data_root(root)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            source(folder, download=True)
    except (RuntimeError, OSError) as error:
        name = getattr(source, "__name__", str(source))
        raise ValueError(
            f"{name} is not in {folder.resolve()}, and downloading it failed ({error}). Set DAEZOO_DATA, or pass "
            f"--data.root, to the folder that torchvision's {name} reads (for MNIST: the one that holds MNIST/raw), or "
            "put the files there."
        ) from error


def read(data: DenoisingDataModule, source: Callable[..., Any], root: str | None, valid: int) -> dict[str, Split]:
    """The splits of a torchvision data set, kept as uint8; `valid` training images are dealt out by split_seed.

    Raises:
        ValueError: If the files cannot be read.
    """

    def tensors(train: bool) -> tuple[Tensor, Tensor]:
        part = source(data_root(root), train=train)
        images = torch.as_tensor(part.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return images, torch.as_tensor(part.targets)

    try:
        (images, labels), test = tensors(True), tensors(False)
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
        name = getattr(source, "__name__", str(source))
        raise ValueError(
            f"{name} in {data_root(root).resolve()} cannot be read ({error}). Delete it to have it downloaded again."
        ) from error
    kept, held_out = data.random_split(len(images), valid)
    return {
        "train": InMemory(images[kept], labels[kept]),
        "valid": InMemory(images[held_out], labels[held_out]),
        "test": InMemory(*test),
    }
