"""Small patches of photographs."""

from typing import Any

import torch
from torch import Tensor

from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.pictures import LEAST_DEVIATION, photographs, random_patches
from daezoo.data.splits import InMemory, Split, check_room
from daezoo.randomness import generator

CUTOFF = 200 / 512
"""f₀ of the filter, in cycles per pixel."""
VARIANCE = 0.1
"""Of a whitened photograph: Olshausen and Field's, whose photographs noise levels in the literature are about."""


def flattened(picture: Tensor) -> Tensor:
    """A photograph with a flat spectrum up to a cutoff: whitened, without the noise that is all there is above it.

    Its Fourier transform is multiplied by f · exp(−(f / f₀)⁴), f in cycles per pixel, f₀ = 200/512; then it is scaled
    to a variance of 0.1 (Olshausen and Field, 1997, "Sparse coding with an overcomplete basis set").

    Args:
        picture: uint8 (1, H, W).

    Returns:
        float32 (1, H, W), of mean 0.

    Raises:
        ValueError: If all its pixels are equal.
    """
    if picture.amin() == picture.amax():
        raise ValueError("A photograph is of one grey all over, so it cannot be whitened. Take it out.")
    height, width = picture.shape[1:]
    f = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    spectrum = torch.fft.rfft2(picture.float()) * f * torch.exp(-((f / CUTOFF) ** 4))
    found = torch.fft.irfft2(spectrum, s=(height, width))
    return found * (VARIANCE**0.5 / found.std())


class PatchesData(DenoisingDataModule):
    """Grey patches at random places of photographs, in which filters become visible.

    All splits are cut from the same photographs, at places of their own that may overlap. There are no labels.

    Args:
        side: Of a patch, in pixels.
        photographs: Folder of the photographs; $DAEZOO_DATA in it is the folder that this variable names. Those that
            ship with scikit-learn and scikit-image if None.
        train: Training patches.
        valid: Validation patches.
        test: Test patches.
        whiten: Whiten the photographs, as `flattened` does, which is not the whitening of other data sets: values then
            have a mean of 0 and a variance of 0.1 over a photograph, and no bounds. If false, patches that are
            nearly empty are left out.
        **kwargs: As DenoisingDataModule.

    Raises:
        ValueError: If a number is too small, or a photograph cannot be used.
    """

    def __init__(
        self,
        side: int = 12,
        photographs: str | None = None,
        train: int = 50_000,
        valid: int = 5_000,
        test: int = 5_000,
        whiten: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(whiten=whiten, **kwargs)
        if side < 2 or min(train, valid, test) < 1:
            raise ValueError(
                "A patch needs a side of 2 pixels or more, and every split a patch or more, got a side of "
                f"{side} and {train}, {valid} and {test} patches."
            )
        self.side = side
        self.photographs = photographs
        self.sizes = dict(zip(SPLITS, (train, valid, test), strict=True))

    @property
    def shape(self) -> list[int]:
        """[1, side, side]."""
        return [1, self.side, self.side]

    def load(self) -> dict[str, Split]:
        """The splits, each cut by (split_seed, its name)."""
        check_room(sum(self.sizes.values()), *self.shape)
        pictures, least = photographs(self.photographs, self.side), LEAST_DEVIATION
        if self.whiten:
            pictures, least = [flattened(picture) for picture in pictures], 0.0
        return {
            name: InMemory(
                random_patches(pictures, size, self.side, generator(self.split_seed, "patches", name), least)
            )
            for name, size in self.sizes.items()
        }

    def whitened(self, splits: dict[str, Split]) -> dict[str, Split]:
        """The same: the photographs are whitened before they are cut."""
        return splits
