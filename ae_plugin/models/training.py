"""The training loop: steps rather than epochs, seeded, streamed to the log, resumable to the bit.

What is taught is a lesson's business (`masking` for tables). Every step draws its mini-batch from (seed, step) alone,
so a run that was killed and resumed from its checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from ae_plugin.core.values import Floats
from ae_plugin.models.budget import Budget
from ae_plugin.models.checkpoint import Checkpoint

log = logging.getLogger(__name__)

LEARNING_RATE = 2e-3
WARM_UP = 20
CHUNK = 20
QUIET = 60.0
"""Seconds after which the log hears of progress, if a tenth more was not done before."""


class Lesson(Protocol):
    """What a network is taught: mini-batches to learn from, held-out ones to stop by, and what an error costs.

    Attributes:
        name: said in the log before each line, with a space after it; may be empty.
        number: of the lesson among those of one training; part of what its mini-batches are drawn from.
    """

    name: str
    number: int

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Floats, ...]:
        """A mini-batch: arrays of `count` rows each."""

    def held_out(self, rng: np.random.Generator) -> tuple[Floats, ...]:
        """The same of rows that are never trained on, all of them."""

    def loss(self, model: keras.Model, *arrays: Any, training: bool) -> Any:
        """The loss of a model on such arrays, a scalar tensor."""


@dataclass
class Trained:
    """What training left behind: the best weights are in the model itself."""

    steps: int
    stopped_early: bool
    seconds: float
    rows_per_second: float
    validation_loss: float
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def train(
    model: keras.Model,
    lesson: Lesson,
    budget: Budget,
    seed: int,
    checkpoint: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train `model` in place, and leave its best weights (by validation loss) in it.

    Args:
        model: from the catalog.
        lesson: what to teach it.
        budget: steps and rows a step.
        seed: of mini-batches.
        checkpoint: folder to save progress to and resume from.
        on_progress: called with (step, steps).
    """
    state = _State(model, lesson, budget, seed)
    if checkpoint is not None and (resumed := Checkpoint.load(checkpoint)) is not None and state.fits(resumed):
        state.restore(resumed)
        log.info("resuming at step %d of %d", state.step, budget.steps)
    else:
        log.info("%sstep 0/%d  the first steps are compiled, and take longer", lesson.name, budget.steps)
    fixed = lesson.held_out(validation_rng(seed))
    every = max(CHUNK, budget.steps // 30 // CHUNK * CHUNK)
    start, first, saved = time.perf_counter(), state.step, time.perf_counter()
    tenths, said = -1, start
    while state.step < budget.steps and state.patience < budget.patience:
        loss = state.advance(min(CHUNK, budget.steps - state.step))
        if state.step % every and state.step < budget.steps:
            continue
        state.evaluate(fixed, loss)
        tenth = 10 * state.step // budget.steps
        if state.curve and (tenth > tenths or time.perf_counter() - said > QUIET):
            _log(state, budget, start, first)
            tenths, said = tenth, time.perf_counter()
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


def falls(curve: Sequence[tuple[int, float, float]], fall: float) -> list[int]:
    """Steps at which the validation loss was more than so many times the best before."""
    found, best = [], float("inf")
    for step, _, loss in curve:
        if loss > fall * best:
            found.append(step)
        best = min(best, loss)
    return found


def validation_rng(seed: int) -> np.random.Generator:
    """What the held-out rows of a training are drawn with, whatever the lesson."""
    return np.random.default_rng([seed, 2**32 - 1])


def _log(state: _State, budget: Budget, start: float, first: int) -> None:
    spent = time.perf_counter() - start
    speed = (state.step - first) / max(spent, 1e-9)
    step, train_loss, loss = state.curve[-1]
    log.info(
        "%sstep %d/%d  loss %.4f  validation %.4f  %.0f rows/s  %.0f s left",
        state.lesson.name,
        *(step, budget.steps, train_loss, loss, speed * budget.rows, (budget.steps - step) / max(speed, 1e-9)),
    )


class _State:
    """Model, optimizer and progress: everything that a checkpoint holds."""

    def __init__(self, model: keras.Model, lesson: Lesson, budget: Budget, seed: int) -> None:
        self.model, self.lesson, self.budget, self.seed = model, lesson, budget, seed
        self.optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=1e-4, clipnorm=1.0)
        self.optimizer.build(model.trainable_variables)
        self.step, self.patience, self.best_loss = 0, 0, float("inf")
        self.best = model.get_weights()
        self.curve: list[tuple[int, float, float]] = []
        self._steps = tf.function(self._run_steps, reduce_retracing=True)

    def advance(self, steps: int) -> float:
        """Take some steps; return their mean loss."""
        parts = []
        for step in range(self.step, self.step + steps):
            rng = np.random.default_rng([self.seed, step, self.lesson.number])
            parts.append(self.lesson.draw(rng, self.budget.rows))
        rates = np.array([self._rate(step) for step in range(self.step, self.step + steps)], np.float32)
        stacked = [tf.constant(np.stack(column)) for column in zip(*parts, strict=True)]
        self.step += steps
        return float(self._steps(tf.constant(rates), *stacked))

    def _rate(self, step: int) -> float:
        fell = falls(self.curve, self.budget.fall)
        warm = min(1.0, (step - (fell[-1] if fell else 0) + 1) / WARM_UP)
        return float(LEARNING_RATE / 2 ** len(fell) * warm * 0.5 * (1 + np.cos(np.pi * step / self.budget.steps)))

    def _run_steps(self, rates: Any, *arrays: Any) -> Any:
        total = tf.constant(0.0)
        for i in tf.range(tf.shape(rates)[0]):
            with tf.GradientTape() as tape:
                loss = self.lesson.loss(self.model, *(array[i] for array in arrays), training=True)
            gradients = tape.gradient(loss, self.model.trainable_variables)
            self.optimizer.learning_rate.assign(rates[i])
            self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
            total += loss
        return total / tf.cast(tf.shape(rates)[0], tf.float32)

    def loss(self, fixed: tuple[Floats, ...]) -> float:
        """Loss of the model as it is on fixed rows."""
        return float(self.lesson.loss(self.model, *map(tf.constant, fixed), training=False))

    def evaluate(self, fixed: tuple[Floats, ...], train_loss: float) -> None:
        """Compare with the best weights so far, and keep the better."""
        loss = self.loss(fixed)
        if not np.isfinite(loss + train_loss):
            log.warning("step %d: the loss is no number any more, training ends", self.step)
            self.patience = self.budget.patience
            return
        self.curve.append((self.step, round(train_loss, 6), round(loss, 6)))
        if loss < self.best_loss * (1 - 1e-4):
            self.best_loss, self.best, self.patience = loss, self.model.get_weights(), 0
            return
        self.patience += 1
        if falls(self.curve, self.budget.fall)[-1:] == [self.step]:
            log.info("step %d: much worse than before, back to the best so far at half the pace", self.step)
            self.model.set_weights(self.best)
            for variable in self.optimizer.variables:
                variable.assign(np.zeros(variable.shape))

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
