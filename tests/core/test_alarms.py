"""Benjamini and Hochberg's rule on conformal p-values, counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ae_plugin.core.alarms import discovery_limit, expected_rates, few_calibration_rows, flag_limit
from ae_plugin.core.calibration import is_anomaly, p_values


def step_up(p: np.ndarray, share: float) -> np.ndarray:
    """The rule as it is written in textbooks: sort, compare each with its own line, take all up to the last one."""
    order = np.argsort(p, kind="stable")
    below = np.flatnonzero(p[order] <= share * np.arange(1, len(p) + 1) / len(p) * (1 + 1e-12))
    return p <= (p[order][below[-1]] if len(below) else -1)


@given(
    calibration=st.integers(1, 3000),
    rows=st.integers(1, 300),
    odd=st.floats(0, 1),
    share=st.floats(0.001, 0.9),
    seed=st.integers(0, 99),
)
def test_it_is_the_textbook_s_rule(calibration: int, rows: int, odd: float, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = np.where(rng.random(rows) < odd, 1 + rng.integers(0, 3, rows) % (calibration + 1),
                 rng.integers(1, calibration + 2, rows))  # fmt: skip
    p = (k / (calibration + 1.0)).astype(np.float32)
    limit = discovery_limit(share, calibration, [p])
    assert np.array_equal(is_anomaly(p, limit), step_up(k / (calibration + 1.0), share))
    cut = rng.integers(0, rows + 1)
    assert discovery_limit(share, calibration, [p[cut:], p[:cut]]) == limit
    assert limit <= share, "never more than the rate of rows would flag"


def test_no_rows_no_alarms() -> None:
    assert discovery_limit(0.1, 99, []) == 0
    assert discovery_limit(0.1, 0, [np.ones(3, np.float32)]) == 0


def test_a_rate_of_rows_does_not_look_at_the_rows() -> None:
    def looked():  # noqa: ANN202
        raise AssertionError
        yield

    assert flag_limit("rows", 0.01, 99, looked()) == 0.01


@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("odd", [0, 20, 100])
def test_the_false_share_of_alarms_is_kept_on_average(share: float, odd: int) -> None:
    rng = np.random.default_rng(1)
    false = []
    for _ in range(300):
        calibration = np.sort(rng.normal(size=1000)).astype(np.float32)
        rows = np.r_[rng.normal(size=500 - odd), rng.normal(4, 1, odd)].astype(np.float32)
        p = p_values(rows, calibration)
        flagged = is_anomaly(p, discovery_limit(share, 1000, [p]))
        false.append(flagged[: 500 - odd].sum() / max(flagged.sum(), 1))
    assert np.mean(false) <= share + 3 * np.std(false) / 300**0.5


@pytest.mark.parametrize(
    ("calibration", "rows", "fewest"), [(999, 10, 1), (999, 100, 1), (999, 101, 2), (99, 1000, 10 * 10)]
)
def test_the_note_says_how_many_it_takes(calibration: int, rows: int, fewest: int) -> None:
    """With the smallest p-value, 1/(n+1), exactly so many rows are enough."""
    smallest, ones = np.float32(1 / (calibration + 1)), np.ones(rows, np.float32)

    def limit(odd: int) -> float:
        return discovery_limit(0.1, calibration, [np.full(odd, smallest), ones[odd:]])

    assert limit(fewest) > 0
    assert fewest == 1 or limit(fewest - 1) == 0
    notes = few_calibration_rows(0.1, calibration, rows)
    assert [f"unless {fewest} of them" in note for note in notes] == [True] * (fewest > 1)


@pytest.mark.parametrize("rows", [1, 40, 842, 10_000, 3_000_000])
@pytest.mark.parametrize("calibration", [150, 5_000, 20_000])
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])
def test_the_expected_band_is_about_that_of_the_beta_binomial(rows: int, calibration: int, rate: float) -> None:
    from scipy.stats import betabinom

    found = expected_rates(rows, rate, calibration)
    allowed = math.floor(rate * (calibration + 1) + 1e-9)
    if not allowed:
        assert found is None
        return
    assert found is not None
    exact = [float(betabinom.ppf(share, rows, allowed, calibration + 1 - allowed)) for share in (0.005, 0.995)]
    for ours, theirs in zip(found, exact, strict=True):
        assert ours * rows == pytest.approx(theirs, rel=1e-9 if rows <= 842 else 0.08)


def test_there_is_no_band_where_nothing_can_be_flagged() -> None:
    assert expected_rates(0, 0.01, 1_000) is None
    assert expected_rates(100, 0.01, 50) is None
    assert expected_rates(1_000, 0.01, None) is not None
