"""Data sets that torchvision downloads and reads, in one shape."""

import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from daezoo.data.base import DenoisingDataModule, InMemory, Split


def data_root(root: str | None) -> Path:
    """Where data sets are looked for: `root`, else the environment's DAEZOO_DATA, else data/."""
    return Path(root or os.environ.get("DAEZOO_DATA") or "data")


def fetch(source: type[Any], root: str | None) -> None:
    """Download a torchvision data set unless it is there.

    Raises:
        ValueError: If it is neither there nor to be had, with where it was looked for.
    """
    folder = data_root(root)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            dataset = object.__new__(source)  # its constructor would also read the files, and blame the download
            dataset.root = str(folder)
            dataset.download()
    except (RuntimeError, OSError) as error:
        name = source.__name__
        held = getattr(source, "base_folder", f"{name}/raw")
        raise ValueError(
            f"{name} is not in {folder.resolve()}, and downloading it failed ({error}). Set DAEZOO_DATA, or pass "
            f"--data.root, to the folder that torchvision's {name} reads (the one that holds {held}), or "
            "put the files there."
        ) from error


def read(data: DenoisingDataModule, source: type[Any], root: str | None, valid: int) -> dict[str, Split]:
    """The splits of a torchvision data set, kept as uint8; `valid` training images are dealt out by split_seed.

    Raises:
        ValueError: If the files cannot be read.
    """

    def tensors(train: bool) -> tuple[Tensor, Tensor]:
        part = source(data_root(root), train=train)
        images = torch.as_tensor(part.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(part.targets)
        if len(images) != len(labels) or (train and len(images) <= valid):
            raise ValueError(f"{len(images)} images and {len(labels)} labels for {'training' if train else 'test'}")
        return images, labels

    try:
        (images, labels), test = tensors(True), tensors(False)
    except Exception as error:  # torchvision checks little, so damage shows in many ways
        raise ValueError(
            f"{source.__name__} in {data_root(root).resolve()} cannot be read ({error}). Delete its folder there to "
            "have it downloaded again."
        ) from error
    kept, held_out = data.random_split(len(images), valid)
    return {
        "train": InMemory(images[kept], labels[kept]),
        "valid": InMemory(images[held_out], labels[held_out]),
        "test": InMemory(*test),
    }
