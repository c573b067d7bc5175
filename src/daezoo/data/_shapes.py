"""Generators of 28 by 28 shape problems, rectangles and convex sets (Larochelle et al., 2007).

The original files and the code that made them are not available: images are regenerated from the paper's description,
so results on them can be compared with published ones only approximately.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_SIDE = 28
_MIN_RECTANGLE_SIDE, _MIN_SIDE_DIFFERENCE = 3, 3
_MIN_FILLED_SIDE, _MIN_FILLED_DIFFERENCE = 10, 5
_FILLED_AREA = 0.25, 0.75
_MIN_GAPS = 4  # With fewer, a set that is not convex differs from a convex one by a notch hard to see.
_POOL = 8192  # Candidates drawn at a time. Changing it changes every dataset drawn from a given seed.


def rectangles(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Outlines of rectangles, to be told apart as wide or tall (after Larochelle et al., 2007).

    A white outline, one pixel thick, on black. The original files are not available; these are regenerated. From the
    paper: the outline and |height - width| >= 3. Assumed here: height and width lie in 3 .. 28, so that every outline
    has an inside; every allowed (height, width) is equally likely, which makes both classes equally likely; and the
    position is uniform over those at which the rectangle fits.

    Args:
        count: Number of images, at least 1.
        generator: CPU generator, the only source of randomness.

    Returns:
        Images, uint8 (count, 1, 28, 28) in {0, 255}, and labels, int64 (count,): 1 if wider than tall, else 0.

    Raises:
        ValueError: If `count` is below 1.
    """
    _check_count(count)
    sizes = _sizes(_MIN_RECTANGLE_SIDE, _MIN_SIDE_DIFFERENCE)
    filled, inside, size = _placed(sizes, count, generator)
    return _to_images(filled & ~inside), (size[:, 1] > size[:, 0]).long()


def rectangles_on_patches(
    count: int, generator: torch.Generator, patches: Callable[[int, int, torch.Generator], Tensor]
) -> tuple[Tensor, Tensor]:
    """Rectangles filled with one patch of a photograph, on another (after Larochelle et al., 2007).

    To be told apart as wide or tall. The original photographs are not available. Of the sizes: height and width of at
    least 10, |height - width| >= 5, an area of 25 to 75 % of the image; every allowed (height, width) is equally
    likely, and so is every position at which the rectangle fits.

    Args:
        count: Number of images, at least 1.
        generator: CPU generator, the only source of randomness.
        patches: Makes so many patches of such a side, uint8 (N, 1, side, side).

    Returns:
        Images, uint8 (count, 1, 28, 28), and labels, int64 (count,): 1 if wider than tall, else 0.

    Raises:
        ValueError: If `count` is below 1.
    """
    _check_count(count)
    sizes = _sizes(_MIN_FILLED_SIDE, _MIN_FILLED_DIFFERENCE)
    share = sizes.prod(1) / _SIDE**2
    sizes = sizes[(share >= _FILLED_AREA[0]) & (share <= _FILLED_AREA[1])]
    filled, _, size = _placed(sizes, count, generator)
    front, back = patches(2 * count, _SIDE, generator).split(count)
    return torch.where(filled.unsqueeze(1), front, back), (size[:, 1] > size[:, 0]).long()


def _sizes(least: int, difference: int) -> Tensor:
    """All (height, width) with sides from `least` on that differ by `difference` or more."""
    sides = torch.arange(least, _SIDE + 1)
    sizes = torch.cartesian_prod(sides, sides)
    return sizes[(sizes[:, 0] - sizes[:, 1]).abs() >= difference]


