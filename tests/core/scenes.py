"""Pictures with edges, slopes and texture, and noise on them."""

from __future__ import annotations

import numpy as np

from ae_plugin.core.values import Floats


def scene(seed: int, height: int = 128, width: int = 128) -> Floats:
    """A grey picture float32 [H, W] in 0.1..0.9."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    out = 0.5 + 0.2 * np.sin(2 * np.pi * (y * rng.uniform(0.5, 1.5) + x * rng.uniform(0.5, 1.5)) / height)
    for _ in range(6):
        top, left = rng.integers(0, height * 3 // 4), rng.integers(0, width * 3 // 4)
        out[top : top + rng.integers(8, 40), left : left + rng.integers(8, 40)] = rng.uniform(0.15, 0.85)
    stripes = (y > height * 3 // 4) & (x < width // 2)
    out[stripes] += 0.1 * np.sign(np.sin(x[stripes] * 1.3))
    return np.clip(out, 0.1, 0.9).astype(np.float32)


def noisy(picture: Floats, level: float, seed: int = 0) -> Floats:
    """The picture with even noise, as an 8-bit file holds it."""
    rng = np.random.default_rng([seed, 1])
    return filed(picture + level * rng.standard_normal(picture.shape, np.float32))


def filed(pixels: Floats) -> Floats:
    """Pixels as an 8-bit file holds them."""
    return (np.rint(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def psnr(found: Floats, true: Floats) -> float:
    """In dB."""
    return float(-10 * np.log10(np.mean(np.square(found - true))))
