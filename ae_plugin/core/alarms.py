"""Up to which p-value is a row flagged? A rate of normal rows, or a rate of the alarms themselves.

`alert_rate_of: rows` flags what has a p-value of at most `alert_rate`: so many of the normal rows are flagged.
`alert_rate_of: alarms` looks at all p-values of a partition first, and flags as many rows as can be while at most
`alert_rate` of the flagged are expected to be normal (Benjamini and Hochberg, 1995). Conformal p-values share their
calibration set, and depend on one another in the way that the rule allows (Bates, Candès, Lei, Romano, Sesia, 2023).
That proof asks for scores that do not look at the calibration rows. Where those are neighbours (see `neighbours`), that
the rule holds is measured, not proven. And it holds on average over calibration sets: one version may be off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from ae_plugin.core.values import Floats
from ae_plugin.schemas import AlertRateOf

_SHARES = (0.005, 0.995)
_FEW = 1_000
"""Flagged rows up to which chance is counted one by one."""


def flag_limit(of: AlertRateOf, alert_rate: float, calibration: int, p_values: Iterable[Floats]) -> float:
    """The p-value up to which rows of a partition are flagged; 0: no row is.

    Args:
        of: what `alert_rate` is a share of.
        alert_rate: the share.
        calibration: rows in the calibration set.
        p_values: float32, all of the partition's in any order and cut; not looked at when it is a share of rows.
    """
    return alert_rate if of == "rows" else discovery_limit(alert_rate, calibration, p_values)


def discovery_limit(share: float, calibration: int, p_values: Iterable[Floats]) -> float:
    """The largest p-value at which at most `share` of the rows up to it are expected to be normal, 0 when none is.

    There are as many different p-values as calibration rows: counting them needs no more memory for more rows.
    """
    steps = calibration + 1
    counts = np.zeros(steps + 1, np.int64)
    for part in p_values:
        counts += np.bincount(np.rint(part * np.float64(steps)).astype(np.int64), minlength=steps + 1)
    flagged = np.cumsum(counts)
    # k/steps <= share * flagged/rows, in whole numbers as far as they go.
    fits = np.flatnonzero((np.arange(steps + 1) * flagged[-1] <= share * steps * flagged * (1 + 1e-12)) & (flagged > 0))
    return float(fits[-1] / steps) if len(fits) else 0.0


@lru_cache(65_536)
def expected_rates(rows: int, alert_rate: float, calibration: int | None) -> tuple[float, float] | None:
    """Where the observed alarm rate of normal rows lies 99 times in 100; None when no row can be flagged.

    The share that a calibration set lets through differs from set to set, and that of a partition's rows from it: in
    both together their number is beta-binomial; where it is large, a gamma's quantiles at its mean and variance.

    Args:
        rows: of the partition.
        alert_rate: the share of rows.
        calibration: rows in the calibration set; None: not known, as if there were very many.
    """
    steps = (calibration if calibration is not None else 10**9) + 1
    allowed = math.floor(alert_rate * steps + 1e-9)
    if not rows or not allowed:
        return None
    mean = rows * allowed / steps
    variance = mean * (1 - allowed / steps) * (1 + (rows - 1) / (steps + 1))
    beyond = math.ceil(mean + 15 * variance**0.5) + 10
    few = beyond < _FEW
    low, high = _beta_binomial(rows, allowed, steps - allowed, beyond) if few else _gamma(mean, variance)
    return low / rows, min(high, rows) / rows


def _beta_binomial(rows: int, a: int, b: int, beyond: int) -> tuple[int, int]:
    from scipy.special import betaln, gammaln

    k = np.arange(min(rows, beyond) + 1)
    ways = gammaln(rows + 1) - gammaln(k + 1) - gammaln(rows - k + 1)
    below = np.cumsum(np.exp(ways + betaln(k + a, rows - k + b) - betaln(a, b)))
    low, high = (int(np.searchsorted(below, share * (1 - 1e-12))) for share in _SHARES)
    return low, high


def _gamma(mean: float, variance: float) -> tuple[int, int]:
    from scipy.special import gammaincinv

    # Half a row is the continuity correction: whole rows are flagged.
    low, high = (math.ceil(gammaincinv(mean**2 / variance, share) * variance / mean - 0.5) for share in _SHARES)
    return max(low, 0), high


def few_calibration_rows(share: float, calibration: int, rows: int) -> list[str]:
    """Say so when one row alone, however odd, cannot be flagged in a partition of so many rows."""
    fewest = math.ceil(rows / ((calibration + 1) * share) - 1e-9)
    if fewest <= 1:
        return []
    return [
        f"alert_rate_of: alarms at {share:g} with {calibration} calibration rows: among {rows} rows none is flagged "
        f"unless {fewest} of them are odder than every calibration row"
    ]
