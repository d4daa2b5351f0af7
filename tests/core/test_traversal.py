"""What latent variables carry, where they go, what they change, and what can be measured of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.traversal import Axes, Move, course_of, explained, measures, middle, named, reach, steps_of

NOTHING = np.zeros(3)


def codes(rows: int = 500) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)


def test_what_each_carries() -> None:
    """Of a sum of independent parts the shares are those of their variances."""
    shares = explained(lambda some: some * np.float32([2, 1, 0]), codes(20_000))
    assert shares == pytest.approx([0.8, 0.2, 0], abs=0.02)


def test_reach_middle_and_steps() -> None:
    some = codes(2_001)
    low, high = reach(some)
    assert low == pytest.approx([-2.05] * 3, abs=0.25) and high == pytest.approx([2.05] * 3, abs=0.25)
    some[7] = some.mean(axis=0)
    assert middle(some) == 7
    steps = steps_of(some[7], 1, -1.0, 1.0, 3)
    assert steps[:, 1].tolist() == [-1, 0, 1] and (steps[:, [0, 2]] == some[7, [0, 2]]).all()


def test_axes_turn_there_and_back() -> None:
    some = codes() @ np.float32([[3, 1, 0], [0, 1, 0], [0, 0, 0.1]])
    axes = Axes.of(some)
    places = axes.turn(some)
    assert axes.back(places) == pytest.approx(some, abs=1e-4)
    spread = places.std(axis=0)
    assert spread[0] > spread[1] > spread[2]
    assert np.corrcoef(places.T) == pytest.approx(np.eye(3), abs=1e-3)


def test_what_is_named() -> None:
    moves = [Move(str(size), size, NOTHING, "", "") for size in (0.1, 2.0, 0.9, 0.7)]
    assert [move.change for move in named(moves)] == [2.0, 0.9]
    assert named(moves[:1]) == [] and named([]) == []


def test_courses() -> None:
    change, course = course_of(np.float32([[3, 0], [2, 0], [1, 0]]), signed=True)
    assert change == 2 and course.tolist() == [0, -1, -2]
    change, course = course_of(np.float32([[1, 0], [0, 1]]))
    assert change == pytest.approx(2**0.5) and course == pytest.approx([0, 2**0.5])
    assert course_of(np.float32([[1], [1]]))[1].tolist() == [0, 0]


def disc(x: float, y: float, radius: float, bright: float) -> np.ndarray:
    at = (np.arange(32) + 0.5) / 32
    inside = np.hypot.outer(at - y, at - x) < radius
    return np.where(inside, bright, 0.1)[..., None].astype(np.float32)


def test_what_is_measured_of_pictures() -> None:
    pictures = np.stack([disc(0.5, 0.5, 0.2, 0.8), disc(0.3, 0.6, 0.2, 0.8), disc(0.5, 0.5, 0.3, 0.8)])
    found = measures(pictures)
    assert found["x"] == pytest.approx([0.5, 0.3, 0.5], abs=0.01)
    assert found["y"] == pytest.approx([0.5, 0.6, 0.5], abs=0.01)
    assert found["area"] == pytest.approx(np.pi * np.array([0.04, 0.04, 0.09]), abs=0.02)
    assert found["brightness"] == pytest.approx([0.8] * 3, abs=0.01)
    dark = measures(np.stack([disc(0.3, 0.5, 0.2, 0.02)]))
    assert dark["x"] == pytest.approx([0.3], abs=0.01), "dark on bright is told too"
    flat = measures(np.zeros((1, 8, 8, 3), np.float32))
    assert all(np.isfinite(values).all() for values in flat.values())
