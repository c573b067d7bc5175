import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from daezoo.evaluation import baselines, kair

WORKING = [name for name in baselines.METHODS if name != "BM3D"]


def steps(channels: int) -> torch.Tensor:
    """A picture of flat fields and slopes, uint8 (C, 60, 80)."""
    row, column = np.mgrid[:60, :80]
    one = np.where(column < 40, 60 + row, 200 - row)
    return torch.from_numpy(np.stack([one, 255 - one, np.full_like(one, 90)][:channels]).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WORKING)
@pytest.mark.parametrize("sigma", [15, 50])
def test_each_takes_noise_away(name, channels, sigma):
    clean = steps(channels)
    noisy = kair.noisy_of(clean, sigma)[None]
    before = noisy.clone()
    restored = baselines.denoiser(name)(noisy, sigma / 255)
    assert (restored.shape, restored.dtype) == (noisy.shape, torch.float32)
    assert torch.equal(noisy, before)
    gained = kair.score(restored[0], clean).psnr_float - kair.score(noisy[0], clean).psnr_float
    assert gained == 0 if name == "noisy input" else gained > 3


@pytest.mark.parametrize("name", WORKING)
def test_none_fails_without_noise(name):
    clean = steps(1)
    restored = baselines.denoiser(name)(kair.noisy_of(clean, 0)[None], 0.0)
    assert kair.score(restored[0], clean).psnr_float > 25


def test_bm3d_is_asked_for_what_it_needs(monkeypatch):
    """The package is not ours to ship: what it is called with is all that can be tested without it."""
    calls = []

    def called(kind):
        return lambda noisy, sigma: calls.append((kind, noisy.shape, sigma)) or np.asarray(noisy, np.float64).squeeze()

    monkeypatch.setitem(sys.modules, "bm3d", SimpleNamespace(bm3d=called("grey"), bm3d_rgb=called("colour")))
    for channels, kind in ((1, "grey"), (3, "colour")):
        noisy = kair.noisy_of(steps(channels), 25).permute(1, 2, 0).numpy()
        restored = baselines.bm3d(noisy, 0.1)
        assert calls[-1] == (kind, noisy.shape, 0.1)
        assert restored.dtype == np.float32 and np.array_equal(restored, noisy)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_line_of_pixels_is_no_reason_to_stop(size, channels):
    noisy = torch.rand(1, channels, *size)
    for name in set(baselines.METHODS) - {"BM3D"}:
        assert baselines.denoiser(name)(noisy, 0.1).shape == noisy.shape
