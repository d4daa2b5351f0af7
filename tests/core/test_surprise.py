"""How surprising a cell is: each column by its own tail, whatever the others do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.core.calibration import Tail
from ae_plugin.core.surprise import ColumnTails

QUICK = settings(max_examples=50, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def errors() -> np.ndarray:
    """Three columns: of ordinary, of tiny and of mostly no errors."""
    rng = np.random.default_rng(6)
    columns = [rng.gamma(2, 1, 800), 1e-4 * rng.gamma(2, 1, 800), np.where(rng.random(800) < 0.9, 0, rng.gamma(2))]
    return np.stack(columns, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def tails(errors: np.ndarray) -> ColumnTails:
    return ColumnTails.fit(errors)


def test_one_row_of_points_a_column(tails: ColumnTails) -> None:
    assert tails.at.shape == tails.nats.shape
    assert (len(tails.at), tails.index.shape) == (3, (3,))
    assert (np.diff(tails.at, axis=1) >= 0).all()
    assert (np.diff(tails.nats, axis=1) >= 0).all()


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
def test_quantiles_are_those_of_the_errors(errors: np.ndarray, tails: ColumnTails, share: float) -> None:
    within = (errors <= tails.quantile(share)).mean(axis=0)
    assert within[:2] == pytest.approx([share, share], abs=0.01)
    assert within[2] >= share - 0.01, "where most errors are alike, no fewer"


@QUICK
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-6, 1e-2, 1.0, 100.0]))
def test_each_column_is_asked_its_own_tail(errors: np.ndarray, tails: ColumnTails, seed: int, scale: float) -> None:
    """Rounded down to one of sixteen levels an octave."""
    asked = (np.random.default_rng(seed).gamma(1, scale, (40, 3))).astype(np.float32)
    found = tails.surprise(asked)
    assert found.shape == (40, 3) and found.dtype == np.float32
    for column in range(3):
        tail = Tail.fit(errors[:, column])
        inside = (asked[:, column] > 1e-8) & (asked[:, column] < 1e6)
        assert (found[inside, column] <= tail.exact(asked[inside, column]) + 1e-4).all()
        assert (found[inside, column] >= tail.exact(asked[inside, column] * np.float32(0.94)) - 1e-4).all()


@QUICK
@given(seed=st.integers(0, 10**6), rows=st.integers(0, 30))
def test_the_worst_cell_is_the_largest_surprise(tails: ColumnTails, seed: int, rows: int) -> None:
    asked = np.random.default_rng(seed).gamma(1, 3, (rows, 3)).astype(np.float32)
    assert np.array_equal(tails.worst(asked), tails.surprise(asked).max(axis=1, initial=-np.inf))


def test_worst_leaves_the_errors_alone(tails: ColumnTails) -> None:
    asked = np.ones((5, 3), np.float32)
    tails.worst(asked)
    assert (asked == 1).all()


def test_the_same_error_is_odd_in_one_column_and_usual_in_another(tails: ColumnTails) -> None:
    ordinary, tiny, _ = tails.surprise(np.full((1, 3), 1.0, np.float32))[0]
    assert ordinary < 1 < 8 < tiny


def test_surprise_grows_with_the_error(tails: ColumnTails) -> None:
    ladder = np.geomspace(1e-8, 1e6, 300).astype(np.float32)
    found = tails.surprise(np.stack([ladder] * 3, axis=1))
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found[-1] > found[0] + 5).all()
    assert np.isfinite(tails.surprise(np.array([[0, 1e38, np.inf]], np.float32))).all()


def test_rows_do_not_disturb_each_other(tails: ColumnTails, errors: np.ndarray) -> None:
    whole = tails.surprise(errors)
    assert np.array_equal(tails.surprise(errors[17:18])[0], whole[17])
    assert np.array_equal(tails.worst(np.asfortranarray(errors)), tails.worst(errors))


def test_columns_of_unlike_lengths_are_padded_without_effect() -> None:
    """A column of two values beside one of many."""
    rng = np.random.default_rng(0)
    many = rng.gamma(2, 1, 400).astype(np.float32)
    two = np.where(np.arange(400) < 300, 0.5, 4.0).astype(np.float32)
    alone, together = ColumnTails.fit(two[:, None]), ColumnTails.fit(np.stack([two, many], axis=1))
    asked = np.geomspace(1e-3, 1e3, 50).astype(np.float32)
    beside = together.surprise(np.stack([asked, asked], axis=1))[:, 0]
    assert np.array_equal(alone.surprise(asked[:, None])[:, 0], beside)


def test_how_surprising_the_worst_of_many_columns_is_is_asked_out_of_sample() -> None:
    """In sample no cell is rarer than one in n + 1: a new row's worst would look far odder than any row seen."""
    errors = np.random.default_rng(0).chisquare(1, (150, 60)).astype(np.float32)
    new = np.random.default_rng(1).chisquare(1, (5_000, 60)).astype(np.float32)
    tails = ColumnTails.fit(errors)
    inside, fresh, real = tails.worst(errors), ColumnTails.fresh_worst(errors), tails.worst(new)
    assert inside.max() <= np.log(151) + 1e-3
    assert np.quantile(real, 0.9) > inside.max()
    assert 0.75 < np.quantile(fresh, 0.9) / np.quantile(real, 0.9) < 1.35
    assert ColumnTails.fresh_worst(errors[:1]).shape == (1,)
