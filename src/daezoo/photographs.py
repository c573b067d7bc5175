"""Picture files as they are in use: 8 and 16 bits, grey and colour, with transparency and colour profile."""

import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import png
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from daezoo.files import write_atomically

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""What is read and written, by suffix."""
READ = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF")
"""What is taken for a picture, whatever its suffix: no format for which Pillow starts other programs."""
LONGEST = {"JPEG": 65_500, "WEBP": 16_383}
"""The longest side that a format can hold, in pixels."""
QUALITY = 95
"""Of JPEG and WebP files that are written."""


class Photograph(NamedTuple):
    """A picture.

    Attributes:
        pixels: float32 (H, W, C) in [0, 1], C = 1 or 3, turned as its EXIF data says.
        alpha: Transparency, float32 (H, W) in [0, 1]; None if there is none.
        bits: 8 or 16, of a sample in the file.
        profile: The ICC colour profile; None if there is none.
        exif: EXIF data, without the orientation, which is undone; empty if there is none.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[np.float32] | None = None
    bits: int = 8
    profile: bytes | None = None
    exif: bytes = b""


def check_format(file: Path) -> str:
    """The format that a file's suffix names.

    Raises:
        ValueError: If it is none that is known.
    """
    if file.suffix.lower() not in FORMATS:
        raise ValueError(f"{file} is of no known format: the name must end with {', '.join(FORMATS)}.")
    return FORMATS[file.suffix.lower()]


class Unsupported(ValueError):
    """A sound picture of a kind that is not read."""


class Samples(NamedTuple):
    """A picture's samples as they are in its file.

    Attributes:
        values: uint8 or uint16 (H, W, C), C from 1 to 4: grey or colours, then transparency if there are 2 or 4.
        profile: As for `Photograph`.
        exif: As for `Photograph`.
    """

    values: NDArray[Any]
    profile: bytes | None
    exif: bytes


def read(file: Path) -> Photograph:
    """Read a picture.

    Palettes become colours, CMYK and Lab become RGB without their profile.

    Raises:
        ValueError: If it is broken, of a format that is not known, of several pages, or of values whose range is not
            known.
    """
    check_format(file)
    samples = samples_of(file)
    bits = 8 * samples.values.itemsize
    values = samples.values.astype(np.float32) / np.float32(2**bits - 1)
    colors = 1 if values.shape[2] < 3 else 3
    alpha = values[:, :, colors] if values.shape[2] > colors else None
    return Photograph(values[:, :, :colors], alpha, bits, samples.profile, samples.exif)


def samples_of(file: Path) -> Samples:
    """Read a picture's samples, turned as its EXIF data says.

    Raises:
        ValueError: If it cannot be read, is broken, of several pages, or of values whose range is not known.
    """
    try:
        # opened by name, uncompressed TIFF would be mapped into memory, and turned wrongly; a warning precedes an error
        with warnings.catch_warnings(action="ignore"), open(file, "rb") as raw, Image.open(raw, formats=READ) as opened:
            pages = getattr(opened, "n_frames", 1)
            if pages > 1 and opened.format != "MPO":  # whose others are views of the same
                raise Unsupported(f"it has {pages} pages; save the one you mean")
            profile = opened.info.get("icc_profile") if opened.mode not in ("CMYK", "LAB") else None
            values = _wide_samples(file, opened) if _is_wide(opened) else _samples(opened)
            orientation, exif = _exif_of(opened)
            return Samples(_turned(values, orientation), profile, exif)
    except (MemoryError, Unsupported) as error:
        raise ValueError(f"{file} cannot be read: {error or 'out of memory'}") from error
    except Exception as error:  # what decoders raise for broken files cannot be listed
        if isinstance(error, OSError) and error.errno:
            said = f"cannot be read: {error.strerror}"
        elif isinstance(error, UnidentifiedImageError):  # which only names the file
            said = "is broken or no picture"
        else:
            said = f"is broken or no picture: {error}"
        raise ValueError(f"{file} {said}") from error


def _exif_of(opened: Image.Image) -> tuple[int, bytes]:
    """The orientation, from 1 to 8, and the other EXIF data: nothing where they are broken, or are TIFF's own."""
    try:
        exif = opened.getexif()
        orientation = exif.pop(0x0112, 1)
        others = exif.tobytes() if len(exif) and opened.format != "TIFF" else b""
    except Exception:  # as above; the pixels do without them
        return 1, b""
    return orientation if orientation in range(1, 9) else 1, others


def _is_wide(opened: Image.Image) -> bool:
    """Whether samples have 16 bits, of which Pillow would keep 8: all but grey pictures without transparency."""
    if opened.mode.startswith("I") and "transparency" not in opened.info:
        return False
    if isinstance(opened, TiffImageFile):
        return 16 in opened.tag_v2.get(258, ())
    return opened.format == "PNG" and any(";16" in str(tile[3]) for tile in getattr(opened, "tile", ()))


def _wide_samples(file: Path, opened: Image.Image) -> NDArray[np.uint16]:
    if isinstance(opened, TiffImageFile):
        if opened.tag_v2.get(262) != 2 or (opened.tag_v2[277] == 4 and opened.tag_v2.get(338) != (2,)):
            raise Unsupported("its channels are not known; save it as RGB, or with plain transparency, of 16 bits")
        try:
            samples = tifffile.imread(file, key=0)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise Unsupported("it is compressed in a way that is not read; save it with Deflate, or none") from error
        if opened.tag_v2.get(284) == 2:  # channel by channel
            samples = samples.transpose(1, 2, 0)
    else:
        with open(file, "rb") as raw:
            width, height, rows, said = png.Reader(file=raw).read()
            samples = np.vstack([np.asarray(row, np.uint16) for row in rows]).reshape(height, width, -1)
        if "transparent" in said:
            clear = (samples == np.array(said["transparent"], np.uint16)).all(2, keepdims=True)
            samples = np.concatenate([samples, np.where(clear, 0, 65535).astype(np.uint16)], 2)
    if samples.dtype != np.uint16 or samples.ndim != 3 or samples.shape[2] not in (2, 3, 4):
        raise ValueError(f"its samples are {samples.dtype} of shape {samples.shape}, which is not known")
    return samples


