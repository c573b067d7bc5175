"""A folder of pictures: random crops for training, fixed crops for validation and test."""

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from PIL import Image, ImageOps
from torch import Tensor

from daezoo.batch import Sample
from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.location import DataMissing, located
from daezoo.data.splits import InMemory, Split

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


class Crops(Split):
    """All crops of some pictures; row numbers count the places a crop can have.

    Args:
        pictures: uint8, each (C, H, W).
        size: Side of a crop.
        epoch_size: Crops drawn per epoch.
    """

    def __init__(self, pictures: Sequence[Tensor], size: int, epoch_size: int) -> None:
        self.size = size
        self.epoch_size = epoch_size
        # all pixels in one row, (C, pixels), so that crops of differently sized pictures are one gather
        self.pixels = torch.cat([picture.flatten(1) for picture in pictures], 1)
        heights, widths = torch.tensor([picture.shape[1:] for picture in pictures]).unbind(1)
        self.widths = widths
        self.columns = widths - size + 1
        self.first_crop = torch.cat([torch.zeros(1, dtype=torch.long), ((heights - size + 1) * self.columns).cumsum(0)])
        self.first_pixel = torch.cat([torch.zeros(1, dtype=torch.long), (heights * widths).cumsum(0)])

    def __len__(self) -> int:
        return int(self.first_crop[-1])

    def __getitems__(self, rows: Tensor) -> Sample:
        picture = torch.searchsorted(self.first_crop, rows, right=True) - 1
        place = rows - self.first_crop[picture]
        top, left = place // self.columns[picture], place % self.columns[picture]
        side = torch.arange(self.size, device=rows.device)
        y, x = top[:, None] + side, left[:, None] + side
        pixel = self.first_pixel[picture, None, None] + y[:, :, None] * self.widths[picture, None, None] + x[:, None, :]
        return Sample(self.pixels[:, pixel].transpose(0, 1).contiguous(), torch.full_like(rows, -1), rows)

    @property
    def nbytes(self) -> int:
        """Bytes of the pictures."""
        return self.pixels.nbytes

    def on(self, device: torch.device) -> "Crops":
        """The same split with its pictures on a device; rows are then given there too."""
        moved = copy(self)
        for name in ("pixels", "widths", "columns", "first_crop", "first_pixel"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved

    def mean(self) -> Tensor:
        """The mean colour, at every pixel."""
        color = self.pixels.sum(1, dtype=torch.float64).float() / self.pixels.shape[1] / 255
        return color[:, None, None].expand(-1, self.size, self.size)


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
        if not folder.is_dir():
            raise DataMissing(f"There is no folder {folder}. Pass --data.root DIR; to evaluate, --root DIR.")
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(f"The folder {folder} has no pictures ({', '.join(sorted(SUFFIXES))}).")
        return [self._picture(file) for file in files]

    def _picture(self, file: Path) -> Tensor:
        try:
            with Image.open(file) as opened:
                image: Image.Image = ImageOps.exif_transpose(opened)
                if image.mode == "F" or (image.mode == "I" and np.asarray(image).max() > 65535):
                    raise ValueError("its values have 32 bits, whose range is not known; save it with 8 or 16")
                if image.mode.startswith("I"):  # 16 bits, which convert would clip
                    image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
                pixels = np.array(image.convert("RGB" if self.color else "L"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{file} is broken or no picture: {error}. Repair it, or take it out.") from error
        if min(pixels.shape[:2]) < self.crop:
            raise ValueError(f"{file} is {pixels.shape[1]}x{pixels.shape[0]}, smaller than a crop of {self.crop}.")
        tensor = torch.from_numpy(pixels)
        return tensor.permute(2, 0, 1) if self.color else tensor.unsqueeze(0)

    def _bands(self, picture: Tensor) -> tuple[Tensor, ...]:
        width = picture.shape[2]
        held_out = int(0.15 * width)
        if held_out < self.crop:
            raise ValueError(
                f"{self.folder} has fewer than ten pictures, so each is cut into bands of 70, 15 and 15 % of its "
                f"width; 15 % of {width} pixels is less than a crop of {self.crop}. Use a smaller --data.crop."
            )
        return picture.split([width - 2 * held_out, held_out, held_out], 2)

    def load(self) -> dict[str, Split]:
        """The splits."""
        if all((self.folder / name).is_dir() for name in SPLITS):
            parts = [self._read(self.folder / name) for name in SPLITS]
        else:
            pictures = self._read(self.folder)
            if len(pictures) < 10:
                parts = [list(part) for part in zip(*map(self._bands, pictures), strict=True)]
            else:
                held_out = len(pictures) // 10
                rows = self.random_split(len(pictures), held_out, held_out)
                parts = [[pictures[row] for row in part.tolist()] for part in rows]
        splits: dict[str, Split] = {"train": Crops(parts[0], self.crop, self.crops_per_epoch)}
        return splits | {name: InMemory(self._grid(part)) for name, part in zip(SPLITS[1:], parts[1:], strict=True)}

    def _grid(self, pictures: Sequence[Tensor]) -> Tensor:
        """All crops of a grid without overlap, (N, C, crop, crop)."""
        tiles = [picture.unfold(1, self.crop, self.crop).unfold(2, self.crop, self.crop) for picture in pictures]
        return torch.cat([tile.flatten(1, 2).transpose(0, 1) for tile in tiles]).contiguous()
