"""Noise, told from the picture alone."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.noise import Noise, estimate, impulses, uncut
from tests.core.scenes import filed, noisy, psnr, scene


@pytest.mark.parametrize("level", [0.02, 0.06, 0.1, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_the_level_is_found(level: float, seed: int) -> None:
    found = estimate(noisy(scene(seed), level, seed)[None])
    assert found.slope == 0 and found.level == pytest.approx(level, rel=0.12)


def test_a_picture_without_noise_has_none() -> None:
    assert estimate(filed(scene(1))[None]).level < 1.5 / 255
    assert estimate(np.zeros((3, 64, 64), np.float32)).level == 0
    assert estimate(scene(1, 5, 5)[None]) == Noise(0.0, 0.0), "too small to tell"


def test_small_pictures_are_enough() -> None:
    levels = [estimate(noisy(scene(seed, 28, 28), 0.1, seed)[None]).level for seed in range(20)]
    assert np.median(levels) == pytest.approx(0.1, rel=0.2)


def test_counted_light_is_told_from_even_noise() -> None:
    true, peak = scene(4, 256, 256), 40
    counted = filed((np.random.default_rng(0).poisson(true * peak) / peak).astype(np.float32))
    found = estimate(counted[None])
    assert found.slope == pytest.approx(1 / peak, rel=0.3) and found.constant < 0.1 / peak
    even = found.even(counted)
    apart = even - found.even(true)
    dark, bright = true < 0.35, true > 0.65
    assert apart[dark].std() == pytest.approx(apart[bright].std(), rel=0.15)
    assert apart.std() == pytest.approx(found.level, rel=0.15)


def test_what_is_made_even_is_undone_for_the_mean_of_noisy_pixels() -> None:
    noise, true, rng = Noise(0.001, 0.02), np.float32(0.4), np.random.default_rng(0)
    pixels = rng.poisson(np.full(200_000, true / 0.02)) * 0.02 + rng.normal(0, np.sqrt(0.001), 200_000)
    mean = noise.even(pixels.astype(np.float32)).mean()
    assert float(noise.uneven(np.array([mean], np.float32))[0]) == pytest.approx(true, abs=2e-3)
    even = Noise(0.01, 0.0)
    assert even.even(scene(1)) is not None and np.array_equal(even.uneven(even.even(scene(1))), scene(1))


def test_what_a_range_cut_off_noise_is_given_back() -> None:
    rng = np.random.default_rng(0)
    for true in (0.0, 0.05, 0.5, 0.97):
        mean = np.clip(true + rng.normal(0, 0.2, 400_000), 0, 1).mean()
        assert float(uncut(np.array([mean], np.float32), 0.2)[0]) == pytest.approx(true, abs=4e-3)


def test_salt_and_pepper_is_found_where_it_is() -> None:
    true, rng = scene(5), np.random.default_rng(0)
    where = rng.uniform(size=true.shape)
    spoilt = np.where(where < 0.05, 0, np.where(where > 0.95, 1, true)).astype(np.float32)
    found, lost = impulses(spoilt[None])[0], spoilt != true
    assert found[lost].mean() > 0.97 and lost[found].mean() > 0.99


def test_what_is_drawn_black_on_white_is_no_impulse_nor_is_noise_that_was_cut_off() -> None:
    y, x = np.mgrid[:128, :128]
    drawn = (((y // 6) + (x // 9)) % 3 == 0).astype(np.float32)
    drawn[::17, :] = 1
    assert not impulses(drawn[None]).any()
    dark = noisy(scene(6) * np.float32(0.3), 0.2)
    assert (dark == 0).mean() > 0.1 and not impulses(dark[None]).any()
    assert psnr(dark, scene(6)) < 20
