"""Which pixels of a picture are wrong, and the picture with them replaced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_propagation

from ae_plugin.core.pictures import Picture, Pixels, bands, from_float, to_float
from ae_plugin.core.values import Bools, Floats

RIM = 0.5
"""Share of the limit that is enough for a pixel beside a wrong one."""


def wrong_pixels(heat: Floats, limit: float) -> Bools:
    """Pixels beyond the limit, and what hangs together with one and nearly is: a defect fades out towards its rim.

    After Canny (1986), who follows edges so.

    Args:
        heat: float32 [H, W].
        limit: the heat that all but a few good pictures stay within.

    Returns:
        bool [H, W].
    """
    beyond = np.asarray(heat > limit)
    if not beyond.any():
        return beyond
    return np.asarray(binary_propagation(beyond, np.ones((3, 3)), mask=heat > RIM * limit))


def mend(picture: Picture, repaired: Floats, where: Bools) -> Pixels:
    """A picture's pixels with some of them replaced by what the network says. Alpha is kept.

    Args:
        picture: as it came.
        repaired: float32 [H, W, C], the whole reconstruction.
        where: bool [H, W].
    """
    mended = np.empty_like(picture.pixels)
    for rows in bands(len(mended)):
        mended[rows] = _mended(replace(picture, pixels=picture.pixels[rows]), repaired[rows], where[rows])
    return mended


def _mended(picture: Picture, new: Floats, where: Bools) -> Pixels:
    pixels, colours = to_float(picture), min(picture.pixels.shape[2], 3)
    if new.shape[2] != colours:  # a colour picture that the network sees in grey keeps its colours' differences
        before = pixels[..., :colours].mean(axis=2, keepdims=True)
        new = pixels[..., :colours] + (new.mean(axis=2, keepdims=True) - before)
    pixels[..., :colours] = np.where(where[..., None], new, pixels[..., :colours])
    return np.where(where[..., None], from_float(pixels, picture), picture.pixels)