def _turned(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Samples (H, W, C) as an EXIF orientation wants them seen."""
    if orientation in (5, 6, 7, 8):
        samples = samples.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples[:, ::-1] if orientation in (2, 3, 6, 7) else samples


def _samples(image: Image.Image) -> NDArray[Any]:
    """The samples (H, W, C) of what Pillow reads whole, transparency last."""
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        samples = np.asarray(image)
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
        if image.mode == "F" or samples.min() < 0 or samples.max() > 65535 or tags.get(339, (1,)) != (1,):
            raise Unsupported("its values are no unsigned ones of 16 bits, so their range is not known; save it so")
        if tags.get(258, (16,)) != (16,):
            raise Unsupported(f"its values have {tags[258][0]} bits; save it with 8 or 16")
        samples = samples.astype(np.uint16)[:, :, None]
        is_negative = isinstance(image, TiffImageFile) and image.tag_v2.get(262) == 0
        return 65535 - samples if is_negative else samples
    transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    grey = image.mode in ("1", "L", "LA", "La")
    samples = np.asarray(image.convert(("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB")))
    return samples.reshape(*samples.shape[:2], -1)


def check_writable(picture: Photograph, file: Path) -> None:
    """Raise ValueError if a format cannot hold a picture's size, transparency, 16 bits, or, for JPEG, EXIF data.

    TIFF gets no EXIF data.
    """
    kind = check_format(file)
    longest = max(picture.pixels.shape[:2])
    if longest > LONGEST.get(kind, longest):
        raise ValueError(f"{file} cannot be written: {longest} pixels are too many for {kind}. Write PNG or TIFF.")
    if kind == "JPEG" and len(picture.exif) > 65_000:
        raise ValueError(f"{file} cannot be written: the picture's EXIF data are too long for JPEG. Write PNG or WebP.")
    if picture.alpha is not None and kind == "JPEG":
        raise ValueError(
            f"{file} cannot be written: JPEG has no transparency, which the picture has. Write PNG or WebP."
        )
    if picture.bits == 16 and picture.alpha is not None and picture.pixels.shape[2] == 1 and kind == "TIFF":
        raise ValueError(f"{file} cannot be written: grey TIFF of 16 bits has no transparency that is read. Write PNG.")
    if picture.bits == 16 and kind in ("JPEG", "WEBP"):
        raise ValueError(f"{file} cannot be written: {kind} has 8 bits, the picture has 16. Write PNG or TIFF.")


def write(picture: Photograph, file: Path) -> None:
    """Write a picture in the format that the file's name says, whole or not at all; values are clipped to [0, 1].

    Raises:
        ValueError: If the format cannot hold it.
        OSError: If the file cannot be written.
    """
    check_writable(picture, file)
    kind = FORMATS[file.suffix.lower()]
    parts = [picture.pixels, *([] if picture.alpha is None else [picture.alpha[:, :, None]])]
    highest = 2**picture.bits - 1
    samples = np.concatenate(parts, 2).clip(0, 1) * np.float32(highest)
    whole: NDArray[Any] = np.rint(samples).astype(np.uint16 if picture.bits == 16 else np.uint8)
    writer: Callable[[IO[bytes]], None]
    if picture.bits == 16 and whole.shape[2] > 1:

        def writer(to: IO[bytes]) -> None:
            if kind == "TIFF":
                _write_wide_tiff(whole, picture.profile, to)
            else:
                _write_wide_png(whole, picture.profile, picture.exif, to)
    else:
        image = Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole)
        profile = None if kind == "WEBP" and image.mode in ("L", "LA") else picture.profile  # WebP makes it RGB
        options: dict[str, Any] = {"icc_profile": profile} if profile else {}
        if picture.exif and kind != "TIFF":
            options["exif"] = picture.exif
        if kind in ("JPEG", "WEBP"):
            options["quality"] = QUALITY

        def writer(to: IO[bytes]) -> None:
            image.save(to, kind, **options)

    write_atomically(file, writer)


def _write_wide_tiff(samples: NDArray[np.uint16], profile: bytes | None, to: IO[bytes]) -> None:
    grey = samples.shape[2] < 3
    extra = ["unassalpha"] if samples.shape[2] in (2, 4) else None
    tifffile.imwrite(
        to,
        samples,
        photometric="minisblack" if grey else "rgb",
        extrasamples=extra,
        planarconfig="contig",
        iccprofile=profile,
        metadata=None,
    )


def _write_wide_png(samples: NDArray[np.uint16], profile: bytes | None, exif: bytes, to: IO[bytes]) -> None:
    height, width, channels = samples.shape
    file = BytesIO()
    png.Writer(width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16).write(
        file, samples.reshape(height, -1)
    )
    data = file.getvalue()
    bodies = [b"iCCP" + b"ICC\0\0" + zlib.compress(profile)] if profile else []
    bodies += [b"eXIf" + exif.removeprefix(b"Exif\0\0")] if exif else []
    chunks = [struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) for body in bodies]
    header = 8 + 25  # right after which the format wants them
    to.write(data[:header] + b"".join(chunks) + data[header:])
