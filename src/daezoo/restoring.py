"""`daezoo denoise`: pictures in, denoised pictures out."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from skimage.restoration import estimate_sigma
from torch import Tensor

from daezoo import photographs
from daezoo.checkpoint import load_model
from daezoo.evaluation.target import on_device
from daezoo.hardware import exact_float32
from daezoo.models import ResidualDAE
from daezoo.models.residual import TILE
from daezoo.parser import Parser
from daezoo.photographs import Photograph
from daezoo.zoo import loading


def noise_of(pixels: NDArray[np.float32]) -> float:
    """An estimate of the standard deviation of a picture's Gaussian noise, in data units.

    The median absolute wavelet coefficient of the finest scale, over 0.6745 (Donoho and Johnstone, 1994), averaged over
    channels. Texture counts as noise.

    Args:
        pixels: (H, W, C), in [0, 1].
    """
    if min(pixels.shape[:2]) < 2:
        raise ValueError("A picture of one row or column does not say how noisy it is: pass --sigma.")
    return float(np.mean(estimate_sigma(pixels, channel_axis=2)))


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
    return ceil(height / TILE) * ceil(width / TILE) * (channels if model.shape[0] == 1 else 1)


def level_of(model: ResidualDAE, picture: Photograph, sigma: str | None) -> float | None:
    """The noise level that a model is told, in data units; None if it takes none.

    Args:
        model: The model.
        picture: The picture.
        sigma: A number in 0..255, auto, or nothing, which is auto.

    Raises:
        ValueError: If a number is given that the model does not take.
    """
    if model.network.condition == "none":
        if sigma not in (None, "auto"):
            raise ValueError("This model is not told the noise level, so --sigma does not apply: leave it out.")
        return None
    return noise_of(picture.pixels) if sigma in (None, "auto") else float(sigma or 0) / 255


def check_sigma(sigma: str | None) -> None:
    """Raise ValueError unless it is auto, nothing, or a number from 0 to 255."""
    try:
        fits = sigma in (None, "auto") or 0 <= float(sigma or "") <= 255
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"--sigma takes auto or a noise level from 0 to 255, got {sigma!r}.")


def jobs(source: Path, target: Path, force: bool) -> list[tuple[Path, Path]]:
    """Which files are read and written: one, or those of a folder and its subfolders.

    Raises:
        ValueError: If there are none, or one would be overwritten.
    """
    if source.is_dir():
        found = sorted(file for file in source.rglob("*") if file.suffix.lower() in photographs.FORMATS)
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
    taken = [str(written) for _, written in pairs if written.exists()]
    if taken and not force:
        raise ValueError(
            f"{taken[0]} is there already{f', and {len(taken) - 1} more' * (len(taken) > 1)}. To write over: --force"
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
    pairs = jobs(Path(options.input), Path(options.output), options.force)
    model, _ = opened(options)
    failed = 0
    for read, written in pairs:
        try:
            one(model, read, written, options.sigma)
        except (OSError, ValueError) as error:
            if len(pairs) == 1:
                raise ValueError(str(error)) from error
            failed += 1
            print(f"{error}", file=sys.stderr)
    if failed:
        raise ValueError(f"{failed} of {len(pairs)} pictures were not denoised; the others are in {options.output}.")


def one(model: ResidualDAE, read: Path, written: Path, sigma: str | None) -> None:
    """Denoise a file into another, and say so."""
    picture = photographs.read(read)
    photographs.check_writable(picture, written)
    level = level_of(model, picture, sigma)
    with progress_of(model, picture, read.name) as done:
        restored = denoised(model, picture, level, done)
    written.parent.mkdir(parents=True, exist_ok=True)
    photographs.write(restored, written)
    estimated = ", estimated" if level is not None and sigma in (None, "auto") else ""
    print(f"{written}: sigma {255 * level:.1f}/255{estimated}" if level is not None else f"{written}")


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


def opened(options: Namespace) -> tuple[ResidualDAE, dict[str, Any]]:
    """The model that parsed options ask for, and its checkpoint."""
    path, checkpoint = loading.open_target(options.target, options.source)
    model = on_device(suited(options.target, load_model(path, checkpoint)), options.device)
    assert isinstance(model, ResidualDAE)
    return model, checkpoint


@contextmanager
def progress_of(model: ResidualDAE, picture: Photograph, name: str) -> Iterator[Callable[[], None]]:
    """A bar over the tiles of a picture, where a terminal shows it: what to call after every tile."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=tiles_of(model, picture))
        yield lambda: progress.advance(task)
