import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from daezoo import tabular
from daezoo.files import check_output
from daezoo.hyperparameters import plain
from daezoo.tabular import OneHot, QuantileNormal, Standardised

FRAME = pd.DataFrame(
    {
        "height": [1.0, 2.0, np.nan, 5.0],
        "colour": ["red", None, "blue", "red"],
        "count": pd.array([1, None, 3, 4], "Int64"),
        "yes": [True, False, None, True],
        "grade": [1.0, 2.0, 2.0, np.nan],
    }
)


def test_columns_are_fitted_encoded_and_decoded():
    columns = tabular.fitted(FRAME, categorical=["grade"])
    deviation = np.std([1.0, 2.0, 5.0])
    assert columns[0] == Standardised("height", 8 / 3, deviation)
    assert columns[1] == OneHot("colour", ["blue", "red"])
    assert columns[4] == OneHot("grade", ["1", "2"])  # whole numbers, though the column has a gap
    values, observed = tabular.encode(columns, FRAME[FRAME.columns[::-1]].assign(other=0))
    assert values.shape == observed.shape == (4, 8)
    assert torch.equal(tabular.groups_of(columns), torch.tensor([0, 1, 1, 2, 3, 3, 4, 4]))
    np.testing.assert_allclose(values[0, 0], (1 - 8 / 3) / deviation, rtol=1e-6)
    assert torch.equal(values[:, 1:3], torch.tensor([[0.0, 1], [0, 0], [1, 0], [0, 1]]))
    assert torch.equal(observed[:, 0], torch.tensor([True, True, False, True]))
    assert torch.equal(observed[1], torch.tensor([True, False, False, False, True, True, True, True]))
    assert not values[~observed].any()


def test_only_empty_cells_are_filled_and_in_the_type_of_their_column():
    columns = tabular.fitted(FRAME, categorical=["grade"])
    guess = torch.tensor([0.5, 0.2, 0.1, -1.0, 0.6, 0.7, 0.3, 0.2]).expand(4, 8)
    filled = tabular.fill(columns, FRAME.assign(note=["a", None, "c", "d"]), guess)
    assert filled["height"].tolist() == [1, 2, pytest.approx(8 / 3 + 0.5 * columns[0].deviation), 5]
    assert filled["colour"].tolist() == ["red", "blue", "blue", "red"]
    assert filled["count"].iloc[1] == pytest.approx(columns[2].mean - columns[2].deviation)
    assert filled["yes"].tolist() == [True, False, True, True]
    assert filled["grade"].tolist() == [1, 2, 2, 1]
    assert filled["note"].isna().tolist() == [False, True, False, False]  # a column that the model does not know
    assert FRAME["height"].isna().any()
    assert tabular.decode(columns, guess)["colour"].tolist() == ["blue"] * 4


@pytest.mark.parametrize(
    ("old", "guess", "expected"),
    [
        (pd.Series(["a", None], dtype="category"), "b", ["a", "b"]),  # which it does not have
        (pd.Series([None, None]), "b", ["b", "b"]),
        (pd.Series([np.nan, np.nan]), "b", ["b", "b"]),  # as an empty column of a CSV file is read
        (pd.Series(["True", None]), "False", ["True", "False"]),
        (pd.Series([True, None], dtype="boolean"), "False", [True, False]),
        (pd.Series([2.0, None]), "1", [2, 1]),
        (pd.Series([2, None], dtype="Int64"), "1", [2, 1]),
    ],
    ids=str,
)
def test_categories_are_filled_into_columns_of_any_type(old, guess, expected):
    column = OneHot("x", [guess, "other"])
    filled = tabular.fill([column], old.to_frame("x"), torch.tensor([[1.0, 0.0]] * 2))
    assert filled["x"].tolist() == expected


def test_quantiles_make_any_distribution_normal_and_come_back():
    x = pd.Series(np.random.default_rng(0).lognormal(size=5000), name="x")
    (column,) = tabular.fitted(x.to_frame(), "quantiles")
    z = column.encode(x)
    assert abs(z.mean()) < 0.02 and z.std() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(np.quantile(z, [0.1, 0.5, 0.9]), norm.ppf([0.1, 0.5, 0.9]), atol=0.03)
    np.testing.assert_allclose(column.decode(z), x, rtol=1e-9)
    beyond = column.encode(pd.Series([-1.0, 1e9, np.nan]))[:, 0]
    np.testing.assert_allclose(beyond, [norm.ppf(1e-3), norm.ppf(1 - 1e-3), np.nan])
    assert QuantileNormal("x", [0.0, 0.0, 0.0, 1.0]).encode(pd.Series([0.0]))[0, 0] == pytest.approx(
        norm.ppf(1 / 3), abs=2e-3
    )


