"""The training loop: steps rather than epochs, seeded, streamed to the log, resumable to the bit.

Two lessons, each to a network of its own. In one every cell of a row is asked for, some of them hidden: rows are scored
by what comes of it. In the other hidden cells alone, and mostly few: single cells are judged and filled by it.

Every step draws its mini-batch and its masks from (seed, step) alone, so a run that was killed and resumed from its
checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.scoring import Network, reconstruct
from ae_plugin.core.values import Floats
from ae_plugin.models.budget import Budget
from ae_plugin.models.checkpoint import Checkpoint

log = logging.getLogger(__name__)

MASK_LIMIT = 0.6
FEW_HIDDEN, VISIBLE_WEIGHT = 0.15, 1e-3

LEARNING_RATE = 2e-3
WARM_UP = 20
PATIENCE = 6
CHUNK = 20


@dataclass
class Trained:
    """What training left behind: the best weights are in the model itself."""

    steps: int
    stopped_early: bool
    seconds: float
    rows_per_second: float
    validation_loss: float
    curve: list[tuple[int, float, float]] = field(default_factory=list)


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

    def masked(
        self, chosen: np.ndarray[Any, Any], rng: np.random.Generator, *, second: bool = False
    ) -> tuple[Floats, Floats, Floats, Floats]:
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


def train(
    model: keras.Model,
    rows: Rows,
    validation: Rows,
    budget: Budget,
    seed: int,
    checkpoint: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    second: bool = False,
) -> Trained:
    """Train `model` in place, and leave its best weights (by validation loss) in it.

    Args:
        model: from the catalog.
        rows: training rows.
        validation: rows for early stopping; never trained on.
        budget: steps and rows a step.
        seed: of mini-batches and masks.
        checkpoint: folder to save progress to and resume from.
        on_progress: called with (step, steps).
        second: whether this is the second lesson, hidden cells.
    """
    state = _State(model, budget, seed, second)
    if checkpoint is not None and (resumed := Checkpoint.load(checkpoint)) is not None and state.fits(resumed):
        state.restore(resumed)
        log.info("resuming at step %d of %d", state.step, budget.steps)
    fixed = _validation_set(validation, seed, second)
    every = max(CHUNK, budget.steps // 30 // CHUNK * CHUNK)
    start, first, saved = time.perf_counter(), state.step, time.perf_counter()
    while state.step < budget.steps and state.patience < PATIENCE:
        loss = state.advance(rows, min(CHUNK, budget.steps - state.step))
        if state.step % every and state.step < budget.steps:
            continue
        state.evaluate(fixed, loss)
        if state.curve:
            _log(state, budget, start, first)
        if on_progress:
            on_progress(state.step, budget.steps)
        if checkpoint is not None and time.perf_counter() - saved > 5:
            state.snapshot().save(checkpoint)
            saved = time.perf_counter()
    seconds = time.perf_counter() - start
    model.set_weights(state.best)
    if not np.isfinite(state.best_loss):
        state.best_loss = state.loss(fixed)
    return Trained(
        state.step,
        state.step < budget.steps,
        seconds,
        (state.step - first) * budget.rows / max(seconds, 1e-9),
        state.best_loss,
        state.curve,
    )


def _validation_set(validation: Rows, seed: int, second: bool) -> tuple[Floats, Floats, Floats, Floats]:
    rng = np.random.default_rng([seed, 2**32 - 1])
    chosen = np.arange(len(validation)) if len(validation) <= 4096 else rng.permutation(len(validation))[:4096]
    return validation.masked(chosen, rng, second=second)


def masked_loss(network: Network, validation: Rows, seed: int) -> float:
    """The loss that training reports, of any network: what scoring runs must have the same."""
    x, visible, target, weights = _validation_set(validation, seed, second=False)
    squares = weights * np.square(reconstruct(network, x, visible) - target)
    return float(squares.sum(dtype=np.float64) / (weights.sum(dtype=np.float64) + 1e-6))


def _log(state: _State, budget: Budget, start: float, first: int) -> None:
    spent = time.perf_counter() - start
    speed = (state.step - first) / max(spent, 1e-9)
    step, train_loss, loss = state.curve[-1]
    log.info(
        "%sstep %d/%d  loss %.4f  validation %.4f  %.0f rows/s  %.0f s left",
        "filler " if state.second else "",
        *(step, budget.steps, train_loss, loss, speed * budget.rows, (budget.steps - step) / max(speed, 1e-9)),
    )


class _State:
    """Model, optimizer and progress: everything that a checkpoint holds."""

    def __init__(self, model: keras.Model, budget: Budget, seed: int, second: bool) -> None:
        self.model, self.budget, self.seed, self.second = model, budget, seed, second
        self.optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=1e-4, clipnorm=1.0)
        self.optimizer.build(model.trainable_variables)
        self.step, self.patience, self.best_loss = 0, 0, float("inf")
        self.best = model.get_weights()
        self.curve: list[tuple[int, float, float]] = []
        self._steps = tf.function(self._run_steps, reduce_retracing=True)

    def advance(self, rows: Rows, steps: int) -> float:
        """Take some steps; return their mean loss."""
        parts = []
        for step in range(self.step, self.step + steps):
            rng = np.random.default_rng([self.seed, step, int(self.second)])
            chosen = rng.integers(0, len(rows), self.budget.rows)
            parts.append(rows.masked(chosen, rng, second=self.second))
        rates = np.array([self._rate(step) for step in range(self.step, self.step + steps)], np.float32)
        stacked = [tf.constant(np.stack(column)) for column in zip(*parts, strict=True)]
        self.step += steps
        return float(self._steps(*stacked, tf.constant(rates)))

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / WARM_UP)
        return float(LEARNING_RATE * warm * 0.5 * (1 + np.cos(np.pi * step / self.budget.steps)))

    def _run_steps(self, x: Any, visible: Any, target: Any, weights: Any, rates: Any) -> Any:
        total = tf.constant(0.0)
        for i in tf.range(tf.shape(x)[0]):
            with tf.GradientTape() as tape:
                reconstruction, _ = self.model([x[i], visible[i]], training=True)
                loss = _loss(reconstruction, target[i], weights[i], second=self.second)
            gradients = tape.gradient(loss, self.model.trainable_variables)
            self.optimizer.learning_rate.assign(rates[i])
            self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
            total += loss
        return total / tf.cast(tf.shape(x)[0], tf.float32)

    def loss(self, fixed: tuple[Floats, Floats, Floats, Floats]) -> float:
        """Loss of the model as it is on fixed rows."""
        x, visible, target, weights = fixed
        reconstruction, _ = self.model([x, visible], training=False)
        return float(_loss(reconstruction, tf.constant(target), tf.constant(weights), second=self.second))

    def evaluate(self, fixed: tuple[Floats, Floats, Floats, Floats], train_loss: float) -> None:
        """Compare with the best weights so far, and keep the better."""
        loss = self.loss(fixed)
        if not np.isfinite(loss + train_loss):
            log.warning("step %d: the loss is no number any more, training ends", self.step)
            self.patience = PATIENCE
            return
        self.curve.append((self.step, round(train_loss, 6), round(loss, 6)))
        if loss < self.best_loss * (1 - 1e-4):
            self.best_loss, self.best, self.patience = loss, self.model.get_weights(), 0
        else:
            self.patience += 1

    def snapshot(self) -> Checkpoint:
        """Everything needed to go on from here."""
        return Checkpoint(
            step=self.step,
            patience=self.patience,
            best_loss=self.best_loss,
            curve=self.curve,
            weights=self.model.get_weights(),
            best=self.best,
            optimizer=[np.asarray(v) for v in self.optimizer.variables],
        )

    def fits(self, saved: Checkpoint) -> bool:
        """Whether a checkpoint is one of this network and optimizer, array by array."""
        now = self.snapshot()
        groups = ((now.weights, saved.weights), (now.weights, saved.best), (now.optimizer, saved.optimizer))
        return all([a.shape for a in ours] == [a.shape for a in theirs] for ours, theirs in groups)

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a snapshot."""
        self.step, self.patience, self.best_loss = saved.step, saved.patience, saved.best_loss
        self.curve, self.best = list(saved.curve), saved.best
        self.model.set_weights(saved.weights)
        for variable, value in zip(self.optimizer.variables, saved.optimizer, strict=True):
            variable.assign(value)


def _loss(reconstruction: Any, target: Any, weights: Any, *, second: bool) -> Any:
    """Mean squared error; in the second lesson errors beyond 1 count by their size (Huber, 1964)."""
    apart = reconstruction - target
    near = tf.clip_by_value(apart, -1.0, 1.0)
    errors = near * (2 * apart - near) if second else tf.square(apart)
    return tf.reduce_sum(weights * errors) / (tf.reduce_sum(weights) + 1e-6)
