"""The benchmarks run; how fast anything is, nothing here asserts."""

import json
from importlib.util import find_spec

import pytest

from benchmarks import __main__ as command
from benchmarks import growth, micro
from benchmarks.rows import ROWS, Row, precision
from benchmarks.system import machine, stem
from daezoo.models import StackedDAE

TINY = {
    "tiny": Row(
        "vanilla", (1, 8, 8), 16, 4, 2, (("hidden", [4]),), ("ours", "bare", "float32", "items", "pythae", "limit")
    ),
    "stack": Row("stacked", (1, 8, 8), 16, 4, 2, (("hidden", [4, 4, 4]),), ("ours", "bare", "limit")),
    "colour": Row("conv", (3, 8, 8), 16, 4, 2, (("channels", [4]), ("code", 4)), ("ours", "bare", "items", "limit")),
}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "ROWS", TINY)
    monkeypatch.setattr(command.micro, "MEASURES", {"corruption": micro.corruption})
    return tmp_path / "result.json"


@pytest.mark.slow
def test_every_column_of_a_row_is_measured_and_written(tiny, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--rounds", "2", "--out", str(tiny)])
    command.main()
    written = json.loads(tiny.read_text())
    columns = [column for column in TINY["tiny"].columns if column != "pythae" or find_spec("pythae")]
    assert list(written["training"]["tiny"]["seconds"]) == columns
    for name, row in written["training"].items():
        assert row["ours_against"]["ours"] == {"median": 1.0, "low": 1.0, "high": 1.0}
        assert {len(taken) for taken in row["seconds"].values()} == {4 if name == "stack" else 2}
        assert min(min(taken) for taken in row["seconds"].values()) > 0
        assert row["samples_per_round"] == 64
    assert written["machine"].keys() == machine().keys()
    assert written["corruption"]["Masking"]["samples_per_second"] > 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*TINY, "corruption", "Masking", str(tiny)))


@pytest.mark.slow
def test_a_cell_that_fails_is_an_error_with_what_it_printed(tiny, monkeypatch):
    broken = Row("vanilla", (1, 8, 8), 16, 4, 2, (("hidden", []),), ("ours",))
    with pytest.raises(
        RuntimeError, match=r"ours ended, or hung, before its rounds were over(.|\n)*one hidden layer or more"
    ):
        command.train(broken, 1, 4)


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_the_shipped_configurations(name):
    row = ROWS[name]
    model, corruption = row.build()
    assert row.batches % row.turn == 0
    assert model.shape == row.shape
    assert type(model).__name__.lower().startswith(row.model)
    assert corruption.level_name in ("ratio", "sigma")
    assert precision() in ("bf16", "float32")
    assert ("pythae" in row.columns) == (row.model == "vanilla")
    assert not isinstance(model, StackedDAE) or model.depth == 3


def test_results_are_named_after_the_machine():
    found = machine() | {"gpu": None, "processor": "A CPU (2.0 GHz)", "bf16": ["amx_bf16"], "cores": 2}
    assert stem(found) == "a-cpu-2-0-ghz-amx-bf16-2-cores"
    assert stem(found | {"gpu": "A GPU"}) == "a-gpu"


def test_growth_is_drawn_for_every_curve():
    point = {"epoch_seconds": 1.0, "memory_gib": 0.5}
    line = [{"at": 1.0, **point}, {"at": 10.0, **point}]
    figure = growth.plot({"samples": {"one": line, "other": line}, "workers that load": {"one": line}}, "title")
    assert [axis.get_xlabel() for axis in figure.axes] == ["samples", "workers that load"] * 2
    assert [len(axis.lines) for axis in figure.axes] == [3, 1, 2, 1]


@pytest.mark.slow  # two whole processes
def test_one_epoch_is_measured_through_the_command_line(tmp_path):
    path = growth._arrays(tmp_path, 200, (8, 8), mapped=True)
    options = ("--data.path", str(path), "--data.batch_size", "20", "--model.hidden", "[4]")
    point = growth.fit(tmp_path, "vanilla", *options)
    assert point["samples"] == 180
    assert 0 < point["epoch_seconds"] < point["process_seconds"]
    with pytest.raises(RuntimeError, match=r"failed(.|\n)*no file"):
        growth.fit(tmp_path, "vanilla", "--data.path", "missing", "--data.batch_size", "20")
