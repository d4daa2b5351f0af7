"""How far completed pixels may be from the truth: split-conformal intervals, as those of cells (see `core.intervals`).

Pixels of calibration pictures are hidden, at random or as a hole, and completed. How far off they are is divided by how
far off such pixels usually are, by what history leaves open there, how busy the picture is around them, how far the
nearest known pixel is and how many are; and compared with pixels about as far from one, in or at a hole as they are, or
among scattered ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_gradient_magnitude

from ae_plugin.core.intervals import LEVELS
from ae_plugin.core.values import Bools, Floats

BANDS = np.array([1.2, 2.3, 4.5, 9.0])
"""Pixels to the nearest known one, up to which errors are compared with one another; one more band is beyond."""
KINDS = 2 * (len(BANDS) + 1)
"""Scattered pixels by band, then those of holes."""
FEWEST_KNOWN, MOST_KNOWN = 0.05, 0.9
_BUSY, _LEAST, _AROUND, _SPARSE = 1.5, 0.004, 2.0, 0.02
_WIDE, _ASIDE = 3.0, 0.12
_RIDGE = 1e-3

Guess = Callable[[Floats, Bools], tuple[Floats, Floats | None]]
"""(pixels [H, W, C], known [H, W]) -> (the whole picture, the standard deviation left in each pixel [H, W] or None)."""


@dataclass(frozen=True)
class PixelIntervals:
    """What hidden pixels of calibration pictures were off.

    Attributes:
        weights: float32 [5], of the log of a pixel's usual error: of the logs of what is left open, of how busy it is
            around, of the distance, of the share of pixels around that are known, and a constant.
        off: float32 [KINDS, len(LEVELS)], truth less guess in usual errors; NaN for none.
        pictures: int32 [KINDS], calibration pictures that those are of.
    """

    weights: Floats
    off: Floats
    pictures: npt.NDArray[np.int32]

    def ends(self, whole: Floats, doubt: Floats | None, known: Bools, coverage: float) -> tuple[Floats, Floats]:
        """Both ends of the interval of each pixel of a completed picture; of a known one what it is.

        Args:
            whole: float32 [H, W, C], completed.
            doubt: float32 [H, W], or None, as `Guess` gives it.
            known: bool [H, W].
            coverage: share of pixels that are to lie within.
        """
        usual = self.usual(whole, doubt, known)
        band = kinds_of(known)
        out = []
        for side, level in ((-1, (1 - coverage) / 2), (1, (1 + coverage) / 2)):
            reach = self._quantiles(level, side)[band] * usual
            reach = np.maximum(reach, 0) if side > 0 else np.minimum(reach, 0)
            out.append(np.where(known[..., None], whole, np.clip(whole + reach[..., None], 0, 1)).astype(np.float32))
        return out[0], out[1]

    def usual(self, whole: Floats, doubt: Floats | None, known: Bools) -> Floats:
        """How far off each pixel usually is, float32 [H, W]."""
        return np.asarray(np.exp(np.clip(_design(whole, doubt, known) @ self.weights, -8, 2)), np.float32)

    def _quantiles(self, level: float, side: int) -> Floats:
        """The level's quantile in each band, moved outwards by what so few pictures need; infinite where too few.

        Pixels of a picture are no draws of their own: pictures count (Lee, Barber and Willett 2023).
        """
        found = np.full(KINDS, side * np.inf, np.float32)
        for band, (count, off) in enumerate(zip(self.pictures, self.off, strict=True)):
            n = max(int(count), 1)
            moved = level * (n + 1) / n if side > 0 else 1 - (1 - level) * (n + 1) / n
            if count > 0 and 0 <= moved <= 1:
                found[band] = np.interp(moved, LEVELS, off)
        return found


def kinds_of(known: Bools) -> npt.NDArray[np.intp]:
    """Which of `PixelIntervals.off` each pixel is measured by, int [H, W]."""
    band = np.searchsorted(BANDS, distance_transform_edt(~known))
    # Beside a hole what is known lies all to one side.
    dense = gaussian_filter(known.astype(np.float32), _WIDE, mode="reflect")
    slope = gaussian_gradient_magnitude(known.astype(np.float32), _WIDE, mode="reflect")
    return np.asarray(band + (len(BANDS) + 1) * (slope > _ASIDE * (dense + _ASIDE / 2)), np.intp)


def _design(whole: Floats, doubt: Floats | None, known: Bools) -> Floats:
    """What a pixel's usual error depends on, float32 [H, W, 5]."""
    grey = whole.mean(axis=2)
    mean = gaussian_filter(grey, _BUSY, mode="reflect")
    busy = np.sqrt(np.maximum(gaussian_filter(grey * grey, _BUSY, mode="reflect") - mean * mean, 0)) + _LEAST
    far = np.maximum(distance_transform_edt(~known), 1)
    left = np.ones_like(grey) if doubt is None else doubt
    dense = gaussian_filter(known.astype(np.float32), _AROUND, mode="reflect") + _SPARSE
    parts = [np.log(left), np.log(busy), np.log(far), np.log(dense), np.ones_like(grey)]
    return np.stack(parts, axis=2).astype(np.float32)


