"""Fit the networks of a table's version: one that scores rows, the same taught on for hidden cells; and export them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ae_plugin.config import Pipeline
from ae_plugin.core.features import TableEncoder
from ae_plugin.core.scoring import Network
from ae_plugin.core.values import Floats
from ae_plugin.jobs.history import History

if TYPE_CHECKING:
    from keras import Model

    from ae_plugin.models.budget import Budget
    from ae_plugin.models.masking import Rows
    from ae_plugin.models.training import Lesson
    from ae_plugin.runtime.litert import LiteHalf, LiteNetwork

log = logging.getLogger(__name__)
SHOWN = 1000
"""Validation rows that an export is compared with its original on, at most."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fitted:
    """Networks, as they are used and as they are stored.

    Attributes:
        kind: of the networks.
        network: what scores rows.
        filler: what fills hidden cells.
        untrained: the first, before its first step.
        weights: of the first.
        flat, filler_flat, decoder_flat: both, and the first one's second half, exported.
        export_difference: how far the exports are off, at most.
        width, latent_dim: their size.
        steps, steps_budget: of the first one's training, taken and planned.
        rows_per_second: of it.
        validation_loss, curve: of it: the loss at its end, and (step, training, validation) as it went.
    """

    kind: str
    network: Network
    filler: Network
    untrained: Network
    weights: list[npt.NDArray[np.float32]]
    flat: bytes
    filler_flat: bytes
    decoder_flat: bytes
    export_difference: float
    width: int
    latent_dim: int
    steps: int
    steps_budget: int
    rows_per_second: float
    validation_loss: float
    curve: list[tuple[int, float, float]]


def fit_networks(pipeline: Pipeline, history: History, checkpoint: Path, on_progress: Progress | None) -> Fitted:
    """Train and export a version's networks.

    Args:
        pipeline: from `config.load`.
        history: what they are taught on.
        checkpoint: folder of what is known so far; a training that was stopped goes on from there.
        on_progress: called with (step, steps) of both trainings.
    """
    # TensorFlow is loaded here, and in what this calls: only when a training is really due.
    from ae_plugin.models import masking, training
    from ae_plugin.models.catalog import lesson_of, resolve, size_of
    from ae_plugin.models.network import KerasNetwork, build_pair

    encoder, encoded, split, seed = history.encoder, history.encoded, history.split, pipeline.model.seed
    kind, (width, latent) = resolve(pipeline.model.kind), size_of(encoder.features)
    model, untrained = build_pair(kind, encoder.features, len(encoder.specs), width, latent, seed)
    rows = masking.Rows(encoder, encoded.take(split.weighted))
    validation = masking.Rows(encoder, encoded.take(split.validation))
    budget, out = _budget(pipeline, rows), _Exports(encoder, validation, latent)
    first, steps = budget.steps, budget.steps + budget.second.steps
    log.info("training %d features, %d rows, %d steps of %d rows", encoder.features, len(rows), first, budget.rows)

    def taught(second: bool) -> training.Trained:
        own, before = (budget.second, first) if second else (budget, 0)
        lesson: Lesson = lesson_of(kind)(rows, validation, second=second, latent_dim=latent)
        told = on_progress and (lambda step, _: on_progress(before + step, steps))
        return training.train(model, lesson, own, seed, checkpoint / "second" if second else checkpoint, told)

    done = taught(second=False)
    weights, (flat, gap, network) = model.get_weights(), out.network(model)
    decoder_flat, decoder_gap = out.decoder(model, network)
    model.set_weights(untrained.get_weights())
    taught(second=True)
    filler_flat, filler_gap, filler = out.network(model)
    return Fitted(
        kind=kind,
        network=network,
        filler=filler,
        untrained=KerasNetwork(untrained),
        weights=weights,
        flat=flat,
        filler_flat=filler_flat,
        decoder_flat=decoder_flat,
        export_difference=max(gap, filler_gap, decoder_gap),
        width=width,
        latent_dim=latent,
        steps=done.steps,
        steps_budget=first,
        rows_per_second=done.rows_per_second,
        validation_loss=done.validation_loss,
        curve=done.curve,
    )


def _budget(pipeline: Pipeline, rows: Rows) -> Budget:
    from ae_plugin.models.budget import Budget

    budget = Budget.auto(len(rows))
    return budget if pipeline.train.steps == "auto" else Budget(int(pipeline.train.steps), budget.rows)


class _Exports:
    """Exports of networks, each beside its original on the same validation rows."""

    def __init__(self, encoder: TableEncoder, validation: Rows, latent: int) -> None:
        some = np.arange(min(len(validation), SHOWN))
        visible: Floats = validation.visible[some]
        self._encoder, self._latent = encoder, latent
        self._shown = encoder.hide(validation.x[some], visible), visible

    def network(self, model: Model) -> tuple[bytes, float, LiteNetwork]:
        """A network as it is stored, how far that is off, and loaded again."""
        from ae_plugin.models.export import export
        from ae_plugin.runtime.litert import LiteNetwork

        encoder = self._encoder
        sizes = {"features": encoder.features, "columns": len(encoder.specs), "latent_dim": self._latent}
        return export(model, lambda flat: LiteNetwork(flat, threads=2, **sizes), *self._shown)

    def decoder(self, model: Model, network: LiteNetwork) -> tuple[bytes, float]:
        """Its second half as it is stored, and how far that is off on the network's own codes."""
        from ae_plugin.models.export import export
        from ae_plugin.models.network import decoder_of
        from ae_plugin.runtime.litert import LiteHalf

        def load(flat: bytes) -> LiteHalf:
            return LiteHalf(flat, given=(self._latent,), found=(self._encoder.features,), threads=2)

        flat, gap, _ = export(decoder_of(model), load, network(*self._shown)[1])
        return flat, gap
