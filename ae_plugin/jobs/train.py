"""Train: sample history, learn columns, train the network, calibrate, run the gate, register a challenger."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np
from safetensors.numpy import save as save_arrays

from ae_plugin import __version__
from ae_plugin.config import Pipeline
from ae_plugin.core.alarms import few_calibration_rows
from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.cells import recovered_share
from ae_plugin.core.columns import ColumnSpec, TextSpec
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.guard import GuardReference, odd_cells
from ae_plugin.core.reference import fit_reference
from ae_plugin.core.rules import learn_rules
from ae_plugin.core.scoring import Network, Reference, RowScores, Scorer
from ae_plugin.core.values import Floats
from ae_plugin.engines.threads import BLAS
from ae_plugin.jobs.compare import compare
from ae_plugin.jobs.fitting import Fitted, fit_networks
from ae_plugin.jobs.gate import run_gate
from ae_plugin.jobs.history import NAMED, History, learn_history
from ae_plugin.jobs.latent.reduce import most_numbers, reduce
from ae_plugin.jobs.machine import check_can_train, peak_memory_mb
from ae_plugin.jobs.origin import airflow_task
from ae_plugin.jobs.progress import training_folder
from ae_plugin.jobs.promises import limits
from ae_plugin.jobs.summary import feedback_notes, some
from ae_plugin.models.checkpoint import held
from ae_plugin.schemas import Gate, TrainReport
from ae_plugin.store.files import fingerprint
from ae_plugin.store.registry import MODELS, Registry
from ae_plugin.versions import DECODER, REDUCER, REDUCTION, REPORT, ModelCard, pack, pack_schema

log = logging.getLogger(__name__)


@BLAS.single()
def train(pipeline: Pipeline, *, on_progress: Callable[[int, int], None] | None = None) -> TrainReport:
    """Train a new version of a pipeline's model and register it as challenger; promotion is a job of its own.

    Args:
        pipeline: from `config.load`.
        on_progress: called with (step, steps) as training goes on.

    Raises:
        DataError: history cannot be read, is too short, or has no column to learn.
        ConfigError: train.until or train.partitions leave nothing.
        StoreError: the output cannot be written.
        UserError: this environment has no Keras.
    """
    check_can_train()
    if pipeline.source.format == "images":
        from ae_plugin.jobs.pictures.train import train_pictures

        return train_pictures(pipeline, on_progress)
    started = time.perf_counter()
    registry = Registry(pipeline.output)
    history = learn_history(pipeline)
    most_numbers(history.encoder.features, pipeline.model.latent_dim)
    registry.folder.makedirs(MODELS)
    with held(checkpoint_folder(pipeline, history)) as checkpoint:
        job = fit_networks(pipeline, history, checkpoint, on_progress)
        scorer = _calibrate(pipeline, history, job)
        held_out = _judge_held_out(scorer, history)
        gate = run_gate(
            scorer, job.untrained, history, registry, seed=pipeline.model.seed, reported=job.validation_loss
        )
        extra = {DECODER: job.decoder_flat}
        if pipeline.model.latent_dim is not None:
            reducer, found = reduce(pipeline, history, checkpoint / "reducer", on_progress)
            extra |= {REDUCER: save_arrays(reducer.arrays()), REDUCTION: found.model_dump_json(indent=1).encode()}
        report = _report(pipeline, history, job, scorer, held_out.p_value, gate, started)
        files = pack(scorer.reference, _fit_guard(history, held_out), job.weights, job.flat, job.filler_flat) | extra
        files[REPORT] = report.model_dump_json(indent=1).encode()
        card = _card(pipeline, history, job, scorer, report.created_at)
        version = registry.register(files, card.model_dump(mode="json", exclude={"files"}))
        shutil.rmtree(checkpoint, ignore_errors=True)
    log.info("registered %s as challenger; gate %s", version, "passed" if gate.passed else "failed")
    return report.model_copy(update={"model_version": version})


def _calibrate(pipeline: Pipeline, history: History, job: Fitted) -> Scorer:
    """Learn what scoring needs beside the network, from rows it was not trained on."""
    encoded, split = history.encoded, history.split
    validation = encoded.take(split.validation)
    encoder = TableEncoder(_judge_texts(history.encoder, job.filler, validation))
    share = pipeline.train.contamination
    calibration = encoded.take(split.calibration)
    reference = fit_reference(
        encoder,
        job.network,
        job.filler,
        encoded.take(split.weighted),
        validation,
        calibration,
        contaminated=share != 0,
        anomalous_share=0.0 if share == "auto" else share,
    )
    log.info("calibrated on %d rows never trained on", len(reference.calibration))
    rules = learn_rules(history.sample.table, encoder.specs)
    rate = pipeline.score.alert_rate
    return Scorer(encoder, job.network, job.filler, reference, rate, share != 0, rules=rules)


def _judge_held_out(scorer: Scorer, history: History) -> RowScores:
    """Scores of the calibration rows, each measured as a new row is."""
    rows, near = history.encoded.take(history.split.calibration), scorer.reference.near
    return scorer.score(rows, own=near.last(len(rows)))[0]


def _fit_guard(history: History, held_out: RowScores) -> GuardReference:
    train, calibration = history.split.train, history.split.calibration
    _, days = np.unique(np.asarray(history.sample.partitions), return_inverse=True)
    bins, odd = history.encoded.bins[:, train], odd_cells(held_out.p_value, held_out.misfit)
    return GuardReference.fit(history.encoder, bins, days[train], odd, days[calibration])


def _card(pipeline: Pipeline, history: History, job: Fitted, scorer: Scorer, created_at: str) -> ModelCard:
    return ModelCard(
        pipeline=pipeline.name,
        kind=job.kind,
        seed=pipeline.model.seed,
        width=job.width,
        latent_dim=job.latent_dim,
        contaminated=scorer.contaminated,
        columns=scorer.encoder.specs,
        rules=scorer.rules,
        source_schema=pack_schema(history.sample.table.schema),
        keys=pipeline.source.keys,
        partitions={name: fingerprint(files) for name, files in history.groups.items()},
        views=list(scorer.reference.views),
        odd=scorer.reference.odd,
        versions={name: package_version(name) for name in ("keras", "tensorflow", "numpy", "pyarrow")},
        created_at=created_at,
    )


def _report(
    pipeline: Pipeline, history: History, job: Fitted, scorer: Scorer, held_out: Floats, gate: Gate, started: float
) -> TrainReport:
    return TrainReport(
        pipeline=pipeline.name,
        model_version="",
        rows_seen=history.sample.table.num_rows,
        rows_total=history.sample.rows_total,
        rows_train=len(history.split.train),
        rows_validation=len(history.split.validation),
        rows_calibration=len(held_out),
        partitions=list(history.groups),
        incidents=history.incidents,
        columns=history.columns,
        features=history.encoder.features,
        latent_dim=job.latent_dim,
        steps=job.steps,
        steps_budget=job.steps_budget,
        stopped_early=job.steps < job.steps_budget,
        seconds=time.perf_counter() - started,
        rows_per_second=job.rows_per_second,
        peak_memory_mb=peak_memory_mb(),
        validation_loss=job.validation_loss,
        loss_curve=job.curve,
        export_difference=job.export_difference,
        gate=gate,
        comparison=compare(scorer, history, job.latent_dim),
        feedback=history.feedback,
        notes=_notes(pipeline, history, scorer.reference, held_out),
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        airflow=airflow_task(),
    )


def checkpoint_folder(pipeline: Pipeline, history: History) -> Path:
    """Where a training of exactly this network on exactly these rows keeps its progress.

    The rows themselves are in the name: weights that saw a row must never be calibrated with it.
    """
    specs = [spec.model_dump(mode="json") for spec in history.encoder.specs]
    config = pipeline.model_dump(mode="json", include={"model", "train"}, exclude={"train": {"queue", "pool"}})
    about = [config, specs, __version__, {name: package_version(name) for name in ("keras", "tensorflow")}]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    split, encoded = history.split, history.encoded
    for array in (split.weighted, split.validation, split.calibration, encoded.x, encoded.state):
        digest.update(np.ascontiguousarray(array).data)
    return training_folder(pipeline, digest.hexdigest())


def _judge_texts(encoder: TableEncoder, network: Network, validation: Encoded) -> list[ColumnSpec]:
    """Mark the text columns whose hidden values the network recovers: only those may be imputed."""
    specs: list[ColumnSpec] = []
    recovered: list[str] = []
    for index, spec in enumerate(encoder.specs):
        if isinstance(spec, TextSpec):
            share = recovered_share(encoder, network, validation, index)
            recovered.append(f"{spec.name} {share:.0%}")
            spec = spec.model_copy(update={"imputable": share >= 0.5})
        specs.append(spec)
    if recovered:
        log.info("hidden words recovered: %s", ", ".join(some(recovered, NAMED)))
    return specs


def _notes(pipeline: Pipeline, history: History, reference: Reference, held_out: Floats) -> list[str]:
    notes = []
    calibration = len(reference.calibration)
    needed = rows_needed(pipeline.score.alert_rate)
    if calibration < needed:
        notes.append(
            f"the calibration set holds {calibration} rows, but an alarm at alert_rate {pipeline.score.alert_rate:g} "
            f"needs {needed}: no row can be flagged until there is more history or a higher alert_rate"
        )
    elif pipeline.score.alert_rate_of == "alarms":
        typical = history.sample.rows_total // max(len(history.groups), 1)
        notes += few_calibration_rows(pipeline.score.alert_rate, calibration, typical)
    used, held = history.sample.table.num_rows, history.sample.rows_total
    if history.sample.limits:
        why = ", then ".join(history.sample.limits)
        notes.append(f"history holds {held} rows; {used} were sampled, each partition by its share ({why})")
    notes += limits(history, reference, held_out, pipeline.score.alert_rate)
    notes += [*feedback_notes(history.feedback), *history.notes]
    passed = [f"{c.column} ({c.note})" for c in history.columns if c.role == "passed through"]
    if passed:
        notes.append("passed through untouched: " + ", ".join(passed))
    return notes
