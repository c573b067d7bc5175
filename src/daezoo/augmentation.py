"""Augmentation changes the clean sample itself, before any corruption: the target changes with it.

Frozen dataclasses over image batches (batch, C, H, W) in [0, 1]; every sample draws its own parameters.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Images = Float[Tensor, "batch channels height width"]


class Augmentation(ABC):
    """A random change of the clean images that keeps their shape and range."""

    @abstractmethod
    def __call__(self, clean: Images, generator: torch.Generator | None = None) -> Images:
        """Augmented images, (batch, C, H, W).

        Args:
            clean: Images in [0, 1]; not modified.
            generator: Where the parameters are drawn from, on the device of `clean`; torch's global one if None.
        """


@dataclass(frozen=True)
class Crop(Augmentation):
    """A random shift: pad with zeros on every side, then cut the original size out at a random place.

    Args:
        padding: Largest shift in pixels, >= 1.

    Raises:
        ValueError: If `padding` < 1.
    """

    padding: int = 2

    def __post_init__(self) -> None:
        if self.padding < 1:
            raise ValueError(f"Crop padding must be at least 1, got {self.padding}.")

    def __call__(self, clean: Images, generator: torch.Generator | None = None) -> Images:
        """Shift every image by its own offset."""
        batch, _, height, width = clean.shape
        top, left = torch.randint(2 * self.padding + 1, (2, batch, 1), generator=generator, device=clean.device)
        rows = top + torch.arange(height, device=clean.device)
        columns = left + torch.arange(width, device=clean.device)
        padded = F.pad(clean, [self.padding] * 4).permute(0, 2, 3, 1)
        sample = torch.arange(batch, device=clean.device)[:, None, None]
        return padded[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Flip(Augmentation):
    """A horizontal flip of each image with a given probability.

    Args:
        probability: In [0, 1].

    Raises:
        ValueError: If `probability` lies outside [0, 1].
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"Flip probability must lie in [0, 1], got {self.probability}.")

    def __call__(self, clean: Images, generator: torch.Generator | None = None) -> Images:
        """Mirror the chosen images left to right."""
        chosen = torch.rand(len(clean), 1, 1, 1, generator=generator, device=clean.device) < self.probability
        return torch.where(chosen, clean.flip(-1), clean)


@dataclass(frozen=True)
class Turn(Augmentation):
    """One of the eight symmetries of the square for each image: quarter turns, with or without a flip.

    Images that are not square are flipped, and turned by half a turn, but not by a quarter.
    """

    def __call__(self, clean: Images, generator: torch.Generator | None = None) -> Images:
        """Turn every image by its own draw."""
        coins = torch.rand(3, len(clean), 1, 1, 1, generator=generator, device=clean.device) < 0.5
        turned = torch.where(coins[0], clean.flip(-1), clean)
        turned = torch.where(coins[1], turned.flip(-2), turned)
        return torch.where(coins[2], turned.mT, turned) if clean.shape[-1] == clean.shape[-2] else turned


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Random brightness, contrast and saturation; the result is clipped to [0, 1].

    Each strength s draws a factor from U(1 − s, 1 + s) per image: brightness scales the image, contrast its distance
    from its mean, saturation its distance from its own grey version (nothing for one channel).

    Args:
        brightness: Strength in [0, 1].
        contrast: Strength in [0, 1].
        saturation: Strength in [0, 1].

    Raises:
        ValueError: If a strength lies outside [0, 1].
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ColorJitter {name} must lie in [0, 1], got {getattr(self, name)}.")

    def __call__(self, clean: Images, generator: torch.Generator | None = None) -> Images:
        """Jitter every image by its own factors."""
        draw = 2 * torch.rand(3, len(clean), 1, 1, 1, generator=generator, device=clean.device) - 1
        images = clean * (1 + self.brightness * draw[0])
        mean = images.mean((1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (1 + self.contrast * draw[1])
        gray = images.mean(1, keepdim=True)
        return (gray + (images - gray) * (1 + self.saturation * draw[2])).clamp(0, 1)


@dataclass(frozen=True)
class ShuffleChannels(Augmentation):
    """The channels of each image in a random order: colours that few photographs have."""

    def __call__(self, clean: Images, generator: torch.Generator | None = None) -> Images:
        """Reorder every image's channels by its own draw."""
        order = torch.rand(clean.shape[:2], generator=generator, device=clean.device).argsort(1)
        return clean.gather(1, order[:, :, None, None].expand_as(clean))


@dataclass(frozen=True)
class Binarise(Augmentation):
    """Every element becomes 1 with a probability that is its value, else 0: a Bernoulli draw."""

    def __call__(self, clean: Images, generator: torch.Generator | None = None) -> Images:
        """Draw every element."""
        return torch.bernoulli(clean, generator=generator)
