"""Small data sets of our own making, and what their images show."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def idx(array: np.ndarray) -> bytes:
    """An array in the format of MNIST's files."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def mnist_of(root: Path, images: np.ndarray, labels: np.ndarray, test: int) -> Path:
    """A folder that torchvision takes for one with MNIST, whose last `test` images are those for test."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, rows in (("train", slice(None, -test)), ("t10k", slice(-test, None))):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images[rows]))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels[rows].astype(np.uint8)))
    return root


def dots(brightness: Sequence[int]) -> np.ndarray:
    """Images of 28 x 28 with a soft dot to the right of the centre, black elsewhere, uint8 (N, 28, 28)."""
    row, column = np.mgrid[:28, :28]
    dot = np.exp(-((row - 13.5) ** 2 + (column - 21.5) ** 2) / (2 * 1.3**2))
    return (np.asarray(brightness)[:, None, None] * dot).round().astype(np.uint8)


def angles_of(images: Tensor) -> Tensor:
    """By how much dots were turned about the centre, (N,) radians in [0, 2π), counter-clockwise as seen."""
    weight, place = images[:, 0].double(), torch.arange(28, dtype=torch.float64) - 13.5
    up, right = -(weight.sum(2) * place).sum(1), (weight.sum(1) * place).sum(1)
    return torch.atan2(up, right) % (2 * torch.pi)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A grey picture no part of which looks like another, uint8 (height, width)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def folder_of(path: Path, *pictures: np.ndarray, suffix: str = ".png") -> Path:
    """A folder of these pictures."""
    path.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(path / f"picture{number:02}{suffix}")
    return path


def found_in(patches: Tensor, picture: Tensor, visible: Tensor | None = None) -> Tensor:
    """Whether each patch, (N, 1, H, W), is an exact part of a picture, (1, H, W), where it is visible; bool (N,)."""
    side = patches.shape[-1]
    parts = picture[0].unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)
    visible = torch.ones_like(patches, dtype=torch.bool) if visible is None else visible
    pairs = zip(patches.flatten(1), visible.flatten(1), strict=True)
    return torch.stack([(parts[:, seen] == patch[seen]).all(1).any() for patch, seen in pairs])
