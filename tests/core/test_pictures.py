"""Pictures: every kind that is read, what is refused and why, and pixels that come back as they were."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageCms

from ae_plugin.core import pictures
from ae_plugin.core.pictures import MAX_PIXELS, Picture, PictureError, decode, encode, from_float, to_float

# pytest undoes the filter that the module sets; test_nothing_is_said_on_stderr sees to it.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")
QUICK = settings(max_examples=60, deadline=None, derandomize=True)
RNG = np.random.default_rng(4)
HEIGHT, WIDTH = 13, 17
RGBA = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
RGB, GREY = RGBA[..., :3].copy(), RGBA[..., :1].copy()
LA = RGBA[..., [0, 0, 0, 3]].copy()
BITS = np.where(GREY > 127, 255, 0).astype(np.uint8)
WIDE = RNG.integers(0, 65536, (HEIGHT, WIDTH, 1), np.uint16)
# A gradient, which JPEG keeps nearly as it is.
SMOOTH = np.stack(np.broadcast_arrays(np.arange(WIDTH) * 9, np.arange(HEIGHT)[:, None] * 9, 90), -1).astype(np.uint8)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def image_of(pixels: np.ndarray, mode: str | None = None) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return image if mode is None else image.convert(mode)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, bits: int, color: int, rows: bytes = b"") -> bytes:
    """A PNG by hand, of kinds that Pillow reads and does not write."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png16(pixels: np.ndarray, color: int) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(pixels.shape[1], pixels.shape[0], 16, color, rows)


def tiff16(pixels: np.ndarray) -> bytes:
    """A little-endian, uncompressed RGB TIFF of 16 bits."""
    height, width, channels = pixels.shape
    bits = struct.pack("<3H", 16, 16, 16)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 152), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, pixels.nbytes)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 14) + bits + struct.pack("<H", len(tags)) + entries + bytes(4)
    return head.ljust(152, b"\0") + pixels.astype("<u2").tobytes()


PALETTE = image_of(RGB).quantize(16)
CLEAR = PALETTE.copy()
CLEAR.info["transparency"] = 3
CMYK = image_of(SMOOTH, "CMYK")
LOSSLESS: dict[str, tuple[bytes, str, np.ndarray]] = {
    **{f"RGB {kind}": (saved(image_of(RGB), kind), "RGB", RGB) for kind in ("PNG", "TIFF", "BMP")},
    **{f"RGBA {kind}": (saved(image_of(RGBA), kind), "RGBA", RGBA) for kind in ("PNG", "TIFF")},
    **{f"grey {kind}": (saved(image_of(GREY), kind), "L", GREY) for kind in ("PNG", "TIFF", "BMP")},
    **{f"LA {kind}": (saved(image_of(LA, "LA"), kind), "LA", LA) for kind in ("PNG", "TIFF")},
    **{f"1 bit {kind}": (saved(image_of(BITS, "1"), kind), "1", BITS) for kind in ("PNG", "TIFF", "BMP")},
    **{f"16 bit {kind}": (saved(image_of(WIDE), kind), "I;16", WIDE) for kind in ("PNG", "TIFF")},
    **{
        f"palette {kind}": (saved(PALETTE, kind), "P", np.asarray(PALETTE.convert("RGB")))
        for kind in ("PNG", "TIFF", "BMP")
    },
    "transparent palette": (saved(CLEAR, "PNG"), "P", np.asarray(CLEAR.convert("RGBA"))),
    "RGB WebP": (saved(image_of(RGB), "WEBP", lossless=True), "RGB", RGB),
    "RGBA WebP": (saved(image_of(RGBA), "WEBP", lossless=True, exact=True), "RGBA", RGBA),
    "CMYK TIFF": (saved(CMYK, "TIFF"), "CMYK", np.asarray(CMYK.convert("RGB"))),
    "deflated TIFF": (saved(image_of(RGB), "TIFF", compression="tiff_deflate"), "RGB", RGB),
    "deflated TIFF of 16 bit": (saved(image_of(WIDE), "TIFF", compression="tiff_deflate"), "I;16", WIDE),
    "big-endian TIFF of 16 bit": (
        saved(Image.frombytes("I;16B", (WIDTH, HEIGHT), WIDE.astype(">u2").tobytes()), "TIFF"),
        "I;16B",
        WIDE,
    ),
    "TIFF of 32 bit, small numbers": (saved(image_of(WIDE.astype(np.int32)), "TIFF"), "I", WIDE),
    # As well as Pillow can: the upper 8 bits.
    "RGB PNG of 16 bit": (png16(RGB.astype(np.uint16) * 257, 2), "RGB", RGB),
    "RGBA PNG of 16 bit": (png16(RGBA.astype(np.uint16) * 257, 6), "RGBA", RGBA),
    "LA PNG of 16 bit": (png16(LA[..., 2:].astype(np.uint16) * 257, 4), "RGBA", LA),
    "RGB TIFF of 16 bit": (tiff16(RGB.astype(np.uint16) * 257), "RGB", RGB),
    "one pixel": (saved(image_of(RGB[:1, :1]), "PNG"), "RGB", RGB[:1, :1]),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_pixel_is_read_as_it_was_stored(name: str) -> None:
    data, mode, pixels = LOSSLESS[name]
    picture = decode(data)
    assert picture.mode == mode
    assert picture.depth == pixels.dtype.itemsize * 8
    assert picture.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(picture.pixels, pixels)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_read_nearly_as_it_was(mode: str) -> None:
    picture = decode(saved(image_of(SMOOTH, mode), "JPEG", quality=95))
    wanted = np.asarray(image_of(SMOOTH, mode).convert("L" if mode == "L" else "RGB"))
    assert picture.mode == mode
    assert abs(picture.pixels.astype(float) - wanted.reshape(HEIGHT, WIDTH, -1)).mean() < 3


@pytest.mark.parametrize("color", [0, (1, 2, 3)])
def test_a_transparent_colour_is_alpha(color: Any) -> None:
    pixels = np.full((4, 5, 3 if isinstance(color, tuple) else 1), color, np.uint8)
    pixels[0] = 200
    picture = decode(saved(image_of(pixels), "PNG", transparency=color))
    assert picture.pixels.shape == (4, 5, 4)
    assert (picture.pixels[..., 3] == [[255]] + [[0]] * 3).all()
    assert (decode(encode(picture.pixels, picture)).pixels == picture.pixels).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = saved(image_of(SMOOTH), kind, exif=exif, **lossless)
    turned = {2: SMOOTH[:, ::-1], 3: SMOOTH[::-1, ::-1], 4: SMOOTH[::-1], 5: SMOOTH.swapaxes(0, 1)}
    turned |= {6: np.rot90(SMOOTH, -1), 7: np.rot90(SMOOTH, 2).swapaxes(0, 1), 8: np.rot90(SMOOTH)}
    wanted = turned.get(orientation, SMOOTH)
    pixels = decode(data).pixels
    assert pixels.shape == wanted.shape
    assert abs(pixels.astype(float) - wanted).max() <= (40 if kind == "JPEG" else 0)


def test_a_broken_exif_note_does_no_harm() -> None:
    data = saved(image_of(RGB), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 9)
    np.testing.assert_array_equal(decode(data).pixels, RGB)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_read(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    frames = [image_of(RGB), image_of(255 - RGB)]
    picture = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], **lossless))
    np.testing.assert_array_equal(picture.pixels[..., :3], RGB)


