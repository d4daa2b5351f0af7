"""The two lessons: what is hidden, what counts, and that each starts and goes on by itself."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.columns import NumberSpec
from ae_plugin.core.features import Encoded, TableEncoder
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
