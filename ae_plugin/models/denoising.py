"""The network that takes noise out after shrinkage, and its lesson, which needs no picture without noise.

More noise is put on pictures whose own noise is of level sigma: `s n` on what the network sees, `- sigma^2 / s n` on
what it is asked for. The noise of the two is then uncorrelated, so that the answer it learns is the picture under both
(Recorrupted-to-Recorrupted, Pang and others 2021). For pictures without noise this is the plain lesson: noise is added,
and the picture asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ae_plugin.core.denoising import SEEN, features
from ae_plugin.core.shrinkage import shrink
from ae_plugin.core.values import Floats
from ae_plugin.models.budget import Budget

WIDTHS, DEPTH = (32, 64), 4
STEPS = 1500
MOST, FEWEST = 60 / 255, 4 / 255
"""Levels of added noise, for a grey picture; history with less than the second counts as having none."""
MARGIN = 4
"""Pixels around a tile that do not count: in a picture they have neighbours."""
_OWN, _OWN_TRIED = 1.0, 0.4
"""Least added noise, of history's own: with less, what is asked for is too noisy to learn from, but not to try by."""
_HELD_OUT, _TRIED = 256, 1024


def build(side: tuple[int, int], seed: int) -> keras.Model:
    """Build the network: a U-Net of two resolutions, half and a quarter.

    Args:
        side: (h, w) of a tile, multiples of 8; the weights fit any.
        seed: of the initial weights.

    Returns:
        A model of `features` float32 [n, h, w, SEEN] -> what to add, in noise levels, float32 [n, h, w, 1].
    """
    seeds = iter(range(seed * 64, seed * 64 + 64))
    half, quarter = WIDTHS

    def conv(x: Any, width: int, size: int = 3, stride: int = 1) -> Any:
        start = keras.initializers.GlorotUniform(seed=next(seeds))
        return layers.Conv2D(width, size, stride, "same", activation="relu", kernel_initializer=start)(x)

    def up(x: Any, width: int, start: keras.initializers.Initializer) -> Any:
        return layers.Conv2DTranspose(width, 4, 2, "same", kernel_initializer=start)(x)

    seen = keras.Input((*side, SEEN), name="seen")
    kept = x = conv(conv(seen, half, 4, 2), half)
    x = conv(x, quarter, 3, 2)
    for _ in range(DEPTH):
        x = conv(x, quarter)
    x = layers.Add()([up(x, half, keras.initializers.GlorotUniform(seed=next(seeds))), kept])
    x = conv(x, half)
    return keras.Model(seen, up(x, 1, keras.initializers.RandomUniform(-0.01, 0.01, seed=next(seeds))))


def budget(side: tuple[int, int], steps: int | str) -> Budget:
    """How long to train: the same number of pixels whatever the tiles; no more steps than the first lesson is given."""
    rows = max(32_768 // (side[0] * side[1]), 4)
    return Budget(STEPS if steps == "auto" else min(int(steps), STEPS), rows)


class Denoising:
    """A lesson: what to add to shrunk planes.

    Args:
        planes: float32 [n, h, w], to train on, and `levels` of their own noise, float32 [n].
        validation: the same, never trained on.
        spread: what noise of a picture is multiplied by in its planes.
    """

    name, number = "denoiser ", 2

    def __init__(self, planes: tuple[Floats, Floats], validation: tuple[Floats, Floats], spread: float) -> None:
        self.planes, self.validation, self.spread = planes, validation, spread

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, ...]:
        """What the network sees of noisier tiles, what it should add, and how much each pixel counts."""
        return self._noisier(self.planes, rng.integers(0, len(self.planes[0]), count), rng)

    def held_out(self, rng: np.random.Generator) -> tuple[Floats, ...]:
        """The same of the validation tiles, some of them several times, with noise of all levels."""
        return self._noisier(self.validation, np.resize(rng.permutation(len(self.validation[0])), _HELD_OUT), rng)

    def trials(self, rng: np.random.Generator) -> Iterator[tuple[Floats, Floats]]:
        """What the network sees of more validation tiles, at levels down to history's own, and what it should add."""
        for start in range(0, _TRIED, _HELD_OUT):
            chosen = np.resize(np.roll(rng.permutation(len(self.validation[0])), -start), _HELD_OUT)
            seen, wanted, _ = self._noisier(self.validation, chosen, rng, _OWN_TRIED)
            yield seen, wanted

    def loss(self, model: keras.Model, *arrays: Any, training: bool) -> Any:
        """Mean squared error, in noise levels."""
        seen, wanted, weights = arrays
        return tf.reduce_mean(weights * tf.square(model(seen, training=training) - wanted))

    def _noisier(
        self, planes: tuple[Floats, Floats], chosen: np.ndarray[Any, Any], rng: np.random.Generator, least: float = _OWN
    ) -> tuple[Floats, ...]:
        tiles, own = planes[0][chosen], planes[1][chosen]
        if rng.random() < 0.5:
            tiles = tiles[:, :, ::-1]
        if rng.random() < 0.5:
            tiles = tiles[:, ::-1]
        if rng.random() < 0.5 and tiles.shape[1] == tiles.shape[2]:
            tiles = tiles.swapaxes(1, 2)
        own = np.where(own < FEWEST * self.spread, np.float32(0), own)
        low = np.maximum(FEWEST * self.spread, least * own)
        high = np.maximum(MOST * self.spread, 2 * own)
        added = (low * (high / low) ** rng.uniform(size=len(own))).astype(np.float32)
        noise = rng.standard_normal(tiles.shape, np.float32)
        noisier = tiles + added[:, None, None] * noise
        levels = np.sqrt(np.square(own) + np.square(added))
        draft, shrunk = shrink(noisier, levels)
        wanted = (tiles - (np.square(own) / added)[:, None, None] * noise - shrunk) / levels[:, None, None]
        doubt = np.square(own / levels) * (1 + np.square(own / added))
        weights = np.zeros((*tiles.shape, 1), np.float32)
        weights[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = (1 / (1 + doubt))[:, None, None, None]
        return features(noisier, draft, shrunk, levels), wanted[..., None], weights
