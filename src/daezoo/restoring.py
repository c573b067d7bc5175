"""`daezoo denoise`: pictures in, denoised pictures out."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from skimage.restoration import estimate_sigma
from torch import Tensor

from daezoo import photographs
from daezoo.checkpoint import load_model
from daezoo.corruption import BlockMasking, Corruption, Gaussian, Masking, OneOf, Recorded, Scratches
from daezoo.evaluation.target import on_device, own_data
from daezoo.files import files_in
from daezoo.hardware import exact_float32
from daezoo.models import ResidualDAE
from daezoo.parser import Parser
from daezoo.photographs import Photograph
from daezoo.zoo import loading

MASKS = (Masking, BlockMasking, Scratches)
"""Corruptions that teach a model to fill holes."""
UNSURE = 5 / 255
"""By how much an estimate of a noise level may be off before anybody is told."""
Begin = Callable[[str, int], Callable[[], None]]
"""Begins a picture of a name and a number of tiles: what to call after every tile."""


def fills_holes(noise: Corruption | None) -> bool:
    """Whether a corruption teaches a model to fill holes: it is one of MASKS, or one of several of them."""
    return all(map(fills_holes, noise.choices)) if isinstance(noise, OneOf) else isinstance(noise, MASKS)


def noise_of(pixels: NDArray[np.float32]) -> float:
    """An estimate of the standard deviation of a picture's Gaussian noise, in data units.

    The median absolute wavelet coefficient of the finest scale, over 0.6745 (Donoho and Johnstone, 1994), averaged over
    channels that have any. Texture counts as noise.

    Args:
        pixels: (H, W, C), in [0, 1].
    """
    if min(pixels.shape[:2]) < 2:
        raise ValueError("A picture of one row or column does not say how noisy it is: pass --sigma.")
    lively = [channel for channel in np.moveaxis(pixels, 2, 0) if np.ptp(channel) > 0]
    with warnings.catch_warnings(action="ignore"):  # of a median of nothing, where all is smooth
        found = [estimate_sigma(channel) for channel in lively]
    return float(np.mean([one for one in found if np.isfinite(one)] or [0.0]))


def suited(name: str, model: object) -> ResidualDAE:
    """The model, if it restores pictures of any size.

    Raises:
        ValueError: If it does not.
    """
    if not isinstance(model, ResidualDAE) or model.shape[0] not in (1, 3):
        raise ValueError(
            f"{name} is a {type(model).__name__}, which does not restore pictures of any size. Take a ResidualDAE of "
            "one or three channels: daezoo zoo list"
        )
    return model


@torch.inference_mode()
@exact_float32()
def denoised(
    model: ResidualDAE, picture: Photograph, sigma: float | None, done: Callable[[], None] = lambda: None
) -> Photograph:
    """A picture without its noise, in float32 and in tiles.

    A grey model takes the channels of a colour picture one by one; a colour model sees a grey picture three times, and
    its answers are averaged. Transparency is left alone.

    Args:
        model: What denoises.
        picture: The noisy picture.
        sigma: Standard deviation of the noise in data units, for a model that is conditioned on it.
        done: Called after every tile.
    """
    pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1)
    colors = model.shape[0]
    batch = pixels[:, None] if colors == 1 else pixels.expand(3, -1, -1)[None]
    restored = torch.empty_like(batch, memory_format=torch.contiguous_format)
    for row in range(len(batch)):
        for place, tile in model.tiles(batch[row : row + 1].to(model.device), sigma):
            restored[row : row + 1][place] = tile.cpu()
            done()
    channels: Tensor = restored[:, 0] if colors == 1 else restored[0]
    if len(channels) > len(pixels):
        channels = channels.mean(0, keepdim=True)
    return picture._replace(pixels=channels.permute(1, 2, 0).numpy())


def tiles_of(model: ResidualDAE, picture: Photograph) -> int:
    """How many tiles `denoised` takes."""
    height, width, channels = picture.pixels.shape
    return len(model.corners(height, width)) * (channels if model.shape[0] == 1 else 1)


def level_of(model: ResidualDAE, noise: Corruption | None, picture: Photograph, sigma: str | None) -> float | None:
    """The noise level that a model is told, in data units; None if it takes none.

    Args:
        model: The model.
        noise: What it was trained under; None if that is not known.
        picture: The picture.
        sigma: A number in 0..255, auto, or nothing, which is auto.

    Raises:
        ValueError: If a number is given that the model does not take, or the model is told no Gaussian noise level.
    """
    check_told(model, noise)
    recorded = isinstance(noise, Recorded)  # of a level that nobody knows, and that counts as 0
    if model.network.condition == "none" or recorded:
        if sigma not in (None, "auto"):
            raise ValueError("This model is not told the noise level, so --sigma does not apply: leave it out.")
        return 0.0 if recorded and model.network.condition != "none" else None
    return noise_of(picture.pixels) if sigma in (None, "auto") else float(sigma or 0) / 255


def check_told(model: ResidualDAE, noise: Corruption | None) -> None:
    """Raise ValueError if a model is told a level that is no standard deviation of Gaussian noise."""
    if model.network.condition != "none" and not isinstance(noise, Gaussian | Recorded | None):
        raise ValueError(
            f"This model is told the level of {noise}, which a picture does not say. Use one that was trained with "
            "--model.condition none, or under Gaussian noise."
        )


def unlike(noise: Corruption | None, picture: Photograph) -> str:
    """What there is to say of a picture's noise, if a model learnt other levels: nothing otherwise.

    Args:
        noise: What the model was trained under; nothing is said unless it is Gaussian.
        picture: The picture; nothing is said of a line of pixels.
    """
    if not isinstance(noise, Gaussian) or noise.level is None or min(picture.pixels.shape[:2]) < 2:
        return ""
    sigma = noise_of(picture.pixels)
    low, high = noise.level.bounds
    if low - UNSURE <= sigma <= high + UNSURE:
        return ""
    learnt = f"{255 * low:.3g}" if low == high else f"{255 * low:.3g} to {255 * high:.3g}"
    return f"its noise looks like {255 * sigma:.1f}/255, and the model learnt {learnt}/255: look at the result."


def check_sigma(sigma: str | None) -> None:
    """Raise ValueError unless it is auto, nothing, or a number from 0 to 255."""
    try:
        fits = sigma in (None, "auto") or 0 <= float(sigma or "") <= 255
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"--sigma takes auto or a noise level from 0 to 255, got {sigma!r}.")


def jobs(source: Path, target: Path, force: bool) -> list[tuple[Path, Path]]:
    """Which files are read and written: one, or those of a folder and its subfolders, without what is hidden.

    Raises:
        ValueError: If there are none, one would be overwritten, or nothing can be written there.
    """
    if source.is_dir():
        inside = target.resolve() != source.resolve() and target.resolve().is_relative_to(source.resolve())
        found = [
            file
            for file in files_in(source)
            if file.suffix.lower() in photographs.FORMATS
            and not (inside and file.resolve().is_relative_to(target.resolve()))  # of an earlier run
        ]
        if not found:
            raise ValueError(f"The folder {source} has no pictures ({', '.join(photographs.FORMATS)}).")
        if target.exists() and not target.is_dir():
            raise ValueError(f"{source} is a folder, so {target} has to be one, and it is a file.")
        pairs = [(file, target / file.relative_to(source)) for file in found]
    else:
        if not source.is_file():
            raise ValueError(f"There is no picture or folder {source}.")
        pairs = [(source, target / source.name if target.is_dir() else target)]
        photographs.check_format(pairs[0][1])
    taken = [str(written) for _, written in pairs if written.exists() or written.is_symlink()]
    if taken and not force:
        raise ValueError(
            f"{taken[0]} is there already{f', and {len(taken) - 1} more' * (len(taken) > 1)}. To write over: --force"
        )
    first = target if source.is_dir() else pairs[0][1].parent
    parent = next(folder for folder in [first, *first.absolute().parents] if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(
            f"{target} cannot be written: {parent} is {'write-protected' if parent.is_dir() else 'a file'}."
        )
    return pairs


def run(args: list[str]) -> None:
    """Denoise one picture, or all of a folder.

    Args:
        args: The command line, without the command.

    Raises:
        ValueError: If something does not fit, or a picture could not be denoised; the others are.
    """
    parser = command("denoise", "Denoise a picture, or all pictures of a folder.")
    parser.add_argument("input", type=str, help="A picture (PNG, JPEG, TIFF, WebP), or a folder of them.")
    parser.add_argument("output", type=str, help="The picture to write, or a folder.")
    parser.add_argument(
        "--sigma",
        type=str | None,
        help="Noise level, of values in 0..255, for models that are told it; auto estimates it.",
    )
    options = parser.parse_args(args)
    check_sigma(options.sigma)
    if not (options.input and options.output):  # Path("") is the folder one is in
        raise ValueError(f"A name is empty: got input={options.input!r} and output={options.output!r}.")
    pairs = jobs(Path(options.input), Path(options.output), options.force)
    model, noise = opened(options)
    if fills_holes(noise):
        raise ValueError(f"{options.target} was trained to fill holes, not under noise: see daezoo inpaint.")
    failed = 0
    with progress_over(len(pairs)) as begin:
        for read, written in pairs:
            try:
                level = one(model, noise, read, written, options.sigma, begin)
            except (OSError, RuntimeError, MemoryError, ValueError) as error:  # RuntimeError: a device out of memory
                said = str(error) if str(read) in str(error) or str(written) in str(error) else f"{read}: {error}"
                if len(pairs) == 1:
                    raise ValueError(said) from error
                failed += 1
                print(shown(said), file=sys.stderr)
                continue
            estimated = ", estimated" if options.sigma in (None, "auto") else ""
            print(shown(f"{written}: sigma {255 * level:.1f}/255{estimated}" if level is not None else f"{written}"))
    if failed:
        others = f"; the others are in {options.output}" if failed < len(pairs) else ""
        raise ValueError(f"{failed} of {len(pairs)} pictures were not denoised{others}.")


def one(
    model: ResidualDAE, noise: Corruption | None, read: Path, written: Path, sigma: str | None, begin: Begin
) -> float | None:
    """Denoise a file into another; the noise level that the model was told."""
    picture = photographs.read(read)
    photographs.check_writable(picture, written)
    if model.network.condition == "none" and (strange := unlike(noise, picture)):
        print(shown(f"{read}: {strange}"), file=sys.stderr)
    level = level_of(model, noise, picture, sigma)
    restored = denoised(model, picture, level, begin(read.name, tiles_of(model, picture)))
    photographs.write(restored, written)
    return None if isinstance(noise, Recorded) else level


@contextmanager
def errors_of(device: str) -> Iterator[None]:
    """Errors of a device, such as its lack of memory, become ones that a user can read."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"{device} gave up: {(str(error) or 'out of memory').splitlines()[0]}") from error


