"""Tables: columns of numbers and of categories as samples, and the files they are in."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor

from daezoo.files import check_suffix, write_atomically

Frame = Any
"""A pandas.DataFrame."""
Series = Any
"""One column of it."""
Numbers = NDArray[np.float64]

SUFFIXES = (".csv", ".parquet")
"""Of the files that tables are in."""
MOST_CATEGORIES = 256
QUANTILES = 101
EXTREME = 1e-3
"""Share of the values beyond which a quantile-normalised column is flat, at either end: 3.09 standard deviations."""


def pandas() -> Any:
    """The module.

    Raises:
        ValueError: If it, or pyarrow, is not installed.
    """
    try:
        import_module("pyarrow")
        return import_module("pandas")
    except ModuleNotFoundError:
        raise ValueError("Tables need the packages pandas and pyarrow: pip install 'daezoo[tables]'") from None


class Column(ABC):
    """A column of a table, and what the training rows say of it: a frozen dataclass with a `name`."""

    name: str
    width: int = 1

    @abstractmethod
    def encode(self, column: Series) -> Numbers:
        """Values as a model sees them, (N, width); NaN where they are missing."""

    @abstractmethod
    def decode(self, values: Numbers) -> NDArray[Any]:
        """Values (N, width) of a model in the column's own units, (N,)."""


@dataclass(frozen=True)
class Standardised(Column):
    """A column of numbers: (x − mean) / deviation.

    Args:
        name: Of the column.
        mean: Of the training rows.
        deviation: Likewise the standard deviation, > 0; 1 for a constant column.
    """

    name: str
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if not (isfinite(self.mean) and 0 < self.deviation < float("inf")):
            raise ValueError(f"Column {self.name!r} needs a finite mean and a positive deviation, got {self}.")

    def encode(self, column: Series) -> Numbers:
        """(x − mean) / deviation."""
        return ((numbers(column) - self.mean) / self.deviation)[:, None]

    def decode(self, values: Numbers) -> Numbers:
        """Undo it."""
        return values[:, 0] * self.deviation + self.mean


@dataclass(frozen=True)
class QuantileNormal(Column):
    """A column of numbers by their ranks: Φ⁻¹(F(x)), F the training rows' distribution, linear between its quantiles.

    Whatever their distribution, values become normal ones; beyond the training rows' extremes they stay at ± 3.09.

    Args:
        name: Of the column.
        quantiles: Evenly spaced ones, from the smallest value to the largest.
    """

    name: str
    quantiles: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.quantiles) < 2 or not all(a <= b for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise ValueError(f"Column {self.name!r} needs two quantiles or more, none below the one before.")

    def encode(self, column: Series) -> Numbers:
        """Φ⁻¹(F(x)); of equal quantiles the middle one counts."""
        x, known = numbers(column), np.asarray(self.quantiles)
        shares = np.linspace(0, 1, len(known))
        share = (np.interp(x, known, shares) + 1 - np.interp(-x, -known[::-1], shares)) / 2
        return ndtri(EXTREME + (1 - 2 * EXTREME) * share)[:, None]

    def decode(self, values: Numbers) -> Numbers:
        """F⁻¹(Φ(z))."""
        share = (ndtr(values[:, 0]) - EXTREME) / (1 - 2 * EXTREME)
        return np.interp(share, np.linspace(0, 1, len(self.quantiles)), self.quantiles)


@dataclass(frozen=True)
class OneHot(Column):
    """A column of categories: 1 at the place of its own, else 0. A first layer's weights are then their embedding.

    Args:
        name: Of the column.
        categories: Those of the training rows, as text. Any other counts as missing.
    """

    name: str
    categories: Sequence[str]

    def __post_init__(self) -> None:
        if not self.categories or len(set(self.categories)) < len(self.categories):
            raise ValueError(f"Column {self.name!r} needs one category or more, all different.")

    @property
    def width(self) -> int:  # type: ignore[override]
        """One element for each category."""
        return len(self.categories)

    def encode(self, column: Series) -> Numbers:
        """Ones and zeros; NaN where nothing is known."""
        place: dict[str | None, int] = {category: k for k, category in enumerate(self.categories)}
        found = np.array([place.get(word, -1) for word in words(column)])
        return np.where(found[:, None] < 0, np.nan, found[:, None] == np.arange(self.width))

    def decode(self, values: Numbers) -> NDArray[Any]:
        """The category with the largest value."""
        return np.asarray(self.categories, object)[values.argmax(1)]

    def unknown(self, column: Series) -> list[str]:
        """Categories in a column that the training rows did not have."""
        return sorted({word for word in words(column) if word is not None} - set(self.categories))


def numbers(column: Series) -> Numbers:
    """A column's numbers as float64, NaN where they are missing.

    Raises:
        ValueError: If it has anything else, or one is infinite.
    """
    missing = column.isna().to_numpy()
    found = pandas().to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = (~np.isfinite(found) & ~missing).nonzero()[0]
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"Column {column.name!r} has {column.tolist()[row]!r} in row {row}. Expected finite numbers, and an empty "
            "cell where one is missing."
        )
    return found


