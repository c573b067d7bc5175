import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import whole
from daezoo.data import ArraysData

TRAIN, TEST = 40, 12
SHAPES = pytest.mark.parametrize(
    ("shape", "expected"), [((6, 5), [1, 6, 5]), ((6, 5, 3), [3, 6, 5]), ((7,), [7])], ids=["NHW", "NHWC", "ND"]
)


def unit(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *shape))


def good(**changed: Any) -> dict[str, Any]:
    arrays = {"train_images": unit(TRAIN, 6, 5), "test_images": unit(TEST, 6, 5, seed=1)}
    return {name: array for name, array in (arrays | changed).items() if array is not None}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def loaded(file: Path, arrays: dict[str, Any], **options: Any) -> ArraysData:
    np.savez(file, **arrays)
    data = ArraysData(path=str(file), batch_size=8, **options)
    data.setup()
    return data


def refused(file: Path, arrays: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ValueError) as caught:
        loaded(file, arrays, **options)
    assert str(file) in str(caught.value)
    return str(caught.value)


@SHAPES
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_images_become_samples_in_unit_range(file, shape, expected, dtype):
    scale = 255 if dtype == "uint8" else 1
    train, test = ((unit(n, *shape, seed=seed) * scale).round(3).astype(dtype) for seed, n in enumerate((TRAIN, TEST)))
    data = loaded(file, {"train_images": train, "test_images": test})
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 36, "valid": 4, "test": 12}
    assert data.shape == expected
    clean = torch.cat([batch.clean for batch in data.evaluation_batches("test")])
    assert list(clean.shape) == [TEST, *expected]
    assert clean.dtype == torch.float32
    assert clean.min() >= 0
    assert clean.max() <= 1
    channels_last = clean.permute(0, 2, 3, 1) if len(shape) == 3 else clean
    np.testing.assert_allclose(channels_last.reshape(test.shape).numpy(), test.astype("float64") / scale, atol=1e-3)


def test_splits_do_not_overlap_and_hold_every_training_image(file):
    marked = np.repeat(np.arange(TRAIN, dtype=np.uint8), 30).reshape(TRAIN, 6, 5)
    data = loaded(file, {"train_images": marked, "test_images": marked[:TEST] + 100, "train_labels": np.arange(TRAIN)})
    train, valid = (whole(data.splits[name]).clean[:, 0, 0, 0].tolist() for name in ("train", "valid"))
    assert sorted(train + valid) == list(range(TRAIN))
    assert whole(data.splits["train"]).label.tolist() == train
    assert whole(data.splits["valid"]).label.tolist() == valid
    assert whole(data.splits["test"]).label.tolist() == [-1] * TEST


@pytest.mark.parametrize(("valid", "sizes"), [(0.25, (30, 10)), (0.001, (39, 1)), (0.999, (1, 39))])
def test_share_of_validation_leaves_both_splits_something(file, valid, sizes):
    np.savez(file, **good())
    splits = ArraysData(path=str(file), valid=valid).load()
    assert (len(splits["train"]), len(splits["valid"])) == sizes


@pytest.mark.parametrize("valid", [0.0, 1.0, -0.1])
def test_share_of_validation_out_of_range_is_an_error(valid):
    with pytest.raises(ValueError, match=r"valid is a share of the training images in \(0, 1\)"):
        ArraysData(path="any.npz", valid=valid)


def test_split_seed_alone_decides_the_splits(file):
    usual, seed, split_seed = (loaded(file, good(), **o).splits for o in ({}, {"seed": 7}, {"split_seed": 7}))
    for name in ("train", "valid"):
        assert torch.equal(whole(usual[name]).clean, whole(seed[name]).clean)
        assert not torch.equal(whole(usual[name]).clean, whole(split_seed[name]).clean)
    assert torch.equal(whole(usual["test"]).clean, whole(split_seed["test"]).clean)


def test_rescale_maps_the_training_range_to_unit_and_clips_the_test_images(file):
    train = np.linspace(-20, 60, TRAIN * 4).reshape(TRAIN, 4)
    test = np.array([[-30.0, -20.0, 20.0, 100.0]])
    data = loaded(file, {"train_images": train, "test_images": test}, rescale=True)
    assert whole(data.splits["test"]).clean.tolist() == [[0.0, 0.0, 0.5, 1.0]]
    both = torch.cat([whole(data.splits["train"]).clean, whole(data.splits["valid"]).clean])
    assert (both.min(), both.max()) == (0, 1)
    torch.testing.assert_close(both.flatten().sort().values, torch.linspace(0, 1, TRAIN * 4))


