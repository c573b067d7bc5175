"""The user's own arrays, from an .npz file or a folder of .npy files."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from daezoo.data.base import DenoisingDataModule
from daezoo.data.location import DataMissing, located
from daezoo.data.splits import InMemory, Split, rows_at_once

NAMES = ("train_images", "train_labels", "test_images", "test_labels")


class ArraysData(DenoisingDataModule):
    """Arrays `train_images` and `test_images`, and optionally `train_labels` and `test_labels`.

    They come from an .npz file, which is read into memory, or from a folder with a .npy file for each, which are
    mapped: what a batch needs is read when it is needed, so they may be larger than memory. Images are uint8 (divided
    by 255) or floating point in [0, 1], of shape (N, H, W), (N, H, W, C) or (N, D). A share of the training images,
    dealt out by split_seed, becomes the validation split. Nothing is unpickled.

    Args:
        path: The .npz file, or the folder; $DAEZOO_DATA in it is the folder that this variable names, else data/.
        valid: Share of the training images that is held out for validation, in (0, 1).
        rescale: Map the training images' smallest value to 0 and their largest to 1; test values beyond are clipped.
            Everything is then held in memory.
        **kwargs: As DenoisingDataModule.

    Raises:
        DataMissing: If there is no such file or folder.
        ValueError: If the file or an array is not as said.
    """

    def __init__(self, path: str, valid: float = 0.1, rescale: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < valid < 1:
            raise ValueError(f"valid is a share of the training images in (0, 1), got {valid}.")
        self.path = path
        self.valid = valid
        self.rescale = rescale
        self._ranges: dict[str, tuple[float, float]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in ("arrays", "images")}

    @property
    def shape(self) -> list[int]:
        """Shape of one sample, [C, H, W] or [D], read from the file."""
        return list(self.images[0].shape[1:])

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays as they are: read from an .npz file, or mapped from the .npy files of a folder."""
        path = located(self.path)
        if not path.exists():
            raise DataMissing(
                f"There is no file {path}. Pass --data.path FILE.npz or a folder of .npy files; to evaluate, --root."
            )
        if path.is_dir():
            arrays = {name: self._mapped(path / f"{name}.npy") for name in NAMES if (path / f"{name}.npy").is_file()}
        else:
            arrays = self._read(path)
        missing = {"train_images", "test_images"} - arrays.keys()
        if missing:
            raise ValueError(
                f"{path} lacks {' and '.join(sorted(missing))}; it has {', '.join(sorted(arrays)) or 'nothing'}. "
                "Expected train_images and test_images, and optionally train_labels and test_labels."
            )
        return arrays

    @staticmethod
    def _read(path: Path) -> dict[str, np.ndarray]:
        try:
            with open(path, "rb") as opened:  # np.load leaves a broken file open
                file = np.load(opened, allow_pickle=False)
                if not isinstance(file, np.lib.npyio.NpzFile):
                    raise ValueError("it holds a single array without a name")
                return dict(file)
        except Exception as error:  # zipfile, zlib, tokenize: a damaged file breaks them all
            raise ValueError(f"{path} is no readable .npz file of plain arrays: {error}") from error

    @staticmethod
    def _mapped(path: Path) -> np.ndarray:
        try:
            # copy on write: torch wants memory that may be written, and the file stays as it is
            array = np.load(path, mmap_mode="c", allow_pickle=False)
            if not isinstance(array, np.ndarray):
                array.close()
                raise ValueError("it holds several arrays")
            return array
        except Exception as error:
            raise ValueError(f"{path} is no readable .npy file of a plain array: {error}") from error

    @cached_property
    def images(self) -> tuple[Tensor, Tensor]:
        """Training and test images, checked: uint8 or in [0, 1], (N, C, H, W) or (N, D)."""
        train, test = self._checked("train_images"), self._checked("test_images")
        if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
            raise ValueError(
                f"{self.path}: train_images and test_images differ in shape or type: {train.shape} {train.dtype}, "
                f"{test.shape} {test.dtype}."
            )
        if self.rescale:
            low, high = self._range("train_images")
            if low == high:
                raise ValueError(f"{self.path}: train_images are all {low:g}; there is no range to rescale.")
            train, test = (np.clip((part.astype(np.float64) - low) / (high - low), 0, 1) for part in (train, test))
        elif train.dtype != np.uint8:
            for name in ("train_images", "test_images"):
                low, high = self._range(name)
                if low < 0 or high > 1:
                    raise ValueError(
                        f"{self.path}: {name} has values from {low:g} to {high:g}. Expected floating point in [0, 1] "
                        "or uint8. Rescale them yourself, or pass --data.rescale true."
                    )
        return self._tensor(train), self._tensor(test)

    def _checked(self, name: str) -> np.ndarray:
        array = self.arrays[name]
        if array.dtype != np.uint8 and array.dtype not in (np.float16, np.float32, np.float64):
            raise ValueError(
                f"{self.path}: {name} is {array.dtype}. Expected uint8, or float16, float32 or float64 in this "
                "machine's byte order."
            )
        if array.ndim not in (2, 3, 4) or 0 in array.shape:
            raise ValueError(
                f"{self.path}: {name} has shape {array.shape}. Expected (N, H, W), (N, H, W, C) or (N, D), none empty."
            )
        if array.dtype != np.uint8 and not np.isfinite(self._range(name)).all():
            bad = sum(int((~np.isfinite(part)).sum()) for part in _parts(array))
            raise ValueError(f"{self.path}: {name} has {bad} values that are NaN or infinite. Replace them first.")
        return array

    def _range(self, name: str) -> tuple[float, float]:
        if name not in self._ranges:  # it may take long: all of the file is read
            low, high = zip(*((part.min(), part.max()) for part in _parts(self.arrays[name])), strict=True)
            self._ranges[name] = float(np.min(low)), float(np.max(high))
        return self._ranges[name]

    @staticmethod
    def _tensor(array: np.ndarray) -> Tensor:
        mapped = isinstance(array, np.memmap)
        tensor = torch.from_numpy(array if mapped or array.dtype == np.uint8 else array.astype(np.float32, copy=False))
        if tensor.ndim == 3:
            return tensor.unsqueeze(1)
        if tensor.ndim == 4:
            tensor = tensor.permute(0, 3, 1, 2)
            return tensor if mapped else tensor.contiguous()
        return tensor

    def _labels(self, part: str, size: int) -> Tensor | None:
        name = f"{part}_labels"
        if name not in self.arrays:
            return None
        labels = self.arrays[name]
        if labels.shape != (size,) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"{self.path}: {name} has shape {labels.shape} and type {labels.dtype}. Expected one integer for "
                f"each of the {size} {part}_images."
            )
        return torch.from_numpy(labels.astype(np.int64))

    def load(self) -> dict[str, Split]:
        """The splits; validation is dealt out by split_seed."""
        train, test = self.images
        labels, test_labels = self._labels("train", len(train)), self._labels("test", len(test))
        if len(train) < 2:
            raise ValueError(f"{self.path}: train_images needs two samples or more, one of them for validation.")
        held_out = min(max(1, round(self.valid * len(train))), len(train) - 1)
        kept, out = self.random_split(len(train), held_out)
        return {
            "train": InMemory(train, labels, kept),
            "valid": InMemory(train, labels, out),
            "test": InMemory(test, test_labels),
        }


def _parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """A large array a few rows at a time, so that what is mapped need not fit into memory."""
    rows = rows_at_once(array[0].size)
    return (array[start : start + rows] for start in range(0, len(array), rows))
