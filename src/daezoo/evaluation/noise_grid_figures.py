"""What `daezoo noise-grid` shows: heat maps and tables."""

import re
from collections.abc import Sequence
from math import isfinite
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from rich.console import Console
from rich.table import Table

from daezoo.evaluation.noise_grid import Condition, Row


class Panel(NamedTuple):
    """How one of the numbers is drawn: its name and unit, and colours of which the brighter are better."""

    title: str
    colors: str
    log: bool
    factor: float
    digits: int


PANELS = (
    Panel("mse (data in [0, 1])", "viridis_r", True, 1.0, 4),
    Panel("psnr (dB)", "viridis", False, 1.0, 1),
    Panel("probe accuracy (%)", "viridis", False, 100.0, 1),
)


class Line(NamedTuple):
    """A row of a heat map: the mean over the runs of one class and training condition, or a baseline.

    Attributes:
        denoiser: As in Row.
        kind: The training noise's type; empty for a baseline or training without noise.
        level: The training noise's level, or none.
        runs: How many were averaged; 0 for a baseline.
        cells: mse, psnr and probe accuracy by the type and level of the test noise.
    """

    denoiser: str
    kind: str
    level: str
    runs: int
    cells: dict[tuple[str, float | None], tuple[float, float, float]]


def averaged(rows: Sequence[Row]) -> list[Line]:
    """The rows of heat maps: runs of the same class and training condition are averaged."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        plain = row.train_corruption == "Clean" or row.train_level == "0"
        condition = ("", "none") if plain else (row.train_corruption, row.train_level)
        groups.setdefault((row.denoiser, *condition), []).append(row)
    lines = []
    for key, members in groups.items():
        cells: dict[tuple[str, float | None], list[Row]] = {}
        for row in members:
            cells.setdefault((row.test_corruption, row.test_level), []).append(row)
        means = {place: _mean([row[7:10] for row in of_place]) for place, of_place in cells.items()}
        lines.append(Line(*key, len({row.run for row in members if row.run}), means))
    return lines


def _mean(values: Sequence[tuple[Any, ...]]) -> tuple[float, float, float]:
    mse, psnr, accuracy = np.mean(np.array(values, dtype=float), 0)  # None becomes NaN
    return float(mse), float(psnr), float(accuracy)


def label(line: Line, several: bool, short: bool = False) -> str:
    """What a row of a heat map or a table is called.

    Args:
        line: The row.
        several: Whether the model's class has to be said.
        short: Leave out the type of the training noise.
    """
    model = [line.denoiser.removesuffix("DAE")] if several or not line.runs else []
    condition = [line.level] if short or not line.kind else [line.kind, line.level]
    return " ".join(part for part in model + condition + ([f"×{line.runs}"] if line.runs > 1 else []) if part)


def heat_maps(
    lines: Sequence[Line],
    columns: dict[tuple[str, float | None], str],
    rows: Sequence[str],
    axes: tuple[str, str],
    title: str,
) -> Figure:
    """Panels of mse, psnr and, where it is known, probe accuracy; brighter is better.

    Colours span the runs' values and the baselines' on noisy inputs; a baseline that gives back a clean input takes the
    end of the scale.

    Args:
        lines: The rows.
        columns: Test conditions with their labels.
        rows: The rows' labels.
        axes: What columns and rows are, with units.
        title: Above the panels.
    """
    values = np.array([[line.cells[place] for place in columns] for line in lines]).transpose(2, 0, 1)
    trained = np.array([line.runs > 0 for line in lines])
    counted = trained[:, None] | np.array([level != 0 for _, level in columns])
    panels = [(one, grid * one.factor) for one, grid in zip(PANELS, values, strict=True) if not np.isnan(grid).all()]
    height, width = counted.shape
    size = (
        len(panels) * (0.62 * width + 1.2) + 0.08 * max(len(part) for row in rows for part in row.splitlines()) + 0.4,
        0.34 * height + 1.6,
    )
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=9)
    for (panel, grid), axis in zip(panels, figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], strict=True):
        spanned = grid[counted & np.isfinite(grid) & (grid > 0)]
        low, high = (float(spanned.min()), float(spanned.max())) if spanned.size else (0.5, 1.0)
        norm = (LogNorm if panel.log else Normalize)(low, max(high, low * 1.01))
        inside = np.clip(grid, low, high)
        image = axis.imshow(inside, cmap=panel.colors, norm=norm, aspect="auto")
        for (i, j), light in np.ndenumerate(_luminance(image.to_rgba(inside))):
            number = _short(grid[i, j], panel.digits)
            axis.text(j, i, number, ha="center", va="center", fontsize=7, color="black" if light > 0.179 else "white")
        axis.axhline(trained.sum() - 0.5, color="white", linewidth=2)
        axis.set_xticks(range(width), columns.values(), fontsize=7)
        axis.set_yticks(range(height), rows, fontsize=7)
        axis.set_title(panel.title, fontsize=9)
        axis.set_xlabel(axes[0], fontsize=8)
        axis.tick_params(length=0)
        axis.label_outer()
        ticks = LogLocator(subs=(1, 2, 5)) if panel.log else MaxNLocator(5)
        bar = figure.colorbar(image, ax=axis, fraction=0.08, aspect=6 * height, pad=0.02, ticks=ticks, format="{x:g}")
        bar.ax.tick_params(labelsize=6)
        bar.minorticks_off()
    figure.axes[0].set_ylabel(axes[1], fontsize=8)
    return figure


def _luminance(colors: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours (..., 4) on white; above 0.179 black has more contrast than white (WCAG)."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return linear[..., :3] @ np.array([0.2126, 0.7152, 0.0722]) + 1 - colors[..., 3]


def _short(value: float, digits: int) -> str:
    if not isfinite(value):
        return "∞" if value > 0 else "NaN"
    return f"{value:.0e}" if 0 < value < 10.0**-digits else f"{value:.{digits}f}"


def pictures(rows: Sequence[Row], tested: Sequence[Condition], data: str) -> dict[str, Figure]:
    """The heat maps by file name: levels-TYPE.png for each type with a level, and types.png.

    Args:
        rows: As `judge` returns them.
        tested: The test conditions.
        data: Name of the data.
    """
    lines = averaged(rows)
    several = len({line.denoiser for line in lines if line.runs}) > 1

    def title(shown: Sequence[Line]) -> str:
        means = "; ×n: mean of n runs" if any(line.runs > 1 for line in shown) else ""
        return f"{data}, {rows[0].samples:,} test samples{means}"

    kinds = {kind: [one for one in tested if one.kind == kind] for kind in dict.fromkeys(one.kind for one in tested)}
    found, picked = {}, {(tested[0].kind, tested[0].level): "clean"}
    for kind, members in kinds.items():
        noisy = [one for one in members if one.level != 0]
        levels = [one.level for one in noisy if one.level is not None]
        middle = (min(levels) + max(levels)) / 2 if levels else 0.0
        for one in sorted(noisy, key=lambda one: abs((one.level or 0) - middle))[:1]:
            picked[kind, one.level] = fill(
                f"{kind} {'' if one.level is None else f'{one.level:g}'}", 14, break_long_words=False
            )
        if not levels:
            continue
        corruption = noisy[0].corruption
        unit = f"{corruption.level_name} ({corruption.unit})"
        shown = [line for line in lines if line.kind in (kind, "")]
        columns = {(kind, one.level): f"{one.level:g}" if one.level else "0\nclean" for one in members}
        labels = [label(line, several, short=True) for line in shown]
        name = f"levels-{re.sub(r'[^A-Za-z0-9.=]+', '-', kind).strip('-')}.png"
        found[name] = heat_maps(shown, columns, labels, (f"test {unit}", f"training {unit}"), f"{kind}: {title(shown)}")
    labels = [fill(label(line, several), 28, break_long_words=False) for line in lines]
    found["types.png"] = heat_maps(lines, picked, labels, ("test noise", "training noise"), title(lines))
    return found


def print_tables(rows: Sequence[Row], tested: Sequence[Condition]) -> None:
    """Print mse and probe accuracy, a table for each type of test noise."""
    lines = averaged(rows)
    several = len({line.denoiser for line in lines if line.runs}) > 1
    probed = ", ".join(dict.fromkeys(row.probe for row in rows if row.probe is not None))
    for kind in dict.fromkeys(one.kind for one in tested):
        levels = [one.level for one in tested if one.kind == kind]
        table = Table(
            title=f"tested with {kind}: mse{f' and probe accuracy (%, {probed})' if probed else ''}",
            title_justify="left",
        )
        table.add_column("trained with", overflow="fold")
        for level in levels:
            name = "as it is" if level is None else f"{level:g}" if level else "clean"
            table.add_column(name, justify="right", overflow="fold")
        for number, line in enumerate(lines):
            cells = [line.cells[kind, level] for level in levels]
            shown = [_short(mse, 4) + (f" {100 * accuracy:.1f}" if probed else "") for mse, _, accuracy in cells]
            last = number + 1 < len(lines) and line.runs > 0 and lines[number + 1].runs == 0
            table.add_row(label(line, several), *shown, end_section=last)
        Console().print(table)
