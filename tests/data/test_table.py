import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer

from conftest import whole
from daezoo import tabular
from daezoo.checkpoint import rebuild
from daezoo.corruption import Masking, SwapNoise
from daezoo.data import DenoisingDataModule, DigitsData, TableData
from daezoo.data.table import SHIPPED
from daezoo.losses import SquaredError
from daezoo.models import StackedDAE, VanillaDAE


def write(path, rows=60, seed=0):
    """A table with numbers, text, a class and gaps, and one category in a single row."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"a": rng.normal(5, 2, rows), "b": rng.normal(size=rows), "kind": rng.choice(list("xyz"), rows)}
    )
    frame = frame.mask(rng.random(frame.shape) < 0.2).assign(c=rng.normal(size=rows), label=rng.integers(7, 9, rows))
    frame.to_csv(path, index=False)
    return frame


@pytest.mark.parametrize("name", SHIPPED)
def test_tables_of_scikit_learn(name):
    data = TableData(name)
    data.setup()
    parts = {split: whole(data.splits[split]) for split in data.splits}
    rows = sum(len(part.clean) for part in parts.values())
    assert rows == len(data.table[0]) and len(parts["test"].clean) == round(0.2 * rows)
    assert (parts["train"].label.min() >= 0) == (name != "diabetes")
    train = parts["train"].clean
    assert train.dtype == torch.float32 and list(train.shape[1:]) == data.shape
    torch.testing.assert_close(train.mean(0), torch.zeros(data.shape), atol=1e-5, rtol=0)
    deviation = train.std(0, correction=0)
    torch.testing.assert_close(deviation[deviation > 0], torch.ones(int((deviation > 0).sum())), atol=1e-4, rtol=0)


def test_statistics_are_of_the_training_rows_and_rows_are_in_one_split_only():
    data = TableData("breast_cancer", split_seed=3)
    data.setup()
    frame = load_breast_cancer(as_frame=True).data
    parts = data.parts()
    assert sorted(torch.cat(parts).tolist()) == list(range(569))
    train = frame.iloc[parts[0].numpy()]
    assert data.columns[0].mean == pytest.approx(train["mean radius"].mean())
    expected = (frame.iloc[parts[2].numpy()] - train.mean()) / train.std(ddof=0)
    np.testing.assert_allclose(whole(data.splits["test"]).clean, expected, atol=1e-4)


@pytest.mark.parametrize("numeric", ["standardise", "quantiles"])
def test_missing_cells_stay_zero_and_are_no_part_of_noise_or_loss(tmp_path, numeric):
    write(tmp_path / "t.csv")
    data = TableData(str(tmp_path / "t.csv"), "label", numeric, drop=["b"], corruption=SwapNoise(0.5), batch_size=16)
    batch = next(data.evaluation_batches("train"))
    assert data.shape == [5] and set(batch.label.tolist()) <= {7, 8}
    missing = ~batch.observed
    assert missing.any() and not (batch.clean[missing].any() or batch.noisy[missing].any() or batch.mask[missing].any())
    assert (batch.noisy[batch.observed] != batch.clean[batch.observed]).any()
    kinds = batch.noisy[batch.observed[:, 1]][:, 1:4]
    assert torch.equal(kinds.sum(1), torch.ones(len(kinds)))  # categories are swapped whole
    guess = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    costs = SquaredError()(guess, batch.clean, batch.mask, batch.observed)
    np.testing.assert_allclose(
        costs, [((g - c)[o] ** 2).sum() for g, c, o in zip(guess, batch.clean, batch.observed, strict=True)], rtol=1e-5
    )
    means = batch.squared_error(guess).mean(1)
    np.testing.assert_allclose(means, costs / batch.observed.sum(1), rtol=1e-5)
    train = whole(data.splits["train"])
    seen = [train.clean[train.observed[:, k], k].mean() for k in range(5)]
    np.testing.assert_allclose(data.splits["train"].mean(), seen, atol=1e-6)
    moved = data.splits["valid"].on(torch.device("cpu")).__getitems__(torch.arange(6))
    assert torch.equal(moved.observed, whole(data.splits["valid"]).observed)


def test_gradients_know_nothing_of_missing_cells(tmp_path):
    write(tmp_path / "t.csv")
    data = TableData(str(tmp_path / "t.csv"), "label", batch_size=16)
    batch = next(data.evaluation_batches("train"))
    other = batch._replace(clean=torch.where(batch.observed, batch.clean, 9.0))
    for model in (VanillaDAE(data.shape, [4]), StackedDAE(data.shape, [4], code_corruption=[], loss=SquaredError())):
        losses = [model.loss_terms(one)["reconstruction"].item() for one in (batch, other)]
        assert losses[0] == losses[1]
    layers = [model.layer_terms(0, one)["reconstruction"].item() for one in (batch, other)]
    assert layers[0] == layers[1]


def test_what_is_known_of_the_columns_is_kept_and_used_again(tmp_path):
    path = tmp_path / "t.csv"
    write(path)
    data = TableData(str(path), "label", corruption=Masking(0.3))
    data.setup()
    again = rebuild(path, dict(data.hparams), DenoisingDataModule)
    write(path, seed=5)  # another table of the same columns
    assert again.columns == data.columns and again.shape == data.shape
    again.setup()
    fresh = tabular.fitted(again.table[0])
    assert fresh != again.columns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"valid": 0.5, "test": 0.5}, "shares in .0, 1. that leave rows to train on"),
        ({"whiten": True}, "not whitened"),
        ({"target": "absent"}, "no columns absent"),
        ({"drop": ["a", "b", "c", "kind", "label"]}, "no columns but those that are left out"),
        ({"path": "absent.csv"}, "There is no file absent.csv"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, arguments, message):
    write(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=message):
        TableData(**{"path": str(tmp_path / "t.csv"), **arguments}).setup()


def test_tables_that_cannot_be_used(tmp_path):
    frame = write(tmp_path / "t.csv")
    for change, arguments, message in (
        (frame.head(3), {}, "3 rows, too few"),
        (frame.mask(frame.index.to_series() == 7), {}, "nothing in row 7"),
        (pd.concat([frame] * 9), {"target": "c"}, None),
        (frame.assign(c=range(60)).loc[frame.index.repeat(5)].assign(c=range(300)), {"target": "c"}, "no classes"),
    ):
        change.to_csv(tmp_path / "u.csv", index=False)
        data = TableData(str(tmp_path / "u.csv"), **arguments)
        if message is None:
            data.setup()
            continue
        with pytest.raises(ValueError, match=message):
            data.setup()
    with pytest.raises(ValueError, match="Codes cannot be corrupted by SwapNoise"):
        StackedDAE([4], [3, 2], code_corruption=[SwapNoise()])


def test_any_data_lends_its_training_samples_to_swap_noise():
    data = DigitsData(corruption=SwapNoise(1.0), batch_size=64)
    data.setup()
    train, (batch, *_) = whole(data.splits["train"]).clean, data.evaluation_batches("test")
    assert torch.equal(data.reservoir().rows, train)
    assert batch.mask.all() and batch.clean.shape == batch.noisy.shape == (64, 1, 8, 8)
    for row, column in ((3, 4), (7, 2)):
        assert set(batch.noisy[:, 0, row, column].tolist()) <= set(train[:, 0, row, column].tolist())
    data.batch_size = 7  # whoever shares its batch
    assert torch.equal(torch.cat([few.noisy for few in data.evaluation_batches("test")])[:64], batch.noisy)


def test_classes_that_are_left_out_say_nothing_of_the_columns(tmp_path):
    rng = np.random.default_rng(0)
    label = rng.integers(1, 4, 90)
    frame = pd.DataFrame({"a": rng.normal(size=90) + 100 * (label == 3), "kind": np.where(label == 3, "odd", "even")})
    frame.assign(only=np.where(label == 3, 1.0, np.nan), label=label).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match="Column 'only' has no value in the training rows"):
        TableData(str(tmp_path / "t.csv"), "label", classes=[1, 2]).setup()
    data = TableData(str(tmp_path / "t.csv"), "label", classes=[1, 2], drop=["only"])
    data.setup()
    assert set(whole(data.splits["train"]).label.tolist()) == {1, 2}  # as the file numbers them
    assert abs(data.columns[0].mean) < 1 and data.columns[0].deviation < 2
    assert data.columns[1].categories == ["even"]


def test_words_are_numbered_in_their_order(tmp_path):
    frame = pd.DataFrame({"a": range(60), "label": ["b", "a", "c"] * 20})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert TableData(str(tmp_path / "t.csv"), "label").table[1].tolist() == [1, 0, 2] * 20
