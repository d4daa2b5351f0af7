"""Train: sample history, learn columns, train the network, calibrate, run the gate, register a challenger."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version as package_version
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin import __version__
from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.columns import ColumnSpec, TextSpec
from ae_plugin.core.features import Encoded, TableEncoder, partition_time
from ae_plugin.core.fit import learn_columns
from ae_plugin.core.guard import GuardReference
from ae_plugin.core.reference import fit_reference
from ae_plugin.core.scoring import Network, Scorer
from ae_plugin.engines.local import Sample, sample
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.gate import run_gate
from ae_plugin.jobs.machine import peak_memory_mb
from ae_plugin.jobs.versions import REPORT, ModelCard, pack, pack_schema
from ae_plugin.schemas import ColumnNote, TrainReport
from ae_plugin.store.files import Folder, SourceFile, fingerprint, list_source, partition_id, partitions_of
from ae_plugin.store.registry import MODELS, Registry

log = logging.getLogger(__name__)
MIN_ROWS = 50
CELL_BUDGET = 64_000_000
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Row indices: training, validation (early stopping), calibration (p-values); no row is in two of them."""

    train: Indices
    validation: Indices
    calibration: Indices


def train(pipeline: Pipeline, *, on_progress: Callable[[int, int], None] | None = None) -> TrainReport:
    """Train a new version of a pipeline's model and register it as challenger; promotion is a job of its own.

    Args:
        pipeline: from `config.load`.
        on_progress: called with (step, steps) as training goes on.

    Raises:
        DataError: history cannot be read, is too short, or has no column to learn.
        ConfigError: train.until or train.partitions leave nothing.
        StoreError: the output cannot be written.
    """
    started = time.perf_counter()
    registry = Registry(pipeline.output)
    groups = training_partitions(pipeline)
    history = sample(groups, pipeline.source.format, pipeline.train.max_rows, pipeline.model.seed)
    if history.table.num_rows < MIN_ROWS:
        raise DataError(
            f"history holds {history.table.num_rows} rows; at least {MIN_ROWS} are needed to train and calibrate",
            where=pipeline.source.uri,
            mend="Bring more rows, or raise train.partitions",
        )
    log.info("history: %d partitions, %d rows, %d used", len(groups), history.rows_total, history.table.num_rows)
    split = split_rows(history.table.num_rows, pipeline.score.alert_rate, pipeline.model.seed)
    specs, columns = _learn(pipeline, history, split)
    cap = max(2_000, CELL_BUDGET // TableEncoder(specs).features)
    if cap < history.table.num_rows:
        log.info("%d features a row: %d rows fit the memory budget", TableEncoder(specs).features, cap)
        history = history.thinned(cap, pipeline.model.seed)
        split = split_rows(cap, pipeline.score.alert_rate, pipeline.model.seed)
        specs, columns = _learn(pipeline, history, split)
    registry.folder.makedirs(MODELS)
    encoder = TableEncoder(specs)
    encoded = encode_sample(encoder, history)
    job = _fit_network(pipeline, encoder, encoded, split, groups, on_progress)
    encoder = TableEncoder(_judge_texts(encoder, job.network, encoded.take(split.validation)))
    contaminated = pipeline.train.contamination != 0
    reference = fit_reference(
        encoder,
        job.network,
        encoded.take(split.train),
        encoded.take(split.validation),
        encoded.take(split.calibration),
        contaminated=contaminated,
    )
    log.info("calibrated on %d rows never trained on", len(reference.calibration))
    scorer = Scorer(encoder, job.network, reference, pipeline.score.alert_rate, contaminated)
    gate = run_gate(scorer, job.untrained, encoded, split.train, split.validation, history, split.calibration, registry)
    card = ModelCard(
        pipeline=pipeline.name,
        kind="dense",
        seed=pipeline.model.seed,
        width=job.width,
        latent_dim=job.latent_dim,
        contaminated=contaminated,
        columns=encoder.specs,
        source_schema=pack_schema(history.table.schema),
        keys=pipeline.source.keys,
        partitions={name: fingerprint(files) for name, files in groups.items()},
        views=list(reference.views),
        odd=reference.odd,
        versions={name: package_version(name) for name in ("keras", "tensorflow", "numpy", "pyarrow")},
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    _, days = np.unique(np.asarray(history.partitions), return_inverse=True)
    guard = GuardReference.fit(encoder, encoded.bins[:, split.train], days[split.train])
    report = TrainReport(
        pipeline=pipeline.name,
        model_version="",
        rows_seen=history.table.num_rows,
        rows_total=history.rows_total,
        rows_train=len(split.train),
        rows_validation=len(split.validation),
        rows_calibration=len(reference.calibration),
        partitions=list(groups),
        columns=columns,
        features=encoder.features,
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
        notes=_notes(pipeline, history, len(reference.calibration), columns),
        created_at=card.created_at,
    )
    files = pack(reference, guard, job.weights, job.flat)
    files[REPORT] = report.model_dump_json(indent=1).encode()
    version = registry.register(files, card.model_dump(mode="json", exclude={"files"}))
    shutil.rmtree(job.checkpoint, ignore_errors=True)
    log.info("registered %s as challenger; gate %s: %s", version, "passed" if gate.passed else "failed", gate.reasons)
    return report.model_copy(update={"model_version": version})


def training_partitions(pipeline: Pipeline) -> dict[str, list[SourceFile]]:
    """The partitions to train on: up to `train.until`, the newest `train.partitions` of them."""
    groups = partitions_of(list_source(pipeline.source))
    names = list(groups)
    if pipeline.train.until is not None:
        last = partition_id(pipeline.train.until, pipeline.source.partition_by)
        names = [name for name in names if name <= last]
    if pipeline.train.partitions is not None:
        names = names[-pipeline.train.partitions :]
    if not names:
        raise ConfigError(
            f"no partition up to train.until {pipeline.train.until!r}",
            where=pipeline.source.uri,
            mend=f"The oldest is {next(iter(groups))}",
        )
    return {name: groups[name] for name in names}


def split_rows(rows: int, alert_rate: float, seed: int) -> Split:
    """Deal rows at random: a fifth to calibration (more when alarms need it, at most 40%), a tenth to validation."""
    order = np.random.default_rng([seed, 11]).permutation(rows)
    calibration = min(max(rows // 5, min(2 * rows_needed(alert_rate), rows * 2 // 5)), 20_000)
    validation = min(max(rows // 10, 5), 10_000)
    cut = calibration + validation
    return Split(np.sort(order[cut:]), np.sort(order[calibration:cut]), np.sort(order[:calibration]))


def _learn(pipeline: Pipeline, history: Sample, split: Split) -> tuple[list[ColumnSpec], list[ColumnNote]]:
    source = pipeline.source
    for name in [*source.keys, *source.exclude]:
        if name not in history.table.schema.names:
            raise ConfigError(
                f"no column {name!r} in the source", where="source.keys, source.exclude", mend="Check the spelling"
            )
    specs, columns = learn_columns(
        history.table.take(pa.array(split.train)),
        [history.partitions[i] for i in split.train],
        keys=source.keys,
        exclude=source.exclude,
        partition_by=source.partition_by,
    )
    if not specs:
        raise DataError(
            "no column can be learned: all are null, constant, keys, excluded, or of types that are passed through",
            where=source.uri,
            mend="Check source.keys and source.exclude",
        )
    for note in columns:
        log.info("column %s (%s): %s%s", note.column, note.type, note.role, f", {note.note}" if note.note else "")
    return specs, columns


def encode_sample(encoder: TableEncoder, history: Sample) -> Encoded:
    """Encode the sample partition by partition, since ages may count from a partition's date."""
    names = np.asarray(history.partitions)
    edges = np.flatnonzero(np.r_[True, names[1:] != names[:-1], True])
    parts = [encoder.encode(history.table.slice(a, b - a), partition_time(str(names[a]))) for a, b in pairwise(edges)]
    return Encoded.concat(parts)


@dataclass(frozen=True)
class _Fitted:
    network: Network
    untrained: Network
    weights: list[npt.NDArray[np.float32]]
    flat: bytes
    export_difference: float
    width: int
    latent_dim: int
    steps: int
    steps_budget: int
    rows_per_second: float
    validation_loss: float
    curve: list[tuple[int, float, float]]
    checkpoint: Path


def _fit_network(
    pipeline: Pipeline,
    encoder: TableEncoder,
    encoded: Encoded,
    split: Split,
    groups: dict[str, list[SourceFile]],
    on_progress: Callable[[int, int], None] | None,
) -> _Fitted:
    # The one place that loads TensorFlow, and only when a training is really due.
    from ae_plugin.models import training
    from ae_plugin.models.catalog import size_of
    from ae_plugin.models.export import export
    from ae_plugin.models.network import KerasNetwork, build_pair
    from ae_plugin.runtime.litert import LiteNetwork

    width, latent = size_of(encoder.features)
    model, untrained = build_pair(
        pipeline.model.kind, encoder.features, len(encoder.specs), width, latent, pipeline.model.seed
    )
    rows = training.Rows(encoder, encoded.take(split.train))
    validation = training.Rows(encoder, encoded.take(split.validation))
    budget = training.Budget.auto(len(rows))
    if pipeline.train.steps != "auto":
        budget = training.Budget(int(pipeline.train.steps), budget.rows)
    checkpoint = checkpoint_folder(pipeline, groups)
    log.info(
        "training %d features, %d rows, %d steps of %d rows", encoder.features, len(rows), budget.steps, budget.rows
    )
    done = training.train(model, rows, validation, budget, pipeline.model.seed, checkpoint, on_progress)
    some = np.arange(min(len(validation), 1000))
    flat, gap = export(model, encoder.hide(validation.x[some], validation.visible[some]), validation.visible[some])
    network = LiteNetwork(flat, features=encoder.features, columns=len(encoder.specs), latent_dim=latent, threads=2)
    return _Fitted(
        network=network,
        untrained=KerasNetwork(untrained),
        weights=model.get_weights(),
        flat=flat,
        export_difference=gap,
        width=width,
        latent_dim=latent,
        steps=done.steps,
        steps_budget=budget.steps,
        rows_per_second=done.rows_per_second,
        validation_loss=done.validation_loss,
        curve=done.curve,
        checkpoint=checkpoint,
    )


def checkpoint_folder(pipeline: Pipeline, groups: dict[str, list[SourceFile]]) -> Path:
    """Where a training of exactly this config on exactly these files keeps its progress."""
    listing = {name: fingerprint(files) for name, files in groups.items()}
    config = pipeline.model_dump(mode="json", include={"source", "model", "train"})
    about = [config, listing, __version__, {name: package_version(name) for name in ("keras", "tensorflow")}]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = Folder(pipeline.output)
    base = Path(folder.path) / MODELS if folder.local else Path(tempfile.gettempdir()) / "ae_plugin"
    return base / f".training-{digest}"


def _judge_texts(encoder: TableEncoder, network: Network, validation: Encoded) -> list[ColumnSpec]:
    """Mark the text columns whose hidden values the network recovers: only those may be imputed."""
    from ae_plugin.core.cells import recovered_share

    specs: list[ColumnSpec] = []
    for index, spec in enumerate(encoder.specs):
        if isinstance(spec, TextSpec):
            share = recovered_share(encoder, network, validation, index)
            log.info("column %s: %.0f%% of hidden values recovered", spec.name, 100 * share)
            spec = spec.model_copy(update={"imputable": share >= 0.5})
        specs.append(spec)
    return specs


def _notes(pipeline: Pipeline, history: Sample, calibration: int, columns: list[ColumnNote]) -> list[str]:
    notes = []
    needed = rows_needed(pipeline.score.alert_rate)
    if calibration < needed:
        notes.append(
            f"the calibration set holds {calibration} rows, but an alarm at alert_rate {pipeline.score.alert_rate:g} "
            f"needs {needed}: no row can be flagged until there is more history or a higher alert_rate"
        )
    if history.table.num_rows < history.rows_total:
        notes.append(
            f"history holds {history.rows_total} rows; {history.table.num_rows} were sampled by row group "
            f"(train.max_rows {pipeline.train.max_rows})"
        )
    passed = [f"{c.column} ({c.note})" for c in columns if c.role == "passed through"]
    if passed:
        notes.append("passed through untouched: " + ", ".join(passed))
    return notes
