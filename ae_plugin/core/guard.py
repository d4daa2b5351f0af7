"""Is this partition the kind of data the model knows? A verdict with the columns that say so.

Each column's distribution in the partition is compared with training by the largest difference between the two
distribution functions (Kolmogorov-Smirnov distance, 0 to 1). A difference counts when it is beyond

    what chance allows      the Dvoretzky-Kiefer-Wolfowitz bound at 1%, Bonferroni-corrected over columns and scores
    + what days differ by   the largest distance between any training partition and training as a whole

Scores drift when more rows lie beyond the calibration set's 95% than chance allows at the largest share that any
training partition had.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin.core.columns import ColumnSpec, TextSpec
from ae_plugin.core.features import TableEncoder
from ae_plugin.core.values import Bins
from ae_plugin.schemas import ColumnReason, GuardVerdict, Verdict

SIGNIFICANCE = 0.01
SLACK = 0.05
FAR = 0.6
BEYOND = 0.05
ENOUGH = 50
"""Held-out rows of a partition from which its share of odd ones says something."""
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GuardReference:
    """What training looked like to the guard.

    Attributes:
        counts: int64 [total bins], training cells by bin.
        spread: float64 [C], largest distance of a training partition from the whole.
        beyond: largest share of a partition's held-out rows that is odder than 95% of them all, less a standard error.
    """

    counts: Counts
    spread: npt.NDArray[np.float64]
    beyond: float

    @staticmethod
    def fit(
        encoder: TableEncoder,
        bins: Bins,
        partitions: npt.NDArray[np.intp],
        p_value: npt.NDArray[np.float32],
        held_out: npt.NDArray[np.intp],
    ) -> GuardReference:
        """Learn what is natural.

        Training has seen all of its own texts: the share that new rows will bring is Good and Turing's estimate.

        Args:
            encoder: of this version.
            bins: int16 [C, n], of training rows.
            partitions: int [n], the partition each of them came from.
            p_value: float32 [m], of calibration rows.
            held_out: int [m], the partition each of those came from.
        """
        whole = with_unseen(encoder, count_bins(encoder, bins))
        spread = np.zeros(len(encoder.specs))
        for partition in np.unique(partitions):
            own = bins[:, partitions == partition]
            apart = distances(encoder, with_unseen(encoder, count_bins(encoder, own)), whole)
            # A small partition differs by chance alone: that part is not its nature.
            spread = np.maximum(spread, apart - chance(own.shape[1], 1))
        beyond = BEYOND
        for partition in np.unique(held_out):
            odd = p_value[held_out == partition] <= BEYOND
            share = float(odd.mean())
            if len(odd) >= ENOUGH:
                beyond = max(beyond, share - (share * (1 - share) / len(odd)) ** 0.5)
        return GuardReference(whole, spread, beyond)


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


def distances(encoder: TableEncoder, counts: Counts, reference: Counts) -> npt.NDArray[np.float64]:
    """Kolmogorov-Smirnov distance of each column's counts from the reference, float64 [C]."""
    out = np.zeros(len(encoder.specs))
    for index, (spec, start) in enumerate(zip(encoder.specs, encoder.bin_offsets, strict=True)):
        ours = counts[start : start + spec.bins] / max(counts[start : start + spec.bins].sum(), 1)
        theirs = reference[start : start + spec.bins] / max(reference[start : start + spec.bins].sum(), 1)
        out[index] = np.abs(np.cumsum(ours - theirs)).max()
    return out


def chance(rows: int, columns: int) -> float:
    """Distance that chance alone exceeds with probability at most SIGNIFICANCE over all columns together."""
    return float(np.sqrt(np.log(2 * columns / SIGNIFICANCE) / (2 * max(rows, 1))))


def _luck(beyond: int, rows: int, natural: float) -> float:
    """Probability that at least so many of the rows lie beyond 95% of the calibration set by chance (binomial)."""
    from scipy.special import betainc

    return float(betainc(beyond, rows - beyond + 1, natural)) if beyond else 1.0


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
        self.rows = self.beyond = 0

    def watch(self, bin_counts: Counts, p_value: npt.NDArray[np.float32]) -> None:
        """Take note of rows: their cells by bin int64 [total bins] and p-values float32 [n]."""
        self.counts += bin_counts
        self.rows += len(p_value)
        self.beyond += int((p_value <= BEYOND).sum())

    def verdict(self) -> GuardVerdict:
        """Judge all rows watched so far."""
        reasons, columns = list(self.schema_notes), []
        if not self.rows:
            return GuardVerdict(verdict="familiar", reasons=["no rows"], columns=[])
        width = len(self.encoder.specs)
        effect = distances(self.encoder, self.counts, self.reference.counts) * self._judged
        limit = chance(self.rows, width + 1) + self.reference.spread + SLACK
        for index in np.argsort(limit - effect):
            if effect[index] > limit[index]:
                columns.append(self._reason(int(index), float(effect[index]), float(limit[index])))
        reasons += [f"{c.column}: {c.reason}" for c in columns]
        share = self.beyond / self.rows
        drifting = _luck(self.beyond, self.rows, self.reference.beyond) <= SIGNIFICANCE / (width + 1)
        if drifting:
            reasons.append(f"scores: {share:.0%} of rows are odder than 95% of calibration rows")
        unfamiliar = self._unfamiliar(share, effect, limit)
        word: Verdict = (
            "unfamiliar" if unfamiliar else "drifted" if drifting or columns or self.schema_notes else "familiar"
        )
        return GuardVerdict(verdict=word, reasons=reasons, columns=columns)

    def _unfamiliar(self, share: float, effect: npt.NDArray[np.float64], limit: npt.NDArray[np.float64]) -> bool:
        if self.rows < 20:
            # So few rows can all be odd in a familiar world; each of them is judged by itself.
            return False
        most_rows = share >= 0.5
        far = effect > np.maximum(limit, FAR)
        return bool(most_rows or far.sum() >= max(self._judged.sum() / 2, 1))

    def _reason(self, index: int, effect: float, limit: float) -> ColumnReason:
        spec, start = self.encoder.specs[index], int(self.encoder.bin_offsets[index])
        ours, theirs = self.counts[start : start + spec.bins], self.reference.counts[start : start + spec.bins]
        return ColumnReason(column=spec.name, reason=_why(spec, ours, theirs), effect=effect, limit=limit)


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
