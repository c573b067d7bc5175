import struct
from pathlib import Path

import numpy as np
import png
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
    assert read.profile == (None if (channels, suffix) == (1, ".webp") else PROFILE)  # which makes grey RGB
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


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_tiff_is_turned_however_it_is_stored(tmp_path, mode, compression, orientation):
    draw = np.random.default_rng(0).integers(0, 256, (5, 8, {"L": 1, "I;16": 1, "RGB": 3, "RGBA": 4}[mode]), np.uint8)
    image = Image.fromarray(draw.squeeze(2).astype(np.uint16) * 257 if mode == "I;16" else draw.squeeze())
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.tif", exif=exif, compression=compression)
    read = photographs.read(tmp_path / "a.tif")
    seen = {3: draw[::-1, ::-1], 6: draw.transpose(1, 0, 2)[:, ::-1], 8: draw.transpose(1, 0, 2)[::-1]}[orientation]
    found = read.pixels if read.alpha is None else np.concatenate([read.pixels, read.alpha[:, :, None]], 2)
    np.testing.assert_allclose(found, seen / 255, atol=1e-6)


@pytest.mark.parametrize("kind", ["planar", "white is zero", "clear grey", "clear colour"])
def test_rare_kinds_of_16_bits_are_read(tmp_path, kind):
    grey = kind in ("white is zero", "clear grey")
    samples = np.random.default_rng(0).integers(0, 65536, (5, 8, 1 if grey else 3)).astype(np.uint16)
    file = tmp_path / ("a.png" if "clear" in kind else "a.tif")
    if kind == "planar":
        tifffile.imwrite(file, samples.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", metadata=None)
    elif kind == "white is zero":
        tifffile.imwrite(file, 65535 - samples[:, :, 0], photometric="miniswhite", metadata=None)
    else:
        clear = tuple(samples[2, 3].tolist())
        with open(file, "wb") as opened:
            transparent = clear[0] if grey else clear
            png.Writer(8, 5, greyscale=grey, bitdepth=16, transparent=transparent).write(opened, samples.reshape(5, -1))
    read = photographs.read(file)
    np.testing.assert_allclose(read.pixels, samples / 65535, atol=1e-6)
    if "clear" in kind:
        assert read.alpha is not None
        assert np.argwhere(read.alpha == 0).tolist() == [[2, 3]]
    assert (read.alpha is None) == ("clear" not in kind)


def tiff(file: Path, samples: np.ndarray, **options: object) -> None:
    tifffile.imwrite(file, samples, metadata=None, **options)


def fields(file: Path, *samples: np.ndarray, suffix: str) -> None:
    frames = [Image.fromarray(one) for one in samples]
    frames[0].save(
        file, suffix, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == "WEBP" else {})
    )


@pytest.mark.parametrize(
    ("write", "name", "said"),
    [
        (lambda file, x: tiff(file, x, photometric="separated"), "a.tif", "its channels are not known"),
        (lambda file, x: tiff(file, x, photometric="rgb", extrasamples=["assocalpha"]), "a.tif", "plain transparency"),
        (lambda file, x: tiff(file, x, photometric="rgb", extrasamples=["unspecified"]), "a.tif", "plain transparency"),
        (lambda file, x: fields(file, *(x >> 8).astype(np.uint8)[:2, None], suffix="TIFF"), "a.tif", "it has 2 pages"),
        (lambda file, x: fields(file, *(x >> 8).astype(np.uint8)[:2, None], suffix="WEBP"), "a.webp", "it has 2 pages"),
        (lambda file, x: file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "a.png", "no picture"),
    ],
)
def test_what_is_not_known_is_refused_and_not_guessed(tmp_path, write, name, said):
    write(tmp_path / name, np.random.default_rng(0).integers(0, 65536, (5, 8, 4)).astype(np.uint16))
    with pytest.raises(ValueError, match=said):
        photographs.read(tmp_path / name)


