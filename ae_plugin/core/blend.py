"""What a hidden cell holds: the network and a linear regression on the row's other cells, each by its own share.

A network of a few thousand steps is a poor regression where a column is a sum of others, and a regression is a poor
network where it is not. How much each counts is learned column by column on held-out rows. Where neither knows anything
both shares are small, and what remains is the column's mean. That keeps columns from being filled much worse than by
their middle as a rule, not always: the mean is not the median, and the shares are learned from few rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ae_plugin.core.features import TableEncoder
from ae_plugin.core.values import Doubles, Floats

MOST_FEATURES = 512
"""Wider rows are left to the network alone: the regression has a weight for each pair of features."""

RIDGE = 0.03
PRIOR_ROWS = 5
TRIMMED = 0.1
_BLOCK = 64


@dataclass(frozen=True)
class Blend:
    """Linear regressions of every column on all others, and how much they count.

    Attributes:
        mean: float32 [F], of training rows; of a number the mean of its middle nine tenths, since history may hold
            wrong cells.
        linear: float32 [F, F], weights of the regressions, 0 within a column; [0, 0] for none.
        shares: float32 [2, F], of the network and of the regressions.
    """

    mean: Floats
    linear: Floats
    shares: Floats

    @staticmethod
    def of_network(features: int) -> Blend:
        """The network alone."""
        zeros = np.zeros(features, np.float32)
        return Blend(zeros, np.zeros((0, 0), np.float32), np.stack([zeros + 1, zeros]))

    @staticmethod
    def regress(encoder: TableEncoder, x: Floats) -> Blend:
        """Learn the regressions from training rows float32 [n, F], for equal shares.

        All at once, from the inverse of the ridge covariance: the best linear guess of a column from all others.
        """
        if encoder.features > MOST_FEATURES or len(encoder.specs) < 2:
            return Blend.of_network(encoder.features)
        wide = x.astype(np.float64)
        covariance = np.cov(wide.T).reshape(encoder.features, encoder.features)
        ridge = RIDGE * max(float(np.trace(covariance)) / encoder.features, 1e-12)
        precision = np.linalg.inv(covariance + ridge * np.eye(encoder.features))
        linear = np.empty_like(precision)
        for where in encoder.slices:
            linear[:, where] = -precision[:, where] @ np.linalg.inv(precision[where, where])
            linear[where, where] = 0
        halves = np.full((2, encoder.features), 0.5, np.float32)
        return Blend(_middles(encoder, wide), linear.astype(np.float32), halves)

    def __call__(self, reconstruction: Floats, x: Floats, visible: Floats) -> Floats:
        """What the features of rows are expected to be, float32 [n, F]; for hidden cells, from all that is visible.

        Args:
            reconstruction: float32 [n, F], the network's, with the hidden cells hidden.
            x: float32 [n, F].
            visible: float32 [n, F], 0 for features of hidden cells; regressions see the network's guess of them.
        """
        if not len(self.linear):
            return reconstruction
        return np.asarray(self.mean + self._shared(reconstruction, self._regressed(reconstruction, x, visible)))

    def _shared(self, reconstruction: Floats, regressed: Floats) -> Floats:
        return np.asarray(self.shares[0] * (reconstruction - self.mean) + self.shares[1] * regressed)

    def _regressed(self, reconstruction: Floats, x: Floats, visible: Floats) -> Floats:
        """What the regressions say, less the mean; in blocks of one size, since a BLAS rounds rows by their number."""
        rows = len(x)
        apart = np.zeros((-(-rows // _BLOCK) * _BLOCK, x.shape[1]), np.float32)
        apart[:rows] = np.where(visible > 0, x, reconstruction) - self.mean
        found = apart.reshape(-1, _BLOCK, x.shape[1]) @ self.linear
        return np.asarray(found.reshape(apart.shape)[:rows])

    def column_shares(
        self, where: slice, x: Floats, reconstruction: Floats, visible: Floats, known: npt.NDArray[np.intp]
    ) -> Doubles:
        """Least-squares shares of a column, [2], from held-out rows in which it alone was hidden.

        Args:
            where: the column's features.
            x: float32 [n, F], the rows.
            reconstruction: float32 [n, F], with the column hidden.
            visible: float32 [n, F].
            known: the rows that hold a value there.
        """
        regressed = self._regressed(reconstruction, x, visible)[known, where]
        guesses = np.stack([(reconstruction - self.mean)[known, where], regressed], axis=-1).astype(np.float64)
        wanted = (x - self.mean)[known, where].astype(np.float64)
        shares = _least_squares(guesses, wanted)
        # History may hold wrong cells: the worst tenth says nothing about how well the others are guessed.
        apart = ((wanted - guesses @ shares) ** 2).sum(axis=1)
        kept = np.argsort(apart, kind="stable")[: len(apart) - int(TRIMMED * len(apart))]
        return np.clip(_least_squares(guesses[kept], wanted[kept]), 0, 1.5)


def _middles(encoder: TableEncoder, x: Doubles) -> Floats:
    means = x.mean(axis=0)
    numbers = [where.start for spec, where in zip(encoder.specs, encoder.slices, strict=True) if spec.kind == "number"]
    few = len(x) // 20
    means[numbers] = np.sort(x[:, numbers], axis=0)[few : len(x) - few].mean(axis=0)
    return np.asarray(means, np.float32)


def _least_squares(guesses: Doubles, wanted: Doubles) -> Doubles:
    """Shares [2] of guesses [n, w, 2] in what is wanted [n, w], drawn towards halves by a few rows' weight."""
    halves, flat = np.full(2, 0.5), guesses.reshape(-1, 2)
    gram = flat.T @ flat
    ridge = (PRIOR_ROWS * np.trace(gram) / 2 / max(len(wanted), 1) + 1e-9) * np.eye(2)
    return np.asarray(halves + np.linalg.solve(gram + ridge, flat.T @ (wanted.reshape(-1) - flat @ halves)))
