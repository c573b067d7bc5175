"""Tables: CSV and Parquet files, and those that ship with scikit-learn."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from daezoo import tabular
from daezoo.batch import Sample
from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.location import DataMissing, located
from daezoo.data.splits import InMemory, Split, digest
from daezoo.hyperparameters import plain
from daezoo.tabular import Column, Frame

SHIPPED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
"""Tables of scikit-learn, by name; diabetes comes without its target, which is a number."""


class Rows(InMemory):
    """Rows of a table, some of whose values are missing.

    Args:
        clean: (N, D), 0 where a value is missing.
        observed: Where it is not, (N, D).
        label: (N,) int64.
    """

    def __init__(self, clean: Tensor, observed: Tensor, label: Tensor) -> None:
        super().__init__(clean, label)
        self.observed = observed

    def __getitems__(self, rows: Tensor) -> Sample:
        return super().__getitems__(rows)._replace(observed=self.observed[self.rows[rows]])

    def mean(self) -> Tensor:
        """The mean of the values that are there."""
        return self.clean[self.rows].sum(0) / self.observed[self.rows].sum(0).clamp_min(1)

    def fingerprint(self) -> str:
        """Of all rows, and of where they are empty."""
        return digest([self.observed], super().fingerprint())

    def on(self, device: torch.device) -> "Rows":
        """The same rows on a device."""
        moved = super().on(device)
        assert isinstance(moved, Rows)
        moved.observed = self.observed[self.rows].to(device)
        return moved


class TableData(DenoisingDataModule):
    """The rows of a table: numbers standardised or normal by rank, categories as ones and zeros.

    What is known of a column (mean, deviation, quantiles, categories) is that of the training rows, and is kept in the
    checkpoint with the other arguments. An empty cell is missing: to the model it is 0, which is the mean, the median
    or no category, and the loss is that of the others. A category that the training rows do not have counts as missing.
    The training, validation and test rows are dealt out by split_seed. Classes that are whole numbers from 0 keep
    them; others are numbered in their order.

    Args:
        path: A .csv or .parquet file ($DAEZOO_DATA in it is the folder that this variable names, else data/), or a
            table that ships with scikit-learn: breast_cancer, diabetes, digits, iris or wine.
        target: The column with the class, which is a label and no part of a sample; scikit-learn's have their own.
        numeric: How columns of numbers are encoded: less their mean, over their deviation; or normal by rank.
        categorical: Columns that are categories though they are numbers; text and truth values always are.
        drop: Columns that are left out.
        valid: Share of the rows held out for validation, in (0, 1).
        test: Share of the rows held out for test, in (0, 1).
        columns: What is known of the columns; that of the training rows if None.
        batch_size: As DenoisingDataModule; tables may be small.
        **kwargs: As DenoisingDataModule.

    Raises:
        DataMissing: If there is no such file.
        ValueError: If pandas is not installed, or the table or an argument is not as said.
    """

    def __init__(
        self,
        path: str = "breast_cancer",
        target: str | None = None,
        numeric: Literal["standardise", "quantiles"] = "standardise",
        categorical: Sequence[str] = (),
        drop: Sequence[str] = (),
        valid: float = 0.1,
        test: float = 0.2,
        columns: Sequence[Column] | None = None,
        batch_size: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **kwargs)
        if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
            raise ValueError(
                f"valid and test are shares in (0, 1) that leave rows to train on, got {valid} and {test}."
            )
        if self.whiten:
            raise ValueError("Tables are not whitened: their columns are standardised. Set --data.whiten false.")
        self.path, self.target, self.numeric = path, target, numeric
        self.categorical, self.drop, self.valid, self.test = categorical, drop, valid, test
        if columns is not None:
            self.know(columns)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "table"}

    @property
    def shape(self) -> list[int]:
        """[D], with an element for each category."""
        return [len(self.groups)]

    @property
    def groups(self) -> Tensor:
        """Which column each element of a sample belongs to, (D,)."""
        return tabular.groups_of(self.columns)

    @cached_property
    def table(self) -> tuple[Frame, Tensor]:
        """The rows without their classes, and these, (N,) int64: -1 where there is none."""
        pandas = tabular.pandas()
        if self.path in SHIPPED:
            import sklearn.datasets

            bunch = getattr(sklearn.datasets, f"load_{self.path}")(as_frame=True)
            frame, target = bunch.data, None if self.path == "diabetes" else bunch.target
        else:
            path = located(self.path)
            if not path.is_file():
                raise DataMissing(
                    f"There is no file {path}. Pass --data.path FILE.csv, FILE.parquet, or a table of scikit-learn: "
                    f"{', '.join(SHIPPED)}; to evaluate, --root."
                )
            frame, target = tabular.read(path), None
        absent = {*self.drop, *([] if self.target is None else [self.target])} - set(frame.columns)
        if absent:
            raise ValueError(f"{self.path} has no columns {', '.join(sorted(absent))}.")
        target = target if self.target is None else frame[self.target]
        frame = frame.drop(columns=[*self.drop, *([] if self.target is None else [self.target])])
        if not len(frame.columns):
            raise ValueError(f"{self.path} has no columns but those that are left out.")
        labels = np.full(len(frame), -1)
        if target is not None:
            numbered = pandas.api.types.is_integer_dtype(target.dtype) and not target.isna().any() and target.min() >= 0
            labels = target.to_numpy(np.int64) if numbered else pandas.factorize(target, sort=True)[0]
        if labels.max(initial=-1) >= tabular.MOST_CATEGORIES:
            raise ValueError(
                f"Column {self.target!r} of {self.path} has {labels.max() + 1:,} different values, which are no "
                "classes. Leave it out, --data.drop, or keep it as one of the columns."
            )
        return frame, torch.from_numpy(labels.astype(np.int64))

    @cached_property
    def columns(self) -> list[Column]:
        """What is known of the columns, of the training rows."""
        frame, labels = self.table
        rows = self.parts()[0]
        if self.classes is not None:  # of which nothing else may be known
            rows = rows[torch.isin(labels[rows], torch.tensor(self.classes))]
        self.know(tabular.fitted(frame.iloc[rows.numpy()], self.numeric, self.categorical))
        return self.columns

    def know(self, columns: Sequence[Column]) -> None:
        """Encode by what is known of these columns, and keep it in checkpoints."""
        self.columns = list(columns)
        self.hparams["columns"] = plain(self.columns)

    def parts(self) -> list[Tensor]:
        """Which rows of the table each split has: training, validation, test."""
        rows = len(self.table[0])
        valid, test = (max(1, round(share * rows)) for share in (self.valid, self.test))
        if rows < valid + test + 2:
            raise ValueError(f"{self.path} has {rows} rows, too few for a training, a validation and a test split.")
        return self.random_split(rows, valid, test)

    def load(self) -> dict[str, Split]:
        """The splits, dealt out by split_seed."""
        frame, labels = self.table
        values, observed = tabular.encode(self.columns, frame)
        empty = (~observed.any(1)).nonzero()[:, 0]
        if len(empty):
            raise ValueError(f"{self.path} has nothing in row {int(empty[0])} that is known. Leave such rows out.")
        if observed.all():
            return {name: InMemory(values, labels, rows) for name, rows in zip(SPLITS, self.parts(), strict=True)}
        parts = zip(SPLITS, self.parts(), strict=True)
        return {name: Rows(values[rows], observed[rows], labels[rows]) for name, rows in parts}
