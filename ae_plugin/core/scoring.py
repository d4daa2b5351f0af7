"""One row, one score: is the row odd as a whole, or because of one cell?

As a whole, three views, each turned into nats of surprise (minus log upper-tail probability), then added up:

    near      distance from rows of history, in values and latent code together; counts twice
    tail      how rare each cell is in its own column; keeps contaminated history from hiding extremes
    clean     mean cell error with every cell visible; counts half, since a network copies a part of what it sees

Because of one cell, the largest surprise of any cell, each measured by its own column's errors:

    clean     with every cell visible
    hidden    with the cell predicted from other columns (a few fixed groups are hidden in turn). This shows what a
              network without a bottleneck would copy through; only rows that already look odd (a twentieth of
              normal ones) are worth the extra passes

A row's score is the larger of the two, the cell's part less log 2: a row has many cells to be odd in.
In rows with a value never seen, or a gap where gaps are rare, it is more by log 10: no doubt which cell that is.

`method: reconstruction` scores rows by their mean cell error alone: less is found, in half the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from ae_plugin.core.blend import Blend
from ae_plugin.core.calibration import ColumnPValues, CoreTails, PValues, Tail, is_anomaly, whole_levels
from ae_plugin.core.encoding import IMPOSSIBLE, NULL, UNJUDGED
from ae_plugin.core.features import Encoded, TableEncoder, add_columns
from ae_plugin.core.neighbours import Indices, Neighbours
from ae_plugin.core.rules import Rules
from ae_plugin.core.surprise import ColumnTails
from ae_plugin.core.values import Bools, Floats

if TYPE_CHECKING:
    from ae_plugin.core.intervals import Intervals

BLOCKS = (64, 256, 1024)
"""Rows the network sees at a time: whole blocks of few sizes, so that a runtime sets itself up once for each."""

Method = Literal["combined", "reconstruction"]
BEYOND = 0.05
"""Share of held-out rows, and of a column's held-out cells, that count as odd."""
CELL_HANDICAP, SURE = np.float32(np.log(2)), np.float32(np.log(10))
WEIGHTS = {"near": np.float32(2), "tail": np.float32(1), "clean": np.float32(0.5)}

Network = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""(x [n, F] with hidden cells 0, visible [n, C]) -> (reconstruction [n, F], latent code [n, L]), all float32."""


@dataclass(frozen=True)
class Reference:
    """What training rows look like to the score; every array is saved beside the weights.

    Attributes:
        near: the rows that distance is measured from.
        tails: float32 [total bins], surprise of a cell by the bin it falls in, in nats.
        groups: bool [K, C], the columns hidden together in each masked pass.
        views: upper tails; near and tail of training rows; clean, row and cell (these two are compared) of others.
        clean: each column's tail of cell errors with every cell visible.
        hidden: the same with the cell's group hidden.
        odd: surprise from which on a row is worth the masked passes.
        calibration: float32 [m], row scores of the calibration set, increasing.
        calibration_errors: float32 [m], mean cell errors of the same rows, increasing.
        cells: float32 [k, C], hidden-cell errors of calibration cells, each column increasing; NaN last.
        rarity: float32 [C], what a nat of a word's rarity adds to its hidden cell's error, scaled units²; numbers: 0.
        blend: what hidden cells hold, by the filling network and by regressions together.
        intervals: how far filled cells may be off; None where the version is older than those are.
    """

    near: Neighbours
    tails: Floats
    groups: Bools
    views: dict[str, Tail]
    clean: ColumnTails
    hidden: ColumnTails
    odd: float
    calibration: Floats
    calibration_errors: Floats
    cells: Floats
    rarity: Floats
    blend: Blend
    intervals: Intervals | None = None

    @cached_property
    def cell_p_values(self) -> ColumnPValues:
        """Conformal p-values of hidden-cell errors, by column."""
        return ColumnPValues.of(self.cells)

    @cached_property
    def largest_usual(self) -> Floats:
        """The clean error that 95% of each column's held-out cells stay within, float32 [C]."""
        return self.clean.quantile(1 - BEYOND)

    @cached_property
    def typical_errors(self) -> Floats:
        """Mean hidden-cell error of each column's calibration cells, float32 [C]."""
        known = ~np.isnan(self.cells)
        sums = np.where(known, self.cells, 0).sum(axis=0, dtype=np.float64)
        means: Floats = (sums / np.maximum(known.sum(axis=0), 1)).astype(np.float32)
        return np.maximum(means, np.float32(1e-6))


