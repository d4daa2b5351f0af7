"""The lesson that pictures teach: a spoilt tile goes in; what it was, and where it was spoilt, is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ae_plugin.core.defects import spoil
from ae_plugin.core.picture_scoring import Repairer, run
from ae_plugin.core.values import Floats, evenly_spaced
from ae_plugin.models.training import validation_rng

WHERE_WEIGHT, SPOILT_WEIGHT = 0.2, 0.2
_HELD_OUT = 256


class Mending:
    """A lesson: undo defects.

    Args:
        tiles: float32 [n, h, w, C] in 0..1, to train on.
        validation: float32 [k, h, w, C], never trained on.
    """

    name, number = "", 0

    def __init__(self, tiles: Floats, validation: Floats) -> None:
        self.tiles, self.validation = tiles, validation[evenly_spaced(len(validation), _HELD_OUT)]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, ...]:
        """Spoilt tiles, what they were, and where they were spoilt, float32 [count, h, w, 1]."""
        return _spoilt(self.tiles[rng.integers(0, len(self.tiles), count)], rng)

    def held_out(self, rng: np.random.Generator) -> tuple[Floats, ...]:
        """The same of the validation tiles."""
        return _spoilt(self.validation, rng)

    def loss(self, model: Callable[..., Any], *arrays: Any, training: bool) -> Any:
        """Mean absolute error of the tile, the same of its spoilt pixels alone, and cross-entropy of where they are."""
        tiles, good, where = arrays
        maps, _ = model(tiles, training=training)
        likely = tf.clip_by_value(maps[..., -1:], 1e-6, 1 - 1e-6)
        entropy = -(where * tf.math.log(likely) + (1 - where) * tf.math.log(1 - likely))
        apart = tf.abs(maps[..., :-1] - good)
        spoilt = tf.reduce_sum(where * apart) / (tf.reduce_sum(where) + 1.0)
        return tf.reduce_mean(apart) + SPOILT_WEIGHT * spoilt + WHERE_WEIGHT * tf.reduce_mean(entropy)


def mending_loss(network: Repairer, validation: Floats, seed: int) -> float:
    """The loss that training reports, of any network: what scoring runs must have the same."""
    lesson = Mending(validation, validation)

    def model(tiles: Any, **_: object) -> tuple[Floats, Floats]:
        return run(network, np.asarray(tiles))

    return float(lesson.loss(model, *lesson.held_out(validation_rng(seed)), training=False))


def idle_loss(validation: Floats, seed: int) -> float:
    """The loss of leaving every tile as it is, and of calling each pixel wrong as likely as pixels are at all."""
    share = np.float32(Mending(validation, validation).held_out(validation_rng(seed))[2].mean())

    def idle(tiles: Floats) -> tuple[Floats, Floats]:
        return np.concatenate([tiles, np.full_like(tiles[..., :1], share)], axis=-1), np.zeros(
            (len(tiles), 1), np.float32
        )

    return mending_loss(idle, validation, seed)


def _spoilt(good: Floats, rng: np.random.Generator) -> tuple[Floats, ...]:
    tiles, where = spoil(good, rng)
    return tiles, good, where[..., None].astype(np.float32)
