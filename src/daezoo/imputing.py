"""`daezoo impute`: empty cells of tables, filled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from daezoo import tabular
from daezoo.checkpoint import load_model
from daezoo.data.table import TableData
from daezoo.evaluation.target import on_device, own_data
from daezoo.files import check_output
from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder
from daezoo.parser import Parser
from daezoo.tabular import Column, Frame
from daezoo.zoo import loading

STEPS = 2
"""How often cells are filled in, each time from what was filled in before."""
ROWS = 4096
"""At a time."""


def opened(target: str, source: str | None = None, device: str = "cpu") -> tuple[DenoisingAutoencoder, list[Column]]:
    """A model of tables, and what is known of their columns.

    Raises:
        ValueError: If there is none, or it was not trained on a table.
    """
    path, checkpoint = loading.open_target(target, source)
    columns = columns_of(path, checkpoint)
    if columns is None:
        raise ValueError(f"{target} was not trained on a table: take one that was, by --data table.")
    return on_device(load_model(path, checkpoint), device), columns


def columns_of(path: Path, checkpoint: dict[str, Any]) -> list[Column] | None:
    """What a checkpoint says of the columns of the table that its model was trained on; None if there was none."""
    if not checkpoint.get("datamodule_hyper_parameters", {}).get("columns"):
        return None
    data = own_data(path, checkpoint, None)
    assert isinstance(data, TableData)
    return data.columns


@torch.inference_mode()
@exact_float32()
def completed(model: DenoisingAutoencoder, values: Tensor, observed: Tensor, steps: int = STEPS) -> Tensor:
    """Samples whose missing values are filled in: xᵢ ← r(x)ᵢ where i is missing, from the mean on, a few times.

    More is not better: nothing says that it settles.

    Args:
        model: The denoiser r.
        values: (N, D), 0 where a value is missing.
        observed: Where it is not, (N, D).
        steps: How often, >= 1.
    """
    parts = []
    for part, known in zip(values.split(ROWS), observed.to(model.device).split(ROWS), strict=True):
        x = part.to(model.device)
        for _ in range(steps):
            x = torch.where(known, x, model.denoise(x))
        parts.append(x.cpu())
    return torch.cat(parts)


def imputed(model: DenoisingAutoencoder, columns: Sequence[Column], frame: Frame, steps: int = STEPS) -> Frame:
    """A copy of a table without empty cells in the model's columns; no other cell changes.

    Args:
        model: As `opened` gives it.
        columns: Likewise.
        frame: The rows.
        steps: As for `completed`.

    Raises:
        ValueError: If the table does not fit.
    """
    return tabular.fill(columns, frame, completed(model, *tabular.encode(columns, frame), steps))


def run(args: list[str]) -> None:
    """Fill the empty cells of a table.

    Args:
        args: The command line, without the command.

    Raises:
        ValueError: If something does not fit.
    """
    parser = Parser(prog="daezoo impute", description="Fill the empty cells of a table. No other cell changes.")
    parser.add_argument("target", type=str, help="A zoo name, a run folder, or a checkpoint: of a model of tables.")
    parser.add_argument("input", type=str, help="A table (.csv, .parquet) with the model's columns; others are copied.")
    parser.add_argument("output", type=str, help="The table to write (.csv, .parquet).")
    parser.add_argument("--steps", type=int, default=STEPS, help="How often: each time from what was filled in before.")
    parser.add_argument("--force", action="store_true", help="Write over what is there.")
    parser.add_argument("--source", type=str | None, help="Where to look for a zoo name, as for daezoo zoo.")
    parser.add_argument(
        "--device", type=str, default="cuda" if torch.cuda.is_available() else "cpu", help="Where to run."
    )
    options = parser.parse_args(args)
    if options.steps < 1:
        raise ValueError(f"--steps must be at least 1, got {options.steps}.")
    output = Path(options.output)
    check_output(output, options.force, tabular.SUFFIXES)
    frame = tabular.read(Path(options.input))
    model, columns = opened(options.target, options.source, options.device)
    filled = imputed(model, columns, frame, options.steps)
    if {Path(options.input).suffix.lower(), output.suffix.lower()} == {".csv"}:
        tabular.write(tabular.as_written(Path(options.input), frame, filled), output)
    else:
        tabular.write(filled, output)
    names = [column.name for column in columns]
    print(f"{output}: {int(frame[names].isna().sum().sum()):,} of {len(frame) * len(names):,} cells filled")
    tabular.say_unknown(columns, frame)
