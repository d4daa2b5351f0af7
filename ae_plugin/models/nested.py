"""The network that puts rows in a few numbers: PCA, and two small networks that bend its way there and back.

Nested dropout: in each row the first k numbers of the code are told, k at random, and the rest are 0. What is left is
weighed by what PCA leaves at that k, so that no dimension is bought with another.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from ae_plugin.core.pca import Pca
from ae_plugin.core.reduction import BENT, Reducer, errors_left
from ae_plugin.core.values import Floats

HELD_OUT = 4096


def build(start: Reducer, width: int, seed: int) -> keras.Model:
    """Build the network, which at first is what it starts from.

    Args:
        start: PCA.
        width: units of the hidden layers.
        seed: of the initial weights.

    Returns:
        A model (x float32 [n, F], told float32 [n, K]) -> float32 [n, F].
    """
    seeds = iter(range(seed * 16, seed * 16 + 16))
    features, most = start.basis.shape

    def dense(units: int, name: str, activation: str | None = "silu") -> layers.Dense:
        first = keras.initializers.GlorotUniform(seed=next(seeds)) if activation else "zeros"
        return layers.Dense(units, activation=activation, kernel_initializer=first, name=name)

    def linear(weights: Floats, bias: Floats, name: str) -> layers.Dense:
        first = keras.initializers.Constant(weights), keras.initializers.Constant(bias)
        return layers.Dense(weights.shape[1], kernel_initializer=first[0], bias_initializer=first[1], name=name)

    x, told = keras.Input((features,), name="a_values"), keras.Input((most,), name="b_told")
    hidden = dense(width, "encoder_2")(dense(width, "encoder")(x))
    straight = linear(start.basis, -start.mean @ start.basis, "basis")(x)
    code = layers.Multiply()([layers.Add()([straight, dense(most, "code", None)(hidden)]), told])
    even = layers.Rescaling((1 / start.scale).tolist(), name="even")(code)
    hidden = dense(width, "decoder_2")(dense(width, "decoder")(layers.Concatenate()([even, told])))
    added = dense(features, "added", None)(hidden)
    return keras.Model([x, told], layers.Add()([linear(start.back, start.mean, "back")(code), added]), name="nested")


class Dimensions:
    """A lesson: rows from the first few numbers of their codes.

    Args:
        x: float32 [n, F], training rows.
        weights: float32 [n, F], 0 for features that have no true value.
        validation: the same two of rows never trained on.
        start: PCA.
    """

    name, number = "reducer ", 2

    def __init__(self, x: Floats, weights: Floats, validation: tuple[Floats, Floats], start: Reducer) -> None:
        self.x, self.weights, self.validation = x, weights, validation
        self.most = start.basis.shape[1]
        left = errors_left(start, *validation, list(range(1, self.most + 1))).mean(axis=1)
        self.left = np.maximum(left, 1e-3 * left[0]).astype(np.float32)

    def _told(self, x: Floats, weights: Floats, k: np.ndarray[Any, Any]) -> tuple[Floats, ...]:
        told = (np.arange(self.most) < k[:, None]).astype(np.float32)
        return x, told, weights / self.left[k - 1][:, None]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, ...]:
        """A mini-batch of training rows, each with the first so many numbers of its code."""
        rows = rng.integers(0, len(self.x), count)
        return self._told(self.x[rows], self.weights[rows], rng.integers(1, self.most + 1, count))

    def held_out(self, rng: np.random.Generator) -> tuple[Floats, ...]:
        """The validation rows, at most 4096."""
        x, weights = self.validation
        rows = rng.permutation(len(x))[:HELD_OUT]
        return self._told(x[rows], weights[rows], 1 + np.arange(len(rows)) % self.most)

    def loss(self, model: keras.Model, *arrays: Any, training: bool) -> Any:
        """What is left of rows, by what PCA leaves at the same dimension: 1 is as good as PCA."""
        x, told, weights = arrays
        apart = model([x, told], training=training) - x
        return tf.reduce_mean(tf.reduce_sum(weights * tf.square(apart), axis=1))


def start_of(x: Floats, most: int) -> Reducer:
    """PCA of rows float32 [n, F], with so many components."""
    pca = Pca.fit(x, kept=most)
    scale = np.sqrt(np.maximum(pca.variances, 1e-6)).astype(np.float32)
    return Reducer(pca.mean.astype(np.float32), pca.basis, np.ascontiguousarray(pca.basis.T), scale, {}, most)


def reducer_of(model: keras.Model, start: Reducer) -> Reducer:
    """The plain matrices of a trained model.

    Args:
        model: trained.
        start: what it started from.
    """
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    basis, bias = weights["basis"]
    back, mean = weights["back"]
    bent = {name: (weights[name][0], weights[name][1]) for name in BENT}
    # The bias of the straight part goes into the bent one: (x - mean) @ basis is how codes are made.
    into = bent["code"][0], bent["code"][1] + bias + mean @ basis
    return Reducer(mean, basis, back, start.scale, {**bent, "code": into}, start.kept)
