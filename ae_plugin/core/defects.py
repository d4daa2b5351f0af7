"""Defects that a network learns to undo, put into good tiles: blobs, strokes, pieces from elsewhere, gaps, noise."""

from __future__ import annotations

import numpy as np

from ae_plugin.core.values import Bools, Floats

KINDS = ("blob", "stroke", "paste", "gap")
"""What a defect may be; noise over the whole tile is apart, since it is nowhere in particular."""
NOISE = 0.1
_LOUD = 0.08
"""Change of a pixel, of the range of brightness, from which on it is a defect that can be seen."""


def spoil(tiles: Floats, rng: np.random.Generator, *, noisy: float = 0.5) -> tuple[Floats, Bools]:
    """Give most tiles a few defects.

    Args:
        tiles: float32 [n, h, w, C] in 0..1, good.
        rng: what to draw from.
        noisy: share of the tiles that get noise as well.

    Returns:
        The tiles, spoilt, and where a defect can be seen, bool [n, h, w].
    """
    out = tiles.copy()
    for index in range(len(out)):
        for _ in range(rng.integers(0, 4)):
            kind = KINDS[rng.integers(len(KINDS))]
            _DRAW[kind](out[index], tiles[rng.integers(len(tiles))], rng)
    seen = np.abs(out - tiles).max(axis=3) > _LOUD
    loud = rng.uniform(size=len(out)) < noisy
    strength = rng.uniform(0, NOISE, (loud.sum(), 1, 1, 1)).astype(np.float32)
    out[loud] += strength * rng.standard_normal(out[loud].shape, np.float32)
    return np.clip(out, 0, 1), seen


def spoil_one(tile: Floats, other: Floats, kind: str, rng: np.random.Generator) -> Floats:
    """A copy of a tile float32 [h, w, C] with one defect of a kind; pasted pieces come from another tile."""
    out = tile.copy()
    _DRAW[kind](out, other, rng)
    return out


def _blob(tile: Floats, _: Floats, rng: np.random.Generator) -> None:
    """An ellipse, brighter or darker, or of the opposite brightness."""
    height, width, _ = tile.shape
    radii = rng.uniform(1, max(2, min(height, width) / 6), 2)
    y, x = np.ogrid[:height, :width]
    inside = (((y - rng.uniform(0, height)) / radii[0]) ** 2 + ((x - rng.uniform(0, width)) / radii[1]) ** 2) <= 1
    _change(tile, inside, rng)


def _stroke(tile: Floats, _: Floats, rng: np.random.Generator) -> None:
    """A straight line of one to three pixels' width."""
    height, width, _ = tile.shape
    start, turn = rng.uniform(0, 1, 2) * (height, width), rng.uniform(0, np.pi)
    y, x = np.ogrid[:height, :width]
    along = (y - start[0]) * np.sin(turn) + (x - start[1]) * np.cos(turn)
    across = (x - start[1]) * np.sin(turn) - (y - start[0]) * np.cos(turn)
    long = rng.uniform(3, max(4, min(height, width) / 2))
    _change(tile, (np.abs(across) <= rng.uniform(0.5, 1.5)) & (np.abs(along) <= long / 2), rng)


def _paste(tile: Floats, other: Floats, rng: np.random.Generator) -> None:
    """A rectangle of another tile, from anywhere in it."""
    height, width, _ = tile.shape
    h, w = (int(rng.integers(2, max(3, length // 3))) for length in (height, width))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    there, here = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    tile[top : top + h, left : left + w] = other[there : there + h, here : here + w]


def _gap(tile: Floats, _: Floats, rng: np.random.Generator) -> None:
    """A rectangle of one brightness: pixels that were lost."""
    height, width, channels = tile.shape
    h, w = (int(rng.integers(2, max(3, length // 4))) for length in (height, width))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    tile[top : top + h, left : left + w] = rng.uniform(0, 1, channels)


def _change(tile: Floats, where: Bools, rng: np.random.Generator) -> None:
    if rng.uniform() < 0.5:
        tile[where] = 1 - tile[where]
    else:
        tile[where] += rng.choice([-1, 1]) * rng.uniform(0.15, 1)
    np.clip(tile, 0, 1, out=tile)


_DRAW = {"blob": _blob, "stroke": _stroke, "paste": _paste, "gap": _gap}
