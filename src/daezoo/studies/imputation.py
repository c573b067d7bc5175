"""`daezoo reproduce imputation`: empty cells of a table, filled by a denoiser and by scikit-learn's imputers."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (makes IterativeImputer importable)
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from daezoo import tabular
from daezoo.data.table import TableData
from daezoo.imputing import imputed, opened
from daezoo.parser import Parser
from daezoo.runs import commit
from daezoo.studies.cells import add_row, configurations, rows_of, trained
from daezoo.studies.markdown import of
from daezoo.studies.tables import render
from daezoo.tabular import Frame

MISSING = 0.2
"""Share of cells that are emptied, completely at random."""
RECIPE = (
    *("--data.batch_size", "64", "--model.tied", "false", "--model.loss", "SquaredError", "--model.loss.beta", "0"),
    *("--model.optimizer.lr", "0.002", "--model.optimizer.schedule", "cosine", "--trainer.precision", "32-true"),
)
"""Options of `daezoo fit`."""
EPOCHS = 300
OURS = {
    "denoiser, masking": ("--data.corruption", "Masking", "--data.corruption.ratio", "0.02"),
    "denoiser, swap noise": ("--data.corruption", "SwapNoise", "--data.corruption.ratio", "0.05"),
}
"""Names, and the noise trained under."""
IMPUTERS: dict[str, Callable[[int], Any]] = {
    "column means": lambda seed: SimpleImputer(),
    "KNNImputer": lambda seed: KNNImputer(),
    "IterativeImputer, BayesianRidge": lambda seed: IterativeImputer(max_iter=30, random_state=seed),
    "IterativeImputer, ExtraTrees": lambda seed: IterativeImputer(
        ExtraTreesRegressor(30, random_state=seed), random_state=seed
    ),
}
"""scikit-learn's, by name, of a seed."""


def emptied(seed: int) -> tuple[Frame, Frame]:
    """The table of breast cancers, whole and with empty cells."""
    whole = load_breast_cancer(as_frame=True).data
    return whole, whole.mask(np.random.default_rng(seed).random(whole.shape) < MISSING)


def theirs(imputer: Any, holed: Frame, data: TableData) -> Frame:
    """The test rows, filled by an imputer of scikit-learn that was fitted to all others, standardised."""
    train, valid, test = (rows.numpy() for rows in data.parts())
    scaled = (holed - holed.iloc[train].mean()) / holed.iloc[train].std(ddof=0)
    filled = imputer.fit(scaled.iloc[[*train, *valid]].to_numpy()).transform(scaled.iloc[test].to_numpy())
    return filled * holed.iloc[train].std(ddof=0).to_numpy() + holed.iloc[train].mean().to_numpy()


def run(args: list[str]) -> None:
    """Fill what is not filled yet, and render the results.

    Args:
        args: The command line, without the command and the study.
    """
    parser = Parser(prog="daezoo reproduce imputation", description="Fill the empty cells of a table.")
    parser.add_argument("--seeds", type=int, default=3, help="Seeds 0, 1, …: so many, of cells, splits and training.")
    parser.add_argument("--configs", type=str, default="configs", help="The configurations of a checkout.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/*.csv and results.md go.")
    parser.add_argument("--runs", type=str, default="runs/studies", help="Folder that holds the run folders.")
    options = parser.parse_args(args)
    configs, folder, docs = configurations(options.configs), Path(options.runs), Path(options.docs)
    table = docs / "studies" / "imputation.csv"
    for seed in range(options.seeds):
        keys = {name: {"method": name, "seed": str(seed)} for name in (*OURS, *IMPUTERS)}
        wanted = [name for name, key in keys.items() if not of(rows_of(table), **key)]
        if not wanted:
            continue
        whole, holed = emptied(seed)
        file = folder / "imputation" / f"breast-cancer-{seed}.csv"
        tabular.write(holed, file)
        data = TableData(str(file), split_seed=seed)
        train, _, test = (rows.numpy() for rows in data.parts())
        holes = holed.isna().to_numpy()[test]
        for name in wanted:
            start = time.perf_counter()
            if name in OURS:
                of_data = ("--data.path", str(file), "--data.split_seed", str(seed))
                options_of = [
                    *of_data,
                    *OURS[name],
                    *RECIPE,
                    "--trainer.max_epochs",
                    str(EPOCHS),
                    "--pictures",
                    "false",
                ]
                run_name = f"{OURS[name][1]}-s{seed}"
                model = trained(configs, folder, "vanilla", "table", run_name, seed, options_of)
                filled = imputed(*opened(str(model)), holed.iloc[test]).to_numpy()
            else:
                filled = theirs(IMPUTERS[name](seed), holed, data)
            seconds = time.perf_counter() - start
            wrong = (filled - whole.iloc[test].to_numpy()) / holed.iloc[train].std(ddof=0).to_numpy()
            row = {
                **keys[name],
                "rmse": float(np.sqrt(np.mean(wrong[holes] ** 2))),
                "cells": int(holes.sum()),
                "seconds": round(seconds, 1),
                "commit": commit(),
            }
            print(f"{name}, seed {seed}: {row['rmse']:.3f}", flush=True)
            add_row(table, row, keys[name])
    print(*render(docs), sep="\n")
