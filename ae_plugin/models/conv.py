"""The convolutional repairer: it sees a tile that may be spoilt, and says what it was, and where it was spoilt.

A small U-Net (Ronneberger, Fischer and Brox, 2015) on blocks of 4 x 4 pixels, which its end unfolds again (Shi et al.,
2016): a step is many times faster than on single pixels, and sees farther. What it adds to the tile is its output: an
untouched tile costs it nothing to keep.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

WIDTHS = (64, 96, 128)
FOLD = 4
MULTIPLE = FOLD * 2 ** (len(WIDTHS) - 1)
"""Tiles are filled up to this many pixels inside the network, and cut again."""


@keras.saving.register_keras_serializable("ae_plugin")
class Unfold(layers.Layer):
    """Channels back into blocks of pixels: [n, h, w, F * F * C] -> [n, h * F, w * F, C]."""

    def call(self, inputs: Any) -> Any:
        """Unfold."""
        return tf.nn.depth_to_space(inputs, FOLD)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Its shape."""
        n, height, width, channels = input_shape
        return n, height * FOLD, width * FOLD, channels // FOLD**2


def build(side: tuple[int, int], channels: int, seed: int) -> keras.Model:
    """Build the network.

    Args:
        side: (h, w) of a tile.
        channels: C, of a tile.
        seed: of the initial weights.

    Returns:
        A model of tiles float32 [n, h, w, C] in 0..1 -> (maps [n, h, w, C + 1], code [n, L]): the tile repaired, and
        how likely each pixel is wrong, 0..1.
    """
    seeds = iter(range(seed * 64, seed * 64 + 64))

    def conv(x: Any, width: int, size: int = 3, activation: str | None = "silu", stride: int = 1) -> Any:
        start = keras.initializers.GlorotUniform(seed=next(seeds))
        layer = layers.Conv2D(width, size, stride, "same", activation=activation, kernel_initializer=start)
        return layer(x)

    tiles = keras.Input((*side, channels), name="tiles")
    beyond = [(-length) % MULTIPLE for length in side]
    x = layers.ZeroPadding2D(((0, beyond[0]), (0, beyond[1])))(tiles) if any(beyond) else tiles
    kept = []
    for index, width in enumerate(WIDTHS):
        x = layers.MaxPooling2D(2)(x) if index else conv(x, width, FOLD, stride=FOLD)
        x = conv(x, width)
        x = conv(x, width) if index else x
        kept.append(x)
    code = layers.GlobalAveragePooling2D(name="code")(x)
    for width, skipped in zip(reversed(WIDTHS[:-1]), reversed(kept[:-1]), strict=True):
        x = layers.UpSampling2D(2)(conv(x, width, 1, None))
        x = conv(layers.Add()([x, skipped]), width)
    x = layers.Add()([x, conv(x, WIDTHS[0])])
    x = Unfold()(conv(x, FOLD**2 * (channels + 1), activation=None))
    x = layers.Cropping2D(((0, beyond[0]), (0, beyond[1])))(x) if any(beyond) else x
    repaired = layers.Add(name="repaired")([tiles, x[..., :channels]])
    wrong = layers.Activation("sigmoid", name="wrong")(x[..., channels:])
    return keras.Model(tiles, [layers.Concatenate(name="maps")([repaired, wrong]), code], name="conv")


def build_pair(side: tuple[int, int], channels: int, seed: int) -> tuple[keras.Model, keras.Model]:
    """Build a model to train and the same model, to stay untrained; seeded, and deterministic from here on."""
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    return build(side, channels, seed), build(side, channels, seed)
