"""Pictures: from a file's bytes to pixels, from pixels to numbers from 0 to 1, and back, losslessly.

What is lost on the way in, because Pillow gives no more: of pictures with several channels of 16 bits the lower 8 bits,
and the transparent colour of a 16-bit grey picture. Colours are not converted: a profile goes on with its picture.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, _imaging
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

Pixels = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

MAX_PIXELS = 100_000_000
# The readers themselves and not Image.open: no other format is ever tried, and no limit of the process is in the way.
_READERS: tuple[tuple[str, bytes, type[ImageFile]], ...] = (
    ("PNG", rb"\x89PNG\r\n\x1a\n", PngImageFile),
    ("JPEG", rb"\xff\xd8\xff", JpegImageFile),
    ("TIFF", rb"II[*+]\x00|MM\x00[*+]", TiffImageFile),
    ("WebP", rb"(?s:RIFF.{4}WEBP)", WebPImageFile),
    ("BMP", rb"BM", BmpImageFile),
)
# The modes that a container gives back as they were written; a PNG holds all that are made here.
_HOLDS = {
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"),
    "WebP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
}
_LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 4},  # photographs are as small as at 6, in three quarters of the time
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "WebP": {"lossless": True, "exact": True},
}
BAND = 256
_COLOURS, _DPI = 256, 100_000
_GREY = ("1", "L", "LA", "La")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _hush() -> None:
    """Keep what Pillow and its libtiff say of broken pictures off stderr: it is in the picture's error.

    For the whole process and for good, because filters that come and go are not safe beside threads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with contextlib.suppress(OSError, AttributeError):  # a Pillow that was built without libtiff, or apart from it
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


_hush()


