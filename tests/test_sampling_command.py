import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch.nn import functional as F

from conftest import fit_arguments
from daezoo.cli import main
from daezoo.data import DigitsData
from daezoo.studies import samples_tables

TINY = ("--trainer.max_steps", "12", "--trainer.precision", "32-true", "--trainer.enable_progress_bar", "false")
UNET = ("--model.network", "UNet", "--model.network.widths", "[4,8]", "--model.network.blocks", "1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny runs: a score model of digits and one of points, a chain, and a model that judges."""
    folder = tmp_path_factory.mktemp("runs")

    def fit(model, data, name, *more):
        assert main([*fit_arguments(model, data, *TINY, *more), "--runs", str(folder), "--name", name]) == 0

    fit("score", "digits", "score", *UNET)
    fit("score", "density", "points", "--data.train", "200", "--data.valid", "64", "--data.test", "64")
    fit("walkback", "digits", "chain", "--model.hidden", "[16]")
    fit("vanilla", "digits", "judge", "--model.hidden", "[8]")
    return folder


@pytest.fixture
def sample(runs, daezoo_command):
    names = {"score": "score-digits", "points": "score-density", "chain": "walkback-digits"}

    def run(name: str, *more: str) -> tuple[int, str, str]:
        return daezoo_command("sample", str(runs / names[name] / name), "--precision", "32-true", *more)

    return run


def seen_in(file: str) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("L"))


def drawn(sample, name: str, *more: str) -> np.ndarray:
    status, _, err = sample(name, "--array", "x.npy", "--force", *more)
    assert status == 0, err
    return np.load("x.npy")


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_samples_are_a_picture_and_an_array(sample, kind):
    found = drawn(sample, "score", "--n", "10", "--steps", "3", "--out", f"grid.{kind}")
    assert found.shape == (10, 1, 8, 8) and found.dtype == np.float32
    pixels = seen_in(f"grid.{kind}")
    assert pixels.shape == (2 * 9 - 1, 8 * 9 - 1)  # two rows of eight, a line between
    expected = np.round(255 * found[9, 0].clip(0, 1))
    assert np.abs(pixels[9:17, 9:17] - expected).max() <= 1


def test_the_first_of_many_are_those_of_few_and_seeds_tell_them_apart(sample):
    few = drawn(sample, "score", "--n", "3", "--steps", "2")
    many = drawn(sample, "score", "--n", "70", "--steps", "2")
    np.testing.assert_array_equal(few, many[:3])
    assert not np.array_equal(many[0], many[64])
    assert not np.array_equal(few, drawn(sample, "score", "--n", "3", "--steps", "2", "--seed", "1"))


@pytest.mark.parametrize("sampler", ["ode", "stochastic", "langevin"])
def test_every_sampler_of_a_ladder_draws(sample, sampler):
    found = drawn(sample, "score", "--n", "2", "--steps", "3", "--sampler", sampler)
    assert np.isfinite(found).all()


def test_frames_are_the_steps_and_then_the_samples(sample):
    status, out, err = sample("chain", "--n", "4", "--steps", "5", "--frames", "chain.gif")
    assert status == 0, err
    assert "chain, 5 steps" in out
    with Image.open("chain.gif") as moving:
        seen = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(moving)]
    different = sum(not np.array_equal(a, b) for a, b in pairwise(seen))
    assert 4 <= different <= 5


def test_chains_start_from_training_samples(sample, monkeypatch):
    starts = []
    monkeypatch.setattr("daezoo.sampling_command.chain", lambda model, noise, start, *_: starts.append(start) or start)
    drawn(sample, "chain", "--n", "2")
    data = DigitsData()
    data.setup()
    training = data.splits["train"].__getitems__(torch.arange(1257)).clean
    assert (torch.cdist(starts[0].flatten(1), training.flatten(1)).amin(1) < 1e-3).all()


