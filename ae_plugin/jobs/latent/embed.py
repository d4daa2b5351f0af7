"""Embed: each row of a partition in a few numbers, the bottleneck's, for whoever clusters, searches or classifies."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.features import partition_time
from ae_plugin.core.values import Floats
from ae_plugin.engines.local import Reader, Writer, batch_rows
from ae_plugin.engines.threads import parallel, prefetch
from ae_plugin.errors import DataError
from ae_plugin.jobs.latent.output import Inputs, committed, due, find_inputs, keep, spent, without_twins
from ae_plugin.jobs.score import champion_of
from ae_plugin.jobs.staged import let_go
from ae_plugin.latent_schemas import EmbedRecord, embeddings_schema
from ae_plugin.store.commit import Commit
from ae_plugin.store.runs import EMBEDDINGS
from ae_plugin.versions import ModelVersion

if TYPE_CHECKING:
    from ae_plugin.jobs.pictures.versions import PictureVersion

log = logging.getLogger(__name__)
GRAIN = np.float32(2**-12)
"""Codes are whole multiples of this: how a network's last bit is rounded hangs on which rows it is given together."""
Batch = tuple[pa.RecordBatch, Floats, npt.NDArray[np.bool_]]
"""Rows, their codes float32 [n, L], and which have one, bool [n]."""


def embed(
    pipeline: Pipeline,
    partition: str | None = None,
    *,
    source: str | None = None,
    output: str | None = None,
    version: ModelVersion | PictureVersion | None = None,
) -> EmbedRecord:
    """Write one partition's embeddings with the champion.

    Args:
        pipeline: from `config.load`.
        partition: its hive path (`date=2013-01-29`) or value; absent for a source without partitions.
        source: a file or folder instead of the pipeline's source.
        output: where to write instead of the pipeline's output; the model still comes from there.
        version: what to embed with, when it is loaded already; else the champion.

    Raises:
        UnfamiliarError: the guard refused the partition as it is, and nobody released it.
        NoChampionError: there is nothing to embed with.
        UserError: the source, the output or the model is not what it should be.
    """
    clock = time.perf_counter()
    version = version or champion_of(pipeline)
    inputs = find_inputs(pipeline, partition, source, output)
    stream = _coded(version, inputs)
    with committed(inputs, "embeddings") as commit:
        counted = _write(inputs, version.version, stream, commit)
        record = EmbedRecord(
            pipeline=pipeline.name,
            model_version=version.version,
            partition=inputs.where,
            latent_dim=stream.latent_dim,
            input_fingerprint=inputs.digest,
            **spent(clock, counted.rows),
            **counted._asdict(),
        )
        keep(commit, EMBEDDINGS, record)
    log.info("%s", inputs.wrote(f"{record.rows} embeddings of {record.latent_dim} numbers"))
    return record


def due_embeddings(pipeline: Pipeline, output: str | None = None) -> list[str]:
    """Partitions that were scored, and have no embeddings by the champion of their files as they are; in order.

    Args:
        pipeline: from `config.load`.
        output: where embeddings are, instead of the pipeline's output.

    Raises:
        NoChampionError: there is nothing to embed with.
        DataError: the source cannot be listed.
    """
    return due(pipeline, EMBEDDINGS, EmbedRecord, output=output)


class Coded(Protocol):
    """A partition's rows with their codes.

    Attributes:
        keys: fields of the row keys.
        latent_dim: length of a code.
    """

    keys: list[pa.Field]
    latent_dim: int

    def batches(self) -> Iterator[Batch]:
        """All rows, in order."""


def _coded(version: ModelVersion | PictureVersion, inputs: Inputs) -> Coded:
    if isinstance(version, ModelVersion):
        return _Rows(version, inputs)
    # Only now: what reads pictures is slow to import.
    from ae_plugin.jobs.latent.pictures import PictureCodes

    return PictureCodes(version, inputs.files)


class _Rows:
    def __init__(self, version: ModelVersion, inputs: Inputs) -> None:
        self.scorer, self._version, self._at = version.scorer, version, partition_time(inputs.where)
        rows = batch_rows(self.scorer.encoder.features)
        self._reader = Reader(inputs.files, inputs.kind, version.schema, rows)
        version.check_columns(self._reader.schema.names, inputs.files[0].uri)
        self.keys = [self._reader.schema.field(name) for name in version.card.keys]
        self.latent_dim = version.embedding_dim

    def batches(self) -> Iterator[Batch]:
        return parallel(self._embed, prefetch(self._reader.batches()))

    def _embed(self, batch: pa.RecordBatch) -> Batch:
        try:
            encoded = self.scorer.encode(batch, self._at)
        except DataError as error:
            raise error.placed(self._reader.files[0].uri) from error
        codes = self._version.embed(encoded)
        return batch, codes, np.ones(len(codes), bool)


class _Counted(NamedTuple):
    rows: int
    unreadable_rows: int
    outputs: dict[str, str]


def _write(inputs: Inputs, version: str, stream: Coded, commit: Commit) -> _Counted:
    """Stage the file, counting what goes by."""
    target = inputs.target("embeddings")
    schema = without_twins(embeddings_schema(stream.keys, stream.latent_dim), "embeddings")
    rows = unreadable = 0
    writer = Writer(commit.folder, commit.staged(target), schema)
    with let_go(writer):
        for batch, codes, known in stream.batches():
            writer.write(_embedded(batch, codes, known, rows, version, schema))
            rows += batch.num_rows
            unreadable += int((~known).sum())
        return _Counted(rows, unreadable, {target: writer.close()})


def _embedded(
    batch: pa.RecordBatch, codes: Floats, known: npt.NDArray[np.bool_], first: int, version: str, schema: pa.Schema
) -> pa.RecordBatch:
    rows, dim = codes.shape
    flat = (np.rint(codes / GRAIN) * GRAIN).astype(np.float32).reshape(-1)
    mask = None if known.all() else pa.array(~known)
    columns = [
        *(batch.column(batch.schema.get_field_index(name)) for name in schema.names[:-3]),
        pa.array(np.arange(first, first + rows, dtype=np.int64)),
        pa.FixedSizeListArray.from_arrays(pa.array(flat), dim, mask=mask),
        pa.repeat(version, rows),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
