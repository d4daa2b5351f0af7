"""Pictures whose causes are known: one shape, of a place, a size and a brightness, each drawn by itself.

As dSprites (Matthey et al., 2017), made by a script: nothing to download, and any number of sets that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

SIDE = 32
FACTORS = ("x", "y", "size", "brightness")
LEVELS = (20, 20, 8, 8)
"""Values that each factor takes, evenly spaced, and equally likely."""
Shape = Literal["disc", "square", "ring"]
_GRAIN = 4
"""Points that a pixel is made of, along each side: edges are smooth, so that a place is more than whole pixels."""
_BACKGROUND = 0.1


@dataclass(frozen=True)
class Shapes:
    """Pictures uint8 [n, 32, 32], and which value each factor has in them, int64 [n, 4]."""

    pictures: npt.NDArray[np.uint8]
    factors: npt.NDArray[np.int64]


def draw(count: int, seed: int, shape: Shape = "disc") -> Shapes:
    """Draw pictures of one shape.

    Args:
        count: how many.
        seed: of the factors' values.
        shape: the same in all of them.
    """
    rng = np.random.default_rng([seed, len(shape)])
    factors = np.stack([rng.integers(0, levels, count) for levels in LEVELS], axis=1)
    share = factors / (np.array(LEVELS) - 1)
    x, y = 8 + 16 * share[:, 0], 8 + 16 * share[:, 1]
    radius, bright = 3 + 4 * share[:, 2], 0.4 + 0.6 * share[:, 3]
    at = (np.arange(SIDE * _GRAIN) + 0.5) / _GRAIN
    pictures = np.empty((count, SIDE, SIDE), np.uint8)
    for i in range(count):
        across, down = np.abs(at - x[i]), np.abs(at - y[i])
        if shape == "square":
            inside = np.logical_and.outer(down < radius[i], across < radius[i])
        else:
            apart = np.hypot.outer(down, across)
            inside = apart < radius[i]
            if shape == "ring":
                inside &= apart > radius[i] / 2
        cover = inside.reshape(SIDE, _GRAIN, SIDE, _GRAIN).mean(axis=(1, 3))
        pictures[i] = np.rint(255 * (_BACKGROUND + (bright[i] - _BACKGROUND) * cover))
    return Shapes(pictures, factors)
