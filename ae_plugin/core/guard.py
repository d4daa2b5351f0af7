"""Is this partition the kind of data the model knows? A verdict with the columns that say so.

Three shares are compared with training, each from 0 to 1:

    moved     share of a column's values that lie elsewhere than in training (total variation distance)
    misfit    share of a column's cells that fit their row worse than 95% of held-out cells do
    odd       share of rows that are odder than 95% of calibration rows

Each is allowed what chance gives and what training partitions differ by among themselves. What remains is drift when
it is more than luck. A partition is unfamiliar when half of its rows are odd, half of its columns are strange, or the
two shares add up to 70%. A column is strange in full when 40% of its values moved or misfit, and in part when fewer
did: another season moves a few columns far, another source moves most of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin.core.columns import GRID, ColumnSpec, TextSpec
from ae_plugin.core.features import TableEncoder
from ae_plugin.core.scoring import BEYOND
from ae_plugin.core.values import Bins, Bools, Doubles
from ae_plugin.schemas import ColumnReason, GuardVerdict, Verdict

SIGNIFICANCE = 0.01
SLACK, MISFIT_SLACK = 0.05, 0.1
HALF, TOGETHER = 0.5, 0.7
STRANGE = 0.4
FEW = 20
"""So few rows can all be odd in a familiar world: they are judged one by one."""
ENOUGH = 50
"""Held-out rows of a partition from which its share of odd ones says something."""
PARTS = 8
"""Equal shares of training that a number's range is cut into; what lies outside the range is a part of its own."""
SURE = 2.6
"""Standard errors that a share may be off by, one time in a hundred."""
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GuardReference:
    """What training looked like to the guard.

    Attributes:
        counts: int64 [total bins], training cells by bin.
        spread: float64 [C], largest distance of a training partition from the whole.
        odd: float64 [1 + C], largest natural shares of odd rows and of each column's misfits.
    """

    counts: Counts
    spread: Doubles
    odd: Doubles

    @staticmethod
    def fit(
        encoder: TableEncoder,
        bins: Bins,
        partitions: npt.NDArray[np.intp],
        odd: Bools,
        held_out: npt.NDArray[np.intp],
    ) -> GuardReference:
        """Learn what is natural.

        Training has seen all of its own texts: the share that new rows will bring is Good and Turing's estimate.

        Args:
            encoder: of this version.
            bins: int16 [C, n], of training rows.
            partitions: int [n], the partition each of them came from.
            odd: bool [m, 1 + C], of calibration rows, see `odd_cells`.
            held_out: int [m], the partition each of those came from.
        """
        whole = with_unseen(encoder, count_bins(encoder, bins))
        scale = Scale(encoder, whole)
        spread = np.zeros(len(encoder.specs))
        for partition in np.unique(partitions):
            own = bins[:, partitions == partition]
            apart = scale.distances(with_unseen(encoder, count_bins(encoder, own)))
            # A small partition differs by chance alone: that part is not its nature.
            spread = np.maximum(spread, apart - scale.chance(own.shape[1]) - luck(own.shape[1], 1))
        return GuardReference(whole, spread, _natural(odd, held_out))


def _natural(odd: Bools, partitions: npt.NDArray[np.intp]) -> Doubles:
    """Shares that fresh rows of the same kind may have: as all have, within their error, or as one partition has."""
    share = np.maximum(odd.mean(axis=0), BEYOND)
    largest = share + SURE * _error(share, len(odd))
    for partition in np.unique(partitions):
        own = odd[partitions == partition]
        if len(own) >= ENOUGH:
            share = own.mean(axis=0)
            largest = np.maximum(largest, share - _error(share, len(own)))
    return np.asarray(np.minimum(largest, 1.0))


def _error(share: Doubles, rows: int) -> Doubles:
    return np.asarray(np.sqrt(share * (1 - share) / rows))


class Moved(NamedTuple):
    """Share of each column's cells that lie elsewhere than in training, float64 [C].

    `usual` is what chance and nature make of it, `limit` what is beyond luck.
    """

    share: Doubles
    usual: Doubles
    limit: Doubles


def odd_cells(p_value: npt.NDArray[np.float32], misfit: Bools) -> Bools:
    """Which rows are odd, then which of their cells misfit, bool [n, 1 + C]."""
    return np.column_stack([p_value <= BEYOND, misfit])


def count_bins(encoder: TableEncoder, bins: Bins) -> Counts:
    """Count cells, int16 [C, n], by bin of all columns', int64 [total bins]."""
    parts = [np.bincount(cells, minlength=spec.bins) for cells, spec in zip(bins, encoder.specs, strict=True)]
    return np.concatenate(parts)


def with_unseen(encoder: TableEncoder, counts: Counts) -> Counts:
    """Move the expected share of never seen texts from each length's known bin to its unknown one."""
    out = counts.copy()
    for spec, start in zip(encoder.specs, encoder.bin_offsets, strict=True):
        if isinstance(spec, TextSpec):
            half = spec.value_bins // 2
            known = out[start : start + half]
            moved = np.rint(known * spec.unseen_rate).astype(np.int64)
            out[start + half : start + 2 * half] += moved
            known -= moved
    return out


