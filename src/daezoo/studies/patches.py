"""`daezoo reproduce patches`: which filters one layer learns from patches of photographs, under which noise."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from daezoo.figures import save, strongest, tiled
from daezoo.parser import Parser
from daezoo.runs import summary_of
from daezoo.studies.cells import add_row, configurations, rows_of, trained
from daezoo.studies.tables import render
from daezoo.zoo.measure import opened

SHOWN = 60
"""Filters in a panel, those of the largest norm."""
NOISES = {
    "no noise": ("--data.corruption", "Clean"),
    "weight decay": ("--data.corruption", "Clean", "--model.optimizer.weight_decay", "0.5"),
    "Gaussian 0.1": ("--data.corruption", "Gaussian", "--data.corruption.sigma", "0.1"),
    "Gaussian 0.5": ("--data.corruption", "Gaussian", "--data.corruption.sigma", "0.5"),
    "salt and pepper 0.1": (
        *("--data.corruption", "SaltAndPepper", "--data.corruption.ratio", "0.1"),
        *("--data.corruption.low", "-1", "--data.corruption.high", "1"),
    ),
    "masking 0.5": ("--data.corruption", "Masking", "--data.corruption.ratio", "0.5"),
}
"""What is trained: name, and options of `daezoo fit`."""


def orientedness(filters: Tensor) -> Tensor:
    """How much a filter is an edge: the coherence (λ₁ − λ₂) / (λ₁ + λ₂) of its structure tensor, in [0, 1].

    λ₁ ≥ λ₂ are the eigenvalues of Σ ∇w ∇wᵀ over the filter's pixels: 0 for a round blob, and near it for noise; 1 for
    a grating or a straight edge (Bigün and Granlund, 1987).

    Args:
        filters: (N, C, H, W).

    Returns:
        (N,); 0 for a filter that is constant.
    """
    down, right = torch.gradient(filters.double().mean(1), dim=(1, 2))
    xx, yy, xy = ((a * b).sum((1, 2)) for a, b in ((right, right), (down, down), (right, down)))
    return ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy).clamp_min(1e-300)


def panels(filters: dict[str, Tensor], columns: int = 10) -> Figure:
    """The filters of the largest norm under each noise, a panel each.

    Args:
        filters: (N, C, H, W), by name.
        columns: Filters in a row.
    """
    figure = Figure(figsize=(10.5, 2.5 * -(-len(filters) // 3)), layout="constrained")
    axes = figure.subplots(-(-len(filters) // 3), 3, squeeze=False).flat
    for axis, (name, weights) in zip(axes, filters.items(), strict=False):
        axis.imshow(tiled(strongest(weights, SHOWN), columns), cmap="gray", interpolation="nearest")
        axis.set_title(f"{name}, orientedness {float(orientedness(strongest(weights, SHOWN)).mean()):.2f}", fontsize=10)
    for axis in figure.axes:
        axis.set_axis_off()
    return figure


def run(args: list[str]) -> None:
    """Train what is not trained yet, draw the figure and render the results.

    Args:
        args: The command line, without the command and the study.
    """
    parser = Parser(prog="daezoo reproduce patches", description="Filters of patches of photographs under noise.")
    parser.add_argument("--hidden", type=int, default=144, help="Units.")
    parser.add_argument("--epochs", type=int, default=100, help="Epochs.")
    parser.add_argument("--photographs", type=str | None, help="A folder of photographs instead of the shipped ones.")
    parser.add_argument("--configs", type=str, default="configs", help="The configurations of a checkout.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/*.csv, images and results.md go.")
    parser.add_argument("--runs", type=str, default="runs/studies", help="Folder that holds the run folders.")
    options = parser.parse_args(args)
    if min(options.hidden, options.epochs) < 1:
        raise ValueError(f"--hidden and --epochs must be at least 1, got {options.hidden} and {options.epochs}.")
    configs, folder, docs = configurations(options.configs), Path(options.runs), Path(options.docs)
    table = docs / "studies" / "patches.csv"
    settings = {
        "hidden": str(options.hidden),
        "epochs": str(options.epochs),
        "photographs": options.photographs or "the photographs that ship with scikit-learn and scikit-image",
    }
    if any(not settings.items() <= row.items() for row in rows_of(table)):
        raise ValueError(f"{table} has rows of other options. Delete it, or pass --docs DIR.")
    shared: Sequence[str] = (
        *("--model.hidden", f"[{options.hidden}]", "--model.activation", "sigmoid", "--model.loss", "SquaredError"),
        *("--model.optimizer.lr", "0.02", "--trainer.max_epochs", str(options.epochs), "--pictures", "false"),
        *(("--data.photographs", options.photographs) if options.photographs else ()),
    )
    filters = {}
    for name, noise in NOISES.items():
        run = trained(configs, folder, "vanilla", "patches", name.replace(" ", "-"), 0, [*shared, *noise])
        target = opened(str(run))
        weights, untrained = target.model.filters(), target.untrained().filters()
        assert weights is not None and untrained is not None
        filters[name] = weights
        summary = summary_of(run)
        assert summary is not None
        row = {
            "noise": name,
            **settings,
            "orientedness": float(orientedness(strongest(weights, SHOWN)).mean()),
            "untrained": float(orientedness(strongest(untrained, SHOWN)).mean()),
            "mse": summary["test"]["mse"],
            "mse_noisy_input": summary["test"]["mse_noisy_input"],
            "seconds": summary["seconds"],
            "commit": summary["commit"],
        }
        add_row(table, row, {"noise": name})
    save(panels(filters), docs / "images" / "patches.png")
    print(*render(docs), docs / "images" / "patches.png", sep="\n")
