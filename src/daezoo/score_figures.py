"""Pictures of what a denoiser does: its direction r(x̃) − x̃, which tends to σ² ∇ log p_σ, and the paths it makes.

A denoiser is a function (noisy samples, σ) → E[x | noisy], as in `daezoo.sampling`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from torch import Tensor

from daezoo.batch import Batch
from daezoo.densities import Density
from daezoo.figures import laid_out
from daezoo.models import DenoisingAutoencoder
from daezoo.sampling import Denoiser

Canvas = Figure | SubFigure
LIKELY = 8.0
"""Arrows start where log p_σ is at most so far below its largest value: four standard deviations of a Gaussian."""
BEHIND = 60
"""Pixels in a row of the density behind the arrows."""


@torch.inference_mode()
def vector_field(
    denoise: Denoiser, density: Density, sigma: float, across: int = 21, length: float = 0.5, on: Canvas | None = None
) -> Figure:
    """Arrows of r(x̃, σ) − x̃ over a density in the plane, beside those of σ² ∇ log p_σ(x̃), to which they tend.

    Both panels have the same arrows' scale, and p_σ behind them; where there is hardly a noisy point, no arrow.

    Args:
        denoise: r.
        density: Of the clean points, two-dimensional.
        sigma: σ > 0.
        across: Points of the grid in a row.
        length: How long an arrow is drawn; at 1 it ends where the denoiser puts the point.
        on: Where to draw, a figure or a part of one; a new one if None.

    Returns:
        The whole figure.

    Raises:
        ValueError: If the density is not one of the plane, or σ is not positive.
    """
    if density.dimensions != 2 or not sigma > 0:
        raise ValueError(
            f"Arrows need a density of the plane and σ > 0, got {density.dimensions} dimensions, {sigma=}."
        )
    clean = density.sample(2000, torch.Generator().manual_seed(0))
    half = (clean - density.mean).abs().max().item() + 3 * sigma
    likely = density.log_prob(_grid(half, BEHIND, density), sigma)
    points = _grid(half, across, density)
    points = points[density.log_prob(points, sigma) >= likely.max() - LIKELY]
    truth = sigma**2 * density.score(points, sigma)
    panels = {"denoiser: r(x̃) − x̃": denoise(points, sigma).cpu() - points, "truth: σ² ∇ log p_σ(x̃)": truth}
    x, y = density.mean.tolist()
    extent = (x - half, x + half, y - half, y + half)
    shown = (likely - likely.max()).exp().view(BEHIND, BEHIND).T.numpy()
    canvas = on or Figure(figsize=(10, 5.2), layout="constrained")
    axes = canvas.subplots(1, 2, squeeze=False)[0]
    for (title, arrows), panel in zip(panels.items(), axes, strict=True):
        panel.imshow(shown, extent=extent, origin="lower", cmap="Blues", vmin=0, vmax=1.6, interpolation="bilinear")
        panel.quiver(
            *(part.numpy() for part in (*points.T, *arrows.T)),
            **{"angles": "xy", "scale_units": "xy", "scale": 1 / length, "width": 0.004, "color": "0.1"},
        )
        panel.set(title=title, aspect="equal", xlim=extent[:2], ylim=extent[2:])
    drawn = "" if length == 1 else f"; arrows drawn at {length:g} of their length"
    canvas.suptitle(f"σ = {sigma:g}; blue: p_σ{drawn}", fontsize=10)
    return canvas.figure


def _grid(half: float, count: int, density: Density) -> Tensor:
    """A square grid around a density's mean, (count², 2), in float32 as models want it."""
    axis = torch.linspace(-half, half, count, dtype=torch.float64)
    return (torch.cartesian_prod(axis, axis) + density.mean).float()


@torch.inference_mode()
def reconstructed(denoise: Denoiser, starts: Tensor, levels: Sequence[float]) -> Tensor:
    """Points that are denoised again and again, x ← r(x, σ), at falling σ, or always the same.

    Args:
        denoise: r.
        starts: Noisy samples, (batch, *dims).
        levels: The σ of each step.

    Returns:
        The starts, and the samples after every step: (1 + steps, batch, *dims).
    """
    places = [starts]
    for level in levels:
        places.append(denoise(places[-1], level).to(starts))
    return torch.stack(places)


