"""Pictures of a run: reconstructions, filters, curves."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from daezoo.batch import Sample
from daezoo.corruption import Corruption
from daezoo.data.base import DenoisingDataModule
from daezoo.files import write_atomically
from daezoo.models import DenoisingAutoencoder


def save(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of the name's ending."""
    kind = path.suffix[1:].lower()
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150, bbox_inches="tight"))


def levels(corruption: Corruption) -> list[tuple[str, Corruption]]:
    """The corruption at a few levels around its own, or as it is where it has no single level; with labels."""
    if corruption.level is None:
        return [(type(corruption).__name__, corruption)]
    low, high = corruption.level.bounds
    steps = (high / 2, high, min(2 * high, corruption.highest)) if low == high else (low, (low + high) / 2, high)
    unique = sorted({round(step, 6) for step in steps})
    return [(f"{type(corruption).__name__} {corruption.level_name} {step:g}", corruption.at(step)) for step in unique]


@torch.inference_mode()
def reconstructions(model: DenoisingAutoencoder, data: DenoisingDataModule, columns: int = 12) -> Figure:
    """Clean, noisy and denoised test samples, a noisy and a denoised row for each of several levels.

    Args:
        model: The denoiser, in eval mode.
        data: Where the test samples and the corruption come from; samples are images, or vectors drawn as curves.
        columns: Samples shown.
    """
    test = data.splits["test"]
    columns = min(columns, len(test))
    # evenly spread, so that neighbouring crops of one picture do not fill the row
    rows = torch.linspace(0, len(test) - 1, columns).round().long()
    sample: Sample = test.__getitems__(rows)
    strips: list[tuple[str, Tensor]] = []
    for label, corruption in levels(data.evaluation_corruption):
        batch = data.evaluation_batch(sample, "test", corruption)
        denoised = model.denoise(batch.noisy.to(model.device), batch.level.to(model.device)).cpu()
        strips = strips or [("clean", batch.clean)]
        strips += [(label, batch.noisy), ("denoised", denoised)]
    figure = Figure(figsize=(0.8 * columns + 1.5, 0.8 * len(strips)))
    axes = figure.subplots(len(strips), columns, squeeze=False)
    for (label, images), row in zip(strips, axes, strict=True):
        for image, axis in zip(images, row, strict=True):
            _draw(axis, image)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    figure.subplots_adjust(wspace=0.05, hspace=0.08)
    return figure


def _draw(axis: Any, sample: Tensor) -> None:
    axis.set(xticks=[], yticks=[])
    if sample.ndim == 1:
        axis.plot(sample.numpy(), linewidth=0.5)
    elif sample.shape[0] == 3:
        axis.imshow(sample.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
    else:
        axis.imshow(sample.mean(0).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def filters(weights: Tensor, columns: int = 20, rows: int = 10) -> Figure:
    """Filters as pictures, each scaled to its own range; those with the largest norm first.

    Args:
        weights: (filters, C, H, W).
        columns: Filters in a row.
        rows: Rows at the most.
    """
    weights = strongest(weights.float().cpu(), columns * rows)
    figure = Figure(figsize=(columns * 0.5, -(-len(weights) // columns) * 0.5))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(tiled(weights, columns), cmap="gray", interpolation="nearest")
    axis.set_axis_off()
    return figure


def strongest(weights: Tensor, count: int) -> Tensor:
    """The filters (N, C, H, W) of the largest norm, so many of them, from the strongest."""
    return weights[weights.flatten(1).norm(dim=1).argsort(descending=True)[:count]]


def tiled(pictures: Tensor, columns: int) -> NDArray[np.float64]:
    """Pictures in rows, each scaled to its own range, with white lines between them: (H, W), or (H, W, 3) in colour.

    Args:
        pictures: (N, C, H, W).
        columns: Pictures in a row.
    """
    flat = pictures.flatten(1)
    low, high = flat.min(1).values, flat.max(1).values
    unit = ((flat - low[:, None]) / (high - low).clamp(min=1e-12)[:, None]).view_as(pictures)
    if unit.shape[1] != 3:
        unit = unit.mean(1, keepdim=True)
    return laid_out(unit, columns, 1).permute(1, 2, 0).squeeze().double().numpy()


def laid_out(pictures: Tensor, columns: int, line: float) -> Tensor:
    """Pictures (N, C, H, W) in rows, with lines of one value between them: (C, rows, columns)."""
    count, channels, height, width = pictures.shape
    sheet = torch.full((channels, -(-count // columns) * (height + 1) - 1, columns * (width + 1) - 1), float(line))
    for k, picture in enumerate(pictures):
        top, left = k // columns * (height + 1), k % columns * (width + 1)
        sheet[:, top : top + height, left : left + width] = picture
    return sheet


def curves(metrics: Path) -> Figure:
    """Losses of training and validation over steps, from a run's metrics.csv; one panel for each name they share.

    Args:
        metrics: The run's metrics.csv.
    """
    with open(metrics, newline="") as file:
        records = list(csv.DictReader(file))
    names = sorted({key.split("/")[1] for record in records for key in record if "/" in key})
    count = max(len(names), 1)  # a very short run logs nothing
    figure = Figure(figsize=(5 * min(count, 3), 3.2 * -(-count // 3)), layout="constrained")
    panels = figure.subplots(-(-count // 3), min(count, 3), squeeze=False).flat
    for name, axis in zip(names, panels, strict=False):
        for split in ("train", "val"):
            points = [(int(r["step"]), float(r[f"{split}/{name}"])) for r in records if r.get(f"{split}/{name}")]
            if points:
                steps, values = zip(*points, strict=True)
                marker = "o" if len(points) == 1 else None
                axis.plot(steps, values, label=split, alpha=0.5 if split == "train" else 1, marker=marker)
        axis.set(title=name, xlabel="step")
        axis.legend()
        axis.grid(alpha=0.3)
    for axis in list(panels):
        axis.set_axis_off()
    return figure


def save_all(folder: Path, model: DenoisingAutoencoder, data: DenoisingDataModule) -> list[str]:
    """Write reconstructions.png, curves.png and, where there are filters, filters.png; the names written."""
    figures = {"reconstructions.png": reconstructions(model, data), "curves.png": curves(folder / "metrics.csv")}
    weights = model.filters()
    if weights is not None:
        figures["filters.png"] = filters(weights)
    for name, figure in figures.items():
        save(figure, folder / name)
    return list(figures)
