"""Distances from rows of history: what they are, and that held-out rows are measured as new ones are."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.calibration import p_values
from ae_plugin.core.neighbours import CENTRES, FEW, SOME, TEN, Neighbours
from ae_plugin.core.values import Floats


def rows(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Values [n, 6] and codes [n, 3] that depend on them."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 6)) @ np.diag([1, 1, 1, 2, 2, 0.1])).astype(np.float32)
    return x, np.tanh(x[:, :3]) * np.float32(5)


def test_a_short_clean_history_is_asked_row_by_row() -> None:
    train, held = rows(300), rows(100, 1)
    near, _ = Neighbours.fit(train, held, contaminated=False)
    assert (len(near.points), near.held, near.groups) == (400, 100, 1)
    asked = rows(50, 2)
    points, mine = near.points.astype(float), near.joint(*asked).astype(float)
    wanted = np.sqrt(((mine[:, None] - points[None]) ** 2).sum(axis=2)).min(axis=1)
    assert np.allclose(near.distance(*asked), wanted, rtol=1e-3, atol=1e-3)
    assert np.allclose(near.distance(*train), 0, atol=5e-3), "a row of history is there itself"


def test_values_and_codes_spread_equally_far() -> None:
    train = rows(2_000)
    near, _ = Neighbours.fit(train, rows(100, 1), contaminated=False)
    spread = near.joint(*train).var(axis=0)
    assert spread[:6].sum() == pytest.approx(1, rel=1e-3) and spread[6:].sum() == pytest.approx(1, rel=1e-3)


def test_held_out_rows_are_measured_without_themselves() -> None:
    train, held = rows(200), rows(150, 1)
    near, every = Neighbours.fit(train, held, contaminated=False)
    own = every[200:]
    assert np.array_equal(near.points[every[:200]], near.joint(*train))
    assert np.array_equal(near.points[own], near.joint(*held))
    others = near.last(50)
    assert others is not None and np.array_equal(others, own[100:])
    without = near.distance(*held, own)
    assert (without > 1e-2).all()
    for row in range(5):
        left = Neighbours(np.delete(near.points, own[row], axis=0), near.scale, 1)
        assert np.allclose(left.distance(held[0][[row]], held[1][[row]]), without[row], rtol=1e-4)
    blind = near.blind()
    assert len(blind.points) == 200 and blind.last(10) is None
    assert (blind.distance(*held) >= without - 1e-4).all(), "fewer neighbours are farther away"


def test_p_values_hold_though_calibration_rows_are_neighbours() -> None:
    """Decision 0022: leaving a calibration row out of its own neighbours leaves the promise whole."""
    flagged = []
    for seed in range(40):
        history, fresh = rows(260, seed), rows(400, 1_000 + seed)
        train, held = (history[0][:60], history[1][:60]), (history[0][60:], history[1][60:])
        near, own = Neighbours.fit(train, held, contaminated=False)
        calibration = np.sort(near.distance(*held, own[60:]))
        flagged.append(float((p_values(near.distance(*fresh), calibration) <= 0.05).mean()))
    assert 0.03 < np.mean(flagged) <= 0.053, "at most one in twenty, and no fewer than chance takes"


@pytest.mark.parametrize(("held", "points", "groups", "nearest"), [(500, SOME, 1, SOME // TEN), (6_000, 250, 25, 1)])
def test_where_history_may_be_wrong_many_rows_tell(held: int, points: int, groups: int, nearest: int) -> None:
    history = rows(5_000)
    near, own = Neighbours.fit(history, rows(held, 1), contaminated=True)
    there = np.flatnonzero(own >= 0)
    assert np.array_equal(near.points[own[there]], near.joint(*history)[there])
    without = near.distance(*history, own[:5_000])
    assert (without >= near.distance(*history)).all() and (without > near.distance(*history)).sum() == len(there)
    assert (len(near.points), near.groups, near.nearest, near.held) == (points, groups, nearest, 0)
    assert near.last(10) is None and near.blind() is near
    asked = rows(40, 3)
    apart = np.sqrt(np.square(near.joint(*asked)[:, None] - near.points[None]).sum(axis=2))
    wanted = np.sort(apart.reshape(40, groups, -1), axis=2)[:, :, :nearest].mean(axis=(1, 2))
    assert near.distance(*asked) == pytest.approx(wanted, rel=1e-4)
    few, _ = Neighbours.fit(rows(30), rows(5, 1), contaminated=True)
    assert (len(few.points), few.groups, few.nearest) == (30, 1, 5)


@pytest.mark.parametrize("held", [100, 10_000])
def test_a_crowd_of_wrong_rows_is_still_far(held: int) -> None:
    bad = np.full((40, 6), 8, np.float32), np.full((40, 3), 5, np.float32)
    mixed = tuple(np.concatenate([a, b]) for a, b in zip(rows(960), bad, strict=True))
    near, _ = Neighbours.fit((mixed[0], mixed[1]), rows(held, 1), contaminated=True)
    usual = near.distance(*rows(200, 2))
    assert near.distance(*bad).min() > np.quantile(usual, 0.9), "a crowd of wrong rows is still far"
    nearest, _ = Neighbours.fit((mixed[0], mixed[1]), rows(100, 1), contaminated=False)
    assert nearest.distance(*bad).max() < 1e-2, "and would not be, were each of them asked for its nearest"


def test_a_long_clean_history_is_asked_by_its_centres() -> None:
    train = rows(FEW + 1)
    near, _ = Neighbours.fit(train, rows(100, 1), contaminated=False)
    assert (len(near.points), near.groups, near.held) == (CENTRES, 1, 0)
    again, _ = Neighbours.fit(train, rows(100, 1), contaminated=False)
    assert np.array_equal(near.points, again.points), "the same each time"


@pytest.mark.parametrize("contaminated", [True, False])
def test_a_distance_is_the_row_s_own(contaminated: bool) -> None:
    near, _ = Neighbours.fit(rows(500), rows(100, 1), contaminated=contaminated)
    x, code = rows(3_000, 2)
    whole = near.distance(x, code)
    parts = [near.distance(x[a:b], code[a:b]) for a, b in ((0, 1), (1, 1_500), (1_500, 3_000))]
    assert np.array_equal(np.concatenate(parts), whole)
    assert near.distance(x[:0], code[:0]).shape == (0,)
