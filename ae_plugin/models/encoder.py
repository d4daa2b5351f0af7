"""A version's encoder as Keras has it: trainable, to be built into a larger network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from ae_plugin.core.values import Floats
from ae_plugin.models import conv
from ae_plugin.models.catalog import builder


def rows_encoder(
    kind: str, features: int, columns: int, width: int, latent_dim: int, weights: Sequence[Floats]
) -> keras.Model:
    """The encoder of a table's model: [x float32 [n, F], visible float32 [n, C]] -> code float32 [n, L].

    Args:
        kind: of the model, from the catalog.
        features: F, encoded features of a row.
        columns: C, learned columns.
        width: units of the outer hidden layers.
        latent_dim: L.
        weights: of the whole model, as `get_weights` gives them.

    Raises:
        ValueError: the weights do not fit.
    """
    return _encoder(builder(kind)(features, columns, width, latent_dim, 0), weights)


def tiles_encoder(side: tuple[int, int], channels: int, weights: Sequence[Floats]) -> keras.Model:
    """The encoder of a pictures' model: tiles float32 [n, h, w, C] in 0..1 -> code float32 [n, L].

    Raises:
        ValueError: the weights do not fit.
    """
    return _encoder(conv.build(side, channels, 0), weights)


def _encoder(whole: Any, weights: Sequence[Floats]) -> keras.Model:
    whole.set_weights(list(weights))
    return keras.Model(whole.inputs, whole.outputs[1], name="encoder")
