"""How far a filled cell may be from the truth: split-conformal intervals and sets, by column.

A calibration row is hidden in part, at random, and filled; how far off each hidden cell is, is known. The interval of
a fresh cell reaches as far as the stated share of those did, of its own column, in rows that had about as much hidden.
Before they are compared, errors are divided by how large they usually are in such a row (locally weighted conformal
prediction: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, *JASA* 113, 2018); both ends are learned apart, since
errors are seldom symmetric. Of words the smallest set is told whose members are probable enough (Sadinle, Lei and
Wasserman, *JASA* 114, 2019).

Where history itself has rows with the same cells empty, calibration rows are filled with just those hidden, and rows
with these gaps are measured by them: gaps are seldom at random.

What is promised holds for cells that are missing at random, or as in history, in rows like history's, column by column,
on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ae_plugin.core.columns import CategorySpec, ColumnSpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.decode import seconds_of
from ae_plugin.core.encoding import IMPOSSIBLE, NULL, VALUE
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.ngrams import embed_strings
from ae_plugin.core.numbers import unsquash
from ae_plugin.core.scoring import Scorer
from ae_plugin.core.values import Bools, Doubles, Floats, evenly_spaced

_TAIL = (0.0, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075)
LEVELS = np.array([*_TAIL, *np.linspace(0.01, 0.99, 99), *(1 - level for level in reversed(_TAIL))])
"""Shares of calibration cells for which it is kept how far they are off."""
BANDS = np.array([1 / 8, 3 / 8, 5 / 8, 1.0])
"""Shares of a row's columns that are hidden, each up to which errors are compared with one another."""
PATTERNS, COMMON, PATTERN_ROWS = 16, 0.002, 4_000
"""Sets of columns that are empty together in so large a share of history, and rows that tell how they are filled."""
EVALUATIONS, FEATURES = 60_000, 12_000_000
"""Rows that are filled to learn from, and so many features of them all."""
MOST_FEATURES, SCALE_ROWS = 256, 4_000
"""Of wider rows it is not learned how errors depend on what is given."""
_RIDGE, _CALM = 1.0, 1e-3
_BLOCK = 64


@dataclass(frozen=True)
class Intervals:
    """What calibration cells were off, hidden at random.

    Attributes:
        scale: float32 [K, C], log of a column's usual error by what is given (see `_design`); [0, C]: it is the same in
            all rows.
        span: float32 [2, C], the logs that were met while it was learned; others are cut to them.
        off: float32 [4 + P, C, len(LEVELS)], by band (then by pattern) and column how far off the calibration cells
            are, in usual errors: of a number or time truth less guess, of a word how probable the true one is; NaN for
            none.
        rows: int32 [4 + P, C], calibration rows that those are of.
        ends: float32 [2, C], least and largest encoded value in history; 0 for words.
        patterns: uint8 [P, C], sets of columns that are empty together in history.
    """

    scale: Floats
    span: Floats
    off: Floats
    rows: npt.NDArray[np.int32]
    ends: Floats
    patterns: npt.NDArray[np.uint8]

    def bands(self, visible: Floats) -> npt.NDArray[np.intp]:
        """Which of `off` rows are measured by, int [n], by which of their columns are given, float32 [n, C]."""
        found, hidden = bands_of(visible), visible < 0.5
        for place, pattern in enumerate(self.patterns):
            same = (hidden == pattern.astype(bool)).all(axis=1)
            found[same] = len(BANDS) + place
        return found

    def reach(self, band: npt.NDArray[np.intp], column: int, coverage: float) -> tuple[Floats, Floats]:
        """How far cells reach below and above what they are filled with, in usual errors, float32 [n] each.

        Args:
            band: int [n], of each cell's row.
            column: its index.
            coverage: share of cells that are to lie within.

        Returns:
            Infinite where so few rows calibrated that nothing less covers.
        """
        ends = []
        for side, level in ((-1, (1 - coverage) / 2), (1, (1 + coverage) / 2)):
            ends.append(self._quantiles(column, level, side)[band])
        # What a cell is filled with lies within, also where errors lean to one side.
        return np.minimum(ends[0], 0), np.maximum(ends[1], 0)

    def least(self, band: npt.NDArray[np.intp], column: int, coverage: float) -> Floats:
        """How probable a word must be to be in the set, float32 [n]."""
        return self._quantiles(column, 1 - coverage, -1)[band]

    def _quantiles(self, column: int, level: float, side: int) -> Floats:
        """The level's quantile in each band, moved outwards by what a finite calibration set needs."""
        found = np.empty(len(self.off), np.float32)
        for band, (count, off) in enumerate(zip(self.rows[:, column], self.off[:, column], strict=True)):
            n = max(int(count), 1)
            moved = np.ceil((n + 1) * level - 1e-9) / n if side > 0 else 1 - np.ceil((n + 1) * (1 - level) - 1e-9) / n
            known = count > 0 and 0 <= moved <= 1
            found[band] = np.interp(moved, LEVELS, off) if known else side * np.inf
        return found

    def usual(self, column: int, design: Floats, blocked: bool = True) -> Floats:
        """How far off a column usually is in rows, float32 [n], by what is given in them, float32 [n, K]."""
        if not len(self.scale):
            return np.ones(len(design), np.float32)
        logs = _times(design, self.scale[:, column]) if blocked else design @ self.scale[:, column]
        return np.asarray(np.exp(np.clip(logs, *self.span[:, column])), np.float32)


