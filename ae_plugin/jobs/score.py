"""Score: one partition in, its scores, cells and denoised rows out, all of them or none."""

from __future__ import annotations

import hashlib
import logging
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline, Source
from ae_plugin.core.alarms import few_calibration_rows, flag_limit
from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.explain import Options, ScoredBatch, score_batch
from ae_plugin.core.features import partition_time
from ae_plugin.core.guard import Guard, schema_notes
from ae_plugin.core.values import take
from ae_plugin.engines.local import Reader, Writer, batch_rows, parallel, prefetch
from ae_plugin.errors import ConfigError, DataError, UnfamiliarError
from ae_plugin.jobs.machine import peak_memory_mb
from ae_plugin.jobs.versions import ModelVersion, load_version
from ae_plugin.places import check_apart, check_uri
from ae_plugin.schemas import GuardVerdict, RunRecord, cells_schema, scores_schema
from ae_plugin.store.commit import Commit, recover
from ae_plugin.store.files import (
    Folder,
    SourceFile,
    fingerprint,
    list_source,
    open_fs,
    partition_id,
    partitions_of,
)
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import LATEST, RUNS, slug_of
from ae_plugin.store.staging import sweep

log = logging.getLogger(__name__)
DATASETS = ("scores", "cells", "denoised", "quarantine")


def score(
    pipeline: Pipeline,
    partition: str | None = None,
    *,
    source: str | None = None,
    output: str | None = None,
    version: ModelVersion | None = None,
) -> RunRecord:
    """Score one partition with the champion.

    Args:
        pipeline: from `config.load`.
        partition: its hive path (`date=2013-01-29`) or value; absent for a source without partitions.
        source: a file or folder to score instead of the pipeline's source.
        output: where to write instead of the pipeline's output; the model still comes from there.
        version: what to score with, when it is loaded already; else the champion.

    Returns:
        The run's record, as stored under `_runs/`.

    Raises:
        UnfamiliarError: the guard refused the partition; with `on_unfamiliar: quarantine` its rows are in quarantine/.
        NoChampionError: there is nothing to score with.
        UserError: the source, the output or the model is not what it should be.
    """
    clock = time.perf_counter()
    version = version or load_champion(pipeline)
    kind = "csv" if source and source.lower().endswith((".csv", ".csv.gz")) else pipeline.source.format
    where, files = _files(pipeline, partition, source, kind)
    target = _target(pipeline, files, source, output)
    reader = Reader(files, kind, version.schema, batch_rows(version.scorer.encoder.features))
    run = _Run(pipeline, version, where, reader, target, clock)
    return run.execute()


def load_champion(pipeline: Pipeline) -> ModelVersion:
    """Load what a pipeline scores with.

    Raises:
        NoChampionError: there is none.
        StoreError: it was tampered with, or cannot be read.
    """
    registry = Registry(pipeline.output)
    return load_version(registry, registry.champion(), pipeline.score.alert_rate, pipeline.score.method)


def _files(
    pipeline: Pipeline, partition: str | None, source: str | None, kind: Literal["parquet", "csv"]
) -> tuple[str, list[SourceFile]]:
    if source is not None:
        try:
            check_uri(source)
        except ValueError as error:
            raise ConfigError(str(error), where="--input") from error
        keys = pipeline.source.partition_by
        where = partition_id(partition, keys) if partition is not None else ""
        return where, list_source(Source(uri=source, format=kind))
    groups = partitions_of(list_source(pipeline.source))
    if partition is None:
        if pipeline.source.partition_by:
            raise ConfigError("no partition given", where="--partition", mend=f"The newest is {list(groups)[-1]}")
        return "", groups[""]
    where = partition_id(partition, pipeline.source.partition_by)
    if where not in groups:
        raise ConfigError(
            f"no partition {where}", where=pipeline.source.uri, mend=f"The newest is {list(groups)[-1] or 'the whole'}"
        )
    return where, groups[where]


def _target(pipeline: Pipeline, files: list[SourceFile], source: str | None, output: str | None) -> Folder:
    """The folder to write to, which lies apart from all that is read: the source, the input, and where links lead."""
    where = "output"
    if output is not None:
        where = "--output"
        try:
            check_uri(output)
        except ValueError as error:
            raise ConfigError(str(error), where=where) from error
    elif source is not None:
        output = f"{pipeline.output}/inputs/{_input_name(source)}"
    target = Folder(output if output is not None else pipeline.output)
    for read in {pipeline.source.uri, source or pipeline.source.uri, *(file.uri for file in files)}:
        check_apart(read, target.uri, where=where)
    return target


def _input_name(source: str) -> str:
    """A folder's name for an input of one's own: readable, and unlike that of `part-0.parquet` elsewhere."""
    fs, path = open_fs(source)
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", "/".join(path.strip("/").split("/")[-2:]))[-100:].strip("_.")
    return f"{plain}-{hashlib.sha256(str(fs.unstrip_protocol(path)).encode()).hexdigest()[:8]}"


