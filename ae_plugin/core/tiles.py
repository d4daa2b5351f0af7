"""A picture of any size as tiles of one size, and back: networks and descriptors see tiles.

Pictures of one size from `LEAST` to `WHOLE` pixels a side are one tile each, so that where something is in the picture
counts. All others are cut into overlapping tiles of `SIDE` pixels, at their own resolution: nothing is scaled, so that
a defect of two pixels stays one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ae_plugin.core.pictures import Pixels
from ae_plugin.core.values import Floats

LEAST, WHOLE, SIDE, OVERLAP = 8, 96, 64, 16


@dataclass(frozen=True)
class Cut:
    """Where a picture's tiles lie.

    Attributes:
        height, width: of the picture.
        side: (height, width) of each tile.
        corners: (top, left) of each, in the picture; a tile may reach beyond it at the bottom and on the right.
    """

    height: int
    width: int
    side: tuple[int, int]
    corners: list[tuple[int, int]]


def side_for(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The tiles' (height, width) for a history of pictures of these (height, width)."""
    found = set(sizes)
    if len(found) == 1 and all(LEAST <= length <= WHOLE for length in next(iter(found))):
        return found.pop()
    return SIDE, SIDE


def lay(pixels: Pixels, side: tuple[int, int]) -> tuple[Pixels, Cut]:
    """A picture [H, W, C], mirrored at its edges where it does not fill its tiles, and where those lie, row by row."""
    height, width, _ = pixels.shape
    tops, lefts = (_starts(length, part) for length, part in zip((height, width), side, strict=True))
    beyond = tops[-1] + side[0] - height, lefts[-1] + side[1] - width
    filled = np.pad(pixels, ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="symmetric") if any(beyond) else pixels
    return filled, Cut(height, width, side, [(top, left) for top in tops for left in lefts])


def cut(pixels: Floats, side: tuple[int, int]) -> tuple[Floats, Cut]:
    """Cut a picture, mirrored at its edges where it does not fill a tile.

    Args:
        pixels: float32 [H, W, C].
        side: (height, width) of a tile.

    Returns:
        The tiles float32 [n, h, w, C], row by row, and where they lie.
    """
    filled, where = lay(pixels, side)
    tiles = np.stack([filled[top : top + side[0], left : left + side[1]] for top, left in where.corners])
    return np.ascontiguousarray(tiles, np.float32), where


class Joined:
    """Puts tiles back together as they come; no more than a row of them is in memory beside the whole.

    Where they overlap, each counts more in its middle.

    Args:
        where: they lie.
        channels: of each.

    Attributes:
        whole: float32 [H, W, C]; what the last tile of a row of them completes is there once that row is.
    """

    def __init__(self, where: Cut, channels: int) -> None:
        self.whole = np.empty((where.height, where.width, channels), np.float32)
        height, width = where.side
        self._where, self._added = where, 0
        self._weight = np.minimum.outer(_ramp(height), _ramp(width))[:, :, None]
        right = max(left for _, left in where.corners) + width
        self._total = np.zeros((height, right, channels), np.float32)
        self._weights = np.zeros((height, right, 1), np.float32)

    def add(self, tiles: Floats) -> None:
        """Add the next tiles, [n, h, w, C]."""
        corners = self._where.corners
        if len(corners) == 1:  # there is nothing to blend
            self.whole = tiles[0, : self._where.height, : self._where.width] if len(tiles) else self.whole
            return
        for tile in tiles:
            top, left = corners[self._added]
            here = slice(left, left + tile.shape[1])
            self._total[:, here] += tile * self._weight
            self._weights[:, here] += self._weight
            self._added += 1
            last = self._added == len(corners)
            below = top + len(tile) if last else corners[self._added][0]
            if below > top:
                self._finish(top, below)

    def _finish(self, top: int, below: int) -> None:
        """Write out the rows that no further tile reaches, and make room for as many."""
        done, rows = below - top, max(min(below, self._where.height) - top, 0)
        self.whole[top : top + rows] = (self._total[:rows] / self._weights[:rows])[:, : self._where.width]
        for band in (self._total, self._weights):
            band[: len(band) - done] = band[done:].copy()
            band[len(band) - done :] = 0


def grey(pixels: Floats) -> Floats:
    """The mean of the channels, [..., C] -> [...]; of a single one it is many times faster to take that."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else np.asarray(pixels.mean(axis=-1))


def _overlap(side: int) -> int:
    """How far tiles overlap at least: of small ones a quarter."""
    return min(OVERLAP, side // 4)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles start along one side: evenly, and overlapping; the last ends with the picture."""
    if length <= side:
        return [0]
    count = -(-(length - _overlap(side)) // (side - _overlap(side)))
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _ramp(length: int) -> Floats:
    """1 in the middle, falling to nearly 0 over the overlap at both ends."""
    from_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.asarray(np.minimum(from_edge / _overlap(length), 1), np.float32)
