"""What a tile looks like in numbers that do not mind a pixel more or less: histograms of oriented gradients.

Dalal and Triggs (2005), with signed orientations, windows that fade out and overlap, and the square root of each
orientation's gradient in place of block normalisation.
"""

from __future__ import annotations

import functools

import numpy as np

from ae_plugin.core.values import Floats

GRID, ORIENTATIONS = 8, 8
BRIGHTNESS = np.float32(0.5)
"""What brightness counts for beside gradients."""


def hog(tiles: Floats) -> Floats:
    """Describe tiles: how much gradient of which orientation there is around each of `GRID` x `GRID` places.

    Args:
        tiles: float32 [n, h, w, C] in 0..1; h and w are multiples of `GRID`.

    Returns:
        float32 [n, GRID * GRID * (ORIENTATIONS + C)]: the square roots of each orientation's gradient at each place,
        then each channel's brightness there, at `BRIGHTNESS` of its weight.
    """
    n, channels = len(tiles), tiles.shape[3]
    grey = _soft(_soft(tiles.mean(axis=3), 1), 2)
    down, right = (np.gradient(grey, axis=axis) for axis in (1, 2))
    size = np.sqrt(down * down + right * right)
    turn = (np.arctan2(down, right) / (2 * np.pi) * ORIENTATIONS) % ORIENTATIONS
    low = np.floor(turn)
    share = (turn - low).astype(np.float32)
    low = low.astype(np.intp) % ORIENTATIONS
    parts = []
    for orientation in range(ORIENTATIONS):
        part = np.where(low == orientation, 1 - share, 0) + np.where((low + 1) % ORIENTATIONS == orientation, share, 0)
        parts.append(np.sqrt(_windows(part * size)))
    parts += [BRIGHTNESS * _windows(tiles[..., channel]) for channel in range(channels)]
    return np.concatenate([part.reshape(n, -1) for part in parts], axis=1).astype(np.float32)


def _soft(pixels: Floats, axis: int) -> Floats:
    """Smoothed a little along one axis: by 1, 2, 1."""
    ends = [(0, 0)] * pixels.ndim
    ends[axis] = (1, 1)
    wide = np.moveaxis(np.pad(pixels, ends, mode="edge"), axis, 0)
    return np.moveaxis((wide[:-2] + 2 * wide[1:-1] + wide[2:]) / np.float32(4), 0, axis)


def _windows(values: Floats) -> Floats:
    """Means of values [n, h, w] around each place of the grid, [n, GRID, GRID]; tile by tile, so n does not matter."""
    _, height, width = values.shape
    return np.asarray(_window(height) @ values.astype(np.float32) @ _window(width).T)


@functools.cache
def _window(length: int) -> Floats:
    """How much each pixel of a side counts at each place, [GRID, length]: a Gaussian of half a step."""
    step = length / GRID
    places = (np.arange(GRID) + 0.5) * step - 0.5
    weights = np.exp(-0.5 * ((np.arange(length) - places[:, None]) / (step / 2)) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
