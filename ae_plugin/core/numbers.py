"""Number columns by the block: encoded and decoded together, because a call a column costs more than its arithmetic.

A column on its own goes the same way as a block of one, so that its bits do not depend on which other columns of a
record batch happen to hold a null.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ae_plugin.core.columns import GRID, NumberSpec
from ae_plugin.core.values import Bins, Doubles, Floats

TILE = 8192
"""Rows worked on at a time, so that what one step leaves is in the cache for the next."""


def squash(z: Floats) -> Floats:
    """Leave |z| <= 3 alone and bend the rest, up to 1e30, to sign·(3 + log1p(|z| - 3)); in place, z in C order."""
    flat = z.reshape(-1)
    far = np.flatnonzero(np.abs(flat) > 3)
    if len(far):
        tail = flat[far]
        flat[far] = np.sign(tail) * (3 + np.log1p(np.minimum(np.abs(tail), 1e30) - 3))
    return z


def unsquash(z: Floats) -> Floats:
    """Undo `squash`; beyond 3 + log1p(1e6) the value no longer grows."""
    out = np.array(z, order="C")
    flat = out.reshape(-1)
    far = np.flatnonzero(np.abs(flat) > 3)
    if len(far):
        tail = flat[far]
        flat[far] = np.sign(tail) * (3 + np.expm1(np.minimum(np.abs(tail) - 3, 13.8)))
    return out


def grid(z: Floats) -> Bins:
    """Count a z-score into one of GRID bins over [-8, 8], int16, of z's shape."""
    scaled = z * np.float32(GRID / 16)
    scaled += np.float32(GRID / 2)
    np.maximum(scaled, 0, out=scaled)
    np.minimum(scaled, GRID - 1, out=scaled)
    return scaled.astype(np.int16)


def encode_numbers(columns: Sequence[Floats | Doubles], specs: Sequence[NumberSpec]) -> Floats:
    """Squashed z-scores of k number columns of one dtype, float32 [k, n]; NaN and infinity become 0.

    Args:
        columns: k arrays [n], all float32 or all float64; z-scores are taken in that precision.
        specs: theirs.
    """
    rows, dtype = len(columns[0]), columns[0].dtype
    mean, std = (np.array([[getattr(spec, name)] for spec in specs], dtype) for name in ("mean", "std"))
    out = np.empty((len(specs), rows), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for part in tiles(rows):
            z = np.stack([column[part] for column in columns])
            np.subtract(z, mean, out=z)
            np.divide(z, std, out=z)
            narrow = z.astype(np.float32, copy=False)
            if not np.isfinite(narrow.sum()):
                narrow[~np.isfinite([column[part] for column in columns])] = 0
            out[:, part] = squash(narrow)
    return out


def decode_numbers(
    z: Floats, specs: Sequence[NumberSpec], dtype: npt.DTypeLike
) -> npt.NDArray[np.float32] | npt.NDArray[np.float64]:
    """Values inside the training range, with the digits that training had: dtype [k, n] from float32 [k, n]."""
    mean, std, low, high = (
        np.array([[getattr(spec, name)] for spec in specs], dtype) for name in ("mean", "std", "low", "high")
    )
    out = np.empty(z.shape, dtype)
    for part in tiles(z.shape[1]):
        values = unsquash(z[:, part]).astype(dtype, copy=False)
        with np.errstate(over="ignore"):  # what is beyond all numbers is cut to low..high too
            values *= std
            values += mean
        np.maximum(values, low, out=values)
        np.minimum(values, high, out=out[:, part])
    for row, spec in zip(out, specs, strict=True):
        if spec.digits is not None:
            np.round(row, spec.digits, out=row)
    return out


def tiles(rows: int) -> Iterator[slice]:
    """Cut rows into pieces that fit a core's cache."""
    return (slice(start, min(start + TILE, rows)) for start in range(0, rows, TILE))
