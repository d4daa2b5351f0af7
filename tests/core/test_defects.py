"""Defects put into good tiles."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.defects import KINDS, spoil, spoil_one


def good(seed: int, n: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.3, 0.7, (n, 32, 32, 1)).astype(np.float32)


def test_the_mask_says_where_a_tile_was_changed() -> None:
    tiles = good(0)
    spoilt, where = spoil(tiles, np.random.default_rng(1), noisy=0)
    changed = np.abs(spoilt - tiles).max(axis=3)
    assert (changed[~where] < 0.1).all() and (changed[where] > 0.05).all()
    assert 0.5 < where.any(axis=(1, 2)).mean() < 0.95, "most tiles, not all"
    assert where.mean() < 0.25 and spoilt.min() >= 0 and spoilt.max() <= 1


def test_noise_is_no_defect() -> None:
    tiles = good(0)
    quiet, before = spoil(tiles, np.random.default_rng(1), noisy=0)
    noisy, after = spoil(tiles, np.random.default_rng(1), noisy=1)
    assert np.array_equal(before, after) and not np.array_equal(quiet, noisy)


@pytest.mark.parametrize("kind", KINDS)
def test_one_defect_of_a_kind(kind: str) -> None:
    tiles = good(3, 40)
    changed = [
        (np.abs(spoil_one(tile, tiles[0], kind, np.random.default_rng(i)) - tile).max(axis=2) > 0).mean()
        for i, tile in enumerate(tiles[1:])
    ]
    assert 0 < np.mean(changed) < 0.2 and np.count_nonzero(changed) > 30


def test_the_same_each_time_and_the_tiles_are_left_alone() -> None:
    tiles = good(0)
    kept = tiles.copy()
    first, second = (spoil(tiles, np.random.default_rng(5))[0] for _ in range(2))
    assert np.array_equal(first, second) and np.array_equal(tiles, kept)
