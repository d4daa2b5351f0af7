"""Principal components as a baseline: the squared error left over by the components that carry 90% of the variance.

At a dimension of one's choice it is also the best linear way to fill hidden features in from those that are seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ae_plugin.core.values import Bools, Doubles, Floats


@dataclass(frozen=True)
class Pca:
    """A fitted baseline.

    Attributes:
        mean: float32 [F].
        basis: float32 [F, k], the kept components.
        variances: float64 [k], theirs.
        left: variance that a feature has left over, on average.
    """

    mean: Floats
    basis: Floats
    variances: Doubles
    left: float

    @staticmethod
    def fit(x: Floats, share: float = 0.9, kept: int | None = None) -> Pca:
        """Learn from encoded rows float32 [n, F].

        Args:
            x: the rows.
            share: of the variance that the kept components carry; at most F - 1 of them are kept.
            kept: keep so many components (at most F) instead.
        """
        mean = x.mean(axis=0)
        values, vectors = _components((x - mean).astype(np.float64))
        carried = np.cumsum(values) / max(float(values.sum()), 1e-12)
        if kept is None:
            kept = min(int(np.searchsorted(carried, share)) + 1, max(1, x.shape[1] - 1))
        known = np.maximum(values[:kept], 0)
        left = float(np.maximum(values[kept:], 0).sum() / x.shape[1])
        return Pca(mean, vectors[:, :kept].astype(np.float32), known, left)

    def reconstruct(self, x: Floats) -> Floats:
        """What the kept components say of rows, float32 [n, F]."""
        return np.asarray(((x - self.mean) @ self.basis) @ self.basis.T + self.mean, np.float32)

    def fill(self, x: Floats, seen: Bools) -> Floats:
        """What the seen features bool [F] say of all features, float32 [n, F]: the components' means given them."""
        basis = self.basis.astype(np.float64)
        noise = max(self.left, 1e-3)
        precision = basis[seen].T @ basis[seen] / noise + np.diag(1 / np.maximum(self.variances, 1e-9))
        codes = np.linalg.solve(precision, basis[seen].T @ (x - self.mean)[:, seen].T / noise).T
        return np.asarray(codes @ basis.T + self.mean, np.float32)


def _components(apart: Doubles) -> tuple[Doubles, Doubles]:
    """Variances, decreasing, and components [F, k] of rows [n, F] whose mean was taken off."""
    rows, features = apart.shape
    if rows <= features:  # by far the faster way for pictures; components beyond the rows have no variance
        _, sizes, found = np.linalg.svd(apart, full_matrices=False)
        return sizes**2 / max(rows - 1, 1), found.T
    values, vectors = np.linalg.eigh(np.cov(apart.T).reshape(features, features))
    return values[::-1], vectors[:, ::-1]
