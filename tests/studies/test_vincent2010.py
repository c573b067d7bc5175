"""The study of the table of 2010, on small budgets."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from conftest import CONFIGS
from daezoo.studies import vincent2010
from daezoo.studies.cells import add_row, rows_of
from daezoo.studies.vincent2010 import (
    BUDGETS,
    METHODS,
    PROBLEMS,
    RECIPES,
    Trial,
    listed,
    machines,
    noises,
    sweep,
    trials,
)
from daezoo.studies.vincent2010_tables import PUBLISHED, RATIOS, ordering, picked, plot_depth, plot_noise, section
from small_sets import mnist_of

SMOKE = ("reproduce", "vincent2010", "--configs", str(CONFIGS), "--budget", "smoke")
TABLE = Path("docs/studies/vincent2010.csv")


def row(**others: object) -> dict[str, str]:
    usual = {
        **{"problem": "rot", "method": "sdae", "recipe": "classic", "budget": "full", "noise": "Masking 0.25"},
        **{"tuning": "plain", "depth": 3, "width": 1000, "seed": 0, "valid_error": 0.1, "error": 0.1, "low": 0.09},
        **{"high": 0.11, "test": 50_000},
    }
    return {name: str(value) for name, value in (usual | others).items()}


@pytest.mark.slow
def test_each_cell_is_run_once_and_a_killed_one_goes_on(daezoo_command, workplace, monkeypatch):
    args = (*SMOKE, "--problems", "rect", "--methods", "sdae,mlp", "--recipe", "modern", "--seeds", "2")
    status, _, err = daezoo_command(*args)
    assert status == 0, err
    rows = rows_of(TABLE)
    assert [(one["method"], one["seed"]) for one in rows] == [("sdae", "0"), ("sdae", "1"), ("mlp", "0"), ("mlp", "1")]
    for one in rows:
        assert 0 <= float(one["low"]) <= float(one["error"]) <= float(one["high"]) <= 1
        assert one["test"] == "200"
    assert "2010" in Path("docs/results.md").read_text()

    ran: list[tuple[str, ...]] = []
    real = vincent2010.trained.__globals__["daezoo"]
    monkeypatch.setattr("daezoo.studies.cells.daezoo", lambda *args: (ran.append(args), real(*args)))
    assert daezoo_command(*args)[0] == 0
    assert not ran

    # as if it had been killed in the fine-tuning of the second seed
    TABLE.write_text("".join(TABLE.read_text().splitlines(keepends=True)[:2]))
    (killed,) = Path("runs/studies/finetune-stacked-shapes").glob("*Gaussian*s1-adversarial-3/summary.json")
    killed.unlink()
    assert daezoo_command(*args)[0] == 0
    assert [one[0] for one in ran] == ["finetune"]
    numbers = [{name: value for name, value in one.items() if name != "seconds"} for one in rows]
    assert [{name: value for name, value in one.items() if name != "seconds"} for one in rows_of(TABLE)] == numbers


@pytest.mark.slow
def test_the_mlp_is_the_same_network_from_its_initial_weights(daezoo_command, workplace):
    status, _, err = daezoo_command(*SMOKE, "--problems", "rect", "--methods", "sae,mlp", "--recipe", "classic")
    assert status == 0, err
    tuned = {
        path.parent.name: json.loads(path.read_text()) for path in Path("runs").glob("**/finetune-*/*/summary.json")
    }
    (sae,) = (summary for name, summary in tuned.items() if not name.endswith("mlp"))
    (mlp,) = (summary for name, summary in tuned.items() if name.endswith("mlp"))
    assert "scratch" not in sae and "pretrained" not in mlp
    assert sae["target"] == mlp["target"]
    assert len(list(Path("runs/studies/stacked-shapes").iterdir())) == 1


@pytest.mark.slow
def test_machines_see_pixels_and_the_codes_of_every_layer(daezoo_command, workplace):
    args = (*SMOKE, "--problems", "convex", "--recipe", "classic", "--methods", "svm")
    status, _, err = daezoo_command(*args)
    assert status == 0, err
    names = ("method", "recipe", "noise", "depth", "width")
    found = {tuple(one[name] for name in names) for one in rows_of(TABLE)}
    pixels = {(f"svm-{kernel}", "", "", "0", "784") for kernel in ("linear", "rbf")}
    codes = {("svm-linear", "classic", "Masking 0.1", layer, "32") for layer in "123"}
    # whose noise is what validation picks for sdae, which is trained for it
    assert found == pixels | codes | {("sdae", "classic", "Masking 0.1", "3", "32")}
    assert daezoo_command(*args)[0] == 0
    assert len(rows_of(TABLE)) == len(found)


@pytest.mark.parametrize(("problem", "widths"), [("rot", [1000, 2000]), ("basic", [1000])])
def test_machines_see_the_widest_stack_where_widths_are_compared(tmp_path, monkeypatch, problem, widths):
    for noise in RECIPES["classic"].noises:
        one = row(problem=problem, noise=noise, valid_error=0.1 + (noise != "Masking 0.25"))
        add_row(tmp_path / "t.csv", one)
    seen: list[Trial] = []
    monkeypatch.setattr(vincent2010, "judged", lambda table, stack, *folders: seen.append(stack))
    machines(tmp_path / "t.csv", problem, "classic", "full", CONFIGS, tmp_path)
    assert [(one.noise, one.depth, one.width) for one in seen] == [("Masking 0.25", 3, width) for width in widths]


def test_validation_picks_and_test_does_not():
    rows = [
        row(noise="Masking 0.1", valid_error=0.2, error=0.01),
        row(noise="Masking 0.25", valid_error=0.1, error=0.5),
        row(noise="Masking 0.25", seed=1, valid_error=0.9, error=0.6),
        row(noise="Masking 0.1", seed=1, valid_error=0.01),
        row(noise="Masking 0.1", depth=2, valid_error=0.01),
        row(noise="Masking 0.1", width=250, valid_error=0.01),
        row(noise="Masking 0.1", problem="basic", valid_error=0.01),
    ]
    chosen = picked(rows, 1000, problem="rot", method="sdae", recipe="classic", budget="full")
    assert [(one["noise"], one["seed"], one["error"]) for one in chosen] == [
        ("Masking 0.25", "0", "0.5"),
        ("Masking 0.25", "1", "0.6"),
    ]


def test_other_seeds_train_what_validation_picked(tmp_path):
    table = tmp_path / "t.csv"
    wanted = trials(table, "basic", "sdae", "classic", "full", 3)
    grid = []
    for number, trial in enumerate(wanted):
        grid.append(trial)
        valid = abs(number - 1) / 10 + 0.1
        add_row(table, row(**trial._asdict(), valid_error=valid))
    assert [(one.noise, one.seed) for one in grid] == [
        ("Masking 0.1", 0),
        ("Masking 0.25", 0),
        ("Masking 0.4", 0),
        ("Masking 0.25", 1),
        ("Masking 0.25", 2),
    ]
    assert {(one.depth, one.width) for one in grid} == {(3, 1000)}


def test_rot_is_also_learnt_by_other_depths_and_widths(tmp_path):
    table = tmp_path / "t.csv"
    add_row(table, row(method="sae", noise="Clean"))
    assert len(list(trials(table, "rot", "sae", "classic", "full", 1))) == 1
    found = list(sweep(table, "sae", "full"))
    swept = {(one.depth, one.width) for one in found}
    assert {one.noise for one in found} == {"Clean"}
    assert swept == {(d, w) for d in (1, 2, 3) for w in (250, 500, 1000, 2000)} - {(3, 1000)}


@pytest.mark.parametrize("budget", BUDGETS)
def test_small_budgets_take_the_published_noise(budget):
    for problem in PROBLEMS:
        found = noises(problem, "sdae", "classic", budget)
        assert found == (RECIPES["classic"].noises if budget == "full" else [f"Masking {RATIOS[problem]}"])


def test_problems_are_of_the_published_sizes():
    sizes = {name: problem.arguments(BUDGETS["full"]) for name, problem in PROBLEMS.items()}
    assert sizes["mnist"] == {"train": 50_000, "valid": 10_000}
    assert sizes["rot"] == {"kind": "rot", "train": 10_000, "valid": 2_000, "test": 50_000}
    assert sizes["rect"] == {"kind": "rectangles", "train": 1_000, "valid": 200, "test": 50_000}
    assert sizes["convex"] == {"kind": "convex", "train": 6_000, "valid": 2_000, "test": 50_000}
    assert PROBLEMS.keys() == PUBLISHED.keys() == RATIOS.keys()


def test_fewer_samples_are_tuned_on_for_more_epochs():
    def epochs(problem, budget):
        return Trial(problem, "sdae", "classic", budget, "Masking 0.1", "plain", 3, 1000, 0).epochs()

    assert epochs("basic", "full") == epochs("convex", "full") == (80, 25)
    assert epochs("rect", "full") == (800, 250)
    assert epochs("mnist", "full") == (40, 25)
    assert epochs("mnist", "minutes") == epochs("basic", "minutes") == (30, 30)


def test_run_folders_of_different_trials_are_different():
    grid = [
        Trial(problem, method, recipe, "full", noise, tuning, 3, 1000, 0)
        for problem in PROBLEMS
        for method in ("sae", "sdae", "sdae-sp")
        for recipe in RECIPES
        for noise in {*noises(problem, method, recipe, "full"), "SaltAndPepper 0.25"}
        for tuning in RECIPES[recipe].tunings
    ]
    names: set[str] = set()

    class Named(Exception):
        pass

    for trial in grid:
        with pytest.MonkeyPatch.context() as patch:

            def noted(configs, folder, model, data, name, seed, options, trial=trial):
                names.add(f"{name} {trial.method == 'sdae-sp'}")
                raise Named

            patch.setattr(vincent2010, "trained", noted)
            with pytest.raises(Named):
                trial.pretrained(Path(), Path())
    assert len({name.partition(" ")[0] for name in names}) == len(names)


def test_the_tables_say_whether_the_published_result_was_met():
    rows = [row(error=0.0975, valid_error=0.09), row(method="sae", noise="Clean", error=0.12)]
    rows += [row(method="mlp", noise="", error=0.2), row(recipe="modern", noise="Gaussian 0.5", error=0.08)]
    rows += [row(problem="bg-img", error=0.5), row(problem="basic", error=0.05)]
    text = section(rows)
    (rot, basic, image) = (
        next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        for name in ("rot", "basic", "bg-img")
    )
    assert "| 9.75 (9.00 to 11.00), 0.25 | 9.79 | yes |" in rot
    assert "| SDAE < SAE < MLP: yes |" in rot
    assert "| 2.99 | no |" in basic
    assert "| yes |" not in image and "| no |" not in image
    assert "2010 --budget full --recipe classic --problems rot --methods sdae,sae,mlp --seeds 1`" in rot
    assert "| rot | 9.53 | 8.00 (9.00 to 11.00) | yes | Gaussian 0.5, plain |" in text


def test_the_order_is_judged_where_the_published_one_is_that():
    found = {"sdae": [row(error=0.2)], "sae": [row(error=0.1)], "mlp": [row(error=0.3)]}
    assert ordering(PUBLISHED["rot"], found) == "SAE < SDAE < MLP: no"
    assert ordering(PUBLISHED["convex"], found) == "SAE < SDAE < MLP (2010: SAE < SDAE)"
    assert ordering(PUBLISHED["rot"], found | {"mlp": []}) == ""


def test_plots_have_a_point_for_each_noise_and_each_depth():
    assert plot_noise([]) is None and plot_depth([]) is None
    wide = {"low": 0, "high": 1}
    rows = [row(noise=f"Masking {level}", error=level, **wide) for level in (0.1, 0.25, 0.4)]
    rows += [row(method="sae", noise="Clean", error=0.3, **wide)]
    figure = plot_noise(rows)
    assert figure is not None
    line = figure.axes[0].containers[0].lines[0]
    assert np.allclose(line.get_xydata(), [[0, 30], [0.1, 10], [0.25, 25], [0.4, 40]])
    rows += [row(depth=depth, width=500, noise="Masking 0.25", error=depth / 10) for depth in (1, 2, 3)]
    figure = plot_depth(rows)
    assert figure is not None
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
    assert np.allclose(lines["500 units"], [[1, 10], [2, 20], [3, 30]])
    assert np.allclose(lines["1000 units"], [[3, 25]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--problems", "rot,nope"], "mnist, basic, rot"),
        (["--methods", ","], "sae, sdae, sdae-sp, mlp, svm"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--budget", "huge"], "budget"),
        (["--configs", "nowhere"], "nowhere/trainer.yaml"),
        (["--methods", "sdae-sp", "--recipe", "modern"], "is not part of the recipe of today"),
    ],
)
def test_errors_of_use(daezoo_command, workplace, options, said):
    status, _, err = daezoo_command(*SMOKE, *options)
    assert status == 2
    assert said in err
    assert not list(workplace.iterdir())


def test_absent_data_is_said_before_anything_trains(daezoo_command, workplace, monkeypatch):
    monkeypatch.setenv("DAEZOO_DATA", str(workplace / "nothing"))
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: open(workplace / "absent"))
    status, _, err = daezoo_command(*SMOKE, "--problems", "rect,basic")
    assert status == 2
    assert "MNIST is not in" in err
    assert not list(workplace.iterdir())


def test_a_list_is_in_the_order_of_what_is_known():
    assert listed(" svm, sae", METHODS, "methods") == ["sae", "svm"]


@pytest.mark.slow
@pytest.mark.timeout(120)  # promised: the smoke budget takes less than two minutes
def test_all_problems_all_methods_and_both_recipes_in_two_minutes(daezoo_command, workplace, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (900, 28, 28), np.uint8)
    mnist_of(workplace / "data", images, np.arange(900) % 10, test=300)
    monkeypatch.setenv("DAEZOO_DATA", str(workplace / "data"))
    status, _, err = daezoo_command(*SMOKE)
    assert status == 0, err
    rows = rows_of(TABLE)
    assert {one["problem"] for one in rows} == set(PROBLEMS)
    assert {one["method"] for one in rows} == {"sae", "sdae", "sdae-sp", "mlp", "svm-linear", "svm-rbf"}
    assert len(rows) == len(PROBLEMS) * (4 + 3 + 2 + 2 * 3)
    text = Path("docs/results.md").read_text()
    assert all(f"| {problem} |" in text for problem in PROBLEMS)
    for picture in re.findall(r"images/vincent2010\S+png", text):
        assert Path("docs", picture).stat().st_size > 10_000
    assert text.count("images/vincent2010") == 2
