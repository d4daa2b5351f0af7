"""Train a pictures' model: history in, a registered version out."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ae_plugin import __version__
from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.mixture import Mixture
from ae_plugin.core.picture_scoring import BLOCK, PictureScorer, Repairer, fit_and_judge
from ae_plugin.jobs.machine import peak_memory_mb
from ae_plugin.jobs.origin import airflow_task
from ae_plugin.jobs.pictures.completing import pixel_intervals
from ae_plugin.jobs.pictures.denoising import TrainedDenoiser, fit_denoiser
from ae_plugin.jobs.pictures.gallery import GALLERY, pack_gallery
from ae_plugin.jobs.pictures.gate import run_picture_gate
from ae_plugin.jobs.pictures.history import PictureHistory, learn_picture_history, whole_pictures
from ae_plugin.jobs.pictures.variational import VariationalCard, train_variational
from ae_plugin.jobs.pictures.versions import PictureCard, card_of, pack_pictures
from ae_plugin.jobs.progress import training_folder
from ae_plugin.jobs.summary import feedback_notes
from ae_plugin.models.checkpoint import held
from ae_plugin.schemas import ColumnNote, Gate, TrainReport
from ae_plugin.store.files import fingerprint
from ae_plugin.store.registry import MODELS, Registry
from ae_plugin.versions import REPORT, pack_schema

log = logging.getLogger(__name__)
PACKAGES = ("keras", "tensorflow", "numpy", "pillow", "pyarrow", "scipy")


def train_pictures(pipeline: Pipeline, on_progress: Callable[[int, int], None] | None = None) -> TrainReport:
    """Train a new version of a pictures' model and register it as challenger.

    Args:
        pipeline: from `config.load`, with `source.format: images`.
        on_progress: called with (step, steps) as training goes on.

    Raises:
        DataError: history cannot be read, or holds too few pictures.
        ConfigError: train.until or train.partitions leave nothing.
        StoreError: the output cannot be written.
    """
    started = time.perf_counter()
    registry = Registry(pipeline.output)
    history = learn_picture_history(pipeline)
    registry.folder.makedirs(MODELS)
    with held(training_folder(pipeline, _digest(pipeline, history))) as checkpoint:
        job = _fit(pipeline, history, checkpoint, on_progress)
        denoiser = None
        if history.planes is not None:
            denoiser = fit_denoiser(pipeline, history.planes, checkpoint / "denoiser", on_progress)
        causes = None
        if history.small is not None:
            causes = train_variational(pipeline, history.small, checkpoint / "variational", on_progress)
        contaminated = pipeline.train.contamination != 0
        reference, verdicts = fit_and_judge(
            job.network,
            history.train,
            history.validation,
            history.calibration,
            np.unique([origin.partition for origin in history.origins], return_inverse=True)[1],
            history.channels,
            contaminated=contaminated,
        )
        rate = pipeline.score.alert_rate
        longest = pipeline.model.longest
        scorer = PictureScorer(job.network, reference, history.side, history.channels, rate, contaminated, longest)
        gate = run_picture_gate(
            scorer, job.untrained, history, registry, seed=pipeline.model.seed, reported=job.validation_loss
        )
        report = _report(pipeline, history, job, denoiser).model_copy(update={"gate": gate})
        report = report.model_copy(
            update={"seconds": time.perf_counter() - started, "peak_memory_mb": peak_memory_mb()}
        )
        whole = whole_pictures(history)
        reach = pixel_intervals(history, whole)
        files = pack_pictures(reference, job.weights, job.flat, denoiser, whole, reach)
        files |= causes.files if causes else {}
        files[GALLERY] = pack_gallery(history, verdicts)
        files[REPORT] = report.model_dump_json(indent=1).encode()
        known = causes.card if causes else None
        card = _card(pipeline, history, job, scorer, denoiser, whole, report.created_at, known)
        version = registry.register(files, card.model_dump(mode="json", exclude={"files"}))
        shutil.rmtree(checkpoint, ignore_errors=True)
    log.info("registered %s as challenger; gate %s: %s", version, "passed" if gate.passed else "failed", gate.reasons)
    return report.model_copy(update={"model_version": version})


@dataclass(frozen=True)
class _Fitted:
    network: Repairer
    untrained: Repairer
    weights: list[npt.NDArray[np.float32]]
    flat: bytes
    gap: float
    latent_dim: int
    steps: int
    steps_budget: int
    rows_per_second: float
    validation_loss: float
    curve: list[tuple[int, float, float]]


def _fit(
    pipeline: Pipeline, history: PictureHistory, checkpoint: Path, on_progress: Callable[[int, int], None] | None
) -> _Fitted:
    # The one place that loads TensorFlow, and only when a training is really due.
    from ae_plugin.models.budget import Budget
    from ae_plugin.models.conv import build_pair
    from ae_plugin.models.export import export
    from ae_plugin.models.mending import Mending
    from ae_plugin.models.training import train
    from ae_plugin.runtime.litert import LiteRepairer

    model, untrained = build_pair(history.side, history.channels, pipeline.model.seed)
    latent = int(model.outputs[1].shape[-1])
    budget = Budget.of_tiles(history.side, len(history.train))
    if pipeline.train.steps != "auto":
        budget = replace(budget, steps=int(pipeline.train.steps))
    log.info("training on %d tiles of %d x %d, %d steps", len(history.train), *history.side, budget.steps)

    def load(flat: bytes) -> LiteRepairer:
        return LiteRepairer(flat, side=history.side, channels=history.channels, latent_dim=latent, threads=2)

    shown = np.resize(history.validation, (BLOCK, *history.validation.shape[1:]))
    first = export(untrained, load, shown)[2]
    lesson = Mending(history.train, history.validation)
    done = train(model, lesson, budget, pipeline.model.seed, checkpoint, on_progress)
    weights, (flat, gap, network) = model.get_weights(), export(model, load, shown)
    return _Fitted(
        network=network,
        untrained=first,
        weights=weights,
        flat=flat,
        gap=gap,
        latent_dim=latent,
        steps=done.steps,
        steps_budget=budget.steps,
        rows_per_second=done.rows_per_second,
        validation_loss=done.validation_loss,
        curve=done.curve,
    )


def _digest(pipeline: Pipeline, history: PictureHistory) -> str:
    """Of exactly this network on exactly these tiles: weights that saw a picture are never calibrated with it."""
    config = pipeline.model_dump(mode="json", include={"model", "train"}, exclude={"train": {"queue", "pool"}})
    about = [config, history.side, history.channels, __version__, [package_version(name) for name in PACKAGES]]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for array in (history.train, history.validation, *(picture.pixels for picture in history.calibration)):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _card(
    pipeline: Pipeline,
    history: PictureHistory,
    job: _Fitted,
    scorer: PictureScorer,
    denoiser: TrainedDenoiser | None,
    whole: Mixture | None,
    created_at: str,
    variational: VariationalCard | None,
) -> PictureCard:
    return PictureCard(
        pipeline=pipeline.name,
        seed=pipeline.model.seed,
        side=history.side,
        channels=1 if history.channels == 1 else 3,
        latent_dim=job.latent_dim,
        contaminated=scorer.contaminated,
        image_size=scorer.image_size,
        image=history.image,
        source_schema=pack_schema(history.schema),
        keys=pipeline.source.keys,
        partitions={name: fingerprint(files) for name, files in history.groups.items()},
        upright=scorer.reference.upright,
        far=scorer.reference.far,
        axes=scorer.reference.kind.axes.shape[1],
        whole=whole.basis.shape[2] if whole else 0,
        denoiser=card_of(denoiser),
        variational=variational,
        versions={name: package_version(name) for name in PACKAGES},
        created_at=created_at,
    )


def _report(pipeline: Pipeline, history: PictureHistory, job: _Fitted, denoiser: TrainedDenoiser | None) -> TrainReport:
    train, validation, calibration = history.counts
    return TrainReport(
        pipeline=pipeline.name,
        model_version="",
        rows_seen=train + validation + calibration,
        rows_total=history.total,
        rows_train=train,
        rows_validation=validation,
        rows_calibration=calibration,
        partitions=list(history.groups),
        incidents=history.incidents,
        columns=[_column(history, field.name, str(field.type), pipeline) for field in history.schema],
        features=history.side[0] * history.side[1] * history.channels,
        latent_dim=job.latent_dim,
        steps=job.steps,
        steps_budget=job.steps_budget,
        stopped_early=job.steps < job.steps_budget,
        seconds=0.0,
        rows_per_second=job.rows_per_second,
        peak_memory_mb=0.0,
        validation_loss=job.validation_loss,
        loss_curve=job.curve,
        export_difference=job.gap,
        gate=Gate(passed=False, reasons=[], results=[]),
        feedback=history.feedback,
        notes=[*_notes(pipeline, history), *(denoiser.notes if denoiser else [])],
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        airflow=airflow_task(),
    )


def _column(history: PictureHistory, name: str, kind: str, pipeline: Pipeline) -> ColumnNote:
    if name == history.image:
        return ColumnNote(column=name, type=kind, role="learned", kind="picture")
    role = "key" if name in pipeline.source.keys else "passed through"
    return ColumnNote.model_validate({"column": name, "type": kind, "role": role})


def _notes(pipeline: Pipeline, history: PictureHistory) -> list[str]:
    notes, rate = [], pipeline.score.alert_rate
    if len(history.calibration) < rows_needed(rate):
        notes.append(
            f"the calibration set holds {len(history.calibration)} pictures, but an alarm at alert_rate {rate:g} needs "
            f"{rows_needed(rate)}: none can be flagged until there is more history or a higher alert_rate"
        )
    if history.unreadable:
        notes.append(f"{history.unreadable} pictures of history cannot be read, and were left out")
    if sum(history.counts) < history.total:
        notes.append(f"history holds {history.total} pictures; {sum(history.counts)} were used")
    return [*notes, *feedback_notes(history.feedback), *history.notes]
