"""What a training cannot promise of the model it made, in words for the person who will be woken by its alarms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ae_plugin.core.calibration import is_anomaly
from ae_plugin.core.columns import TextSpec
from ae_plugin.core.features import Encoded
from ae_plugin.core.scoring import Reference
from ae_plugin.core.values import Bools, Floats
from ae_plugin.jobs.history import History

COPIES, UNSEEN, LOOSE, TELLING = 0.1, 0.9, 1.5, 20
UNEVEN_ROWS, UNEVEN_BY_CHANCE = 50, 0.01
CELLS_BY_CHANCE = 0.1
"""Cells of a normal row that are odder than all calibration cells by chance, from which on that is said."""
_CHUNK_ROWS = 8192


def limits(history: History, reference: Reference, held_out: Floats, alert_rate: float) -> list[str]:
    """Say where the table's shape keeps less from being promised than the words `alert_rate` say.

    Args:
        history: what was learned from.
        reference: what scoring knows of calibration rows.
        held_out: float32 [n], p-values of the calibration rows.
        alert_rate: the pipeline's.
    """
    partitions = np.asarray(history.sample.partitions)[history.split.calibration]
    return [
        *_uneven(partitions.tolist(), held_out, alert_rate),
        *_few_rows(len(reference.calibration), alert_rate),
        *_copies(history, held_out, alert_rate),
        *_ties(reference.calibration, held_out, alert_rate),
        *_columns(history, reference),
    ]


def _uneven(partitions: Sequence[str], held_out: Floats, alert_rate: float) -> list[str]:
    """Say so when partitions differ by more than chance: the alarm rate is promised of their mixture, not of each.

    Args:
        partitions: of each calibration row, [n].
        held_out: float32 [n], p-values of the calibration rows.
        alert_rate: the pipeline's.
    """
    from scipy.stats import binom

    _, own, rows = np.unique(np.asarray(partitions), return_inverse=True, return_counts=True)
    alarms = np.bincount(own, is_anomaly(held_out, alert_rate))
    told = rows >= UNEVEN_ROWS
    shares = alarms[told] / rows[told]
    # The more partitions there are, the farther out the worst of them lies by chance.
    if len(shares) < 3 or binom.sf(alarms[told] - 1, rows[told], alert_rate).min() * len(shares) > UNEVEN_BY_CHANCE:
        return []
    return [
        f"partitions differ: at alert_rate {alert_rate:g}, which holds for all of them together, {shares.min():.1%} to "
        f"{shares.max():.1%} of a partition's held-out rows are flagged"
    ]


def _few_rows(rows: int, alert_rate: float) -> list[str]:
    """Of few calibration rows alone, an alarm rate is known only roughly (Vovk, 2012: a Beta distribution)."""
    from scipy.stats import beta

    allowed = math.floor(alert_rate * (rows + 1) + 1e-9)
    if not allowed:
        return []
    low, high = (float(end) for end in beta.ppf([0.05, 0.95], allowed, rows + 1 - allowed))
    if high <= LOOSE * alert_rate:
        return []
    return [
        f"alert_rate {alert_rate:g} rests on {rows} calibration rows: it holds on average over trainings; of this "
        f"version alone, {low:.2%} to {high:.2%} of normal rows may be flagged (nine versions of ten)"
    ]


def _copies(history: History, held_out: Floats, alert_rate: float) -> list[str]:
    """Rows that were trained on and calibrated with: they say little about rows that were not there before."""
    split = history.split
    twins = np.isin(_digests(history.encoded, split.calibration), _digests(history.encoded, split.train))
    if twins.mean() < COPIES:
        return []
    said = (
        f"{twins.mean():.0%} of the calibration rows are copies of rows trained on: alert_rate {alert_rate:g} holds "
        "as long as rows repeat as they did in history"
    )
    flagged = is_anomaly(held_out, alert_rate)[~twins]
    if len(flagged) < TELLING:
        return [said]
    return [f"{said}; of those that were not there before, {flagged.mean():.1%} are flagged"]


def _digests(encoded: Encoded, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> np.ndarray[tuple[int], np.dtype]:
    """A number for each row, uint64 [k]: equal for equal rows, and for others but by a chance of one in 10^19."""
    weights = np.random.default_rng(5).integers(1, 2**63, encoded.x.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    out = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), _CHUNK_ROWS):
        part = np.ascontiguousarray(encoded.x[rows[start : start + _CHUNK_ROWS]]) + np.float32(0)  # no negative zeros
        # In whole numbers, which wrap around: sums of floats would depend on their order.
        out[start : start + _CHUNK_ROWS] = (part.view(np.uint32) * weights).sum(axis=1, dtype=np.uint64)
    return out


def _ties(calibration: Floats, held_out: Floats, alert_rate: float) -> list[str]:
    """Scores that many rows share: an alarm for one of them is an alarm for all, so fewer than promised may fire."""
    allowed = math.floor(alert_rate * (len(calibration) + 1) + 1e-9) - 1
    flagged: Bools = is_anomaly(held_out, alert_rate)
    if allowed < 4 or int(flagged.sum()) >= allowed / 2:
        return []
    return [
        f"many rows are equal: {len(calibration)} calibration rows have {len(np.unique(calibration))} different "
        f"scores. At alert_rate {alert_rate:g} only {flagged.mean():.2%} of normal rows are flagged, and rows that "
        "are as odd as a common kind are not"
    ]


def _columns(history: History, reference: Reference) -> list[str]:
    specs, notes = history.encoder.specs, []
    if len(specs) == 1:
        notes.append(
            f"{specs[0].name} is the only column that is learned: nothing else says what it should be, so only values "
            "that are rare in themselves can be found, and what is expected is always a typical one"
        )
    names = [spec.name for spec in specs if isinstance(spec, TextSpec) and spec.unseen_rate > UNSEEN]
    if names:
        notes.append(
            f"another word in nearly every row: {', '.join(names)}. How it is spelt is learned, not which one belongs "
            "in a row"
        )
    rows, cells = len(history.split.train), len(reference.cells)
    if len(specs) > rows:
        notes.append(f"{len(specs)} columns are learned from {rows} rows: what columns have in common is known roughly")
    by_chance = len(specs) / (cells + 1)
    if by_chance > CELLS_BY_CHANCE:
        some, most = f"in {by_chance:.0%} of normal rows", f"about {by_chance:.0f} times in a normal row"
        often = most if by_chance >= 1 else some
        notes.append(
            f"a cell is wrong when it is odder than its column's {cells} calibration cells: with {len(specs)} columns "
            f"that happens {often}, by chance. In flagged rows trust the first cells most"
        )
    return notes