def shown(line: str) -> str:
    """A line that can be printed, whatever file names are in it."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def command(name: str, description: str) -> Parser:
    """A parser with what all commands take that restore pictures."""
    parser = Parser(prog=f"daezoo {name}", description=description)
    parser.add_argument("target", type=str, help="A zoo name, a run folder, or a checkpoint: of a residual model.")
    parser.add_argument("--force", action="store_true", help="Write over what is there.")
    parser.add_argument("--source", type=str | None, help="Where to look for a zoo name, as for daezoo zoo.")
    parser.add_argument(
        "--device", type=str, default="cuda" if torch.cuda.is_available() else "cpu", help="Where to run."
    )
    return parser


def opened(options: Namespace) -> tuple[ResidualDAE, Corruption | None]:
    """The model that parsed options ask for, and what it was trained under; None if its checkpoint does not say.

    Raises:
        ValueError: If there is none, or it does not restore pictures.
    """
    path, checkpoint = loading.open_target(options.target, options.source)
    model = on_device(suited(options.target, load_model(path, checkpoint)), options.device)
    if "datamodule_hyper_parameters" not in checkpoint:
        return model, None
    data = own_data(path, checkpoint, None)
    if data.whiten:
        raise ValueError(f"{options.target} was trained on whitened images, which pictures are not.")
    return model, data.corruption


@contextmanager
def progress_over(pictures: int) -> Iterator[Begin]:
    """A bar over pictures, where a terminal shows it: what to call with the name of each and its number of tiles."""
    console = Console(stderr=True)
    quiet, shared = not console.is_terminal, sys.stdout.isatty()
    with Progress(console=console, transient=True, disable=quiet, redirect_stdout=shared) as progress:
        task, begun = progress.add_task("", total=pictures), count()

        def begin(name: str, tiles: int) -> Callable[[], None]:
            progress.update(task, description=escape(name), completed=next(begun))
            return lambda: progress.advance(task, 1 / tiles)

        yield begin
