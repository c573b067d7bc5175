"""`daezoo reproduce restoration`: residual models and baselines on whole pictures, beside the published denoisers."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from daezoo import photographs, runs
from daezoo.checkpoint import load_model
from daezoo.corruption import Gaussian
from daezoo.data import PhotographsData
from daezoo.data.location import located
from daezoo.data.pictures import pictures_of
from daezoo.data.splits import digest
from daezoo.evaluation import baselines, kair
from daezoo.evaluation.command import levels
from daezoo.evaluation.target import own_data
from daezoo.figures import save
from daezoo.hardware import exact_float32
from daezoo.parser import Parser
from daezoo.photographs import Photograph
from daezoo.restoring import noise_of, suited
from daezoo.studies.cells import add_row, rows_of
from daezoo.studies.markdown import of
from daezoo.studies.restoration_tables import OVERLAP, SETS, SWEPT, UNTOUCHED, panels
from daezoo.studies.tables import render
from daezoo.zoo import loading

MODELS = ("residual.gray-gauss25", "residual.gray-blind", "residual.color-blind")
SWEEP = tuple(range(5, 80, 5))
"""Noise levels at which models are measured on the sets of SWEPT."""
SHOWN = {1: ("coffee.png", 120, 190), 3: ("chelsea.png", 60, 90)}
"""The picture of which a crop is drawn, by channels, and where it begins: top and left."""
SIDE = 128
"""Of the crop."""
SHOWN_OFF, BEFORE_AFTER = "residual.color-blind", "images/before-after.jpg"
"""The model of the README's picture, and that picture."""


class Method(NamedTuple):
    """What is measured.

    Attributes:
        name: Of a model, or of `baselines.METHODS`.
        denoise: Restores noisy pictures.
        channels: Of the pictures that it restores.
        low: Lowest noise level of its training, of values in 0..255; nothing for what learns nothing.
        high: Likewise the highest.
        weights: The first digits of the digest of its weights; nothing for what has none.
    """

    name: str
    denoise: kair.Denoiser
    channels: Sequence[int]
    low: str = ""
    high: str = ""
    weights: str = ""


def opened(name: str, source: str | None) -> Method:
    """A model, ready to be measured.

    Raises:
        ValueError: If it restores no pictures of any size, or was not trained under Gaussian noise.
    """
    path, checkpoint = loading.open_target(name, source)
    model = suited(name, load_model(path, checkpoint))
    noise = own_data(path, checkpoint, None).corruption
    if not isinstance(noise, Gaussian):
        raise ValueError(f"{name} was not trained under Gaussian noise, but {noise}.")
    assert noise.level is not None
    low, high = (f"{255 * bound:.4g}" for bound in noise.level.bounds)
    return Method(name, model.denoise, [model.shape[0]], low, high, digest(model.state_dict().values())[:12])


def pictures_in(name: str, root: str) -> dict[str, Tensor]:
    """The pictures of a set, uint8 (C, H, W).

    Raises:
        DataMissing: If they are not there.
    """
    return PhotographsData().whole(True) if name == "photographs" else pictures_of(located(root) / name, False, 1)


@torch.inference_mode()
@exact_float32()
def measured(denoise: kair.Denoiser, pictures: dict[str, Tensor], sigma: float) -> dict[str, Any]:
    """The mean scores at a noise level; where a picture overlaps training data, also without it."""
    started = time.perf_counter()
    scores = kair.judge(denoise, pictures, sigma)
    seconds = time.perf_counter() - started
    rest = [one for name, one in scores.items() if name != OVERLAP]
    return {
        **kair.means(scores.values()),
        "psnr_rest": kair.means(rest)["psnr"] if 0 < len(rest) < len(scores) else "",
        "pictures": len(scores),
        "seconds": round(seconds, 1),
    }


def estimated(pictures: dict[str, Tensor], sigma: float) -> dict[str, float]:
    """What `daezoo denoise` takes the noise for: mean and root mean square error, of values in 0..255.

    Of pictures as files have them, clipped and rounded to 8 bits, which takes some of the noise away.
    """
    found = []
    for clean in pictures.values():
        noisy = (255 * kair.noisy_of(clean, sigma)).round().clamp(0, 255) / 255
        found.append(255 * noise_of(noisy.permute(1, 2, 0).numpy()))
    return {"estimate": mean(found), "estimate_error": mean((one - sigma) ** 2 for one in found) ** 0.5}


