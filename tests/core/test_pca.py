"""Principal components."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.pca import Pca


def drawn(rows: int, features: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    plane = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, features))
    return (plane + rng.normal(0, 0.01, plane.shape) + 3).astype(np.float32)


@pytest.mark.parametrize(("rows", "features"), [(300, 12), (12, 300), (12, 12)])
def test_a_plane_is_found_however_many_rows_and_features_there_are(rows: int, features: int) -> None:
    x = drawn(rows, features)
    for pca in (Pca.fit(x, 0.9), Pca.fit(x, kept=2)):
        assert pca.basis.shape[1] <= 2 and pca.basis.shape[0] == features
        assert pca.variances == pytest.approx(
            np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1][: len(pca.variances)], 1e-3
        )
    assert np.abs(pca.reconstruct(x) - x).max() < 0.05
    assert 3e-5 < pca.left < 1.5e-4


def test_what_never_varies_has_nothing_left() -> None:
    pca = Pca.fit(np.ones((4, 9), np.float32))
    assert pca.left == 0 and np.array_equal(pca.reconstruct(np.ones((4, 9), np.float32)), np.ones((4, 9), np.float32))
