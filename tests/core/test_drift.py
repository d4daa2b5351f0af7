"""How far p-values are from calibration's: one number, however the rows are cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from ae_plugin.core.calibration import p_values
from ae_plugin.core.drift import by_chance, count_p_values, p_value_drift

QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def scores(seed: int, rows: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, rows).astype(np.float32)


def drift(new: np.ndarray, calibration: np.ndarray) -> float:
    calibration = np.sort(calibration)
    found = p_value_drift(count_p_values(p_values(new, calibration), len(calibration)), calibration)
    assert found is not None
    return found


@QUICK
@given(rows=st.integers(1, 400), calibration=st.integers(1, 400), shift=st.floats(-2, 2), seed=st.integers(0, 99))
def test_it_is_the_kolmogorov_distance(rows: int, calibration: int, shift: float, seed: int) -> None:
    new, known = scores(seed, rows, shift), scores(seed + 1000, calibration)
    exact = ks_2samp(new, known).statistic
    assert exact - 0.02 - 1 / calibration <= drift(new, known) <= exact + 1 / calibration + 1e-6


def test_rows_like_historys_stay_below_what_chance_allows() -> None:
    known = scores(0, 2000)
    found = [drift(scores(seed, 300), known) for seed in range(1, 201)]
    assert sum(one > by_chance(300, 2000) for one in found) <= 6, "one in a hundred"
    assert np.mean(found) > by_chance(300, 2000) / 4, "the limit is no empty one"


def test_other_rows_are_far() -> None:
    known = scores(0, 2000)
    assert drift(scores(1, 300, 5), known) > 0.95
    assert drift(scores(1, 300, -5), known) > 0.95, "also those that are too ordinary"


@QUICK
@given(cuts=st.lists(st.integers(0, 500), max_size=5))
def test_it_does_not_hang_on_where_rows_are_cut(cuts: list[int]) -> None:
    known = np.sort(scores(0, 700))
    p = p_values(scores(1, 500, 0.5), known)
    parts = np.split(p, sorted(cuts))
    assert sum((count_p_values(part, 700) for part in parts), start=Counter()) == count_p_values(p, 700)


@pytest.mark.parametrize("calibration_rows", [1, 19, 99, 199, 12_345])
def test_each_p_value_falls_into_its_hundredth(calibration_rows: int) -> None:
    steps = calibration_rows + 1
    rank = np.arange(1, steps + 1)
    counts = count_p_values((rank / steps).astype(np.float32), calibration_rows)
    # Up to k hundredths lie the ranks up to k / 100 * steps, in whole numbers.
    assert np.cumsum([counts[k] for k in range(1, 101)]).tolist() == [k * steps // 100 for k in range(1, 101)]


def test_rows_that_are_copies_of_one_another_drift_from_nothing() -> None:
    known = np.repeat(np.float32([1, 2, 3]), [500, 300, 200])
    assert drift(np.tile(np.repeat(np.float32([1, 2, 3]), [5, 3, 2]), 30), known) < 0.01
    assert drift(np.full(300, 3, np.float32), known) == pytest.approx(0.8)


def test_of_no_rows_nothing_is_said() -> None:
    assert p_value_drift(Counter(), scores(0, 10)) is None
    assert p_value_drift(count_p_values(np.ones(3, np.float32), 0), np.zeros(0, np.float32)) is None
