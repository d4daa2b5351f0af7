"""How far a partition's p-values are from those of the calibration rows, in one number.

Rows like history's have p-values spread evenly from 0 to 1. The number is the largest difference between the share of
the partition's rows and the share of calibration rows with a p-value of at most a, over all a in whole hundredths (the
two samples' Kolmogorov distance): 0 where they agree, near 1 where all rows are odder than history ever was. Counts by
hundredth are all that is kept: they add up over record batches, shards and files, however those are cut.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from ae_plugin.core.calibration import p_values
from ae_plugin.core.values import Doubles, Floats

PARTS = 100


def count_p_values(p: Floats, calibration_rows: int) -> Counter[int]:
    """Count p-values float32 [n] by the hundredth that they lie in, from 1 to 100.

    Args:
        p: each a whole multiple of 1 / (calibration_rows + 1).
        calibration_rows: that they are made of.
    """
    steps = calibration_rows + 1
    # In whole numbers: a p-value of 0.05 in float32 is a little more than 5 hundredths.
    rank = np.rint(p * np.float64(steps)).astype(np.int64)
    parts, counts = np.unique(-(-rank * PARTS // steps), return_counts=True)
    return Counter(dict(zip(parts.tolist(), counts.tolist(), strict=True)))


def p_value_drift(counts: Counter[int], calibration: Floats) -> float | None:
    """How far counted p-values are from the calibration rows' own; None when there are none.

    Args:
        counts: see `count_p_values`.
        calibration: float32 [m], scores of the calibration rows in increasing order.
    """
    if not counts or not len(calibration):
        return None
    # Their own and not the even spread itself: of rows that are copies of one another many have one p-value.
    usual = count_p_values(p_values(calibration, calibration), len(calibration))
    return round(float(np.abs(_shares(counts) - _shares(usual)).max()), 6)


def _shares(counts: Counter[int]) -> Doubles:
    """Share of rows up to each hundredth, float64 [100]."""
    found = np.cumsum([counts[part] for part in range(1, PARTS + 1)])
    return np.asarray(found / found[-1], np.float64)


def by_chance(rows: int, calibration_rows: int) -> float:
    """The drift that so many rows like history's stay below ninety-nine times in a hundred (Smirnov, 1939)."""
    return float(min(1.63 * (1 / max(rows, 1) + 1 / max(calibration_rows, 1)) ** 0.5, 1.0))
