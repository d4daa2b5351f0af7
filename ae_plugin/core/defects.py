"""Defects that a network learns to undo, put into good tiles: a place of some shape, and what happened there."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, grey_dilation, grey_erosion, map_coordinates

from ae_plugin.core.values import Bools, Floats

NOISE = 0.1
VISIBLE = 0.08
"""Change of a pixel, of the range of brightness, from which on it is a defect that can be seen."""
_FAINT = 0.3
"""How many let the good tile shine through. None fade out at their edges: with such ones nothing was learned."""


def spoil(tiles: Floats, rng: np.random.Generator, *, noisy: float = 0.5) -> tuple[Floats, Bools]:
    """Give most tiles a few defects.

    Args:
        tiles: float32 [n, h, w, C] in 0..1, good.
        rng: what to draw from.
        noisy: share of the tiles that get noise as well, which is no defect: it is nowhere in particular.

    Returns:
        The tiles, spoilt, and where a defect can be seen, bool [n, h, w].
    """
    out = tiles.copy()
    for index in range(len(out)):
        for _ in range(rng.integers(0, 4)):
            kind = KINDS[rng.integers(len(KINDS))]
            out[index] = spoil_one(out[index], tiles[rng.integers(len(tiles))], kind, rng)
    seen = np.abs(out - tiles).max(axis=3) > VISIBLE
    loud = rng.uniform(size=len(out)) < noisy
    strength = rng.uniform(0, NOISE, (loud.sum(), 1, 1, 1)).astype(np.float32)
    out[loud] += strength * rng.standard_normal(out[loud].shape, np.float32)
    return np.clip(out, 0, 1), seen


def spoil_one(tile: Floats, other: Floats, kind: str, rng: np.random.Generator) -> Floats:
    """A copy of a tile float32 [h, w, C] with one defect of a kind; pasted pieces come from another tile."""
    height, width, _ = tile.shape
    where = _PLACES[rng.integers(len(_PLACES))](height, width, rng).astype(np.float32)
    if rng.uniform() < _FAINT:
        where *= np.float32(rng.uniform(0.3, 1))
    new = np.clip(_HAPPENED[kind](tile, other, rng), 0, 1)
    return np.asarray(tile + where[..., None] * (new - tile), np.float32)


def _turned(height: int, width: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Coordinates of each pixel along and across a random direction, from a random place."""
    y, x = np.ogrid[:height, :width]
    y, x, turn = y - rng.uniform(0, height), x - rng.uniform(0, width), rng.uniform(0, np.pi)
    return y * np.sin(turn) + x * np.cos(turn), x * np.sin(turn) - y * np.cos(turn)


def _radius(least: float, part: float, height: int, width: int, rng: np.random.Generator) -> float:
    """As often small as large, up to a part of the tile's shorter side."""
    return float(np.exp(rng.uniform(np.log(least), np.log(max(1.5 * least, min(height, width) * part)))))


def _ellipse(height: int, width: int, rng: np.random.Generator) -> Bools:
    along, across = _turned(height, width, rng)
    longer, shorter = (_radius(1, 1 / 6, height, width, rng) for _ in range(2))
    return np.asarray((along / longer) ** 2 + (across / shorter) ** 2 <= 1)


def _stroke(height: int, width: int, rng: np.random.Generator) -> Bools:
    """A line, straight or bent a little, of one to four pixels' width."""
    along, across = _turned(height, width, rng)
    length = rng.uniform(3, max(4, min(height, width) / 2))
    return np.asarray(
        (np.abs(across + rng.normal(0, 0.02) * along**2) <= rng.uniform(0.5, 2)) & (np.abs(along) <= length / 2)
    )


def _box(height: int, width: int, rng: np.random.Generator) -> Bools:
    y, x = np.ogrid[:height, :width]
    tall, wide = (_radius(1.5, 1 / 5, height, width, rng) for _ in range(2))
    return np.asarray((np.abs(y - rng.uniform(0, height)) <= tall) & (np.abs(x - rng.uniform(0, width)) <= wide))


def _ragged(height: int, width: int, rng: np.random.Generator) -> Bools:
    """What is left of a disc where smooth noise is high."""
    along, across = _turned(height, width, rng)
    rough = gaussian_filter(rng.standard_normal((height, width), np.float32), rng.uniform(1, 3))
    radius = _radius(2, 1 / 5, height, width, rng)
    return np.asarray(rough / rough.std() - (along**2 + across**2) / radius**2 > -0.7)


def _opposite(tile: Floats, _other: Floats, _rng: np.random.Generator) -> Floats:
    return 1 - tile


def _shift(tile: Floats, _: Floats, rng: np.random.Generator) -> Floats:
    """Brighter or darker."""
    return np.asarray(tile + np.float32(rng.choice([-1, 1]) * rng.uniform(0.15, 1)))


def _own(tile: Floats, _: Floats, rng: np.random.Generator) -> Floats:
    """A colour that the tile has elsewhere: a thing where none should be, or none where one should be."""
    height, width, _ = tile.shape
    return np.broadcast_to(tile[rng.integers(height), rng.integers(width)], tile.shape)


def _piece(tile: Floats, other: Floats, rng: np.random.Generator) -> Floats:
    """A piece of another tile, from anywhere in it."""
    height, width, _ = tile.shape
    return np.roll(other, (rng.integers(height), rng.integers(width)), (0, 1))


def _gap(tile: Floats, _: Floats, rng: np.random.Generator) -> Floats:
    """Pixels that were lost: any one colour."""
    return np.broadcast_to(rng.random(tile.shape[2], np.float32), tile.shape)


def _grown(tile: Floats, _: Floats, rng: np.random.Generator) -> Floats:
    """What is bright is wider there, or thinner."""
    size = int(rng.integers(3, 8))
    return np.asarray((grey_dilation if rng.uniform() < 0.5 else grey_erosion)(tile, (size, size, 1)))


def _moved(tile: Floats, _: Floats, rng: np.random.Generator) -> Floats:
    """What lies a few pixels away."""
    down, right = rng.normal(0, 4, 2)
    y, x = np.mgrid[: tile.shape[0], : tile.shape[1]]
    moved = [
        map_coordinates(channel, [y + down, x + right], order=1, mode="reflect") for channel in np.moveaxis(tile, 2, 0)
    ]
    return np.stack(moved, axis=2)


_PLACES = (_ellipse, _stroke, _box, _ragged)
_HAPPENED = {
    "opposite": _opposite,
    "shift": _shift,
    "own": _own,
    "piece": _piece,
    "gap": _gap,
    "grown": _grown,
    "moved": _moved,
}
KINDS = tuple(_HAPPENED)
"""What may have happened."""