def words(column: Series) -> list[str | None]:
    """A column's categories as text, None where they are missing; whole numbers as such, whatever their type."""

    def word(value: Any) -> str:
        whole = isinstance(value, float | np.floating) and float(value).is_integer()
        return str(int(value) if whole else value)

    return [
        None if missing else word(value) for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)
    ]


def fitted(
    frame: Frame, numeric: Literal["standardise", "quantiles"] = "standardise", categorical: Sequence[str] = ()
) -> list[Column]:
    """The columns of a table, with what its rows, those of training, say of them.

    Args:
        frame: The rows.
        numeric: How columns of numbers are encoded.
        categorical: Names of columns that are categories though they are numbers; text and truth values always are.

    Raises:
        ValueError: If a column is empty, neither numbers nor text, or has too many categories, or one is not there.
    """
    absent = set(categorical) - set(frame.columns)
    if absent:
        raise ValueError(f"There are no columns {', '.join(sorted(absent))}; there are {', '.join(frame.columns)}.")
    return [_fitted(frame[name], numeric, name in categorical) for name in frame.columns]


def _fitted(column: Series, numeric: str, categorical: bool) -> Column:
    types, name = pandas().api.types, str(column.name)
    kind = column.dtype
    if column.isna().all():
        raise ValueError(f"Column {name!r} has no value in the training rows. Leave it out: --data.drop")
    if types.is_numeric_dtype(kind) and not types.is_bool_dtype(kind) and not categorical:
        known = numbers(column)
        known = known[~np.isnan(known)]
        if numeric == "quantiles":
            return QuantileNormal(name, np.quantile(known, np.linspace(0, 1, QUANTILES)).tolist())
        deviation = float(known.std())
        constant = deviation <= 1e-14 * float(np.abs(known).max())  # up to rounding
        return Standardised(name, float(known.mean()), 1.0 if constant else deviation)
    if types.is_datetime64_any_dtype(kind) or types.is_timedelta64_dtype(kind) or types.is_complex_dtype(kind):
        raise ValueError(f"Column {name!r} is {kind}: neither numbers nor text. Leave it out: --data.drop")
    categories = sorted({word for word in words(column) if word is not None})
    if len(categories) > MOST_CATEGORIES:
        raise ValueError(
            f"Column {name!r} has {len(categories):,} categories, more than {MOST_CATEGORIES}. Leave it out: "
            "--data.drop"
        )
    return OneHot(name, categories)


def encode(columns: Sequence[Column], frame: Frame) -> tuple[Tensor, Tensor]:
    """A table's rows as samples.

    Args:
        columns: The model's; the table may have others, and its own order.
        frame: The rows.

    Returns:
        Values (N, D) float32, 0 where they are missing, and where they are observed, (N, D) bool.

    Raises:
        ValueError: If a column is not there, or its values do not fit.
    """
    absent = [column.name for column in columns if column.name not in frame.columns]
    if absent:
        raise ValueError(f"The table lacks {', '.join(absent)}; it has {', '.join(map(str, frame.columns))}.")
    values = np.concatenate([column.encode(frame[column.name]) for column in columns], 1)
    observed = ~np.isnan(values)
    # what is a million deviations away is a typing error, which the network should survive
    clean = np.clip(np.where(observed, values, 0), -1e6, 1e6)
    return torch.from_numpy(clean.astype(np.float32)), torch.from_numpy(observed)