def bomb(format: str) -> bytes:
    """A small file whose header promises 20000 x 20000 pixels."""
    if format == "PNG":
        return png(20_000, 20_000, 8, 2)
    data = bytearray(saved(Image.new("L", (7, 7)), format))
    if format == "BMP":
        data[18:26] = struct.pack("<ii", 20_000, 20_000)
    if format == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 20_000, 20_000)
    if format == "TIFF":
        entries = struct.unpack_from("<I", data, 4)[0] + 2
        for at in range(entries, entries + 24, 12):
            tag = struct.unpack_from("<H", data, at)[0]
            assert tag in (256, 257)
            struct.pack_into("<HHII", data, at, tag, 4, 1, 20_000)
    return bytes(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "BMP"])
def test_a_bomb_is_told_by_its_header(format: str) -> None:
    with pytest.raises(PictureError, match=f"^has 400000000 pixels, more than {MAX_PIXELS} allowed$"):
        decode(bomb(format))


def test_a_large_webp_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 200)
    with pytest.raises(PictureError, match="^has 221 pixels, more than 200 allowed$"):
        decode(saved(image_of(RGB), "WEBP"))


REFUSED = {
    "nothing": (b"", "is empty"),
    "text": (b"hello", "is no picture that can be read"),
    "a GIF": (saved(PALETTE, "GIF"), "is no picture that can be read"),
    "PostScript, which is a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is no picture that can be read"),
    "half a PNG": (LOSSLESS["RGB PNG"][0][:300], "is truncated"),
    "half a JPEG": (saved(image_of(RGB), "JPEG")[:-100], "is truncated"),
    "half a BMP": (LOSSLESS["RGB BMP"][0][:300], "is truncated"),
    "a start only": (b"BM", "is a broken or incomplete BMP file"),
    "a PNG with a flipped bit": (
        bytes(byte ^ (place == 60) for place, byte in enumerate(LOSSLESS["RGB PNG"][0])),
        "is a broken or incomplete PNG file",
    ),
    "no pixels": (png(0, 5, 8, 0), "is a broken or incomplete PNG file"),
    "fractions": (saved(Image.new("F", (3, 3)), "TIFF"), "is stored in mode F, which is not supported"),
    "a colour space": (saved(Image.new("LAB", (3, 3)), "TIFF"), "is stored in mode LAB, which is not supported"),
    "large numbers": (saved(Image.new("I", (3, 3), 70_000), "TIFF"), "holds numbers beyond 16 bits"),
    "negative numbers": (saved(Image.new("I", (3, 3), -1), "TIFF"), "holds numbers beyond 16 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_says_why(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(PictureError) as error:
        decode(data)
    assert str(error.value) == reason


def outcome(data: bytes) -> tuple[int, ...] | str:
    """The picture's shape, or why there is none; anything else raises."""
    try:
        return decode(data).pixels.shape
    except PictureError as error:
        return str(error)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
def test_every_truncation_is_read_or_refused(format: str) -> None:
    data = saved(image_of(RGB[:9, :9]), format)
    found = [outcome(data[:length]) for length in range(len(data) + 1)]
    assert found[0] == "is empty"
    assert found[-1] == (9, 9, 3)
    assert all(isinstance(one, str) for one in found[: len(data) // 2])


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers that are made up promise much; the limit is for the test's own speed."""
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10_000)


STARTS = [b"", b"BM", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"RIFF\x40\0\0\0WEBP"]


@given(st.sampled_from(STARTS), st.binary(max_size=200))
@settings(QUICK, max_examples=400)
def test_garbage_is_refused(start: bytes, rest: bytes) -> None:
    limit = pictures.MAX_PIXELS
    pictures.MAX_PIXELS = 10_000
    try:
        outcome(start + rest)
    finally:
        pictures.MAX_PIXELS = limit


@pytest.mark.parametrize("name", LOSSLESS)
def test_flipped_bytes_are_read_or_refused(name: str, small_pictures: None) -> None:
    data, rng = LOSSLESS[name][0], np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, min(len(data), 400), 2):
            broken[place] = rng.integers(256)
        outcome(bytes(broken))


def test_nothing_is_said_on_stderr() -> None:
    code = """
import io
import numpy as np
from PIL import Image
from ae_plugin.core.pictures import PictureError, decode

rng = np.random.default_rng(1)
image = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
exif = Image.Exif()
exif[0x0112], exif[0x010E] = 6, "a word or two of description"
kinds = [(kind, {"exif": exif}) for kind in ("PNG", "JPEG", "WEBP", "TIFF")]
kinds += [("TIFF", {"compression": name}) for name in ("tiff_deflate", "tiff_lzw", "jpeg")]
for kind, options in [*kinds, ("BMP", {})]:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    data = stream.getvalue()
    for cut in range(2 * len(data)):
        broken = bytearray(data if cut > len(data) else data[:cut])
        if cut > len(data):
            broken[cut - len(data)] ^= 1 << rng.integers(6)
        try:
            decode(bytes(broken))
        except PictureError:
            pass
"""
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- back to a file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSLESS)
def test_encoding_is_lossless_in_the_nearest_mode(name: str) -> None:
    picture = decode(LOSSLESS[name][0])
    data = encode(picture.pixels, picture)
    again = decode(data)
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert Image.open(io.BytesIO(data)).format == "PNG"
    channels = picture.pixels.shape[2]
    if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        assert again.mode == picture.mode
    else:
        assert again.mode == {1: "I;16", 3: "RGB", 4: "RGBA"}[channels]
    assert encode(picture.pixels, picture) == data


