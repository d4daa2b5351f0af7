"""Whole pictures, small, as a variational autoencoder sees them: in, their latent codes; out, pictures of codes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ae_plugin.core.pictures import Picture, scaled, small
from ae_plugin.core.values import Floats

SIDES, SMALL = (32, 64), 40
"""Sides that pictures are brought to; the smaller one where they have no more than `SMALL` pixels a side."""
BLOCK = 64
Bytes = npt.NDArray[np.uint8]
Half = Callable[[Floats], tuple[Floats]]


def side_and_shape(sizes: Sequence[tuple[int, int]]) -> tuple[int, tuple[int, int]]:
    """The side that pictures of these (height, width) are brought to, and the (height, width) they are given back in.

    The latter is their median, at most as many pixels as the former on its longer side.
    """
    height, width = (int(np.median([size[axis] for size in sizes])) for axis in (0, 1))
    longest = max(height, width)
    side = SIDES[0] if longest <= SMALL else SIDES[1]
    share = min(1.0, side / longest)
    return side, (max(round(height * share), 1), max(round(width * share), 1))


def shrunk(picture: Picture, side: int, channels: int, longest: int | None = None) -> Bytes:
    """A picture as the network sees it, stretched to a square: uint8 [side, side, channels].

    Args:
        picture: of any size and mode.
        side: of the result.
        channels: 1 or 3.
        longest: pixels on the longer side that pictures are scaled to before, where a model does.
    """
    image = small(scaled(picture, longest) if longest else picture, max(picture.pixels.shape[:2]))
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(side, side, channels)


@dataclass(frozen=True)
class Variational:
    """A trained model of whole pictures.

    Attributes:
        encoder: pictures float32 [n, side, side, C] in 0..1 -> means and log variances of codes, float32 [n, 2 L].
        decoder: codes float32 [n, L] -> pictures float32 [n, side, side, C].
        side: that pictures are brought to.
        channels: C.
        shape: (height, width) that pictures are given back in.
        longest: pixels on the longer side that pictures are scaled to before; None: they are not.
    """

    encoder: Half
    decoder: Half
    side: int
    channels: int
    shape: tuple[int, int]
    longest: int | None = None

    def see(self, pictures: Sequence[Picture]) -> Bytes:
        """Pictures as the network sees them, uint8 [n, side, side, C]."""
        if not pictures:
            return np.zeros((0, self.side, self.side, self.channels), np.uint8)
        return np.stack([shrunk(picture, self.side, self.channels, self.longest) for picture in pictures])

    def encode(self, seen: Bytes) -> Floats:
        """Latent codes (their means) of pictures as the network sees them, float32 [n, L]."""
        told = in_blocks(self.encoder, seen.astype(np.float32) / np.float32(255))
        return told[:, : told.shape[1] // 2]

    def decode(self, codes: Floats) -> Bytes:
        """Pictures of codes float32 [n, L], as the network sees them, uint8 [n, side, side, C]."""
        return np.asarray(np.rint(np.clip(in_blocks(self.decoder, codes), 0, 1) * np.float32(255)), np.uint8)

    def image(self, seen: Bytes) -> Image.Image:
        """One picture as the network sees it, given back in the shape of history's pictures."""
        image = Image.fromarray(seen[..., 0] if self.channels == 1 else seen)
        height, width = self.shape
        return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)

    def png(self, seen: Bytes) -> bytes:
        """The same as a PNG."""
        stream = io.BytesIO()
        self.image(seen).save(stream, "PNG")
        return stream.getvalue()


def in_blocks(network: Half, rows: Floats) -> Floats:
    """Run half a network over rows float32 [n, ...], in whole blocks; the last is filled up with zeros."""
    parts = []
    for start in range(0, max(len(rows), 1), BLOCK):
        part = rows[start : start + BLOCK]
        filled = np.zeros((BLOCK, *rows.shape[1:]), np.float32)
        filled[: len(part)] = part
        parts.append(network(filled)[0][: len(part)])
    return np.concatenate(parts)


def closest(pictures: Bytes, known: Bytes) -> Floats:
    """Distance of each picture to the closest of known ones, float32 [n]: root mean square of pixels, in 0..1."""
    flat, others = (some.reshape(len(some), -1).astype(np.float32) / np.float32(255) for some in (pictures, known))
    nearest = np.empty(len(flat), np.intp)
    squares = np.square(others).sum(axis=1)
    for start in range(0, len(flat), BLOCK):
        part = slice(start, start + BLOCK)
        nearest[part] = (squares - 2 * flat[part] @ others.T).argmin(axis=1)
    apart = np.square(flat - others[nearest]).mean(axis=1)
    return np.asarray(np.sqrt(apart), np.float32)