def groups_of(columns: Sequence[Column]) -> Tensor:
    """Which column each element of a sample belongs to, (D,)."""
    return torch.arange(len(columns)).repeat_interleave(torch.tensor([column.width for column in columns]))


def decode(columns: Sequence[Column], values: Tensor) -> dict[str, NDArray[Any]]:
    """Samples (N, D), such as a model's, in the columns' own units: for each its numbers, or its categories as text."""
    ends = np.cumsum([column.width for column in columns])[:-1]
    parts = np.split(values.double().numpy(), ends, 1)
    return {column.name: column.decode(part) for column, part in zip(columns, parts, strict=True)}


def fill(columns: Sequence[Column], frame: Frame, values: Tensor) -> Frame:
    """A copy of a table whose empty cells in these columns are filled; no other cell changes.

    Args:
        columns: The model's.
        frame: The rows.
        values: What it says of them, (N, D).
    """
    filled, found = frame.copy(), decode(columns, values)
    for name in found:
        holes = frame[name].isna().to_numpy()
        if holes.any():
            column, guess = _of_one_type(frame[name], found[name][holes])
            column[holes] = guess
            filled[name] = column
    return filled


def _of_one_type(column: Series, guess: NDArray[Any]) -> tuple[Series, NDArray[Any]]:
    """A copy of a column with gaps, and what they are filled with, in types that go together."""
    types, kind, seen = pandas().api.types, column.dtype, column.dropna().tolist()
    if guess.dtype != object:
        return column.astype("Float64" if types.is_extension_array_dtype(kind) else np.float64), guess
    if seen and all(isinstance(value, bool | np.bool_) for value in seen):
        return column.copy(), guess == "True"
    if seen and types.is_numeric_dtype(kind):
        return column.copy(), guess.astype(np.float64)
    return column.astype(object), guess


def as_written(path: Path, frame: Frame, filled: Frame) -> Frame:
    """A .csv file's cells as they stand there, and in the place of filled ones what they were filled with.

    Args:
        path: The file.
        frame: As `read` gives it.
        filled: The same with fewer empty cells.
    """
    cells = pandas().read_csv(path, dtype=str, keep_default_na=False)
    cells.columns = frame.columns
    for name in frame.columns:
        new = frame[name].isna().to_numpy() & filled[name].notna().to_numpy()
        cells.loc[new, name] = filled[name][new].map(str)
    return cells


def say_unknown(columns: Sequence[Column], frame: Frame) -> None:
    """Say which categories of a table the training rows did not have."""
    for column in columns:
        if isinstance(column, OneHot) and (unknown := column.unknown(frame[column.name])):
            print(
                f"Column {column.name!r}: nothing is known of {', '.join(unknown)}, which the model takes as missing."
            )


def read(path: Path) -> Frame:
    """A table from a .csv or .parquet file.

    Raises:
        ValueError: If there is no such file, it is of another kind or cannot be read, or two columns have one name.
    """
    readers = {".csv": "read_csv", ".parquet": "read_parquet"}
    check_suffix(path, SUFFIXES)
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Expected a table, .csv or .parquet.")
    try:
        frame = getattr(pandas(), readers[path.suffix.lower()])(path)
    except Exception as error:  # pandas and pyarrow have errors of their own kinds
        raise error if "daezoo[tables]" in str(error) else ValueError(f"{path} cannot be read: {error}") from None
    frame.columns = frame.columns.map(str)
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice or not len(frame):
        problem = f"two columns are called {twice[0]!r}" if twice else "it has no rows"
        raise ValueError(f"{path} is no table that can be used: {problem}.")
    return frame.reset_index(drop=True)


def write(frame: Frame, path: Path) -> None:
    """Write a table as .csv or .parquet, whole or not at all."""
    if path.suffix.lower() == ".csv":
        content = frame.to_csv(index=False).encode()
    else:
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        content = buffer.getvalue()
    write_atomically(path, lambda file: file.write(content))
