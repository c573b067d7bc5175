"""Data sets larger than memory: shards written by litdata, read as they are needed."""

import importlib.util
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from daezoo.batch import Sample
from daezoo.data.base import DenoisingDataModule
from daezoo.data.location import DataMissing, located
from daezoo.data.splits import Split, mean_of, rows_at_once

KINDS = {"image": r"numpy|no_header_numpy:\d+", "label": "int"}
USUAL = {"compression": None, "encryption": None, "format": None, "item_loader": "PyTreeLoader"}
LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}


def shard_sizes(folder: Path) -> list[int]:
    """Number of samples in each shard of a folder, if litdata may be trusted with it.

    litdata unpickles what the index calls a pickle, imports modules that the index names, and replaces compressed
    shards by decompressed ones. So the index is read here first, as plain JSON.

    Args:
        folder: What litdata.optimize wrote.

    Raises:
        ValueError: If the folder, its index or a shard is missing or damaged, or if an item is anything but an image,
            a numpy array, and optionally a label, an integer.
    """
    file = folder / "index.json"
    if not file.is_file():
        raise ValueError(f"There is no file {file}. Expected a folder that litdata.optimize wrote.")
    try:
        index = json.loads(file.read_text("utf-8"))
        shards = [(shard["filename"], int(shard["chunk_bytes"]), int(shard["chunk_size"])) for shard in index["chunks"]]
        if not all(name == Path(name).name and 1 <= samples <= size for name, size, samples in shards):
            raise ValueError("a shard has another name than a file, or other numbers of samples and bytes than it can")
        config = index["config"]
        formats, tree = config["data_format"], json.loads(config["data_spec"])[1]
        keys = json.loads(tree["context"]) if tree["type"] == "builtins.dict" else []
        items = dict(zip(keys, formats, strict=True)) if keys else formats
        plain = keys in (["image"], ["image", "label"], ["label", "image"])
        plain = plain and tree["children_spec"] == [LEAF] * len(keys)
        plain = plain and all(re.fullmatch(KINDS[key], kind) for key, kind in items.items())
        unusual = [f"{name} {config[name]}" for name, usual in USUAL.items() if config.get(name, usual) != usual]
    except Exception as error:  # json, zip, KeyError, TypeError: a damaged file breaks them all
        raise ValueError(f"{file} is no index that litdata wrote: {error!r}.") from error
    if not plain:
        raise ValueError(
            f"{folder} holds items of {items}. Expected dicts of image, a numpy array, and optionally label, an int; "
            "nothing else is read, and nothing is unpickled."
        )
    if unusual:
        raise ValueError(
            f"{folder} was written with {', '.join(unusual)}. Expected litdata.optimize without compression, "
            "encryption or an item loader of its own."
        )
    for name, size, _ in shards:
        found = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if found < size:
            raise ValueError(f"{folder / name} is missing or truncated: it has {found} bytes, and should have {size}.")
    if not shards:
        raise ValueError(f"{folder} holds no samples.")
    return [samples for _, _, samples in shards]


