"""Sliding DCT shrinkage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.core import shrinkage
from ae_plugin.core.shrinkage import drop, shrink
from tests.core.scenes import psnr, scene

LEVEL = np.array([0.1], np.float32)


def test_noise_is_taken_out_and_the_draft_is_improved() -> None:
    true = scene(1)
    noisy = true + 0.1 * np.random.default_rng(0).standard_normal(true.shape, np.float32)
    draft, shrunk = shrink(noisy[None], LEVEL)
    assert psnr(noisy, true) < 20.5
    assert psnr(draft[0], true) > 27 and psnr(shrunk[0], true) > psnr(draft[0], true) + 0.3


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40))
def test_planes_of_any_size_keep_it_and_what_is_even_is_kept(height: int, width: int) -> None:
    even = np.full((1, height, width), 0.3, np.float32)
    for found in (*shrink(even, LEVEL), drop(even, LEVEL)):
        assert found.shape == even.shape and found.dtype == np.float32
        assert found == pytest.approx(even, abs=1e-5)


def test_without_noise_nothing_is_changed() -> None:
    true = scene(2)
    assert shrink(true[None], np.array([1e-6], np.float32))[1][0] == pytest.approx(true, abs=1e-4)


def test_planes_do_not_depend_on_one_another_nor_on_how_many_are_seen_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planes = np.stack([scene(seed, 64, 48) for seed in range(3)])
    levels = np.array([0.02, 0.1, 0.2], np.float32)
    together = shrink(planes, levels)[1]
    alone = [shrink(planes[i : i + 1], levels[i : i + 1])[1][0] for i in range(3)]
    assert together == pytest.approx(np.stack(alone), abs=1e-5)
    monkeypatch.setattr(shrinkage, "_COLUMNS", 100)
    assert shrink(planes, levels)[1] == pytest.approx(together, abs=1e-5)


def test_the_same_bytes_each_time() -> None:
    planes = scene(3)[None]
    assert shrink(planes, LEVEL)[1].tobytes() == shrink(planes, LEVEL)[1].tobytes()
