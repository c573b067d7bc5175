import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import fit_arguments, whole
from daezoo.data import PatchesData
from daezoo.data.location import DataMissing
from daezoo.data.patches import CUTOFF, flattened
from daezoo.data.pictures import LEAST_DEVIATION
from small_sets import folder_of, found_in, noise

SIDE, PICTURES = 128, 8  # of the noise whose spectrum is measured
SIZES = {"train": 60, "valid": 20, "test": 31}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("photographs"), noise(40, 50, 0), noise(33, 30, 1))


def loaded(folder: Path, **options: Any) -> PatchesData:
    data = PatchesData(photographs=str(folder), **({"side": 9, "batch_size": 20} | SIZES | options))
    data.setup()
    return data


def frequencies(height: int, width: int) -> Tensor:
    """Of the two-dimensional Fourier transform, cycles per pixel."""
    return torch.from_numpy(np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")))


def pink(side: int, seed: int, power: float) -> Tensor:
    """Noise whose amplitude falls as 1 / f ** power, as uint8."""
    f = frequencies(side, side)
    f[0, 0] = math.inf
    values = np.fft.ifft2(np.fft.fft2(np.random.default_rng(seed).normal(size=(side, side))) / f.numpy() ** power).real
    return torch.from_numpy((128 + 28 * values / values.std()).round().clip(0, 255).astype(np.uint8)).unsqueeze(0)


@pytest.mark.parametrize("size", [(64, 64), (41, 64), (64, 41), (33, 35)])
def test_flattened_photographs_have_mean_0_and_variance_a_tenth(size):
    found = flattened(torch.from_numpy(noise(*size)).unsqueeze(0))
    assert (found.shape, found.dtype) == ((1, *size), torch.float32)
    assert found.mean().item() == pytest.approx(0, abs=1e-6)
    assert found.var().item() == pytest.approx(0.1, rel=1e-5)


def gratings(first: tuple[int, int], second: tuple[int, int]) -> Tensor:
    """The sum of two waves of the same amplitude, so many along the height and the width of a square of 64 pixels."""
    row, column = np.mgrid[:64, :64]
    waves = [np.cos(2 * np.pi * (down * row + right * column) / 64) for down, right in (first, second)]
    return torch.from_numpy((128 + 60 * sum(waves)).round().astype(np.uint8)).unsqueeze(0)


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [
        # f of 1/8 and 1/4; (f / f₀)⁴ of 0.32⁴ and 0.64⁴
        ((8, 0), (0, 16), 2 * math.exp(0.01048576 - 0.16777216)),
        ((0, 8), (16, 0), 2 * math.exp(0.01048576 - 0.16777216)),
        # f of 5/64, on a slant, and 1/2; 0.2⁴ and 1.28⁴
        ((3, 4), (0, 32), 6.4 * math.exp(0.0016 - 2.68435456)),
        # the same f
        ((3, 4), (5, 0), 1.0),
    ],
)
def test_waves_are_amplified_as_worked_out_by_hand(first, second, ratio):
    amplitude = torch.fft.fft2(flattened(gratings(first, second))[0]).abs() / 64**2
    before = torch.fft.fft2(gratings(first, second)[0].float()).abs() / 64**2
    gain = amplitude / before
    assert (gain[second] / gain[first]).item() == pytest.approx(ratio, rel=1e-3)
    assert min(before[first], before[second]) > 29  # else the waves are not where we look


