from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from daezoo import photographs
from daezoo.photographs import FORMATS, Photograph

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(channels: int = 3, alpha: bool = False, bits: int = 8, profile: bytes | None = None) -> Photograph:
    draw = np.random.default_rng(0).integers(0, 2**bits, (9, 14, channels + alpha))
    values = (draw / (2**bits - 1)).astype(np.float32)
    return Photograph(values[:, :, :channels], values[:, :, channels] if alpha else None, bits, profile)


@pytest.mark.parametrize("profile", [None, PROFILE], ids=["", "profile"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True], ids=["", "alpha"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_what_is_written_without_loss_is_read_again(tmp_path, suffix, channels, alpha, bits, profile):
    written = picture(channels, alpha, bits, profile)
    if (channels, alpha, bits) == (1, True, 16) and suffix != ".png":
        with pytest.raises(ValueError, match="grey TIFF of 16 bits"):
            photographs.write(written, tmp_path / f"a{suffix}")
        return
    photographs.write(written, tmp_path / f"a{suffix}")
    read = photographs.read(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(read.pixels, written.pixels, atol=1e-7)
    assert (read.alpha is None) == (not alpha)
    if alpha:
        np.testing.assert_allclose(read.alpha, written.alpha, atol=1e-7)
    assert (read.bits, read.profile) == (bits, profile)
    with Image.open(tmp_path / f"a{suffix}") as opened:  # what others see
        assert opened.size == (14, 9)
        opened.load()


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_with_loss_is_nearly_that(tmp_path, suffix, channels):
    smooth = np.linspace(0, 1, 16 * 24, dtype=np.float32).reshape(16, 24, 1).repeat(channels, 2)
    photographs.write(Photograph(smooth, None, 8, PROFILE), tmp_path / f"a{suffix}")
    read = photographs.read(tmp_path / f"a{suffix}")
    assert read.profile == PROFILE
    assert read.bits == 8
    np.testing.assert_allclose(
        read.pixels, smooth if read.pixels.shape[2] == channels else smooth.repeat(3, 2), atol=0.03
    )


def test_values_are_clipped_and_rounded(tmp_path):
    values = np.array([[[-0.5], [0.4999 / 255], [0.5001 / 255], [2.0]]], np.float32)
    photographs.write(Photograph(values), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        assert np.asarray(opened).tolist() == [[0, 0, 1, 255]]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_read_as_its_exif_orientation_says_and_written_upright(tmp_path, orientation, bits):
    samples = np.random.default_rng(0).integers(0, 2**bits, (5, 8, 3)).astype(np.uint16 if bits == 16 else np.uint8)
    if bits == 8:
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif[0x010E] = "a note"
        Image.fromarray(samples).save(tmp_path / "a.png", exif=exif)
    else:
        extra = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", metadata=None, extratags=extra)
    read = photographs.read(tmp_path / ("a.png" if bits == 8 else "a.tif"))
    seen = {
        1: samples,
        2: samples[:, ::-1],
        3: samples[::-1, ::-1],
        4: samples[::-1],
        5: samples.transpose(1, 0, 2),
        6: samples.transpose(1, 0, 2)[:, ::-1],
        7: samples.transpose(1, 0, 2)[::-1, ::-1],
        8: samples.transpose(1, 0, 2)[::-1],
    }[orientation]
    np.testing.assert_allclose(read.pixels, seen / (2**bits - 1), atol=1e-6)
    photographs.write(read, tmp_path / "b.png")
    np.testing.assert_allclose(photographs.read(tmp_path / "b.png").pixels, read.pixels, atol=1e-6)
    if bits == 8:
        with Image.open(tmp_path / "b.png") as opened:
            assert opened.getexif().get(0x0112, 1) == 1
            assert opened.getexif()[0x010E] == "a note"


@pytest.mark.parametrize("mode", ["1", "P", "PA", "CMYK", "YCbCr", "I;16"])
def test_other_kinds_of_samples_become_grey_or_colour(tmp_path, mode):
    samples = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(samples[:, :, 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(samples).convert("P" if mode == "PA" else mode)
        if mode == "PA":
            image.info["transparency"] = 3
    file = tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png")
    image.save(file)
    read = photographs.read(file)
    assert read.pixels.shape == (6, 7, 1 if mode in ("1", "I;16") else 3)
    assert (read.alpha is not None) == (mode == "PA")
    assert read.bits == (16 if mode == "I;16" else 8)
    assert 0 <= read.pixels.min() < read.pixels.max() <= 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"", "is broken or no picture"),
        ("a.jpg", b"no picture at all", "is broken or no picture"),
        ("a.gif", b"", "must end with .png"),
        ("a", b"", "must end with .png"),
    ],
)
def test_what_is_no_picture_is_an_error(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        photographs.read(tmp_path / name)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@pytest.mark.parametrize("bits", [8, 16])
def test_a_truncated_file_is_an_error(tmp_path, suffix, bits):
    if bits == 16 and suffix in (".jpg", ".jpeg", ".webp"):
        bits = 8
    file = tmp_path / f"a{suffix}"
    photographs.write(picture(3, False, bits), file)
    whole = file.read_bytes()
    for share in (0.2, 0.5, 0.9):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="is broken or no picture"):
            photographs.read(file)


def test_values_of_32_bits_have_no_known_range(tmp_path):
    Image.fromarray(np.full((3, 4), 70_000, np.int32)).save(tmp_path / "a.tif")
    Image.fromarray(np.full((3, 4), 0.5, np.float32)).save(tmp_path / "b.tif")
    for name in ("a.tif", "b.tif"):
        with pytest.raises(ValueError, match="32 bits, whose range is not known"):
            photographs.read(tmp_path / name)


@pytest.mark.parametrize(
    ("one", "name", "said"),
    [
        (picture(3, True), "a.jpg", "JPEG has no transparency"),
        (picture(3, False, 16), "a.jpg", "JPEG has 8 bits"),
        (picture(1, False, 16), "a.webp", "WEBP has 8 bits"),
        (picture(), "a.bmp", "of no known format"),
    ],
)
def test_what_a_format_cannot_hold_is_not_written(tmp_path, one, name, said):
    with pytest.raises(ValueError, match=said):
        photographs.write(one, tmp_path / name)
    assert not list(Path(tmp_path).iterdir())
