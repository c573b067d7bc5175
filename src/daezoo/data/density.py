"""Points of a density of which everything is known."""

from typing import Any, Literal, get_args

from daezoo import densities
from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.splits import InMemory, Split
from daezoo.randomness import generator

Name = Literal["circle", "spiral", "swiss_roll"]


class DensityData(DenoisingDataModule):
    """Points drawn from a curve or a sheet of `daezoo.densities`, whose best denoiser and score are known.

    Coordinates are as they are, about -1 to 1. Points have no labels.

    Args:
        density: Uniform on a circle of radius 1, a spiral, or a swiss roll.
        train: Training points.
        valid: Validation points.
        test: Test points.
        **kwargs: As DenoisingDataModule; split_seed also says which points are drawn.

    Raises:
        ValueError: If there is no such density, or a split is empty.
    """

    def __init__(
        self, density: Name = "spiral", train: int = 20_000, valid: int = 2_000, test: int = 2_000, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if density not in get_args(Name) or min(train, valid, test) < 1:
            raise ValueError(
                f"DensityData needs a density of {', '.join(get_args(Name))} and one point or more in every split, got "
                f"{density!r} and {train}, {valid}, {test}."
            )
        self.density: densities.Density = getattr(densities, density)()
        self.sizes = dict(zip(SPLITS, (train, valid, test), strict=True))

    @property
    def shape(self) -> list[int]:
        """[D]."""
        return [self.density.dimensions]

    def load(self) -> dict[str, Split]:
        """The splits, drawn by split_seed."""
        return {
            name: InMemory(self.density.sample(size, generator("density", self.split_seed, name)).float())
            for name, size in self.sizes.items()
        }
