"""Completion: the whole picture from some of its pixels."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from ae_plugin.core.mixture import Mixture
from ae_plugin.core.shrinkage import drop
from ae_plugin.core.values import Bools, Floats

ROUNDS, FEW_ROUNDS = 24, 6
"""Times that pixels are put back: for completion, and where few are missing."""
AROUND = 64
"""Pixels beside missing ones that say anything of them, at least."""
_FIRST, _LAST = 0.08, 0.008
"""Noise level that the first and the last round take out."""
_ENOUGH = 0.3
"""Known pixels, each by its nearness, that a mean of what is near needs to be trusted."""


def complete(pixels: Floats, known: Bools, whole: Mixture | None = None, side: tuple[int, int] = (0, 0)) -> Floats:
    """Complete a picture from the pixels that are known; those stay as they are.

    Args:
        pixels: float32 [H, W, C] in 0..1; what it holds where nothing is known does not matter.
        known: bool [H, W].
        whole: clusters of history's pictures, each a tile of `side`: they say what is likely where, and are better than
            any smoothness. None: there are none.
        side: (h, w) of those tiles; a larger picture is completed without them.
    """
    return guess(pixels, known, whole, side)[0]


def guess(
    pixels: Floats, known: Bools, whole: Mixture | None = None, side: tuple[int, int] = (0, 0)
) -> tuple[Floats, Floats | None]:
    """Complete a picture, see `complete`, and say how sure that is.

    Returns:
        The whole picture, float32 [H, W, C], and the standard deviation that is left in each pixel, float32 [H, W];
        None where history does not say.
    """
    height, width, channels = pixels.shape
    fits, doubt = height <= side[0] and width <= side[1], None
    if whole is not None and fits and whole.mean.shape[1] == side[0] * side[1] * channels:
        tile, seen = np.zeros((*side, channels), np.float32), np.zeros((*side, channels), bool)
        tile[:height, :width], seen[:height, :width] = pixels, known[..., None]
        means, left = whole.given(tile.ravel(), seen.ravel())
        made = means.reshape(tile.shape)[:height, :width]
        doubt = left.reshape(tile.shape)[:height, :width].mean(axis=2)
    else:
        made, where = pixels.copy(), _around(known)
        where = where if known[where].any() else (slice(None), slice(None))
        part = made[where]
        for channel in range(channels):
            part[..., channel] = fill(part[..., channel], known[where])
    return np.where(known[..., None], pixels, np.clip(made, 0, 1)).astype(np.float32), doubt


def _around(known: Bools) -> tuple[slice, slice]:
    """The part of a picture that has to do with its missing pixels."""
    ends = []
    for axis in (1, 0):
        missing = np.flatnonzero(~known.all(axis=axis))
        first, last = (int(missing[0]), int(missing[-1])) if len(missing) else (0, len(known))
        reach = max(AROUND, (last - first) // 2)
        ends.append(slice(max(first - reach, 0), last + 1 + reach))
    return ends[0], ends[1]


def fill(channel: Floats, known: Bools, rounds: int = ROUNDS, widest: float | None = None) -> Floats:
    """Complete a channel from the pixels that are known; those stay as they are.

    What is missing starts as the mean of what is near. Then, time after time, what cosine transforms of windows do not
    need is dropped, less each time, and the known pixels are put back (Guleryuz 2006).

    Args:
        channel: float32 [H, W].
        known: bool [H, W].
        rounds: times that they are put back.
        widest: pixels, as a standard deviation, of the widest mean; None: half of the longer side.
    """
    if known.all() or not known.any():
        return channel
    filled = np.where(known, channel, _near(channel, known, widest or max(channel.shape) / 2))
    for level in np.geomspace(_FIRST, _LAST, rounds):
        guess = drop(filled[None], np.array([level], np.float32))[0]
        filled = np.where(known, channel, guess)
    return filled


def _near(channel: Floats, known: Bools, sigma: float) -> Floats:
    """For each pixel the weighted mean of known pixels, from as near as there are some, from `sigma` on."""
    weights, values = known.astype(np.float32), np.where(known, channel, np.float32(0))
    found = np.full(channel.shape, values.sum() / weights.sum(), np.float32)
    while sigma >= 0.5:
        share = gaussian_filter(weights, sigma, mode="reflect", truncate=3)
        mean = gaussian_filter(values, sigma, mode="reflect", truncate=3) / np.maximum(share, 1e-6)
        trust = np.minimum(share * (sigma * sigma * 6) / _ENOUGH, 1) ** 2
        found += trust * (mean - found)
        sigma /= 2
    return found
