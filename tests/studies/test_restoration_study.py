import numpy as np
import pytest
import torch

from conftest import CONFIGS
from daezoo.evaluation import baselines
from daezoo.studies import restoration
from daezoo.studies.cells import rows_of
from daezoo.studies.restoration_tables import plot_sweep, section
from small_sets import folder_of

CONFIG = [f"--config={CONFIGS / name}" for name in ("trainer.yaml", "data/digits.yaml", "model/residual.yaml")]
SMALL = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--pictures", "false")
RANGE = '{"class_path": "daezoo.schedule.Uniform", "init_args": {"low": 0.02, "high": 0.2}}'


@pytest.fixture
def quick(daezoo_command, workplace, monkeypatch):
    """Pictures, a run, and baselines that take no time; a study of them."""
    for name, count in (("bsd68", 2), ("set12", 4)):
        draw = np.random.default_rng(count)
        folder_of(workplace / name, *(draw.integers(0, 256, (20, 30), np.uint8) for _ in range(count)))
    (workplace / "set12" / "picture03.png").rename(workplace / "set12" / "04.png")
    noise = ("--model.network.widths", "[4]", "--data.corruption.sigma", RANGE)
    status, _, err = daezoo_command("fit", *CONFIG, *SMALL, *noise, "--name", "run")
    assert status == 0, err
    known = {name: baselines.METHODS[name] for name in ("noisy input", "Gaussian blur")}
    monkeypatch.setattr(baselines, "METHODS", known)
    monkeypatch.setattr(restoration, "SWEEP", (5, 25, 60, 75))
    args = ("reproduce", "restoration", "--models", "runs/residual-digits/run", "--sets", "bsd68,set12", "--root", ".")
    return lambda *more: daezoo_command(*args, *more)


def test_one_command_measures_all_once_and_draws_it(quick, workplace, monkeypatch):
    status, _, err = quick()
    assert status == 0, err
    table = workplace / "docs/studies/restoration.csv"
    rows = rows_of(table)
    assert len(rows) == 3 * 2 * 3 + 3  # methods x sets x levels, and those of the sweep
    model = [row for row in rows if row["method"].startswith("runs") and row["set"] == "set12"]
    assert [row["sigma"] for row in model] == ["15", "25", "50", "5", "60", "75"]
    assert {(row["low"], row["high"]) for row in model} == {("5.1", "51")}
    assert all((row["psnr_rest"] != "") == (row["set"] == "set12") for row in rows)
    assert {row["pictures"] for row in model} == {"4"}
    assert all((row["estimate"] != "") == (row["method"] == "noisy input") for row in rows)
    for name in ("restoration-grey.png", "restoration-sweep.png"):
        assert (workplace / "docs/images" / name).is_file()
        assert name in (workplace / "docs/results.md").read_text()
    assert not (workplace / "docs/images/restoration-colour.png").exists()

    monkeypatch.setattr(restoration, "measured", lambda *args: pytest.fail("measured again"))
    assert quick()[0] == 0
    assert rows_of(table) == rows
    assert all(bool(row["weights"]) == row["method"].startswith("runs") for row in rows)
    table.write_text(table.read_text().replace(model[0]["weights"], "0" * 12))
    status, _, err = quick()
    assert status == 2
    assert "has rows of other weights of runs/residual-digits/run. Delete these rows first." in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sets", "set13"), "--sets takes names of bsd68, set12, photographs"),
        (("--sigma", "x"), "--sigma takes noise levels"),
        (("--root", "nowhere"), "There is no folder nowhere/bsd68"),
        (("--models", "nothing"), "nothing"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_measured(quick, workplace, options, said):
    status, _, err = quick(*options)
    assert status == 2
    assert said in " ".join(err.split())
    assert not (workplace / "docs/studies/restoration.csv").exists()


def row(method: str, sigma: str, psnr: str, rest: str = "", low: str = "", high: str = "") -> dict[str, str]:
    scores = {"psnr": psnr, "psnr_rest": rest, "ssim": "0.81", "psnr_float": psnr, "pictures": "12"}
    guess = {"estimate": "51.26", "estimate_error": "1.44"}
    return {"set": "set12", "method": method, "sigma": sigma, "low": low, "high": high, **scores, **guess}


def test_measured_numbers_stand_beside_published_ones():
    text = section([row("mine", "25", "30.111", "30.222", "25", "25"), row("noisy input", "50", "14.5")])
    assert "| DnCNN-S, published |  | 32.86 | 30.44 | 27.18 |" in text
    assert "| mine | 25 |  | 30.11 |  |  | 30.22 |  |  | 0.8100 |  |" in text
    assert "| noisy input |  |  |  | 14.50 |" in text
    assert "--sigma auto` takes a noise of 50 for 51.3 (root mean square error 1.4)." in text
    assert "bsd68" not in text.lower()


def test_the_error_of_the_estimate_is_that_over_pictures():
    flat = {name: torch.full((1, 80, 80), 128, dtype=torch.uint8) for name in "ab"}
    found = restoration.estimated(flat, 25)
    assert found["estimate"] == pytest.approx(25, abs=2)
    assert found["estimate_error"] == pytest.approx(abs(found["estimate"] - 25))  # both have the same noise


def test_a_sweep_is_dashed_outside_of_the_levels_of_training():
    rows = [row("mine", str(sigma), "30", low="15", high="50") for sigma in (5, 15, 25, 50, 75)]
    (axis,) = plot_sweep(rows).axes
    whole, inside = axis.get_lines()
    assert list(whole.get_xdata()) == [5, 15, 25, 50, 75] and whole.get_linestyle() == "--"
    assert list(inside.get_xdata()) == [15, 25, 50] and inside.get_color() == whole.get_color()
    assert plot_sweep(rows[:3]) is None


def test_before_is_left_and_after_right():
    one = restoration.Method("one", lambda noisy, sigma: noisy * 0 + sigma, (3,))
    pixels = restoration.before_after(one).pixels
    height, width = pixels.shape[0], pixels.shape[1] // 2
    assert (height, width) == (300, 451)
    assert pixels[:, :width].std() > 0.1
    np.testing.assert_allclose(pixels[:, width:], 25 / 255, atol=1e-6)


def test_a_crop_is_restored_as_the_whole_photograph_is():
    seen = []
    one = restoration.Method("one", lambda noisy, sigma: seen.append(noisy.shape) or noisy, (1,))
    pictures = restoration.drawn([one], 1)
    assert seen == [(1, 1, 400, 600)]
    assert [tuple(picture.shape) for picture in pictures.values()] == [(1, 128, 128)] * 2
    (clean, noisy) = pictures.values()
    assert abs(float((noisy - clean).std()) - 25 / 255) < 0.003
    assert torch.equal(clean, (255 * clean).round() / 255)
