"""The exercises of docs/exercises run, and the pictures they draw are of what they say."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ROOT
from daezoo.corruption import Gaussian
from daezoo.data import DigitsData
from daezoo.densities import circle, swiss_roll
from daezoo.models import VanillaDAE
from daezoo.score_figures import denoising_direction, paths, reconstructed, vector_field

EXERCISES = sorted((ROOT / "docs" / "exercises").glob("[0-9]_*.py"))


def executed(exercise: Path, monkeypatch, capsys, *options: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", [exercise.name, *options])
    monkeypatch.syspath_prepend(str(exercise.parent))
    runpy.run_path(str(exercise), run_name="__main__")
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda path: path.stem)
def test_exercises_run_quickly(exercise, monkeypatch, capsys, workplace):
    lines = executed(exercise, monkeypatch, capsys, "--quick", "--out", "found.png")
    assert len(lines) > 2 and lines[-1] == "found.png"
    with Image.open("found.png") as picture:
        assert min(picture.size) > 200


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda path: path.stem)
def test_exercises_run_in_full(exercise, monkeypatch, capsys, workplace):
    lines = executed(exercise, monkeypatch, capsys)
    assert Path(lines[-1]).is_file()


def test_all_exercises_are_listed():
    listed = (ROOT / "docs" / "exercises" / "README.md").read_text()
    assert len(EXERCISES) == 5
    assert all(path.name in listed for path in EXERCISES)


def test_arrows_are_the_denoisers_and_the_truth():
    density = circle(places=200)
    figure = vector_field(lambda noisy, sigma: 0 * noisy, density, 0.3, across=9)
    ours, truth = (axis.collections[0] for axis in figure.axes)
    points = torch.tensor(ours.get_offsets())
    torch.testing.assert_close(torch.tensor(np.stack([ours.U, ours.V], 1)).double(), -points.double())
    expected = 0.09 * density.score(points, 0.3)
    torch.testing.assert_close(torch.tensor(np.stack([truth.U, truth.V], 1)).double(), expected, atol=1e-5, rtol=1e-4)
    for wrong in ((swiss_roll(), 0.3), (density, 0.0)):
        with pytest.raises(ValueError, match="a density of the plane and σ > 0"):
            vector_field(lambda noisy, sigma: noisy, *wrong)


def test_paths_go_from_the_noisy_points_to_the_denoised():
    starts = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
    places = reconstructed(lambda noisy, sigma: noisy * (1 - sigma), starts, [0.5, 0.25])
    torch.testing.assert_close(places, torch.stack([starts, 0.5 * starts, 0.375 * starts]))
    axis = paths(lambda noisy, sigma: noisy * (1 - sigma), starts, [0.5, 0.25], circle()).axes[0]
    torch.testing.assert_close(torch.tensor(axis.lines[1].get_xydata()).float(), places[:, 1])
    with pytest.raises(ValueError, match=r"starts must be \(batch, 2\)"):
        paths(lambda noisy, sigma: noisy, torch.zeros(2, 3), [0.1])


def test_the_direction_of_images_is_reconstruction_less_noisy():
    torch.manual_seed(0)
    data = DigitsData(corruption=Gaussian(0.3), batch_size=8)
    model, batch = VanillaDAE(data.shape, [4]).eval(), next(data.evaluation_batches("test"))
    figure = denoising_direction(model, batch, columns=3)
    clean, _, direction, _ = (axis.images[0].get_array() for axis in figure.axes[:4])
    with torch.no_grad():
        expected = model.denoise(batch.noisy[:1]) - batch.noisy[:1]
    torch.testing.assert_close(torch.tensor(clean[:, :8]), batch.clean[0, 0])
    torch.testing.assert_close(torch.tensor(direction[:, :8]), expected[0, 0])
    with pytest.raises(ValueError, match="are drawn of images"):
        denoising_direction(model, batch._replace(clean=batch.clean.flatten(1)))