def test_what_the_mode_cannot_hold_is_kept_in_a_wider_one() -> None:
    grey, bits = GREY.copy(), decode(LOSSLESS["1 bit PNG"][0])
    assert decode(encode(grey, bits)).mode == "L"
    colour = decode(encode(RGBA, decode(LOSSLESS["LA PNG"][0])))
    assert colour.mode == "RGBA"
    np.testing.assert_array_equal(colour.pixels, RGBA)


@pytest.mark.parametrize("pixels", [RGBA, RGB[1:], RGB.astype(np.uint16)])
def test_pixels_of_another_shape_or_type_are_a_mistake(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="wanted as uint8"):
        encode(pixels, Picture(RGB, "RGB"))


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_container_that_can_be_lossless_is_kept(name: str) -> None:
    data, mode, pixels = LOSSLESS[name]
    before = Image.open(io.BytesIO(data))
    picture = decode(data)
    written = encode(pixels, picture, picture.kind)
    after = Image.open(io.BytesIO(written))
    np.testing.assert_array_equal(decode(written).pixels, pixels)
    assert (after.format, after.size) == (before.format, before.size)
    # What Pillow reads only in part, or turns into other colours, and bytes in the other order.
    narrowed = {"CMYK": "RGB", "I;16B": "I;16"}
    odd = "LA PNG of 16 bit", "RGB PNG of 16 bit", "RGBA PNG of 16 bit"
    assert after.mode == narrowed.get(mode, mode) or name in odd
    assert written == encode(pixels, picture, picture.kind)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_becomes_a_png(mode: str) -> None:
    picture = decode(saved(image_of(SMOOTH, mode), "JPEG"))
    again = Image.open(io.BytesIO(encode(picture.pixels, picture, picture.kind)))
    assert picture.kind == "JPEG" and again.format == "PNG" and again.mode == mode.replace("CMYK", "RGB")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WebP"])