def _placed(sizes: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random rectangles: all their pixels and those within the outline, bool (count, 28, 28), and (height, width)."""
    size = sizes[torch.randint(len(sizes), (count,), generator=generator)]
    start = (torch.rand(count, 2, generator=generator, dtype=torch.float64) * (_SIDE + 1 - size)).long()
    first, last = start.unsqueeze(-1), (start + size - 1).unsqueeze(-1)
    pixel = torch.arange(_SIDE)
    filled = (pixel >= first) & (pixel <= last)  # (count, 2, 28): rows, columns
    inside = (pixel > first) & (pixel < last)
    return filled[:, 0, :, None] & filled[:, 1, None], inside[:, 0, :, None] & inside[:, 1, None], size


def convex_sets(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """White sets of pixels, to be told apart as convex or not (after Larochelle et al., 2007).

    The original files are not available; these are regenerated. Convex: an intersection of K half-planes, K ~
    Geometric(0.195) on 1, 2, ..., of at least 19 pixels. Not convex: a union of 2 to 4 such intersections with K ~
    Geometric(0.07), of at least 10 pixels each, kept if it fails a test of convexity over all pairs of its pixels.
    Assumed here: a half-plane has a point of its edge uniform over the image and a direction uniform over the circle;
    too small an intersection is drawn again together with its K; and a union fails the test if at least 4 black pixels
    lie exactly halfway between two white ones. A convex set has no such pixel.

    The paper balanced its parameters until both classes had the same mean area, without which a linear probe
    succeeds on area alone. Here areas are matched exactly: of a pool of candidates of each class, as many images of
    every area (in pixels) are kept as the rarer class there has. For an even `count` both classes have the very same
    areas; for an odd one a random image is missing. The common density of the area is close to the smaller of the two
    candidate densities, so in this respect neither class follows the recipe above exactly.

    Args:
        count: Number of images, at least 1; half of each class, in random order.
        generator: CPU generator, the only source of randomness.

    Returns:
        Images, uint8 (count, 1, 28, 28) in {0, 255}, and labels, int64 (count,): 1 if convex, else 0.

    Raises:
        ValueError: If `count` is below 1.
    """
    _check_count(count)
    convex = other = torch.empty(0, _SIDE, _SIDE, dtype=torch.bool)
    pairs = (count + 1) // 2
    while len(convex) < pairs:
        more_convex = _intersections(_POOL, 0.195, 19, generator)
        more_other = _unions(_POOL, generator)
        parts = torch.split(more_other, 512)  # Small enough for the cache.
        gaps = torch.cat([_areas(_midpoint_gaps(part)) for part in parts])
        more_other = more_other[gaps >= _MIN_GAPS]
        more_convex, more_other = _match_areas(more_convex, more_other)
        convex, other = torch.cat([convex, more_convex]), torch.cat([other, more_other])
    chosen = torch.randperm(len(convex), generator=generator)[:pairs]
    order = torch.randperm(2 * pairs, generator=generator)[:count]
    return _to_images(torch.cat([convex[chosen], other[chosen]])[order]), (order < pairs).long()


def _intersections(count: int, probability: float, min_pixels: int, generator: torch.Generator) -> Tensor:
    """Intersections of K ~ Geometric(`probability`) half-planes with `min_pixels` or more; bool (count, 28, 28)."""
    pixel = torch.arange(_SIDE, dtype=torch.float64)
    kept: list[Tensor] = []
    while sum(map(len, kept)) < count:
        sides = torch.empty(_POOL).geometric_(probability, generator=generator)
        sets = torch.ones(_POOL, _SIDE, _SIDE, dtype=torch.bool)
        while len(sets):
            draws = torch.rand(3, len(sets), 1, generator=generator, dtype=torch.float64)
            row, column, angle = draws[0] * _SIDE - 0.5, draws[1] * _SIDE - 0.5, draws[2] * 2 * math.pi
            down, right = angle.sin() * (pixel - row), angle.cos() * (pixel - column)
            sets &= right.unsqueeze(1) >= -down.unsqueeze(2)
            sides -= 1
            large = _areas(sets) >= min_pixels  # More half-planes only make a set smaller: reject at once.
            kept.append(sets[large & (sides == 0)])
            sets, sides = sets[large & (sides > 0)], sides[large & (sides > 0)]
    # Sets with few half-planes were kept first, so the order has to be made random before any are left out.
    found = torch.cat(kept)
    return found[torch.randperm(len(found), generator=generator)[:count]]


def _unions(count: int, generator: torch.Generator) -> Tensor:
    """Unions of 2 to 4 intersections with K ~ Geometric(0.07) and 10 or more pixels each; bool (count, 28, 28)."""
    parts = _intersections(4 * count, 0.07, 10, generator).view(count, 4, _SIDE, _SIDE)
    used = torch.arange(4) < torch.randint(2, 5, (count, 1), generator=generator)
    return (parts & used[:, :, None, None]).any(1)


def _midpoint_gaps(sets: Tensor) -> Tensor:
    """Black pixels exactly halfway between two white ones: each proves a set not convex; bool, same shape.

    All pairs at once: the convolution of a set with itself counts, at 2m, the ordered pairs of white pixels around m.
    """
    size = (2 * _SIDE, 2 * _SIDE)
    around: Tensor = torch.fft.irfft2(torch.fft.rfft2(sets.float(), s=size).square(), s=size)[..., ::2, ::2]
    return (around > 0.5) & ~sets


def _match_areas(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The first images of each area, of both, as many as the rarer has; sorted by area, so pairs agree in area."""
    counts = [_areas(sets).bincount(minlength=_SIDE**2 + 1) for sets in (first, second)]
    quota = torch.minimum(*counts)

    def fill(sets: Tensor, available: Tensor) -> Tensor:
        area, order = _areas(sets).sort(stable=True)
        rank = torch.arange(len(sets)) - (available.cumsum(0) - available)[area]  # Among those of the same area.
        return sets[order[rank < quota[area]]]

    return fill(first, counts[0]), fill(second, counts[1])


def _areas(sets: Tensor) -> Tensor:
    return sets.flatten(1).sum(1, dtype=torch.int32)  # Twenty times as fast as the default, int64.


def _to_images(mask: Tensor) -> Tensor:
    return mask.unsqueeze(1).to(torch.uint8) * 255


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"The number of images must be at least 1, got {count}.")
