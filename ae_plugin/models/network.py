"""A Keras model as the plain function that scoring calls, and the pair of models a training starts from."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from ae_plugin.core.values import Floats
from ae_plugin.models.catalog import builder


class KerasNetwork:
    """Calls a Keras model with NumPy arrays: (x, visible) -> (reconstruction, code)."""

    def __init__(self, model: keras.Model) -> None:
        self._call = tf.function(model, reduce_retracing=True)

    def __call__(self, x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        """Run rows through the model."""
        reconstruction, code = self._call([tf.constant(x), tf.constant(visible)])
        return np.asarray(reconstruction), np.asarray(code)


def decoder_of(model: keras.Model) -> keras.Model:
    """The second half of a table's model, with its weights: latent code float32 [n, L] -> reconstruction [n, F]."""
    own = model.layers[-1] if isinstance(model.layers[-1], keras.Model) else None
    return own or keras.Model(model.get_layer("code").output, model.outputs[0], name="decoder")


def build_pair(
    kind: str, features: int, columns: int, width: int, latent_dim: int, seed: int
) -> tuple[keras.Model, keras.Model]:
    """Build a model to train and the same model, to stay untrained; seeded, and deterministic from here on."""
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    build = builder(kind)
    return build(features, columns, width, latent_dim, seed), build(features, columns, width, latent_dim, seed)
