"""Studies: cells become rows once, and results are rendered from rows."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from conftest import CONFIGS, ROOT
from daezoo.runs import lock
from daezoo.studies import command
from daezoo.studies.cells import Cell, add_row, rows_of, trained
from daezoo.studies.tables import plot_corruptions, results

SMALL = ("--model.hidden", "[16]", "--trainer.max_epochs", "1")


def test_the_results_in_docs_are_the_rendered_ones():
    assert (ROOT / "docs" / "results.md").read_text() == results(ROOT / "docs" / "studies")


def test_a_study_runs_each_cell_once_and_goes_on_where_it_stopped(daezoo_command, workplace, monkeypatch):
    cells = (Cell("vanilla", "digits", fit=SMALL), Cell("vanilla", "digits", variant="Masking 0.5", fit=SMALL))
    monkeypatch.setitem(command.STUDIES, "features", cells)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    args = ("reproduce", "features", "--configs", str(CONFIGS))
    status, _, err = daezoo_command(*args, "--only", "Masking")
    assert status == 0, err
    table = workplace / "docs/studies/features.csv"
    (row,) = rows_of(table)
    other = next(workplace.glob("runs/studies/vanilla-digits/*/probe-digits-last.json"))
    other.with_name("probe-arrays-last.json").write_text("{}")  # of other data: nobody's business here
    assert row["variant"] == "Masking 0.5"
    assert 0 < float(row["low"]) < float(row["accuracy"]) < float(row["high"]) <= 1
    ran = []
    monkeypatch.setattr("daezoo.studies.cells.daezoo", lambda *args: ran.append(args))
    measured = Cell.measure
    monkeypatch.setattr(Cell, "measure", lambda cell, *others: row | cell.key)
    assert daezoo_command(*args)[0] == 0
    assert [one["variant"] for one in rows_of(table)] == ["Masking 0.5", ""]
    monkeypatch.setattr(Cell, "measure", measured)
    assert daezoo_command(*args)[0] == 0
    assert not ran
    assert "| digits | vanilla |" in (workplace / "docs/results.md").read_text()


def test_a_killed_cell_is_resumed(workplace, monkeypatch):
    ran = []
    monkeypatch.setattr("daezoo.studies.cells.daezoo", lambda *args: ran.append(args))
    run = workplace / "studies/vanilla-digits/shipped-s0"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("# daezoo fit --config c --seed_everything 0\n")
    with pytest.raises(ValueError, match="no checkpoint"):  # nothing was really run
        Cell("vanilla", "digits").measure(CONFIGS, workplace / "studies", {})
    assert ran[0] == ("fit", "--resume", str(run))


def test_a_run_of_other_options_is_not_taken_for_this_one(workplace, monkeypatch):
    monkeypatch.setattr("daezoo.studies.cells.daezoo", lambda *args: pytest.fail("was run"))
    run = workplace / "studies/vanilla-digits/shipped-s0"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("# daezoo fit --seed_everything 0 --trainer.max_epochs 3\n")
    (run / "summary.json").write_text("{}")
    for others in ((), ("--trainer.max_epochs", "30")):
        with pytest.raises(
            ValueError, match="was made with other options, by daezoo fit --seed_everything 0 --trainer"
        ):
            trained(CONFIGS, workplace / "studies", "vanilla", "digits", "shipped-s0", 0, others)
    found = trained(CONFIGS, workplace / "studies", "vanilla", "digits", "shipped-s0", 0, ("--trainer.max_epochs", "3"))
    assert found == run


def test_two_that_add_the_same_row_add_one(tmp_path):
    table, key = tmp_path / "t.csv", {"model": "a"}
    add_row(table, {"model": "a", "x": 1}, key)
    add_row(table, {"model": "a", "x": 2}, key)
    add_row(table, {"model": "b", "x": 3}, {"model": "b"})
    assert [row["x"] for row in rows_of(table)] == ["1", "3"]


def test_a_study_is_found_wherever_it_stands(daezoo_command, workplace):
    status, _, err = daezoo_command("reproduce", "--seeds", "0", "vincent2010", "--configs", str(CONFIGS))
    assert status == 2
    assert "--seeds must be at least 1, got 0" in err


def test_a_cell_that_fails_says_so(workplace, monkeypatch, capfd):
    with pytest.raises(ValueError, match="failed with status 2"):
        Cell("vanilla", "digits", fit=("--model.hidden", "[0]")).measure(CONFIGS, workplace / "runs", {})
    assert not list(workplace.glob("docs/**/*.csv"))


def test_a_fine_tuning_is_a_cell_of_its_own_and_starts_anew_if_it_was_killed(workplace, monkeypatch):
    run, tuned = workplace / "runs/stacked-digits/shipped-s3", workplace / "runs/finetune-stacked-digits/shipped-s3"
    for folder in (run, tuned):
        folder.mkdir(parents=True)
    named = "model:\n  class_path: daezoo.models.StackedDAE\n"
    (run / "config.yaml").write_text(f"# daezoo fit --seed_everything 3\n{named}")
    (run / "summary.json").write_text("{}")
    (tuned / "half.ckpt").write_text("")
    cell, held = Cell("stacked", "digits", seed=3, finetune=True), lock(tuned)
    with pytest.raises(ValueError, match="Another process is training"):
        cell.measure(CONFIGS, workplace / "runs", {})
    os.close(held)
    assert (tuned / "half.ckpt").exists()
    one = {"error": 0.25, "valid_accuracy": 0.75, "seconds": 2.0}
    summary = {"protocol": "finetune-v1: as said", "pretrained": one, "scratch": one | {"error": 0.5}, "commit": "abc"}

    def command(*args: str) -> None:
        assert args == ("finetune", str(run), "--runs", "runs", "--name", "shipped-s3", "--seed", "3")
        assert not tuned.exists()
        tuned.mkdir()
        (tuned / "config.yaml").write_text("# daezoo finetune RUN --seed 3\n")
        (tuned / "summary.json").write_text(json.dumps(summary))

    monkeypatch.setattr("daezoo.studies.cells.daezoo", command)
    monkeypatch.chdir(workplace)
    run, tuned = run.relative_to(workplace), tuned.relative_to(workplace)
    row = cell.measure(CONFIGS, Path("runs"), {})
    assert (row["protocol"], row["pretrained_error"], row["scratch_error"]) == ("finetune-v1", 0.25, 0.5)
    assert (row["pretrained_valid"], row["seconds"]) == (0.25, 4.0)
    assert cell.measure(CONFIGS, Path("runs"), {}) == row  # nothing is run again
    add_row(workplace / "studies/finetuning.csv", row)
    assert "| digits | stacked | 25.00 | 50.00 | 1 |" in results(workplace / "studies")


def test_a_plot_has_one_point_for_each_level_whatever_the_seeds():
    shares = {"untrained": "0.9", "raw_pixels": "0.8"}
    found = {"Clean": ("0.90", "0.92"), "Masking 0.5": ("0.96", "0.97"), "Masking 0.25": ("0.94", "0.95")}
    rows = [
        {"variant": variant, "accuracy": value, **shares}
        for seed in (0, 1)
        for variant, value in ((variant, values[seed]) for variant, values in found.items())
    ]
    lines = {line.get_label(): line.get_xydata() for line in plot_corruptions(rows).axes[0].lines}
    assert lines["Masking"] == pytest.approx(np.array([[0.25, 94.5], [0.5, 96.5]]))
    assert lines["no noise"][:, 1] == pytest.approx(91)


def test_rows_with_other_columns_fit_in_one_table(tmp_path):
    table = tmp_path / "new" / "t.csv"
    add_row(table, {"model": "a", "x": 1})
    add_row(table, {"model": "b", "y": 2})
    with open(table, newline="") as file:
        assert list(csv.DictReader(file)) == [{"model": "a", "x": "1", "y": ""}, {"model": "b", "x": "", "y": "2"}]


@pytest.mark.parametrize(
    ("args", "said"),
    [((), "Which study?"), (("nope",), "nope"), (("features", "--configs", "nowhere"), "nowhere/trainer.yaml")],
)
def test_errors_of_use(daezoo_command, workplace, args, said):
    status, _, err = daezoo_command("reproduce", *args)
    assert status == 2
    assert said in err
    assert not list(workplace.iterdir())
