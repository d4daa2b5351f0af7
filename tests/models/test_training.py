"""The two lessons, and what training does when it falls."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ae_plugin.core.columns import NumberSpec
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.values import Floats
from ae_plugin.models.budget import Budget
from ae_plugin.models.masking import FEW_HIDDEN, VISIBLE_WEIGHT, Rows

COLUMNS = 10


@pytest.fixture(scope="module")
def rows() -> Rows:
    specs = [
        NumberSpec(name=f"c{index}", type="double", null_rate=0, mean=0, std=1, low=-9, high=9, digits=None)
        for index in range(COLUMNS)
    ]
    x = np.random.default_rng(0).standard_normal((4000, COLUMNS)).astype(np.float32)
    state = np.zeros((4000, COLUMNS), np.uint8)
    return Rows(TableEncoder(specs), Encoded(x, state, np.zeros((COLUMNS, 4000), np.int16)))


def test_the_first_lesson_asks_for_every_cell(rows: Rows) -> None:
    x, visible, target, weights = rows.masked(np.arange(4000), np.random.default_rng(1))
    assert (weights == 1).all() and np.array_equal(target, rows.x) and np.array_equal(x, target * visible)
    assert 0.27 < 1 - visible.mean() < 0.33


def test_the_second_lesson_asks_for_hidden_cells_and_hides_few_in_half_of_the_rows(rows: Rows) -> None:
    x, visible, target, weights = rows.masked(np.arange(4000), np.random.default_rng(1), second=True)
    assert np.array_equal(x, target * visible)
    assert np.array_equal(weights, np.where(visible > 0, np.float32(VISIBLE_WEIGHT), np.float32(1)))
    wanted = (FEW_HIDDEN + 0.3) / 2
    assert abs(1 - visible.mean() - wanted) < 0.02
    assert ((1 - visible).sum(axis=1) > 3).mean() < 0.4


def test_the_second_lesson_of_a_long_table_is_shorter() -> None:
    assert Budget.auto(1000).second == Budget.auto(1000)
    assert Budget.auto(50_000).second == Budget(1500, 256)
    assert Budget(20, 128).second.steps == 20


class Jolted:
    """A lesson, to predict a sum, that tells lies for a while."""

    name, number = "", 0

    def __init__(self, lies: range) -> None:
        self.lies, self.drawn = lies, 0

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, ...]:
        x, total = self.held_out(rng, count)
        self.drawn += 1
        return x, -9 * total if self.drawn - 1 in self.lies else total

    def held_out(self, rng: np.random.Generator, count: int = 64) -> tuple[Floats, ...]:
        x = 30 * rng.standard_normal((count, 4)).astype(np.float32)
        return x, x.sum(axis=1, keepdims=True)

    def loss(self, model: Callable[..., Any], *arrays: Any, training: bool) -> Any:
        import keras

        return keras.ops.mean(keras.ops.abs(model(arrays[0], training=training) - arrays[1]))


def fitted(lies: range, checkpoint: Path | None = None) -> tuple[Any, Any]:
    import keras

    from ae_plugin.models.training import train

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer="ones")])
    return model, train(model, Jolted(lies), Budget(240, 16, patience=1_000, fall=3), 3, checkpoint)


def test_a_training_that_falls_goes_back_to_the_best_and_on_at_half_the_pace() -> None:
    from ae_plugin.models.training import falls

    model, done = fitted(range(120, 140))
    assert falls(done.curve, 3) == [140]
    before = min(loss for step, _, loss in done.curve if step < 140)
    after = [loss for step, _, loss in done.curve if step > 140]
    assert after[0] < 3 * before, "at once"
    assert done.validation_loss == pytest.approx(min(before, *after), abs=1e-5)
    assert falls(fitted(range(0))[1].curve, 3) == []


def test_falls_are_told_by_the_best_before() -> None:
    from ae_plugin.models.training import falls

    curve = [(20, 0.0, 1.0), (40, 0.0, 1.2), (60, 0.0, 0.5), (80, 0.0, 0.7), (100, 0.0, 0.6), (120, 0.0, 9.0)]
    assert falls(curve, 1.25) == [80, 120]
    assert falls([], 1.25) == falls(curve, math.inf) == []
