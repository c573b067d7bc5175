import json
from math import inf, isnan, log10

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import convolve2d

from conftest import CONFIGS
from daezoo.evaluation import baselines, kair
from daezoo.models import ResidualDAE


def picture(seed: int, channels: int = 1, height: int = 24, width: int = 31) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (channels, height, width), np.uint8))


def tiny(colors: int = 1) -> ResidualDAE:
    torch.manual_seed(0)
    model = ResidualDAE([colors, 8, 8]).eval()
    torch.nn.init.normal_(model.network.last.weight, std=0.01)
    return model


def test_it_is_the_protocol_computed_straight_in_numpy():
    """The golden test: noise, clipping, rounding and PSNR written down once more, on two pictures."""
    model, pictures = tiny(), {"a": picture(1), "b": picture(2, height=17, width=40)}
    with torch.inference_mode():
        found = kair.judge(model.denoise, pictures, 25)
    for name, clean in pictures.items():
        target = clean[0].numpy()
        noisy = np.float32(target / 255.0) + np.random.RandomState(0).normal(0, 25 / 255.0, target.shape)
        with torch.inference_mode():
            output = model(torch.from_numpy(np.float32(noisy))[None, None])[0, 0].double().numpy()
        rounded = np.uint8((np.clip(output, 0, 1) * 255).round())
        error = np.mean((rounded.astype(np.float64) - target.astype(np.float64)) ** 2)
        assert found[name].psnr == pytest.approx(20 * log10(255 / error**0.5), abs=1e-4)
        raw = np.mean((255 * output - target) ** 2)
        assert found[name].psnr_float == pytest.approx(20 * log10(255 / raw**0.5), abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_wangs_on_whole_windows_averaged_over_channels(channels):
    clean = picture(1, channels, height=40, width=50)
    noisy = kair.noisy_of(clean, 15)
    bell = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(bell, bell) / bell.sum() ** 2

    def smooth(image):
        return convolve2d(image, window, "valid")

    found = []
    for a, b in zip((255 * noisy.double()).clamp(0, 255).round().numpy(), clean.double().numpy(), strict=True):
        mean_a, mean_b = smooth(a), smooth(b)
        var_a, var_b, both = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2, smooth(a * b) - mean_a * mean_b
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        likeness = (2 * mean_a * mean_b + c1) * (2 * both + c2)
        found.append((likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())
    assert kair.score(noisy, clean).ssim == pytest.approx(np.mean(found), abs=1e-9)


def test_noise_is_the_same_for_every_picture_of_a_size_and_neither_clipped_nor_rounded():
    one, other = torch.zeros(1, 30, 20, dtype=torch.uint8), torch.full((1, 30, 20), 255, dtype=torch.uint8)
    noise = kair.noisy_of(one, 50)
    assert noise.min() < 0
    torch.testing.assert_close(kair.noisy_of(other, 50) - 1, noise, atol=1e-6, rtol=0)
    assert noise.std().item() == pytest.approx(50 / 255, rel=0.1)
    assert len(noise.unique()) == 600


def test_a_colour_picture_draws_its_channels_last():
    clean = picture(3, channels=3)
    noise = np.random.RandomState(0).normal(0, 25 / 255, (24, 31, 3))
    expected = clean.permute(1, 2, 0).numpy() / 255 + noise
    np.testing.assert_allclose(kair.noisy_of(clean, 25).permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_equal_pictures_are_infinitely_near_and_tiny_ones_have_no_ssim():
    clean = picture(4, height=5, width=40)
    scores = kair.score(clean.double() / 255, clean)
    assert scores.psnr == inf
    assert isnan(scores.ssim)


@pytest.fixture
def folder(tmp_path):
    for number in range(2):
        pixels = picture(number)[0].numpy()
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def trained(daezoo_command, workplace):
    configs = [f"--config={CONFIGS / name}" for name in ("trainer.yaml", "data/digits.yaml", "model/residual.yaml")]
    small = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--model.condition", "map")
    status, _, err = daezoo_command("fit", *configs, *small, "--name", "run", "--pictures", "false")
    assert status == 0, err
    return "runs/residual-digits/run"


def test_the_command_gives_every_picture_and_the_mean_at_every_level(daezoo_command, trained, folder):
    args = ("evaluate", trained, "--data", "images", "--data.root", str(folder), "--protocol", "kair-gray-v1")
    status, out, err = daezoo_command(*args, "--sigma", "15,25,50", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["protocol"].startswith("kair-gray-v1: ")
    assert [result["sigma"] for result in found["results"]] == [15, 25, 50]
    for result in found["results"]:
        assert list(result["pictures"]) == ["0.png", "1.png"]
        for name in ("psnr", "ssim", "psnr_float"):
            values = [scores[name] for scores in result["pictures"].values()]
            assert result["mean"][name] == pytest.approx(sum(values) / 2)
    noise = [result["baselines"]["noisy input"]["psnr_float"] for result in found["results"]]
    assert noise == pytest.approx([20 * log10(255 / sigma) for sigma in (15, 25, 50)], abs=0.5)
    status, out, _ = daezoo_command(*args, "--sigma", "25", "--baselines")
    assert status == 0
    assert all(f"mean, {name}" in out for name in baselines.METHODS) and "RandomState(0)" in out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--sigma": None}, "--sigma takes noise levels from 0 to 255"),
        ({"--sigma": "15,x"}, "--sigma takes noise levels"),
        ({"--sigma": "256"}, "--sigma takes noise levels"),
        ({"--protocol": None}, "--sigma and --baselines are for --protocol kair-gray-v1"),
        ({"--protocol": "kair-color-v1"}, "is for models of 3 channels"),
        ({"--data": None, "--data.root": None}, "pass --data images --data.root DIR"),
        ({"--data.root": "nowhere"}, "There is no folder nowhere"),
        ({"--level": "0.1"}, "has its own noise"),
    ],
)
def test_what_the_protocol_lacks_is_said(daezoo_command, trained, folder, changed, said):
    options = {"--data": "images", "--data.root": str(folder), "--protocol": "kair-gray-v1", "--sigma": "25", **changed}
    args = [part for name, value in options.items() if value is not None for part in (name, value)]
    status, _, err = daezoo_command("evaluate", trained, *args)
    assert status == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err
