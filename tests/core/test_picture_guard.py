"""Another kind of picture."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.picture_guard import FEW, PictureGuard


def verdict(near: int, far: int) -> str:
    guard = PictureGuard(1.0)
    guard.watch(np.r_[np.full(near, 0.5), np.full(far, 2.0)].astype(np.float32))
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
    whole, parts = PictureGuard(1.0), PictureGuard(1.0)
    distances = np.random.default_rng(0).uniform(0, 2, 40).astype(np.float32)
    whole.watch(distances)
    for part in np.array_split(distances, 7):
        parts.watch(part)
    assert whole.verdict() == parts.verdict()
