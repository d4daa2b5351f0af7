"""A variational autoencoder of whole, small pictures: what makes one picture another, in a few independent numbers.

Kingma and Welling (2014), with the total correlation of the latent variables weighted (beta-TCVAE: Chen, Li, Grosse and
Duvenaud, 2018), so that each of them stands for one cause, and with a decoder that is told where it draws (after the
spatial broadcast decoder: Watters, Matthey, Burgess and Lerchner, 2019).

What is drawn at random comes in as an input: a network with a sampling layer does not run in LiteRT, and a training
that draws by itself cannot be resumed to the bit.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from ae_plugin.core.values import Floats, evenly_spaced

LATENT = 10
BETA = 4.0
"""Weight of the total correlation; chosen on squares and rings, see `benchmarks.quality.latent.traversal`."""
NOISE = 1.0
"""Variance of the noise, in shares of the pixels': what tells less than that is not worth a latent variable."""
GRID, WIDTHS, DENSE = 8, (32, 64), 128
"""The network sees a picture as so many blocks a side, of 4 or 8 pixels: many times faster than single pixels."""
PLACES = 16
"""Blocks a side that it draws."""
_HELD_OUT = 512
_SCALE = 100.0
"""Nats are divided by it, so that gradients are seldom clipped."""


@keras.saving.register_keras_serializable("ae_plugin")
class Unfold(layers.Layer):
    """Channels back into blocks of pixels: [n, h, w, fold * fold * C] -> [n, h * fold, w * fold, C]."""

    def __init__(self, fold: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fold = fold

    def call(self, inputs: Any) -> Any:
        """Unfold."""
        return tf.nn.depth_to_space(inputs, self.fold)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Its shape."""
        n, height, width, channels = input_shape
        return n, height * self.fold, width * self.fold, channels // self.fold**2


@keras.saving.register_keras_serializable("ae_plugin")
class Broadcast(layers.Layer):
    """The same numbers at each place of a grid, and to each what its place adds: [n, k] -> [n, places, places, k]."""

    def __init__(self, places: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.places = places

    def build(self, input_shape: Any) -> None:
        """Weights of the two coordinates."""
        start = keras.initializers.RandomNormal(stddev=1.0, seed=7)
        self.where = self.add_weight(shape=(2, input_shape[-1]), initializer=start, name="where")

    def call(self, inputs: Any) -> Any:
        """Broadcast."""
        at = tf.linspace(-1.5, 1.5, self.places)
        down, across = at[:, None, None] * self.where[0], at[None, :, None] * self.where[1]
        return inputs[:, None, None, :] + (down + across)[None]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Its shape."""
        return input_shape[0], self.places, self.places, input_shape[1]


def build(side: int, channels: int, seed: int, latent_dim: int = LATENT) -> keras.Model:
    """Build the network.

    Args:
        side: height and width of a picture, a power of 2.
        channels: C.
        seed: of the initial weights.
        latent_dim: L.

    Returns:
        A model (pictures float32 [n, side, side, C] in 0..1, noise [n, L]) -> (reconstruction [n, side, side, C],
        [mean, log variance] of the latent variables [n, 2 L]).
    """
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    fold, (wide, deep) = side // GRID, WIDTHS
    pictures, noise = keras.Input((side, side, channels), name="a_pictures"), keras.Input((latent_dim,), name="b_noise")
    x = layers.Conv2D(wide, fold, fold, activation="silu")(pictures)
    x = layers.Conv2D(wide, 3, padding="same", activation="silu")(x)
    x = layers.Conv2D(deep, 3, 2, "same", activation="silu")(x)
    x = layers.Dense(DENSE, activation="silu")(layers.Flatten()(x))
    told = layers.Dense(2 * latent_dim, name="told")(x)
    mean, spread = told[:, :latent_dim], layers.Activation("exponential")(0.5 * told[:, latent_dim:])
    code = layers.Add(name="code")([mean, layers.Multiply()([spread, noise])])
    # Each place of the picture is told the code and where it is, so that "further left" is one number's business.
    x = Broadcast(PLACES)(layers.Dense(wide * 2, name="said")(code))
    x = layers.Activation("silu")(x)
    x = layers.Conv2D(2 * wide, 1, activation="silu")(x)
    x = layers.Conv2D(2 * wide, 1, activation="silu")(x)
    x = layers.Conv2D((side // PLACES) ** 2 * channels, 3, padding="same")(x)
    reconstruction = Unfold(side // PLACES, name="reconstruction")(x)
    return keras.Model([pictures, noise], [reconstruction, told], name="whole")


def halves(model: keras.Model, turn: Floats | None = None) -> tuple[keras.Model, keras.Model]:
    """The two halves of a network: pictures -> [mean, log variance] [n, 2 L], and code [n, L] -> pictures.

    Args:
        model: from `build`.
        turn: float32 [L, L], orthogonal: the halves' codes are the network's times this. None: they are the network's.
    """
    told, code = model.outputs[1], model.get_layer("code").output
    if turn is None:
        return keras.Model(model.inputs[0], told), keras.Model(code, model.outputs[0])
    dims = len(turn)

    def times(weights: Floats) -> layers.Dense:
        return layers.Dense(dims, use_bias=False, kernel_initializer=keras.initializers.Constant(weights))

    variance = times(np.square(turn))(keras.ops.exp(told[:, dims:]))
    both = layers.Concatenate()([times(turn)(told[:, :dims]), keras.ops.log(variance)])
    turned = keras.Input((dims,), name="turned")
    decoder = keras.Model(code, model.outputs[0])
    return keras.Model(model.inputs[0], both), keras.Model(turned, decoder(times(turn.T)(turned)))


class Causes:
    """A lesson: say a picture again from few numbers that know nothing of one another.

    Args:
        pictures: uint8 [n, side, side, C], to train on.
        validation: uint8 [k, side, side, C], never trained on.
        latent_dim: L.
        beta: weight of the total correlation.
        noise: share of the pixels' variance that is noise.
    """

    name, number = "whole pictures: ", 2

    def __init__(
        self,
        pictures: npt.NDArray[np.uint8],
        validation: npt.NDArray[np.uint8],
        latent_dim: int = LATENT,
        beta: float = BETA,
        noise: float = NOISE,
    ) -> None:
        self.pictures, self.validation = pictures, validation[evenly_spaced(len(validation), _HELD_OUT)]
        self.latent_dim, self.beta = latent_dim, beta
        some = pictures[evenly_spaced(len(pictures), 4_096)].astype(np.float32) / 255
        self.variance = np.float32(noise * max(float(some.var(axis=0).mean()), 1e-5))

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, ...]:
        """Pictures, and the noise of their codes, float32 [count, L]."""
        return self._with_noise(self.pictures[rng.integers(0, len(self.pictures), count)], rng)

    def held_out(self, rng: np.random.Generator) -> tuple[Floats, ...]:
        """The same of the validation pictures."""
        return self._with_noise(self.validation, rng)

    def _with_noise(self, pictures: npt.NDArray[np.uint8], rng: np.random.Generator) -> tuple[Floats, ...]:
        noise = rng.standard_normal((len(pictures), self.latent_dim), np.float32)
        return pictures.astype(np.float32) / np.float32(255), noise

    def loss(self, model: keras.Model, *arrays: Any, training: bool) -> Any:
        """Negative evidence lower bound, its total correlation weighted, in nats a picture over a constant."""
        pictures, noise = arrays
        reconstruction, told = model([pictures, noise], training=training)
        mean, log_variance = told[:, : self.latent_dim], told[:, self.latent_dim :]
        apart = tf.reduce_sum(tf.square(reconstruction - pictures), axis=[1, 2, 3]) / (2 * self.variance)
        kl = 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - 1 - log_variance, axis=1)
        code = mean + tf.exp(0.5 * log_variance) * noise
        whole = tf.reduce_mean(apart + kl) + (self.beta - 1) * _total_correlation(code, mean, log_variance)
        return whole / _SCALE


def _total_correlation(code: Any, mean: Any, log_variance: Any) -> Any:
    """How much the latent variables know of one another, in nats, by minibatch-weighted sampling (Chen et al., S4)."""
    apart = tf.square(code[:, None] - mean[None]) * tf.exp(-log_variance)[None] + log_variance[None]
    each = -0.5 * (apart + math.log(2 * math.pi))  # [n, n, L]
    # The number of training pictures, which both terms hold, would count L - 1 times; it moves no gradient.
    together = tf.reduce_logsumexp(tf.reduce_sum(each, axis=2), axis=1)
    apart_each = tf.reduce_sum(tf.reduce_logsumexp(each, axis=1), axis=1)
    count = tf.math.log(tf.cast(tf.shape(code)[0], tf.float32))
    dims = tf.cast(tf.shape(code)[1], tf.float32)
    return tf.reduce_mean(together - apart_each) + (dims - 1) * count
