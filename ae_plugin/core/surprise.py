"""How surprising a cell's error is, by its own column: table look-ups, since every cell of every row is asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ae_plugin.core.calibration import Tail
from ae_plugin.core.values import Doubles, Floats

FOLDS = 5
_SHIFT = 19  # float32 keeps 4 bits of its mantissa: 16 levels an octave, 4% apart
_LOWEST = int(np.float32(2.0**-30).view(np.int32)) >> _SHIFT
_LEVELS = (int(np.float32(2.0**22).view(np.int32)) >> _SHIFT) - _LOWEST


@dataclass(frozen=True)
class ColumnTails:
    """One upper tail a column.

    Attributes:
        at: float64 [C, P], increasing errors; the last one is repeated to fill a row.
        nats: float64 [C, P], surprise at those errors.
        index: float64 [C], Pareto index beyond the last.
    """

    at: Doubles
    nats: Doubles
    index: Doubles

    @staticmethod
    def fit(errors: Floats) -> ColumnTails:
        """Learn from held-out rows' cell errors, float32 [n, C]."""
        tails = [Tail.fit(column) for column in errors.T]
        points = max(len(tail.at) for tail in tails)
        pad = [points - len(tail.at) for tail in tails]
        return ColumnTails(
            np.stack([np.pad(tail.at, (0, more), mode="edge") for tail, more in zip(tails, pad, strict=True)]),
            np.stack([np.pad(tail.nats, (0, more), mode="edge") for tail, more in zip(tails, pad, strict=True)]),
            np.array([tail.index for tail in tails]),
        )

    def quantile(self, share: float) -> Floats:
        """The error that this share of each column's held-out cells stay within, float32 [C]."""
        nats = -np.log(1 - share)
        found = [np.interp(nats, known, at) for at, known in zip(self.at, self.nats, strict=True)]
        return np.asarray(found, np.float32)

    @staticmethod
    def fresh_worst(errors: Floats) -> Floats:
        """Largest surprise of each row's cells by tails that it took no part in, float32 [n]: by the folds.

        By tails learned on the same rows, the largest of many columns looks far less surprising than a new row's does.
        """
        if len(errors) < FOLDS:
            return ColumnTails.fit(errors).worst(errors)
        out, fold = np.zeros(len(errors), np.float32), np.arange(len(errors)) % FOLDS
        for turn in range(FOLDS):
            asked = fold == turn
            out[asked] = ColumnTails.fit(errors[~asked]).worst(errors[asked])
        return out

    @cached_property
    def _table(self) -> Floats:
        bits = (np.arange(_LEVELS, dtype=np.int32) + _LOWEST) << _SHIFT
        levels = bits.view(np.float32)
        rows = []
        for at, nats, index in zip(self.at, self.nats, self.index, strict=True):
            keep = np.r_[True, np.diff(at) > 0]
            rows.append(Tail(at[keep], nats[keep], float(index)).exact(levels))
        return np.concatenate(rows).astype(np.float32)

    def surprise(self, errors: Floats) -> Floats:
        """Surprise of each cell in nats, float32 [n, C], for non-negative errors float32 [n, C]."""
        return self._look_up(errors).T

    def worst(self, errors: Floats) -> Floats:
        """Largest surprise of each row's cells, float32 [n]."""
        return np.asarray(self._look_up(errors).max(axis=0))

    def _look_up(self, errors: Floats) -> Floats:
        # All columns at once: threads that score share one interpreter, and each call is a turn to wait for.
        level = np.ascontiguousarray(errors.T, np.float32).view(np.int32) >> _SHIFT
        level -= _LOWEST
        np.maximum(level, 0, out=level)
        np.minimum(level, _LEVELS - 1, out=level)
        level += (np.arange(len(level), dtype=np.int32) * _LEVELS)[:, None]
        return self._table.take(level)