@pytest.mark.parametrize("channels", [3, 4])
def test_too_many_colours_for_a_palette_are_kept(kind: str, channels: int) -> None:
    pixels = RNG.integers(0, 256, (40, 40, channels), np.uint8)
    again = decode(encode(pixels, Picture(pixels, "P"), kind))
    np.testing.assert_array_equal(again.pixels, pixels)
    assert again.mode == ("RGB" if channels == 3 else "RGBA")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WebP"])
def test_a_transparent_palette_keeps_its_colours_in_any_container(kind: str) -> None:
    picture = decode(LOSSLESS["transparent palette"][0])
    np.testing.assert_array_equal(decode(encode(picture.pixels, picture, kind)).pixels, picture.pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_nothing_says_that_an_upright_picture_is_to_be_turned(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a note"
    picture = decode(saved(image_of(SMOOTH), kind, exif=exif))
    assert picture.pixels.shape == (WIDTH, HEIGHT, 3)
    again = Image.open(io.BytesIO(encode(picture.pixels, picture, picture.kind)))
    assert again.size == (HEIGHT, WIDTH) and 0x0112 not in again.getexif()
    assert kind == "TIFF" or again.getexif()[0x010E] == "a note"
    np.testing.assert_array_equal(decode(encode(picture.pixels, picture, picture.kind)).pixels, picture.pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_colour_profile_and_resolution_go_on(kind: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    given = {} if kind == "BMP" else {"icc_profile": profile}
    picture = decode(saved(image_of(SMOOTH), kind, dpi=(300, 300), **given))
    again = Image.open(io.BytesIO(encode(picture.pixels, picture, picture.kind)))
    assert kind == "BMP" or again.info["icc_profile"] == profile
    assert kind == "WEBP" or again.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("dpi", [(0, 0), (1e300, 1), (float("nan"), 1), "many", (1, 2, 3), None])
def test_an_absurd_resolution_is_dropped(dpi: Any) -> None:
    image = image_of(RGB)
    image.info["dpi"] = dpi
    assert "dpi" not in pictures._extras(image, "PNG")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_further_frames_are_known(kind: str) -> None:
    assert decode(saved(image_of(RGB), kind)).single
    further = [image_of(RGB[::-1]), image_of(RGB[:, ::-1])]
    assert not decode(saved(image_of(RGB), kind, save_all=True, append_images=further)).single


SIZES = array_shapes(min_dims=2, max_dims=2, max_side=9)
PIXELS = st.one_of(
    *(
        st.tuples(SIZES, st.just(channels)).flatmap(lambda given: arrays(np.uint8, (*given[0], given[1])))
        for channels in (1, 3, 4)
    ),
    SIZES.flatmap(lambda size: arrays(np.uint16, (*size, 1))),
)


@given(PIXELS, st.sampled_from(["1", "L", "LA", "RGB", "P"]))
@QUICK
def test_whatever_the_pixels_they_come_back(pixels: np.ndarray, mode: str) -> None:
    again = decode(encode(pixels, Picture(pixels, mode if pixels.dtype == np.uint8 else "I;16")))
    assert again.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(again.pixels, pixels)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_value_survives_the_way_to_float_and_back(kind: type) -> None:
    top = np.iinfo(kind).max
    picture = Picture(np.arange(top + 1, dtype=kind).reshape(16, -1, 1), "L")
    floats = to_float(picture)
    assert floats.dtype == np.float32
    assert floats.shape == picture.pixels.shape
    assert (floats.min(), floats.max()) == (0, 1)
    np.testing.assert_array_equal(from_float(floats, picture), picture.pixels)


def test_from_float_rounds_and_clips() -> None:
    eight = from_float(np.array([[[-1.0], [0.499 / 255], [0.501 / 255], [1.0], [7.0]]]), Picture(GREY, "L"))
    assert eight.dtype == np.uint8
    assert eight.ravel().tolist() == [0, 0, 1, 255, 255]
    wide = from_float(np.array([[[0.5]]], np.float32), Picture(WIDE, "I;16"))
    assert wide.dtype == np.uint16
    assert wide.item() == 32768
