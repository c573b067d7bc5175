"""Pictures that were taken twice: noisy and clean."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from daezoo.augmentation import Crop, Flip, Turn
from daezoo.batch import Sample
from daezoo.corruption import Recorded
from daezoo.data.images import ImagesData
from daezoo.data.location import located
from daezoo.data.pictures import pictures_of
from daezoo.data.splits import Split

SPATIAL = (Crop, Flip, Turn)
"""Augmentations that only move what is there."""


class Paired(Split):
    """A split of images that hold the clean and the noisy one in their channels, taken apart.

    Args:
        both: The split of (2 C, H, W).
    """

    def __init__(self, both: Split) -> None:
        self.both, self.epoch_size = both, both.epoch_size

    def __len__(self) -> int:
        return len(self.both)

    def __getitems__(self, rows: Tensor) -> Sample:
        sample = self.both.__getitems__(rows)
        clean, noisy = sample.clean.chunk(2, 1)
        return sample._replace(clean=clean, noisy=noisy)

    @property
    def nbytes(self) -> int | None:
        """Bytes of both."""
        return self.both.nbytes

    def on(self, device: torch.device) -> "Paired":
        """The same split with its samples on a device."""
        return Paired(self.both.on(device))

    def mean(self) -> Tensor:
        """The mean of the clean ones."""
        return self.both.mean().chunk(2)[0]


class PairsData(ImagesData):
    """Pictures and what a camera made of them, from two folders with equal names in them: real noise.

    Cut and dealt out as `ImagesData` does it, the noisy picture at the same places as the clean one. Their noise has no
    level that is known: it counts as 0.

    Args:
        root: Folder of the clean pictures, searched with its subfolders; $DAEZOO_DATA in it is the folder that this
            variable names.
        noisy: Likewise of the noisy ones.
        **kwargs: As ImagesData; the corruption is Recorded, and nothing else.

    Raises:
        DataMissing: If there is no such folder.
        ValueError: If a picture is lacking in one of the folders, is broken, or two that belong together differ in
            size; or for another corruption, whitening, or an augmentation that would change the noise.
    """

    def __init__(self, root: str, noisy: str, **kwargs: Any) -> None:
        kwargs["corruption"] = kwargs.get("corruption") or Recorded()
        super().__init__(root=root, **kwargs)
        self.noisy = noisy
        for given in (self.corruption, self.evaluation_corruption):
            if not isinstance(given, Recorded):
                raise ValueError(f"Pairs bring their noise along, got {given}. Pass --data.corruption Recorded.")
        strange = [change for change in self.augmentation if not isinstance(change, SPATIAL)]
        if self.whiten or strange:
            raise ValueError(
                f"Pairs can be neither whitened nor changed by {strange[0] if strange else 'anything'} but "
                f"{', '.join(kind.__name__ for kind in SPATIAL)}, which move both alike: leave it out."
            )

    def _read(self, folder: Path) -> list[Tensor]:
        other = located(self.noisy) / folder.relative_to(self.folder)
        if folder.resolve() == other.resolve():
            raise ValueError(f"The clean and the noisy pictures are both in {folder}. Pass --data.noisy DIR.")
        clean = pictures_of(folder, self.color, self.crop)
        noisy = pictures_of(other, self.color, self.crop, "noisy")
        if clean.keys() != noisy.keys():
            alone = sorted(clean.keys() ^ noisy.keys())
            where = folder if alone[0] in clean else other
            raise ValueError(
                f"The folders {folder} and {other} must hold pictures of the same names: {alone[0]} is in {where} alone"
                f"{f', and {len(alone) - 1} more are in one alone' * (len(alone) > 1)}."
            )
        for name, picture in clean.items():
            if picture.shape != noisy[name].shape:
                sizes = [f"{one.shape[2]}x{one.shape[1]}" for one in (picture, noisy[name])]
                raise ValueError(f"{name} is {sizes[0]} in {folder} and {sizes[1]} in {other}: sizes must be equal.")
        return [torch.cat([picture, noisy[name]]) for name, picture in clean.items()]

    def load(self) -> dict[str, Split]:
        """The splits."""
        return {name: Paired(split) for name, split in super().load().items()}
