"""What a tile looks like in numbers that do not mind a pixel more or less: histograms of oriented gradients.

Dalal and Triggs (2005), with signed orientations, and the square root of each share in place of block normalisation.
"""

from __future__ import annotations

import numpy as np

from ae_plugin.core.values import Floats

CELL, ORIENTATIONS = 8, 8


def hog(tiles: Floats) -> Floats:
    """Describe tiles: how much gradient of which orientation each cell of `CELL` pixels holds.

    Args:
        tiles: float32 [n, h, w, C] in 0..1; h and w are multiples of `CELL`.

    Returns:
        float32 [n, D]: of each cell the square roots of each orientation's part of all gradient in it, times the square
        root of its mean gradient's size; then each cell's mean of each channel.
    """
    n, height, width, channels = tiles.shape
    rows, columns = height // CELL, width // CELL
    grey = tiles.mean(axis=3)
    down, right = (np.gradient(grey, axis=axis) for axis in (1, 2))
    size = np.sqrt(down * down + right * right)
    turn = (np.arctan2(down, right) / (2 * np.pi) * ORIENTATIONS) % ORIENTATIONS
    low = np.floor(turn)
    share = (turn - low).astype(np.float32)
    low = low.astype(np.intp) % ORIENTATIONS
    out = np.zeros((n, rows, columns, ORIENTATIONS), np.float32)
    for orientation in range(ORIENTATIONS):
        part = np.where(low == orientation, 1 - share, 0) + np.where((low + 1) % ORIENTATIONS == orientation, share, 0)
        out[..., orientation] = _by_cell(part * size)
    brightness = tiles.reshape(n, rows, CELL, columns, CELL, channels).mean(axis=(2, 4))
    return np.concatenate([np.sqrt(out).reshape(n, -1), brightness.reshape(n, -1)], axis=1).astype(np.float32)


def _by_cell(values: Floats) -> Floats:
    n, height, width = values.shape
    return np.asarray(values.reshape(n, height // CELL, CELL, width // CELL, CELL).mean(axis=(2, 4)))
