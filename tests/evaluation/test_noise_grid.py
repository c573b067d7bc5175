import csv
import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from conftest import build, fit_arguments
from daezoo.corruption import BlockMasking, Clean, Compose, Gaussian, Masking
from daezoo.data import ArraysData, DigitsData
from daezoo.data.base import SPLITS
from daezoo.evaluation.features import extract, numbered_classes
from daezoo.evaluation.noise_grid import Run, conditions, fit_linear, judge, level_of
from daezoo.evaluation.noise_grid_command import run, to_csv
from daezoo.evaluation.noise_grid_figures import pictures, print_tables
from daezoo.evaluation.probe import Part, linear_probe, protocol_of
from daezoo.schedule import Uniform


def keep(name, data=DigitsData, **settings):
    """A run folder of a model that has not been trained: its checkpoint only."""
    torch.manual_seed(settings.get("seed", 0))
    model, module = build("vanilla", hidden=[16])[0], data(batch_size=8, **settings)
    folder = Path("runs") / name / "checkpoints"
    folder.mkdir(parents=True)
    hyperparameters = {"hyper_parameters": dict(model.hparams), "datamodule_hyper_parameters": dict(module.hparams)}
    torch.save({"state_dict": model.state_dict(), **hyperparameters}, folder / "last.ckpt")
    return f"runs/{name}"


def refused(arguments):
    with pytest.raises(ValueError) as caught:
        run([*arguments, "--device", "cpu"])
    return str(caught.value)


@pytest.fixture
def arrays(tmp_path):
    """Correlated Gaussian samples around 0.5, without labels, as a data module, and their covariance."""
    draw = np.random.default_rng(0)
    mixing = 0.05 * draw.standard_normal((6, 6)) / 6**0.5 + 0.06 * np.eye(6)
    images = {"train_images": 0.5 + draw.standard_normal((40_000, 6)) @ mixing.T}
    images["test_images"] = 0.5 + draw.standard_normal((2_000, 6)) @ mixing.T
    np.savez(tmp_path / "normal.npz", **{name: part.astype(np.float32) for name, part in images.items()})
    data = ArraysData(str(tmp_path / "normal.npz"))
    data.setup()
    return data, torch.from_numpy(mixing @ mixing.T)


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_the_linear_denoiser_of_gaussian_noise_is_the_wiener_filter(arrays, sigma):
    data, covariance = arrays
    fitted = fit_linear(data, Gaussian(sigma))
    wiener = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(6))
    # a regression coefficient's standard error, sigma of x given the rest / sigma of x̃, is below 1 / √36,000
    torch.testing.assert_close(fitted.gain, wiener, rtol=0, atol=4 / 36_000**0.5)
    flat = torch.full((1, 6), 0.5, dtype=torch.float64)
    torch.testing.assert_close(fitted(flat), flat, rtol=0, atol=0.005)


def test_baselines_of_data_without_labels(arrays):
    data, covariance = arrays
    model = build("vanilla", shape=[6], hidden=[4])[0].eval()
    tested = conditions([Gaussian(0.1), Masking(0.5)])
    rows, (note,) = judge([Run("mine", model, Gaussian(0.1), 0)], data, tested)
    assert "No probe accuracy" in note
    assert "label" in note
    mse = {(row.denoiser, row.test_corruption, row.test_level): row.mse for row in rows}
    assert all(row.probe_accuracy is None and row.samples == 2_000 for row in rows)
    assert mse["identity", "Gaussian", 0.1] == pytest.approx(0.01, rel=0.05)
    left = covariance - covariance @ torch.linalg.inv(covariance + 0.01 * torch.eye(6)) @ covariance
    assert mse["linear", "Gaussian", 0.1] == pytest.approx(float(left.trace() / 6), rel=0.05)
    for condition in tested[1::2]:
        assert mse["linear", *condition[:2]] < mse["identity", *condition[:2]]
    assert mse["linear", "Masking", 0.0] < 1e-9
    written = list(csv.DictReader(to_csv(rows).splitlines()))
    assert {(row["probe_accuracy"], row["probe"]) for row in written} == {("", "")}
    assert {row["psnr"] for row in written if row["denoiser"] == "identity" and row["test_level"] == "0.0"} == {"inf"}
    for figure in pictures(rows, tested, "ArraysData").values():
        assert len(figure.axes) == 4  # mse and psnr, each with its scale


