"""Another kind of picture."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.picture_guard import GROUPS, LEVELS, MOST, Kind, PictureGuard, in_common, limits_of, off
from ae_plugin.core.values import Floats

LIMITS = 1.0, 1.5, 2.0, 2.4
RATE = 0.01
NO_KIND = Kind(np.zeros(2, np.float32), np.zeros((2, 1), np.float32), (np.inf,) * len(GROUPS))


def watching(limits: tuple[float, ...] = LIMITS) -> PictureGuard:
    """A guard that asks about distances alone."""
    return PictureGuard(limits, 100_000, NO_KIND, RATE)


def blind(distances: Floats) -> tuple[Floats, Floats, int]:
    """Pictures at these distances, and no matter where; none is anomalous."""
    return np.asarray(distances, np.float32), np.zeros((len(distances), 2), np.float32), 0


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
        (0, 10, "drifted"),
        (0, 11, "unfamiliar"),
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


Known = tuple[tuple[float, ...], int, Kind]


def cloud(rng: np.random.Generator, n: int, aside: float = 0.0, size: float = 1.0) -> tuple[Floats, Floats]:
    """Pictures around a place, in six directions of which one tells little: distances from the middle, descriptors."""
    described = rng.standard_normal((n, 6)) * [3, 2, 1, 1, 0.5, 0] * size + [0, 0, aside, 0, 0, 0]
    return np.linalg.norm(described, axis=1).astype(np.float32), described.astype(np.float32)


@pytest.fixture(scope="module")
def known() -> Known:
    rng = np.random.default_rng(0)
    distances, described = cloud(rng, 300)
    return limits_of(distances), 300, Kind.fit(cloud(rng, 900)[1], described, distances, np.zeros(300, np.int64))


def share_refused(known: Known, parts: list[list[tuple[Floats, Floats]]]) -> float:
    verdicts = []
    for part in parts:
        guard = PictureGuard(*known, RATE)
        for distances, described in part:
            guard.watch(distances, described, 0)
        verdicts.append(guard.verdict().verdict)
    return verdicts.count("unfamiliar") / len(parts)


def test_a_kind_that_is_as_near_but_to_one_side_is_refused(known: Known) -> None:
    rng = np.random.default_rng(1)
    beside = [[cloud(rng, 64, aside=3, size=0.5)] for _ in range(100)]
    only_distances = known[0], known[1], NO_KIND
    assert share_refused(known, beside) == 1
    assert share_refused(only_distances, [[blind(part[0][0])[:2]] for part in beside]) < 0.1


def test_the_own_kind_is_not_refused_nor_when_half_of_it_lies_aside(known: Known) -> None:
    rng = np.random.default_rng(2)
    assert share_refused(known, [[cloud(rng, 32)] for _ in range(200)]) <= 0.02
    assert share_refused(known, [[cloud(rng, 32), cloud(rng, 32, aside=9)] for _ in range(200)]) <= 0.02


@pytest.mark.parametrize("pictures", [GROUPS[0] - 1, GROUPS[0], GROUPS[1] - 1])
def test_of_few_pictures_only_what_lies_far_aside_is_refused(known: Known, pictures: int) -> None:
    rng = np.random.default_rng(3)
    far = share_refused(known, [[cloud(rng, pictures, aside=4, size=0.2)] for _ in range(100)])
    assert far == (0 if pictures < GROUPS[0] else 1)
    assert share_refused(known, [[cloud(rng, pictures)] for _ in range(300)]) <= 0.01


def test_too_few_calibration_pictures_set_no_limit() -> None:
    rng = np.random.default_rng(4)
    distances, described = cloud(rng, max(GROUPS) - 1)
    kind = Kind.fit(cloud(rng, 50)[1], described, distances, np.zeros(len(distances), np.int64))
    assert set(kind.limits) == {np.inf}


def test_pictures_that_are_all_the_same_have_no_axes() -> None:
    same = np.full((64, 5), 0.3, np.float32)
    kind = Kind.fit(same, same, np.zeros(64, np.float32), np.zeros(64, np.int64))
    guard = PictureGuard((0.0,) * 4, 64, kind, RATE)
    guard.watch(np.zeros(64, np.float32), same, 0)
    assert kind.axes.shape == (5, 0) and guard.verdict().verdict == "familiar"


@pytest.mark.parametrize(("days", "of_a_day"), [(40, 32), (10, 100), (200, 8)])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_days_that_differ_are_of_one_kind(days: int, of_a_day: int, share: float) -> None:
    """Each day has a light of its own, which a new day's pictures have in common, as those of each old day had."""
    rng = np.random.default_rng(5)

    def day(pictures: int) -> tuple[Floats, Floats]:
        described = rng.standard_normal((pictures, 40)) * (1 - share) ** 0.5 + rng.standard_normal(40) * share**0.5
        return np.linalg.norm(described, axis=1).astype(np.float32), described.astype(np.float32)

    history = [day(of_a_day) for _ in range(days)]
    distances, described = (np.concatenate(parts) for parts in zip(*history, strict=True))
    held_out, number = np.arange(0, len(distances), 5), np.repeat(np.arange(days), of_a_day)
    kind = Kind.fit(described, described[held_out], distances[held_out], number[held_out])
    known = limits_of(distances[held_out]), len(held_out), kind
    assert share_refused(known, [[day(max(of_a_day, 32))] for _ in range(150)]) <= 0.03


