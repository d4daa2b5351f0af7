"""How well single latent variables follow single causes, by the published definitions: MIG and DCI."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BINS = 20
TREES, LEAF = 50, 5
Array = npt.NDArray[np.float64]


class Dci(NamedTuple):
    """Disentanglement, completeness, and informativeness (R² of the regressions; 1 is best for all three)."""

    disentanglement: float
    completeness: float
    informativeness: float


def mutual_information(codes: npt.NDArray[np.float32], factors: npt.NDArray[np.int64]) -> Array:
    """What each latent variable tells of each factor, as a share of the factor's entropy, [L, K].

    Latent variables are cut into `BINS` bins of equal width, as Locatello et al. (2019) do; factors are discrete.
    """
    from sklearn.metrics import mutual_info_score

    shares = np.empty((codes.shape[1], factors.shape[1]))
    for latent, values in enumerate(codes.T):
        cut = np.digitize(values, np.histogram_bin_edges(values, BINS)[1:-1])
        for factor, levels in enumerate(factors.T):
            shares[latent, factor] = mutual_info_score(levels, cut) / mutual_info_score(levels, levels)
    return shares


def mig(shares: Array) -> Array:
    """Mutual information gap of each factor, [K]: by how much the latent variable that tells most leads the next one.

    Chen, Li, Grosse and Duvenaud (2018), eq. 6; the gap is the mean over the factors.
    """
    ordered = np.sort(shares, axis=0)[::-1]
    return np.asarray(ordered[0] - ordered[1])


def dci(codes: npt.NDArray[np.float32], factors: npt.NDArray[np.int64], seed: int = 0) -> Dci:
    """Eastwood and Williams (2018): a random forest a factor, its importances, and how well it tells the factor.

    Half of the rows train the forests, the other half say how well they do.
    """
    from sklearn.ensemble import RandomForestRegressor

    half, importances, told = len(codes) // 2, [], []
    for levels in factors.T:
        forest = RandomForestRegressor(TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=1)
        forest.fit(codes[:half], levels[:half])
        importances.append(forest.feature_importances_)
        told.append(forest.score(codes[half:], levels[half:]))
    weights = np.abs(np.array(importances).T)  # [L, K]
    by_latent = 1 - _entropy(weights, axis=1, base=weights.shape[1])
    by_factor = 1 - _entropy(weights, axis=0, base=weights.shape[0])
    shares = weights.sum(axis=1) / weights.sum()
    return Dci(float(by_latent @ shares), float(by_factor.mean()), float(np.mean(told)))


def _entropy(weights: Array, axis: int, base: int) -> Array:
    """Entropy of each row (or column) as shares, to a base."""
    shares = weights / np.maximum(weights.sum(axis=axis, keepdims=True), 1e-12)
    return np.asarray(-(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=axis) / np.log(base))
