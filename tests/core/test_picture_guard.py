"""Another kind of picture."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.picture_guard import FEW, LEVELS, PictureGuard

LIMITS = 1.0, 1.5, 2.0, 2.4


def verdict(near: int, far: int) -> str:
    guard = PictureGuard(LIMITS)
    known = np.linspace(0.5, 2.4, near) if near > 1 else np.full(near, 1.5)
    guard.watch(np.r_[known, np.full(far, 9.0)].astype(np.float32))
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
    whole, parts = PictureGuard(LIMITS), PictureGuard(LIMITS)
    distances = np.random.default_rng(0).uniform(0, 3, 40).astype(np.float32)
    whole.watch(distances)
    for part in np.array_split(distances, 7):
        parts.watch(part)
    assert whole.verdict() == parts.verdict()


def test_near_ones_that_lie_all_at_the_edge_are_another_kind() -> None:
    guard = PictureGuard(LIMITS)
    guard.watch(np.full(40, 2.2, np.float32))
    found = guard.verdict()
    assert found.verdict == "unfamiliar" and "100% of pictures are farther from history than 75%" in found.reasons[0]


def test_half_of_them_defective_is_no_other_kind() -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        guard = PictureGuard(LEVELS)
        guard.watch(np.r_[rng.uniform(size=16), np.full(16, 9.0)].astype(np.float32))
        refused += guard.verdict().verdict == "unfamiliar"
    assert refused <= 8, "2%"
