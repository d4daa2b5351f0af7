"""How the values of each column are spread, now and in training, in parts that people can read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ae_plugin.core.columns import GRID, CategorySpec, ColumnSpec, NumberSpec, TimeSpec
from ae_plugin.core.guard import Counts, Guard
from ae_plugin.core.numbers import unsquash
from ae_plugin.core.values import Doubles
from ae_plugin.schemas import ColumnProfile

COLUMNS, PARTS, VALUES = 40, 12, 11
Cuts = npt.NDArray[np.int64]
_DUST = 0.005
"""Share of training that lies beyond the parts on either side."""


def column_profiles(guard: Guard, first: list[str]) -> list[ColumnProfile]:
    """The columns that moved most, those of the verdict first.

    Args:
        guard: that watched the partition.
        first: columns that its verdict names.
    """
    encoder, moved = guard.encoder, guard.moved()
    excess = moved.share - moved.limit
    named = np.array([name in first for name in encoder.names])
    found = []
    for index in np.lexsort((-excess, ~named))[:COLUMNS]:
        spec, start = encoder.specs[index], int(encoder.bin_offsets[index])
        now, training = (counts[start : start + spec.bins] for counts in (guard.counts, guard.reference.counts))
        parts, shares = _parts(spec, now, training)
        found.append(
            ColumnProfile(
                column=spec.name,
                kind=spec.kind,
                parts=parts,
                now=shares[0],
                training=shares[1],
                moved=round(float(moved.share[index]), 4),
                usual=round(min(float(moved.limit[index]), 1.0), 4),
            )
        )
    return found


def _parts(spec: ColumnSpec, now: Counts, training: Counts) -> tuple[list[str], list[list[float]]]:
    """Names of parts, and the shares of both samples in them; empty parts are left out but for those between others."""
    values = (now[: spec.value_bins], training[: spec.value_bins])
    if isinstance(spec, (NumberSpec, TimeSpec)):
        names, sums = _ranges(spec, *values)
    elif isinstance(spec, CategorySpec):
        names, sums = _values(spec, *values)
    else:
        half = spec.value_bins // 2
        names = ["a value of training", "another value"]
        sums = [np.array([one[:half].sum(), one[half:].sum()]) for one in values]
    gaps = [np.append(one, counts[spec.value_bins :]) for one, counts in zip(sums, (now, training), strict=True)]
    names = [*names, "null", "never seen"]
    kept = [n for n in range(len(names)) if n < len(names) - 2 or any(one[n] for one in gaps)]
    shares = [(one / max(one.sum(), 1))[kept].round(5).tolist() for one in gaps]
    return [names[n] for n in kept], shares


def _values(spec: CategorySpec, now: Counts, training: Counts) -> tuple[list[str], list[Counts]]:
    """The most frequent values, now or in training, and all others together."""
    most = np.maximum(now / max(now.sum(), 1), training / max(training.sum(), 1))
    order = np.argsort(-most, kind="stable")
    shown, rest = order[:VALUES], order[VALUES:]
    names = [spec.values[index] for index in shown]
    if not len(rest):
        return names, [now[shown], training[shown]]
    return [*names, f"{len(rest)} other values"], [np.append(one[shown], one[rest].sum()) for one in (now, training)]


def _ranges(spec: NumberSpec | TimeSpec, now: Counts, training: Counts) -> tuple[list[str], list[Counts]]:
    """Equal ranges over where training's values lie, and what is below and above."""
    share = np.cumsum(training) / max(training.sum(), 1)
    low, high = int(np.searchsorted(share, _DUST)), int(np.searchsorted(share, 1 - _DUST)) + 1
    low, high = min(low, GRID - 1), min(max(high, low + 1), GRID)
    cuts = np.unique(np.linspace(low, high, min(PARTS, high - low) + 1).round().astype(int))
    if isinstance(spec, NumberSpec) and spec.digits == 0:
        cuts, names, outside = _whole_ranges(spec, cuts)
    else:
        texts = _texts(spec, _values_at(spec, cuts))
        names, outside = [f"{one} to {other}" for one, other in pairwise(texts)], (texts[0], texts[-1])
    sums = [np.add.reduceat(one[: cuts[-1]], cuts[:-1]) for one in (now, training)]
    below, above = (
        [one[: cuts[0]].sum() for one in (now, training)],
        [one[cuts[-1] :].sum() for one in (now, training)],
    )
    if any(below):
        names, sums = (
            [f"below {outside[0]}", *names],
            [np.insert(one, 0, n) for one, n in zip(sums, below, strict=True)],
        )
    if any(above):
        names, sums = [*names, f"above {outside[1]}"], [np.append(one, n) for one, n in zip(sums, above, strict=True)]
    return names, sums


def _whole_ranges(spec: NumberSpec, cuts: Cuts) -> tuple[Cuts, list[str], tuple[str, str]]:
    """Ranges by the first and the last whole number in them; one that holds none belongs to the one before.

    Returns:
        the cuts that are left, the ranges' names, and what values below and above are beyond.
    """
    edges = np.ceil(_values_at(spec, cuts))
    kept = np.append(np.diff(edges) > 0, True)
    if not kept[:-1].any():
        kept[0] = True
    cuts, edges = cuts[kept], edges[kept]
    names = [f"{one:.0f} to {other - 1:.0f}" if other - 1 > one else f"{one:.0f}" for one, other in pairwise(edges)]
    return cuts, names, (f"{edges[0]:.0f}", f"{edges[-1] - 1:.0f}")


def _values_at(spec: NumberSpec | TimeSpec, cuts: Cuts) -> Doubles:
    """The values at bins' lower edges."""
    z = unsquash(((cuts - GRID / 2) / (GRID / 16)).astype(np.float32))
    # No part reaches beyond what training held; of whole numbers the last one is in its part.
    most = spec.high + 1 if isinstance(spec, NumberSpec) and spec.digits == 0 else spec.high
    return np.clip(z.astype(np.float64) * spec.std + spec.mean, spec.low, most)


def _texts(spec: NumberSpec | TimeSpec, edges: Doubles) -> list[str]:
    if isinstance(spec, NumberSpec):
        apart = np.diff(edges).min(initial=np.inf)
        digits = int(np.clip(1 - np.floor(np.log10(apart)), 0, 12)) if 0 < apart < np.inf else 3
        return [f"{edge:.{digits}f}" if abs(edge) < 1e15 else f"{edge:.4g}" for edge in edges]
    return [_moment(edge, relative=spec.relative) for edge in edges]


def _moment(seconds: float, *, relative: bool) -> str:
    try:
        if not relative:
            at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=round(seconds))
            return f"{at:%Y-%m-%d %H:%M}"
        days, rest = divmod(round(abs(seconds)) // 60, 24 * 60)
        return f"{'-' if seconds < 0 else '+'}{f'{days} d ' if days else ''}{rest // 60:02d}:{rest % 60:02d}"
    except (OverflowError, ValueError):
        return f"{seconds:.4g} s"
