"""Markdown tables and a plot from the rows of a study."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure

from daezoo.figures import save
from daezoo.files import write_text
from daezoo.studies import anomaly_tables, family_tables, samples_tables
from daezoo.studies import restoration_tables as restoration
from daezoo.studies import vincent2010_tables as vincent2010
from daezoo.studies.cells import rows_of
from daezoo.studies.markdown import Rows, grouped, spread, table

HEAD = """# Results

Rendered by `daezoo reproduce --render` from the tables in `docs/studies`, which `daezoo reproduce STUDY` adds to;
not typed.
"""
FEATURES = """## Linear probe of the shipped models

`daezoo reproduce features`. Test accuracy in %, mean ± standard deviation over seeds, by the protocol named: codes
of clean samples in float32, standardised; multinomial logistic regression, L2 strength picked on the validation
split, refitted on training and validation split. Beside it the same probe on the untrained encoder and on raw
pixels, and kNN (cosine, k = 20) on the codes. One test split of 10,000 has a 95 % interval of about ± 0.3 at 98 %
and ± 0.6 at 90 %. In brackets is what is not as shipped; `arrays` is CIFAR-10 (`--cifar FILE.npz`: 39,952 images for
training and validation, 9,980 for test). Raw pixels of whitened data are whitened.
"""
TUNED = """## Fine-tuning

`daezoo reproduce finetuning`. Test error in % of `daezoo finetune` (protocol finetune-v1), and of the same network
trained the same way from its initial weights; mean ± standard deviation over seeds, of pretraining and fine-tuning
alike. The stack by default settings; one layer of 1,000 logistic units on adversarial inputs of clean ones, 30 epochs.
Published for such a layer (Rifai et al., 2011; plain gradient descent): 1.78 without noise, 1.18 with Gaussian noise,
1.14 contractive, of which the last two differ by four test images.
"""
CORRUPTIONS = """## Which corruption makes the best features

`daezoo reproduce corruptions`: the shipped vanilla model on MNIST, trained with one kind of noise at one level.
Test accuracy in % by `logreg-v1`. A difference below 0.4 is within the interval of one test
split.

![Probe accuracy over the level of each corruption](images/corruptions.png)
"""


PATCHES = """## Filters of natural images

`daezoo reproduce patches`: one layer of {hidden} logistic units, tied weights, squared error, {epochs} epochs on 50,000
patches of 12 x 12 pixels of {photographs}, whitened
to a variance of 0.1 as Olshausen and Field's. Salt and pepper are 1 and -1; masked pixels become the mean, 0.
Orientedness is the mean coherence of the structure tensor of the 60 filters of the largest norm: 1 for straight edges,
near 0 for round blobs and for noise; beside it that of the same layer before training. The errors are of test patches
under the training noise.

![Filters of one layer under six kinds of noise](images/patches.png)
"""

IMPUTATION = """## Empty cells of a table

`daezoo reproduce imputation`: breast_cancer of scikit-learn, 569 rows of 30 numbers, of which a fifth is emptied,
completely at random. Root mean square error of what is filled in, over the standard deviation of its column, of the
empty cells of 114 test rows; mean ± standard deviation over seeds, of cells, splits and training alike. The denoiser
learns from 398 rows, which are as full of holes; the imputers of scikit-learn have 57 more, which are its validation
split. Seconds are of fitting and filling, on a CPU. The denoiser's noise and passes were tried out on such cells, those
of scikit-learn are its defaults, so that a lead of less than a standard deviation is none.
"""


def features(rows: Rows) -> str:
    """Section of the study `features`."""
    shares = {"accuracy": "accuracy", "untrained": "untrained", "raw_pixels": "raw pixels", "knn": "kNN"}
    lines = []
    rows = sorted(rows, key=lambda row: (row["data"], row["model"]))
    for (data, model, variant, protocol), one in grouped(rows, "data", "model", "variant", "protocol").items():
        name = f"{model} ({variant})" if variant else model
        lines.append([data, name, protocol, one[0]["features"], *(spread(one, n) for n in shares), str(len(one))])
    head = ["data", "model", "protocol", "features", *shares.values(), "seeds"]
    return FEATURES + "\n" + table(head, lines)


def finetuning(rows: Rows) -> str:
    """Section of the study `finetuning`."""
    lines = []
    for (data, model, variant), one in grouped(rows, "data", "model", "variant").items():
        errors = [spread(one, f"{name}_error") if one[0][f"{name}_error"] else "" for name in ("pretrained", "scratch")]
        lines.append([data, f"{model} ({variant})" if variant else model, *errors, str(len(one))])
    return TUNED + "\n" + table(["data", "model", "pretrained", "not pretrained", "seeds"], lines)


def corruptions(rows: Rows) -> str:
    """Section of the study `corruptions`."""
    lines = [
        [
            kind,
            level,
            *(spread(one, name) for name in ("accuracy", "knn")),
            f"{mean(float(row['effective_rank']) for row in one):.0f}",
            str(len(one)),
        ]
        for (kind, level), one in grouped([row | split(row) for row in rows], "kind", "level").items()
    ]
    text = CORRUPTIONS + "\n" + table(["corruption", "level", "probe", "kNN", "effective rank", "seeds"], lines)
    seeds = list({row["seed"]: row for row in rows}.values())  # each seed's baselines are those of all its rows
    base = ", ".join(f"{label} {spread(seeds, name)}" for name, label in BASELINES.items())
    return f"{text}\nThe same probe without training: {base}.\n"


BASELINES = {"untrained": "untrained encoder", "raw_pixels": "raw pixels"}


def split(row: Mapping[str, str]) -> dict[str, str]:
    """Kind and level of a row's variant: `Masking 0.25`."""
    kind, _, level = row["variant"].partition(" ")
    return {"kind": kind, "level": level}