class Scale:
    """Measures how far counts by bin are from training's: numbers and times in a few parts, the rest value by value.

    Args:
        encoder: of this version.
        reference: int64 [total bins], of training.
    """

    def __init__(self, encoder: TableEncoder, reference: Counts) -> None:
        self._starts = encoder.bin_offsets
        self._part = np.arange(encoder.total_bins)
        for spec, start in zip(encoder.specs, self._starts, strict=True):
            if spec.kind in ("number", "time"):
                self._part[start : start + GRID] = start + _parts(reference[start : start + GRID])
        self._shares = self._share(reference)
        self._rows = int(np.add.reduceat(reference, self._starts).max())

    def _share(self, counts: Counts) -> Doubles:
        """Share of each column's cells in each part, float64 [total bins]."""
        widths = np.diff(self._starts, append=len(counts))
        cells = np.repeat(np.maximum(np.add.reduceat(counts, self._starts), 1), widths)
        return np.bincount(self._part, counts / cells, len(counts)).astype(np.float64)

    def distances(self, counts: Counts) -> Doubles:
        """Share of each column's cells that lie elsewhere than in training (total variation), float64 [C]."""
        return np.asarray(np.add.reduceat(np.abs(self._share(counts) - self._shares), self._starts) / 2)

    def chance(self, rows: int) -> Doubles:
        """Distance that so many rows have on average by chance alone (at most), float64 [C]."""
        spread = np.sqrt(self._shares * (1 - self._shares))
        error = (1 / max(rows, 1) + 1 / max(self._rows, 1)) ** 0.5
        return np.asarray(np.minimum(np.add.reduceat(spread, self._starts) / 2 * error, 1.0))


def _parts(counts: Counts) -> npt.NDArray[np.intp]:
    """Cut bins into `PARTS` of about equal counts, and one more for what lies outside of all that was counted."""
    middle = (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1)
    parts: npt.NDArray[np.intp] = np.minimum(middle * PARTS, PARTS - 1).astype(np.intp)
    inside = np.flatnonzero(counts)
    if len(inside):
        parts[: inside[0]] = parts[inside[-1] + 1 :] = PARTS
    return parts


def distances(encoder: TableEncoder, counts: Counts, reference: Counts) -> Doubles:
    """Share of each column's cells that lie elsewhere than in the reference, float64 [C]."""
    return Scale(encoder, reference).distances(counts)


def luck(rows: int, tests: int) -> float:
    """What a distance exceeds its mean by with probability at most SIGNIFICANCE over all tests (McDiarmid)."""
    return float(np.sqrt(np.log(tests / SIGNIFICANCE) / (2 * max(rows, 1))))


def _by_chance(odd: int, rows: int, natural: float) -> float:
    """Probability that at least so many of the rows are odd by chance (binomial)."""
    from scipy.special import betainc

    return float(betainc(odd, rows - odd + 1, natural)) if odd else 1.0


