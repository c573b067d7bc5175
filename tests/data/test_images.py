from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from daezoo.data import ImagesData, PhotographsData
from daezoo.data.pictures import Crops, colored
from small_sets import folder_of

SIZES = [(40, 60), (33, 90), (70, 64)]


def coded(height: int, width: int, number: int) -> np.ndarray:
    """A picture whose colours say where a pixel is from: (row, column, picture)."""
    row, column = np.mgrid[:height, :width]
    return np.stack([row, column, np.full_like(row, number)], 2).astype(np.uint8)


def loaded(folder: Path, **options: Any) -> ImagesData:
    data = ImagesData(root=str(folder), **({"crop": 5, "color": True, "batch_size": 16} | options))
    data.setup()
    return data


def all_crops(data: ImagesData, split: str) -> Tensor:
    part = data.splits[split]
    return part.__getitems__(torch.arange(len(part))).clean


def places(crops: Tensor) -> set[tuple[int, int, int]]:
    """All pixels, (picture, row, column), that coded crops show; fails if one is no exact part of its picture."""
    row, column, picture = crops.long().unbind(1)
    steps = torch.arange(crops.shape[2])
    assert torch.equal(row, (row[:, :1, :1] + steps[:, None]).expand_as(row))
    assert torch.equal(column, (column[:, :1, :1] + steps).expand_as(column))
    assert (picture == picture[:, :1, :1]).all()
    return set(map(tuple, torch.stack([picture, row, column], 1).transpose(0, 1).flatten(1).T.tolist()))


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "few", *(coded(*size, number) for number, size in enumerate(SIZES)))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "many", *(coded(11 + number, 20 - number // 2, number) for number in range(20)))


def test_default_photographs_give_three_splits_in_unit_range():
    data = ImagesData(crops_per_epoch=256)
    data.setup()
    assert [len(data.splits[name]) > 50 for name in ("train", "valid", "test")] == [True] * 3
    for name in ("train", "valid", "test"):
        batch = next(data.evaluation_batches(name))
        assert list(batch.clean.shape[1:]) == data.shape == [1, 32, 32]
        assert batch.clean.min() >= 0
        assert 0.5 < batch.clean.max() <= 1
        assert list(data.splits[name].mean().shape) == data.shape
    assert data.splits["train"].epoch_size == 256


@pytest.mark.parametrize("size", [1, 5, 33])
def test_every_crop_is_an_exact_part_of_its_picture_and_each_comes_once(size):
    pictures = [torch.from_numpy(coded(*shape, number)).permute(2, 0, 1) for number, shape in enumerate(SIZES)]
    crops = Crops(pictures, size, 8)
    assert len(crops) == sum((height - size + 1) * (width - size + 1) for height, width in SIZES)
    rows = torch.randperm(len(crops), generator=torch.Generator().manual_seed(0))
    sample = crops.__getitems__(rows)
    corners = sample.clean[:, :, 0, 0].long()  # row, column, picture
    assert len(corners.unique(dim=0)) == len(crops)
    for crop, (top, left, number) in list(zip(sample.clean, corners.tolist(), strict=True))[:200]:
        assert torch.equal(crop, pictures[number][:, top : top + size, left : left + size])
    assert torch.equal(sample.index, rows)


def test_crops_of_one_row_at_a_time_are_those_of_a_batch():
    crops = Crops([torch.from_numpy(coded(9, 8, 0)).permute(2, 0, 1)], 5, 8)
    assert len(crops) == 20
    batch = crops.__getitems__(torch.tensor([19, 0, 7])).clean
    for row, expected in zip((19, 0, 7), batch, strict=True):
        assert torch.equal(crops[row].clean, expected)


def test_mean_of_crops_is_the_mean_colour():
    crops = Crops([torch.tensor([[[0, 255]], [[51, 51]]], dtype=torch.uint8)], 1, 1)
    torch.testing.assert_close(crops.mean(), torch.tensor([0.5, 0.2])[:, None, None])


def test_few_pictures_are_cut_into_bands_that_share_no_pixel(few):
    data = loaded(few)
    shown = {name: places(all_crops(data, name)) for name in ("train", "valid", "test")}
    for number, (_, width) in enumerate(SIZES):
        columns = {name: {c for picture, _, c in pixels if picture == number} for name, pixels in shown.items()}
        assert max(columns["train"]) < min(columns["valid"])
        assert max(columns["valid"]) < min(columns["test"])
        assert len(columns["train"]) == width - 2 * int(0.15 * width)


def test_many_pictures_are_dealt_out_whole_80_10_10(many):
    data = loaded(many)
    pictures = [{picture for picture, _, _ in places(all_crops(data, name))} for name in ("train", "valid", "test")]
    assert [len(part) for part in pictures] == [16, 2, 2]
    assert set.union(*pictures) == set(range(20))


def test_split_seed_alone_deals_the_pictures_out(many):
    usual, seed, split_seed = (loaded(many, **o) for o in ({}, {"seed": 7}, {"split_seed": 8}))
    for name in ("train", "valid", "test"):
        assert torch.equal(all_crops(usual, name), all_crops(seed, name))
        assert places(all_crops(usual, name)) != places(all_crops(split_seed, name))


@pytest.mark.parametrize("split", ["valid", "test"])
def test_held_out_crops_form_a_grid_without_overlap(many, split):
    crops = all_crops(loaded(many), split)
    assert len(places(crops)) == len(crops) * 25
    numbers = crops[:, 2, 0, 0].unique().tolist()
    assert len(crops) == sum(((11 + n) // 5) * ((20 - n // 2) // 5) for n in numbers)


def test_subfolders_are_the_splits(tmp_path):
    for number, name in enumerate(("train", "valid", "test")):
        folder_of(tmp_path / "set" / name / "deeper", coded(10, 12, number))
    data = loaded(tmp_path / "set")
    for number, name in enumerate(("train", "valid", "test")):
        assert {picture for picture, _, _ in places(all_crops(data, name))} == {number}


def test_an_empty_subfolder_is_named(tmp_path):
    for name in ("train", "test"):
        folder_of(tmp_path / "set" / name, coded(10, 12, 0))
    (tmp_path / "set" / "valid").mkdir()
    with pytest.raises(ValueError, match=r"set/valid has no pictures"):
        loaded(tmp_path / "set")


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".BMP", ".tiff", ".ppm", ".webp", ".jpg"])
def test_formats_are_read_grey_or_colour(tmp_path, suffix, color):
    picture = np.full((12, 60, 3), (200, 100, 50), np.uint8)
    data = loaded(folder_of(tmp_path, picture, suffix=suffix), color=color)
    crops = all_crops(data, "train")
    assert list(crops.shape[1:]) == data.shape == [3 if color else 1, 5, 5]
    expected = [200, 100, 50] if color else [124]  # ITU-R 601 luma
    for channel, value in enumerate(expected):
        assert (crops[:, channel].int() - value).abs().max() <= (3 if suffix in (".jpg", ".webp") else 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_colour_modes_are_read(tmp_path, mode):
    suffix = ".tiff" if mode == "CMYK" else ".png"
    Image.new("RGB", (60, 12), "white").convert(mode).save(tmp_path / f"white{suffix}")
    for color in (False, True):
        assert (all_crops(loaded(tmp_path, color=color), "train") == 255).all()


@pytest.mark.parametrize("color", [False, True])
def test_sixteen_bit_pictures_keep_their_range(tmp_path, color):
    levels = np.arange(256, dtype=np.uint16).repeat(3).reshape(12, 64) * 257
    folder_of(tmp_path, levels)
    crops = all_crops(loaded(tmp_path, color=color, crop=1), "train")
    width = 64 - 2 * int(0.15 * 64)
    expected = torch.from_numpy((levels // 257)[:, :width].astype(np.uint8)).flatten()
    for channel in crops.unbind(1):
        assert torch.equal(channel.flatten(), expected)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_pictures_of_32_bits_are_refused_rather_than_misread(tmp_path, dtype):
    values = np.random.default_rng(0).random((12, 60)) * (2**31 - 1 if dtype == "int32" else 1)
    folder_of(tmp_path, values.astype(dtype), suffix=".tiff")
    with pytest.raises(ValueError, match=r"picture00\.tiff"):
        loaded(tmp_path)


def test_rotation_in_a_photographs_metadata_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    Image.new("L", (12, 60)).save(tmp_path / "turned.jpg", exif=exif)
    assert len(loaded(tmp_path, color=False).splits["train"]) == (12 - 4) * (60 - 18 - 4)


def test_other_files_in_the_folder_are_left_alone(few):
    (few / "notes.txt").write_text("not a picture")
    assert len(loaded(few).splits) == 3


@pytest.mark.parametrize("content", ["text", "nothing", "half a picture"])
def test_a_broken_picture_is_named(few, content):
    whole = (few / "picture01.png").read_bytes()
    broken = {"text": b"not a picture", "nothing": b"", "half a picture": whole[: len(whole) // 2]}[content]
    (few / "picture01.png").write_bytes(broken)
    why = ": .*" if content == "half a picture" else r"\. "  # of what is no picture there is no more to say
    with pytest.raises(ValueError, match=rf"picture01\.png is broken or no picture{why}Repair it, or take it out\."):
        loaded(few)


def test_a_picture_smaller_than_a_crop_is_named(few):
    Image.fromarray(coded(4, 60, 9)).save(few / "small.png")
    with pytest.raises(ValueError, match=r"small\.png is 60x4, smaller than a crop of 5"):
        loaded(few)


def test_bands_narrower_than_a_crop_are_an_error_that_says_what_to_do(few):
    with pytest.raises(ValueError, match=r"15 % of 60 pixels is less than a crop of 20\. Use a smaller --data\.crop"):
        loaded(few, crop=20)


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"The folder .*empty has no pictures"):
        loaded(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"There is no folder .*gone\. Pass --data\.root DIR"):
        loaded(tmp_path / "gone")


@pytest.mark.parametrize("options", [{"crop": 0}, {"crops_per_epoch": 0}])
def test_sizes_below_one_are_errors(options):
    with pytest.raises(ValueError, match="must be at least 1"):
        ImagesData(**options)


def test_the_shipped_photographs_have_splits_of_their_own():
    data = PhotographsData(crop=64, color=True, crops_per_epoch=128)
    data.setup()
    assert data.splits["train"].pixels.shape[0] == 3
    assert set(data.whole(True)) == {"chelsea.png", "coffee.png", "china.jpg"}
    assert {tuple(picture.shape) for picture in data.whole(False).values()} == {
        (1, 300, 451),
        (1, 400, 600),
        (1, 427, 640),
    }
    names = [name for split in ("train", "valid", "test") for name in colored(split)]
    assert len(set(names)) == len(names) == 11


def test_the_shipped_photographs_have_no_folder(tmp_path):
    with pytest.raises(ValueError, match="--data images"):
        PhotographsData(root=str(tmp_path)).setup()


def test_whole_pictures_are_those_of_a_folder_that_was_given(few):
    assert list(ImagesData(root=str(few)).whole(True)) == ["picture00.png", "picture01.png", "picture02.png"]
    with pytest.raises(ValueError, match=r"--data\.root DIR, or --data photographs"):
        ImagesData().whole(False)
