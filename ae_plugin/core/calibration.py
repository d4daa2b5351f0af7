"""Scores to probabilities: upper tails of reference scores, and split-conformal p-values.

Split-conformal p-values (Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005): with n
calibration rows that were never trained on, `p = (1 + #{calibration >= score}) / (n + 1)`. On fresh rows of the same
kind, `p <= a` happens with probability at most `a`, for every `a`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ae_plugin.core.values import Bools, Doubles, Floats, Longs

_POINTS = 256
_DROPPED_BITS = 13  # of a float32's 23: levels 0.1% apart
_FIRST, _LAST = (int(np.float32(2.0**power).view(np.int32)) >> _DROPPED_BITS for power in (-30, 40))


@dataclass(frozen=True)
class Tail:
    """Turns a non-negative statistic into nats of surprise: minus the log of its upper-tail probability.

    Attributes:
        at: float64 [k], increasing values of the statistic.
        nats: float64 [k], surprise at those values; beyond the last one it grows as `index * log(value)`.
        index: the tail's Pareto index, estimated from the largest twentieth (Hill, 1975).
    """

    at: Doubles
    nats: Doubles
    index: float

    @staticmethod
    def fit(values: Floats | Doubles) -> Tail:
        """Learn the tail from reference values, float [n]."""
        ordered = np.sort(np.asarray(values, np.float64))
        n = len(ordered)
        depth = np.unique(np.round(np.geomspace(1, n, min(_POINTS, n))).astype(int))[::-1]
        at, nats = ordered[n - depth], -np.log(depth / (n + 1))
        at, where = np.unique(at, return_index=True)
        top = ordered[-max(2, n // 20) :]
        floor = max(float(top[0]), 1e-12)
        index = 1.0 / max(float(np.mean(np.log(np.maximum(top, floor) / floor))), 1e-3)
        return Tail(at, nats[where], float(np.clip(index, 0.5, 10.0)))

    @cached_property
    def _levels(self) -> Floats:
        bits = np.arange(_FIRST, _LAST + 1, dtype=np.int32) << _DROPPED_BITS
        return self.exact(bits.view(np.float32)).astype(np.float32)

    def __call__(self, values: Floats) -> Floats:
        """Return the surprise of each value, in nats, float32 [n]: a look-up, with the values rounded down by 0.1%."""
        level = np.ascontiguousarray(values, np.float32).view(np.int32) >> _DROPPED_BITS
        level -= _FIRST
        return self._levels.take(level, mode="clip")

    def exact(self, values: Floats | Doubles) -> Doubles:
        """Return the surprise of each value, in nats, float64 [n]."""
        nats = np.interp(values, self.at, self.nats)
        last = max(float(self.at[-1]), 1e-12)
        beyond = values > last
        if beyond.any():
            nats[beyond] += self.index * np.log(values[beyond].astype(np.float64) / last)
        return nats


def p_values(scores: Floats, calibration: Floats) -> Floats:
    """Return the conformal p-value of each score.

    Args:
        scores: float32 [n], higher = more anomalous.
        calibration: float32 [m], scores of calibration rows in increasing order.

    Returns:
        float32 [n], from 1/(m+1) to 1.
    """
    at_least = len(calibration) - np.searchsorted(calibration, scores, side="left")
    return ((1.0 + at_least) / (len(calibration) + 1.0)).astype(np.float32)


def whole_levels(scores: Floats) -> Floats:
    """Round non-negative scores down to levels 0.1% apart, so that their p-values can be looked up."""
    bits = np.ascontiguousarray(scores, np.float32).view(np.int32)
    return (bits & np.int32(-(1 << _DROPPED_BITS))).view(np.float32)


class PValues:
    """Conformal p-values of scores on whole levels, looked up: a search for each row costs ten times as much.

    Args:
        calibration: float32 [m], scores of calibration rows on whole levels, in increasing order.
    """

    def __init__(self, calibration: Floats) -> None:
        bits = np.arange(_FIRST, _LAST + 1, dtype=np.int32) << _DROPPED_BITS
        levels = bits.view(np.float32)
        levels[0] = 0
        self._table = p_values(levels, calibration)

    def __call__(self, scores: Floats) -> Floats:
        """Return the p-value of each score, float32 [n]."""
        level = scores.view(np.int32) >> _DROPPED_BITS
        level -= _FIRST
        return self._table.take(level, mode="clip")


@dataclass(frozen=True)
class ColumnPValues:
    """Conformal p-values of cells, each by its own column's calibration errors: one search for all of them.

    Attributes:
        keys: int64, every calibration error as (column, bits of the float), increasing.
        ends: int64 [C], where each column's keys end.
    """

    keys: Longs
    ends: Longs

    @staticmethod
    def of(errors: Floats) -> ColumnPValues:
        """Learn from calibration cells' errors float32 [m, C], each column increasing, NaN last."""
        known = ~np.isnan(errors)
        keys = [_keys(index, column[: there.sum()]) for index, (column, there) in enumerate(_pairs(errors, known))]
        return ColumnPValues(np.concatenate([*keys, np.zeros(0, np.int64)]), np.cumsum(known.sum(axis=0)))

    def __call__(self, errors: Floats, asked: Bools) -> Floats:
        """Return the p-values of the asked cells, float32 [n, C], 1 elsewhere, for errors float32 [n, C]."""
        columns, rows = np.nonzero(asked.T)
        at_least = self.ends[columns] - np.searchsorted(self.keys, _keys(columns, errors[rows, columns]), side="left")
        held = np.diff(self.ends, prepend=0)[columns]
        out = np.ones(errors.shape, np.float32)
        out[rows, columns] = (1.0 + at_least) / (held + 1.0)
        return out

    @property
    def smallest(self) -> Floats:
        """The p-value of a cell beyond all of its column's calibration cells, float32 [C]."""
        return (1.0 / (np.diff(self.ends, prepend=0) + 1.0)).astype(np.float32)


