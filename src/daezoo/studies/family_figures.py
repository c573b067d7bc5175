"""Pictures of the study `family`: what codes look like, and what decoders make of them."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from daezoo.batch import Batch
from daezoo.models import AdversarialDAE, ConvDAE, DenoisingAutoencoder, StackedDAE, VanillaDAE, VariationalDAE

Models = Mapping[str, DenoisingAutoencoder]
STEPS = 10
"""Codes of an interpolation or a traversal."""
TRAVERSED = ("variational", "adversarial")
"""Members of whose codes traversals are drawn."""


def decoded(model: DenoisingAutoencoder, codes: Tensor) -> Tensor | None:
    """What a decoder makes of codes (batch, code), in data space; None where a code alone is not enough."""
    if isinstance(model, VanillaDAE | StackedDAE | ConvDAE):
        output = model.network.decode(codes)
    elif isinstance(model, VariationalDAE | AdversarialDAE):
        output = model.decode(codes)
    else:
        return None
    return model.loss.link(output.view(len(codes), *model.output_shape).float())


@torch.inference_mode()
def maps(models: Models, images: Tensor, labels: Tensor) -> Figure:
    """Codes of two units, a panel for each model, coloured by class.

    Args:
        models: By what they are called.
        images: Clean samples, (batch, *shape).
        labels: Theirs, (batch,).
    """
    columns = min(4, len(models))
    rows = -(-len(models) // columns)
    figure = Figure(figsize=(3 * columns, 3 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, (name, model) in zip(axes, models.items(), strict=False):
        codes = model.encode(images)
        axis.scatter(codes[:, 0], codes[:, 1], c=labels, cmap="tab10", s=2)
        axis.set_title(name, fontsize=10)
    for axis in axes[len(models) :]:
        axis.set_axis_off()
    return figure


def strips(rows: Sequence[tuple[str, Tensor]]) -> Figure:
    """Rows of images (columns, C, H, W), with labels."""
    figure = Figure(figsize=(0.6 * max(len(images) for _, images in rows) + 1.8, 0.6 * len(rows)))
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for (label, images), axis in zip(rows, axes, strict=True):
        axis.imshow(torch.cat(list(images.mean(1)), 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(hspace=0.05)
    return figure


@torch.inference_mode()
def reconstructions(models: Models, batch: Batch) -> Figure:
    """Clean and noisy samples, and what each model makes of the noisy ones."""
    restored = [(name, model.denoise(batch.noisy, batch.level)) for name, model in models.items()]
    return strips([("clean", batch.clean), ("noisy", batch.noisy), *restored])


@torch.inference_mode()
def interpolations(models: Models, images: Tensor) -> Figure:
    """Decoded codes on the line between those of the first two samples, by each model that can."""
    first, second = images[:2]
    shares = torch.linspace(0, 1, STEPS)
    rows = [("pixels", torch.stack([first.lerp(second, float(share)) for share in shares]))]
    for name, model in models.items():
        codes = model.encode(images[:2])
        found = decoded(model, torch.stack([codes[0].lerp(codes[1], float(share)) for share in shares]))
        rows += [] if found is None else [(name, found)]
    return strips(rows)


@torch.inference_mode()
def traversals(models: Models, images: Tensor, units: int = 5) -> Figure:
    """Decoded codes of the first sample of which one unit goes from its 2nd to its 98th percentile over the samples.

    The units are those that vary most, of the models of TRAVERSED; of all models if none of these is there.

    Args:
        models: By what they are called.
        images: Clean samples, (batch, *shape), the first of which is changed.
        units: Of each model, at the most.
    """
    rows = []
    for name in [name for name in models if name in TRAVERSED] or models:
        codes = models[name].encode(images)
        low, high = codes.quantile(torch.tensor([0.02, 0.98]), 0)
        for unit in codes.var(0).topk(min(units, codes.shape[1])).indices.tolist():
            moved = codes[:1].repeat(STEPS, 1)
            moved[:, unit] = torch.linspace(float(low[unit]), float(high[unit]), STEPS)
            found = decoded(models[name], moved)
            rows += [] if found is None else [(f"{name}, unit {unit}", found)]
    return strips(rows or [("samples", images[:STEPS])])
