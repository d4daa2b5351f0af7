"""The masked variational autoencoder: each row's code is a cloud in latent space, not a point (Kingma & Welling, 2014).

Training draws codes from the clouds, with noise that NumPy makes: a layer that samples would be exported and then fail
to run. What is exported, scored with and embedded is the cloud's middle. How much noise the decoder allows for is not
set but measured, step by step: the optimal sigma-VAE (Rybkin, Daniilidis & Levine, 2021).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ae_plugin.core.values import Floats
from ae_plugin.models.masking import HiddenCells

WIDEST = 8.0
"""Logarithms of variances stay within this: float32's exponential knows larger ones, gradients do not."""


def build(features: int, columns: int, width: int, latent_dim: int, seed: int) -> keras.Model:
    """Build the network.

    Args:
        features: F, encoded features of a row.
        columns: C, learned columns, one visibility flag each.
        width: units of the hidden layers.
        latent_dim: L, dimensions of a code.
        seed: of the initial weights.

    Returns:
        A model (x float32 [n, F], visible float32 [n, C]) -> (reconstruction [n, F], code [n, L]), without any chance
        in it; its parts are the layers `encoder`, (x, visible) -> means and log-variances [n, 2 L], and `decoder`.
    """
    seeds = iter(range(seed * 16, seed * 16 + 16))

    def dense(units: int, name: str, activation: str | None = "silu") -> layers.Dense:
        start = keras.initializers.GlorotUniform(seed=next(seeds))
        return layers.Dense(units, activation=activation, kernel_initializer=start, name=name)

    x = keras.Input((features,), name="a_values")
    visible = keras.Input((columns,), name="b_visible")
    hidden = dense(width, "encoder_1")(layers.Concatenate(name="row")([x, visible]))
    hidden = dense(width, "encoder_2")(hidden)
    encoder = keras.Model([x, visible], dense(2 * latent_dim, "cloud", None)(hidden), name="encoder")
    drawn = keras.Input((latent_dim,), name="drawn")
    hidden = dense(width, "decoder_1")(drawn)
    hidden = dense(width, "decoder_2")(hidden)
    decoder = keras.Model(drawn, dense(features, "reconstruction", None)(hidden), name="decoder")
    code = encoder([x, visible])[:, :latent_dim]
    return keras.Model([x, visible], [decoder(code), code], name="variational")


class DrawnCells(HiddenCells):
    """A lesson in hidden cells, for a network whose codes are drawn: see `HiddenCells`."""

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, ...]:
        """A mini-batch of training rows, and the noise of their codes, float32 [count, L]."""
        return *super().draw(rng, count), rng.standard_normal((count, self.latent_dim), np.float32)

    def loss(self, model: keras.Model, *arrays: Any, training: bool) -> Any:
        """In training the evidence lower bound over its own noise's variance, so that it is a squared error too.

        What training is stopped by, and what it reports, is the error without noise: so the network is used.
        """
        if not training:
            return super().loss(model, *arrays, training=False)
        x, visible, target, weights, noise = arrays
        cloud = model.get_layer("encoder")([x, visible], training=True)
        mean, width = cloud[:, : self.latent_dim], tf.clip_by_value(cloud[:, self.latent_dim :], -WIDEST, WIDEST)
        reconstruction = model.get_layer("decoder")(mean + tf.exp(width / 2) * noise, training=True)
        error = self.error(reconstruction, target, weights)
        nats = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(width) - 1 - width)
        return error + 2 * tf.stop_gradient(error) * nats / (tf.reduce_sum(weights) + 1e-6)