class Shards(Split):
    """Neighbouring shards of a folder, of which litdata maps the last few that were read.

    Args:
        folder: The folder.
        sizes: Number of samples in each of its shards.
        first: The split's first shard.
        stop: The shard after its last; None for all to the end.
    """

    def __init__(self, folder: Path, sizes: Sequence[int], first: int = 0, stop: int | None = None) -> None:
        self.folder = folder
        self.runs = sizes[first:stop]
        self.first_shard = first
        self.first_row = sum(sizes[:first])
        self.ends = torch.tensor(self.runs).cumsum(0)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "stream"}  # each process maps its own

    @cached_property
    def stream(self) -> Any:
        """What litdata reads the folder with."""
        from litdata import StreamingDataset

        # a Path is always local; by default, litdata decodes up to 256 neighbours with every item
        return StreamingDataset(self.folder, batch_decode=0)

    @cached_property
    def example(self) -> np.ndarray:
        """The first image, as it is; all others must have its shape and type."""
        image: np.ndarray = self._item(0, self.first_shard)["image"]
        if image.dtype not in (np.uint8, np.float16, np.float32, np.float64) or image.ndim > 3 or image.size == 0:
            raise ValueError(
                f"{self.folder}: images have shape {image.shape} and type {image.dtype}. Expected uint8 or floating "
                "point, (H, W), (H, W, C) or (D,)."
            )
        return image

    def _item(self, row: int, shard: int) -> dict[str, Any]:
        from litdata.streaming.sampler import ChunkedIndex

        try:
            # an integer would do, but litdata looks its shard up from the first on
            item: dict[str, Any] = self.stream[ChunkedIndex(self.first_row + row, shard)]
        except Exception as error:  # struct, numpy, mmap: a damaged shard breaks them all
            raise ValueError(f"{self.folder}: row {self.first_row + row} cannot be read: {error}") from error
        return item

    def _checked(self, image: np.ndarray, row: int) -> np.ndarray:
        place = f"{self.folder}: the image in row {self.first_row + row}"
        if image.shape != self.example.shape or image.dtype != self.example.dtype:
            raise ValueError(
                f"{place} has shape {image.shape} and type {image.dtype}, the first has {self.example.shape} and "
                f"{self.example.dtype}. All must be alike."
            )
        # so that NaN is refused too
        if image.dtype != np.uint8 and not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(
                f"{place} has values from {image.min():g} to {image.max():g}. Expected floating point in [0, 1] or "
                "uint8."
            )
        return image

    def __getitems__(self, rows: Tensor) -> Sample:
        dtype = np.uint8 if self.example.dtype == np.uint8 else np.float32
        clean = np.empty((len(rows), *self.example.shape), dtype)
        label = torch.full((len(rows),), -1)
        shards = self.first_shard + torch.searchsorted(self.ends, rows, right=True)
        for place in rows.argsort().tolist():  # shard by shard
            row = int(rows[place])
            item = self._item(row, int(shards[place]))
            clean[place] = self._checked(item["image"], row)
            label[place] = item.get("label", -1)
        images = torch.from_numpy(clean)
        if images.ndim == 4:
            images = images.movedim(3, 1).contiguous()
        return Sample(images.unsqueeze(1) if images.ndim == 3 else images, label, rows)

    def mean(self) -> Tensor:
        """The mean of all samples, a few at a time."""
        chunks = torch.arange(len(self)).split(rows_at_once(self.example.size))
        return mean_of(self.__getitems__(rows).clean for rows in chunks)


class ShardsData(DenoisingDataModule):
    """Shards that litdata.optimize wrote, in subfolders `train`, `test` and optionally `valid`.

    Each item is a dict of `image`, a numpy array, and optionally `label`, an integer. Images are uint8 (divided by 255)
    or floating point in [0, 1], of shape (H, W), (H, W, C) or (D,). Without `valid`, the last shards of `train` are the
    validation split, so write the samples in random order. Shards stay on disk, and training reads a few at a time: it
    shuffles shards, and samples among neighbouring shards. Nothing is unpickled.

    Args:
        path: The folder, on a local disk or a mounted one.
        valid: Share of the training samples that is held out, roughly, in (0, 1); unused with a subfolder `valid`.
        **kwargs: As DenoisingDataModule.

    Raises:
        ValueError: If litdata is not installed, or a folder or shard is not as said.
    """

    def __init__(self, path: str, valid: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < valid < 1:
            raise ValueError(f"valid is a share of the training samples in (0, 1), got {valid}.")
        self.path = path
        self.valid = valid

    @property
    def shape(self) -> list[int]:
        """Shape of one sample, [C, H, W] or [D], read from the first."""
        return list(self.parts["train"][0].clean.shape)

    @cached_property
    def parts(self) -> dict[str, Shards]:
        """The splits, checked as far as can be without reading them."""
        if not importlib.util.find_spec("litdata"):
            raise ValueError("ShardsData needs the package litdata: pip install 'daezoo[streaming]'")
        train, valid, test = (located(self.path) / name for name in ("train", "valid", "test"))
        if not train.parent.is_dir():
            raise DataMissing(f"There is no folder {train.parent}. Pass --data.path DIR; to evaluate, --root DIR.")
        sizes = shard_sizes(train)
        kept = len(sizes) if valid.is_dir() else self._kept(sizes)
        parts = {
            "train": Shards(train, sizes, 0, kept),
            "valid": Shards(valid, shard_sizes(valid)) if valid.is_dir() else Shards(train, sizes, kept),
            "test": Shards(test, shard_sizes(test)),
        }
        looks = {name: (part.example.shape, str(part.example.dtype)) for name, part in parts.items()}
        if len(set(looks.values())) > 1:
            raise ValueError(f"{self.path}: the splits differ in shape or type: {looks}.")
        return parts

    def _kept(self, sizes: Sequence[int]) -> int:
        """How many shards of `train` are left for training."""
        if len(sizes) < 2:
            raise ValueError(
                f"{located(self.path) / 'train'} is a single shard, so none can be held out for validation. Write more "
                "shards (chunk_size or chunk_bytes of litdata.optimize), or a subfolder valid."
            )
        held_out = np.cumsum(sizes[:0:-1])  # by the last shard, the last two, ...
        return len(sizes) - 1 - int(np.abs(held_out - self.valid * sum(sizes)).argmin())

    def load(self) -> dict[str, Split]:
        """The splits."""
        return dict(self.parts)
