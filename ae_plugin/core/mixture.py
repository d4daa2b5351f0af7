"""Pictures of one size as clusters of normal clouds: what some pixels say of all others, in closed form.

Each cluster is a probabilistic PCA (Tipping and Bishop, *Neural Computation* 11, 1999). Given the pixels that are seen,
a picture belongs to each cluster with a probability; in each, the others follow as in a regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ae_plugin.core.pca import Pca
from ae_plugin.core.values import Bools, Doubles, Floats

CLUSTERS, PICTURES, COMPONENTS, LOOKED_AT = 8, 400, 96, 50
"""At most so many clusters of so many pictures each; components of each, and those that clusters are found by."""
ROUNDS, NOISE = 20, 3e-4


@dataclass(frozen=True)
class Mixture:
    """Clusters of pictures.

    Attributes:
        mean: float32 [K, F].
        basis: float32 [K, F, r], components, each as long as its standard deviation.
        left: float32 [K], variance that a feature has left over, on average.
        shares: float32 [K], of the pictures.
    """

    mean: Floats
    basis: Floats
    left: Floats
    shares: Floats

    @staticmethod
    def of(one: Pca) -> Mixture:
        """A single cluster."""
        basis = one.basis * np.sqrt(np.maximum(one.variances, 0)).astype(np.float32)
        return Mixture(one.mean[None], basis[None], np.array([one.left], np.float32), np.ones(1, np.float32))

    @staticmethod
    def fit(x: Floats, clusters: int, kept: int) -> Mixture:
        """Learn from pictures float32 [n, F]: at most so many clusters, of so many components each."""
        if clusters == 1:
            return Mixture.of(Pca.fit(x, kept=kept))
        own = _clusters(x, clusters)
        parts = [Mixture.of(Pca.fit(x[own == k], kept=min(kept, int((own == k).sum()) - 1))) for k in np.unique(own)]
        width = max(part.basis.shape[2] for part in parts)
        basis = [np.pad(part.basis, ((0, 0), (0, 0), (0, width - part.basis.shape[2]))) for part in parts]
        shares = np.array([(own == k).mean() for k in np.unique(own)], np.float32)
        mean, left = (np.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "left"))
        return Mixture(mean, np.concatenate(basis), left, shares)

    def given(self, x: Floats, seen: Bools) -> tuple[Floats, Floats]:
        """What seen features say of all: their means float32 [F], and the standard deviations that are left.

        Args:
            x: float32 [F].
            seen: bool [F].
        """
        logs, means, squares = [], [], []
        for mean, basis, left, share in zip(self.mean, self.basis, self.left, self.shares, strict=True):
            wide, noise = basis.astype(np.float64), max(float(left), NOISE)
            own, apart = wide[seen], (x - mean)[seen].astype(np.float64)
            root = np.linalg.cholesky(own.T @ own / noise + np.eye(own.shape[1]))
            half = np.linalg.solve(root, own.T @ apart / noise)
            log = np.log(share) - np.log(np.diag(root)).sum() - 0.5 * len(apart) * np.log(noise)
            logs.append(log - 0.5 * (apart @ apart / noise - half @ half))
            means.append(mean + wide @ np.linalg.solve(root.T, half))
            squares.append(np.square(np.linalg.solve(root, wide.T)).sum(axis=0) + noise)
        chance = np.exp(np.array(logs) - max(logs))
        chance /= chance.sum()
        middle, each = chance @ np.array(means), np.array(means)
        spread = chance @ (np.array(squares) + np.square(each)) - np.square(middle)
        return middle.astype(np.float32), np.sqrt(np.maximum(spread, NOISE)).astype(np.float32)


def best_mixture(train: Floats, validation: Floats, components: int) -> Mixture:
    """One cluster or several, whichever completes held-out pictures better from a quarter of their pixels.

    Args:
        train: float32 [n, F].
        validation: float32 [k, F], others.
        components: of a single cluster.
    """
    one = Mixture.fit(train, 1, components)
    clusters = min(CLUSTERS, len(train) // PICTURES)
    if clusters < 2:
        return one
    several = Mixture.fit(train, clusters, COMPONENTS)
    seen = np.random.default_rng(23).random(validation.shape) < 0.25
    errors = [_error(each, validation, seen) for each in (one, several)]
    return several if errors[1] < errors[0] else one


def _error(mixture: Mixture, x: Floats, seen: Bools) -> float:
    apart = [np.square(mixture.given(row, own)[0] - row)[~own].mean() for row, own in zip(x, seen, strict=True)]
    return float(np.mean(apart))


def _clusters(x: Floats, count: int) -> npt.NDArray[np.intp]:
    """The cluster of each picture, int [n], by the nearest mean (Lloyd 1982) of their first components."""
    some = Pca.fit(x, kept=min(LOOKED_AT, min(x.shape) - 1))
    codes = ((x - some.mean) @ some.basis).astype(np.float64)
    middles = codes[np.random.default_rng(19).permutation(len(codes))[:count]]
    own = np.zeros(len(codes), np.intp)
    for _ in range(ROUNDS):
        own = _nearest(codes, middles)
        middles = np.stack([codes[own == k].mean(axis=0) if (own == k).any() else middles[k] for k in range(count)])
    few = np.bincount(own, minlength=count) < PICTURES // 8
    kept = np.flatnonzero(~few)
    return np.asarray(kept[_nearest(codes, middles[kept])], np.intp)


def _nearest(codes: Doubles, middles: Doubles) -> npt.NDArray[np.intp]:
    return np.asarray((np.square(middles).sum(axis=1) - 2 * codes @ middles.T).argmin(axis=1), np.intp)