def test_elements_that_never_vary_take_their_mean_and_wide_samples_have_no_linear_denoiser(tmp_path, monkeypatch):
    images = np.random.default_rng(0).random((200, 4), dtype=np.float32)
    images[:, 1] = 0.25
    np.savez(tmp_path / "flat.npz", train_images=images, test_images=images[:50])
    data = ArraysData(str(tmp_path / "flat.npz"), batch_size=8)
    data.setup()
    fitted = fit_linear(data, Masking(0.0))
    clean = torch.from_numpy(images[:50]).double()
    torch.testing.assert_close(fitted(clean), clean, rtol=0, atol=1e-5)
    lost = fit_linear(data, Masking(1.0))
    torch.testing.assert_close(lost(0 * clean)[0].float(), data.splits["train"].mean(), rtol=0, atol=1e-5)
    monkeypatch.setattr("daezoo.evaluation.noise_grid.WIDEST", 3)
    model = build("vanilla", shape=[4], hidden=[4])[0].eval()
    rows, notes = judge([Run("mine", model, Clean(), 0)], data, conditions([Clean()]))
    assert [row.denoiser for row in rows] == ["VanillaDAE", "identity"]
    assert "wider than 3" in notes[1]


def test_conditions_are_every_type_at_the_levels_it_was_trained_at():
    both = Compose(Masking(0.1), Gaussian(0.1))
    trained = [Masking(0.5), Clean(), Masking(Uniform(0.1, 0.25)), both, BlockMasking(0.3), BlockMasking(0.3, size=2)]
    assert [one[:2] for one in conditions(trained)] == [
        *(("Masking", level) for level in (0.0, 0.1, 0.25, 0.5)),
        *(("Compose (Masking 0.1, Gaussian 0.1)", level) for level in (0.0, None)),
        *(("BlockMasking", level) for level in (0.0, 0.3)),
        *(("BlockMasking (size=2)", level) for level in (0.0, 0.3)),
    ]
    assert [one[:2] for one in conditions(trained[:2], [0.75, 0.0, 0.75])] == [("Masking", 0.0), ("Masking", 0.75)]
    assert [one[:2] for one in conditions([Clean()])] == [("Clean", 0.0)]
    assert [level_of(one) for one in trained[:4]] == ["0.5", "", "0.1-0.25", ""]
    with pytest.raises(ValueError, match=r"Masking ratio must lie in \[0, 1\], got 1.5"):
        conditions(trained, [1.5])


def test_the_model_is_left_as_it_was_and_its_clean_probe_is_the_linear_probe():
    model, data = build("vanilla", hidden=[16])
    model.eval()
    data.setup()
    before, state = deepcopy(model.state_dict()), torch.get_rng_state()
    rows, notes = judge([Run("mine", model, Masking(0.25), 3)], data, conditions([Masking(0.25)]))
    assert not notes
    assert not model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    classes, labels = numbered_classes(data)
    for encoder, name in ((model, "VanillaDAE"), (None, "identity")):
        parts = [Part(extract(encoder, data.splits[one], torch.device("cpu"))[-1], labels[one]) for one in SPLITS]
        (got,) = (row.probe_accuracy for row in rows if row.denoiser == name and row.test_level == 0)
        assert got == linear_probe(*parts, classes).accuracy


