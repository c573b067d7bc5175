"""Generators of the variations of MNIST (Larochelle et al., 2007): rotated, and on backgrounds.

The original files are not available: images are made anew as the paper describes them.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

AT_ONCE = 4096


def rotated(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image turned about its centre by an angle of its own, uniform in [0, 2π), by bilinear interpolation.

    Args:
        images: uint8 (N, 1, S, S), square; what turns out of the frame is lost, what turns in is black.
        generator: CPU generator, the only source of randomness.

    Returns:
        uint8 (N, 1, S, S), and the angles in radians, counter-clockwise as seen, float64 (N,).
    """
    angles = torch.rand(len(images), generator=generator, dtype=torch.float64) * 2 * math.pi
    turned = [
        _turn(part, angle.float()) for part, angle in zip(images.split(AT_ONCE), angles.split(AT_ONCE), strict=True)
    ]
    return torch.cat(turned), angles


def _turn(images: Tensor, angle: Tensor) -> Tensor:
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # where each pixel of the result comes from; rows point down, so this turns counter-clockwise as seen
    inverse = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(inverse, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round().clamp(0, 255).byte()


def on_background(images: Tensor, background: Tensor) -> Tensor:
    """White on a background, both uint8 (N, 1, H, W): the brighter of both at each pixel, so strokes fray softly."""
    return torch.maximum(images, background)


def random_background(images: Tensor, generator: torch.Generator) -> Tensor:
    """A background of independent pixels, uniform in 0..255: uint8, shaped like the images."""
    return torch.randint(256, images.shape, generator=generator, dtype=torch.uint8)


Backgrounds = Callable[[int, torch.Generator], Tensor]
"""So many patches of photographs, uint8 (N, 1, H, W)."""


def variation(kind: str, images: Tensor, generator: torch.Generator, backgrounds: Backgrounds) -> Tensor:
    """The images of a problem, made of those of MNIST.

    Args:
        kind: basic, rot, bg-rand, bg-img or rot-bg-img.
        images: uint8 (N, 1, 28, 28).
        generator: CPU generator, the only source of randomness.
        backgrounds: Makes patches of photographs, for the last two.
    """
    if kind.startswith("rot"):
        images, _ = rotated(images, generator)
    if kind == "bg-rand":
        return on_background(images, random_background(images, generator))
    if kind.endswith("bg-img"):
        return on_background(images, backgrounds(len(images), generator))
    return images
