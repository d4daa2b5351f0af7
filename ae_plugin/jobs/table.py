"""A run of one partition of a table: shard by shard, each a stream of record batches into a file of each dataset."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.alarms import flag_limit
from ae_plugin.core.drift import count_p_values
from ae_plugin.core.explain import Options, ScoredBatch, score_batch
from ae_plugin.core.features import partition_time
from ae_plugin.core.guard import Guard, schema_notes
from ae_plugin.core.histogram import count_scores
from ae_plugin.core.plane import Plane
from ae_plugin.core.scoring import embed
from ae_plugin.core.shares import column_profiles
from ae_plugin.core.values import take
from ae_plugin.engines.cuts import WHOLE, Shard, shards_of
from ae_plugin.engines.local import Reader, batch_rows
from ae_plugin.engines.threads import parallel, prefetch
from ae_plugin.errors import DataError
from ae_plugin.jobs.run import Run
from ae_plugin.schemas import ColumnProfile, GuardVerdict, cells_schema, scores_schema
from ae_plugin.store.files import Folder, SourceFile
from ae_plugin.versions import ModelVersion


def cut(pipeline: Pipeline, files: list[SourceFile], kind: str) -> list[Shard]:
    """The shards of a partition's files: of Parquet that is scored row by row; all else is one.

    With `alert_rate_of: alarms` which rows are flagged hangs on all rows of a partition.
    """
    if kind != "parquet" or pipeline.score.alert_rate_of == "alarms":
        return [WHOLE]
    return shards_of(files, pipeline.score.shard_rows)


class TableRun(Run):
    """One partition of a table being scored: streams it, then commits everything at once."""

    datasets = "scores", "cells", "denoised"

    def __init__(
        self,
        pipeline: Pipeline,
        version: ModelVersion,
        partition: str,
        files: list[SourceFile],
        kind: str,
        folder: Folder,
        clock: float,
    ) -> None:
        super().__init__(pipeline, partition, files, folder, clock)
        self.version, scorer = version, version.scorer
        self.reader = Reader(files, kind, version.schema, batch_rows(scorer.encoder.features))
        self.shards = cut(pipeline, files, kind)
        self.model_version, self.method = version.version, scorer.method
        self.calibration, self.schema = scorer.calibration, self.reader.schema
        learned = {spec.name: spec.type for spec in version.card.columns}
        version.check_columns(self.schema.names, files[0].uri)
        notes = schema_notes(self.schema, learned, set(version.schema.names))
        self.guard = Guard(scorer.encoder, version.guard, notes, skip=version.unjudged(partition))
        self._plane = Plane.of(scorer.reference.near, scorer.encoder.features)
        keys = [self.schema.field(name) for name in version.card.keys]
        self._schemas = {"scores": scores_schema(keys), "cells": cells_schema(keys), "denoised": self.schema}

    def _verdict(self) -> GuardVerdict:
        return self.guard.verdict()

    def _source(self) -> Iterator[pa.RecordBatch]:
        return self.reader.batches()

    def _notes(self) -> list[str]:
        unjudged = [
            f"{name} is not judged: its age counts from a partition's date, and there is none"
            for name in self.version.unjudged(self.partition)
        ]
        return [*super()._notes(), *unjudged]

    def _stream(self) -> None:
        for shard in self.shards:
            self.score_shard(shard)

    def score_shard(self, shard: Shard) -> None:
        """Score a shard into staged files of its own, counting what goes by."""
        self._row = shard.first_row
        with self.writers(self._schemas, shard.number) as writers:
            for batch in prefetch(self._scored(shard)):
                writers["scores"].write(self._scores(batch))
                writers["cells"].write(self._cells(batch))
                writers["denoised"].write(batch.denoised)
                self._count(batch)

    def _count(self, batch: ScoredBatch) -> None:
        self._map(batch)
        self._row += batch.source.num_rows
        self.tally.rows += batch.source.num_rows
        self.tally.anomalies += int(batch.rows.is_anomaly.sum())
        self.tally.flagged += batch.cells.num_rows
        self.tally.repaired += batch.repaired
        self.tally.imputed += batch.imputed
        self.tally.p_values += count_p_values(batch.rows.p_value, self.calibration_rows)
        self.tally.scores += count_scores(batch.rows.anomaly_score, self.unit_of_scores)
        self.tally.top_columns.update(batch.top_column.drop_null().to_pylist())

    def _map(self, batch: ScoredBatch) -> None:
        """Keep some rows, and where their latent codes lie."""
        scorer, rows = self.version.scorer, np.arange(self._row, self._row + batch.source.num_rows)
        kept = self.tally.sketch.wanted(rows, batch.rows)
        if len(kept):
            names, chosen = scorer.encoder.names, pa.array(kept)
            columns = [take(batch.source.column(batch.source.schema.get_field_index(name)), chosen) for name in names]
            encoded = scorer.encode(pa.RecordBatch.from_arrays(columns, names), partition_time(self.partition))
            places = self._plane.place(embed(scorer.network, *scorer.encoder.inputs(encoded)))
            self.tally.sketch.add(rows[kept], places, batch.rows.take(kept))

    def _columns(self) -> list[ColumnProfile]:
        return column_profiles(self.guard, [one.column for one in self.guard.verdict().columns])

    def _read(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        if shard.cuts is None:
            return self.reader.batches()
        return self.reader.batches(parts=[(part.file, range(part.start, part.stop)) for part in shard.cuts])

    def _scored(self, shard: Shard) -> Iterator[ScoredBatch]:
        scorer, chosen, at = self.version.scorer, self.pipeline.score, partition_time(self.partition)
        first_look = parallel(lambda batch: scorer.p_values(batch, at), prefetch(self._read(shard)))
        try:
            self.flagged_up_to = flag_limit(
                chosen.alert_rate_of, chosen.alert_rate, scorer.calibration_rows, first_look
            )
            options = Options(chosen.denoise == "full", at, limit=self.flagged_up_to, every_row=chosen.cells == "all")
            for batch in parallel(lambda batch: score_batch(batch, scorer, options), prefetch(self._read(shard))):
                self.guard.watch(batch.bin_counts, batch.rows.p_value, batch.rows.misfit)
                yield batch
        except DataError as error:
            raise error.placed(self.reader.files[0].uri) from error

    def _scores(self, batch: ScoredBatch) -> pa.RecordBatch:
        n = batch.source.num_rows
        columns = [
            *self._keys(batch),
            pa.array(np.arange(self._row, self._row + n, dtype=np.int64)),
            pa.array(batch.rows.anomaly_score),
            pa.array(batch.rows.p_value),
            pa.array(batch.rows.is_anomaly),
            batch.top_column,
            pa.nulls(n, pa.string()),
            pa.repeat(self.version.version, n),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schemas["scores"])

    def _cells(self, batch: ScoredBatch) -> pa.Table:
        found = batch.cells
        rows = found.column("row").combine_chunks()
        keys = [take(key, rows) for key in self._keys(batch)]
        shifted = pa.chunked_array([pa.array(rows.to_numpy() + self._row, pa.int64())])
        rest = [found.column(name) for name in ("column", "observed", "expected", "cell_error", "p_value")]
        return pa.Table.from_arrays([*keys, shifted, *rest], schema=self._schemas["cells"])

    def _keys(self, batch: ScoredBatch) -> list[pa.Array]:
        return [batch.source.column(batch.source.schema.get_field_index(name)) for name in self.version.card.keys]
