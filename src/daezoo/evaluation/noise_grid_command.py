"""`daezoo noise-grid`: runs trained at some noise levels and types, judged at others, beside two baselines."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from daezoo.evaluation.noise_grid import Row, conditions, judge, open_runs
from daezoo.evaluation.noise_grid_figures import pictures, print_tables
from daezoo.evaluation.target import add_data_arguments, parse
from daezoo.figures import save
from daezoo.files import to_json, write_text
from daezoo.parser import Parser


def to_csv(rows: Sequence[Row]) -> str:
    """The rows with a header; an empty cell where there is no value, `inf` for the psnr of a perfect copy."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    return text.getvalue()


def run(args: list[str]) -> None:
    """Judge the runs, write the CSV and the heat maps, and print tables or JSON.

    Args:
        args: The command line, without the command.
    """
    parser = Parser(prog="daezoo noise-grid", description="Runs at all noise levels and types, beside two baselines.")
    parser.add_argument(
        "targets", type=str, nargs="+", help="Run folders, checkpoints, zoo names, or folders with runs."
    )
    parser.add_argument("--source", type=str | None, help="Where to look for zoo names, as for daezoo zoo.")
    add_data_arguments(parser)
    parser.add_argument("--levels", type=str | None, help="Test levels of every type, as 0.1,0.25; those trained at.")
    parser.add_argument("--samples", type=int | None, help="So many test samples, evenly spread; all by default.")
    parser.add_argument("--out", type=str, default="noise-grid", help="Folder for noise_grid.csv and the heat maps.")
    parser.add_argument("--json", action="store_true", help="Print the rows as JSON instead of tables.")
    options = parse(parser, args)
    levels = _levels(options.levels)
    if options.samples is not None and options.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {options.samples}.")
    runs, data = open_runs(options)
    tested = conditions([one.corruption for one in runs], levels)
    rows, notes = judge(runs, data, tested, options.samples)
    folder = Path(options.out)
    write_text(folder / "noise_grid.csv", to_csv(rows))
    figures = pictures(rows, tested, type(data).__name__)
    for name, figure in figures.items():
        save(figure, folder / name)
    files = [str(folder / name) for name in ("noise_grid.csv", *figures)]
    if options.json:
        described = {"data": type(data).__name__, "notes": notes, "files": files}
        print(to_json(described | {"rows": [row._asdict() for row in rows]}))
        return
    print_tables(rows, tested)
    for line in [*notes, f"wrote {', '.join(files)}"]:
        print(line)


def _levels(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--levels must be numbers with commas between them, like 0.1,0.25,0.5, got {text!r}."
        ) from None
