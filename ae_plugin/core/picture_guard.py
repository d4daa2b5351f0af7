"""Is this the kind of picture that the model knows? Asked of a partition, in three ways; each may refuse it.

A defect is a small thing: the middle one of a picture's tiles is as near to history as ever. Even if half of a
partition were defective and far, its other half would lie among the calibration pictures: a quarter of it nearer than
the nearest quarter of those, half nearer than half. Where significantly fewer are, it is another kind of picture.

If significantly more than half are anomalous, they are not defective ones, but another kind, however near.

Kinds that look alike are as near to history as its own pictures are. But they all lie to one side of it, where the good
half of a partition lies around its middle, whatever the other half is: so the mean place of the nearer half is asked
too. It may lie as far off as those of groups of calibration pictures ever do, moved by what pictures of one partition
have in common, such as a day's light.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ae_plugin.core.values import Doubles, Floats, Longs
from ae_plugin.schemas import GuardVerdict, Verdict

LEVELS = (0.25, 0.5, 0.75, 0.95)
"""Shares of the calibration pictures that lie within the limits asked about."""
DEFECTIVE, SURE = 0.5, 1e-3
GROUPS = 11, 32
"""Pictures from which on it is asked where they lie; as many make a group of calibration pictures."""
AXES, DRAWS, SEED = 32, 400, 9
SHARES = 4_096
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
        limits: how far off the mean places of groups of calibration pictures, of each of `GROUPS`, lie at most, see
            `off`; infinite where there are too few of them to tell.
    """

    middle: Floats
    axes: Floats
    limits: tuple[float, ...]

    @staticmethod
    def fit(tiles: Floats, described: Floats, distances: Floats, partitions: Longs) -> Kind:
        """Learn from descriptors of tiles of history, float32 [n, F], and of calibration pictures.

        Args:
            tiles: n descriptors.
            described: those of m calibration pictures, float32 [m, F].
            distances: float32 [m], of the same.
            partitions: int64 [m], the number of the partition that each is from.
        """
        middle = tiles.mean(axis=0)
        _, spread, axes = np.linalg.svd(tiles - middle, full_matrices=False)
        spread /= len(tiles) ** 0.5
        kept = spread > NOTHING
        kept[min(AXES, max(len(tiles) // 10, 1)) :] = False
        kind = Kind(middle, np.asarray(axes[kept].T / spread[kept], np.float32), (np.inf,) * len(GROUPS))
        if len(described) < max(GROUPS):
            return kind
        places = kind.places(described)
        return replace(kind, limits=tuple(_farthest(places, distances, partitions, size) for size in GROUPS))

    def places(self, described: Floats) -> Floats:
        """Descriptors float32 [n, F] along the axes, float32 [n, K]."""
        return np.asarray((described - self.middle) @ self.axes, np.float32)


def _farthest(places: Floats, distances: Floats, partitions: Longs, size: int) -> float:
    """How far off groups of so many calibration pictures lie at most: the nearer half, or as few that are all good.

    Each is moved by what the pictures of some partition have in common: new ones come from one that is not known yet.
    """
    rng, moves, found = np.random.default_rng(SEED), in_common(places, partitions), [0.0]
    for _ in range(DRAWS):
        for count, nearer in ((size, True), ((size + 1) // 2, False)):
            group = rng.integers(len(places), size=count)
            found.append(off(places[group] + moves[rng.integers(len(moves))], distances[group], nearer))
    return max(found)


def in_common(places: Floats, partitions: Longs) -> Floats:
    """What pictures of each partition have in common: how far their mean lies from all pictures', float32 [P, K].

    Along each axis less what chance alone would make of it, by the variance between partitions and within them
    (one-way analysis of variance); all 0 where there is but one, or no two pictures of any.
    """
    _, of, counts = np.unique(partitions, return_inverse=True, return_counts=True)
    rows, parts = len(places), len(counts)
    if not 1 < parts < rows:
        return np.zeros((1, places.shape[1]), np.float32)
    sums = np.zeros((parts, places.shape[1]))
    np.add.at(sums, of, places)
    each = counts[:, None]
    apart = sums / each - places.mean(axis=0)
    within = np.square(places - (sums / each)[of]).sum(axis=0) / (rows - parts)
    typical = (rows - np.square(counts).sum() / rows) / (parts - 1)
    between = np.maximum((each * np.square(apart)).sum(axis=0) / (parts - 1) - within, 0) / typical
    return np.asarray(apart * np.sqrt(between / np.maximum(between + within / each, NOTHING**2)), np.float32)


def off(places: Floats, distances: Floats, nearer: bool = True) -> float:
    """How far off the middle of history the mean of places float32 [n, K] lies; `nearer`: of the nearer half alone."""
    if nearer:
        places = places[np.argsort(distances, kind="stable")[: (len(places) + 1) // 2]]
    return float(np.linalg.norm(places.mean(axis=0)))


def limits_of(distances: Floats) -> tuple[float, ...]:
    """The distances that each of `LEVELS` of calibration pictures, at float32 [m], stay within."""
    return tuple(float(np.sort(distances)[rank - 1]) for rank in _ranks(len(distances)))


def _ranks(pictures: int) -> list[int]:
    return [min(math.ceil(level * (pictures + 1)), pictures) for level in LEVELS]


class PictureGuard:
    """Watches one partition go by, and gives a verdict at the end.

    Args:
        limits: of the calibration pictures, see `limits_of`.
        calibration: how many those are.
        kind: where history's pictures lie.
        alert_rate: share of good pictures that are flagged.
    """

    def __init__(self, limits: Sequence[float], calibration: int, kind: Kind, alert_rate: float) -> None:
        self._calibration, self._alert_rate, self._anomalies = calibration, alert_rate, 0
        self._limits, self.pictures, self._far = np.asarray(limits, np.float32), 0, np.zeros(len(LEVELS), np.int64)
        self._kind, self._every = kind, 1
        self._distances, self._places = np.zeros(0, np.float32), np.zeros((0, kind.axes.shape[1]), np.float32)

    def watch(self, distances: Floats, described: Floats, anomalies: int) -> None:
        """Take note of pictures: their distances, float32 [n], descriptors, [n, F], and how many are flagged."""
        self._anomalies += anomalies
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
        luck = [self._luck(at, DEFECTIVE) for at in range(len(LEVELS))]
        least = int(np.argmin(luck))
        word: Verdict = "familiar"
        reasons = []
        if self._luck(-1, 0) <= SURE:
            word, reasons = "drifted", [self._said(len(LEVELS) - 1)]
        others = [self._said(least)] if luck[least] <= SURE else []
        flagged = 1 - (1 - DEFECTIVE) * (1 - self._alert_rate)
        if binomial_tail(self._anomalies, self.pictures, flagged) <= SURE:
            others.append(f"{self._anomalies / self.pictures:.0%} of pictures are anomalous")
        limit = max(
            (pair for pair in zip(GROUPS, self._kind.limits, strict=True) if pair[0] <= self.pictures), default=None
        )
        if limit and (aside := off(self._places, self._distances)) > limit[1]:
            times = aside / max(limit[1], NOTHING)
            others.append(f"even the nearer half lies aside, {times:.1f} times as far as calibration pictures ever do")
        if others:
            word, reasons = "unfamiliar", [f"another kind of picture: {'; '.join(others)}"]
        return GuardVerdict(verdict=word, reasons=reasons, columns=[])

    def _said(self, at: int) -> str:
        share = self._far[at] / self.pictures
        return f"{share:.0%} of pictures are farther from history than {LEVELS[at]:.0%} of calibration pictures"

    def _luck(self, at: int, defective: float) -> float:
        """How likely so many are beyond a limit when this share of them is, and the others are as history is.

        How much of history stays within a limit is not known, but what calibration pictures say of it: it is a draw
        from the beta distribution of an order statistic, here its mean over `SHARES` of those.
        """
        from scipy.special import betaincinv

        rank = _ranks(self._calibration)[at]
        within = betaincinv(rank, self._calibration + 1 - rank, (np.arange(SHARES) + 0.5) / SHARES)
        return binomial_tail(int(self._far[at]), self.pictures, 1 - within * (1 - defective))


def binomial_tail(count: int, pictures: int, share: Doubles | float) -> float:
    """How likely at least so many of the pictures are something that this share of all is; its mean over shares."""
    from scipy.special import betainc

    return float(np.mean(betainc(count, pictures - count + 1, share))) if count else 1.0
