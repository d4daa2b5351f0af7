"""What each number of a code stands for: which columns move when it does, and how many bits it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ae_plugin.core.columns import CategorySpec, NumberSpec, TextSpec
from ae_plugin.core.features import TableEncoder
from ae_plugin.core.reduction import Reducer
from ae_plugin.core.values import Floats

MOST, LEAST, BESIDE = 5, 0.1, 1 / 3
"""Columns named of a number: at most so many, that move so far (scaled units), and so far beside the first of them."""


@dataclass(frozen=True)
class Move:
    """How one column moves when a number of the code goes up by a standard deviation, the others held.

    Attributes:
        column: its name.
        by: scaled units, with a sign for numbers and times; how far for words.
        up: word that becomes likelier most; None for numbers.
        down: word that becomes less likely most; None for numbers.
    """

    column: str
    by: float
    up: str | None = None
    down: str | None = None

    def __str__(self) -> str:
        if self.up is not None and self.down is not None:
            return f"{self.column} {self.down} to {self.up}"
        return f"{self.column} {'up' if self.by > 0 else 'down'}"


def moves(reducer: Reducer, encoder: TableEncoder, x: Floats) -> list[list[Move]]:
    """Which columns move with each number that is kept, those that move farthest first.

    Args:
        reducer: of codes.
        encoder: of the same rows.
        x: float32 [n, F], rows to start from; the mean of how they move is told.
    """
    codes, out = reducer.encode(x), []
    spread = codes.std(axis=0)
    for number in range(reducer.kept):
        step = np.zeros(codes.shape[1], np.float32)
        step[number] = spread[number]
        moved = (reducer.decode(codes + step) - reducer.decode(codes - step)).mean(axis=0, dtype=np.float64) / 2
        found = [_move(encoder, column, moved) for column in range(len(encoder.specs))]
        found.sort(key=lambda move: -abs(move.by))
        least = max(LEAST, BESIDE * abs(found[0].by))
        out.append([move for move in found[:MOST] if abs(move.by) >= least])
    return out


def _move(encoder: TableEncoder, column: int, moved: np.ndarray) -> Move:
    spec, where = encoder.specs[column], encoder.slices[column]
    values = moved[where][: spec.value_width]
    if isinstance(spec, CategorySpec):
        up, down = int(values.argmax()), int(values.argmin())
        return Move(spec.name, float(np.sqrt(np.square(values).sum())), spec.values[up], spec.values[down])
    if isinstance(spec, TextSpec):
        return Move(spec.name, float(np.sqrt(np.square(values).sum())))
    by = float(values[0])
    return Move(spec.name, by if isinstance(spec, NumberSpec) else float(np.copysign(np.linalg.norm(values), by)))


def bits(train: Floats, held_out: Floats, step: float) -> float:
    """Bits a row that codes cost when their numbers are rounded to multiples of a step: ideal, number by number.

    Args:
        train: float32 [n, k], codes that the shares of multiples are learned from.
        held_out: float32 [m, k], codes that are written.
        step: in scaled units.
    """
    total = 0.0
    for known, told in zip(np.rint(train / step).T, np.rint(held_out / step).T, strict=True):
        values, counts = np.unique(known, return_counts=True)
        at = np.clip(np.searchsorted(values, told), 0, len(values) - 1)
        seen = values[at] == told
        # Half a count for each value and for one never seen, whose distance is then written out.
        shares = np.where(seen, counts[at] + 0.5, 0.5) / (counts.sum() + 0.5 * (len(values) + 1))
        extra = np.where(seen, 0, 2 * np.log2(1 + np.abs(told)) + 1)
        total += float((-np.log2(shares) + extra).mean())
    return total
