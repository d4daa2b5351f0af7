"""Score: one partition in, its scores, cells and denoised rows out, all of them or none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.alarms import flag_limit
from ae_plugin.core.explain import Options, ScoredBatch, score_batch
from ae_plugin.core.features import partition_time
from ae_plugin.core.guard import Guard, schema_notes
from ae_plugin.core.values import take
from ae_plugin.engines.local import Reader, batch_rows
from ae_plugin.engines.threads import parallel, prefetch
from ae_plugin.errors import DataError
from ae_plugin.jobs.inputs import find_files, find_target
from ae_plugin.jobs.run import Run
from ae_plugin.jobs.versions import ModelVersion, load_version
from ae_plugin.schemas import GuardVerdict, RunRecord, cells_schema, scores_schema
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry

if TYPE_CHECKING:
    from ae_plugin.jobs.pictures.versions import PictureVersion


def score(
    pipeline: Pipeline,
    partition: str | None = None,
    *,
    source: str | None = None,
    output: str | None = None,
    version: ModelVersion | PictureVersion | None = None,
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
    version = version or champion_of(pipeline)
    kind = "csv" if source and source.lower().endswith((".csv", ".csv.gz")) else pipeline.source.format
    where, files = find_files(pipeline, partition, source, kind)
    target = find_target(pipeline, files, source, output)
    if not isinstance(version, ModelVersion):
        # Only now: what reads pictures is slow to import.
        from ae_plugin.jobs.pictures.score import PictureRun

        return PictureRun(pipeline, version, where, files, target, clock).execute()
    reader = Reader(files, kind, version.schema, batch_rows(version.scorer.encoder.features))
    run = _TableRun(pipeline, version, where, reader, target, clock)
    return run.execute()


def load_champion(pipeline: Pipeline) -> ModelVersion:
    """Load what a table's pipeline scores with.

    Raises:
        NoChampionError: there is none.
        StoreError: it was tampered with, or cannot be read.
    """
    registry = Registry(pipeline.output)
    return load_version(registry, registry.champion(), pipeline.score.alert_rate, pipeline.score.method)


def champion_of(pipeline: Pipeline) -> ModelVersion | PictureVersion:
    """Load what a pipeline scores with, whether tables or pictures; raises as `load_champion` does."""
    if pipeline.source.format != "images":
        return load_champion(pipeline)
    from ae_plugin.jobs.pictures.versions import load_picture_version

    registry = Registry(pipeline.output)
    return load_picture_version(registry, registry.champion(), pipeline.score.alert_rate)


class _TableRun(Run):
    """One partition of a table being scored: streams it, then commits everything at once."""

    datasets = "scores", "cells", "denoised"

    def __init__(
        self, pipeline: Pipeline, version: ModelVersion, partition: str, reader: Reader, folder: Folder, clock: float
    ) -> None:
        super().__init__(pipeline, partition, reader.files, folder, clock)
        self.version, self.reader, scorer = version, reader, version.scorer
        self.model_version, self.method = version.version, scorer.method
        self.calibration_rows, self.schema = scorer.calibration_rows, reader.schema
        learned = {spec.name: spec.type for spec in version.card.columns}
        for name in [*learned, *version.card.keys]:
            if name not in reader.schema.names:
                raise DataError(
                    f"column {name!r} is missing, but the model learned it",
                    where=reader.files[0].uri,
                    mend="Bring it back, or exclude it and train anew",
                )
        notes = schema_notes(reader.schema, learned, set(version.schema.names))
        self.guard = Guard(scorer.encoder, version.guard, notes, skip=self._unjudged())

    def _verdict(self) -> GuardVerdict:
        return self.guard.verdict()

    def _source(self) -> Iterator[pa.RecordBatch]:
        return self.reader.batches()

    def _notes(self) -> list[str]:
        unjudged = [
            f"{name} is not judged: its age counts from a partition's date, and there is none"
            for name in self._unjudged()
        ]
        return [*super()._notes(), *unjudged]

    def _stream(self) -> None:
        keys = [self.reader.schema.field(name) for name in self.version.card.keys]
        scores_type, cells_type = scores_schema(keys), cells_schema(keys)
        schemas = {"scores": scores_type, "cells": cells_type, "denoised": self.schema}
        with self.writers(schemas) as writers:
            for batch in prefetch(self._scored()):
                writers["scores"].write(self._scores(batch, scores_type))
                writers["cells"].write(self._cells(batch, cells_type))
                writers["denoised"].write(batch.denoised)
                self._count(batch)

    def _count(self, batch: ScoredBatch) -> None:
        self.tally.rows += batch.source.num_rows
        self.tally.anomalies += int(batch.rows.is_anomaly.sum())
        self.tally.flagged += batch.cells.num_rows
        self.tally.repaired += batch.repaired
        self.tally.imputed += batch.imputed

    def _scored(self) -> Iterator[ScoredBatch]:
        scorer, chosen, at = self.version.scorer, self.pipeline.score, partition_time(self.partition)
        first_look = parallel(lambda batch: scorer.p_values(batch, at), prefetch(self.reader.batches()))
        try:
            self.flagged_up_to = flag_limit(
                chosen.alert_rate_of, chosen.alert_rate, scorer.calibration_rows, first_look
            )
            options = Options(chosen.denoise == "full", at, limit=self.flagged_up_to, every_row=chosen.cells == "all")
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

    def _unjudged(self) -> list[str]:
        if partition_time(self.partition) is not None:
            return []
        return [spec.name for spec in self.version.card.columns if spec.kind == "time" and spec.relative]
