"""Sliding DCT shrinkage: noise of one known level out of planes, with nothing learned.

Every 8 x 8 window (and 16 x 16, every fourth) is seen in its cosine transform, in which a picture needs few numbers and
noise needs all. Small numbers are dropped: that is the draft. It then says how much of each number is picture, and the
noisy numbers are shrunk by it (Wiener). Windows that needed fewer numbers count more where they overlap (Yaroslavsky,
Egiazarian and Astola 2001; the weights are of Dabov and others 2007).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.fft import dct

from ae_plugin.core.values import Floats

_DRAFTS = ((8, 2, 2.4), (16, 4, 2.5))
"""Windows of the draft: side, step, and the limit below which a number is dropped, in noise levels."""
_SIDE = 8
_COLUMNS = 8_192
"""Windows seen at a time: their numbers stay in a core's cache."""


def shrink(planes: Floats, levels: Floats) -> tuple[Floats, Floats]:
    """Take noise out of planes float32 [n, H, W], each with its own noise level (standard deviation), float32 [n].

    Returns:
        The draft and the shrunk planes, both of the same shape.
    """
    draft = drop(planes, levels)
    return draft, _slide(planes, draft, levels, _SIDE, 1, 0.0)


def drop(planes: Floats, levels: Floats) -> Floats:
    """The draft alone: the mean of what is left without small numbers, over both sizes of windows."""
    small, large = (_slide(planes, None, levels, side, step, limit) for side, step, limit in _DRAFTS)
    return np.asarray((small + large) / 2)


def _slide(planes: Floats, draft: Floats | None, levels: Floats, side: int, step: int, limit: float) -> Floats:
    """One pass over all windows: numbers below the limit are dropped, or, with a draft, all are shrunk by it."""
    _, height, width = planes.shape
    around, basis = side - step, _basis(side)
    beyond = [(around, around + (side - length - 2 * around) % step) for length in (height, width)]
    noisy = np.pad(planes, ((0, 0), *beyond), mode="symmetric")
    known = None if draft is None else np.pad(draft, ((0, 0), *beyond), mode="symmetric")
    total, weights = np.zeros_like(noisy), np.zeros_like(noisy)
    down, across = ((length - side) // step + 1 for length in noisy.shape[1:])
    rows = max(_COLUMNS // (across * len(planes)), 1)
    for top in range(0, down, rows):
        count = min(rows, down - top)
        here = slice(top * step, (top + count - 1) * step + side)
        shape = len(planes), count, across
        level = np.repeat(levels, count * across)
        numbers = basis @ _windows(noisy[:, here], side, step, shape)
        if known is None:
            share = np.asarray(np.abs(numbers) > np.float32(limit) * level, np.float32)
        else:
            share = np.square(basis @ _windows(known[:, here], side, step, shape))
            share /= share + np.square(level) + np.float32(1e-12)
        share[0] = 1
        weight = 1 / np.square(share).sum(axis=0)
        numbers *= share * weight
        back = (basis.T @ numbers).reshape(side, side, *shape)
        own, owed = total[:, here], weights[:, here]
        weight = weight.reshape(shape)
        for y in range(side):
            for x in range(side):
                at = _at(y, x, step, shape)
                own[at] += back[y, x]
                owed[at] += weight
    inside = np.s_[:, around : around + height, around : around + width]
    return np.asarray(total[inside] / weights[inside])


def _windows(planes: Floats, side: int, step: int, shape: tuple[int, int, int]) -> Floats:
    """All windows of some rows, float32 [side², n]."""
    out = np.empty((side, side, *shape), np.float32)
    for y in range(side):
        for x in range(side):
            out[y, x] = planes[_at(y, x, step, shape)]
    return out.reshape(side * side, -1)


def _at(y: int, x: int, step: int, shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    """Pixel (y, x) of all windows."""
    _, down, across = shape
    return np.s_[:, y : y + (down - 1) * step + 1 : step, x : x + (across - 1) * step + 1 : step]


@cache
def _basis(side: int) -> Floats:
    """The cosine transform of a window's side² pixels in a row, orthonormal, float32 [side², side²]."""
    one = dct(np.eye(side), axis=0, norm="ortho")
    return np.asarray(np.kron(one, one), np.float32)
