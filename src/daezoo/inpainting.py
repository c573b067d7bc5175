"""`daezoo inpaint`: holes in pictures, filled."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daezoo import photographs
from daezoo.corruption import Corruption, OneOf
from daezoo.models import ResidualDAE
from daezoo.photographs import Photograph
from daezoo.restoring import (
    MASKS,
    command,
    denoised,
    errors_of,
    fills_holes,
    jobs,
    opened,
    progress_over,
    shown,
    tiles_of,
)


def value_of(name: str, noise: Corruption | None) -> float:
    """What a model that was trained to fill holes found in them.

    Raises:
        ValueError: If it was not, or found several values.
    """
    if not fills_holes(noise):
        under = "it does not say under what it was trained" if noise is None else f"it was trained under {noise}"
        wanted = " or ".join(mask.__name__ for mask in MASKS)
        raise ValueError(f"{name} was not trained to fill holes: {under}, not {wanted}. Take residual.color-inpaint.")
    kinds = noise.choices if isinstance(noise, OneOf) else ()
    values = {value_of(name, kind) for kind in kinds} or {getattr(noise, "value", 0.0)}
    if len(values) > 1:
        raise ValueError(f"{name} was trained with holes of several values, {sorted(values)}: which is one to take?")
    return float(values.pop())


def hole_of(file: Path, picture: Photograph) -> NDArray[np.bool_]:
    """Where a mask is brighter than half, (H, W): the hole in a picture.

    Raises:
        ValueError: If the sizes differ, nothing is marked, or all is.
    """
    seen = photographs.read(file)
    mask = seen.pixels.mean(2) * (1 if seen.alpha is None else seen.alpha) > 0.5
    if mask.shape != picture.pixels.shape[:2]:
        sizes = [f"{one.shape[1]}x{one.shape[0]}" for one in (mask, picture.pixels)]
        raise ValueError(f"The mask {file} is {sizes[0]} and the picture {sizes[1]}: sizes must be equal.")
    if mask.all() or not mask.any():
        raise ValueError(
            f"The mask {file} marks {'all' if mask.all() else 'nothing'}: holes are white, the rest black."
        )
    return mask


def filled(
    model: ResidualDAE,
    picture: Photograph,
    hole: NDArray[np.bool_],
    value: float = 0.0,
    done: Callable[[], None] = lambda: None,
) -> Photograph:
    """A picture whose hole is filled, and opaque; no other pixel changes.

    Args:
        model: Trained under masking; if it is conditioned on a level, it is told the hole's share.
        picture: The picture; what it has in the hole is not looked at.
        hole: (H, W).
        value: What the model found in holes when it was trained.
        done: Called after every tile.
    """
    masked = picture._replace(pixels=np.where(hole[:, :, None], np.float32(value), picture.pixels))
    level = None if model.network.condition == "none" else float(hole.mean())
    restored = denoised(model, masked, level, done).pixels
    alpha = None if picture.alpha is None else np.where(hole, np.float32(1), picture.alpha)
    return picture._replace(pixels=np.where(hole[:, :, None], restored, picture.pixels), alpha=alpha)


def run(args: list[str]) -> None:
    """Fill the holes of a picture.

    Args:
        args: The command line, without the command.

    Raises:
        ValueError: If something does not fit.
    """
    parser = command("inpaint", "Fill the holes of a picture. Other pixels stay as they are, but for a lossy format.")
    parser.add_argument("input", type=str, help="A picture (PNG, JPEG, TIFF, WebP).")
    parser.add_argument("mask", type=str, help="A picture of the same size: white where the holes are, else black.")
    parser.add_argument("output", type=str, help="The picture to write.")
    options = parser.parse_args(args)
    if not (options.input and options.mask and options.output):  # Path("") is the folder one is in
        raise ValueError(f"A name is empty: got {options.input!r}, {options.mask!r} and {options.output!r}.")
    if Path(options.input).is_dir():
        raise ValueError(f"{options.input} is a folder: daezoo inpaint takes one picture and its mask.")
    [(read, written)] = jobs(Path(options.input), Path(options.output), options.force)
    if written.resolve() == Path(options.mask).resolve():
        raise ValueError(f"{options.mask} is the mask, and would be overwritten.")
    picture = photographs.read(read)
    hole = hole_of(Path(options.mask), picture)
    photographs.check_writable(picture, written)
    if photographs.check_format(written) in ("JPEG", "WEBP"):
        print("JPEG and WebP are lossy: pixels that are known change a little, too. PNG and TIFF keep them.")
    model, noise = opened(options)
    value = value_of(options.target, noise)
    with progress_over(1) as begin, errors_of(options.device):
        restored = filled(model, picture, hole, value, begin(read.name, tiles_of(model, picture)))
    photographs.write(restored, written)
    print(shown(f"{written}: {hole.mean():.1%} filled"))
