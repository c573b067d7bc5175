from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from conftest import whole
from daezoo.data import DigitsData


def loaded(**options: Any) -> DigitsData:
    data = DigitsData(**options)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture(scope="module")
def digits() -> DigitsData:
    return loaded()


def test_splits_have_the_promised_sizes_shape_and_range(digits):
    assert {name: len(split) for name, split in digits.splits.items()} == {"train": 1257, "valid": 180, "test": 360}
    for split in digits.splits.values():
        assert list(split[0].clean.shape) == digits.shape == [1, 8, 8]
        assert (split.clean.min(), split.clean.max()) == (0, 1)


def test_splits_do_not_overlap_and_are_all_of_the_digits(digits):
    # the 1,797 pictures all differ
    pixels = torch.cat([split.clean for split in digits.splits.values()]).flatten(1)
    assert len(pixels.unique(dim=0)) == len(pixels) == 1797


def test_labels_belong_to_their_pictures(digits):
    source = load_digits()
    label_of = {
        image.tobytes(): label for image, label in zip(source.images.astype("float32"), source.target, strict=True)
    }
    for split in digits.splits.values():
        wanted = [label_of[image.numpy().tobytes()] for image in split.clean[:, 0] * 16]
        assert split.label.tolist() == wanted


def test_split_seed_alone_decides_the_splits(digits):
    for name in ("train", "valid", "test"):
        clean = digits.splits[name].clean
        assert torch.equal(loaded(seed=7).splits[name].clean, clean)
        assert not torch.equal(loaded(split_seed=7).splits[name].clean, clean)


def test_classes_are_those_of_training_and_validation_and_the_rest_stays_as_it_was(digits):
    some = loaded(classes=[7, 2])
    for name in ("train", "valid"):
        kept, all_of_them = whole(some.splits[name]), whole(digits.splits[name])
        rows = (all_of_them.label == 2) | (all_of_them.label == 7)
        assert torch.equal(kept.clean, all_of_them.clean[rows])
        assert torch.equal(kept.label, all_of_them.label[rows])
    assert torch.equal(whole(some.splits["test"]).label, whole(digits.splits["test"]).label)
    assert some.hparams["classes"] == [7, 2]


def test_samples_are_whitened_by_the_training_samples_that_are_left():
    left, all_of_them = (loaded(whiten=True, classes=classes) for classes in ([0, 1], None))
    assert not torch.allclose(left.splits["test"].clean, all_of_them.splits["test"].clean, atol=0.01)


@pytest.mark.parametrize("classes", [[], [0, 10], [-1]])
def test_classes_that_are_not_there_are_refused(classes):
    with pytest.raises(ValueError, match=r"classes must be some of \[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\], got \["):
        loaded(classes=classes)
