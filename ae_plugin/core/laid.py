"""A picture of any size in little memory: its tiles as the network sees them, some at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ae_plugin.core.neighbours import Indices
from ae_plugin.core.pictures import Picture, to_float
from ae_plugin.core.tiles import Cut, lay
from ae_plugin.core.values import Floats


@dataclass(frozen=True, eq=False)
class Laid:
    """A picture whose tiles can be had some at a time, without a copy of it in numbers.

    Attributes:
        picture: mirrored at its edges where it does not fill its tiles.
        where: those lie.
    """

    picture: Picture
    where: Cut

    @staticmethod
    def of(picture: Picture, side: tuple[int, int]) -> Laid:
        """Lay tiles of (height, width) over a picture."""
        filled, where = lay(picture.pixels, side)
        return Laid(replace(picture, pixels=filled), where)

    def tiles(self, channels: int, which: slice | Indices) -> Floats:
        """Some of its tiles, as the network sees them, float32 [n, h, w, channels]."""
        (height, width), pixels = self.where.side, self.picture.pixels
        corners = np.array(self.where.corners)[which]
        tiles = np.concatenate([pixels[top : top + height, left : left + width] for top, left in corners])
        return seen(replace(self.picture, pixels=tiles), channels).reshape(-1, height, width, channels)


def seen(picture: Picture, channels: int) -> Floats:
    """A picture as the network sees it, float32 [H, W, channels] in 0..1: grey or colour, without alpha."""
    pixels = to_float(picture)[..., :3]
    if channels == 1 and pixels.shape[2] == 3:
        return np.asarray(pixels.mean(axis=2, keepdims=True))
    return np.repeat(pixels, 3, axis=2) if channels == 3 and pixels.shape[2] == 1 else pixels
