"""Histograms of oriented gradients."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.descriptors import BRIGHTNESS, GRID, ORIENTATIONS, hog

PLACES = GRID * GRID


def edge(turned: int) -> np.ndarray:
    tile = np.zeros((16, 16), np.float32)
    tile[:, 8:] = 1
    return np.rot90(tile, turned)[None, ..., None].copy()


def test_an_edge_is_one_orientation_and_its_opposite_another() -> None:
    parts = [hog(edge(turned))[0, : PLACES * ORIENTATIONS].reshape(ORIENTATIONS, PLACES) for turned in range(4)]
    sums = [part.sum(axis=1) for part in parts]
    assert [int(part.argmax()) for part in sums] == [0, 6, 4, 2]
    assert all(part.max() / part.sum() > 0.999 for part in sums)


@pytest.mark.parametrize(("height", "width"), [(24, 16), (28, 28), (5, 9)])
def test_lengths_and_brightness(height: int, width: int) -> None:
    tiles = np.random.default_rng(0).uniform(size=(5, height, width, 3)).astype(np.float32)
    found = hog(tiles)
    assert found.shape == (5, PLACES * (ORIENTATIONS + 3)) and found.dtype == np.float32
    assert np.array_equal(hog(tiles[2:3])[0], found[2]), "each tile by itself"
    flat = hog(np.full((1, height, width, 1), 0.5, np.float32))
    assert (flat[0, : PLACES * ORIENTATIONS] == 0).all()
    assert np.allclose(flat[0, PLACES * ORIENTATIONS :], 0.5 * BRIGHTNESS)


def test_a_pixel_more_or_less_matters_less_than_another_thing() -> None:
    rng = np.random.default_rng(1)
    things = np.zeros((2, 32, 32, 1), np.float32)
    for thing in things:
        for _ in range(4):
            top, left = rng.integers(2, 20, 2)
            thing[top : top + 8, left : left + 8] = 1
    one, moved, other = hog(things[:1]), hog(np.roll(things[:1], 1, axis=2)), hog(things[1:])
    assert np.linalg.norm(one - moved) < 0.5 * np.linalg.norm(one - other)


def test_a_gradient_is_shared_by_the_two_orientations_it_lies_between() -> None:
    """As its angle says, for slopes in every direction and through the places where two octants meet."""
    down, right = np.mgrid[:16, :16].astype(np.float32)
    for degrees in range(0, 360, 5):
        angle = np.deg2rad(degrees)
        slope = np.float32(np.sin(angle)) * down + np.float32(np.cos(angle)) * right
        found = hog(0.5 + slope[None, ..., None] / 64)[0, : PLACES * ORIENTATIONS].reshape(ORIENTATIONS, PLACES)
        middle = np.square(found[:, PLACES // 2 + GRID // 2])
        turn = degrees / 360 * ORIENTATIONS
        apart = np.abs((np.arange(ORIENTATIONS) - turn + ORIENTATIONS / 2) % ORIENTATIONS - ORIENTATIONS / 2)
        assert np.allclose(middle, np.maximum(1 - apart, 0) / 64, atol=1e-6), degrees
