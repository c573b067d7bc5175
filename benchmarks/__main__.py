"""`python -m benchmarks [--quick] [--rows NAME …] [--out FILE]`: every row, as a table and as JSON."""

import argparse
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import micro
from benchmarks.cells import work
from benchmarks.pace import race
from benchmarks.rows import ROWS, Row, precision
from benchmarks.system import machine, stem
from daezoo.files import to_json, write_text

RESULTS = Path(__file__).parent / "results"


def train(row: Row, rounds: int, batches: int) -> dict[str, Any]:
    """Race the columns of one row.

    Args:
        row: The row.
        rounds: Epochs that count; for a model with phases, epochs of each, and a round is a phase.
        batches: Batches in an epoch.
    """
    columns = [column for column in row.columns if column != "pythae" or find_spec("pythae")]
    epochs, phased = rounds, row.model == "stacked"
    if phased:
        epochs, rounds = max(1, rounds // 4), 4
    turns = batches // row.turn * (epochs if phased else 1)
    with tempfile.TemporaryDirectory() as folder:
        cells = {column: work(row, column, batches, epochs, Path(folder)) for column in columns}
        seconds = race(cells, row.turn, rounds, turns)
    samples = turns * row.turn * row.batch
    ratios = {
        column: _spread([theirs / ours for theirs, ours in zip(taken, seconds["ours"], strict=True)])
        for column, taken in seconds.items()
    }
    return {
        "model": row.model,
        "shape": row.shape,
        "batch": row.batch,
        "changes": dict(row.changes),
        "precision": precision(),
        "samples_per_round": samples,
        "seconds": seconds,
        "samples_per_second": {
            column: _spread([samples / each for each in taken]) for column, taken in seconds.items()
        },
        "step_seconds": {column: median(taken) / turns / row.turn for column, taken in seconds.items()},
        "ours_against": ratios,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "low": min(values), "high": max(values)}


def print_training(rows: dict[str, dict[str, Any]], console: Console) -> None:
    """Samples a second of every column, and how many times as fast as each ours is."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row["seconds"]))
    table = Table(
        "row",
        "precision",
        *columns,
        title="samples/s: median (lowest to highest round); below, ours as a multiple of it",
    )
    for name, row in rows.items():
        cells, ratios = [], []
        for column in columns:
            speed, ratio = row["samples_per_second"].get(column), row["ours_against"].get(column)
            cells.append(f"{speed['median']:,.0f} ({speed['low']:,.0f} to {speed['high']:,.0f})" if speed else "")
            ratios.append(f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else "")
        table.add_row(name, row["precision"], *cells)
        table.add_row("", "", *ratios, end_section=True)
    console.print(table)


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*ROWS, *micro.MEASURES]
    parser.add_argument("--quick", action="store_true", help="Less of everything: does it run, and roughly how fast?")
    parser.add_argument(
        "--against",
        action="append",
        metavar="OPTIONS",
        help="Not the usual columns, but ours with options; repeatable.",
    )
    parser.add_argument("--turn", type=int, help="Steps in a turn, for all rows.")
    parser.add_argument("--rounds", type=int, default=6, help="Rounds that count.")
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--out", type=Path, help="The JSON; in benchmarks/results, named after the machine, if not given."
    )
    options = parser.parse_args()
    console = Console(width=200)
    found = machine()
    training: dict[str, dict[str, Any]] = {}
    for name in options.rows:
        if name in ROWS:
            row = ROWS[name]
            row = replace(row, columns=("ours", *options.against)) if options.against else row
            row = replace(row, turn=options.turn) if options.turn else row
            console.print(f"{name} …")
            rounds, batches = (1, row.batches // 2) if options.quick else (options.rounds, row.batches)
            training[name] = train(row, rounds, batches)
    result: dict[str, Any] = {"machine": found, "quick": options.quick, "training": training}
    for name in options.rows:
        if name in micro.MEASURES:
            console.print(f"{name} …")
            steps = {row: measured["step_seconds"]["ours"] for row, measured in training.items()}
            result[name] = micro.MEASURES[name](options.quick, steps)
    if training:
        print_training(training, console)
    for name in micro.MEASURES:
        if name in result:
            table = Table("", *next(iter(result[name].values())), title=name)
            for key, values in result[name].items():
                table.add_row(key, *(f"{value:,.3g}" for value in values.values()))
            console.print(table)
    name = stem(found) + ("-quick" if options.quick else "")
    path = options.out or RESULTS / f"{name}.json"
    write_text(path, to_json(result) + "\n")
    console.print(f"{path}: {', '.join(options.rows)}")


if __name__ == "__main__":
    main()
