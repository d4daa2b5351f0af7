"""Which partitions of history carry a fault? Those that stand apart from all others in one column.

Two figures are taken of every column in every partition: the share of its cells that hold no value, and how badly its
values fit their rows (the median squared error of a linear regression on the row's other columns). Seasons, trends
and odd days spread such figures out without a gap; a fault puts partitions beyond one. A partition is left out when, in
some column, it lies beyond a gap that is wider than half the way from the middle to the last partition before it.

The regression is fitted, column by column, to the partitions that fit best (least trimmed squares: Rousseeuw, 1984),
or faults in a fifth of history would be taken for what is normal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise, takewhile

import numpy as np
import numpy.typing as npt

from ae_plugin.core.encoding import VALUE
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.values import Doubles

MOST = 0.3
"""Share of the partitions that may be left out: what more of them have in common is normal."""
FEWEST, ROWS, DRAWN = 8, 20, 100
"""Partitions from which on there is a majority to go by; rows that a partition must have; rows looked at of each."""
WIDE, NULLS, MISFIT = 0.5, 0.1, 0.3
TRIMS, RIDGE, BUDGET = 3, 0.01, 1e11
RUN = 3
"""So many partitions in a row up to the newest are no incident: it is what normal looks like now."""
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Incident:
    """A partition that stands apart, by its place in the list, and why.

    `lasts`: so do all after it, and they are several: a change of the world, to be learned.
    """

    partition: int
    reason: str
    lasts: bool = False


def find_incidents(encoder: TableEncoder, encoded: Encoded, starts: Indices) -> list[Incident]:
    """Find the partitions that stand apart, in order.

    Args:
        encoder: of this history.
        encoded: its rows.
        starts: where each partition's rows start, the oldest one's first, and where the last one's end; [P + 1].
    """
    sizes = np.diff(starts)
    judged = np.flatnonzero(sizes >= ROWS)
    if len(judged) < FEWEST:
        return []
    rows = [starts[p] + np.arange(min(sizes[p], DRAWN)) * sizes[p] // min(sizes[p], DRAWN) for p in judged]
    part, edges = encoded.take(np.concatenate(rows)), np.cumsum([0, *map(len, rows)])
    found: dict[int, Incident] = {}
    for figure, reason, least in (
        (_missing(part, edges), "many cells hold no value", NULLS),
        (_misfit(encoder, part, edges), "values do not fit the other columns", MISFIT),
    ):
        for column, values in zip(encoder.names, figure, strict=True):
            for place in beyond_a_gap(values, least):
                found.setdefault(int(judged[place]), Incident(int(judged[place]), f"{column}: {reason}"))
    if len(found) > MOST * len(judged):
        return []
    newest = list(takewhile(lambda p: p in found, judged[::-1].tolist()))
    lasting = set(newest) if len(newest) >= RUN else set()
    return [replace(found[p], lasts=p in lasting) for p in sorted(found)]


def beyond_a_gap(values: Doubles, least: float) -> Indices:
    """Places of the largest values that lie beyond a gap, at most MOST of them; of several gaps, the innermost."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    count, middle = len(values), float(np.median(values))
    inner = np.arange(count - int(MOST * count) - 1, count - 1)
    gap = ordered[inner + 1] - ordered[inner]
    wide = np.flatnonzero(gap > WIDE * (ordered[inner] - middle) + least)
    return order[inner[wide[0]] + 1 :] if len(wide) else order[:0]


def _missing(part: Encoded, edges: Indices) -> Doubles:
    gone = part.state != VALUE
    return np.stack([gone[a:b].mean(axis=0) for a, b in pairwise(edges)], axis=1)


def _misfit(encoder: TableEncoder, part: Encoded, edges: Indices) -> Doubles:
    """Log of each column's median error in each partition, float64 [C, P]."""
    x = part.x.astype(np.float64)
    whole = _precision(x)
    robust = len(x) * x.shape[1] ** 2 * len(encoder.specs) * TRIMS <= BUDGET
    out = np.empty((len(encoder.specs), len(edges) - 1))
    for index, where in enumerate(encoder.slices):
        out[index] = _medians(_errors(x, whole, where), edges)
        for _ in range(TRIMS if robust else 0):
            best = out[index] <= np.quantile(out[index], 1 - MOST)
            kept = np.repeat(best, np.diff(edges))
            out[index] = _medians(_errors(x, _precision(x[kept]), where), edges)
    return out


def _precision(x: Doubles) -> tuple[Doubles, Doubles]:
    """Mean [F] and inverse of the ridge covariance [F, F] of rows."""
    mean = x.mean(axis=0)
    apart = x - mean
    cov = apart.T @ apart / len(x)
    cov[np.diag_indices_from(cov)] += RIDGE * max(float(np.trace(cov)) / len(cov), 1e-9)
    return mean, np.linalg.inv(cov)


def _errors(x: Doubles, fitted: tuple[Doubles, Doubles], where: slice) -> Doubles:
    """Mean squared error of one column's features, predicted linearly from all others, float64 [n]."""
    mean, precision = fitted
    residual = np.linalg.solve(precision[where, where], ((x - mean) @ precision[:, where]).T)
    return np.asarray((residual**2).mean(axis=0))


def _medians(errors: Doubles, edges: Indices) -> Doubles:
    middle = [float(np.median(errors[a:b])) for a, b in pairwise(edges)]
    return np.asarray(np.log10(np.array(middle) + 1e-3))
