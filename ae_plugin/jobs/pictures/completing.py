"""What a pictures' training learns for completion: how far off completed pixels are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import numpy as np

from ae_plugin.core.completion import guess
from ae_plugin.core.laid import seen
from ae_plugin.core.mixture import Mixture
from ae_plugin.core.pixel_intervals import PixelIntervals, fit_pixel_intervals
from ae_plugin.core.values import Floats, evenly_spaced
from ae_plugin.jobs.pictures.history import PictureHistory

log = logging.getLogger(__name__)
PIECE = 96
"""Pixels a side of the part of a large picture that is completed."""
FEWEST, MOST, PIXELS = 40, 400, 2**18
"""Pictures to learn from, of each kind, and pixels of them all."""


def pixel_intervals(history: PictureHistory, whole: Mixture | None) -> PixelIntervals:
    """Learn from training tiles and calibration pictures; of large ones from a piece of each."""
    made = partial(guess, whole=whole, side=history.side)
    tiles = history.train[evenly_spaced(len(history.train), _most(history.train[0].size) // 2)]
    found = fit_pixel_intervals(lambda pixels, known: made(pixels, known), tiles, _pieces(history))
    log.info("intervals of completed pixels from %d pictures", int(found.pictures.max()))
    return found


def _pieces(history: PictureHistory) -> Iterator[Floats]:
    sizes = [min(length, PIECE) for length in history.calibration[0].pixels.shape[:2]]
    chosen = evenly_spaced(len(history.calibration), _most(sizes[0] * sizes[1] * history.channels))
    rng = np.random.default_rng(37)
    for place in chosen:
        pixels = seen(history.calibration[place], history.channels)
        height, width, _ = pixels.shape
        top, left = (int(rng.integers(0, max(length - PIECE, 0) + 1)) for length in (height, width))
        yield pixels[top : top + PIECE, left : left + PIECE]


def _most(size: int) -> int:
    return int(np.clip(PIXELS // size, FEWEST, MOST))