def fit_pixel_intervals(guess: Guess, train: Iterable[Floats], calibration: Iterable[Floats]) -> PixelIntervals:
    """Hide pixels of pictures, complete them, and learn how far off they are.

    Args:
        guess: completes.
        train: pictures float32 [H, W, C] of history, which say what errors depend on.
        calibration: others, which what is promised is made of.
    """
    designs, logs = [], []
    for rng, true in _seeded(train, 41):
        known = some_known(true.shape[:2], rng)
        whole, doubt = guess(np.where(known[..., None], true, np.float32(0)), known)
        some = np.flatnonzero(~known.ravel())
        some = some[rng.permutation(len(some))[:500]]
        designs.append(_design(whole, doubt, known).reshape(-1, 5)[some])
        off = np.abs(true - whole).mean(axis=2).ravel()[some]
        logs.append(np.log(off + _LEAST))
    x, y = np.concatenate(designs).astype(np.float64), np.concatenate(logs).astype(np.float64)
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(5), x.T @ y)
    blank = PixelIntervals(
        weights.astype(np.float32),
        np.full((KINDS, len(LEVELS)), np.nan, np.float32),
        np.zeros(KINDS, np.int32),
    )
    found: list[list[Floats]] = [[] for _ in range(KINDS)]
    for rng, true in _seeded(calibration, 43):
        parts: dict[int, list[Floats]] = {}
        for known in (scattered(true.shape[:2], rng), with_hole(true.shape[:2], rng)):
            whole, doubt = guess(np.where(known[..., None], true, np.float32(0)), known)
            off, kind = (true - whole) / blank.usual(whole, doubt, known)[..., None], kinds_of(known)
            for place in np.unique(kind[~known]):
                parts.setdefault(int(place), []).append(off[(kind == place) & ~known].ravel())
        for place, own in parts.items():
            found[place].append(np.concatenate(own))
    for place, each in enumerate(found):
        if each:
            blank.off[place] = np.quantile(np.concatenate(each), LEVELS)
            blank.pictures[place] = len(each)
    return blank


def some_known(size: tuple[int, int], rng: np.random.Generator) -> Bools:
    """Which pixels of a picture are known, bool [H, W]: some at random, or all but a hole."""
    return scattered(size, rng) if rng.random() < 0.5 else with_hole(size, rng)


def scattered(size: tuple[int, int], rng: np.random.Generator) -> Bools:
    """A share of the pixels at random, at least one of them, and not all."""
    known = rng.random(size) < rng.uniform(FEWEST_KNOWN, MOST_KNOWN)
    known.ravel()[0], known.ravel()[-1] = True, False
    return np.asarray(known)


def with_hole(size: tuple[int, int], rng: np.random.Generator) -> Bools:
    """All but a rectangle, of a tenth to six tenths of each side."""
    known = np.ones(size, bool)
    height, width = (max(int(length * rng.uniform(0.1, 0.6)), 1) for length in size)
    top, left = (int(rng.integers(0, length - part + 1)) for length, part in zip(size, (height, width), strict=True))
    known[top : top + height, left : left + width] = False
    return known


def _seeded(pictures: Iterable[Floats], seed: int) -> Iterable[tuple[np.random.Generator, Floats]]:
    return ((np.random.default_rng([seed, number]), true) for number, true in enumerate(pictures))
