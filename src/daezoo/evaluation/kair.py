"""Restoration of whole pictures by the protocol under which the published denoisers are compared."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import mean

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

PROTOCOLS = {
    1: "kair-gray-v1",
    3: "kair-color-v1",
}
"""Names, by the pictures' channels."""
PROTOCOL = (
    "{name}: data in [0, 1], Gaussian noise of sigma/255 drawn by NumPy's RandomState(0) anew for every picture, "
    "neither clipped nor quantised; the output clipped and rounded to 8 bits; psnr (dB) over the whole picture, ssim "
    "with a Gaussian window of 11 x 11 and 1.5 pixels, without borders; psnr_float before clipping and rounding; means "
    "over pictures"
)

Denoiser = Callable[[Tensor, float], Tensor]
"""Restores noisy pictures (1, C, H, W), float32, whose noise has a standard deviation in data units."""


@dataclass(frozen=True)
class Scores:
    """How near a restored picture is to the clean one.

    Attributes:
        psnr: Peak signal-to-noise ratio of 8-bit pictures, in dB; infinite if they are equal.
        ssim: Structural similarity of 8-bit pictures (Wang et al., 2004), at most 1; not a number below 11 pixels.
        psnr_float: As psnr, before the restored picture was clipped and rounded.
    """

    psnr: float
    ssim: float
    psnr_float: float


def noisy_of(clean: Tensor, sigma: float) -> Tensor:
    """A picture under the protocol's noise, float32 (C, H, W).

    Args:
        clean: uint8 (C, H, W).
        sigma: Standard deviation of the noise, of values in 0..255.
    """
    picture = clean.permute(1, 2, 0).numpy()
    noise = np.random.RandomState(0).normal(0, sigma / 255, picture.shape)
    noisy = (picture.astype(np.float32) / np.float32(255) + noise).astype(np.float32)
    return torch.from_numpy(noisy).permute(2, 0, 1).contiguous()


def score(restored: Tensor, clean: Tensor) -> Scores:
    """Compare a restored picture with the clean one.

    Args:
        restored: Floating point (C, H, W), data in [0, 1], on the CPU.
        clean: uint8 (C, H, W).
    """
    target, guess = clean.double(), 255 * restored.double()
    rounded = guess.clamp(0, 255).round()
    ssim = float("nan")
    if min(clean.shape[1:]) >= 11:
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        ssim = float(structural_similarity(rounded.numpy(), target.numpy(), channel_axis=0, data_range=255, **window))
    return Scores(_psnr(rounded, target), ssim, _psnr(guess, target))


def _psnr(guess: Tensor, target: Tensor) -> float:
    error = float((guess - target).square().mean())
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def means(scores: Iterable[Scores]) -> dict[str, float]:
    """The mean of every score over pictures."""
    rows = [asdict(one) for one in scores]
    return {name: mean(row[name] for row in rows) for name in rows[0]}


def judge(denoise: Denoiser, pictures: Mapping[str, Tensor], sigma: float) -> dict[str, Scores]:
    """The scores of every picture.

    Args:
        denoise: What restores them.
        pictures: uint8 (C, H, W), by name.
        sigma: Standard deviation of the noise, of values in 0..255.
    """
    found = {}
    for name, clean in pictures.items():
        found[name] = score(denoise(noisy_of(clean, sigma)[None], sigma / 255)[0].cpu(), clean)
    return found
