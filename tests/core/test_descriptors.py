"""Histograms of oriented gradients."""

from __future__ import annotations

import numpy as np

from ae_plugin.core.descriptors import CELL, ORIENTATIONS, hog


def edge(turned: int) -> np.ndarray:
    tile = np.zeros((16, 16), np.float32)
    tile[:, 8:] = 1
    return np.rot90(tile, turned)[None, ..., None].copy()


def test_an_edge_is_one_orientation_and_its_opposite_another() -> None:
    parts = [hog(edge(turned))[0, : 4 * ORIENTATIONS].reshape(4, ORIENTATIONS).sum(axis=0) for turned in range(4)]
    assert [int(part.argmax()) for part in parts] == [0, 6, 4, 2]
    assert all(np.count_nonzero(part > 1e-6) == 1 for part in parts)


def test_lengths_and_brightness() -> None:
    tiles = np.random.default_rng(0).uniform(size=(5, 24, 16, 3)).astype(np.float32)
    found = hog(tiles)
    cells = (24 // CELL) * (16 // CELL)
    assert found.shape == (5, cells * (ORIENTATIONS + 3)) and found.dtype == np.float32
    assert np.allclose(found[:, cells * ORIENTATIONS :].mean(axis=1), tiles.mean(axis=(1, 2, 3)), atol=1e-6)
    assert np.array_equal(hog(tiles[2:3])[0], found[2]), "each tile by itself"
    flat = hog(np.full((1, 16, 16, 1), 0.5, np.float32))
    assert (flat[0, : 4 * ORIENTATIONS] == 0).all() and (flat[0, 4 * ORIENTATIONS :] == 0.5).all()