@pytest.mark.parametrize("known", ["top-half", "missing-80", "half-size"])
def test_what_is_known_is_kept(sample, known):
    found = torch.from_numpy(drawn(sample, "score", "--n", "3", "--each", "2", "--steps", "3", "--known", known))
    assert seen_in("samples.png").shape == (3 * 9 - 1, 4 * 9 - 1)
    data = DigitsData()
    data.setup()
    clean = data.splits["test"].__getitems__(torch.arange(3)).clean.repeat_interleave(2, 0)
    if known == "half-size":
        torch.testing.assert_close(F.avg_pool2d(found, 2), F.avg_pool2d(clean, 2), atol=1e-5, rtol=0)
        return
    same = found == clean
    if known == "top-half":
        assert same[:, :, 4:].all()
        assert not same[:, :, :4].all()
    else:
        # 20 % are known, the same pixels of both samples of a picture
        both = same[::2] & same[1::2]
        assert 0.1 < both.float().mean() < 0.6
    assert not torch.equal(found[0], found[1])


def test_points_are_drawn_beside_training_points(sample):
    assert drawn(sample, "points", "--n", "20", "--steps", "3").shape == (20, 2)
    assert seen_in("samples.png").shape[1] > 500


def test_quality_stands_beside_that_of_training_samples(sample, runs):
    judge = str(runs / "vanilla-digits" / "judge")
    asked = ("--n", "12", "--steps", "2", "--quality", "--classifier", judge)
    status, out, err = sample("score", *asked)
    assert status == 0, err
    assert "│ training │" in out and "Fréchet" in out and "parzen-v1" in out
    status, out, err = sample("score", *asked, "--json", "--force")
    assert status == 0, err
    found = json.loads(out)
    assert found["n"] == 12 and found["sampler"] == "ode" and found["judge"] == judge
    assert found["samples"].keys() == found["training samples"].keys()
    assert found["samples"]["confidence"] is None  # it has no classifier
    assert found["samples"]["frechet"] > 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("chain", ["--sampler", "ode"], "does not suit a VanillaDAE"),
        ("score", ["--sampler", "chain"], "take ode, stochastic or langevin"),
        ("chain", ["--known", "top-half"], "of models of model score"),
        ("score", ["--known", "top-half", "--sampler", "langevin"], "samplers ode and stochastic"),
        ("points", ["--known", "top-half"], "is for pictures"),
        ("score", ["--n", "0"], "n and each of at least 1"),
        ("score", ["--steps", "1"], "2 steps or more"),
        ("score", ["--seed", "-1"], "a seed of at least 0"),
        ("score", ["--out", "grid.jpg"], "--out must end in .png or .webp"),
        ("score", ["--array", "x.npz"], "--array must end in .npy"),
        ("score", ["--out", "nowhere/grid.png"], "There is no folder nowhere"),
        ("score", ["--out", "there.png"], "there.png is there already"),
        ("score", ["--out", "folder.png", "--force"], "folder.png is there already"),
    ],
)
def test_what_does_not_fit_is_an_error_and_nothing_is_written(sample, workplace, name, arguments, message):
    Path("there.png").write_bytes(b"mine")
    Path("folder.png").mkdir()
    status, _, err = sample(name, *arguments)
    assert status == 2
    assert message in " ".join(err.split())
    assert sorted(path.name for path in workplace.iterdir()) == ["folder.png", "there.png"]
    assert Path("there.png").read_bytes() == b"mine"


def test_a_table_of_samples_has_training_samples_last_and_pictures_that_were_completed():
    numbers = {"parzen_nats": "10", "parzen_standard_error": "1", "parzen_sigma": "0.2", "frechet": "3"}
    numbers |= {"confidence": "0.9", "nearest": "4"}
    row = {"n": "5", "seed": "0", "seconds": "2", "known": "", **numbers}
    row |= {f"training_{name}": f"1{value}" for name, value in numbers.items()}
    rows = [row | {"target": name, "sampler": "ode"} for name in ("unet.mnist-score", "vanilla.mnist-walkback")]
    completed = {"known": "top-half", "of_pictures": "7", "mse_of_mean": "0.01"}
    completed |= {"classified_right": "0.5", "classified_right_together": "0.75"}
    text = samples_tables.section([*rows, rows[0] | completed])
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[2].startswith("| unet.mnist-score, ode | 5 | 10.0 ± 1.0 | 0.2 | 3 | 0.9 | 4 | 2 |")
    assert lines[4].startswith("| training samples of mnist | 5 | 110.0 ± 11.0 |")
    assert lines[-1] == "| unet.mnist-score, top-half | 7 | 50.0 % | 75.0 % | 0.0100 | 2 |"
