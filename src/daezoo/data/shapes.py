"""The shape problems of Larochelle et al. (2007), generated."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import torch

from daezoo.data._shapes import convex_sets, rectangles, rectangles_on_patches
from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.generated import Labelled, generated
from daezoo.data.pictures import photographs, random_patches
from daezoo.data.splits import Split, check_room, digest
from daezoo.randomness import generator

Kind = Literal["rectangles", "rectangles-images", "convex"]
VERSION = 1
"""Of the generators: another one is other data."""


class ShapesData(DenoisingDataModule):
    """Shapes of 28 x 28 pixels: rectangles, tall or wide, or sets, convex or not.

    rectangles: white outlines on black; rectangles-images: a patch of a photograph on another patch; convex: white sets
    on black. Generated anew as Larochelle et al. (2007) describe them; the original files are others, so published
    numbers can be compared with care, and those on other photographs by the ordering of methods alone. What was made is
    kept in DAEZOO_CACHE.

    Args:
        kind: Which problem.
        train: Training images.
        valid: Validation images.
        test: Test images.
        photographs: Folder of the photographs for rectangles-images; $DAEZOO_DATA in it is the folder that this
            variable names. Those that ship with scikit-learn and scikit-image if None.
        **kwargs: As DenoisingDataModule.

    Raises:
        ValueError: If a split has no image, or a photograph cannot be used.
    """

    def __init__(
        self,
        kind: Kind = "convex",
        train: int = 6_000,
        valid: int = 2_000,
        test: int = 10_000,
        photographs: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}.")
        if min(train, valid, test) < 1:
            raise ValueError(f"Every split needs an image or more, got {train}, {valid} and {test}.")
        self.kind = kind
        self.photographs = photographs
        self.sizes = dict(zip(SPLITS, (train, valid, test), strict=True))

    @property
    def shape(self) -> list[int]:
        """[1, 28, 28]."""
        return [1, 28, 28]

    def load(self) -> dict[str, Split]:
        """The splits, each generated from (split_seed, its name)."""
        check_room(sum(self.sizes.values()), *self.shape)
        pictures = photographs(self.photographs, 28) if self.kind == "rectangles-images" else []
        generators: dict[str, Callable[[int, torch.Generator], Labelled]] = {
            "rectangles": rectangles,
            "rectangles-images": partial(rectangles_on_patches, patches=partial(random_patches, pictures)),
            "convex": convex_sets,
        }

        def make(split: str) -> Labelled:
            return generators[self.kind](self.sizes[split], generator(self.split_seed, "shapes", self.kind, split))

        key = (VERSION, self.kind, self.sizes, self.split_seed, digest(pictures))
        return generated(self.kind, key, make)
