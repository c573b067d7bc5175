"""Pictures of what the stacks of `vincent2010` have learned: filters, and samples from the top layer down."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from daezoo.figures import strongest, tiled
from daezoo.models import StackedDAE
from daezoo.randomness import generator
from daezoo.sampling import sample_top_down


def filters(models: Mapping[str, StackedDAE], columns: int = 10, rows: int = 8) -> Figure:
    """The filters of the largest norm of each first layer, a panel each.

    Args:
        models: By what they are called.
        columns: Filters in a row of a panel.
        rows: Rows of a panel.
    """
    figure = Figure(figsize=(4 * len(models), 4 * rows / columns + 0.4), layout="constrained")
    for axis, (name, model) in zip(figure.subplots(1, len(models), squeeze=False).flat, models.items(), strict=True):
        weights = model.filters()
        assert weights is not None
        axis.imshow(tiled(strongest(weights, rows * columns), columns), cmap="gray", interpolation="nearest")
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    return figure


def samples(models: Mapping[str, StackedDAE], images: Tensor, draws: int = 4) -> Figure:
    """Images, and below them samples from their own codes down, by each model.

    Args:
        models: Stacks of logistic units, by what they are called.
        images: Clean samples, (columns, 1, H, W).
        draws: Samples of each code.
    """
    rows = [("images", images)]
    for name, model in models.items():
        codes = model.encode(images)
        draw = generator("top-down", 0)
        rows += [(name if k == 0 else "", sample_top_down(model, codes, draw)) for k in range(draws)]
    figure = Figure(figsize=(0.6 * len(images) + 1.5, 0.6 * len(rows)))
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for (label, row), axis in zip(rows, axes, strict=True):
        axis.imshow(torch.cat(list(row[:, 0]), 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    figure.subplots_adjust(hspace=0.05)
    return figure
