"""What a tile looks like in numbers that do not mind a pixel more or less: histograms of oriented gradients.

Dalal and Triggs (2005), with signed orientations, windows that fade out and overlap, and the square root of each
orientation's gradient in place of block normalisation.
"""

from __future__ import annotations

import functools

import numpy as np

from ae_plugin.core.tiles import grey
from ae_plugin.core.values import Bools, Floats

GRID, ORIENTATIONS = 8, 8
BRIGHTNESS = np.float32(0.5)
"""What brightness counts for beside gradients."""
_TOGETHER = 8
"""Tiles at a time: few enough that what is computed of them stays in the processor's cache."""
_FEWEST = np.finfo(np.float32).tiny


def hog(tiles: Floats) -> Floats:
    """Describe tiles: how much gradient of which orientation there is around each of `GRID` x `GRID` places.

    Args:
        tiles: float32 [n, h, w, C] in 0..1.

    Returns:
        float32 [n, GRID * GRID * (ORIENTATIONS + C)]: the square roots of each orientation's gradient at each place,
        then each channel's brightness there, at `BRIGHTNESS` of its weight.
    """
    n, height, width, channels = tiles.shape
    found = np.empty((n, ORIENTATIONS + channels, GRID, GRID), np.float32)
    for start in range(0, n, _TOGETHER):
        part = tiles[start : start + _TOGETHER]
        pixels = np.empty((len(part), ORIENTATIONS + channels, height, width), np.float32)
        for orientation, gradient in enumerate(_oriented(grey(part))):
            pixels[:, orientation] = gradient
        pixels[:, ORIENTATIONS:] = np.moveaxis(part, 3, 1)
        found[start : start + _TOGETHER] = _window(height) @ pixels @ _window(width).T
    gradients = found[:, :ORIENTATIONS]
    np.sqrt(np.maximum(gradients, 0), out=gradients)
    found[:, ORIENTATIONS:] *= BRIGHTNESS
    return found.reshape(n, -1)


def _oriented(pixels: Floats) -> tuple[Floats, ...]:
    """How much gradient of each orientation each pixel has, [n, h, w] each, of [n, h, w].

    A gradient is shared by the two orientations it lies between, by its angle. Of an axis and a diagonal beside it
    these are, so that signs and the longer of its two sides tell them apart: an angle is needed within an octant only.
    """
    soft = _soft(_soft(pixels, 1), 2)
    down, right = _slope(soft, 1), _slope(soft, 2)
    tall, wide = np.abs(down), np.abs(right)
    size = np.sqrt(down * down + right * right)
    octant = np.arctan(np.minimum(tall, wide) / np.maximum(np.maximum(tall, wide), _FEWEST))
    slanted = octant * np.float32(4 / np.pi) * size
    across, along = _split(size - slanted, wide > tall)
    onward, back = _split(slanted, right > 0)
    east, west = _split(across, right > 0)
    south, north = _split(along, down > 0)
    south_east, north_east = _split(onward, down > 0)
    south_west, north_west = _split(back, down > 0)
    return east, south_east, south, south_west, west, north_west, north, north_east


def _split(values: Floats, here: Bools) -> tuple[Floats, Floats]:
    """The values that are here, and those that are not; 0 elsewhere."""
    kept = values * here.astype(np.float32)
    return kept, values - kept


def _soft(pixels: Floats, axis: int) -> Floats:
    """Smoothed a little along one axis: by 1, 2, 1; beyond an edge it goes on as it is there."""
    found = 2 * pixels
    old, new = np.moveaxis(pixels, axis, 0), np.moveaxis(found, axis, 0)
    new[1:] += old[:-1]
    new[:-1] += old[1:]
    new[0] += old[0]
    new[-1] += old[-1]
    found *= np.float32(1 / 4)
    return found


def _slope(pixels: Floats, axis: int) -> Floats:
    """Half the difference of a pixel's neighbours along one axis; at an edge, the difference to the only one."""
    found = np.empty_like(pixels)
    old, new = np.moveaxis(pixels, axis, 0), np.moveaxis(found, axis, 0)
    np.subtract(old[2:], old[:-2], out=new[1:-1])
    new[1:-1] *= np.float32(1 / 2)
    new[0], new[-1] = old[1] - old[0], old[-1] - old[-2]
    return found


@functools.cache
def _window(length: int) -> Floats:
    """How much each pixel of a side counts at each place, [GRID, length]: a Gaussian of half a step."""
    step = length / GRID
    places = (np.arange(GRID) + 0.5) * step - 0.5
    weights = np.exp(-0.5 * ((np.arange(length) - places[:, None]) / (step / 2)) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