def rings(power: float) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Frequencies, rings of them up to 0.5, and the power of flattened pictures, measured and expected, at each."""
    f = frequencies(SIDE, SIDE)
    found = torch.stack([flattened(pink(SIDE, seed, power))[0] for seed in range(PICTURES)]).double()
    measured = torch.fft.fft2(found).abs().square().mean(0) / SIDE**2
    gain = f * torch.exp(-((f * 512 / 200) ** 4))
    f[0, 0] = math.inf
    expected = (gain / f**power).square()
    expected *= 0.1 * SIDE**2 / expected.sum()  # Parseval: the variance is what all frequencies sum up to
    return f, [(f >= low) & (f < low + 0.02) for low in np.arange(0.02, 0.5, 0.02)], measured, expected


@pytest.mark.parametrize("power", [1.0, 0.0], ids=["pink", "white"])
def test_spectrum_is_that_of_the_input_times_the_filter(power):
    _, parts, measured, expected = rings(power)
    for ring in parts:
        error = 4 / math.sqrt(PICTURES * ring.sum().item() / 2)  # half of the frequencies repeat the other half
        assert (measured[ring].sum() / expected[ring].sum()).item() == pytest.approx(1, abs=error + 0.02)


def test_spectrum_of_pictures_like_natural_ones_is_flat_below_the_cutoff_and_empty_above():
    f, parts, measured, _ = rings(1.0)
    flat = 0.1 * SIDE**2 / torch.exp(-2 * (f * 512 / 200) ** 4).sum()
    for ring in parts[:9]:  # up to half of the cutoff, where the filter is at 0.88 of its gain
        assert measured[ring].mean().item() == pytest.approx(flat.item(), rel=0.2)
    assert measured[f.isfinite() & (f > 1.5 * CUTOFF)].mean() < 1e-4 * flat


def test_brightness_and_contrast_of_a_photograph_do_not_matter():
    picture = torch.from_numpy(noise(40, 50) // 4).unsqueeze(0)
    torch.testing.assert_close(flattened(picture), flattened(2 * picture + 100), atol=1e-5, rtol=0)


@pytest.mark.parametrize("whiten", [True, False])
def test_splits_have_the_wanted_sizes_and_shape_and_no_labels(folder, whiten):
    data = loaded(folder, whiten=whiten)
    assert {name: len(split) for name, split in data.splits.items()} == SIZES
    for split in data.splits.values():
        sample = whole(split)
        assert list(sample.clean.shape[1:]) == data.shape == [1, 9, 9]
        assert set(sample.label.tolist()) == {-1}


def test_sizes_by_default():
    data = PatchesData()
    assert (data.shape, data.sizes) == ([1, 12, 12], {"train": 50_000, "valid": 5_000, "test": 5_000})
    assert data.whiten


def test_whitened_patches_are_cut_from_whitened_photographs(folder):
    pictures = [flattened(torch.from_numpy(picture).unsqueeze(0)) for picture in (noise(40, 50, 0), noise(33, 30, 1))]
    for split in loaded(folder).splits.values():
        clean = whole(split).clean
        first, second = (found_in(clean, picture) for picture in pictures)
        assert clean.dtype == torch.float32
        assert (first ^ second).all()
        assert first.any()
        assert second.any()


def test_whitened_patches_of_the_shipped_photographs_have_mean_0_and_variance_a_tenth():
    data = PatchesData(train=4000, valid=1, test=1)
    data.setup()
    clean = whole(data.splits["train"]).clean
    assert clean.mean().item() == pytest.approx(0, abs=0.01)
    assert clean.var().item() == pytest.approx(0.1, rel=0.1)
    batch = next(data.evaluation_batches("train"))
    assert torch.equal(batch.clean, clean[:128])
    assert batch.clean.min() < -0.5


def test_patches_that_are_not_whitened_are_pixels_of_the_photographs(folder):
    data = loaded(folder, whiten=False)
    for name, split in data.splits.items():
        clean = whole(split).clean
        first, second = (found_in(clean, torch.from_numpy(noise(*a)).unsqueeze(0)) for a in ((40, 50, 0), (33, 30, 1)))
        assert clean.dtype == torch.uint8
        assert (first ^ second).all()
        assert torch.equal(next(data.evaluation_batches(name)).clean, clean[:20] / 255)


def test_empty_patches_are_left_out_unless_whitened(tmp_path):
    picture = noise(60, 200)
    picture[:, :100] = 128
    folder = folder_of(tmp_path, picture)
    deviations = whole(loaded(folder, whiten=False).splits["train"]).clean.flatten(1).float().std(1)
    assert deviations.min() >= LEAST_DEVIATION
    deviations = whole(loaded(folder).splits["train"]).clean.flatten(1).std(1)
    assert 10 < (deviations < 0.1).sum() < 50


@pytest.mark.parametrize("whiten", [True, False])
def test_split_seed_alone_decides_the_splits(folder, whiten):
    options: tuple[dict[str, int], ...] = ({}, {"seed": 7}, {"split_seed": 7})
    usual, seed, split_seed = (loaded(folder, whiten=whiten, **o).splits for o in options)
    for name in SIZES:
        assert torch.equal(whole(usual[name]).clean, whole(seed[name]).clean)
        assert not torch.equal(whole(usual[name]).clean, whole(split_seed[name]).clean)


def test_splits_are_cut_independently_and_the_size_of_one_does_not_change_another(folder):
    usual, other = loaded(folder).splits, loaded(folder, test=60).splits
    for name in ("train", "valid"):
        assert torch.equal(whole(usual[name]).clean, whole(other[name]).clean)
    assert not torch.equal(whole(other["train"]).clean, whole(other["test"]).clean)


@pytest.mark.parametrize("option", [{"side": 1}, {"train": 0}, {"valid": 0}, {"test": 0}])
def test_sizes_that_are_too_small_are_errors(option):
    with pytest.raises(ValueError, match="needs a side of 2 pixels or more, and every split a patch or more, got"):
        PatchesData(**option)


def test_a_photograph_of_one_grey_cannot_be_whitened():
    with pytest.raises(ValueError, match="of one grey all over"):
        flattened(torch.full((1, 427, 640), 137, dtype=torch.uint8))


def test_photographs_that_cannot_be_used_are_errors(folder, tmp_path):
    with pytest.raises(ValueError, match=r"picture01\.png is 30x33, smaller than a crop of 31"):
        loaded(folder, side=31)
    with pytest.raises(DataMissing, match="gone"):
        loaded(tmp_path / "gone")
    with pytest.raises(ValueError, match="Use photographs with more texture"):
        loaded(folder_of(tmp_path, noise(40, 50) // 16), whiten=False, train=2000)


def test_photographs_are_found_through_daezoo_data(folder, monkeypatch):
    monkeypatch.setenv("DAEZOO_DATA", str(folder.parent))
    found, expected = loaded(Path("$DAEZOO_DATA") / folder.name).splits, loaded(folder).splits
    assert torch.equal(whole(found["test"]).clean, whole(expected["test"]).clean)


def test_a_model_is_trained_on_patches_through_the_command_line(daezoo_command, folder):
    small = [part for name, size in SIZES.items() for part in (f"--data.{name}", str(size))]
    loss = ["--model.loss", "daezoo.losses.SquaredError", "--data.photographs", str(folder)]
    arguments = fit_arguments("vanilla", "patches", *small, *loss, "--data.batch_size", "20")
    status, _, err = daezoo_command(*arguments, "--trainer.fast_dev_run", "true")
    assert status == 0, err
