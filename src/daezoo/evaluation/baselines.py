"""Denoisers that learn nothing, beside which a model's numbers mean something.

They are told the noise level. What they have to be told besides was picked on 15 of the 400 training pictures of
BSD400, by hand, at the levels 15, 25 and 50.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet
from torch import Tensor

from daezoo.evaluation.kair import Denoiser

Picture = NDArray[np.float32]
"""(H, W, C), in [0, 1]."""


def blurred(noisy: Picture, sigma: float) -> Picture:
    """Gaussian blur, wider for more noise."""
    width = 0.3 + 5 * sigma
    return ndimage.gaussian_filter(noisy, (width, width, 0), mode="reflect")


def median(noisy: Picture, sigma: float) -> Picture:
    """Median of a square of 3 x 3 pixels, or of 5 x 5 where there is more noise."""
    side = 3 if sigma < 35 / 255 else 5
    return ndimage.median_filter(noisy, (side, side, 1), mode="reflect")


def total_variation(noisy: Picture, sigma: float) -> Picture:
    """Total variation (Chambolle, 2004)."""
    weight = max(1e-6, (0.5 + 2 * sigma) * sigma)
    return np.asarray(denoise_tv_chambolle(noisy, weight=weight, channel_axis=2), np.float32)


def non_local_means(noisy: Picture, sigma: float) -> Picture:
    """Non-local means (Buades, Coll, Morel, 2005): patches of 5 x 5 in a window of 21 x 21.

    A line of pixels, which has no patches, stays as it is.
    """
    if min(noisy.shape[:2]) < 2:  # patches of a line are points
        return noisy
    grey = noisy.shape[2] == 1  # one channel on an axis of its own is not taken
    options = {"h": max(1e-6, 0.6 * sigma), "sigma": sigma, "patch_size": 5, "patch_distance": 10, "fast_mode": True}
    found = denoise_nl_means(noisy[:, :, 0] if grey else noisy, channel_axis=None if grey else 2, **options)
    return np.asarray(found, np.float32).reshape(noisy.shape)


def wavelets(noisy: Picture, sigma: float) -> Picture:
    """Soft thresholds of wavelet coefficients, for each subband (BayesShrink: Chang, Yu, Vetterli, 2000).

    A line of pixels stays as it is.
    """
    if min(noisy.shape[:2]) < 2:
        return noisy
    options = {"wavelet": "db2", "method": "BayesShrink", "mode": "soft", "channel_axis": 2, "rescale_sigma": True}
    with warnings.catch_warnings(action="ignore"):  # of pictures that are smaller than a wavelet
        return np.asarray(denoise_wavelet(noisy, sigma=max(1e-6, sigma), **options), np.float32)


def bm3d(noisy: Picture, sigma: float) -> Picture:
    """BM3D (Dabov et al., 2007), by the package bm3d."""
    package = import_module("bm3d")
    found = package.bm3d(noisy, sigma) if noisy.shape[2] == 1 else package.bm3d_rgb(noisy, sigma)
    return np.asarray(found, np.float32).reshape(noisy.shape)


METHODS: dict[str, Callable[[Picture, float], Picture]] = {
    "noisy input": lambda noisy, sigma: noisy,
    "Gaussian blur": blurred,
    "median": median,
    "total variation": total_variation,
    "non-local means": non_local_means,
    "wavelets": wavelets,
    **({"BM3D": bm3d} if find_spec("bm3d") else {}),
}


def denoiser(name: str) -> Denoiser:
    """A method as the protocol wants it: of pictures (1, C, H, W)."""

    def denoise(noisy: Tensor, sigma: float) -> Tensor:
        found = METHODS[name](noisy[0].permute(1, 2, 0).numpy(), sigma)
        return torch.from_numpy(np.ascontiguousarray(found)).permute(2, 0, 1)[None]

    return denoise