def plot_corruptions(rows: Rows) -> Figure:
    """Probe accuracy over level, a line for each kind, between raw pixels and training without noise."""
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axis = figure.subplots()
    for (kind,), one in grouped([row | split(row) for row in rows], "kind").items():
        points = sorted(
            (float(level or 0), mean(100 * float(row["accuracy"]) for row in same))
            for (level,), same in grouped(one, "level").items()
        )
        if kind == "Clean":
            axis.axhline(points[0][1], color="black", linestyle="--", label="no noise")
        else:
            axis.plot(*zip(*points, strict=True), marker="o", label=kind)
    for style, (name, label) in zip(("-.", ":"), BASELINES.items(), strict=True):
        axis.axhline(mean(100 * float(row[name]) for row in rows), color="gray", linestyle=style, label=label)
    axis.set(xlabel="training level: sigma (Gaussian) or ratio", ylabel="test accuracy of the linear probe (%)")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="center right", bbox_to_anchor=(1, 0.4))
    return figure


def patches(rows: Rows) -> str:
    """Section of the study `patches`."""
    lines = [
        [
            row["noise"],
            *(f"{float(row[name]):.2f}" for name in ("orientedness", "untrained")),
            *(f"{float(row[name]):.4f}" for name in ("mse", "mse_noisy_input")),
        ]
        for row in rows
    ]
    head = ["trained under", "orientedness", "untrained", "mse", "noisy input"]
    return PATCHES.format(**rows[0]) + "\n" + table(head, lines)


def imputation(rows: Rows) -> str:
    """Section of the study `imputation`."""
    lines = []
    for (method,), one in grouped(rows, "method").items():
        errors = [float(row["rmse"]) for row in one]
        deviation = f" ± {stdev(errors):.3f}" if len(errors) > 1 else ""
        seconds = mean(float(row["seconds"]) for row in one)
        lines.append([method, f"{mean(errors):.3f}{deviation}", f"{seconds:.1f}", str(len(one))])
    return IMPUTATION + "\n" + table(["method", "error", "seconds", "seeds"], lines)


SECTIONS = {
    "features": features,
    "finetuning": finetuning,
    "corruptions": corruptions,
    "vincent2010": vincent2010.section,
    "patches": patches,
    "restoration": restoration.section,
    "anomaly": anomaly_tables.section,
    "samples": samples_tables.section,
    "family": family_tables.section,
    "imputation": imputation,
}


def results(tables: Path) -> str:
    """The text of docs/results.md, from the tables in a folder."""
    found = {name: rows_of(tables / f"{name}.csv") for name in SECTIONS}
    text = "\n".join([HEAD, *(SECTIONS[name](rows) for name, rows in found.items() if rows)])
    # pictures that need trained models may not be drawn yet
    shown = [part for part in text.split("\n\n") if all((tables.parent / path).is_file() for path in pictures(part))]
    return "\n\n".join(shown)


def pictures(text: str) -> list[str]:
    """The paths of the pictures in a Markdown text."""
    return re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)


def render(docs: Path) -> list[Path]:
    """Write docs/results.md and its plots; what was written."""
    written = [docs / "results.md"]
    plots: dict[str, dict[str, Callable[[Rows], Figure | None]]] = {
        "corruptions": {"corruptions": plot_corruptions},
        "vincent2010": vincent2010.PLOTS,
        "restoration": restoration.PLOTS,
    }
    for study, drawn in plots.items():
        rows = rows_of(docs / "studies" / f"{study}.csv")
        for name, plot in drawn.items():
            figure = plot(rows) if rows else None
            if figure is not None:
                written.append(docs / "images" / f"{name}.png")
                save(figure, written[-1])
    write_text(written[0], results(docs / "studies"))
    return written