def fit_intervals(scorer: Scorer, train: Encoded, held_out: Encoded, calibration: Encoded) -> Intervals:
    """Hide cells of rows at random, fill them, and learn how far off they are.

    Args:
        scorer: complete but for this.
        train: rows of history; they say what values there are.
        held_out: rows that the network was not trained on; they say what errors depend on.
        calibration: other such rows; what is promised is made of these alone.
    """
    encoder = scorer.encoder
    learned = _trials(scorer, held_out, np.random.default_rng(29), 4)
    scale, span = _fit_scale(encoder, learned) if encoder.features <= MOST_FEATURES else (None, None)
    columns, patterns = len(encoder.specs), _patterns(train)
    blank = np.zeros((2, columns), np.float32)
    known = Intervals(
        np.zeros((0, columns), np.float32) if scale is None else scale,
        blank if span is None else span,
        np.full((len(BANDS) + len(patterns), columns, len(LEVELS)), np.nan, np.float32),
        np.zeros((len(BANDS) + len(patterns), columns), np.int32),
        _ends(encoder, train),
        patterns.astype(np.uint8),
    )
    _measure(known, encoder, _trials(scorer, calibration, np.random.default_rng(31), 1))
    for place, pattern in enumerate(patterns):
        some = np.flatnonzero((calibration.state[:, pattern] == VALUE).all(axis=1))
        some = some[evenly_spaced(len(some), PATTERN_ROWS)]
        hidden = np.broadcast_to(pattern, (len(some), columns))
        _measure(known, encoder, _hide(scorer, calibration, some, hidden), len(BANDS) + place)
    return known


def _measure(known: Intervals, encoder: TableEncoder, tried: _Trials, place: int | None = None) -> None:
    """Keep how far off hidden cells are, in place: by the rows' bands, or all of them in one place."""
    for column, spec in enumerate(encoder.specs):
        some, off = tried.errors(encoder, column)
        if not len(some):
            continue
        if not isinstance(spec, (CategorySpec, TextSpec)):
            off = off / known.usual(column, tried.design(encoder, some, column), blocked=False)
        band = bands_of(tried.visible[some]) if place is None else np.full(len(some), place)
        for here in np.unique(band):
            own = band == here
            known.rows[here, column] = len(np.unique(tried.origin[some[own]]))
            known.off[here, column] = np.quantile(off[own], LEVELS)


def _patterns(train: Encoded) -> Bools:
    """Sets of columns that are often empty together, the most frequent first, bool [P, C]."""
    found, counts = np.unique(np.packbits(train.state == NULL, axis=1), axis=0, return_counts=True)
    sets = np.unpackbits(found, axis=1, count=train.state.shape[1]).astype(bool)
    often = (counts >= max(COMMON * len(train), 5)) & sets.any(axis=1) & ~sets.all(axis=1)
    return sets[often][np.argsort(-counts[often], kind="stable")[:PATTERNS]]


def bands_of(visible: Floats) -> npt.NDArray[np.intp]:
    """The band of rows by which columns are given, float32 [n, C]."""
    hidden = visible.shape[1] - visible.sum(axis=1)
    return np.asarray(np.searchsorted(BANDS, hidden / visible.shape[1] - 1e-6).clip(max=len(BANDS) - 1), np.intp)