@pytest.mark.slow
def test_the_probe_of_feature_maps_is_named_with_their_pooling(capsys):
    model, data = build("conv")
    data.setup()
    tested = conditions([Masking(0.25)])
    rows, _ = judge([Run("mine", model.eval(), Masking(0.25), 0)], data, tested, samples=20)
    assert {(row.denoiser, row.probe) for row in rows} == {
        ("ConvDAE", protocol_of(model, len(model.encode_layers(torch.zeros(1, *model.shape))) - 1)),
        ("identity", "logreg-v1"),
        ("linear", "logreg-v1"),
    }
    assert {row.probe for row in rows if row.denoiser == "ConvDAE"} == {"logreg-v1-avg4x4"}
    print_tables(rows, tested)
    assert "logreg-v1-avg4x4, logreg-v1" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_runs_in_a_folder_make_one_tidy_table_and_heat_maps(daezoo_command, workplace, capsys):
    arguments = fit_arguments("vanilla", "digits", "--trainer.max_epochs", "1", "--model.hidden", "[16]", "--name", "a")
    arguments += ["--data.corruption", "Masking", "--data.corruption.ratio", "0.25"]
    assert daezoo_command(*arguments)[0] == 0
    keep("vanilla-digits/b", seed=1)
    keep("vanilla-digits/c", corruption=Gaussian(0.3))
    keep("vanilla-digits/d", corruption=Masking(0.0))
    (workplace / "runs" / "vanilla-digits" / "unfinished" / "checkpoints").mkdir(parents=True)
    capsys.readouterr()
    folder = "runs/vanilla-digits"
    run(["runs", f"{folder}/a", f"{folder}/b/checkpoints/last.ckpt", "--device", "cpu", "--json"])
    out, err = capsys.readouterr()
    assert not err
    printed = json.loads(out)
    with open("noise-grid/noise_grid.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(printed["rows"]) == 6 * 4  # runs and baselines, conditions
    assert len({(row["denoiser"], row["run"], row["test_corruption"], row["test_level"]) for row in rows}) == len(rows)
    assert [row["run"] for row in rows[:6]] == [*(f"{folder}/{name}" for name in "dcab"), "", ""]
    assert {(row["seed"], row["train_corruption"], row["train_level"]) for row in rows} == {
        ("0", "Masking", "0.25"),
        ("1", "Masking", "0.25"),
        ("0", "Gaussian", "0.3"),
        ("0", "Masking", "0"),
        ("", "", ""),
    }
    for name, kind, level in (("a", "Masking", 0.25), ("c", "Gaussian", 0.3)):
        arguments = ("--corruption", kind, "--level", str(level), "--device", "cpu", "--json")
        expected = json.loads(daezoo_command("evaluate", f"{folder}/{name}", *arguments)[1])
        for who, suffix in ((f"{folder}/{name}", ""), ("", "_noisy_input")):
            condition = {"run": who, "test_corruption": kind, "test_level": level}
            found = [one for one in printed["rows"] if condition.items() <= one.items() and one["denoiser"] != "linear"]
            assert len(found) == 1
            assert found[0]["mse"] == pytest.approx(expected[f"mse{suffix}"], rel=1e-6)
            psnr = expected[f"psnr{suffix}"]  # infinite, which JSON lacks, where a sample is left untouched
            assert found[0]["psnr"] == (None if psnr is None else pytest.approx(psnr, rel=1e-6))
    assert [Path(path).name for path in printed["files"][1:]] == [
        "levels-Masking.png",
        "levels-Gaussian.png",
        "types.png",
    ]
    for path in printed["files"][1:]:
        picture = imread(path)
        assert picture.shape[0] > 200
        assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 100

    run([f"{folder}/a", f"{folder}/b", "--device", "cpu", "--levels", "0.5", "--samples", "50", "--out", "few"])
    out = capsys.readouterr().out
    assert "Masking 0.25 ×2" in out
    assert "few/types.png" in out
    with open("few/noise_grid.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["test_level"], row["samples"]) for row in rows} == {("0.0", "50"), ("0.5", "50")}


def test_what_makes_no_grid_is_refused(workplace):
    images = np.random.default_rng(0).random((60, 8, 8), dtype=np.float32)
    np.savez("mine.npz", train_images=images, test_images=images)
    np.savez("wide.npz", train_images=images.repeat(2, 2), test_images=images.repeat(2, 2))
    one, other = keep("digits/a"), keep("digits/b", split_seed=1)
    foreign = keep("arrays/1", ArraysData, path="mine.npz")
    (workplace / "empty").mkdir()
    assert "no run in empty" in refused(["empty"])
    assert "no checkpoint or run folder nowhere" in refused(["nowhere"])
    assert "got 1.5" in refused([one, "--levels", "0.5,1.5"])
    assert "got 'half'" in refused([one, "--levels", "half"])
    assert "--samples must be at least 1" in refused([one, "--samples", "0"])
    assert f"{foreign} was trained on ArraysData, {one} on DigitsData" in refused([one, foreign])
    assert "split_seed 1 and 0" in refused(["runs/digits"])
    white = keep("white/1", whiten=True)
    assert "whiten True and False" in refused([one, white])
    assert f"{white} was trained on images that were whitened" in refused([one, white, "--data", "digits"])
    assert "--root is for the data of the run" in refused([one, "--data", "digits", "--root", "here"])
    arrays = ("--data", "arrays", "--data.batch_size", "8", "--data.path")
    assert f"ArraysData does not fit {one}" in refused([one, *arrays, "wide.npz"])
    with pytest.raises(ValueError, match="--device nonsense cannot be used"):
        run([one, "--device", "nonsense"])
    assert not (workplace / "noise-grid").exists()
    run([one, foreign, other, *arrays, "mine.npz", "--device", "cpu"])
    assert (workplace / "noise-grid" / "levels-Masking.png").is_file()