def test_exif_data_that_are_broken_cost_no_picture(tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0x\0\0\0\0\0\0\0"  # an orientation in letters
    Image.fromarray(np.zeros((5, 8, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert photographs.read(tmp_path / "a.jpg").pixels.shape == (5, 8, 3)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_whatever_a_decoder_raises_the_file_is_named(tmp_path, suffix):
    file, draw = tmp_path / f"a{suffix}", np.random.default_rng(0)
    smooth = np.linspace(0, 1, 3000, dtype=np.float32).reshape(25, 40, 3)
    photographs.write(Photograph(smooth, None, 16), file)
    if suffix == ".tif":
        tifffile.imwrite(file, (65535 * smooth).astype(np.uint16), photometric="rgb", compression="zlib", metadata=None)
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    refused = 0
    for _ in range(60):
        broken = whole.copy()
        broken[draw.integers(8, len(whole), 4)] = draw.integers(0, 256, 4)
        file.write_bytes(broken.tobytes())
        try:
            photographs.read(file)
        except ValueError as error:
            assert str(file) in str(error)
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.png", None, "cannot be read: .*No such file"),
        ("a.png", b"", "is broken or no picture"),
        ("a.jpg", b"no picture at all", "is broken or no picture"),
        ("a.gif", b"", "must end with .png"),
        ("a", b"", "must end with .png"),
    ],
)
def test_what_is_no_picture_is_an_error(tmp_path, name, content, said):
    if content is not None:
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
        with pytest.raises(ValueError, match="no unsigned ones of 16 bits, so their range is not known"):
            photographs.read(tmp_path / name)


@pytest.mark.parametrize(
    ("one", "name", "said"),
    [
        (picture(3, True), "a.jpg", "JPEG has no transparency"),
        (picture(3, False, 16), "a.jpg", "JPEG has 8 bits"),
        (picture(1, False, 16), "a.webp", "WEBP has 8 bits"),
        (picture(), "a.bmp", "of no known format"),
        (Photograph(np.zeros((1, 16_384, 3), np.float32)), "a.webp", "16384 pixels are too many for WEBP"),
        (picture()._replace(exif=bytes(70_000)), "a.jpg", "EXIF data are too long"),
    ],
)
def test_what_a_format_cannot_hold_is_not_written(tmp_path, one, name, said):
    with pytest.raises(ValueError, match=said):
        photographs.write(one, tmp_path / name)
    assert not list(Path(tmp_path).iterdir())


def test_samples_of_12_bits_or_with_a_sign_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((3, 4), 30_000, np.int16))
    with pytest.raises(ValueError, match="no unsigned ones of 16 bits"):
        photographs.read(tmp_path / "a.tif")
    tags = [(256, 3, 2), (257, 3, 2), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 2)]
    tags.append((279, 4, 6))
    data = bytes([0xFF, 0xF0, 0x00] * 2)  # rows of two samples of 12 bits: 4095 and 0
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 16) + data + bytes(2)
    (tmp_path / "b.tif").write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4))
    with pytest.raises(ValueError, match="its values have 12 bits; save it with 8 or 16"):
        photographs.read(tmp_path / "b.tif")


def test_bitmaps_of_16_bits_a_pixel_are_colours_of_8(tmp_path):
    fields = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0) + struct.pack("<III", 0xF800, 0x07E0, 0x1F)
    pixels = struct.pack("<HH", 0xF800, 0x001F)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 70, 0, 0, 66) + fields + pixels)
    assert photographs.samples_of(tmp_path / "a.bmp").values.tolist() == [[[255, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_exif_data_of_png_are_kept(tmp_path, channels, bits):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    written = picture(channels, channels == 3, bits, PROFILE)._replace(exif=exif.tobytes())
    photographs.write(written, tmp_path / "a.png")
    read = photographs.read(tmp_path / "a.png")
    assert (read.profile, read.bits) == (PROFILE, bits)
    kept = Image.Exif()
    kept.load(read.exif)
    assert kept[0x010F] == "a camera"


def test_sound_pictures_are_not_called_broken(tmp_path, monkeypatch):
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"a\.tif cannot be read: it has 2 pages; save the one you mean"):
        photographs.read(tmp_path / "a.tif")
    photographs.write(picture(3, False, 16), tmp_path / "b.tif")

    def lacking(*args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile, "imread", lacking)
    with pytest.raises(ValueError, match=r"b\.tif cannot be read: it is compressed in a way that is not read"):
        photographs.read(tmp_path / "b.tif")
