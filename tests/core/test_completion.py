"""The whole picture from some of its pixels."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.completion import complete, fill
from ae_plugin.core.mixture import Mixture, best_mixture
from tests.core.scenes import psnr, scene


@pytest.mark.parametrize(("share", "wanted"), [(0.1, 17.5), (0.25, 20.5), (0.5, 25.0)])
def test_pictures_are_completed_from_few_pixels(share: float, wanted: float) -> None:
    true = scene(1)
    known = np.random.default_rng(0).uniform(size=true.shape) < share
    spoilt = np.where(known, true, np.float32(0))
    found = fill(spoilt, known)
    assert np.array_equal(found[known], true[known]), "what is known stays"
    assert psnr(found, true) > wanted
    assert np.array_equal(fill(np.where(known, true, np.float32(9)), known), found), "what is not known does not count"


def test_all_or_nothing_known_is_left_alone() -> None:
    true = scene(2, 20, 30)
    for known in (np.ones_like(true, bool), np.zeros_like(true, bool)):
        assert np.array_equal(fill(true, known), true)


def test_history_says_what_is_likely_where() -> None:
    history = np.stack([_bars(seed) for seed in range(300)])
    whole = Mixture.fit(history.reshape(300, -1), 1, 32)
    true = _bars(1000)
    known = np.random.default_rng(0).uniform(size=true.shape[:2]) < 0.1
    by_history, by_smoothness = complete(true, known, whole, (16, 16)), complete(true, known)
    assert psnr(by_history, true) > psnr(by_smoothness, true) + 6
    assert np.array_equal(by_history[known], true[known])
    smaller = complete(true[:12], known[:12], whole, (16, 16))
    assert smaller.shape == (12, 16, 1) and psnr(smaller, true[:12]) > psnr(by_smoothness[:12], true[:12])
    larger = np.tile(true, (2, 2, 1))
    assert complete(larger, np.tile(known, (2, 2)), whole, (16, 16)).shape == (32, 32, 1)


def _bars(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    picture = np.full((16, 16, 1), rng.uniform(0.1, 0.3), np.float32)
    picture[:, 3:6], picture[:, 9:12] = rng.uniform(0.5, 0.9, 2)
    return picture


def test_several_clusters_are_kept_where_they_complete_better() -> None:
    def both(count: int, first: int) -> np.ndarray:
        lying = [np.swapaxes(_bars(seed), 0, 1) for seed in range(first, first + count // 2)]
        return np.stack([*lying, *(_bars(seed) for seed in range(first, first + count // 2))]).reshape(count, -1)

    # Wherever a bar may lie, one cloud of both kinds is no kind.
    kinds = best_mixture(both(1_000, 0), both(40, 5_000), 4)
    assert len(kinds.shares) == 2 and abs(kinds.shares[0] - 0.5) < 0.01
    one = best_mixture(both(700, 0)[350:], both(40, 5_000)[20:], 4)
    assert len(one.shares) == 1, "too few pictures to tell kinds"
    true, seen = both(2, 9_000)[0], np.random.default_rng(0).random(256) < 0.2
    mean, left = kinds.given(true, seen)
    assert np.abs(mean - true)[~seen].mean() < 0.05 and left.shape == true.shape
    nearly = np.abs(mean - true) < 3 * left
    assert nearly.mean() > 0.9, "it knows how sure it is"
