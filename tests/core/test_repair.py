"""Which pixels are wrong."""

from __future__ import annotations

import numpy as np

from ae_plugin.core.repair import RIM, wrong_pixels

LIMIT = 0.4


def test_a_wrong_pixel_brings_what_hangs_together_with_it_and_is_nearly_as_hot() -> None:
    heat = np.zeros((8, 12), np.float32)
    heat[2, 2:6] = [LIMIT + 0.01, 0.3, RIM * LIMIT + 0.01, RIM * LIMIT]
    heat[3, 5] = 0.25  # beside it across a corner
    heat[6, 8:11] = LIMIT  # hot, but nowhere beyond the limit
    wanted = np.zeros(heat.shape, bool)
    wanted[2, 2:5] = wanted[3, 5] = True
    assert np.array_equal(wrong_pixels(heat, LIMIT), wanted)


def test_nothing_beyond_the_limit_is_nothing_wrong() -> None:
    assert not wrong_pixels(np.full((5, 5), 0.39, np.float32), LIMIT).any()


def test_where_no_good_picture_has_any_heat_only_pixels_with_some_are_wrong() -> None:
    heat = np.zeros((5, 5), np.float32)
    heat[1, 1] = 0.1
    assert np.array_equal(wrong_pixels(heat, 0.0), heat > 0)


def test_no_limit_that_can_be_reached_is_nothing_wrong() -> None:
    assert not wrong_pixels(np.ones((5, 5), np.float32), np.inf).any()
