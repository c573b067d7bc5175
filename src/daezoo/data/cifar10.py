"""CIFAR-10."""

from typing import Any

from torchvision.datasets import CIFAR10

from daezoo.data.base import DenoisingDataModule, Split
from daezoo.data.torchvision_sets import fetch, read


class CIFAR10Data(DenoisingDataModule):
    """60,000 colour pictures of 32 x 32 pixels: 45,000 / 5,000 / 10,000 for training, validation and test.

    Args:
        root: Folder that holds cifar-10-batches-py; downloaded there if absent. The environment's DAEZOO_DATA, else
            data/, if None.
        **kwargs: As DenoisingDataModule.
    """

    def __init__(self, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = root

    @property
    def shape(self) -> list[int]:
        """[3, 32, 32]."""
        return [3, 32, 32]

    def prepare_data(self) -> None:
        """Download the files unless they are there."""
        fetch(CIFAR10, self.root)

    def load(self) -> dict[str, Split]:
        """The splits; validation is dealt out by split_seed."""
        return read(self, CIFAR10, self.root, 5_000)
