"""A folder of pictures: random crops for training, fixed crops for validation and test."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import sklearn.datasets
import torch
from torch import Tensor

from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.location import located
from daezoo.data.pictures import Crops, colored, pictures_of, read_picture, read_pictures
from daezoo.data.splits import InMemory, Split, check_room


class ImagesData(DenoisingDataModule):
    """Pictures from a folder, all formats that Pillow reads, held in memory as uint8.

    Training draws `crops_per_epoch` random crops; validation and test see all crops of a fixed grid. With subfolders
    train, valid and test these are the splits. Otherwise ten pictures or more are dealt out, 80 / 10 / 10 %, by
    split_seed; fewer are each cut from left to right into 70 / 15 / 15 %, so that the splits share no pixel.

    Args:
        root: The folder, searched with its subfolders; $DAEZOO_DATA in it is the folder that this variable names, else
            data/. The two photographs that ship with scikit-learn if None.
        crop: Side of a crop in pixels.
        crops_per_epoch: Random crops in a training epoch.
        color: Three channels; one, grey, if false.
        **kwargs: As DenoisingDataModule.

    Raises:
        DataMissing: If there is no such folder.
        ValueError: If the folder has no pictures, one is broken, or one is smaller than a crop.
    """

    def __init__(
        self, root: str | None = None, crop: int = 32, crops_per_epoch: int = 8192, color: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if min(crop, crops_per_epoch) < 1:
            raise ValueError(f"crop and crops_per_epoch must be at least 1, got {crop} and {crops_per_epoch}.")
        if root == "":
            raise ValueError("data.root is empty: pass a folder, or leave it out.")
        self.root = root
        self.crop = crop
        self.crops_per_epoch = crops_per_epoch
        self.color = color

    @property
    def shape(self) -> list[int]:
        """[C, crop, crop]."""
        return [3 if self.color else 1, self.crop, self.crop]

    @cached_property
    def folder(self) -> Path:
        """Where the pictures are."""
        return located(self.root) if self.root else Path(sklearn.datasets.__file__).parent / "images"

    def _read(self, folder: Path) -> list[Tensor]:
        return read_pictures(folder, self.color, self.crop)

    def _bands(self, picture: Tensor) -> tuple[Tensor, ...]:
        width = picture.shape[2]
        held_out = int(0.15 * width)
        if held_out < self.crop:
            raise ValueError(
                f"{self.folder} has fewer than ten pictures, so each is cut into bands of 70, 15 and 15 % of its "
                f"width; 15 % of {width} pixels is less than a crop of {self.crop}. Use a smaller --data.crop."
            )
        return picture.split([width - 2 * held_out, held_out, held_out], 2)

    def _parts(self) -> list[list[Tensor]]:
        """The pictures of each split, or the parts of pictures."""
        if all((self.folder / name).is_dir() for name in SPLITS):
            return [self._read(self.folder / name) for name in SPLITS]
        pictures = self._read(self.folder)
        if len(pictures) < 10:
            return [list(part) for part in zip(*map(self._bands, pictures), strict=True)]
        held_out = len(pictures) // 10
        rows = self.random_split(len(pictures), held_out, held_out)
        return [[pictures[row] for row in part.tolist()] for part in rows]

    def whole(self, color: bool) -> dict[str, Tensor]:
        """All pictures by name, uint8 (C, H, W), of any size: what a protocol of whole pictures judges.

        Args:
            color: Three channels; one if false.

        Raises:
            DataMissing: If there is no folder.
            ValueError: If no folder was given, it has no pictures, or one is broken.
        """
        if self.root is None:
            raise ValueError("Which pictures? Pass --data images --data.root DIR, or --data photographs.")
        return pictures_of(self.folder, color, 1)

    def load(self) -> dict[str, Split]:
        """The splits."""
        check_room(self.crops_per_epoch, 8)  # of the order in which they are drawn
        parts = self._parts()
        splits: dict[str, Split] = {"train": Crops(parts[0], self.crop, self.crops_per_epoch)}
        return splits | {name: InMemory(self._grid(part)) for name, part in zip(SPLITS[1:], parts[1:], strict=True)}

    def _grid(self, pictures: Sequence[Tensor]) -> Tensor:
        """All crops of a grid without overlap, (N, C, crop, crop)."""
        tiles = [picture.unfold(1, self.crop, self.crop).unfold(2, self.crop, self.crop) for picture in pictures]
        return torch.cat([tile.flatten(1, 2).transpose(0, 1) for tile in tiles]).contiguous()


class PhotographsData(ImagesData):
    """The photographs that ship with scikit-learn and scikit-image, cut as `ImagesData` cuts pictures.

    Training sees those of COLORED that are named first, validation a flower, and test three photographs.

    Args:
        root: None.
        crop: Side of a crop in pixels.
        crops_per_epoch: Random crops in a training epoch.
        color: Three channels; one, grey, if false.
        **kwargs: As DenoisingDataModule.

    Raises:
        ValueError: If a folder is given, or a crop is larger than a photograph.
    """

    def _parts(self) -> list[list[Tensor]]:
        if self.root is not None:
            raise ValueError(f"--data photographs has its own, got root={self.root}. For a folder: --data images.")
        return [[read_picture(file, self.color, self.crop) for file in colored(split).values()] for split in SPLITS]

    def whole(self, color: bool) -> dict[str, Tensor]:
        """The test photographs by name, uint8 (C, H, W)."""
        return {name: read_picture(file, color, 1) for name, file in colored("test").items()}
