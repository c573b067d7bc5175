import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from daezoo.data import ShapesData
from daezoo.data.location import DataMissing
from small_sets import folder_of, noise

GENERATORS = {
    "rectangles": "rectangles",
    "rectangles-images": "rectangles_on_patches",
    "convex": "convex_sets",
}
ALL = pytest.mark.parametrize("kind", GENERATORS)


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fewer candidates than usual, which take seconds for a split, on one thread; the images are others."""
    monkeypatch.setattr("daezoo.data._shapes._POOL", 512)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "generated"


def picture(seed: int) -> np.ndarray:
    """Texture of two greys."""
    return np.where(noise(40, 50, seed) < 128, 51, 204).astype(np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of photographs, what DAEZOO_DATA names."""
    monkeypatch.setenv("DAEZOO_DATA", str(tmp_path))
    return folder_of(tmp_path / "photographs", picture(0), picture(1))


def loaded(kind: str, **options: Any) -> ShapesData:
    usual = {"photographs": "$DAEZOO_DATA/photographs", "train": 60, "valid": 20, "test": 31, "batch_size": 60}
    data = ShapesData(kind, **(usual | options))
    data.setup()
    return data


def assert_equal(usual: ShapesData, other: ShapesData, *names: str) -> None:
    for name in names or usual.splits:
        assert torch.equal(usual.splits[name].clean, other.splits[name].clean)
        assert torch.equal(usual.splits[name].label, other.splits[name].label)


def no_generator(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of every attempt to generate images."""

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("made anew")

    monkeypatch.setattr(f"daezoo.data.shapes.{GENERATORS[kind]}", fail)


@ALL
def test_splits_have_the_wanted_sizes_shape_and_range(kind):
    data = loaded(kind)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60, "valid": 20, "test": 31}
    values = torch.tensor([51, 204] if kind == "rectangles-images" else [0, 255]) / 255
    for name, split in data.splits.items():
        assert list(split[0].clean.shape) == data.shape == [1, 28, 28]
        assert set(split.label.tolist()) == {0, 1}
        for batch in data.evaluation_batches(name):
            assert torch.equal(batch.clean.unique(), values)


def test_sizes_by_default():
    assert ShapesData().sizes == {"train": 6_000, "valid": 2_000, "test": 10_000}


@pytest.mark.parametrize("kind", ["rectangles-images", "convex"])
def test_splits_are_drawn_independently(kind):
    # rectangles are few enough that equal ones come by chance, the others are not
    pixels = torch.cat([split.clean for split in loaded(kind).splits.values()]).flatten(1)
    assert len(pixels.unique(dim=0)) == len(pixels) == 111


@ALL
def test_split_seed_alone_decides_the_splits(kind, cache):
    usual, split_seed = loaded(kind), loaded(kind, split_seed=7)
    shutil.rmtree(cache)
    assert_equal(usual, loaded(kind, seed=7))
    for name, split in usual.splits.items():
        assert not torch.equal(split.clean, split_seed.splits[name].clean)


@ALL
def test_the_size_of_one_split_does_not_change_another(kind):
    usual, other = loaded(kind), loaded(kind, test=99)
    assert len(other.splits["test"]) == 99
    assert_equal(usual, other, "train", "valid")


@ALL
def test_what_was_made_is_read_the_second_time(kind, cache, monkeypatch):
    usual = loaded(kind)
    no_generator(kind, monkeypatch)
    assert_equal(usual, loaded(kind, seed=3, batch_size=7))
    assert [path.name.startswith(f"{kind}-") for path in cache.iterdir()] == [True]


@pytest.mark.parametrize("options", [{"split_seed": 1}, {"train": 61}, {"valid": 21}, {"test": 32}, {}])
def test_other_shapes_are_made_anew(options, monkeypatch):
    loaded("rectangles")
    no_generator("rectangles", monkeypatch)
    if not options:
        monkeypatch.setattr("daezoo.data.shapes.VERSION", 0)
    with pytest.raises(RuntimeError, match="made anew"):
        loaded("rectangles", **options)


@ALL
def test_other_photographs_matter_where_there_are_any(kind, folder, monkeypatch):
    usual = loaded(kind)
    no_generator(kind, monkeypatch)
    changed = picture(1)
    changed[0, 0] ^= 1
    folder_of(folder, picture(0), changed)
    if kind == "rectangles-images":
        with pytest.raises(RuntimeError, match="made anew"):
            loaded(kind)
    else:
        assert_equal(usual, loaded(kind))
        assert_equal(usual, loaded(kind, photographs="gone"))


def test_a_damaged_file_in_the_cache_is_made_again(cache):
    usual = loaded("rectangles")
    (path,) = cache.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert_equal(usual, loaded("rectangles"))
    assert path.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_a_warning_and_the_data_are_there(tmp_path, monkeypatch):
    usual = loaded("rectangles")
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="Set DAEZOO_CACHE"):
        assert_equal(usual, loaded("rectangles"))


def test_shipped_photographs_are_used_by_default():
    data = loaded("rectangles-images", photographs=None)
    assert len(data.splits["train"].clean.unique()) > 200


def test_photographs_that_cannot_be_used_are_errors(tmp_path, cache):
    with pytest.raises(DataMissing, match="gone"):
        loaded("rectangles-images", photographs="gone")
    with pytest.raises(ValueError, match=r"picture00\.png is 44x27, smaller than a crop of 28"):
        loaded("rectangles-images", photographs=str(folder_of(tmp_path / "small", noise(27, 44))))
    with pytest.raises(ValueError, match="Use photographs with more texture"):
        flat = folder_of(tmp_path / "flat", np.full((30, 30), 137, np.uint8))
        loaded("rectangles-images", photographs=str(flat), train=2000)
    assert not cache.exists()


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_an_empty_split_is_an_error(split):
    with pytest.raises(ValueError, match="Every split needs an image or more"):
        ShapesData(**{split: 0})


def test_a_kind_that_is_not_known_is_an_error():
    with pytest.raises(ValueError, match="kind must be one of rectangles, rectangles-images, convex, got 'circles'"):
        ShapesData("circles")


def test_photographs_of_equal_bytes_and_another_shape_are_other_photographs(tmp_path):
    picture = noise(40, 60)
    other = picture.reshape(60, 40)
    splits = []
    for name, one in (("a", picture), ("b", other)):
        folder = folder_of(tmp_path / name, one)
        data = ShapesData("rectangles-images", photographs=str(folder), train=5, valid=1, test=1, batch_size=1)
        data.setup()
        splits.append(data.splits["train"])
    assert not torch.equal(splits[0][0].clean, splits[1][0].clean)
