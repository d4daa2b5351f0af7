"""Regressions beside the network: exact, blind to what is hidden, cut-free, not counted where they know nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ae_plugin.core.blend import MOST_FEATURES, RIDGE, Blend
from ae_plugin.core.columns import CategorySpec, NumberSpec
from ae_plugin.core.features import TableEncoder
from ae_plugin.core.values import Floats

RNG = np.random.default_rng(0)


def number(name: str) -> NumberSpec:
    return NumberSpec(name=name, type="double", null_rate=0, mean=0, std=1, low=-9, high=9, digits=None)


ENCODER = TableEncoder(
    [
        number("a"),
        CategorySpec(
            name="b", type="string", null_rate=0, values=["x", "y", "z"], rates=[0.5, 0.3, 0.2], unseen_rate=0.01
        ),
        number("c"),
        number("d"),
    ]
)
A, B, C, D = ENCODER.slices


def rows(n: int, seed: int = 0) -> Floats:
    """`c` follows from `a` and the word; `d` from nothing."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, ENCODER.features)).astype(np.float32)
    x[:, C.start] = 2 * x[:, A.start] - x[:, B.start] + 0.1 * rng.standard_normal(n)
    return x


def without(column: int, n: int) -> Floats:
    visible = np.ones((n, ENCODER.features), np.float32)
    visible[:, ENCODER.slices[column]] = 0
    return visible


@pytest.mark.parametrize("column", range(4))
def test_the_regressions_are_the_ridge_of_each_column_on_all_others(column: int) -> None:
    x = rows(500)
    blend = Blend.regress(ENCODER, x)
    alone = replace(blend, shares=np.stack([0 * blend.mean, 0 * blend.mean + 1]))
    covariance = np.cov(x.T.astype(np.float64))
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    own = np.zeros(ENCODER.features, bool)
    own[ENCODER.slices[column]] = True
    slopes = np.linalg.solve(covariance[np.ix_(~own, ~own)], covariance[np.ix_(~own, own)])
    wanted = blend.mean[own] + (x - blend.mean)[:, ~own] @ slopes
    found = alone(np.zeros_like(x), x, without(column, 500))[:, own]
    assert np.allclose(found, wanted, atol=1e-4)


def test_what_a_hidden_cell_held_does_not_matter() -> None:
    x, other = rows(50), rows(50)
    other[:, C] = 99
    blend, guess = Blend.regress(ENCODER, rows(500)), np.zeros((50, ENCODER.features), np.float32)
    assert np.array_equal(blend(guess, x, without(2, 50)), blend(guess, other, without(2, 50)))
    assert not np.array_equal(blend(guess, x, without(0, 50)), blend(guess, other, without(0, 50)))


def test_a_row_s_bits_do_not_depend_on_the_rows_beside_it() -> None:
    x, guess, visible = rows(1500), rows(1500, 1), without(1, 1500)
    blend = Blend.regress(ENCODER, rows(500))
    whole = blend(guess, x, visible)
    for start, stop in ((0, 1), (3, 70), (64, 129), (1499, 1500)):
        part = slice(start, stop)
        assert np.array_equal(blend(guess[part], x[part], visible[part]), whole[part])


@pytest.mark.parametrize("case", ["regression knows", "network knows", "nobody knows"])
def test_shares_go_to_who_knows(case: str) -> None:
    x = rows(400, 2)
    noise = RNG.standard_normal(x.shape).astype(np.float32)
    column = 3 if case == "nobody knows" else 2
    found = x if case == "network knows" else noise
    blend = Blend.regress(ENCODER, rows(2000))
    if case == "network knows":
        blend = replace(blend, linear=np.roll(blend.linear, 1, axis=0))
    network, linear = blend.column_shares(ENCODER.slices[column], x, found, without(column, 400), np.arange(400))
    if case == "regression knows":
        assert linear > 0.9 and network < 0.1
    elif case == "network knows":
        assert network > 0.9 and linear < 0.1
    else:
        assert network < 0.1


def test_a_few_wrong_cells_do_not_move_the_shares() -> None:
    x = rows(400, 2)
    blend, seen = Blend.regress(ENCODER, rows(2000)), without(2, 400)
    found = RNG.standard_normal(x.shape).astype(np.float32)
    before = blend.column_shares(C, x, found, seen, np.arange(400))
    x[:20, C] = 40
    assert np.allclose(blend.column_shares(C, x, found, seen, np.arange(400)), before, atol=0.05)


def test_wrong_numbers_in_history_do_not_move_the_middle() -> None:
    x = rows(1000)
    wrong = x.copy()
    wrong[:40, D] = 12
    assert abs(Blend.regress(ENCODER, wrong).mean[D] - Blend.regress(ENCODER, x).mean[D]) < 0.1


def test_no_known_cell_leaves_equal_shares() -> None:
    x = rows(10)
    shares = Blend.regress(ENCODER, rows(500)).column_shares(C, x, x, without(2, 10), np.arange(0))
    assert np.array_equal(shares, [0.5, 0.5])


def test_wide_rows_and_a_single_column_are_left_to_the_network() -> None:
    wide = TableEncoder([number(f"c{index}") for index in range(MOST_FEATURES + 1)])
    for encoder in (wide, TableEncoder([number("a")])):
        x = RNG.standard_normal((20, encoder.features)).astype(np.float32)
        blend = Blend.regress(encoder, x)
        assert blend(x, 0 * x, 0 * x) is x
        assert not blend.linear.size
