"""Anomaly scores counted in bins that grow with them: counts add up over record batches, shards and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ae_plugin.core.values import Floats

STEPS = 16
"""Bins to a step of arcsinh: each is some 6% wide where scores are large, and 1/16 of a unit where they are near 0."""
MOST = 48
"""Bins that are shown."""


def unit_of(calibration: Floats) -> float:
    """The power of two next below the middle calibration score, at most 1: what scores are counted in.

    Args:
        calibration: float32 [m], increasing.
    """
    middle = float(calibration[len(calibration) // 2]) if len(calibration) else 1.0
    return min(2.0 ** np.floor(np.log2(middle)), 1.0) if middle > 0 else 1.0


def count_scores(scores: Floats, unit: float) -> Counter[int]:
    """Count finite scores float32 [n] by bin."""
    known = scores[np.isfinite(scores)].astype(np.float64) / unit
    bins, counts = np.unique(np.floor(np.arcsinh(known) * STEPS).astype(np.int64), return_counts=True)
    return Counter(dict(zip(bins.tolist(), counts.tolist(), strict=True)))


def quantiles(counts: Counter[int], shares: Sequence[float], unit: float) -> dict[str, float]:
    """The scores that these shares of the rows stay within, to the middle of a bin; empty when there are no rows."""
    if not counts:
        return {}
    bins = np.array(sorted(counts))
    within = np.cumsum([counts[int(one)] for one in bins])
    found = np.searchsorted(within, np.asarray(shares) * within[-1])
    middles = _edges(bins[np.minimum(found, len(bins) - 1)] + 0.5) * unit
    return {f"{share:g}": float(f"{middle:.4g}") for share, middle in zip(shares, middles, strict=True)}


def side_by_side(ours: Counter[int], theirs: Counter[int], unit: float) -> tuple[list[float], list[int], list[int]]:
    """Two samples in the same bins, at most `MOST` of them.

    Returns:
        k + 1 edges, increasing, and k counts of each.
    """
    seen = sorted({*ours, *theirs})
    if not seen:
        return [], [], []
    width = -(-(seen[-1] + 1 - seen[0]) // MOST)
    starts = np.arange(seen[0], seen[-1] + 1, width)
    edges = [float(f"{edge:.5g}") for edge in _edges(np.append(starts, starts[-1] + width)) * unit]
    rows, others = (_merged(counts, seen[0], width, len(starts)) for counts in (ours, theirs))
    return edges, rows, others


def _merged(counts: Counter[int], first: int, width: int, parts: int) -> list[int]:
    out = [0] * parts
    for one, count in counts.items():
        out[(one - first) // width] += count
    return out


def _edges(bins: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(np.sinh(bins / STEPS), np.float64)
