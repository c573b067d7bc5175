import json
import pickle
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import fit_arguments, whole
from daezoo.data import shards
from daezoo.data.shards import ShardsData

pytest.importorskip("litdata", reason="shards are read with the optional package litdata")
TRAIN, TEST, SHARD = 40, 12, 10


def images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def write(folder: Path, items: Any, labels: Any = None) -> None:
    """What litdata.optimize writes, without its processes."""
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_size=SHARD)
    for row, image in enumerate(items):
        writer[row] = {"image": image} if labels is None else {"image": image, "label": labels[row]}
    writer.done()
    writer.merge()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A good folder: four training shards with labels, two test shards without."""
    write(tmp_path / "mine/train", images(TRAIN, 6, 5), list(range(TRAIN)))
    write(tmp_path / "mine/test", images(TEST, 6, 5, seed=1))
    return tmp_path / "mine"


def loaded(root: Path, **options: Any) -> ShardsData:
    data = ShardsData(path=str(root), batch_size=8, **options)
    data.setup()
    return data


def rewrite(folder: Path, items: Any, labels: Any = None) -> None:
    for file in folder.iterdir():
        file.unlink()
    write(folder, items, labels)


def edit_index(folder: Path, **config: Any) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["config"] |= config
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("shape", "expected"), [((6, 5), [1, 6, 5]), ((6, 5, 3), [3, 6, 5]), ((7,), [7])], ids=["HW", "HWC", "D"]
)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_samples_equal_the_written_arrays_row_by_row(tmp_path, shape, expected, dtype):
    scale = 1 if dtype == "uint8" else 255
    train, test = ((images(n, *shape, seed=n) / scale).astype(dtype) for n in (TRAIN, TEST))
    write(tmp_path / "train", train)
    write(tmp_path / "test", test)
    data = loaded(tmp_path)
    assert data.shape == expected
    for name, array in {"train": train[:30], "valid": train[30:], "test": test}.items():
        clean, label, index, *_ = whole(data.splits[name])
        assert clean.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
        assert list(clean.shape) == [len(array), *expected]
        channels_last = clean.movedim(1, -1) if len(shape) == 3 else clean
        assert np.array_equal(channels_last.reshape(array.shape), array.astype(np.float32))
        assert label.tolist() == [-1] * len(array)
        assert index.tolist() == list(range(len(array)))
        unit = array.astype(np.float64) / (255 if dtype == "uint8" else 1)
        mean = data.splits[name].mean()
        assert list(mean.shape) == expected
        channels_last = mean.movedim(0, -1) if len(shape) == 3 else mean
        np.testing.assert_allclose(channels_last.reshape(shape), unit.mean(0), atol=1e-6)


def test_any_rows_come_in_the_order_asked_for(root):
    rows = torch.tensor([29, 3, 3, 17, 0])
    clean, label, index, *_ = loaded(root).splits["train"].__getitems__(rows)
    assert np.array_equal(clean[:, 0], images(TRAIN, 6, 5)[rows])
    assert label.tolist() == index.tolist() == rows.tolist()


@pytest.mark.parametrize(("share", "held_out"), [(0.001, 1), (0.1, 1), (0.5, 2), (0.999, 3)])
def test_the_last_shards_are_held_out_and_both_splits_keep_one(root, share, held_out):
    data = loaded(root, valid=share)
    train, valid = data.splits["train"], data.splits["valid"]
    assert (train.runs, valid.runs) == ([SHARD] * (4 - held_out), [SHARD] * held_out)
    assert whole(train).label.tolist() + whole(valid).label.tolist() == list(range(TRAIN))


def test_a_folder_for_validation_is_used_as_it_is(root):
    write(root / "valid", images(5, 6, 5, seed=2), [7] * 5)
    data = loaded(root)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": TRAIN, "valid": 5, "test": TEST}
    assert whole(data.splits["valid"]).label.tolist() == [7] * 5
    assert data.splits["test"].runs == [SHARD, 2]


def test_workers_and_pickled_splits_read_the_same(root):
    alone, helped = (list(loaded(root, num_workers=n).evaluation_loader("train")) for n in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
    split = loaded(root).splits["valid"]
    before, after = whole(split), whole(pickle.loads(pickle.dumps(split)))
    assert all(map(torch.equal, before[:3], after[:3]))


def test_fit_trains_on_shards(root, daezoo_command):
    before = {file.relative_to(root).as_posix() for file in root.rglob("*.*")}
    arguments = fit_arguments("vanilla", "shards", "--data.path", str(root), "--data.batch_size", "8", "--name", "one")
    status, _, error = daezoo_command(*arguments, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
    assert status == 0, error
    assert json.loads(Path("runs/vanilla-shards/one/summary.json").read_text())
    assert error == ""
    written = {file.relative_to(root).as_posix() for file in root.rglob("*.*")}
    assert written == before


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def pickled_labels(root: Path) -> None:
    rewrite(root / "train", images(TRAIN, 6, 5), [Bomb(root / "exploded")] * TRAIN)


def pickle_behind_a_second_image(root: Path) -> None:
    pickled_labels(root)
    spec = (root / "train/index.json").read_text().replace("label", "image")
    (root / "train/index.json").write_text(spec)
    edit_index(root / "train", data_format=["pickle", "numpy"])


def pickle_by_another_name(root: Path) -> None:
    pickled_labels(root)
    edit_index(root / "train", data_format=["numpy", "int:pickle"])


def module_named_by_the_index(root: Path) -> None:
    file = root / "train/index.json"
    file.write_text(file.read_text().replace("builtins.dict", "collections.defaultdict"))


def objects(root: Path) -> None:
    rewrite(root / "train", np.full((TRAIN, 4), None, object))


def truncated(root: Path) -> None:
    file = root / "train/chunk-0-2.bin"
    file.write_bytes(file.read_bytes()[:-3])


def other(root: Path, *rest: Any) -> None:
    rewrite(root / "train", [*images(TRAIN - 1, 6, 5), *rest])


def only(root: Path, array: Any) -> None:
    rewrite(root / "train", array)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (pickled_labels, "nothing is unpickled"),
        (pickle_behind_a_second_image, "nothing is unpickled"),
        (pickle_by_another_name, "nothing is unpickled"),
        (module_named_by_the_index, "nothing else is read"),
        (objects, "train: row 0 cannot be read"),
        (lambda root: edit_index(root / "train", compression="zstd"), "train was written with compression zstd"),
        (lambda root: edit_index(root / "train", encryption={"level": "chunk"}), "train was written with encryption"),
        (
            lambda root: edit_index(root / "test", item_loader="TokensLoader"),
            "test was written with item_loader TokensLoader",
        ),
        (lambda root: (root / "train/index.json").write_text("{}"), "index.json is no index that litdata wrote"),
        (lambda root: (root / "train/index.json").unlink(), "There is no file"),
        (lambda root: (root / "train/index.json").write_text('{"chunks": []}'), "is no index that litdata wrote"),
        (lambda root: root.rename(root.with_name("gone")), "Pass --data.path DIR; to evaluate, --root DIR."),
        (truncated, "chunk-0-2.bin is missing or truncated"),
        (lambda root: (root / "test/chunk-0-1.bin").unlink(), "chunk-0-1.bin is missing or truncated: it has 0 bytes"),
        (lambda root: only(root, images(SHARD, 6, 5)), "train is a single shard"),
        (lambda root: only(root, images(TRAIN, 6, 4)), "the splits differ in shape or type"),
        (lambda root: only(root, images(TRAIN, 6, 5) / 255), "the splits differ in shape or type"),
        (lambda root: only(root, images(TRAIN, 6, 5).astype(int)), "shape (6, 5) and type int64. Expected uint8"),
        (lambda root: only(root, images(TRAIN, 2, 3, 6, 5)), "(H, W), (H, W, C) or (D,)"),
        (lambda root: only(root, images(TRAIN, 0, 5)), "images have shape (0, 5)"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(root, spoil: Callable[[Path], Any], said):
    spoil(root)
    with pytest.raises(ValueError) as caught:
        _ = ShardsData(path=str(root)).shape
    assert said in str(caught.value)
    assert str(root) in str(caught.value)
    assert not (root / "exploded").exists()


def test_an_empty_folder_is_refused(root):
    index = json.loads((root / "train/index.json").read_text()) | {"chunks": []}
    (root / "train/index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="train holds no samples"):
        loaded(root)


def damaged(root: Path) -> None:
    file = root / "train/chunk-0-3.bin"
    file.write_bytes(file.read_bytes()[:48] + b"\xff" * (file.stat().st_size - 48))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: other(root, images(1, 6, 4)[0]), "row 39 has shape (6, 4) and type uint8, the first has (6, 5)"),
        (lambda root: other(root, images(1, 6, 5)[0] / 255), "row 39 has shape (6, 5) and type float64"),
        (damaged, "row 30 cannot be read"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_when_it_is_read(root, spoil: Callable[[Path], Any], said):
    spoil(root)
    with pytest.raises(ValueError) as caught:
        whole(loaded(root).splits["valid"])
    assert said in str(caught.value)
    assert str(root / "train") in str(caught.value)


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, np.inf])
def test_values_out_of_range_are_refused(root, value):
    for name, count in {"train": TRAIN, "test": TEST}.items():
        rewrite(root / name, images(count, 6, 5) / 255)
    wrong = images(1, 6, 5)[0] / 255
    wrong[2, 3] = value
    rewrite(root / "train", [*(images(TRAIN - 1, 6, 5) / 255), wrong])
    with pytest.raises(ValueError, match=r"train: the image in row 39 has values from .* Expected floating point"):
        whole(loaded(root).splits["valid"])


@pytest.mark.parametrize("valid", [0.0, 1.0, -0.1])
def test_share_of_validation_out_of_range_is_an_error(valid):
    with pytest.raises(ValueError, match=r"valid is a share of the training samples in \(0, 1\)"):
        ShardsData(path="any", valid=valid)


def test_the_package_is_named_where_it_is_missing(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "litdata", None)
    runpy.run_path(shards.__file__)  # importing needs no litdata
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package litdata: pip install 'daezoo\[streaming\]'"):
        loaded(root)