def paths(
    denoise: Denoiser,
    starts: Tensor,
    levels: Sequence[float],
    density: Density | None = None,
    on: Canvas | None = None,
) -> Figure:
    """The paths of noisy points that are denoised again and again, from where they start (circles) to where they end.

    Args:
        denoise: r.
        starts: Noisy points of the plane, (batch, 2).
        levels: The σ of each step, such as those of a `daezoo.sampling.ladder`.
        density: Whose points are drawn behind the paths, if given.
        on: Where to draw, a figure or a part of one; a new one if None.

    Returns:
        The whole figure.

    Raises:
        ValueError: If the points are not of the plane, or there is no level.
    """
    if starts.ndim != 2 or starts.shape[1] != 2 or not levels:
        raise ValueError(
            f"Paths need points of the plane, (batch, 2), and a level or more, got {tuple(starts.shape)}, {levels}."
        )
    places = reconstructed(denoise, starts, levels).cpu()
    canvas = on or Figure(figsize=(5.4, 5.2), layout="constrained")
    axis = canvas.subplots()
    if density is not None:
        clean = density.sample(2000, torch.Generator().manual_seed(0))
        axis.scatter(clean[:, 0], clean[:, 1], s=6, color="tab:blue", alpha=0.5, linewidths=0, label="clean points")
    for path in places.unbind(1):
        axis.plot(*path.T.numpy(), color="0.4", linewidth=0.7, marker=".", markersize=2)
    axis.scatter(places[0, :, 0], places[0, :, 1], s=16, facecolors="none", edgecolors="0.2", label="noisy", zorder=3)
    axis.scatter(
        places[-1, :, 0], places[-1, :, 1], s=16, color="tab:red", label=f"denoised, {len(levels)} steps", zorder=3
    )
    axis.set(title=f"paths x ← r(x, σ), σ = {levels[0]:.3g} … {levels[-1]:.3g}", aspect="equal")
    axis.legend(fontsize=8, loc="upper right")
    return canvas.figure


@torch.inference_mode()
def denoising_direction(
    model: DenoisingAutoencoder, batch: Batch, columns: int = 10, on: Canvas | None = None
) -> Figure:
    """Images in columns: clean, noisy, the direction r(x̃) − x̃, and the reconstruction.

    Of the direction, the mean over channels; red is added, blue taken away, white left as it is, on one scale.

    Args:
        model: The denoiser, in eval mode.
        batch: Of images, (batch, C, H, W).
        columns: Images shown, at the most.
        on: Where to draw, a figure or a part of one; a new one if None.

    Returns:
        The whole figure.

    Raises:
        ValueError: If the samples are not images.
    """
    if batch.clean.ndim != 4:
        raise ValueError(f"Directions are drawn of images (batch, C, H, W), got {tuple(batch.clean.shape)}.")
    noisy = batch.noisy[:columns].to(model.device)
    denoised = model.denoise(noisy, batch.level[:columns].to(model.device)).float()
    direction = (denoised - noisy).mean(1, keepdim=True)
    rows = {"clean": batch.clean[:columns], "noisy x̃": noisy, "r(x̃) − x̃": direction, "denoised r(x̃)": denoised}
    widest = max(direction.abs().max().item(), 1e-12)
    canvas = on or Figure(figsize=(0.7 * len(noisy) + 2, 3.2), layout="constrained")
    axes = canvas.subplots(4, 1)
    for axis, (label, images) in zip(axes, rows.items(), strict=True):
        if images is direction:
            scale = axis.imshow(_strip(images, 0.0), cmap="RdBu_r", vmin=-widest, vmax=widest, interpolation="nearest")
        else:
            axis.imshow(_strip(images, 1.0).clip(0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    canvas.colorbar(scale, ax=axes, fraction=0.03, pad=0.02).ax.tick_params(labelsize=8)
    return canvas.figure


def _strip(images: Tensor, between: float) -> NDArray[np.float32]:
    """Images (N, C, H, W) side by side, with lines between them: (H, W'), or (H, W', 3) in colour."""
    wide = laid_out(images.float().cpu(), len(images), between)
    return (wide.permute(1, 2, 0) if len(wide) == 3 else wide.mean(0)).numpy()