@dataclass(frozen=True)
class RowScores:
    """Scores of n rows: anomaly_score float32 [n], p_value float32 [n], is_anomaly bool [n].

    `misfit` bool [n, C] says which cells have a larger error than 95% of their column's held-out cells.
    """

    anomaly_score: Floats
    p_value: Floats
    is_anomaly: Bools
    misfit: Bools

    def take(self, rows: Indices) -> RowScores:
        """Those of some rows."""
        return RowScores(self.anomaly_score[rows], self.p_value[rows], self.is_anomaly[rows], self.misfit[rows])


class Scorer:
    """Scores encoded rows with one model version. Holds no state of the data it scored.

    Args:
        encoder: turns record batches into what the network sees.
        network: trained.
        filler: the same network, trained on for hidden cells alone: it judges and fills single cells.
        reference: learned from training, validation and calibration rows.
        alert_rate: share of normal rows that may be flagged.
        contaminated: whether history may have held anomalies.
        method: `combined`, or `reconstruction` for the mean cell error alone.
        rules: what words must look like and follow from; they tell wrong cells, and do not touch the rows' scores.
    """

    def __init__(
        self,
        encoder: TableEncoder,
        network: Network,
        filler: Network,
        reference: Reference,
        alert_rate: float,
        contaminated: bool,
        method: Method = "combined",
        rules: Rules | None = None,
    ) -> None:
        self.encoder, self.network, self.filler, self.reference = encoder, network, filler, reference
        self.alert_rate, self.contaminated, self.method = alert_rate, contaminated, method
        self.rules = rules or Rules()

    @property
    def calibration(self) -> Floats:
        """Scores of the calibration rows by this scorer's method, float32 [m], increasing."""
        known = self.reference
        return known.calibration if self.method == "combined" else known.calibration_errors

    @cached_property
    def _p_values(self) -> PValues:
        return PValues(self.calibration)

    @property
    def calibration_rows(self) -> int:
        """Rows that p-values are made of."""
        return len(self.reference.calibration)

    @cached_property
    def core_tails(self) -> CoreTails:
        """P-values of number cells where the calibration cells may be wrong themselves; words have rules."""
        numbers = np.array([spec.kind == "number" for spec in self.encoder.specs])
        return CoreTails.of(self.reference.cells, numbers)

    @cached_property
    def _counted(self) -> dict[int, Floats]:
        """The columns whose tails count in the score, and the surprise of each of their bins."""
        tables = np.split(self.reference.tails, self.encoder.bin_offsets[1:])
        return {index: table for index, table in enumerate(tables) if table.any()}

    @cached_property
    def _seldom_empty(self) -> Bools:
        """The columns in which a gap is odd by itself, bool [C]: where many cells are empty, it says nothing."""
        return np.array([spec.null_rate < BEYOND for spec in self.encoder.specs])

    def rarity(self, encoded: Encoded) -> Floats:
        """How rare each cell's word is, float32 [n, C], in nats; 0 for gaps, numbers and the most frequent word."""
        out = np.zeros(encoded.state.shape, np.float32, order="F")
        tables = np.split(self.reference.tails, self.encoder.bin_offsets[1:])
        for index in np.flatnonzero(self.reference.rarity):
            told = (encoded.state[:, index] != NULL) & (encoded.state[:, index] != UNJUDGED)
            out[:, index] = tables[index].take(encoded.bins[index], mode="clip") * told
        return out

    def encode(self, batch: pa.RecordBatch | pa.Table, reference: float | None = None) -> Encoded:
        """Encode a record batch; see `TableEncoder.encode`."""
        return self.encoder.encode(batch, reference)

    def expect(self, x: Floats, visible: Floats) -> Floats:
        """What cells are expected to hold, float32 [n, F]; of hidden ones, from all that is visible, float32 [n, C]."""
        seen = visible[:, self.encoder.column_of]
        hidden = x * seen
        return self.reference.blend(reconstruct(self.filler, hidden, visible), hidden, seen)

    def blind(self) -> Scorer:
        """The same scorer, had the rows held out for calibration not been kept: for whoever asks about those."""
        reference = replace(self.reference, near=self.reference.near.blind())
        parts = self.encoder, self.network, self.filler, reference, self.alert_rate, self.contaminated, self.method
        return Scorer(*parts, rules=self.rules)

    def first_look(self, encoded: Encoded, own: Indices | None = None) -> tuple[dict[str, Floats], Floats, Floats]:
        """One pass over rows: the three views float32 [n] each, cell errors [n, C], reconstruction [n, F].

        Args:
            encoded: the rows.
            own: where history's points are these very rows, which points, [n].
        """
        inputs = self.encoder.inputs(encoded)
        reconstruction, parts = np.empty_like(encoded.x), []
        for rows, found, code in blocks(self.network, *inputs):
            reconstruction[rows] = found
            parts.append(code)
        codes = np.concatenate(parts) if parts else embed(self.network, *inputs)
        near = self.reference.near.distance(inputs[0], codes, own)
        errors = self.encoder.column_errors(encoded, reconstruction)
        views = {"clean": mean_errors(errors), "near": near}
        if self._counted:
            views["tail"] = np.zeros(len(encoded), np.float32)
            for index, table in self._counted.items():
                nats = table.take(encoded.bins[index], mode="clip")
                if not encoded.whole:
                    nats[encoded.state[:, index] == UNJUDGED] = 0
                views["tail"] += nats
        if not encoded.whole:
            # Without columns that training always showed a row is far from training's for that reason alone.
            near[(encoded.state == UNJUDGED).any(axis=1)] = 0
        return views, errors, reconstruction

    def whole(self, views: dict[str, Floats]) -> Floats:
        """Add up the surprise of the views that count, each by its weight, float32 [n]."""
        out = np.zeros(len(views["clean"]), np.float32)
        for name, values in views.items():
            if name in self.reference.views:
                out += WEIGHTS[name] * self.reference.views[name](values)
        return out

    def raw_scores(self, encoded: Encoded, own: Indices | None = None) -> tuple[Floats, Floats, Floats]:
        """Return anomaly scores float32 [n], cell errors [n, C] and the clean reconstruction float32 [n, F]."""
        if self.method == "reconstruction":
            reconstruction = reconstruct(self.network, *self.encoder.inputs(encoded))
            errors = self.encoder.column_errors(encoded, reconstruction)
            return whole_levels(mean_errors(errors)), errors, reconstruction
        views, errors, reconstruction = self.first_look(encoded, own)
        return whole_levels(np.maximum(*self.surprises(encoded, views, errors))), errors, reconstruction

    def surprises(self, encoded: Encoded, views: dict[str, Floats], errors: Floats) -> tuple[Floats, Floats]:
        """Surprise of each row as a whole and by its oddest cell, float32 [n] each, ready to compare."""
        known = self.reference.views
        row = known["row"](self.whole(views))
        cell = known["cell"](self.oddest_cell(encoded, row, errors)) - CELL_HANDICAP
        if not encoded.whole:
            gap = (encoded.state == NULL) & self._seldom_empty
            cell[(gap | (encoded.state == IMPOSSIBLE)).any(axis=1)] += SURE
        return row, cell

    def oddest_cell(self, encoded: Encoded, row: Floats, errors: Floats) -> Floats:
        """Largest surprise of any cell of each row, float32 [n]; the masked passes are for odd rows only.

        Args:
            encoded: the rows.
            row: float32 [n], surprise of each as a whole.
            errors: float32 [n, C], cell errors with every cell visible.
        """
        cell = self.reference.clean.worst(errors)
        odd = np.flatnonzero(np.maximum(row, cell) >= self.reference.odd)
        if len(odd) and len(self.encoder.specs) > 1:
            hidden = hidden_errors(self.encoder, self.network, self.reference.groups, encoded.take(odd))
            cell[odd] = np.maximum(cell[odd], self.reference.hidden.worst(hidden))
        return cell

    def cell_scores(self, encoded: Encoded) -> Floats:
        """Surprise of each row's oddest cell, float32 [n]: what the network alone says, with every row looked into."""
        reconstruction = reconstruct(self.network, *self.encoder.inputs(encoded))
        errors = self.encoder.column_errors(encoded, reconstruction)
        return self.oddest_cell(encoded, np.full(len(encoded), np.inf, np.float32), errors)

    def p_values(self, batch: pa.RecordBatch, reference: float | None = None) -> Floats:
        """The p-values of a record batch's rows alone, float32 [n]."""
        return self._p_values(self.raw_scores(self.encode(batch, reference))[0])

    def score(
        self, encoded: Encoded, limit: float | None = None, own: Indices | None = None
    ) -> tuple[RowScores, Floats]:
        """Score rows, and flag those with a p-value up to a limit; None: the alert rate.

        Args:
            encoded: the rows.
            limit: p-value.
            own: where history's points are these very rows, which points, [n].

        Returns:
            Their scores, and the clean reconstruction float32 [n, F].
        """
        scores, errors, reconstruction = self.raw_scores(encoded, own)
        p = self._p_values(scores)
        misfit = errors > self.reference.largest_usual
        if not encoded.whole:
            # Guessed without columns that training always showed, the others fit less well for that reason alone.
            misfit[(encoded.state == UNJUDGED).any(axis=1)] = False
        flagged = is_anomaly(p, self.alert_rate if limit is None else limit)
        return RowScores(scores, p, flagged, misfit), reconstruction


