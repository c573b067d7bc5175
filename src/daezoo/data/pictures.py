"""Pictures from folders, the photographs that ship with dependencies, and crops of them."""

from collections.abc import Mapping, Sequence
from copy import copy
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from daezoo.batch import Sample
from daezoo.data.location import DataMissing, located
from daezoo.data.splits import Split, digest
from daezoo.files import files_in
from daezoo.photographs import samples_of

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
PHOTOGRAPHS = {
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
    "skimage.data": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "motorcycle_left.png",
        "rocket.jpg",
    ),
}
"""The photographs inside the packages scikit-learn and scikit-image that patches are cut from."""
COLORED: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "skimage.data": (
            "astronaut.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "motorcycle_left.png",
            "motorcycle_right.png",
            "retina.jpg",
            "rocket.jpg",
        ),
    },
    "valid": {"sklearn.datasets.images": ("flower.jpg",)},
    "test": {"skimage.data": ("chelsea.png", "coffee.png"), "sklearn.datasets.images": ("china.jpg",)},
}
"""The photographs inside them that have colours, by split."""
HINTS = {
    "root": "Pass --data.root DIR; to evaluate, --root DIR.",
    "noisy": "Pass --data.noisy DIR.",
    "photographs": "Pass --data.photographs DIR, or leave it out for the photographs that ship with dependencies.",
}
LEAST_DEVIATION = 20.0
"""Standard deviation, of values in 0..255, below which a patch counts as empty: sky, or out of focus."""
DRAWN = 8192
"""Patches drawn at a time: another number is other data."""


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

    def fingerprint(self) -> str:
        """Of all pictures."""
        return digest([self.pixels, self.widths, self.first_pixel])

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


def read_picture(file: Path, color: bool, least: int) -> Tensor:
    """One picture, uint8 (3, H, W) or, grey, (1, H, W), turned as its EXIF data says.

    Args:
        file: Of a suffix of SUFFIXES.
        color: Three channels instead of one.
        least: Its sides have to be so long, in pixels.

    Raises:
        ValueError: If it is broken, too small, or of values whose range is not known.
    """
    try:
        values = samples_of(file).values
    except ValueError as error:
        raise ValueError(f"{error}. Repair it, or take it out.") from error
    if values.itemsize > 1:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    colors = values[:, :, : 1 if values.shape[2] < 3 else 3]
    pixels = np.array(
        Image.fromarray(colors.squeeze(2) if colors.shape[2] == 1 else colors).convert("RGB" if color else "L")
    )
    if min(pixels.shape[:2]) < least:
        raise ValueError(f"{file} is {pixels.shape[1]}x{pixels.shape[0]}, smaller than a crop of {least}.")
    tensor = torch.from_numpy(pixels)
    return tensor.permute(2, 0, 1) if color else tensor.unsqueeze(0)


def read_pictures(folder: Path, color: bool, least: int, option: str = "root") -> list[Tensor]:
    """The pictures of `pictures_of`, without their names."""
    return list(pictures_of(folder, color, least, option).values())


def pictures_of(folder: Path, color: bool, least: int, option: str = "root") -> dict[str, Tensor]:
    """All pictures of a folder and its subfolders by path in it, in the order of paths, as `read_picture` reads them.

    Args:
        folder: Where.
        color: As for `read_picture`.
        least: Likewise.
        option: Of the data module, that names the folder.

    Raises:
        DataMissing: If there is no such folder.
        ValueError: If it has no pictures, or one cannot be read.
    """
    if not folder.is_dir():
        raise DataMissing(f"There is no folder {folder}. {HINTS[option]}")
    found = [file for file in files_in(folder) if file.suffix.lower() in SUFFIXES]
    if not found:
        raise ValueError(f"The folder {folder} has no pictures ({', '.join(sorted(SUFFIXES))}).")
    return {file.relative_to(folder).as_posix(): read_picture(file, color, least) for file in found}


def photographs(root: str | None, least: int) -> list[Tensor]:
    """Grey photographs, uint8 (1, H, W): those of a folder, or the shipped ones of PHOTOGRAPHS if None."""
    if root is not None:
        return read_pictures(located(root), False, least, "photographs")
    return [read_picture(file, False, least) for file in shipped(PHOTOGRAPHS).values()]


def shipped(names: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """Files inside packages, by name."""
    return {name: Path(str(files(package) / name)) for package, within in names.items() for name in within}


def colored(split: str) -> dict[str, Path]:
    """The files of the photographs of COLORED in a split, by name."""
    return shipped(COLORED[split])


def random_patches(
    pictures: Sequence[Tensor], count: int, side: int, generator: torch.Generator, least: float = LEAST_DEVIATION
) -> Tensor:
    """Patches at random places of random pictures, of those that are not empty: (count, C, side, side).

    Args:
        pictures: Each (C, H, W), uint8 or floating point; all are equally likely.
        count: How many patches.
        side: Of a patch.
        generator: CPU generator, the only source of randomness.
        least: Standard deviation of the values of a patch that is not empty.

    Raises:
        ValueError: If hardly any patch of the pictures has that standard deviation.
    """
    crops = Crops(pictures, side, count)
    first, sizes = crops.first_crop[:-1], crops.first_crop.diff()
    kept: list[Tensor] = []
    found = tried = 0
    while found < count:
        draws = torch.rand(2, DRAWN, generator=generator, dtype=torch.float64)
        picture = (draws[0] * len(pictures)).long()
        drawn = crops.__getitems__(first[picture] + (draws[1] * sizes[picture]).long()).clean
        kept.append(drawn[drawn.flatten(1).float().std(1) >= least])
        found, tried = found + len(kept[-1]), tried + len(drawn)
        if tried >= 100_000 and found < 0.01 * tried:
            raise ValueError(
                f"The photographs have next to no patches of {side} x {side} pixels with a standard deviation of "
                f"{least:g} or more. Use photographs with more texture."
            )
    return torch.cat(kept)[:count]
