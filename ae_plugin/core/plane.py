"""A map of rows: the plane in which the latent codes of history differ most, and a sample of rows in it.

Which rows are kept hangs on their place in the partition and on their scores alone, so that samples of record batches,
shards and files add up to the same one however those are cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ae_plugin.core.neighbours import Indices, Neighbours
from ae_plugin.core.scoring import RowScores
from ae_plugin.core.values import Floats

SAMPLE, WORST = 1_000, 300
Point: TypeAlias = tuple[int, float, float, float, float]
"""A row, its two coordinates, its anomaly score and its p-value."""


@dataclass(frozen=True)
class Plane:
    """Two directions among latent codes.

    Attributes:
        middle: float32 [L], of history's codes.
        axes: float32 [L, 2], orthogonal; the first is the one in which those differ most.
    """

    middle: Floats
    axes: Floats

    @staticmethod
    def of(near: Neighbours, features: int) -> Plane:
        """The plane of the points that distance is measured from, whose first columns are `features` values."""
        codes = near.points[:, features:] / np.where(near.scale[1] > 0, near.scale[1], 1)
        middle = codes.mean(axis=0)
        _, _, rows = np.linalg.svd(codes - middle, full_matrices=False)
        axes = np.zeros((codes.shape[1], 2), np.float32)
        for number, row in enumerate(rows[:2]):
            # A direction and its opposite are the same; one of them is always taken.
            axes[:, number] = row * (np.sign(row[np.argmax(np.abs(row))]) or 1)
        return Plane(middle.astype(np.float32), axes)

    def place(self, codes: Floats) -> Floats:
        """Coordinates of latent codes float32 [n, L], float32 [n, 2]."""
        return np.asarray((codes - self.middle) @ self.axes, np.float32)


@dataclass
class Sketch:
    """Some of the rows that went by.

    Attributes:
        sample: of all rows, drawn by their place.
        worst: the flagged rows with the smallest p-values, and of those the highest scores.
    """

    sample: list[Point] = field(default_factory=list)
    worst: list[Point] = field(default_factory=list)

    def wanted(self, rows: npt.NDArray[np.int64], scores: RowScores) -> Indices:
        """Which of n rows, at these places in the partition, may be kept; increasing."""
        drawn, last = _draw(rows), _last(_draw(np.array([row for row, *_ in self.sample], np.int64)), SAMPLE)
        kept = np.flatnonzero(drawn < last)
        flagged = np.flatnonzero(scores.is_anomaly)
        if len(self.worst) == WORST:
            row, _, _, score, p = self.worst[-1]
            # What comes after the last of them would be dropped again.
            now = scores.p_value[flagged].astype(np.float64), -scores.anomaly_score[flagged].astype(np.float64)
            before = (now[0] < p) | ((now[0] == p) & ((now[1] < -score) | ((now[1] == -score) & (rows[flagged] < row))))
            flagged = flagged[before]
        if len(flagged) > WORST:
            flagged = flagged[np.lexsort((rows[flagged], -scores.anomaly_score[flagged], scores.p_value[flagged]))]
        if len(kept) > SAMPLE:
            kept = kept[np.argsort(drawn[kept], kind="stable")[:SAMPLE]]
        return np.union1d(kept, flagged[:WORST])

    def add(self, rows: npt.NDArray[np.int64], places: Floats, scores: RowScores) -> None:
        """Take note of rows: their coordinates are float32 [n, 2]."""
        told = zip(
            rows.tolist(),
            np.round(places[:, 0].astype(np.float64), 3).tolist(),
            np.round(places[:, 1].astype(np.float64), 3).tolist(),
            scores.anomaly_score.tolist(),
            scores.p_value.tolist(),
            strict=True,
        )
        points = list(told)
        own = Sketch(points, [point for point, odd in zip(points, scores.is_anomaly, strict=True) if odd])
        merged = self + own
        self.sample, self.worst = merged.sample, merged.worst

    def __add__(self, other: Sketch) -> Sketch:
        """Both together."""
        sample = self.sample + other.sample
        order = np.argsort(_draw(np.array([row for row, *_ in sample], np.int64)), kind="stable")[:SAMPLE]
        worst = sorted(self.worst + other.worst, key=lambda point: (point[4], -point[3], point[0]))[:WORST]
        return Sketch([sample[index] for index in order], worst)


def _draw(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """A number for each row that looks random, and is always the same (the mix of SplitMix64)."""
    z = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))


def _last(drawn: npt.NDArray[np.uint64], most: int) -> np.uint64:
    """What a number must stay below to be among the smallest."""
    return drawn.max() if len(drawn) >= most else np.uint64(2**64 - 1)
