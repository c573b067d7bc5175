"""Scikit-learn's handwritten digits: real data that ships with a dependency."""

import torch
from sklearn.datasets import load_digits

from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.splits import InMemory, Split


class DigitsData(DenoisingDataModule):
    """1,797 handwritten digits of 8 x 8 pixels, divided by 16: 1,257 / 180 / 360 for training, validation and test."""

    @property
    def shape(self) -> list[int]:
        """[1, 8, 8]."""
        return [1, 8, 8]

    def load(self) -> dict[str, Split]:
        """The splits, dealt out by split_seed."""
        digits = load_digits()
        images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
        labels = torch.from_numpy(digits.target)
        parts = self.random_split(len(images), 180, 360)
        return {name: InMemory(images[rows], labels[rows]) for name, rows in zip(SPLITS, parts, strict=True)}
