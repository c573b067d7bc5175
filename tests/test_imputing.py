"""A model of a table: `daezoo impute`, `daezoo encode`, and the transformer of scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import fit_arguments
from daezoo import tabular
from daezoo.imputing import completed, imputed, opened
from daezoo.models import VanillaDAE
from daezoo.sklearn import Encoder
from daezoo.zoo.loading import load

RUN = "runs/vanilla-table/1"
TABLE = ("--model.loss", "SquaredError", "--model.hidden", "[8]", "--data.corruption", "SwapNoise")


@pytest.fixture
def trained(daezoo_command, workplace):
    """A run on a table with gaps, its command, and the table."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    frame = pd.DataFrame({"a": 100 + x[:, 0], "b": x.sum(1), "kind": np.where(x[:, 0] > 0, "high", "low")})
    frame = frame.mask(rng.random(frame.shape) < 0.15).assign(c=x[:, 1])
    frame.to_csv("t.csv", index=False)
    arguments = ("--data.path", "t.csv", *TABLE, "--trainer.max_epochs", "2", "--pictures", "false")
    status, _, err = daezoo_command(*fit_arguments("vanilla", "table", *arguments))
    assert status == 0, err
    return frame


def test_a_table_comes_back_filled_and_encoded(daezoo_command, trained, workplace):
    status, out, err = daezoo_command("impute", RUN, "t.csv", "filled.csv")
    assert status == 0, err
    holes = int(trained.isna().sum().sum())
    assert f"filled.csv: {holes} of 320 cells filled" in out
    filled = pd.read_csv("filled.csv")
    assert not filled.isna().any().any() and set(filled["kind"]) == {"high", "low"}
    pd.testing.assert_frame_equal(filled.where(trained.notna()), trained, check_dtype=False)
    assert filled["a"].between(90, 110).all()  # in the column's own units
    status, _, err = daezoo_command("impute", RUN, "t.csv", "filled.csv")
    assert (status, "--force" in err) == (2, True)

    # another table, with a column more and a category that nobody knows
    trained.head(9).assign(other="?", kind="strange").to_parquet("more.parquet")
    status, out, err = daezoo_command("impute", RUN, "more.parquet", "filled.csv", "--force", "--steps", "1")
    assert status == 0, err
    assert "nothing is known of strange" in out
    assert set(pd.read_csv("filled.csv")["kind"]) == {"strange"}

    status, out, err = daezoo_command("encode", RUN, "codes.parquet", "--table", "t.csv")
    assert status == 0, err
    model, columns = opened(RUN)
    with torch.inference_mode():
        expected = model.encode(tabular.encode(columns, trained)[0]).numpy()
    np.testing.assert_allclose(pd.read_parquet("codes.parquet"), expected, atol=1e-5)
    status, out, err = daezoo_command("encode", RUN, "codes.npy", "--split", "test")
    assert (status, np.load("codes.npy").shape) == (0, (16, 8)), err
    status, out, err = daezoo_command("encode", RUN, "all.parquet")
    assert status == 0, err
    found = pd.read_parquet("all.parquet")
    assert found["split"].value_counts().to_dict() == {"train": 56, "test": 16, "valid": 8}
    np.testing.assert_allclose(found[found["split"] == "test"].iloc[:, :8], np.load("codes.npy"))
    # the same run on another table of these columns, encoded as the model knows them
    trained.assign(a=trained["a"] * 2).to_csv("double.csv", index=False)
    status, out, err = daezoo_command("evaluate", RUN, "--data", "table", "--data.path", "double.csv", "--json")
    assert status == 0, err

    encoder = Encoder(RUN).fit(trained)
    np.testing.assert_allclose(encoder.transform(trained), expected, atol=1e-5)
    assert encoder.feature_names_in_.tolist() == list(trained.columns)
    np.testing.assert_allclose(encoder.fit_transform(trained.to_numpy(object)), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"tables of 4 columns; X has the shape \(80, 3\)"):
        encoder.fit(trained.to_numpy(object)[:, :3])
    assert load(RUN).value_range is None
    assert imputed(model, columns, trained, 1)["b"].notna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["impute", "vanilla.digits-mask25", "t.csv", "u.csv"], "was not trained on a table"),
        (["impute", "vanilla.digits-mask25", "t.csv", "u.txt"], "must end in .csv or .parquet"),
        (["impute", "vanilla.digits-mask25", "absent.csv", "u.csv"], "There is no file absent.csv"),
        (["impute", "vanilla.digits-mask25", "t.csv", "u.csv", "--steps", "0"], "--steps must be at least 1"),
        (["encode", "vanilla.digits-mask25", "u.npy", "--table", "t.csv"], "was not trained on a table"),
        (["encode", "vanilla.digits-mask25", "u.npy", "--table", "t.csv", "--split", "test"], "encoded as a whole"),
        (["encode", "vanilla.digits-mask25", "u.csv"], "must end in .parquet or .npy"),
    ],
)
def test_what_does_not_fit_is_said(daezoo_command, workplace, arguments, message):
    (workplace / "t.csv").write_text("a\n1\n")
    status, _, err = daezoo_command(*arguments)
    assert status == 2 and err.startswith("daezoo: error: ") and message in err
    assert not list(workplace.glob("u.*"))


def test_codes_of_images_are_encoded_too(daezoo_command, workplace):
    status, _, err = daezoo_command("encode", "vanilla.digits-mask25", "codes.parquet", "--split", "valid")
    assert status == 0, err
    found = pd.read_parquet("codes.parquet")
    assert found.shape == (180, 1003) and found["label"].between(0, 9).all()


def test_missing_values_settle_where_the_model_leaves_them():
    model = VanillaDAE([2], [1], "relu", tied=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.network.layers[0].weight[:] = torch.tensor([[1.0, 0.5]])
        model.network.layers[0].decoder_weight[:] = torch.tensor([[1.0], [1.0]])
    # y ← 2 + y / 2, from 0 on: 2, 3, 3.5, … and 4 in the end
    x, observed = torch.tensor([[2.0, 0.0]]), torch.tensor([[True, False]])
    for steps, wanted in ((1, 2.0), (2, 3.0), (3, 3.5), (50, 4.0)):
        torch.testing.assert_close(completed(model, x, observed, steps), torch.tensor([[2.0, wanted]]))
