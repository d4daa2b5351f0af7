"""The masked dense autoencoder: it sees a row with some cells hidden, and says what every cell is.

A SiLU MLP over [values with hidden cells 0, visibility flags]; its middle layer is the latent code.
"""

from __future__ import annotations

import keras
from keras import layers


def build(features: int, columns: int, width: int, latent_dim: int, seed: int) -> keras.Model:
    """Build the network.

    Args:
        features: F, encoded features of a row.
        columns: C, learned columns, one visibility flag each.
        width: units of the outer hidden layers.
        latent_dim: L, units of the middle one, exported as the embedding.
        seed: of the initial weights.

    Returns:
        A model (x float32 [n, F], visible float32 [n, C]) -> (reconstruction [n, F], code [n, L]).
    """
    seeds = iter(range(seed * 16, seed * 16 + 16))

    def dense(units: int, name: str, activation: str | None = "silu") -> layers.Dense:
        start = keras.initializers.GlorotUniform(seed=next(seeds))
        return layers.Dense(units, activation=activation, kernel_initializer=start, name=name)

    x = keras.Input((features,), name="a_values")
    visible = keras.Input((columns,), name="b_visible")
    hidden = layers.Concatenate(name="row")([x, visible])
    hidden = dense(width, "encoder")(hidden)
    code = dense(latent_dim, "code")(hidden)
    hidden = dense(width, "decoder")(code)
    hidden = dense(width, "decoder_2")(hidden)
    reconstruction = dense(features, "reconstruction", None)(hidden)
    return keras.Model([x, visible], [reconstruction, code], name="dense")
