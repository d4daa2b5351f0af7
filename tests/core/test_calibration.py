"""Conformal p-values against the formula written out, and tails that never go down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.core.calibration import CoreTails, PValues, Tail, is_anomaly, p_values, rows_needed, whole_levels

QUICK = settings(max_examples=80, deadline=None, derandomize=True)
SCORES = st.lists(st.floats(-100, 100, width=32) | st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=60)
ERRORS = st.lists(st.floats(0, 1e6, width=32), min_size=2, max_size=200)


@QUICK
@given(scores=SCORES, calibration=SCORES)
def test_p_values_are_the_conformal_formula(scores: list[float], calibration: list[float]) -> None:
    """(1 + #{calibration >= score}) / (n + 1), ties and all."""
    known = np.sort(np.array(calibration, np.float32))
    found = p_values(np.array(scores, np.float32), known)
    n = len(calibration)
    wanted = [(1 + sum(c >= s for c in known)) / (n + 1) for s in np.array(scores, np.float32)]
    assert found.dtype == np.float32
    assert found.tolist() == np.array(wanted, np.float32).tolist()
    assert (found >= np.float32(1 / (n + 1))).all() and (found <= 1).all()


def test_a_p_value_without_calibration_rows_says_nothing() -> None:
    assert p_values(np.array([5.0], np.float32), np.zeros(0, np.float32)).tolist() == [1.0]


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_fresh_scores_fall_below_a_rate_no_more_often_than_it_says(rate: float) -> None:
    """Averaged over calibration sets: exactly floor(rate * (n + 1)) / (n + 1)."""
    rng = np.random.default_rng(4)
    n, trials = 199, 4000
    alarms = 0
    for _ in range(trials):
        drawn = rng.gamma(2, 1, n + 1).astype(np.float32)
        alarms += int(is_anomaly(p_values(drawn[:1], np.sort(drawn[1:])), rate)[0])
    promised = np.floor(rate * (n + 1)) / (n + 1)
    assert abs(alarms / trials - promised) < 4 * np.sqrt(promised * (1 - promised) / trials)


@pytest.mark.parametrize("rate", [0.5, 0.3, 0.25, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001, 1 / 3, 1 / 7, 0.015])
def test_rows_needed_is_where_an_alarm_can_first_fire(rate: float) -> None:
    needed = rows_needed(rate)
    worst = np.array([9.0], np.float32)
    assert is_anomaly(p_values(worst, np.zeros(needed, np.float32)), rate).all()
    assert needed == 0 or not is_anomaly(p_values(worst, np.zeros(needed - 1, np.float32)), rate).any()


@pytest.mark.parametrize("rows", [9, 99, 999])
def test_a_p_value_equal_to_the_rate_raises_the_alarm(rows: int) -> None:
    """Both as float32: 1/100 and 0.01 are the same."""
    p = p_values(np.array([1.0], np.float32), np.zeros(rows, np.float32))
    assert is_anomaly(p, 1 / (rows + 1)).tolist() == [True]
    assert is_anomaly(p, 0.99 / (rows + 1)).tolist() == [False]


@QUICK
@given(values=ERRORS, asked=ERRORS)
def test_surprise_never_falls_as_the_value_grows(values: list[float], asked: list[float]) -> None:
    tail = Tail.fit(np.array(values, np.float32))
    order = np.sort(np.array([*asked, *values, 1e7, 1e9], np.float32))
    exact, looked_up = tail.exact(order), tail(order)
    assert np.isfinite(exact).all() and np.isfinite(looked_up).all()
    assert (np.diff(exact) >= -1e-9).all()
    assert (np.diff(looked_up) >= -1e-6).all()
    assert (exact >= -1e-9).all()


@QUICK
@given(values=ERRORS)
def test_surprise_grows_beyond_everything_seen(values: list[float]) -> None:
    tail = Tail.fit(np.array(values, np.float32))
    top = max(max(values), 1e-12)
    nats = tail.exact(np.array([top, 2 * top, 4 * top]))
    assert nats[0] < nats[1] < nats[2]
    assert nats[2] - nats[1] == pytest.approx(tail.index * np.log(2), rel=1e-3), "as a Pareto tail does"


@pytest.mark.parametrize("n", [30, 300, 3_000])
def test_surprise_is_minus_the_log_of_the_tail_probability(n: int) -> None:
    values = np.random.default_rng(n).gamma(2, 1, n)
    tail = Tail.fit(values)
    for value in np.quantile(values, [0.0, 0.3, 0.7, 0.9, 0.99, 1.0], method="lower"):
        share = (values >= value).sum() / (n + 1)
        assert tail.exact(np.array([value]))[0] == pytest.approx(-np.log(share), abs=0.1)


def test_the_look_up_is_the_exact_value_rounded_down_by_a_thousandth() -> None:
    tail = Tail.fit(np.random.default_rng(0).gamma(2, 1, 2_000))
    values = np.geomspace(1e-6, 1e9, 4_001).astype(np.float32)
    found = tail(values)
    assert (found <= tail.exact(values) + 1e-5).all()
    assert (found >= tail.exact(values * np.float32(0.9985)) - 1e-5).all()


@pytest.mark.parametrize("value", [0.0, 1e-40, 1e-9, 1e12, 1e30, 3e38, float("inf")])
def test_the_look_up_has_an_answer_at_the_ends(value: float) -> None:
    tail = Tail.fit(np.random.default_rng(0).gamma(2, 1, 500))
    middle = tail(np.array([1.0], np.float32))[0]
    found = tail(np.array([value], np.float32))[0]
    assert np.isfinite(found)
    assert found < middle if value < 1 else found > middle


def test_the_tail_s_index_is_found_again() -> None:
    """Pareto values of index 3: Hill's estimate from the largest twentieth."""
    values = np.random.default_rng(1).pareto(3, 20_000) + 1
    assert Tail.fit(values).index == pytest.approx(3, rel=0.1)


def test_a_constant_statistic_still_has_a_tail() -> None:
    tail = Tail.fit(np.full(100, 2.0))
    low, at, above = tail.exact(np.array([1.0, 2.0, 3.0]))
    assert low <= at < above


@given(
    scores=st.lists(st.floats(0, 2.0**20, width=32), min_size=1, max_size=30),
    calibration=st.lists(st.floats(2.0**-20, 2.0**20, width=32), max_size=30),
)
def test_p_values_that_are_looked_up_are_those_that_are_searched_for(
    scores: list[float], calibration: list[float]
) -> None:
    known = np.sort(whole_levels(np.array(calibration, np.float32)))
    rounded = whole_levels(np.array(scores, np.float32))
    assert np.array_equal(PValues(known)(rounded), p_values(rounded, known))


def test_the_middle_of_the_errors_says_what_their_tail_should_be() -> None:
    rng = np.random.default_rng(0)
    roots = rng.exponential(1, (20_000, 2)).astype(np.float32)
    roots[:1000, 0] += 20  # a twentieth of the first column is wrong
    known = CoreTails.of(np.sort(roots**2, axis=0), np.array([True, True]))
    fresh = rng.exponential(1, (20_000, 2)).astype(np.float32) ** 2
    p = known(fresh, np.ones(fresh.shape, bool))
    assert ((p <= 0.01).mean(axis=0) <= 0.015).all() and (p[:, 1] <= 0.01).mean() >= 0.007
    assert (known(np.full((1, 2), 400, np.float32), np.ones((1, 2), bool)) < 1e-6).all()


def test_columns_that_are_not_judged_by_their_middle_have_p_values_of_one() -> None:
    errors = np.sort(np.random.default_rng(0).random((50, 3)).astype(np.float32), axis=0)
    errors[:, 2] = np.nan
    known = CoreTails.of(errors, np.array([True, False, True]))
    p = known(np.full((4, 3), 100, np.float32), np.array([[True, True, True]] * 3 + [[False] * 3]))
    assert (p[:3, 0] < 1).all() and (p[:, 1:] == 1).all() and (p[3] == 1).all()
    assert (CoreTails.of(errors, np.zeros(3, bool))(errors, errors == errors) == 1).all()
