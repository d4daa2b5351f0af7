"""A picture of any size as tiles of one size, and back: networks and descriptors see tiles.

Pictures of one size up to `WHOLE` pixels a side are one tile each, so that where something is in the picture counts.
All others are cut into overlapping tiles of `SIDE` pixels, at their own resolution: nothing is scaled, so that a defect
of two pixels stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ae_plugin.core.values import Floats

WHOLE, SIDE, OVERLAP = 96, 64, 16


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
    if len(found) == 1 and max(next(iter(found))) <= WHOLE:
        return found.pop()
    return SIDE, SIDE


def cut(pixels: Floats, side: tuple[int, int]) -> tuple[Floats, Cut]:
    """Cut a picture, mirrored at its edges where it does not fill a tile.

    Args:
        pixels: float32 [H, W, C].
        side: (height, width) of a tile.

    Returns:
        The tiles float32 [n, h, w, C], row by row, and where they lie.
    """
    filled, where = _laid(pixels, side)
    tiles = np.stack([filled[top : top + side[0], left : left + side[1]] for top, left in where.corners])
    return np.ascontiguousarray(tiles, np.float32), where


def join(tiles: Floats, where: Cut) -> Floats:
    """Put tiles [n, h, w, C] back together, float32 [H, W, C]; where they overlap, each counts more in its middle."""
    return _joined(tiles, where, tiles.shape[-1])


def through(run: Callable[[Floats], Floats], pixels: Floats, side: tuple[int, int], count: int) -> Floats:
    """Cut a picture, run its tiles, always `count` at a time, and put what comes back together.

    Args:
        run: tiles [count, h, w, C] -> [count, h, w, D].
        pixels: float32 [H, W, C].
        side: (height, width) of a tile.
        count: tiles at a time; no more of them are in memory. The last ones are filled up with zeros.

    Returns:
        float32 [H, W, D].
    """
    filled, where = _laid(pixels, side)

    def results() -> Iterator[Floats]:
        for start in range(0, len(where.corners), count):
            corners = where.corners[start : start + count]
            tiles = np.zeros((count, *side, pixels.shape[2]), np.float32)
            for tile, (top, left) in zip(tiles, corners, strict=False):
                tile[:] = filled[top : top + side[0], left : left + side[1]]
            yield from run(tiles)[: len(corners)]

    found = results()
    first = next(found)
    return _joined(chain([first], found), where, first.shape[-1])


def _laid(pixels: Floats, side: tuple[int, int]) -> tuple[Floats, Cut]:
    """A picture, mirrored at its edges where it does not fill its tiles, and where those lie."""
    height, width, _ = pixels.shape
    tops, lefts = (_starts(length, part) for length, part in zip((height, width), side, strict=True))
    beyond = tops[-1] + side[0] - height, lefts[-1] + side[1] - width
    filled = np.pad(pixels, ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="symmetric") if any(beyond) else pixels
    return filled, Cut(height, width, side, [(top, left) for top in tops for left in lefts])


def _joined(tiles: Iterable[Floats], where: Cut, channels: int) -> Floats:
    if len(where.corners) == 1:
        return next(iter(tiles))[: where.height, : where.width]
    height, width = where.side
    weight = np.minimum.outer(_ramp(height), _ramp(width))[:, :, None]
    bottom, right = (max(ends) for ends in zip(*((t + height, left + width) for t, left in where.corners), strict=True))
    total = np.zeros((bottom, right, channels), np.float32)
    weights = np.zeros((bottom, right, 1), np.float32)
    for tile, (top, left) in zip(tiles, where.corners, strict=True):
        total[top : top + height, left : left + width] += tile * weight
        weights[top : top + height, left : left + width] += weight
    return np.asarray((total / weights)[: where.height, : where.width])


def _starts(length: int, side: int) -> list[int]:
    """Where tiles start along one side: evenly, overlapping by `OVERLAP` at least; the last ends with the picture."""
    if length <= side:
        return [0]
    count = -(-(length - OVERLAP) // (side - OVERLAP))
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _ramp(length: int) -> Floats:
    """1 in the middle, falling to nearly 0 over the overlap at both ends."""
    from_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.asarray(np.minimum(from_edge / OVERLAP, 1), np.float32)
