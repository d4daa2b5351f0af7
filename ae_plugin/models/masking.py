"""The lessons that tables teach: a row with some cells hidden goes in, and what its cells hold is asked for.

Two lessons, each to a network of its own. In one every cell of a row is asked for, some of them hidden: rows are scored
by what comes of it. In the other hidden cells alone, and mostly few: single cells are judged and filled by it.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.scoring import Network, reconstruct
from ae_plugin.core.values import Floats
from ae_plugin.models.training import validation_rng

MASK_LIMIT = 0.6
FEW_HIDDEN, VISIBLE_WEIGHT = 0.15, 1e-3
Masked = tuple[Floats, Floats, Floats, Floats]


class Rows:
    """Encoded rows with their loss weights, ready to be cut into masked mini-batches."""

    def __init__(self, encoder: TableEncoder, encoded: Encoded) -> None:
        self.encoder = encoder
        self.x = encoded.x
        self.visible = encoder.visible(encoded)
        touched = bool(encoded.state.any())
        self.weights = encoder.weights(encoded) if touched else None

    def __len__(self) -> int:
        return len(self.x)

    def masked(self, chosen: np.ndarray[Any, Any], rng: np.random.Generator, *, second: bool = False) -> Masked:
        """Hide a random share (0 to 0.6) of each chosen row's cells: (input, visible, target, weights).

        In the second lesson half of the rows hide few cells, and what is visible hardly counts.
        """
        shape = (len(chosen), len(self.encoder.specs))
        rates = rng.uniform(0, MASK_LIMIT, (len(chosen), 1))
        if second:
            few = max(FEW_HIDDEN, 1 / shape[1])
            rates = np.where(rng.uniform(size=rates.shape) < 0.5, few, rates)
        keep = (rng.uniform(size=shape) >= rates).astype(np.float32)
        visible = self.visible[chosen] * keep
        x = self.x[chosen]
        weights = np.ones_like(x) if self.weights is None else self.weights[chosen]
        if second:
            weights = weights * np.where(keep > 0, np.float32(VISIBLE_WEIGHT), np.float32(1))[:, self.encoder.column_of]
        return x * visible[:, self.encoder.column_of], visible, x, weights


class HiddenCells:
    """A lesson: say what cells hold.

    Args:
        rows: training rows.
        validation: rows for early stopping; never trained on.
        second: whether this is the second lesson, hidden cells alone.
        latent_dim: L, of the network.
    """

    def __init__(self, rows: Rows, validation: Rows, *, second: bool = False, latent_dim: int = 0) -> None:
        self.rows, self.validation, self.second, self.latent_dim = rows, validation, second, latent_dim
        self.name = "filler " if second else ""
        self.number = int(second)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, ...]:
        """A mini-batch of training rows."""
        return self.rows.masked(rng.integers(0, len(self.rows), count), rng, second=self.second)

    def held_out(self, rng: np.random.Generator) -> Masked:
        """The validation rows, at most 4096, masked once and for all."""
        return _validation_set(self.validation, rng, second=self.second)

    def loss(self, model: keras.Model, *arrays: Any, training: bool) -> Any:
        """Mean squared error; in the second lesson errors beyond 1 count by their size (Huber, 1964)."""
        x, visible, target, weights = arrays
        reconstruction, _ = model([x, visible], training=training)
        return self.error(reconstruction, target, weights)

    def error(self, reconstruction: Any, target: Any, weights: Any) -> Any:
        """What a reconstruction costs, a scalar tensor; see `loss`."""
        apart = reconstruction - target
        near = tf.clip_by_value(apart, -1.0, 1.0)
        errors = near * (2 * apart - near) if self.second else tf.square(apart)
        return tf.reduce_sum(weights * errors) / (tf.reduce_sum(weights) + 1e-6)


def _validation_set(validation: Rows, rng: np.random.Generator, *, second: bool) -> Masked:
    chosen = np.arange(len(validation)) if len(validation) <= 4096 else rng.permutation(len(validation))[:4096]
    return validation.masked(chosen, rng, second=second)


def masked_loss(network: Network, validation: Rows, seed: int) -> float:
    """The loss that training reports, of any network: what scoring runs must have the same."""
    x, visible, target, weights = _validation_set(validation, validation_rng(seed), second=False)
    squares = weights * np.square(reconstruct(network, x, visible) - target)
    return float(squares.sum(dtype=np.float64) / (weights.sum(dtype=np.float64) + 1e-6))