class Guard:
    """Watches one partition go by, and gives a verdict at the end.

    Args:
        encoder: of the model version that scores.
        reference: learned in training.
        schema_notes: what is different about the partition's schema but does not stop scoring.
        skip: learned columns that cannot be judged in this partition.
    """

    def __init__(
        self, encoder: TableEncoder, reference: GuardReference, schema_notes: list[str], skip: Sequence[str] = ()
    ) -> None:
        self._judged = np.array([name not in skip for name in encoder.names])
        self.encoder, self.reference, self.schema_notes = encoder, reference, schema_notes
        self.counts: Counts = np.zeros(encoder.total_bins, np.int64)
        self.odd: Counts = np.zeros(1 + len(encoder.specs), np.int64)
        self.rows = 0

    def watch(self, bin_counts: Counts, p_value: npt.NDArray[np.float32], misfit: Bools) -> None:
        """Take note of n rows: cells by bin int64 [total bins], p-values float32 [n] and misfits bool [n, C]."""
        odd = np.concatenate([[np.count_nonzero(p_value <= BEYOND)], np.count_nonzero(misfit, axis=0)])
        self.add(len(p_value), odd, bin_counts)

    def add(self, rows: int, odd: Counts, counts: Counts) -> None:
        """Take note of rows that were counted elsewhere: whole numbers, so how they were cut makes no difference.

        Args:
            rows: how many.
            odd: int64 [1 + C], odd ones among them, and misfits by column.
            counts: int64 [total bins], their cells by bin.
        """
        self.rows += rows
        self.odd += odd
        self.counts += counts

    def moved(self) -> Moved:
        """How far each column of all rows watched so far lies from training's."""
        scale = Scale(self.encoder, self.reference.counts)
        usual = scale.chance(self.rows) + self.reference.spread
        return Moved(scale.distances(self.counts), usual, usual + luck(self.rows, self._tests) + SLACK)

    def verdict(self) -> GuardVerdict:
        """Judge all rows watched so far."""
        if not self.rows:
            return GuardVerdict(verdict="familiar", reasons=["no rows"], columns=[])
        natural, share = self.reference.odd, self.odd / self.rows
        moved = self.moved()
        # A cell that moved misfits, and its neighbours with it: the blame is on what moved, if anything did.
        columns = self._strayed(moved) or self._misfits(share[1:], natural[1:])
        reasons = [*self.schema_notes, *(f"{c.column}: {c.reason}" for c in columns)]
        drifting = self._is_more_than_luck(0)
        if drifting:
            reasons.append(f"scores: {share[0]:.0%} of rows are odder than 95% of calibration rows")
        excess = np.maximum(moved.share - moved.usual, share[1:] - natural[1:])
        strange = np.clip(excess / STRANGE, 0, 1) * self._judged
        odd, far = max(share[0] - natural[0] + BEYOND, 0), self._mean(strange)
        word: Verdict = "drifted" if reasons else "familiar"
        if self.rows >= FEW and (max(odd, far) >= HALF or odd + far >= TOGETHER):
            word = "unfamiliar"
            reasons.insert(0, self._summary(float(share[0]), strange))
        return GuardVerdict(verdict=word, reasons=reasons, columns=columns)

    @property
    def _tests(self) -> int:
        return 2 * len(self.encoder.specs) + 1

    def _is_more_than_luck(self, index: int) -> bool:
        found = _by_chance(int(self.odd[index]), self.rows, float(self.reference.odd[index]))
        return found <= SIGNIFICANCE / self._tests

    def _strayed(self, moved: Moved) -> list[ColumnReason]:
        return [
            self._reason(index, moved.share, moved.limit, self._why(index))
            for index in np.argsort(moved.limit - moved.share, kind="stable")
            if moved.share[index] > moved.limit[index] and self._judged[index]
        ]

    def _misfits(self, share: Doubles, natural: Doubles) -> list[ColumnReason]:
        limit = natural + MISFIT_SLACK
        return [
            self._reason(index, share, limit, f"{share[index]:.0%} of values do not fit the rest of their row")
            for index in np.argsort(limit - share, kind="stable")
            if share[index] > limit[index] and self._judged[index] and self._is_more_than_luck(1 + index)
        ]

    def _reason(self, index: int, effect: Doubles, limit: Doubles, why: str) -> ColumnReason:
        name = self.encoder.names[index]
        return ColumnReason(column=name, reason=why, effect=float(effect[index]), limit=float(limit[index]))

    def _why(self, index: int) -> str:
        spec, start = self.encoder.specs[index], int(self.encoder.bin_offsets[index])
        return _why(spec, *(c[start : start + spec.bins] for c in (self.counts, self.reference.counts)))

    def _mean(self, strange: Doubles) -> float:
        return float(strange.sum() / max(self._judged.sum(), 1))

    def _summary(self, odd: float, strange: Doubles) -> str:
        most = [self.encoder.names[index] for index in np.argsort(-strange, kind="stable")[:3] if strange[index] > 0]
        where = f" ({', '.join(most)}{' ...' if np.count_nonzero(strange) > 3 else ''})" if most else ""
        return f"another kind of data: {odd:.0%} of rows are odd, {self._mean(strange):.0%} of columns strange{where}"


def _why(spec: ColumnSpec, ours: Counts, theirs: Counts) -> str:
    shares = [(c[-2] / max(c.sum(), 1), c[-1] / max(c.sum(), 1)) for c in (ours, theirs)]
    (nulls, unseen), (nulls_before, unseen_before) = shares
    if nulls - nulls_before > 0.05 or nulls_before - nulls > 0.05:
        return f"{nulls:.0%} null, {nulls_before:.0%} in training"
    if unseen - unseen_before > 0.05:
        return f"{unseen:.0%} of values never seen in training"
    if spec.kind in ("number", "time"):
        middle = [int(np.searchsorted(np.cumsum(c[:-2]), c[:-2].sum() / 2)) for c in (ours, theirs)]
        way = "higher" if middle[0] > middle[1] else "lower" if middle[0] < middle[1] else "spread differently"
        return f"values run {way} than in training" if way != "spread differently" else "values are spread differently"
    return "values come in other shares than in training"


def schema_notes(seen: pa.Schema, learned: dict[str, str], known: set[str]) -> list[str]:
    """Say what is different about a partition's schema but does not stop scoring.

    Args:
        seen: the partition's schema.
        learned: learned column -> its Arrow type in training.
        known: every column that training saw, learned or not.
    """
    notes = [f"{name}: a column that training did not have" for name in seen.names if name not in known]
    for name, kind in learned.items():
        index = seen.get_field_index(name)
        if index >= 0 and _plain(str(seen.field(index).type)) != _plain(kind):
            notes.append(f"{name}: {seen.field(index).type} now, {kind} in training")
    return notes


def _plain(kind: str) -> str:
    return re.sub(r"decimal\d+", "decimal", kind).replace("large_", "").replace("string_view", "string")