@dataclass(frozen=True)
class _Trials:
    """Rows with cells hidden at random, filled.

    Attributes:
        rows: as they are, n of them.
        visible: float32 [n, C].
        filled: float32 [n, F].
        asked: bool [n, C], hidden cells whose truth is known.
        origin: int [n], which row of the set each is.
    """

    rows: Encoded
    visible: Floats
    filled: Floats
    asked: Bools
    origin: npt.NDArray[np.intp]

    def errors(self, encoder: TableEncoder, column: int) -> tuple[npt.NDArray[np.intp], Floats]:
        """The rows in which a column was asked for, and how far off it was, see `Intervals.off`."""
        some = np.flatnonzero(self.asked[:, column])
        spec, where = encoder.specs[column], encoder.slices[column]
        true, filled = self.rows.x[some, where], self.filled[some, where]
        if isinstance(spec, NumberSpec):
            return some, true[:, 0] - filled[:, 0]
        if isinstance(spec, TimeSpec):
            seconds = unsquash(true[:, 0]).astype(np.float64) * spec.std + spec.mean
            return some, ((seconds - seconds_of(spec, filled)) / spec.std).astype(np.float32)
        chances = probable(spec, filled)
        if isinstance(spec, CategorySpec):
            own, held = true[:, : len(spec.values)].argmax(axis=1), self.rows.state[some, column] == VALUE
        else:
            table = embed_strings(spec.values, spec.dims)
            wanted = true[:, : spec.dims] / np.float32(spec.scale) + np.asarray(spec.means, np.float32)
            apart = (table**2).sum(axis=1) - 2 * wanted @ table.T
            own = apart.argmin(axis=1)
            held = np.abs(wanted - table[own]).max(axis=1) < 1e-3
        # A word that no set can hold is missed by all of them.
        return some, np.where(held, chances[np.arange(len(some)), own], np.float32(-1e9))

    def design(self, encoder: TableEncoder, some: npt.NDArray[np.intp], column: int) -> Floats:
        """What the usual error depends on, in some rows."""
        return design_of(encoder, self.rows.x[some], self.visible[some], self.filled[some], column)


