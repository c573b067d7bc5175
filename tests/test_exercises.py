"""The exercises of docs/exercises run, say what they measured, and draw what they promise."""

import importlib.util
import re
import sys

import pytest
from PIL import Image

from conftest import ROOT

FOLDER = ROOT / "docs" / "exercises"
EXERCISES = sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))


@pytest.fixture
def solved(monkeypatch, workplace, capsys):
    """Run an exercise in this process; the lines of its table, as words."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "shared", raising=False)

    def run(name: str, *args: str) -> list[list[str]]:
        spec = importlib.util.spec_from_file_location(f"exercise_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main([*args, "--out", "picture.png"])
        head, *table, picture = capsys.readouterr().out.splitlines()
        assert "expected" in head
        assert picture == "picture.png"
        assert "Expect" in module.__doc__
        with Image.open(picture) as image:
            assert image.format == "PNG" and min(image.size) > 300
        assert [path.name for path in workplace.iterdir()] == ["picture.png"]
        return [re.split(r"\s{2,}", line.strip()) for line in table]

    yield run
    sys.modules.pop("shared", None)


def test_there_are_five_and_the_readme_names_them():
    assert [int(name[0]) for name in EXERCISES] == [1, 2, 3, 4, 5]
    readme = (FOLDER / "README.md").read_text()
    assert all(f"{name}.py" in readme for name in EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_runs_in_a_hurry(solved, name):
    assert len(solved(name, "--quick")) > 2


def test_the_picture_goes_to_the_current_folder_by_default(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "shared", raising=False)
    import shared

    options = shared.options_of("An exercise.", "picture.png", [])
    assert (str(options.out), options.quick) == ("picture.png", False)


@pytest.mark.slow
def test_tweedies_formula_holds(solved):
    for _, off, _, wrong, _, _, ratio, _ in solved("1_tweedie"):
        assert float(off) < 1e-14 and float(wrong) > 0.1 and float(ratio) == pytest.approx(2, abs=0.25)


@pytest.mark.slow
def test_each_noise_is_undone_best_by_the_model_that_knows_it(solved):
    (_, a, b, _), (_, c, d, _), *floors = solved("2_masking_and_gaussian")
    assert float(a) < float(c) and float(d) < float(b)
    assert all(float(row[1]) > float(c) and float(row[2]) > float(b) for row in floors)


@pytest.mark.slow
def test_the_directions_are_those_of_the_score(solved):
    rows = solved("3_direction_field")
    for name, _, off, mse, bayes in rows:
        assert (float(off.split()[0]) < 15) == (name == "trained")
        assert (float(mse) < 1.05 * float(bayes)) == (name == "trained")


@pytest.mark.slow
def test_codes_are_above_raw_pixels(solved):
    (_, raw, *_), *others = solved("4_probing_corruptions")
    assert all(float(row[1]) > float(raw) + 0.5 for row in others)


@pytest.mark.slow
def test_walkback_helps_where_noise_is_weak(solved):
    weak, weak_walk, strong, strong_walk, (_, reference, _) = solved("5_walkback")
    assert float(weak[3]) + 10 < float(weak_walk[3]) < float(reference)
    assert float(strong_walk[3]) + 1 < float(strong[3]) < float(reference)
    assert float(strong_walk[4]) < float(strong[4])