@dataclass
class _Tally:
    rows: int = 0
    anomalies: int = 0
    flagged: int = 0
    repaired: int = 0
    imputed: int = 0

    def add(self, batch: ScoredBatch) -> None:
        self.rows += batch.source.num_rows
        self.anomalies += int(batch.rows.is_anomaly.sum())
        self.flagged += batch.cells.num_rows
        self.repaired += batch.repaired
        self.imputed += batch.imputed


@dataclass
class _Run:
    """One partition being scored: streams it, then commits everything at once."""

    pipeline: Pipeline
    version: ModelVersion
    partition: str
    reader: Reader
    folder: Folder
    clock: float
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    tally: _Tally = field(default_factory=_Tally)
    written: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        learned = {spec.name: spec.type for spec in self.version.card.columns}
        for name in [*learned, *self.version.card.keys]:
            if name not in self.reader.schema.names:
                raise DataError(
                    f"column {name!r} is missing, but the model learned it",
                    where=self.reader.files[0].uri,
                    mend="Bring it back, or exclude it and train anew",
                )
        notes = schema_notes(self.reader.schema, learned, set(self.version.schema.names))
        self.limit: float | None = None
        self.guard = Guard(self.version.scorer.encoder, self.version.guard, notes, skip=self._unjudged())
        self.commit = Commit(self.folder, slug_of(self.partition))

    def execute(self) -> RunRecord:
        fresh = self.folder.missing()
        self.folder.makedirs()
        recover(self.folder)
        sweep(self.folder)
        log.info("scoring %s of %s with %s", self.partition or "the source", self.pipeline.name, self.version.version)
        try:
            self._stream()
            verdict = self.guard.verdict()
            refused = verdict.verdict == "unfamiliar" and self.pipeline.score.on_unfamiliar != "score"
            record = self._refuse(verdict) if refused else self._accept(verdict)
        except BaseException:
            self.commit.abandon()
            self.folder.remove_empty(fresh)
            raise
        self._story(record)
        if refused:
            raise self._refusal(record)
        return record

    def _stream(self) -> None:
        keys = [self.reader.schema.field(name) for name in self.version.card.keys]
        scores_type, cells_type = scores_schema(keys), cells_schema(keys)
        writers = {
            "scores": Writer(self.folder, self.commit.staged(self._path("scores")), scores_type),
            "cells": Writer(self.folder, self.commit.staged(self._path("cells")), cells_type),
            "denoised": Writer(self.folder, self.commit.staged(self._path("denoised")), self.reader.schema),
        }
        try:
            for batch in prefetch(self._scored()):
                writers["scores"].write(self._scores(batch, scores_type))
                writers["cells"].write(self._cells(batch, cells_type))
                writers["denoised"].write(batch.denoised)
                self.tally.add(batch)
            for name, writer in writers.items():
                self.written[self._path(name)] = writer.close()
        except BaseException:
            for writer in writers.values():
                writer.abort()
            raise

    def _scored(self) -> Iterator[ScoredBatch]:
        scorer, chosen, at = self.version.scorer, self.pipeline.score, partition_time(self.partition)
        first_look = parallel(lambda batch: scorer.p_values(batch, at), prefetch(self.reader.batches()))
        try:
            self.limit = flag_limit(chosen.alert_rate_of, chosen.alert_rate, scorer.calibration_rows, first_look)
            options = Options(chosen.denoise == "full", at, limit=self.limit, every_row=chosen.cells == "all")
            for batch in parallel(lambda batch: score_batch(batch, scorer, options), prefetch(self.reader.batches())):
                self.guard.watch(batch.bin_counts, batch.rows.p_value, batch.rows.misfit)
                yield batch
        except DataError as error:
            raise error.placed(self.reader.files[0].uri) from error

    def _scores(self, batch: ScoredBatch, schema: pa.Schema) -> pa.RecordBatch:
        n = batch.source.num_rows
        first = self.tally.rows
        columns = [
            *(batch.source.column(batch.source.schema.get_field_index(name)) for name in self.version.card.keys),
            pa.array(np.arange(first, first + n, dtype=np.int64)),
            pa.array(batch.rows.anomaly_score),
            pa.array(batch.rows.p_value),
            pa.array(batch.rows.is_anomaly),
            batch.top_column,
            pa.nulls(n, pa.string()),
            pa.repeat(self.version.version, n),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _cells(self, batch: ScoredBatch, schema: pa.Schema) -> pa.Table:
        found = batch.cells
        rows = found.column("row").combine_chunks()
        keys = [
            take(batch.source.column(batch.source.schema.get_field_index(name)), rows)
            for name in self.version.card.keys
        ]
        shifted = pa.chunked_array([pa.array(rows.to_numpy() + self.tally.rows, pa.int64())])
        rest = [found.column(name) for name in ("column", "observed", "expected", "cell_error", "p_value")]
        return pa.Table.from_arrays([*keys, shifted, *rest], schema=schema)

    def _path(self, dataset: str) -> str:
        return "/".join(part for part in (dataset, self.partition, "part-0.parquet") if part)

    def _accept(self, verdict: GuardVerdict) -> RunRecord:
        return self._commit(verdict, "scored", self.written, [self._path("quarantine")])

    def _refuse(self, verdict: GuardVerdict) -> RunRecord:
        """Write nothing but the refusal, or the source rows into quarantine; what was scored before is withdrawn."""
        self.commit.abandon()
        self.commit = Commit(self.folder, slug_of(self.partition))
        if self.pipeline.score.on_unfamiliar == "fail":
            return self._commit(verdict, "refused", {}, [])
        target = self._path("quarantine")
        staged = self.commit.staged(target)
        writer = Writer(self.folder, staged, self.reader.schema)
        try:
            for batch in prefetch(self.reader.batches()):
                writer.write(batch)
            digest = writer.close()
        except BaseException:
            writer.abort()
            raise
        withdrawn = [self._path(name) for name in ("scores", "cells", "denoised")]
        return self._commit(verdict, "quarantined", {target: digest}, withdrawn)

    def _commit(self, verdict: GuardVerdict, outcome: str, outputs: dict[str, str], removals: list[str]) -> RunRecord:
        slug, seconds = slug_of(self.partition), time.perf_counter() - self.clock
        tally, digest = self.tally, fingerprint(self.reader.files)
        counted = outcome == "scored"
        record = RunRecord(
            run_id=f"{self.started:%Y%m%dT%H%M%S}-{slug}-{uuid.uuid4().hex[:6]}",
            pipeline=self.pipeline.name,
            model_version=self.version.version,
            method=self.version.scorer.method,
            partition=self.partition,
            outcome=outcome,
            rows=tally.rows,
            anomalies=tally.anomalies,
            alert_rate=self.pipeline.score.alert_rate,
            alert_rate_of=self.pipeline.score.alert_rate_of,
            flagged_up_to=self.limit,
            observed_alert_rate=round(tally.anomalies / tally.rows, 6) if tally.rows else None,
            unreadable_rows=0,
            cells_flagged=tally.flagged,
            cells_repaired=tally.repaired if counted else 0,
            cells_imputed=tally.imputed if counted else 0,
            guard=verdict,
            notes=self._notes(),
            seconds=round(seconds, 3),
            rows_per_second=round(tally.rows / max(seconds, 1e-9), 1),
            peak_memory_mb=peak_memory_mb(),
            started_at=self.started.isoformat(timespec="seconds"),
            input_fingerprint=digest,
            outputs=outputs,
        )
        text = record.model_dump_json(indent=1).encode()
        for name in (f"{RUNS}/{record.run_id}.json", f"{LATEST}/{slug}.json"):
            self.folder.write(self.commit.staged(name), text)
        self.commit.removals = removals
        self.commit.apply()
        return record

    def _notes(self) -> list[str]:
        notes = []
        have, needed = self.version.scorer.calibration_rows, rows_needed(self.pipeline.score.alert_rate)
        if have < needed:
            notes.append(
                f"no row can be flagged: {have} calibration rows, but alert_rate "
                f"{self.pipeline.score.alert_rate:g} needs {needed}"
            )
        elif self.pipeline.score.alert_rate_of == "alarms":
            notes += few_calibration_rows(self.pipeline.score.alert_rate, have, self.tally.rows)
        for name in self._unjudged():
            notes.append(f"{name} is not judged: its age counts from a partition's date, and there is none")
        if not self.tally.rows:
            notes.append("the partition holds no rows")
        return notes

    def _unjudged(self) -> list[str]:
        if partition_time(self.partition) is not None:
            return []
        return [spec.name for spec in self.version.card.columns if spec.kind == "time" and spec.relative]

    def _story(self, record: RunRecord) -> None:
        promised = "of the normal rows" if record.alert_rate_of == "rows" else "of these are normal"
        share = (
            f" ({record.observed_alert_rate:.2%}, at most {record.alert_rate:.2%} {promised})" if record.rows else ""
        )
        log.info("%d rows, %d anomalies%s", record.rows, record.anomalies, share)
        log.info("%d cells repaired, %d nulls filled", record.cells_repaired, record.cells_imputed)
        log.info("guard: %s%s", record.guard.verdict, "".join(f"; {reason}" for reason in record.guard.reasons[:5]))
        for note in record.notes:
            log.warning("%s", note)
        log.info("%.2f s, %.0f rows/s, peak %.0f MB", record.seconds, record.rows_per_second, record.peak_memory_mb)

    def _refusal(self, record: RunRecord) -> UnfamiliarError:
        kept = next(iter(record.outputs), None)
        mend = f"Its rows are in {self.folder.uri}/{kept}" if kept else "What was scored before is left as it is"
        why = "; ".join(record.guard.reasons[:3]) or "most columns are far from training"
        name = self.partition or "the source"
        return UnfamiliarError(
            f"unfamiliar data, refused ({why})", where=name, mend=f"{mend}; look at it, or train anew"
        )
