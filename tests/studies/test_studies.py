"""Studies: cells become rows once, and results are rendered from rows."""

import csv

import pytest

from conftest import CONFIGS, ROOT
from daezoo.studies import command
from daezoo.studies.cells import Cell, add_row, rows_of
from daezoo.studies.tables import results

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
    (run / "config.yaml").write_text("")
    with pytest.raises(ValueError, match="no checkpoint"):  # nothing was really run
        Cell("vanilla", "digits").measure(CONFIGS, workplace / "studies", {})
    assert ran[0] == ("fit", "--resume", str(run))


def test_a_cell_that_fails_says_so(workplace, monkeypatch, capfd):
    with pytest.raises(ValueError, match="failed with status 2"):
        Cell("vanilla", "digits", fit=("--model.hidden", "[0]")).measure(CONFIGS, workplace / "runs", {})
    assert not list(workplace.glob("docs/**/*.csv"))


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
