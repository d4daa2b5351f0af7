"""Where a picture is wrong, in words that a person or a program can use: boxes around the pixels that are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, label

from ae_plugin.core.values import Bools, Floats


@dataclass(frozen=True)
class Region:
    """A part of a picture that is wrong: pixels that touch, also at their corners.

    Attributes:
        top, left, height, width: of the smallest box around them, in pixels.
        pixels: how many they are.
        heat: the most that any of them looks wrong, 0..1.
    """

    top: int
    left: int
    height: int
    width: int
    pixels: int
    heat: float


def regions(mask: Bools, heat: Floats) -> list[Region]:
    """The wrong regions of a picture, the hottest first.

    Args:
        mask: bool [H, W], which pixels are wrong.
        heat: float32 [H, W], 0..1, higher = more likely wrong.
    """
    parts, _ = label(mask, np.ones((3, 3), int))
    found = []
    for number, (rows, columns) in enumerate(find_objects(parts), 1):
        own = parts[rows, columns] == number
        found.append(
            Region(
                top=rows.start,
                left=columns.start,
                height=rows.stop - rows.start,
                width=columns.stop - columns.start,
                pixels=int(own.sum()),
                heat=round(float(heat[rows, columns][own].max()), 6),
            )
        )
    return sorted(found, key=lambda region: -region.heat)
