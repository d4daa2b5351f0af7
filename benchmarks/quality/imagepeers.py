"""Peers on pictures, from their packages: each learns from good pictures, and says how odd others are, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]
MOST = 4_000


@dataclass(frozen=True)
class Opinion:
    """Scores [m], higher is odder; where a method says so: heat [m, h, w], and the pictures repaired, 0..1."""

    scores: Floats
    heat: Floats | None = None
    repaired: Floats | None = None


def pca(train: Bytes, test: Bytes, seed: int) -> Opinion:
    """What 64 principal components leave; the picture is as odd as its oddest pixel, smoothed."""
    from sklearn.decomposition import PCA

    known, asked = _flat(train), _flat(test)
    fitted = PCA(min(64, len(known) - 1), random_state=seed, svd_solver="randomized").fit(_some(known, seed))
    back = fitted.inverse_transform(fitted.transform(asked)).astype(np.float32).reshape(test.shape)
    heat = gaussian_filter(np.abs(back - test.astype(np.float32) / 255), (0, 1.5, 1.5))
    return Opinion(heat.max(axis=(1, 2)), heat, np.clip(back, 0, 1))


def pca_mean(train: Bytes, test: Bytes, seed: int) -> Opinion:
    """The mean squared error that 64 principal components leave."""
    found = pca(train, test, seed).repaired
    assert found is not None
    return Opinion(np.square(found - test.astype(np.float32) / 255).mean(axis=(1, 2)))


def knn(train: Bytes, test: Bytes, seed: int) -> Opinion:
    """PyOD's kNN, k=5, on pixels."""
    from pyod.models.knn import KNN

    fitted = KNN(n_neighbors=5, method="mean").fit(_some(_flat(train), seed))
    return Opinion(fitted.decision_function(_flat(test)).astype(np.float32))


def autoencoder(train: Bytes, test: Bytes, seed: int) -> Opinion:
    """PyOD's AutoEncoder at its defaults, on pixels."""
    from pyod.models.auto_encoder import AutoEncoder

    fitted = AutoEncoder(random_state=seed, verbose=0).fit(_some(_flat(train), seed))
    return Opinion(np.asarray(fitted.decision_function(_flat(test)), np.float32))


def gaussian(train: Bytes, test: Bytes, seed: int) -> Opinion:
    """Each pixel's distance from its mean, in its standard deviations, smoothed."""
    known, asked = train.astype(np.float32) / 255, test.astype(np.float32) / 255
    mean, spread = known.mean(axis=0), known.std(axis=0) + 0.05
    heat = gaussian_filter(np.abs(asked - mean) / spread, (0, 1.5, 1.5))
    return Opinion(heat.max(axis=(1, 2)), heat)


def patches(train: Bytes, test: Bytes, seed: int) -> Opinion:
    """Distance of patches of 13 x 13, in 30 principal components, from the nearest of 20,000 good ones."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(seed)
    known = _cut(train[rng.permutation(len(train))[:1_500]]).reshape(-1, 169)
    known = known[rng.permutation(len(known))[:20_000]]
    small = PCA(30, random_state=seed).fit(known)
    near = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(small.transform(known))
    heat = np.zeros(test.shape, np.float32)
    for index, picture in enumerate(test):
        cut = _cut(picture[None])[0]
        found = near.kneighbors(small.transform(cut.reshape(-1, 169)))[0].reshape(cut.shape[:2])
        heat[index] = gaussian_filter(np.repeat(np.repeat(found, 4, 0), 4, 1), 2)[: test.shape[1], : test.shape[2]]
    return Opinion(heat.max(axis=(1, 2)), heat)


def _cut(pictures: Bytes) -> Floats:
    filled = np.pad(pictures.astype(np.float32) / 255, ((0, 0), (6, 6), (6, 6)), mode="reflect")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(filled, (13, 13), (1, 2))[:, 2::4, 2::4], np.float32)


def _flat(pictures: Bytes) -> Floats:
    return pictures.reshape(len(pictures), -1).astype(np.float32) / 255


def _some(rows: Floats, seed: int) -> Floats:
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST])]


PEERS: dict[str, Callable[[Bytes, Bytes, int], Opinion]] = {
    "PCA, oddest pixel": pca,
    "PCA, mean error": pca_mean,
    "kNN k=5 on pixels (PyOD)": knn,
    "AutoEncoder (PyOD)": autoencoder,
    "Gaussian of each pixel": gaussian,
    "kNN on patches": patches,
}
