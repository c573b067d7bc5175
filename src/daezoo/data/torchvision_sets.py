"""Data sets that torchvision downloads and reads, in one shape."""

import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from daezoo.augmentation import Binarise
from daezoo.data.base import DenoisingDataModule
from daezoo.data.location import DataMissing, data_root, located
from daezoo.data.splits import InMemory, Split
from daezoo.randomness import generator


class TorchvisionData(DenoisingDataModule):
    """A torchvision data set, kept as uint8.

    Training images, dealt out by split_seed, become the validation split. A subclass names its source and the shape of
    an image.

    Args:
        root: Folder that torchvision reads; the set is downloaded there if absent. The environment's DAEZOO_DATA, else
            data/, if None.
        valid: Images of the validation split, >= 1.
        train: Images of the training split, >= 1; all that are left if None.
        binarise: Make pixels 0 or 1, as a Bernoulli likelihood wants them: fixed draws each once, with its brightness
            as probability, keyed by split_seed; stochastic does so for validation and test, and draws training images
            anew in every step, so judge features with fixed; threshold makes 1 of what is above a half. Grey if None.
        **kwargs: As DenoisingDataModule.

    Raises:
        DataMissing: If the set is neither there nor to be had.
        ValueError: If it cannot be read, or has fewer images than are wanted.
    """

    source: ClassVar[Any]
    image_shape: ClassVar[tuple[int, int, int]]

    def __init__(
        self,
        root: str | None = None,
        valid: int = 5_000,
        train: int | None = None,
        binarise: Literal["fixed", "stochastic", "threshold"] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if binarise not in (None, "fixed", "stochastic", "threshold"):
            raise ValueError(f"binarise must be fixed, stochastic, threshold or nothing, got {binarise!r}.")
        self.binarise = binarise
        if binarise == "stochastic":
            self.augmentation.append(Binarise())
        self.root = root
        self.valid = valid
        self.train = train

    @property
    def shape(self) -> list[int]:
        """Shape of one image, [C, H, W]."""
        return list(self.image_shape)

    @property
    def folder(self) -> Path:
        """Where the set is looked for: `root`, else the environment's DAEZOO_DATA, else data/."""
        return located(self.root) if self.root else data_root()

    def prepare_data(self) -> None:
        """Download the files unless they are there."""
        try:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
                dataset = object.__new__(self.source)  # its constructor would also read, and blame the download
                dataset.root = str(self.folder)
                dataset.download()
        except (RuntimeError, OSError) as error:
            name = self.source.__name__
            held = getattr(self.source, "base_folder", f"{name}/raw")
            raise DataMissing(
                f"{name} is not in {self.folder.resolve()}, and downloading it failed ({error}). Set DAEZOO_DATA, or "
                f"pass --data.root, to the folder that torchvision's {name} reads (the one that holds {held}), or put "
                "the files there."
            ) from error

    def load(self) -> dict[str, Split]:
        """The splits."""
        (images, labels), test = self.read()
        left = len(images) - self.valid
        train = left if self.train is None else self.train
        if self.valid < 1 or not 1 <= train <= left:
            raise ValueError(
                f"There are {len(images):,} images for training and validation together, and each needs one or more; "
                f"got train={self.train} and valid={self.valid}."
            )
        kept, held_out = self.random_split(len(images), self.valid)
        drawn = self.binarised(images, "train")
        return {
            "train": InMemory(images if self.binarise == "stochastic" else drawn, labels, kept[:train]),
            "valid": InMemory(drawn, labels, held_out),
            "test": InMemory(self.binarised(test[0], "test"), test[1]),
        }

    def binarised(self, images: Tensor, part: str) -> Tensor:
        """Images, uint8, as `binarise` wants them; `part` names the file they are from."""
        if self.binarise is None:
            return images
        draw = generator(self.split_seed, "binarise", part)
        limits = (
            127 if self.binarise == "threshold" else torch.randint(255, images.shape, generator=draw, dtype=torch.uint8)
        )
        return 255 * (images > limits).to(torch.uint8)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Images and labels for training, and those for test."""
        try:
            return self._tensors(True), self._tensors(False)
        except Exception as error:  # torchvision checks little, so damage shows in many ways
            raise ValueError(
                f"{self.source.__name__} in {self.folder.resolve()} cannot be read ({error}). Delete its folder "
                "there to have it downloaded again."
            ) from error

    def _tensors(self, train: bool) -> tuple[Tensor, Tensor]:
        part = self.source(self.folder, train=train)
        images = torch.as_tensor(part.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        labels = torch.as_tensor(part.targets)
        if images.shape[1:] != self.image_shape:
            raise ValueError(f"its images have shape {tuple(images.shape[1:])}, expected {self.image_shape}")
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images and {len(labels)} labels for {'training' if train else 'test'}")
        return images, labels