@torch.inference_mode()
@exact_float32()
def drawn(denoisers: Sequence[Method], channels: int, sigma: float = 25) -> dict[str, Tensor]:
    """A crop of a photograph, noisy and restored by each, by name and PSNR of the whole photograph."""
    name, top, left = SHOWN[channels]
    clean = PhotographsData().whole(channels == 3)[name]
    noisy = kair.noisy_of(clean, sigma)
    found = {"clean": clean / 255}
    for one in denoisers:
        restored = one.denoise(noisy[None], sigma / 255)[0].cpu()
        found[f"{one.name}\n{kair.score(restored, clean).psnr:.2f} dB"] = restored
    return {title: picture[:, top : top + SIDE, left : left + SIDE] for title, picture in found.items()}


@torch.inference_mode()
@exact_float32()
def before_after(denoiser: Method, sigma: float = 25) -> Photograph:
    """A whole photograph, under noise on the left and restored on the right."""
    clean = PhotographsData().whole(True)[SHOWN[3][0]]
    noisy = kair.noisy_of(clean, sigma)[None]
    both = torch.cat([noisy, denoiser.denoise(noisy, sigma / 255).cpu()], 3)
    return Photograph(both[0].permute(1, 2, 0).numpy())


def run(args: list[str]) -> None:
    """Measure what is not measured yet, draw the figures and render the results.

    Args:
        args: The command line, without the command and the study.

    Raises:
        ValueError: If a name is not known, or pictures are not there.
    """
    parser = Parser(prog="daezoo reproduce restoration", description="Denoisers of photographs, by one protocol.")
    parser.add_argument("--models", type=str, default=",".join(MODELS), help="Zoo names or run folders.")
    parser.add_argument("--sets", type=str, default=",".join(SETS), help="Sets of pictures.")
    parser.add_argument("--root", type=str, default="$DAEZOO_DATA", help="The folder with bsd68 and set12 in it.")
    parser.add_argument("--sigma", type=str, default="15,25,50", help="Noise levels, of values in 0..255.")
    parser.add_argument(
        "--sweep",
        type=Literal["yes", "no"],
        default="yes",
        help="Also models at 5, 10, …, 75, on set12 or photographs.",
    )
    parser.add_argument("--source", type=str | None, help="Where to look for zoo names, as for daezoo zoo.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/*.csv, images and results.md go.")
    options = parser.parse_args(args)
    docs, sigmas = Path(options.docs), levels(options.sigma)
    table = docs / "studies" / "restoration.csv"
    sets = {name: pictures_in(name, options.root) for name in options.sets.split(",") if name in SETS}
    if not sets or len(sets) < len(options.sets.split(",")):
        raise ValueError(f"--sets takes names of {', '.join(SETS)}, with commas between; got {options.sets!r}.")
    models = [opened(name, options.source) for name in options.models.split(",")]
    for row in rows_of(table):
        changed = [one for one in models if row["method"] == one.name and row["weights"] != one.weights]
        if changed:
            raise ValueError(f"{table} has rows of other weights of {changed[0].name}. Delete these rows first.")
    others = [Method(name, baselines.denoiser(name), (1, 3)) for name in baselines.METHODS]
    added = False
    for name, pictures in sets.items():
        for one in [*others, *models]:
            swept = SWEEP if name in SWEPT and one in models and options.sweep == "yes" else ()
            for sigma in dict.fromkeys([*sigmas, *map(float, swept)]) if SETS[name] in one.channels else ():
                key = {"set": name, "method": one.name, "sigma": f"{sigma:g}"}
                if not of(rows_of(table), **key):
                    print(*key.values(), flush=True)
                    found = measured(one.denoise, pictures, sigma)
                    found |= estimated(pictures, sigma) if one.name == UNTOUCHED else {}
                    described = {"weights": one.weights, "low": one.low, "high": one.high}
                    add_row(table, {**key, **described, **found, "commit": runs.commit()}, key)
                    added = True
    for channels in (1, 3):
        fitting = [one for one in [*others, *models] if channels in one.channels]
        picture = docs / "images" / f"restoration-{'grey' if channels == 1 else 'colour'}.png"
        if any(one in models for one in fitting) and (added or not picture.exists()):
            save(panels(drawn(fitting, channels)), picture)
    for one in models:
        if one.name == SHOWN_OFF and (added or not (docs / BEFORE_AFTER).exists()):
            photographs.write(before_after(one), docs / BEFORE_AFTER)
    print(*render(docs), sep="\n")
