"""The denoising lesson: what it asks for, and that noisy history teaches the same."""

from __future__ import annotations

import numpy as np
import pytest

from ae_plugin.core.denoising import SEEN
from ae_plugin.core.values import Floats
from ae_plugin.models.denoising import FEWEST, MARGIN, Denoising, budget, build
from tests.core.scenes import scene

SIDE = 32


def planes(own: float, count: int = 400) -> tuple[Floats, Floats, Floats]:
    true = np.stack([scene(seed % 20, SIDE, SIDE) for seed in range(count)])
    noise = np.float32(own) * np.random.default_rng(3).standard_normal(true.shape).astype(np.float32)
    return true + noise, np.full(count, own, np.float32), noise


def lesson(own: float) -> Denoising:
    tiles, levels, _ = planes(own)
    return Denoising((tiles, levels), (tiles, levels), 1.0)


def test_without_noise_the_picture_is_asked_for() -> None:
    seen, wanted, weights = lesson(0.001).draw(np.random.default_rng(0), 8)
    assert seen.shape == (8, SIDE, SIDE, SEEN) and wanted.shape == weights.shape == (8, SIDE, SIDE, 1)
    level = seen[..., 4:] / 4
    shrunk = seen[..., 3:4] / 2 + 0.5
    true = wanted * level + shrunk
    assert true.min() > 0.09 and true.max() < 0.91, "a scene, without noise"
    noise = (seen[..., :1] * level + shrunk - true) / level
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert (level >= FEWEST).all()
    assert weights[:, :MARGIN].max() == 0 and (weights[:, MARGIN:-MARGIN, MARGIN:-MARGIN] == 1).all()


def test_what_noisy_history_asks_for_has_noise_that_the_input_tells_nothing_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from ae_plugin.models import denoising

    own = 0.1
    true = np.full((200, SIDE, SIDE), 0.5, np.float32)
    noise = np.float32(own) * np.random.default_rng(3).standard_normal(true.shape).astype(np.float32)
    monkeypatch.setattr(denoising, "shrink", lambda planes, levels: (planes * 0 + 0.5, planes * 0 + 0.5))
    taught = Denoising((true + noise, np.full(200, own, np.float32)), (true, np.zeros(200, np.float32)), 1.0)
    seen, wanted, weights = taught.draw(np.random.default_rng(0), 200)
    given, asked = seen[..., 0], wanted[..., 0]
    assert given.std() == pytest.approx(1, abs=0.02), "the level is that of both noises together"
    assert abs(np.corrcoef(given.ravel(), asked.ravel())[0, 1]) < 0.01
    inside = weights[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert 0 < inside.min() and inside.max() < 1, "what is noisier counts less"


def test_the_network_starts_as_shrinkage_alone_and_fits_tiles_of_any_size() -> None:
    small, large = build((32, 32), 0), build((64, 48), 0)
    large.set_weights(small.get_weights())
    seen = np.random.default_rng(0).uniform(size=(2, 64, 48, SEEN)).astype(np.float32)
    added = np.asarray(large(seen))
    assert added.shape == (2, 64, 48, 1) and np.abs(added).max() < 0.2
    assert all(np.array_equal(a, b) for a, b in zip(small.get_weights(), build((32, 32), 0).get_weights(), strict=True))


def test_the_budget_is_of_pixels() -> None:
    assert budget((64, 64), "auto").rows * 64 * 64 == budget((32, 32), "auto").rows * 32 * 32
    assert budget((64, 64), 40).steps == 40 and budget((64, 64), 10**6).steps == budget((64, 64), "auto").steps
