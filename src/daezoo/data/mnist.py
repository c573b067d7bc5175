"""MNIST and Fashion-MNIST."""

from typing import Any

from torchvision.datasets import MNIST, FashionMNIST

from daezoo.data.base import DenoisingDataModule, Split
from daezoo.data.torchvision_sets import fetch, read


class MNISTData(DenoisingDataModule):
    """70,000 handwritten digits of 28 x 28 pixels: 55,000 / 5,000 / 10,000 for training, validation and test.

    Args:
        root: Folder that holds MNIST/raw; downloaded there if absent. The environment's DAEZOO_DATA, else data/,
            if None.
        **kwargs: As DenoisingDataModule.
    """

    def __init__(self, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    @property
    def shape(self) -> list[int]:
        """[1, 28, 28]."""
        return [1, 28, 28]

    def prepare_data(self) -> None:
        """Download the files unless they are there."""
        fetch(MNIST, self.root)

    def load(self) -> dict[str, Split]:
        """The splits; validation is dealt out by split_seed."""
        return read(self, MNIST, self.root, 5_000)


class FashionMNISTData(DenoisingDataModule):
    """70,000 pictures of clothing, 28 x 28 pixels: 55,000 / 5,000 / 10,000 for training, validation and test.

    Args:
        root: Folder that holds FashionMNIST/raw; downloaded there if absent. The environment's DAEZOO_DATA, else data/,
            if None.
        **kwargs: As DenoisingDataModule.
    """

    def __init__(self, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    @property
    def shape(self) -> list[int]:
        """[1, 28, 28]."""
        return [1, 28, 28]

    def prepare_data(self) -> None:
        """Download the files unless they are there."""
        fetch(FashionMNIST, self.root)

    def load(self) -> dict[str, Split]:
        """The splits; validation is dealt out by split_seed."""
        return read(self, FashionMNIST, self.root, 5_000)