@dataclass(frozen=True)
class CoreTails:
    """P-values of cells by the middle of their column's calibration errors, whatever their tail holds.

    Where a twentieth of the calibration cells are wrong themselves, none of them is beyond the others. So the tail is
    taken to fall off, from the 80th percentile of the errors' roots on, as fast as it does between the 50th and there.

    Attributes:
        middle: float32 [C], the median; infinite for columns that are not judged this way.
        edge: float32 [C], the 80th percentile.
    """

    middle: Floats
    edge: Floats

    @staticmethod
    def of(errors: Floats, judged: Bools) -> CoreTails:
        """Learn from calibration cells' errors float32 [m, C], NaN for none; `judged`: bool [C]."""
        known = judged & ~np.isnan(errors).all(axis=0)
        middle, edge = np.full((2, len(known)), np.inf, np.float32)
        if known.any():
            middle[known], edge[known] = np.nanquantile(np.sqrt(errors[:, known]), [0.5, 0.8], axis=0)
        return CoreTails(middle, edge)

    def __call__(self, errors: Floats, asked: Bools) -> Floats:
        """Return the p-values of the asked cells, float32 [n, C], 1 elsewhere, for errors float32 [n, C]."""
        judged = np.isfinite(self.middle)
        width = np.maximum(self.edge[judged] - self.middle[judged], np.float32(1e-6))
        beyond = (np.sqrt(errors[:, judged]) - self.edge[judged]) / width
        out = np.ones(errors.shape, np.float32)
        out[:, judged] = np.minimum(1, 0.2 * np.exp(-np.log(2.5) * beyond.clip(-2, 200)))
        return np.where(asked, out, np.float32(1))

    @property
    def smallest(self) -> Floats:
        """The p-value that always counts, float32 [C]: each cell is judged by itself, not as one of its row's."""
        return np.ones(len(self.middle), np.float32)


def _pairs(errors: Floats, known: Bools) -> Iterator[tuple[Floats, Bools]]:
    return zip(errors.T, known.T, strict=True)


def _keys(column: int | npt.NDArray[np.intp], errors: Floats) -> Longs:
    # The bits of floats that are not negative grow as they do.
    bits = np.ascontiguousarray(errors, np.float32).view(np.int32)
    return np.asarray((np.int64(column) << 32) | bits, np.int64)


def is_anomaly(p: Floats, limit: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which p-values raise an alarm, bool [n]; compared in the p-values' own precision."""
    return p <= np.float32(limit)


def threshold(calibration: Floats, alert_rate: float) -> float | None:
    """Score that a row must exceed to be flagged; None when no row can be.

    Args:
        calibration: float32 [m], scores of calibration rows in increasing order.
        alert_rate: share of normal rows that may be flagged.
    """
    allowed = math.floor(alert_rate * (len(calibration) + 1) + 1e-9) - 1
    return float(calibration[len(calibration) - 1 - allowed]) if allowed >= 0 and len(calibration) else None


def rows_needed(alert_rate: float) -> int:
    """Smallest calibration set in which an alarm at this rate can ever fire."""
    return math.ceil(1.0 / alert_rate - 1e-9) - 1
