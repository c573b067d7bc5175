"""What the study `restoration` found, beside what was published: tables and plots from its rows."""

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure
from torch import Tensor

from daezoo.evaluation.kair import PROTOCOL
from daezoo.studies.markdown import Rows, grouped, of, table

SETS = {"bsd68": 1, "set12": 1, "photographs": 3}
"""Sets of pictures, and their channels."""
SWEPT = ("set12", "photographs")
"""The sets on which models are measured at many noise levels."""
OVERLAP = "04.png"
"""The picture of Set12 that a training picture of BSD400 overlaps."""
PUBLISHED = {
    "bsd68": {
        "BM3D": (31.08, 28.57, 25.60),
        "DnCNN-S": (31.73, 29.23, 26.23),
        "DnCNN-B": (31.61, 29.16, 26.23),
        "FFDNet": (31.63, 29.19, 26.29),
        "DRUNet": (31.91, 29.48, 26.59),
    },
    "set12": {
        "BM3D": (32.37, 29.97, 26.72),
        "DnCNN-S": (32.86, 30.44, 27.18),
        "DnCNN-B": (32.68, 30.36, 27.21),
        "FFDNet": (32.75, 30.43, 27.32),
        "DRUNet": (33.25, 30.94, 27.90),
    },
}
"""Mean PSNR at sigma 15, 25 and 50, as Zhang et al. (2017, 2018, 2021) print them, BM3D (Dabov et al., 2007) too."""
LEVELS = ("15", "25", "50")
UNTOUCHED = "noisy input"
"""The method that does nothing; its rows also have the estimate of the noise level."""

SECTION = """## Denoising photographs

`daezoo reproduce restoration`. {protocol}. Nothing was picked on these pictures: what is picked is picked on a part of
the training pictures. Published numbers are marked by "published"; DnCNN was trained on the 400 pictures of BSD400, as
our grey models, FFDNet and DRUNet on more, DRUNet on some 8,600 large ones. "without {overlap}" leaves out the picture
of Set12 that a training picture overlaps. What learns nothing is told the noise level, and so are the models that take
it.
"""
TITLES = {
    "bsd68": "BSD68, grey",
    "set12": "Set12, grey",
    "photographs": "Three colour photographs that ship with scikit-learn and scikit-image",
}
FIGURES = """A photograph under noise of 25/255, a part of it, with the PSNR of the whole:
![Grey: the noisy photograph, and what each method makes of it](images/restoration-grey.png)

![Colour: the noisy photograph, and what each method makes of it](images/restoration-colour.png)

![PSNR over the noise level, inside and outside of the levels of training](images/restoration-sweep.png)
"""


def section(rows: Rows) -> str:
    """Section of the study."""
    text = SECTION.format(protocol=PROTOCOL.format(name="kair-gray-v1, and kair-color-v1 for colours"), overlap=OVERLAP)
    for (name,), one in grouped(rows, "set").items():
        text += f"\n### {TITLES[name]}\n\n{scores(name, one)}{estimates(of(one, method=UNTOUCHED))}"
    return f"{text}\n{FIGURES}"


def scores(name: str, rows: Rows) -> str:
    """The table of a set."""
    overlaps = any(row["psnr_rest"] for row in rows)
    lines = [
        [f"{method}, published", "", *(f"{value:.2f}" for value in values), *[""] * (3 + 3 * overlaps)]
        for method, values in PUBLISHED.get(name, {}).items()
    ]
    for (method,), one in grouped(rows, "method").items():
        levels = [next(iter(of(one, sigma=sigma)), None) for sigma in LEVELS]
        lines.append([method, trained(one[0]), *(shown(row, "psnr", 2) for row in levels)])
        lines[-1] += [shown(row, "psnr_rest", 2) for row in levels] if overlaps else []
        lines[-1] += [shown(row, "ssim", 4) for row in levels]
    head = ["method", "trained at", *(f"PSNR at {sigma}" for sigma in LEVELS)]
    head += [f"without {OVERLAP}, at {sigma}" for sigma in LEVELS] if overlaps else []
    return table([*head, *(f"SSIM at {sigma}" for sigma in LEVELS)], lines)


def estimates(rows: Rows) -> str:
    """What the noise is taken for by `daezoo denoise --sigma auto`; nothing if there are no rows."""
    said = [
        f"{row['sigma']} for {float(row['estimate']):.1f} (root mean square error {float(row['estimate_error']):.1f})"
        for row in rows
    ]
    return f"\n`daezoo denoise --sigma auto` takes a noise of {', '.join(said)}.\n" if said else ""


def trained(row: Mapping[str, str]) -> str:
    """The noise levels of a model's training; nothing for what learns nothing."""
    return row["low"] if row["low"] == row["high"] else f"{row['low']} to {row['high']}"


def shown(row: Mapping[str, str] | None, name: str, digits: int) -> str:
    """A number of a row; nothing if there is none."""
    return f"{float(row[name]):.{digits}f}" if row is not None and row[name] else ""


def plot_sweep(rows: Rows) -> Figure | None:
    """PSNR over the noise level, a line for each model: dashed outside of the levels of its training."""
    swept = [row for row in rows if row["low"] and row["set"] in SWEPT]
    groups = grouped(swept, "set", "method")
    if not any(len(one) > len(LEVELS) for one in groups.values()):
        return None
    names = [name for name in SETS if any(name == of_set for of_set, _ in groups)]
    figure = Figure(figsize=(5.2 * len(names), 4), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for (of_set, method), one in groups.items():
            if of_set != name:
                continue
            points = sorted((float(row["sigma"]), float(row["psnr"])) for row in one)
            low, high = float(one[0]["low"]), float(one[0]["high"])
            label = f"{method}, trained at {trained(one[0])}"
            (line,) = axis.plot(*zip(*points, strict=True), linestyle="--", linewidth=1, label=label)
            inside = [point for point in points if low - 0.5 <= point[0] <= high + 0.5]
            if inside:
                axis.plot(*zip(*inside, strict=True), color=line.get_color(), marker="o", markersize=4)
        axis.set(title=TITLES[name], xlabel="noise level, of values in 0..255", ylabel="PSNR (dB)")
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


PLOTS: dict[str, Callable[[Rows], Figure | None]] = {"restoration-sweep": plot_sweep}


def panels(pictures: Mapping[str, Tensor], columns: int = 5) -> Figure:
    """Pictures (C, H, W), in [0, 1] or beyond, side by side with their names."""
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
        shown = picture.clamp(0, 1).permute(1, 2, 0).numpy()
        axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=9)
    for axis in figure.axes:
        axis.set_axis_off()
    return figure