def test_rescale_also_stretches_bytes(file):
    train = np.tile(np.arange(50, 90, dtype=np.uint8)[:, None], 4)
    data = loaded(file, {"train_images": train, "test_images": train[:5]}, rescale=True)
    torch.testing.assert_close(whole(data.splits["test"]).clean[:, 0], torch.arange(5) / 39)


def test_rescale_keeps_small_differences_on_a_large_offset(file):
    train = 1e9 + np.linspace(0, 1, TRAIN * 4).reshape(TRAIN, 4)
    data = loaded(file, {"train_images": train, "test_images": train[:5]}, rescale=True)
    torch.testing.assert_close(
        whole(data.splits["test"]).clean.flatten(), torch.linspace(0, 1, TRAIN * 4)[:20], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("low_or_high", [-0.01, 1.01])
@pytest.mark.parametrize("part", ["train_images", "test_images"])
def test_floats_outside_unit_range_are_refused_and_rescale_is_offered(file, part, low_or_high):
    bad = good()
    bad[part][3, 2, 1] = low_or_high
    message = refused(file, bad)
    assert part in message
    assert f"{low_or_high:g}" in message
    assert "--data.rescale true" in message
    assert loaded(file, bad, rescale=True).shape == [1, 6, 5]


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    array.flat[7] = value
    return array


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_images": with_value(unit(TRAIN, 6, 5), np.nan)}, "train_images has 1 values that are NaN"),
        ({"test_images": with_value(unit(TEST, 6, 5), np.inf)}, "test_images has 1 values that are NaN or infinite"),
        ({"train_images": None}, "lacks train_images; it has test_images."),
        ({"train_images": None, "test_images": None, "x": np.ones(3)}, "lacks test_images and train_images; it has x"),
        ({"train_images": None, "test_images": None}, "it has nothing"),
        ({"train_labels": np.arange(TRAIN - 1)}, "one integer for each of the 40 train_images"),
        ({"test_labels": np.arange(TEST + 1)}, "one integer for each of the 12 test_images"),
        ({"train_labels": np.ones(TRAIN)}, "train_labels has shape (40,) and type float64"),
        ({"train_labels": np.ones((TRAIN, 1), int)}, "train_labels has shape (40, 1)"),
        ({"test_images": unit(TEST, 6, 6)}, "differ in shape or type: (40, 6, 5) float64, (12, 6, 6) float64"),
        ({"test_images": np.ones((TEST, 6, 5), np.uint8)}, "differ in shape or type"),
        ({"train_images": np.ones((TRAIN, 6, 5), np.int64)}, "train_images is int64. Expected uint8, or float16"),
        ({"train_images": np.ones((TRAIN, 6, 5), bool)}, "train_images is bool"),
        ({"train_images": np.full((TRAIN, 6), "a")}, "Expected uint8, or float16, float32 or float64 in this machine"),
        ({"train_images": np.ones((0, 6, 5))}, "train_images has shape (0, 6, 5)"),
        ({"test_images": np.ones((TEST, 0, 5))}, "test_images has shape (12, 0, 5)"),
        ({"train_images": np.ones(TRAIN)}, "Expected (N, H, W), (N, H, W, C) or (N, D)"),
        ({"train_images": np.ones((TRAIN, 1, 1, 6, 5))}, "Expected (N, H, W), (N, H, W, C) or (N, D)"),
        ({"train_images": unit(1, 6, 5)}, "train_images needs two samples or more"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_file_and_name(file, changed, said):
    assert said in refused(file, good(**changed))


def test_rescaling_a_constant_is_refused(file):
    assert "train_images are all 3" in refused(file, good(train_images=np.full((TRAIN, 6, 5), 3.0)), rescale=True)


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_pickled_objects_are_refused_and_never_unpickled(file, tmp_path):
    arrays = good(test_labels=np.array([Bomb(tmp_path / "exploded")] * TEST, object))
    assert "plain arrays" in refused(file, arrays)
    assert not (tmp_path / "exploded").exists()


def bytes_of(kind: str, file: Path) -> bytes:
    np.savez(file, **good())
    whole = file.read_bytes()
    np.savez_compressed(file, **good())
    compressed = bytearray(file.read_bytes())
    compressed[200:260] = b"\xff" * 60
    np.save(file.with_suffix(".npy"), unit(TRAIN, 6, 5))
    return {
        "text": b"not an archive\n",
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "a pickle": pickle.dumps(Bomb(file.parent / "exploded")),
        "a single array": file.with_suffix(".npy").read_bytes(),
        "damaged in the middle": whole[:300] + b"\xff" * 8 + whole[308:],
        "damaged in its compressed part": bytes(compressed),
        "damaged in an array's header": whole.replace(b"'fortran_order': False", b"'fortran_order': (((((", 1),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "text",
        "empty",
        "truncated",
        "a pickle",
        "a single array",
        "damaged in the middle",
        "damaged in its compressed part",
        "damaged in an array's header",
    ],
)
def test_a_file_that_is_no_whole_npz_is_refused_by_name(file, kind):
    file.write_bytes(bytes_of(kind, file))
    data = ArraysData(path=str(file), batch_size=8)
    with pytest.raises(ValueError, match=r"is no readable \.npz file of plain arrays") as caught:
        data.setup()
    assert str(file) in str(caught.value)
    assert not (file.parent / "exploded").exists()


def test_a_missing_file_is_named_with_the_option(tmp_path):
    with pytest.raises(ValueError, match=r"There is no file .*gone\.npz\. Pass --data\.path FILE\.npz"):
        _ = ArraysData(path=str(tmp_path / "gone.npz")).shape


def folder_of(tmp_path: Path, arrays: dict[str, Any]) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@SHAPES
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_a_folder_of_arrays_gives_what_one_file_gives(file, tmp_path, shape, expected, dtype):
    scale = 255 if dtype == "uint8" else 1
    arrays = {
        f"{part}_images": (unit(n, *shape) * scale).astype(dtype) for part, n in (("train", TRAIN), ("test", TEST))
    }
    arrays |= {"train_labels": np.arange(TRAIN), "test_labels": np.arange(TEST)}
    read, mapped = loaded(file, arrays), ArraysData(path=str(folder_of(tmp_path, arrays)), batch_size=8)
    for split in ("train", "valid", "test"):
        for one, other in zip(read.evaluation_batches(split), mapped.evaluation_batches(split), strict=True):
            assert torch.equal(one.noisy, other.noisy)
            assert torch.equal(one.label, other.label)
        torch.testing.assert_close(read.splits[split].mean(), mapped.splits[split].mean())
    assert mapped.shape == expected


def test_a_folder_of_arrays_is_mapped_and_never_copied_or_changed(tmp_path):
    arrays = good()
    folder = folder_of(tmp_path, arrays)
    before = (folder / "train_images.npy").read_bytes()
    data = ArraysData(path=str(folder), batch_size=8)
    data.setup()
    address = data.arrays["train_images"].ctypes.data
    assert isinstance(data.arrays["train_images"], np.memmap)
    assert [data.splits[name].clean.data_ptr() for name in ("train", "valid")] == [address, address]  # type: ignore[attr-defined]
    data.splits["train"].clean.zero_()  # type: ignore[attr-defined]
    assert (folder / "train_images.npy").read_bytes() == before


def test_a_mapped_folder_that_is_wrong_is_an_error(tmp_path):
    folder = folder_of(tmp_path, good(test_images=None))
    with pytest.raises(ValueError, match="lacks test_images; it has train_images"):
        ArraysData(path=str(folder)).setup()
    np.save(folder / "test_images.npy", unit(TEST, 6, 5) * 2)
    with pytest.raises(ValueError, match=r"test_images has values from .* --data.rescale true"):
        ArraysData(path=str(folder)).setup()
    np.save(folder / "test_images.npy", np.where(unit(TEST, 6, 5) < 0.5, np.nan, 0.5))
    with pytest.raises(ValueError, match=r"test_images has \d+ values that are NaN or infinite"):
        ArraysData(path=str(folder)).setup()
    np.save(folder / "test_images.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"test_images\.npy is no readable \.npy file"):
        ArraysData(path=str(folder)).setup()
    whole_file = (folder / "train_images.npy").read_bytes()
    (folder / "train_images.npy").write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises(ValueError, match=r"train_images\.npy is no readable \.npy file"):
        ArraysData(path=str(folder)).setup()
