from collections.abc import Iterator

import pytest
import torch

from daezoo.data import ShapesData

KINDS = pytest.mark.parametrize("kind", ["rectangles", "convex"])


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fewer candidates than usual, which take seconds for a split, on one thread; the images are others."""
    monkeypatch.setattr("daezoo.data._shapes._POOL", 512)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def loaded(kind: str, **options: int) -> ShapesData:
    data = ShapesData(kind, **({"train": 60, "valid": 20, "test": 31, "batch_size": 60} | options))
    data.setup()
    return data


@KINDS
def test_splits_have_the_wanted_sizes_shape_and_range(kind):
    data = loaded(kind)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60, "valid": 20, "test": 31}
    for name, split in data.splits.items():
        assert list(split[0].clean.shape) == data.shape == [1, 28, 28]
        assert set(split.label.tolist()) == {0, 1}
        for batch in data.evaluation_batches(name):
            assert set(batch.clean.unique().tolist()) == {0, 1}


def test_splits_are_drawn_independently():
    # rectangles are few enough that equal ones come by chance, convex sets are not
    pixels = torch.cat([split.clean for split in loaded("convex").splits.values()]).flatten(1)
    assert len(pixels.unique(dim=0)) == len(pixels) == 111


@KINDS
def test_split_seed_alone_decides_the_splits(kind):
    usual, seed, split_seed = loaded(kind), loaded(kind, seed=7), loaded(kind, split_seed=7)
    for name, split in usual.splits.items():
        assert torch.equal(split.clean, seed.splits[name].clean)
        assert torch.equal(split.label, seed.splits[name].label)
        assert not torch.equal(split.clean, split_seed.splits[name].clean)


def test_the_size_of_one_split_does_not_change_another():
    usual, other = loaded("rectangles"), loaded("rectangles", train=99)
    assert torch.equal(usual.splits["test"].clean, other.splits["test"].clean)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_an_empty_split_is_an_error(split):
    with pytest.raises(ValueError, match="Every split needs an image or more"):
        ShapesData(**{split: 0})
