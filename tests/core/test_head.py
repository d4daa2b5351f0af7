"""A head on clusters of which a few rows are labelled: it finds the clusters, and is not surer than it is right."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.head import AXES, Graph, Space, fit_head, linear_opinion, linear_weights, nearest, stretches


def moons(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two half circles, each around an end of the other: what a line cannot part."""
    rng = np.random.default_rng(seed)
    label, angle = rng.integers(0, 2, rows), rng.uniform(0, np.pi, rows)
    x = np.where(label, 1 - np.cos(angle), np.cos(angle))
    y = np.where(label, 0.5 - np.sin(angle), np.sin(angle))
    return (np.stack([x, y], 1) + rng.normal(0, 0.06, (rows, 2))).astype(np.float32), label


def test_a_label_counts_for_its_whole_cluster() -> None:
    history, _ = moons(800, 0)
    test, truth = moons(400, 1)
    ends = np.array([[0.0, 1.0], [1.0, -0.5]], np.float32)
    head, right = fit_head(history, ends, np.array([0, 1]), 2, [2])
    found = head.probabilities(test)
    assert right is None and (found.argmax(axis=1) == truth).mean() > 0.95
    scale = np.ones(2)
    alone = linear_opinion(linear_weights(ends, np.array([0, 1]), 2, scale), test)
    assert (alone.argmax(axis=1) == truth).mean() < 0.93, "by the labels alone they are not parted"


def test_two_labels_in_all_make_nothing_certain() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(600, 8)).astype(np.float32)
    head, _ = fit_head(noise[:500], noise[500:502], np.array([0, 1]), 2, [8])
    assert head.probabilities(noise[502:]).max(axis=1).mean() < 0.75


@pytest.mark.parametrize("each", [10, 60])
def test_of_labels_that_say_nothing_the_head_is_not_sure(each: int) -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(900, 8)).astype(np.float32)
    labels = np.repeat([0, 1, 2], each)
    head, right = fit_head(noise[:500], noise[500 : 500 + 3 * each], labels, 3, [8])
    assert right is not None and right < 0.6
    assert head.probabilities(noise[-200:]).max(axis=1).mean() < 0.7


def test_probabilities_are_calibrated_on_overlapping_classes() -> None:
    rng = np.random.default_rng(2)

    def rows(many: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 3, many)
        return (rng.normal(size=(many, 4)) + 1.3 * np.eye(4)[labels]).astype(np.float32), labels

    known, labels = rows(90)
    head, right = fit_head(rows(1_500)[0], known, labels, 3, [4])
    test, truth = rows(3_000)
    odds = head.probabilities(test)
    share = (odds.argmax(axis=1) == truth).mean()
    assert np.allclose(odds.sum(axis=1), 1, atol=1e-3) and odds.dtype == np.float32
    assert right is not None and abs(right - share) < 0.12
    assert abs(odds.max(axis=1).mean() - share) < 0.08


def test_rare_labels_are_rare_classes() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(800, 4)).astype(np.float32)
    labels = (np.arange(200) < 10).astype(int)
    head, _ = fit_head(noise[:500], noise[500:700], labels, 2, [4])
    assert head.probabilities(noise[700:])[:, 1].mean() == pytest.approx(0.055, abs=0.04)


def test_a_row_s_class_hangs_on_no_other_row() -> None:
    history, _ = moons(500, 4)
    head, _ = fit_head(history[:400], history[400:410], np.arange(10) % 2, 2, [2])
    test = moons(700, 5)[0]
    whole = head.probabilities(test)
    apart = np.concatenate([head.probabilities(test[start : start + 37]) for start in range(0, 700, 37)])
    assert np.abs(whole - apart).max() <= 2**-12 and (whole != apart).mean() < 0.01
    assert np.array_equal(head.probabilities(test), whole) and head.probabilities(test[:0]).shape == (0, 2)


def test_blocks_count_alike_however_wide_and_constants_nothing() -> None:
    rng = np.random.default_rng(6)
    narrow, wide = rng.normal(size=(500, 2)), 50 * rng.normal(size=(500, 98))
    rows = np.concatenate([narrow, wide, np.full((500, 3), 7.0)], axis=1).astype(np.float32)
    space = Space.fit(rows, [2, 98, 3])
    spread = np.square(space(rows)).sum(axis=1).mean()
    assert space.basis.shape[1] <= AXES and spread == pytest.approx(1, rel=1e-3)
    assert (space.basis[100:] == 0).all()
    narrow_share = np.square((rows - space.mean)[:, :2] @ space.basis[:2]).sum(axis=1).mean()
    assert narrow_share > 0.4


def test_nearest_are_the_nearest() -> None:
    rng = np.random.default_rng(7)
    points, rows = rng.normal(size=(300, 5)).astype(np.float32), rng.normal(size=(20, 5)).astype(np.float32)
    places, apart = nearest(points, rows, 4)
    squares = np.square(rows[:, None] - points[None]).sum(axis=2)
    assert [set(own) for own in places] == [set(own) for own in np.argsort(squares, axis=1)[:, :4]]
    assert np.allclose(apart, np.take_along_axis(squares, places, axis=1), atol=1e-4)


def test_what_no_label_reaches_is_of_every_class_alike() -> None:
    points = np.concatenate([np.zeros((30, 2)), np.full((30, 2), 1e4)]).astype(np.float32)
    points += np.random.default_rng(8).normal(size=points.shape).astype(np.float32)
    found = Graph(points).spread(np.array([0, 1]), np.array([0, 1]), 2)
    assert np.allclose(found[30:], 0.5) and stretches(points).shape == (2,)