def test_a_category_of_other_rows_counts_as_missing():
    column, other = OneHot("colour", ["blue", "red"]), pd.Series(["red", "green", None], name="colour")
    assert np.isnan(column.encode(other)).all(1).tolist() == [False, True, True]
    assert column.unknown(other) == ["green"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": [1, 2, "tall", 5]}, "'height' has 'tall' in row 2. Expected finite numbers"),
        ({"height": [1, np.inf, 3, 5]}, "'height' has inf in row 1"),
        ({"height": None}, "The table lacks height; it has colour, count"),
    ],
)
def test_what_cannot_be_encoded_is_named(change, message):
    frame = FRAME.assign(**change) if change["height"] else FRAME.drop(columns="height")
    with pytest.raises(ValueError, match=message):
        tabular.encode(tabular.fitted(FRAME), frame)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([None] * 300, "no value in the training rows"),
        ([f"id{k}" for k in range(300)], "300 categories, more than 256. Leave it out: --data.drop"),
        (pd.date_range("2020-01-01", periods=300), "neither numbers nor text"),
    ],
)
def test_columns_that_cannot_be_used_are_named(column, message):
    with pytest.raises(ValueError, match=f"'odd'.*{message}"):
        tabular.fitted(pd.DataFrame({"odd": column}))
    with pytest.raises(ValueError, match="no columns absent"):
        tabular.fitted(FRAME, categorical=["absent"])


def test_a_constant_column_is_zero_and_keeps_its_value():
    (column,) = tabular.fitted(pd.DataFrame({"x": [0.1] * 7}))
    assert np.abs(column.encode(pd.Series([0.1]))).max() < 1e-9 and column.deviation == 1


@pytest.mark.parametrize("bad", [Standardised, QuantileNormal, OneHot], ids=lambda kind: kind.__name__)
def test_what_a_file_says_of_a_column_is_checked(bad):
    with pytest.raises(ValueError, match="Column 'x' needs"):
        {Standardised: lambda: bad("x", 0.0, 0.0), QuantileNormal: lambda: bad("x", [1.0, 0.0])}.get(
            bad, lambda: bad("x", ["a", "a"])
        )()
    assert plain(OneHot("x", ["a"])) == {
        "class_path": "daezoo.tabular.OneHot",
        "init_args": {"name": "x", "categories": ["a"]},
    }


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_come_back(tmp_path, suffix):
    path = tmp_path / f"table.{suffix}"
    tabular.write(FRAME, path)
    pd.testing.assert_frame_equal(
        tabular.read(path).fillna({"yes": "?"}), FRAME.fillna({"yes": "?"}), check_dtype=False
    )
    with pytest.raises(ValueError, match=r"exists.*--force"):
        check_output(path, False, tabular.SUFFIXES)
    path.write_bytes(b"\xff\xfe\x00\n\x00")
    with pytest.raises(ValueError, match=f"table.{suffix} cannot be read"):
        tabular.read(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.csv or \.parquet"):
        tabular.read(tmp_path / "table.xlsx")
    with pytest.raises(ValueError, match="There is no file"):
        tabular.read(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="it has no rows"):
        tabular.read(tmp_path / "empty.csv")


def test_without_pandas_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tabular, "import_module", lambda name: (_ for _ in ()).throw(ModuleNotFoundError(name)))
    (tmp_path / "table.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match=r"pip install 'daezoo\[tables\]'"):
        tabular.read(tmp_path / "table.csv")


def test_a_file_keeps_its_cells_as_they_are_written(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,big,word,a,b\n007,12345678901234567,NA,1,\n008,,x,,2.50\n009,3,None,4,1e3\n")
    frame = tabular.read(path)
    filled = frame.assign(a=frame["a"].fillna(2.5), b=frame["b"].fillna(-1.0))
    tabular.write(tabular.as_written(path, frame, filled), tmp_path / "filled.csv")
    expected = "id,big,word,a,b\n007,12345678901234567,NA,1,-1.0\n008,,x,2.5,2.50\n009,3,None,4,1e3\n"
    assert (tmp_path / "filled.csv").read_text() == expected