def test_what_days_have_in_common_is_what_chance_does_not_explain() -> None:
    rng = np.random.default_rng(7)
    number = np.repeat(np.arange(50), 8)
    alike = rng.standard_normal((400, 3))
    light = rng.standard_normal((50, 3)) * [2, 0, 0]
    assert np.abs(in_common(alike.astype(np.float32), number)).mean() < 0.15, "their means are off by .28"
    found = in_common((alike + light[number]).astype(np.float32), number)
    assert np.corrcoef(found[:, 0], light[:, 0])[0, 1] > 0.95 and found[:, 0].std() == pytest.approx(2, rel=0.2)
    assert not in_common(alike.astype(np.float32), np.zeros(400, np.int64)).any(), "one day tells nothing of others"
    assert not in_common(alike.astype(np.float32), np.arange(400)).any(), "nor do days of a picture each"


@pytest.mark.parametrize("calibration", [20, 100, 198])
@pytest.mark.parametrize("pictures", [100, 1_000, 5_000])
def test_few_calibration_pictures_do_not_make_a_drift_of_chance(calibration: int, pictures: int) -> None:
    rng = np.random.default_rng(8)
    found = []
    for _ in range(300):
        guard = PictureGuard(limits_of(rng.uniform(size=calibration).astype(np.float32)), calibration, NO_KIND, RATE)
        guard.watch(*blind(rng.uniform(size=pictures)))
        found.append(guard.verdict().verdict)
    assert found.count("drifted") <= 3 and "unfamiliar" not in found


def test_of_a_long_partition_a_part_tells_however_it_is_cut(known: Known) -> None:
    rng = np.random.default_rng(6)
    distances, described = cloud(rng, 3 * MOST + 5, aside=3, size=0.5)
    whole, parts = PictureGuard(*known, RATE), PictureGuard(*known, RATE)
    whole.watch(distances, described, 0)
    for at in np.array_split(np.arange(len(distances)), 41):
        parts.watch(distances[at], described[at], 0)
        assert parts._places.shape[0] <= MOST
    assert whole.verdict() == parts.verdict() and whole.verdict().verdict == "unfamiliar"


def test_the_nearer_half_is_what_is_asked() -> None:
    places = np.array([[1, 0], [1, 0], [9, 9]], np.float32)
    assert off(places, np.array([0.1, 0.2, 5], np.float32)) == 1
    assert off(places, np.zeros(3, np.float32), nearer=False) > 4


@pytest.mark.parametrize(
    ("anomalies", "pictures", "wanted"),
    [
        (10, 10, "familiar"),
        (11, 11, "unfamiliar"),
        (16, 32, "familiar"),
        (26, 32, "unfamiliar"),
        (560, 1_000, "unfamiliar"),
    ],
)
def test_significantly_more_than_half_of_them_anomalous_is_another_kind_however_near(
    anomalies: int, pictures: int, wanted: str
) -> None:
    guard = watching()
    distances, described, _ = blind(np.linspace(0.5, 2.3, pictures))
    guard.watch(distances, described, anomalies)
    found = guard.verdict()
    assert found.verdict == wanted
    assert wanted == "familiar" or f"{anomalies / pictures:.0%} of pictures are anomalous" in found.reasons[0]
