"""The variations of MNIST of Larochelle et al. (2007), generated."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchvision.datasets import MNIST

from daezoo.data._variations import variation
from daezoo.data.base import SPLITS
from daezoo.data.generated import Labelled, generated
from daezoo.data.pictures import photographs, random_patches
from daezoo.data.splits import Split, digest
from daezoo.data.torchvision_sets import TorchvisionData
from daezoo.randomness import generator

Kind = Literal["basic", "rot", "bg-rand", "bg-img", "rot-bg-img"]
VERSION = 1
"""Of the generator: another one is other data."""


class MNISTVariationsData(TorchvisionData):
    """MNIST made harder: 10,000 / 2,000 / 50,000 digits of 28 x 28 pixels for training, validation and test.

    basic: as they are; rot: each turned by a uniform angle; bg-rand: on pixels of uniform noise; bg-img: on patches of
    photographs; rot-bg-img: turned, on patches. The digits are drawn from all 70,000 of MNIST, the same for every kind,
    no digit twice.

    Made anew as Larochelle et al. (2007) describe them; the original files are not available, and the photographs are
    others, so on bg-img and rot-bg-img only the ordering of methods can be compared with published numbers. What was
    made is kept in DAEZOO_CACHE.

    Args:
        kind: Which problem.
        photographs: Folder of the photographs for bg-img and rot-bg-img; $DAEZOO_DATA in it is the folder that this
            variable names. Those that ship with scikit-learn and scikit-image if None.
        train: Training images.
        valid: Validation images.
        test: Test images.
        **kwargs: As TorchvisionData: `root` is where MNIST is.

    Raises:
        DataMissing: If MNIST or the photographs are not there.
        ValueError: If there are not so many digits, or a photograph cannot be used.
    """

    source = MNIST
    image_shape = (1, 28, 28)

    def __init__(
        self,
        kind: Kind = "rot",
        photographs: str | None = None,
        train: int = 10_000,
        valid: int = 2_000,
        test: int = 50_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(train=train, valid=valid, **kwargs)
        if self.binarise is not None:
            raise ValueError("binarise is for MNIST as it is: pass --data mnist.")
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}.")
        if min(train, valid, test) < 1 or train + valid + test > 70_000:
            raise ValueError(
                "Every split needs an image or more, and all together no more than the 70,000 of MNIST, got "
                f"{train}, {valid} and {test}."
            )
        self.kind = kind
        self.photographs = photographs
        self.sizes = (train, valid, test)

    def load(self) -> dict[str, Split]:
        """The splits, each made from (split_seed, kind, its name)."""
        (images, labels), (more_images, more_labels) = self.read()
        images, labels = torch.cat([images, more_images]), torch.cat([labels, more_labels])
        if sum(self.sizes) > len(images):
            raise ValueError(f"{sum(self.sizes):,} images are wanted, but MNIST in {self.folder} has {len(images):,}.")
        order = torch.randperm(len(images), generator=generator(self.split_seed, "variations"))
        rows = dict(zip(SPLITS, order[: sum(self.sizes)].split(list(self.sizes)), strict=True))
        pictures = photographs(self.photographs, 28) if self.kind.endswith("bg-img") else []

        def backgrounds(count: int, draw: torch.Generator) -> Tensor:
            return random_patches(pictures, count, 28, draw)

        def make(split: str) -> Labelled:
            draw = generator(self.split_seed, "variations", self.kind, split)
            return variation(self.kind, images[rows[split]], draw, backgrounds), labels[rows[split]]

        key = (VERSION, self.kind, self.sizes, self.split_seed, digest([images, labels, *pictures]))
        return generated(f"mnist-{self.kind}", key, make)
