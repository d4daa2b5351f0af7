"""Another kind of picture."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.picture_guard import FEW, GROUP, LEVELS, MOST, Kind, PictureGuard, off
from ae_plugin.core.values import Floats

LIMITS = 1.0, 1.5, 2.0, 2.4
NO_KIND = Kind(np.zeros(2, np.float32), np.zeros((2, 1), np.float32), np.inf)


def watching(limits: tuple[float, ...] = LIMITS) -> PictureGuard:
    """A guard that asks about distances alone."""
    return PictureGuard(limits, NO_KIND)


def blind(distances: Floats) -> tuple[Floats, Floats]:
    """Pictures at these distances, and no matter where."""
    return np.asarray(distances, np.float32), np.zeros((len(distances), 2), np.float32)


def verdict(near: int, far: int) -> str:
    guard = watching()
    known = np.linspace(0.5, 2.4, near) if near > 1 else np.full(near, 1.5)
    guard.watch(*blind(np.r_[known, np.full(far, 9.0)]))
    return guard.verdict().verdict


@pytest.mark.parametrize(
    ("near", "far", "wanted"),
    [
        (0, 0, "familiar"),
        (32, 0, "familiar"),
        (31, 2, "familiar"),
        (16, 16, "drifted"),
        (2, 30, "unfamiliar"),
        (0, 32, "unfamiliar"),
        (0, FEW - 1, "drifted"),
        (0, FEW, "unfamiliar"),
        (1, 0, "familiar"),
        (0, 1, "familiar"),
    ],
)
def test_refused_when_more_are_far_than_can_be_defective(near: int, far: int, wanted: str) -> None:
    assert verdict(near, far) == wanted


def test_it_does_not_matter_how_a_partition_is_cut() -> None:
    whole, parts = watching(), watching()
    distances = np.random.default_rng(0).uniform(0, 3, 40).astype(np.float32)
    whole.watch(*blind(distances))
    for part in np.array_split(distances, 7):
        parts.watch(*blind(part))
    assert whole.verdict() == parts.verdict()


def test_near_ones_that_lie_all_at_the_edge_are_another_kind() -> None:
    guard = watching()
    guard.watch(*blind(np.full(40, 2.2)))
    found = guard.verdict()
    assert found.verdict == "unfamiliar" and "100% of pictures are farther from history than 75%" in found.reasons[0]


def test_half_of_them_defective_is_no_other_kind() -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        guard = watching(LEVELS)
        guard.watch(*blind(np.r_[rng.uniform(size=16), np.full(16, 9.0)]))
        refused += guard.verdict().verdict == "unfamiliar"
    assert refused <= 8, "2%"


def cloud(rng: np.random.Generator, n: int, aside: float = 0.0, size: float = 1.0) -> tuple[Floats, Floats]:
    """Pictures around a place, in six directions of which one tells little: distances from the middle, descriptors."""
    described = rng.standard_normal((n, 6)) * [3, 2, 1, 1, 0.5, 0] * size + [0, 0, aside, 0, 0, 0]
    return np.linalg.norm(described, axis=1).astype(np.float32), described.astype(np.float32)


@pytest.fixture(scope="module")
def known() -> tuple[tuple[float, ...], Kind]:
    rng = np.random.default_rng(0)
    distances, described = cloud(rng, 300)
    limits = tuple(np.quantile(distances, LEVELS).tolist())
    return limits, Kind.fit(cloud(rng, 900)[1], described, distances)


def share_refused(known: tuple[tuple[float, ...], Kind], parts: list[list[tuple[Floats, Floats]]]) -> float:
    verdicts = []
    for part in parts:
        guard = PictureGuard(*known)
        for distances, described in part:
            guard.watch(distances, described)
        verdicts.append(guard.verdict().verdict)
    return verdicts.count("unfamiliar") / len(parts)


def test_a_kind_that_is_as_near_but_to_one_side_is_refused(known: tuple[tuple[float, ...], Kind]) -> None:
    rng = np.random.default_rng(1)
    beside = [[cloud(rng, 64, aside=3, size=0.5)] for _ in range(100)]
    only_distances = known[0], NO_KIND
    assert share_refused(known, beside) == 1
    assert share_refused(only_distances, [[blind(part[0][0])] for part in beside]) < 0.1


def test_the_own_kind_is_not_refused_nor_when_half_of_it_lies_aside(known: tuple[tuple[float, ...], Kind]) -> None:
    rng = np.random.default_rng(2)
    assert share_refused(known, [[cloud(rng, 32)] for _ in range(200)]) <= 0.02
    assert share_refused(known, [[cloud(rng, 32), cloud(rng, 32, aside=9)] for _ in range(200)]) <= 0.02


def test_so_few_pictures_are_not_asked_where_they_lie(known: tuple[tuple[float, ...], Kind]) -> None:
    rng = np.random.default_rng(3)
    assert share_refused(known, [[cloud(rng, GROUP - 1, aside=3, size=0.5)] for _ in range(50)]) == 0
    assert share_refused(known, [[cloud(rng, GROUP, aside=3, size=0.5)] for _ in range(50)]) > 0.9


def test_too_few_calibration_pictures_set_no_limit() -> None:
    rng = np.random.default_rng(4)
    distances, described = cloud(rng, GROUP - 1)
    assert Kind.fit(cloud(rng, 50)[1], described, distances).limit == np.inf


def test_pictures_that_are_all_the_same_have_no_axes() -> None:
    same = np.full((64, 5), 0.3, np.float32)
    kind = Kind.fit(same, same, np.zeros(64, np.float32))
    guard = PictureGuard((0.0,) * 4, kind)
    guard.watch(np.zeros(64, np.float32), same)
    assert kind.axes.shape == (5, 0) and guard.verdict().verdict == "familiar"


def test_days_that_differ_are_of_one_kind() -> None:
    """Each day has a light of its own: a group of one day's pictures is off, as a new day's will be."""
    rng = np.random.default_rng(5)

    def day(n: int) -> tuple[Floats, Floats]:
        distances, described = cloud(rng, n)
        return distances, described + np.array([*rng.standard_normal(2), 0, 0, 0, 0], np.float32)

    history = [day(64) for _ in range(20)]
    distances, described = (np.concatenate(parts) for parts in zip(*history, strict=True))
    kind = Kind.fit(described, described, distances)
    limits = tuple(np.quantile(distances, LEVELS).tolist())
    assert share_refused((limits, kind), [[day(64)] for _ in range(100)]) <= 0.05


def test_of_a_long_partition_a_part_tells_however_it_is_cut(known: tuple[tuple[float, ...], Kind]) -> None:
    rng = np.random.default_rng(6)
    distances, described = cloud(rng, 3 * MOST + 5, aside=3, size=0.5)
    whole, parts = PictureGuard(*known), PictureGuard(*known)
    whole.watch(distances, described)
    for at in np.array_split(np.arange(len(distances)), 41):
        parts.watch(distances[at], described[at])
        assert parts._places.shape[0] <= MOST
    assert whole.verdict() == parts.verdict() and whole.verdict().verdict == "unfamiliar"


def test_the_nearer_half_is_what_is_asked() -> None:
    places = np.array([[1, 0], [1, 0], [9, 9]], np.float32)
    assert off(places, np.array([0.1, 0.2, 5], np.float32)) == 1
    assert off(places, np.zeros(3, np.float32), nearer=False) > 4
