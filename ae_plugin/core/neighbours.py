"""How far a row is from rows of history: in what it holds and in its latent code together.

From rows known to be normal, the nearest one tells. Where history may hold anomalies, and they may resemble one
another, the nearest tenth of the rows asked tells, on average: a tenth of history cannot all be wrong in one way. In a
long history, whose source is scored by the million, it is the nearest of each ten, on average over many tens drawn at
random, which costs half: few tens hold an anomaly's twin (Pang, Ting and Albrecht, "LeSiNN: Detecting anomalies by
identifying least similar nearest neighbours", ICDMW 2015).

A short history is asked row by row, the rows held out for calibration too. Each of those is then measured without
itself, as a new row is: p-values stay valid (a new row among the calibration rows' neighbours could only bring them
nearer, so leaving it out makes its own p-value larger). See docs/decisions/0022.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ae_plugin.core.values import Floats

Indices = npt.NDArray[np.intp]

FEW = 2_048
CENTRES = 256
MANY, SOME, TEN = 10_000, 1_024, 10
SEED = 5
_BLOCK = 1_024


@dataclass(frozen=True)
class Neighbours:
    """Rows to measure distance from.

    Attributes:
        points: float32 [R, F + L], values and latent codes, scaled; rows that were held out come last.
        scale: float32 [2], of values and of codes: both spread equally far.
        groups: how many equal parts the points fall into, one after another.
        nearest: how many of the nearest points of each part a distance is the mean of.
        held: how many of the points were held out.
    """

    points: Floats
    scale: Floats
    groups: int
    nearest: int = 1
    held: int = 0

    @staticmethod
    def of(x: Floats, nearest: int) -> Neighbours:
        """All these rows, float32 [n, F], as points, without any codes; the mean of so many nearest tells."""
        code = x[:, :0]
        blank = _blank(x, code)
        return replace(blank, points=blank.joint(x, code), nearest=max(min(nearest, len(x) - 1), 1))

    @staticmethod
    def fit(
        train: tuple[Floats, Floats], held_out: tuple[Floats, Floats], *, contaminated: bool
    ) -> tuple[Neighbours, Indices]:
        """Choose the points.

        Args:
            train: values float32 [n, F] and codes float32 [n, L] of training rows.
            held_out: the same of rows that nothing was trained on.
            contaminated: whether history may hold anomalies.

        Returns:
            The neighbours, and which point each row is, of training rows and then of the others; -1 for none.
        """
        blank = _blank(*train)
        rows, others = blank.joint(*train), blank.joint(*held_out)
        own = np.full(len(rows) + len(others), -1, np.intp)
        if contaminated:
            # A long history is scored by the million: a quarter of the rows asked costs half a point of AUROC.
            order = np.random.default_rng(SEED).permutation(len(rows))
            if len(own) <= MANY:
                chosen, groups = order[:SOME], 1
                nearest = max(min(5, len(chosen) - 1), len(chosen) // TEN)
            else:
                groups, nearest = SOME // 4 // TEN, 1
                chosen = order[: groups * TEN]
            own[chosen] = np.arange(len(chosen))
            return replace(blank, points=rows[chosen], groups=groups, nearest=nearest), own
        if len(own) > FEW:
            return replace(blank, points=_centres(rows)), own
        return replace(blank, points=np.concatenate([rows, others]), held=len(others)), np.arange(len(own))

    def last(self, rows: int) -> Indices | None:
        """Which points the last rows held out are, [rows]; None when held-out rows are no points."""
        return len(self.points) - rows + np.arange(rows) if self.held else None

    def joint(self, x: Floats, code: Floats) -> Floats:
        """Values float32 [n, F] and codes [n, L] side by side, scaled, float32 [n, F + L]."""
        return np.concatenate([x * self.scale[0], code * self.scale[1]], axis=1)

    @cached_property
    def _asking(self) -> Floats:
        """Its product with a row and a 1 is the square of their distance, less the row's own square."""
        squares = np.square(self.points).sum(axis=1, keepdims=True)
        return np.concatenate([-2 * self.points, squares], axis=1)

    def blind(self) -> Neighbours:
        """The same without the rows that were held out, for whoever asks about those."""
        return replace(self, points=self.points[: len(self.points) - self.held], held=0) if self.held else self

    def distance(self, x: Floats, code: Floats, own: Indices | None = None, block: int = _BLOCK) -> Floats:
        """Distance of rows from the points, float32 [n].

        Computed in whole blocks of one size: how a BLAS rounds a row depends on how many rows it is given.

        Args:
            x: float32 [n, F].
            code: float32 [n, L].
            own: the points that the rows themselves are, [n], -1 for none; those do not count.
            block: rows measured at a time; small where few are asked at once.
        """
        rows, features = x.shape
        out = np.empty(rows, np.float32)
        asked = np.zeros((self.points.shape[1] + 1, block), np.float32)
        asked[-1] = 1
        apart = np.empty((len(self.points), block), np.float32)
        for start in range(0, rows, block):
            part = slice(start, start + block)
            here = min(rows - start, block)
            np.multiply(x[part].T, self.scale[0], out=asked[:features, :here])
            np.multiply(code[part].T, self.scale[1], out=asked[features:-1, :here])
            np.matmul(self._asking, asked, out=apart)
            if own is not None:
                there = np.flatnonzero(own[part] >= 0)
                apart[own[part][there], there] = np.inf
            squares = _least(apart.reshape(self.groups, -1, block), self.nearest)
            squares += np.einsum("ij,ij->j", asked[:-1], asked[:-1])
            out[part] = np.sqrt(np.maximum(squares, 0)).mean(axis=(0, 1))[:here]
        return out


def _blank(x: Floats, code: Floats) -> Neighbours:
    """No points, but the scale that these rows give."""
    spread = [max(float(part.var(axis=0).sum()), 1e-12) for part in (x, code)]
    return Neighbours(np.zeros((0, 0), np.float32), np.asarray(spread, np.float32) ** -0.5, 1)


def _least(squares: Floats, nearest: int) -> Floats:
    """The smallest of each part, [groups, nearest, n] of [groups, size, n]."""
    if nearest == 1:
        return np.asarray(squares.min(axis=1, keepdims=True))
    each = np.ascontiguousarray(squares.swapaxes(1, 2))  # side by side they are told apart many times faster
    each.partition(nearest - 1, axis=2)
    return np.asarray(each[..., :nearest].swapaxes(1, 2))


def _centres(rows: Floats) -> Floats:
    """As many typical rows, by k-means over a sample of them; on one thread, to be the same each time."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    some = rows[np.random.default_rng(SEED).permutation(len(rows))[:20_000]]
    with threadpool_limits(1):
        found = MiniBatchKMeans(CENTRES, random_state=SEED, n_init=1, batch_size=4_096).fit(some)
    return np.asarray(found.cluster_centers_, np.float32)
