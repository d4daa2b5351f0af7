"""Completion: the whole picture from some of its pixels."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from ae_plugin.core.shrinkage import drop
from ae_plugin.core.values import Bools, Floats

_ROUNDS = 16
_FIRST, _LAST = 0.12, 0.004
"""Noise level that the first and the last round take out."""
_FINEST = 0.3
"""Smallest share of known pixels around one for which their mean is taken from so near."""


def fill(channel: Floats, known: Bools) -> Floats:
    """Complete a channel float32 [H, W] from the pixels that are known, bool [H, W]; those stay as they are.

    What is missing starts as the mean of what is near. Then, time after time, what cosine transforms of windows do not
    need is dropped, less each time, and the known pixels are put back (Guleryuz 2006).
    """
    if known.all() or not known.any():
        return channel
    filled = np.where(known, channel, _near(channel, known))
    for level in np.geomspace(_FIRST, _LAST, _ROUNDS):
        guess = drop(filled[None], np.array([level], np.float32))[0]
        filled = np.where(known, channel, guess)
    return filled


def _near(channel: Floats, known: Bools) -> Floats:
    """For each pixel the weighted mean of known pixels, from as near as there are some."""
    weights, values = known.astype(np.float32), np.where(known, channel, np.float32(0))
    found = np.full(channel.shape, values.sum() / weights.sum(), np.float32)
    sigma = float(max(channel.shape)) / 2
    while sigma >= 0.5:
        share = gaussian_filter(weights, sigma, mode="reflect", truncate=3)
        mean = gaussian_filter(values, sigma, mode="reflect", truncate=3) / np.maximum(share, 1e-6)
        trust = np.minimum(share * (sigma * sigma * 6) / _FINEST, 1) ** 2
        found += trust * (mean - found)
        sigma /= 2
    return found