def mean_errors(errors: Floats) -> Floats:
    """Mean of each row's cell errors float32 [n, C], float32 [n]."""
    return np.asarray(add_columns(errors) / np.float32(errors.shape[1]))


def blocks(network: Network, x: Floats, visible: Floats) -> Iterator[tuple[slice, Floats, Floats]]:
    """Run a network over any number of rows, in whole blocks, large ones first; the last is filled up with zeros.

    Yields:
        rows, and their reconstruction float32 [k, F] and latent code float32 [k, L].
    """
    rows, start = len(x), 0
    while start < rows:
        size = next((size for size in reversed(BLOCKS) if size <= rows - start), BLOCKS[0])
        part, seen = x[start : start + size], visible[start : start + size]
        filled = len(part)
        if filled < size:
            part, seen = _filled(part, size), _filled(seen, size)
        reconstruction, code = network(part, seen)
        yield slice(start, start + filled), reconstruction[:filled], code[:filled]
        start += size


def reconstruct(network: Network, x: Floats, visible: Floats) -> Floats:
    """Reconstruction of rows, float32 [n, F]."""
    out = np.empty_like(x)
    for rows, found, _ in blocks(network, x, visible):
        out[rows] = found
    return out


def embed(network: Network, x: Floats, visible: Floats) -> Floats:
    """Latent codes of rows, float32 [n, L]."""
    parts = [code for _, _, code in blocks(network, x, visible)]
    if not parts:
        return network(_filled(x, BLOCKS[0]), _filled(visible, BLOCKS[0]))[1][:0]
    return np.concatenate(parts)


def _filled(part: Floats, size: int) -> Floats:
    if len(part) == size:
        return part
    out = np.zeros((size, part.shape[1]), np.float32)
    out[: len(part)] = part
    return out


def hidden_errors(encoder: TableEncoder, network: Network, groups: Bools, encoded: Encoded) -> Floats:
    """Cell errors, float32 [n, C], with each cell predicted while its whole group is hidden."""
    visible = encoder.visible(encoded)
    errors = np.zeros((len(encoded), len(encoder.specs)), np.float32, order="F")
    for group in groups:
        seen = visible * ~group
        reconstruction = reconstruct(network, encoder.hide(encoded.x, seen), seen)
        errors[:, group] = encoder.column_errors(encoded, reconstruction)[:, group]
    return errors


def guesses(encoder: TableEncoder, network: Network, groups: Bools, encoded: Encoded) -> Floats:
    """What the network takes each cell to be from the row's other columns, float32 [n, F]: its group is hidden."""
    visible = encoder.visible(encoded)
    out = np.zeros_like(encoded.x)
    for group in groups:
        seen = visible * ~group
        features = group[encoder.column_of]
        out[:, features] = reconstruct(network, encoder.hide(encoded.x, seen), seen)[:, features]
    return out
