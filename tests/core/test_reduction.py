"""A row in a few numbers: PCA and what bends it, the knee, what numbers stand for, and what bits buy."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.decomposition import PCA

from ae_plugin.core.columns import CategorySpec, NumberSpec
from ae_plugin.core.features import TableEncoder
from ae_plugin.core.latents import bits, moves
from ae_plugin.core.pca import Pca
from ae_plugin.core.reduction import BENT, Reducer, errors_left, knee

ROWS, FEATURES, MOST, WIDTH = 500, 6, 3, 8


def rows(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(ROWS, 2)) @ rng.normal(size=(2, FEATURES)) + 0.1 * rng.normal(size=(ROWS, FEATURES))
    ).astype(np.float32)


def linear(x: np.ndarray, kept: int = MOST) -> Reducer:
    pca = Pca.fit(x, kept=MOST)
    scale = np.sqrt(pca.variances).astype(np.float32)
    return Reducer(pca.mean, pca.basis, np.ascontiguousarray(pca.basis.T), scale, {}, kept)


def bent(x: np.ndarray, size: float = 0.3) -> Reducer:
    rng, start = np.random.default_rng(1), linear(x)
    shapes = [(FEATURES, WIDTH), (WIDTH, WIDTH), (WIDTH, MOST), (2 * MOST, WIDTH), (WIDTH, WIDTH), (WIDTH, FEATURES)]
    layers = {
        name: (size * rng.normal(size=shape).astype(np.float32), np.zeros(shape[1], np.float32))
        for name, shape in zip(BENT, shapes, strict=True)
    }
    return Reducer(start.mean, start.basis, start.back, start.scale, layers, 2)


def test_without_a_network_it_is_pca() -> None:
    x = rows()
    theirs = PCA(MOST).fit(x)
    ours = linear(x)
    assert np.allclose(np.abs(ours.encode(x)), np.abs(theirs.transform(x)), atol=1e-4)
    for k in range(1, MOST + 1):
        known = PCA(k).fit(x)
        left = np.square(known.inverse_transform(known.transform(x)) - x).sum(axis=1)
        assert np.allclose(errors_left(ours, x, np.ones_like(x), [k])[0], left, atol=1e-4)


def test_numbers_that_are_not_told_do_not_matter() -> None:
    x = rows()
    for reducer in (linear(x), bent(x)):
        codes = reducer.encode(x)
        other = codes.copy()
        other[:, 2] += 5
        assert np.array_equal(reducer.decode(codes, 2), reducer.decode(other, 2))
        assert not np.allclose(reducer.decode(codes, 3), reducer.decode(other, 3))


def test_what_has_no_true_value_is_not_counted() -> None:
    x = rows()
    weights = np.ones_like(x)
    weights[:, 0] = 0
    ours = bent(x)
    far = x.copy()
    codes = ours.encode(x)
    left = errors_left(ours, far, weights, [1])[0]
    assert np.allclose(left, np.square(ours.decode(codes, 1) - x)[:, 1:].sum(axis=1), rtol=1e-4)


def test_rows_are_coded_by_themselves() -> None:
    x, ours = rows(), bent(rows())
    whole = ours.encode(x)
    assert np.allclose(np.concatenate([ours.encode(x[:7]), ours.encode(x[7:])]), whole, atol=1e-5)


def test_it_is_kept_in_arrays_and_comes_back_the_same() -> None:
    x = rows()
    for reducer in (linear(x, 2), bent(x)):
        again = Reducer.of(load(save(reducer.arrays())))
        assert again.kept == 2 and again.linear == reducer.linear
        assert np.array_equal(again.encode(x), reducer.encode(x))
        assert np.array_equal(again.decode(reducer.encode(x)), reducer.decode(reducer.encode(x)))


@pytest.mark.parametrize("harm", ["bent.code.bias", "mean", "kept"])
def test_arrays_that_miss_a_part_are_none(harm: str) -> None:
    arrays = bent(rows()).arrays()
    del arrays[harm]
    with pytest.raises(KeyError):
        Reducer.of(arrays)


@pytest.mark.parametrize(("name", "shape"), [("scale", (9,)), ("back", (MOST, 2)), ("bent.added.weights", (3, 3))])
def test_arrays_that_do_not_fit_are_none(name: str, shape: tuple[int, ...]) -> None:
    arrays = bent(rows()).arrays() | {name: np.ones(shape, np.float32)}
    with pytest.raises(ValueError):
        Reducer.of(arrays)
    with pytest.raises(ValueError):
        Reducer.of(bent(rows()).arrays() | {"kept": np.array([MOST + 1])})


def test_the_knee_is_where_more_helps_little() -> None:
    assert knee([1, 0.5, 0.1, 0.09, 0.08, 0.07]) == 2
    assert knee([1, 0.05, 0.04, 0.03]) == 1
    assert knee([1.0, 1.0]) == 1


def numbers(name: str) -> NumberSpec:
    return NumberSpec(name=name, type="double", null_rate=0, mean=0, std=1, low=-9, high=9)


def test_columns_that_move_together_are_named_together() -> None:
    word = CategorySpec(
        name="word", type="string", null_rate=0, values=["no", "yes"], rates=[0.5, 0.5], unseen_rate=0.01
    )
    encoder = TableEncoder([numbers("a"), numbers("b"), numbers("c"), word])
    rng = np.random.default_rng(0)
    size, other = rng.normal(size=(2, ROWS))
    said = (size > 0).astype(float)
    noise = 0.01 * rng.normal(size=(3, ROWS))
    columns = [size + noise[0], -size + noise[1], 0.8 * other + noise[2], word.scale * (1 - said), word.scale * said]
    x = np.stack(columns, axis=1).astype(np.float32)
    pca = Pca.fit(x, kept=2)
    ours = Reducer(pca.mean, pca.basis, np.ascontiguousarray(pca.basis.T), np.ones(2, np.float32), {}, 2)
    first, second = moves(ours, encoder, x)
    assert {move.column for move in first} == {"a", "b", "word"}
    assert [move.column for move in second] == ["c"]
    told = {move.column: move for move in first}
    assert np.sign(told["a"].by) == -np.sign(told["b"].by)
    assert (told["word"].up == "yes") == (told["a"].by > 0) and {told["word"].up, told["word"].down} == {"yes", "no"}
    assert str(told["word"]) in ("word no to yes", "word yes to no")


def test_bits_are_those_of_the_shares() -> None:
    rng = np.random.default_rng(0)
    known, told = (rng.integers(0, 8, (50_000, 2)).astype(np.float32) for _ in range(2))
    assert bits(known, told, 1.0) == pytest.approx(6, abs=0.01)
    assert bits(known, told, 100.0) == pytest.approx(0, abs=0.01)
    assert bits(known, told + 1_000, 1.0) > 40


def test_codes_are_the_same_to_the_bit_however_rows_are_cut() -> None:
    ours, rng = bent(rows()), np.random.default_rng(3)
    x = rng.normal(size=(700, FEATURES)).astype(np.float32)
    whole = ours.encode(x)
    for cut in (1, 3, 64, 100, 513):
        parts = np.concatenate([ours.encode(x[start : start + cut]) for start in range(0, len(x), cut)])
        assert np.abs(parts - whole).max() < 1e-5, cut
        assert (np.rint(parts * 4096) != np.rint(whole * 4096)).mean() < 1e-3
    assert np.array_equal(np.concatenate([ours.encode(x[row : row + 1]) for row in range(50)]), ours.encode(x[:50]))