def _trials(scorer: Scorer, rows: Encoded, rng: np.random.Generator, every: int) -> _Trials:
    """Rows with cells hidden at random, as many in each band; one in `every` of what there is time for."""
    encoder = scorer.encoder
    columns = len(encoder.specs)
    wanted = max(min(EVALUATIONS, FEATURES // encoder.features) // every, 200)
    place = np.resize(evenly_spaced(len(rows), wanted), wanted) if len(rows) else np.zeros(0, np.intp)
    band = rng.integers(0, len(BANDS), wanted)[: len(place)]
    low = np.concatenate([[0], BANDS[:-1]])[band] * columns
    least = np.minimum(np.floor(low + 1e-6) + 1, columns)
    most = np.maximum(np.floor(BANDS[band] * columns + 1e-6), least)
    count = rng.integers(least.astype(int), most.astype(int) + 1)
    chosen = rng.random((len(place), columns)).argsort(axis=1).argsort(axis=1) < count[:, None]
    return _hide(scorer, rows, place, chosen)


def _hide(scorer: Scorer, rows: Encoded, place: npt.NDArray[np.intp], chosen: Bools) -> _Trials:
    """Hide cells of some rows, and fill them."""
    part = rows.take(place)
    visible = scorer.encoder.visible(part) * ~(chosen | (part.state == NULL))
    words = np.array([isinstance(spec, CategorySpec) for spec in scorer.encoder.specs])
    asked = chosen & ((part.state == VALUE) | ((part.state == IMPOSSIBLE) & words))
    return _Trials(part, visible, scorer.expect(part.x, visible), asked, place)


def design_of(encoder: TableEncoder, x: Floats, visible: Floats, filled: Floats, column: int) -> Floats:
    """What a column's usual error may depend on, float32 [n, F + C + 3]: what is given, and what it is filled with."""
    guess = filled[:, encoder.slices[column].start, None]
    ones = np.ones((len(x), 1), np.float32)
    return np.concatenate([x * visible[:, encoder.column_of], visible, guess, guess**2, ones], axis=1)


def _fit_scale(encoder: TableEncoder, tried: _Trials) -> tuple[Floats, Floats]:
    """Regressions of the log of errors on what is given, and what they gave."""
    columns = len(encoder.specs)
    scale, span = np.zeros((encoder.features + columns + 3, columns), np.float32), np.zeros((2, columns), np.float32)
    for column, spec in enumerate(encoder.specs):
        if isinstance(spec, (CategorySpec, TextSpec)):
            continue
        some, off = tried.errors(encoder, column)
        chosen = evenly_spaced(len(some), SCALE_ROWS)
        if len(chosen) < 20:
            continue
        some, far = some[chosen], np.abs(off[chosen]).astype(np.float64)
        logs = np.log(far + 0.1 * np.median(far) + _CALM)
        design = tried.design(encoder, some, column).astype(np.float64)
        middle = logs.mean()
        gram = design.T @ design + _RIDGE * np.eye(design.shape[1])
        weights = np.linalg.solve(gram, design.T @ (logs - middle))
        weights[-1] += middle
        scale[:, column] = weights
        span[:, column] = np.quantile(design @ weights, [0.01, 0.99])
    return scale, span


def _ends(encoder: TableEncoder, train: Encoded) -> Floats:
    out = np.zeros((2, len(encoder.specs)), np.float32)
    for column, (spec, where) in enumerate(zip(encoder.specs, encoder.slices, strict=True)):
        known = train.x[train.state[:, column] == VALUE, where.start]
        if isinstance(spec, (NumberSpec, TimeSpec)) and len(known):
            out[:, column] = known.min(), known.max()
    return out


def probable(spec: ColumnSpec, features: Floats) -> Floats:
    """How probable each known word of a column is, float32 [n, words]: of text how near, the higher the nearer."""
    if isinstance(spec, CategorySpec):
        chance = np.maximum(
            features[:, : len(spec.values)] / np.float32(spec.scale) + np.asarray(spec.rates, np.float32), 0
        )
        return np.asarray(chance / np.maximum(chance.sum(axis=1, keepdims=True), np.float32(1e-6)))
    if not isinstance(spec, TextSpec):
        raise TypeError(f"{spec.name} holds no words")
    table = embed_strings(spec.values, spec.dims)
    wanted = features[:, : spec.dims] / np.float32(spec.scale) + np.asarray(spec.means, np.float32)
    return np.asarray(2 * _times(wanted, table.T) - (table**2).sum(axis=1) - (wanted**2).sum(axis=1, keepdims=True))


def _times(rows: Floats, weights: Floats) -> Floats:
    """A product of rows, in blocks of one size: a BLAS rounds rows by their number."""
    count = len(rows)
    whole = np.zeros((-(-count // _BLOCK) * _BLOCK, rows.shape[1]), np.float32)
    whole[:count] = rows
    found = whole.reshape(-1, _BLOCK, rows.shape[1]) @ weights
    return np.asarray(found.reshape(len(whole), *weights.shape[1:])[:count])


def number_ends(spec: NumberSpec, low: Floats, high: Floats) -> tuple[Doubles, Doubles]:
    """Encoded ends in a number column's own units, rounded outwards to the digits that training had."""
    ends = [unsquash(end).astype(np.float64) * spec.std + spec.mean for end in (low, high)]
    if spec.digits is None:
        return ends[0], ends[1]
    unit = 10.0**spec.digits
    # float32 keeps 7 digits: what is a whole number but for the last of them is one.
    little = 1e-6 * (abs(spec.mean) + 4 * spec.std) * unit + 1e-6
    return np.floor(ends[0] * unit + little) / unit, np.ceil(ends[1] * unit - little) / unit


def time_ends(spec: TimeSpec, filled: Floats, below: Floats, above: Floats, ends: Floats) -> tuple[Doubles, Doubles]:
    """Seconds, of a time column's cells, float64 [n] each; counted as its age is.

    Args:
        spec: its spec.
        filled: float32 [n, width], what the cells are filled with.
        below: float32 [n], how far they reach, in standard deviations.
        above: the same, upwards.
        ends: float32 [2], least and largest encoded value in history.
    """
    first, last = (float(end) * spec.std + spec.mean for end in unsquash(ends))
    middle = seconds_of(spec, filled)
    low = np.clip(middle + below.astype(np.float64) * spec.std, first, last)
    high = np.clip(middle + above.astype(np.float64) * spec.std, first, last)
    return np.floor(low / spec.step + 1e-6) * spec.step, np.ceil(high / spec.step - 1e-6) * spec.step
