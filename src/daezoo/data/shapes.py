"""The shape problems of Larochelle et al. (2007), generated."""

from typing import Any, Literal

from daezoo.data._shapes import convex_sets, rectangles
from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.splits import InMemory, Split
from daezoo.randomness import generator

GENERATORS = {"rectangles": rectangles, "convex": convex_sets}


class ShapesData(DenoisingDataModule):
    """White shapes on black, 28 x 28 pixels: outlines of rectangles (tall or wide), or sets (convex or not).

    Generated anew as Larochelle et al. (2007) describe them; the original files are others, so only the
    ordering of methods can be compared with published numbers.

    Args:
        kind: Which problem.
        train: Training images.
        valid: Validation images.
        test: Test images.
        **kwargs: As DenoisingDataModule.
    """

    def __init__(
        self,
        kind: Literal["rectangles", "convex"] = "convex",
        train: int = 6_000,
        valid: int = 2_000,
        test: int = 10_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if min(train, valid, test) < 1:
            raise ValueError(f"Every split needs an image or more, got {train}, {valid} and {test}.")
        self.kind = kind
        self.sizes = (train, valid, test)

    @property
    def shape(self) -> list[int]:
        """[1, 28, 28]."""
        return [1, 28, 28]

    def load(self) -> dict[str, Split]:
        """The splits, each generated from (split_seed, its name)."""
        make = GENERATORS[self.kind]
        return {
            name: InMemory(*make(size, generator(self.split_seed, "shapes", self.kind, name)))
            for name, size in zip(SPLITS, self.sizes, strict=True)
        }
