"""The convolutional repairer: it sees a tile that may be spoilt, and says what it was, and where it was spoilt.

A small U-Net (Ronneberger, Fischer and Brox, 2015) between a stem and an end that halve and double the resolution: a
step is four times faster for it. What it adds to the tile is its output: an untouched tile costs it nothing to keep.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

WIDTHS = (24, 48, 96)


def build(side: tuple[int, int], channels: int, seed: int) -> keras.Model:
    """Build the network.

    Args:
        side: (h, w) of a tile, multiples of 8.
        channels: C, of a tile.
        seed: of the initial weights.

    Returns:
        A model of tiles float32 [n, h, w, C] in 0..1 -> (maps [n, h, w, C + 1], code [n, L]): the tile repaired, and
        how likely each pixel is wrong, 0..1.
    """
    seeds = iter(range(seed * 64, seed * 64 + 64))

    def conv(x: Any, width: int, name: str, size: int = 3, activation: str | None = "silu") -> Any:
        start = keras.initializers.GlorotUniform(seed=next(seeds))
        return layers.Conv2D(width, size, padding="same", activation=activation, kernel_initializer=start, name=name)(x)

    def small() -> keras.initializers.Initializer:
        return keras.initializers.RandomUniform(-0.05, 0.05, seed=next(seeds))

    tiles = keras.Input((*side, channels), name="tiles")
    start = keras.initializers.GlorotUniform(seed=next(seeds))
    x = layers.Conv2D(WIDTHS[0], 4, 2, "same", activation="silu", kernel_initializer=start, name="stem")(tiles)
    x = conv(x, WIDTHS[0], "down_0")
    kept = [x]
    for index, width in enumerate(WIDTHS[1:], 1):
        x = layers.MaxPooling2D(2)(x)
        x = conv(conv(x, width, f"down_{index}a"), width, f"down_{index}")
        kept.append(x)
    code = layers.GlobalAveragePooling2D(name="code")(x)
    for index in reversed(range(len(WIDTHS) - 1)):
        x = layers.UpSampling2D(2)(x)
        x = layers.Concatenate()([x, kept[index]])
        x = conv(x, WIDTHS[index], f"up_{index}")
    x = conv(x, 2 * WIDTHS[0], "half")
    added = layers.Conv2DTranspose(channels, 4, 2, "same", kernel_initializer=small(), name="added")(x)
    repaired = layers.Add(name="repaired")([tiles, added])
    wrong = layers.Conv2DTranspose(1, 4, 2, "same", activation="sigmoid", kernel_initializer=small(), name="wrong")(x)
    maps = layers.Concatenate(name="maps")([repaired, wrong])
    return keras.Model(tiles, [maps, code], name="conv")


def build_pair(side: tuple[int, int], channels: int, seed: int) -> tuple[keras.Model, keras.Model]:
    """Build a model to train and the same model, to stay untrained; seeded, and deterministic from here on."""
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    return build(side, channels, seed), build(side, channels, seed)
