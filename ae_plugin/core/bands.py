"""Why a row is anomalous: each cell beside what its row's other cells lead to expect of it.

A column's band is where the model expects a cell: the hidden-cell errors of calibration rows say how far a normal cell
lies from its expected value, and `LEVEL` of them lie within the band. A cell's `place` is its distance in units of the
band's half-width, so that 1 is the edge for every column, whatever its kind and its unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ae_plugin.core.cells import hidden_cell_errors
from ae_plugin.core.columns import CategorySpec, ColumnSpec, NumberSpec, TimeSpec
from ae_plugin.core.decode import as_text, expected_values
from ae_plugin.core.encoding import IMPOSSIBLE, NULL, UNJUDGED, VALUE
from ae_plugin.core.features import Encoded
from ae_plugin.core.scoring import Scorer, hidden_errors
from ae_plugin.core.values import Bools, Doubles, Floats, Longs, decoded

LEVEL = 0.99
_LEAST_ERROR = 1e-6


@dataclass(frozen=True)
class Lane:
    """One cell of a row beside its band.

    Attributes:
        column: its name.
        kind: of the column's spec.
        observed: what the cell holds, as text; None for null.
        expected: what the row's other cells lead to expect, as text; None where the model cannot tell.
        low: lower end of the band, as text; of numbers and times only.
        high: upper end.
        place: signed distance from what was expected, in half-widths of the band; positive where there is no side.
        share: of a category, the chance that the model gives the expected value; else None.
        seen: of a category, the share of training rows that hold the observed value, 0 for one never seen; else None.
        level: share of normal rows whose cell lies within the band.
        rows: calibration cells that this is known from.
        beyond: how many of them lie at least as far from what was expected.
        wrong: the cell was found wrong.
    """

    column: str
    kind: str
    observed: str | None
    expected: str | None
    low: str | None
    high: str | None
    place: float
    share: float | None
    seen: float | None
    level: float
    rows: int
    beyond: int
    wrong: bool


@dataclass(frozen=True)
class Bands:
    """How far normal cells lie from what is expected, by column: all [C].

    Attributes:
        reach: float64, the hidden-cell error that `level` of calibration cells keep within, scaled units².
        level: float64, `LEVEL`, or less where calibration cells are too few for it.
        rows: int64, calibration cells.
    """

    reach: Doubles
    level: Doubles
    rows: Longs

    @staticmethod
    def of(cells: Floats) -> Bands:
        """Learn from hidden-cell errors of calibration cells float32 [k, C], each column increasing, NaN last."""
        rows = np.asarray((~np.isnan(cells)).sum(axis=0), np.int64)
        rank = np.minimum(np.ceil(LEVEL * (rows + 1)).astype(np.int64), rows)
        reach = np.array([cells[r - 1, c] if r else np.inf for c, r in enumerate(rank)], np.float64)
        return Bands(np.maximum(reach, _LEAST_ERROR), np.minimum(LEVEL, rows / (rows + 1.0)), rows)


def explain_rows(
    scorer: Scorer,
    batch: pa.RecordBatch,
    wrong: Sequence[Sequence[str]],
    reference: float | None = None,
    most: int = 12,
) -> list[list[Lane]]:
    """Explain the rows of a record batch, m of them: few, since each column that is shown costs a pass of its own.

    Args:
        scorer: of the version that scored them.
        batch: the rows, as they are in the source.
        wrong: of each row, the columns found wrong: they stay hidden while the others are judged.
        reference: seconds since 1970 of the partition's own date, when it has one.
        most: columns to show of each row: the wrong ones and the oddest others, in the source's order.
    """
    encoded, names = scorer.encode(batch, reference), scorer.encoder.names
    # Arrow cannot take rows of every type that a source may have.
    columns = [decoded(batch.column(batch.schema.get_field_index(name))) for name in names]
    batch = pa.RecordBatch.from_arrays(columns, names=names)
    named = np.array([[name in set(row) for name in names] for row in wrong], bool)
    named = named.reshape(encoded.state.shape)
    shown = _shown(scorer, encoded, named, most)
    errors = hidden_cell_errors(scorer, encoded, named, shown)
    bands = Bands.of(scorer.reference.cells)
    rows: list[list[Lane]] = [[] for _ in range(len(encoded))]
    for column in np.flatnonzero(shown.any(axis=0)):
        own = np.flatnonzero(shown[:, column])
        part = _Column(scorer, bands, int(column), reference)
        lanes = part.lanes(batch.take(pa.array(own)), encoded.take(own), named[own], errors[own, column])
        for row, lane in zip(own, lanes, strict=True):
            rows[row].append(lane)
    return rows


def _shown(scorer: Scorer, encoded: Encoded, named: Bools, most: int) -> Bools:
    """Which columns to show of each row, bool [m, C]."""
    judged = encoded.state != UNJUDGED
    columns = judged.shape[1]
    if columns <= most:
        return np.asarray(judged)
    nats = scorer.reference.hidden.surprise(
        hidden_errors(scorer.encoder, scorer.network, scorer.reference.groups, encoded)
    )
    rank = np.argsort(np.argsort(-np.where(named, np.inf, nats), axis=1, kind="stable"), axis=1)
    return np.asarray(judged & (rank < most))


@dataclass(frozen=True)
class _Column:
    """One column, whose cells are put beside their bands."""

    scorer: Scorer
    bands: Bands
    index: int
    reference: float | None

    @property
    def spec(self) -> ColumnSpec:
        return self.scorer.encoder.specs[self.index]

    def lanes(self, batch: pa.RecordBatch, encoded: Encoded, wrong: Bools, errors: Floats) -> list[Lane]:
        """Lanes of the cells of m rows, whose errors [m] were found with `wrong` [m, C] hidden too."""
        spec, encoder = self.spec, self.scorer.encoder
        # As `fill` does it, so that what is said of a wrong cell is what `cells/` holds.
        gone = wrong | ((encoded.state == NULL) & wrong[:, [self.index]])
        seen = encoder.visible(encoded) * ~gone
        seen[:, self.index] = 0
        where = encoder.slices[self.index]
        whole = self.scorer.expect(encoded.x, seen)
        # Not the errors it was judged by: the cell is drawn beside the value that is told.
        features, apart = whole[:, where], encoder.column_errors(encoded, whole)[:, self.index]
        observed = decoded(batch.column(batch.schema.get_field_index(spec.name)))
        texts, expected = as_text(observed).to_pylist(), self._decoded(features, observed)
        low, high = self._ends(features, observed)
        state = encoded.state[:, self.index]
        there = state == VALUE
        sided = isinstance(spec, (NumberSpec, TimeSpec))
        below = there & (encoded.x[:, where.start] < features[:, 0]) if sided else np.zeros(len(there), bool)
        reach = float(self.bands.reach[self.index])
        known = self.scorer.reference.cells[: self.bands.rows[self.index], self.index]
        beyond = len(known) - np.searchsorted(known, errors, side="left")
        return [
            Lane(
                column=spec.name,
                kind=spec.kind,
                observed=texts[row],
                expected=expected[row],
                low=low[row],
                high=high[row],
                place=math.sqrt(float(apart[row]) / reach) * (-1 if below[row] else 1),
                share=_share(spec, features[row], expected[row]),
                seen=_seen(spec, texts[row], bool(state[row] == IMPOSSIBLE)),
                level=float(self.bands.level[self.index]),
                rows=int(self.bands.rows[self.index]),
                beyond=int(beyond[row]),
                wrong=bool(wrong[row, self.index]),
            )
            for row in range(len(encoded))
        ]

    def _decoded(self, features: Floats, observed: pa.Array) -> list[str | None]:
        values = expected_values(self.spec, features, observed, self.reference)
        return list(as_text(values).to_pylist())

    def _ends(self, features: Floats, observed: pa.Array) -> tuple[list[str | None], list[str | None]]:
        """Both ends of the band, in the column's own units and within its training range."""
        spec = self.spec
        if not isinstance(spec, (NumberSpec, TimeSpec)):
            nothing: list[str | None] = [None] * len(features)
            return nothing, nothing
        if isinstance(spec, TimeSpec):
            spec = spec.model_copy(update={"cycles": []})  # an end is so far from the expected age, at any hour
        ends: list[list[str | None]] = []
        for side in (-1, 1):
            moved = features.copy()
            moved[:, 0] += np.float32(side * math.sqrt(float(self.bands.reach[self.index])))
            values = expected_values(spec, moved, observed, self.reference)
            ends.append(list(as_text(values).to_pylist()))
        return ends[0], ends[1]


def _share(spec: ColumnSpec, features: Floats, expected: str | None) -> float | None:
    if not isinstance(spec, CategorySpec) or expected not in spec.values:
        return None
    place = spec.values.index(expected)
    return float(np.clip(features[place] / spec.scale + spec.rates[place], 0, 1))


def _seen(spec: ColumnSpec, observed: str | None, never: bool) -> float | None:
    if not isinstance(spec, CategorySpec) or observed is None:
        return None
    return 0.0 if never or observed not in spec.values else spec.rates[spec.values.index(observed)]
