"""Golden outputs: a few numbers of what a model makes of an input that a formula gives."""

from math import pi

import torch
from torch import Tensor

from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder
from daezoo.zoo.entry import Golden, ZooError

SAMPLES, VALUES = 4, 8
TOLERANCE = 1e-3
"""How far a number may lie from the recorded one, in standard deviations of what it is about."""
LEVEL = 0.1
"""What denoisers that need the noise level are told."""
IRRATIONAL = (5**0.5, 2**0.5, 3**0.5)


def waves(shape: tuple[int, ...]) -> Tensor:
    """Samples (4, *shape) in [0, 1]: x = max(0, sin 2π(s/4 + Σ_d f_d u_d))², u_d in [0, 1) the place along axis d.

    f = 1.5, 1, 0.5 from the last axis on: smooth stripes on a dark ground, which encoders of images react to.
    It needs no generator, so it is the same everywhere.
    """
    phase = torch.arange(SAMPLES, dtype=torch.float64).view(-1, *[1] * len(shape)) / SAMPLES
    for axis, size in enumerate(reversed(shape)):
        place = torch.arange(size, dtype=torch.float64) / size
        phase = phase + (1.5 - axis / 2) * place.view(-1, *[1] * axis)
    return (2 * pi * phase).sin().clamp_min(0).square().float()


def _numbers(x: Tensor) -> list[float]:
    """Mean, standard deviation, projections on three fixed directions, so that nothing changes unseen, some values."""
    flat = x.flatten().double().cpu()
    k = torch.arange(1, flat.numel() + 1, dtype=torch.float64)
    directions = [(k * number).frac() - 0.5 for number in IRRATIONAL]
    projections = [(flat @ direction) / direction.norm() for direction in directions]
    places = torch.linspace(0, flat.numel() - 1, VALUES).round().long()
    return [float(f"{value:.7g}") for value in [flat.mean(), flat.std(correction=0), *projections, *flat[places]]]


@torch.inference_mode()
@exact_float32()
def golden(model: DenoisingAutoencoder) -> Golden:
    """The golden output of a model in eval mode: of its code, and of its reconstruction or, if it has some, logits.

    Raises:
        ZooError: If one of them is the same everywhere, which would tell nothing.
    """
    x = waves(model.shape).to(model.device)
    parts = {"encode": _numbers(model.encode(x))}
    if model.classifier is None:
        parts["denoise"] = _numbers(model.denoise(x, LEVEL))
    else:
        parts["classify"] = _numbers(model.classify(x))
    for part in parts.values():
        if part[1] < 1e-9:
            raise ZooError(f"{type(model).__name__} gives the same for all there is in a golden input: it is dead.")
    return Golden(input="waves-v1", tolerance=TOLERANCE, **parts)


def check_golden(model: DenoisingAutoencoder, expected: Golden, name: str) -> None:
    """Compare a model's golden output with the recorded one.

    Raises:
        ZooError: If it is another.
    """
    found = golden(model)
    for part in ("encode", "denoise" if model.classifier is None else "classify"):
        ours, theirs = getattr(found, part), getattr(expected, part)
        allowed = expected.tolerance * theirs[1]
        if len(ours) != len(theirs) or any(abs(a - b) > allowed for a, b in zip(ours, theirs, strict=True)):
            raise ZooError(
                f"{name} computes something else than it did: {part} of the golden input gives {ours}, expected "
                f"{theirs}, within {allowed:.2g}. The weights are those of the entry, so the code has changed, or this "
                "machine computes differently."
            )