class PictureError(ValueError):
    """A picture cannot be decoded; the text completes a sentence that starts with the picture's name."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory.

    Attributes:
        pixels: uint8 or uint16 [height, width, channels]; 1 channel is grey, 3 are RGB, 4 are RGBA. Maybe read-only.
        mode: Pillow's word for how it was stored (`1`, `L`, `LA`, `P`, `RGB`, `RGBA`, `CMYK`, `I;16`, ...).
        kind: what it was stored as: `PNG`, `JPEG`, `TIFF`, `WebP` or `BMP`.
        single: it is all that its file shows: there are no further frames or pages.
        extras: what its file says beside the pixels, in Pillow's words: colour profile, resolution, EXIF.
    """

    pixels: Pixels
    mode: str
    kind: str = "PNG"
    single: bool = True
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """Bits of a channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8


def decode(data: bytes) -> Picture:
    """Decode a PNG, JPEG, TIFF, WebP or BMP, told by its content; of several frames the first.

    It stands upright, as its EXIF orientation says. Palette, CMYK and the like become RGB, or RGBA where anything can
    be transparent; 1-bit becomes grey of 0 and 255.

    Args:
        data: the whole file.

    Raises:
        PictureError: it is empty, none of these, broken, of a mode that is not supported, or beyond MAX_PIXELS.
    """
    if not data:
        raise PictureError("is empty")
    found = next(((kind, reader) for kind, start, reader in _READERS if re.match(start, data)), None)
    if found is None:
        raise PictureError("is no picture that can be read")
    kind, reader = found
    try:
        with reader(io.BytesIO(data)) as image:
            if (size := image.width * image.height) > MAX_PIXELS:  # as the header says, before anything is decoded
                raise PictureError(f"has {size} pixels, more than {MAX_PIXELS} allowed")
            single = _is_single(image)
            image.load()
            return Picture(_pixels(_upright(image)), image.mode, kind, single, _extras(image, kind))
    except PictureError:
        raise
    except Exception as error:  # Pillow's readers raise what they like
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise PictureError("is truncated" if cut else f"is a broken or incomplete {kind} file") from error


def of_image(image: Image.Image) -> Picture:
    """A picture that Pillow holds, upright.

    Raises:
        PictureError: it is of a mode that is not supported.
    """
    return Picture(_pixels(_upright(image)), image.mode)


def _is_single(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "n_frames", 1) == 1)
    except Exception:  # noqa: BLE001 - there is more, whatever it is
        return False


def _extras(image: Image.Image, kind: str) -> dict[str, Any]:
    """What is written again beside the pixels; of a TIFF its tags are not, for most describe how it was stored."""
    found: dict[str, Any] = {}
    dpi = image.info.get("dpi")
    with contextlib.suppress(Exception):  # a broken note about a picture that is whole
        x, y = (float(number) for number in dpi or ())
        if all(math.isfinite(number) and 0 < number < _DPI for number in (x, y)):
            found["dpi"] = (x, y)
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile and image.mode != "CMYK":
        found["icc_profile"] = profile
    if kind != "TIFF":
        with contextlib.suppress(Exception):
            exif = image.getexif()
            exif.pop(_ORIENTATION, None)  # the pixels stand upright now
            if exif:
                found["exif"] = exif.tobytes()
    return found


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a broken note about a picture that is whole
        turned = None
    return image if turned is None else image.transpose(turned)


def _pixels(image: Image.Image) -> Pixels:
    mode = image.mode
    if mode in ("F", "LAB"):
        raise PictureError(f"is stored in mode {mode}, which is not supported")
    if mode.startswith("I"):
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > np.iinfo(np.uint16).max:
            raise PictureError("holds numbers beyond 16 bits")
        return wide.astype(np.uint16)[..., None]
    if mode == "La":
        image = image.convert("LA")
    wanted = "RGBA" if image.has_transparency_data else "L" if mode in _GREY else "RGB"
    pixels = np.asarray(image.convert(wanted))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def encode(pixels: Pixels, like: Picture, kind: str = "PNG") -> bytes:
    """Write pixels to a file, losslessly, in the mode of the picture they come from or the nearest that holds them.

    Grey stays grey and 16 bit stays 16 bit; alpha is kept. 1-bit stays so while all pixels are 0 or 255, palette while
    there are at most 256 colours, grey with alpha while the colours are alike. CMYK becomes RGB. Colour profile,
    resolution and EXIF go on; the picture stands upright, and nothing says that it is to be turned. Same pixels, same
    bytes.

    Args:
        pixels: of the shape and type of `like.pixels`.
        like: the picture they come from.
        kind: what is written, as in `Picture.kind`; a PNG where that cannot hold them losslessly.

    Raises:
        ValueError: the pixels are of another shape or type.
    """
    wanted = like.pixels
    if pixels.shape != wanted.shape or pixels.dtype != wanted.dtype:
        raise ValueError(f"{pixels.dtype} {pixels.shape} wanted as {wanted.dtype} {wanted.shape}")
    stream = io.BytesIO()
    image = as_image(pixels, like.mode, kind)
    kind = kind if image.mode in _HOLDS.get(kind, ()) else "PNG"
    image.save(stream, kind, **like.extras, **_LOSSLESS.get(kind, {}))
    return stream.getvalue()


def as_image(pixels: Pixels, mode: str, kind: str = "PNG") -> Image.Image:
    """Pixels as an image of a mode, or of the nearest that a kind of file holds."""
    channels = pixels.shape[2]
    # Only a PNG holds colours that are transparent in a palette.
    fits = mode == "P" and (channels == 3 or (channels == 4 and kind == "PNG"))
    if fits and (indexed := _indexed(pixels)) is not None:
        return indexed
    if channels == 1:
        if mode == "I" and kind == "TIFF":
            return Image.fromarray(pixels[..., 0].astype(np.int32))
        image = Image.fromarray(pixels[..., 0])
        return image.convert("1") if mode == "1" and not (pixels % 255).any() else image
    if channels == 4 and mode in _GREY and (pixels[..., :2] == pixels[..., 1:3]).all():
        return Image.fromarray(np.ascontiguousarray(pixels[..., ::3]))
    return Image.fromarray(pixels)


def _indexed(pixels: Pixels) -> Image.Image | None:
    """Colours as places in a palette of their own, if it can hold them all."""
    height, width, channels = pixels.shape
    wide = np.zeros((height, width, 4), np.uint8)
    wide[..., :channels] = pixels
    words = wide.view(np.uint32)[..., 0]
    colours = np.unique(np.concatenate([np.unique(words[rows]) for rows in bands(height)]))
    if len(colours) > _COLOURS:
        return None
    places = np.concatenate([np.searchsorted(colours, words[rows]).astype(np.uint8) for rows in bands(height)])
    image = Image.fromarray(places)
    palette = np.ascontiguousarray(colours.view(np.uint8).reshape(-1, 4)[:, :channels])
    image.putpalette(palette.tobytes(), "RGBA" if channels == 4 else "RGB")
    return image


def small(picture: Picture, longest: int) -> Image.Image:
    """A picture to look at, 8 bit, grey or colour, at most so many pixels on its longer side."""
    pixels = picture.pixels[..., :3]
    narrow = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(narrow[..., 0] if narrow.shape[2] == 1 else narrow))
    share = longest / max(image.size)
    if share >= 1:
        return image
    width, height = (max(round(length * share), 1) for length in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def scaled(picture: Picture, longest: int) -> Picture:
    """A picture's colours at so many pixels on its longer side, whether that is fewer or more; alpha is left out."""
    height, width, channels = picture.pixels.shape
    share = longest / max(height, width)
    if share == 1:
        return picture
    size = max(round(height * share), 1), max(round(width * share), 1)
    colours = [resized(picture.pixels[..., i], size) for i in range(min(channels, 3))]
    pixels = np.stack([np.rint(colour).astype(picture.pixels.dtype) for colour in colours], axis=2)
    return replace(picture, pixels=pixels)


def resized(
    values: npt.NDArray[Any], size: tuple[int, int], how: Image.Resampling = Image.Resampling.BILINEAR
) -> npt.NDArray[Any]:
    """Numbers [H, W] at another (height, width), float32."""
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize((size[1], size[0]), how))


def bands(height: int) -> Iterator[slice]:
    """A picture's rows, some at a time: for what would otherwise take many times its memory."""
    return (slice(top, top + BAND) for top in range(0, height, BAND))


def to_float(picture: Picture) -> Floats:
    """Pixels as float32 from 0 to 1, [height, width, channels]."""
    return np.asarray(np.divide(picture.pixels, np.float32(_top(picture)), dtype=np.float32))  # without a copy


def from_float(array: npt.NDArray[Any], like: Picture) -> Pixels:
    """Numbers from 0 to 1 as pixels of a picture's depth: clipped and rounded, so that `to_float` is undone exactly."""
    scaled = np.clip(array, 0, 1) * np.float32(_top(like))
    pixels: Pixels = np.rint(scaled).astype(like.pixels.dtype)
    return pixels


def _top(picture: Picture) -> int:
    return int(np.iinfo(picture.pixels.dtype).max)
