"""Principal components as a baseline: the squared error left over by the components that carry 90% of the variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ae_plugin.core.values import Floats


@dataclass(frozen=True)
class Pca:
    """A fitted baseline: `mean` float32 [F], `basis` float32 [F, k]."""

    mean: Floats
    basis: Floats

    @staticmethod
    def fit(x: Floats, share: float = 0.9) -> Pca:
        """Learn from encoded rows float32 [n, F]; at most F - 1 components are kept."""
        mean = x.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov((x - mean).T.astype(np.float64)).reshape(x.shape[1], x.shape[1]))
        values, vectors = values[::-1], vectors[:, ::-1]
        carried = np.cumsum(values) / max(float(values.sum()), 1e-12)
        kept = min(int(np.searchsorted(carried, share)) + 1, max(1, x.shape[1] - 1))
        return Pca(mean, vectors[:, :kept].astype(np.float32))

    def reconstruct(self, x: Floats) -> Floats:
        """What the kept components say of rows, float32 [n, F]."""
        return np.asarray(((x - self.mean) @ self.basis) @ self.basis.T + self.mean, np.float32)
