"""`daezoo encode`: codes of samples, as a file for other programs."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from daezoo import tabular
from daezoo.checkpoint import load_model
from daezoo.data.base import SPLITS
from daezoo.data.splits import InMemory, Split
from daezoo.evaluation.features import extract
from daezoo.evaluation.target import on_device, open_target, parse, target_parser
from daezoo.files import check_output, write_atomically
from daezoo.imputing import columns_of
from daezoo.zoo import loading

SUFFIXES = (".parquet", ".npy")


def run(args: list[str]) -> None:
    """Write the codes of a data set, or of a table.

    Args:
        args: The command line, without the command.

    Raises:
        ValueError: If something does not fit.
    """
    parser = target_parser("encode", "Codes of clean samples as .parquet (beside label, split and row) or .npy.")
    parser.add_argument("output", type=str, help="The file to write: .parquet, or .npy for (N, code) float32.")
    parser.add_argument("--split", type=Literal["train", "valid", "test", "all"], default="all", help="Which samples.")
    parser.add_argument("--table", type=str | None, help="A table (.csv, .parquet) with the model's columns instead.")
    parser.add_argument("--force", action="store_true", help="Write over what is there.")
    options = parse(parser, args)
    output = Path(options.output)
    check_output(output, options.force, SUFFIXES)
    pandas = tabular.pandas() if output.suffix.lower() == ".parquet" else None
    splits: dict[str, Split]
    if options.table is None:
        target = open_target(options)
        model = target.model
        splits = {name: target.data.splits[name] for name in SPLITS if options.split in (name, "all")}
    else:
        if options.data is not None or options.root is not None or options.split != "all":
            raise ValueError("--table is encoded as a whole: leave --data, --root and --split out.")
        path, checkpoint = loading.open_target(options.target, options.source)
        columns = columns_of(path, checkpoint)
        if columns is None:
            raise ValueError(f"{options.target} was not trained on a table: leave --table out, or say --data.")
        model = on_device(load_model(path, checkpoint), options.device)
        frame = tabular.read(Path(options.table))
        splits = {"table": InMemory(tabular.encode(columns, frame)[0])}
        tabular.say_unknown(columns, frame)
    parts = {name: extract(model, split, model.device)[-1].cpu().numpy() for name, split in splits.items()}
    codes = np.concatenate(list(parts.values()))
    if pandas is None:
        write_atomically(output, lambda file: np.save(file, codes))
    else:
        frame = pandas.DataFrame(codes, columns=[f"code{k}" for k in range(codes.shape[1])])
        if options.table is None:
            frame["label"] = np.concatenate([_labels(split) for split in splits.values()])
            frame["split"] = np.repeat(list(parts), [len(part) for part in parts.values()])
            frame["row"] = np.concatenate([np.arange(len(part)) for part in parts.values()])
        tabular.write(frame, output)
    print(f"{output}: codes of {len(codes):,} samples ({', '.join(parts)}), {codes.shape[1]:,} values each")


def _labels(split: Split) -> np.ndarray:
    rows = torch.arange(len(split)).split(512)
    return torch.cat([split.__getitems__(some).label for some in rows]).numpy()
