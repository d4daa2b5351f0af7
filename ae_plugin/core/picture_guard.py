"""Is this the kind of picture that the model knows? Asked of a partition, in two ways; either may refuse it.

A defect is a small thing: the middle one of a picture's tiles is as near to history as ever. Even if half of a
partition were defective and far, its other half would lie among the calibration pictures: a quarter of it nearer than
the nearest quarter of those, half nearer than half. Where significantly fewer are, it is another kind of picture.

Kinds that look alike are as near to history as its own pictures are. But they all lie to one side of it, where the good
half of a partition lies around its middle, whatever the other half is: so the mean place of the nearer half is asked
too. It may lie as far off as those of calibration pictures, drawn at random or one after another, ever do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ae_plugin.core.values import Floats
from ae_plugin.schemas import GuardVerdict, Verdict

LEVELS = (0.25, 0.5, 0.75, 0.95)
"""Shares of the calibration pictures that lie within the limits asked about."""
DEFECTIVE, SURE = 0.5, 1e-3
FEW = 11
"""Pictures from which on a partition can be refused: of fewer, even all of them far are no surer than SURE."""
GROUP = 32
"""Pictures from which on it is asked where they lie; as many make a group of calibration pictures."""
AXES, DRAWS, SEED = 32, 400, 9
NOTHING = 1e-4
"""A standard deviation of descriptors that is none."""
MOST = 8_192
"""Pictures of a partition whose places are kept; of more, every second, fourth, ..."""


@dataclass(frozen=True)
class Kind:
    """Where history's pictures lie, along the axes in which descriptors of its tiles differ most.

    Attributes:
        middle: float32 [F], the mean descriptor.
        axes: float32 [F, K]; descriptors less the middle, times this, have mean 0 and variance 1 along each axis.
        limit: how far off the mean place of a group of calibration pictures lies at most, see `off`; infinite where
            there are too few of them to tell.
    """

    middle: Floats
    axes: Floats
    limit: float

    @staticmethod
    def fit(tiles: Floats, described: Floats, distances: Floats) -> Kind:
        """Learn from descriptors of tiles of history, float32 [n, F], and of calibration pictures.

        Args:
            tiles: n descriptors.
            described: those of m calibration pictures, float32 [m, F], in the order of the source.
            distances: float32 [m], of the same.
        """
        middle = tiles.mean(axis=0)
        _, spread, axes = np.linalg.svd(tiles - middle, full_matrices=False)
        spread /= len(tiles) ** 0.5
        kept = spread > NOTHING
        kept[min(AXES, max(len(tiles) // 10, 1)) :] = False
        kind = Kind(middle, np.asarray(axes[kept].T / spread[kept], np.float32), np.inf)
        if len(described) < GROUP:
            return kind
        places = kind.places(described)
        return replace(kind, limit=max(off(places[at], distances[at], half) for at, half in _groups(len(places))))

    def places(self, described: Floats) -> Floats:
        """Descriptors float32 [n, F] along the axes, float32 [n, K]."""
        return np.asarray((described - self.middle) @ self.axes, np.float32)


def _groups(pictures: int) -> Iterator[tuple[np.ndarray[tuple[int], np.dtype[np.intp]], bool]]:
    """Groups of calibration pictures, and whether their nearer half is asked about: else it is half a group, all good.

    Pictures that come one after another may have more in common, such as a day's light.
    """
    rng = np.random.default_rng(SEED)
    for _ in range(DRAWS):
        yield rng.integers(pictures, size=GROUP), True
        yield rng.integers(pictures, size=GROUP // 2), False
    for start in range(0, pictures - GROUP + 1, GROUP // 4):
        yield np.arange(start, start + GROUP), True
        yield np.arange(start, start + GROUP // 2), False


def off(places: Floats, distances: Floats, nearer: bool = True) -> float:
    """How far off the middle of history the mean of places float32 [n, K] lies; `nearer`: of the nearer half alone."""
    if nearer:
        places = places[np.argsort(distances, kind="stable")[: (len(places) + 1) // 2]]
    return float(np.linalg.norm(places.mean(axis=0)))


class PictureGuard:
    """Watches one partition go by, and gives a verdict at the end.

    Args:
        limits: the distances that each of `LEVELS` of the calibration pictures stay within.
        kind: where history's pictures lie.
    """

    def __init__(self, limits: Sequence[float], kind: Kind) -> None:
        self._limits, self.pictures, self._far = np.asarray(limits, np.float32), 0, np.zeros(len(LEVELS), np.int64)
        self._kind, self._every = kind, 1
        self._distances, self._places = np.zeros(0, np.float32), np.zeros((0, kind.axes.shape[1]), np.float32)

    def watch(self, distances: Floats, described: Floats) -> None:
        """Take note of pictures: their distances, float32 [n], and descriptors, [n, F]."""
        kept = np.arange(-self.pictures % self._every, len(distances), self._every)
        self.pictures += len(distances)
        self._far += (distances[:, None] > self._limits).sum(axis=0)
        self._distances = np.concatenate([self._distances, distances[kept]])
        self._places = np.concatenate([self._places, self._kind.places(described[kept])])
        while len(self._distances) > MOST:
            self._every *= 2
            self._distances, self._places = self._distances[::2], self._places[::2]

    def verdict(self) -> GuardVerdict:
        """Judge all pictures watched so far."""
        if not self.pictures:
            return GuardVerdict(verdict="familiar", reasons=["no picture that can be read"], columns=[])
        luck = [self._luck(at, 1 - level * (1 - DEFECTIVE)) for at, level in enumerate(LEVELS)]
        least = int(np.argmin(luck))
        word: Verdict = "familiar"
        reasons = []
        if self._luck(-1, 1 - LEVELS[-1]) <= SURE:
            word, reasons = "drifted", [self._said(len(LEVELS) - 1)]
        others = [self._said(least)] if luck[least] <= SURE else []
        if self.pictures >= GROUP and (aside := off(self._places, self._distances)) > self._kind.limit:
            times = aside / max(self._kind.limit, NOTHING)
            others.append(f"even the nearer half lies aside, {times:.1f} times as far as calibration pictures ever do")
        if others:
            word, reasons = "unfamiliar", [f"another kind of picture: {'; '.join(others)}"]
        return GuardVerdict(verdict=word, reasons=reasons, columns=[])

    def _said(self, at: int) -> str:
        share = self._far[at] / self.pictures
        return f"{share:.0%} of pictures are farther from history than {LEVELS[at]:.0%} of calibration pictures"

    def _luck(self, at: int, share: float) -> float:
        """How likely so many are beyond a limit when this share is expected to be (binomial)."""
        from scipy.special import betainc

        far = int(self._far[at])
        return float(betainc(far, self.pictures - far + 1, share)) if far else 1.0
