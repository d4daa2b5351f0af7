"""What a Spark executor does with a stream of Arrow record batches. No Spark in here, only Arrow.

A Python worker process opens a model once, and keeps it for all the tasks that Spark gives it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.explain import Options, ScoredBatch, score_batch
from ae_plugin.core.features import partition_time
from ae_plugin.core.guard import Guard
from ae_plugin.core.values import take
from ae_plugin.engines.local import batch_rows
from ae_plugin.engines.memory import keep_freed_memory, settle
from ae_plugin.engines.threads import BLAS
from ae_plugin.schemas import Method
from ae_plugin.store.registry import Stored
from ae_plugin.versions import ModelVersion, open_version

log = logging.getLogger(__name__)
Output = Literal["scores", "cells", "denoised"]
Batches = Iterator[pa.RecordBatch]
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call the partition of null."""


class Sent(Protocol):
    """Something that reaches an executor, as Spark's broadcast variables do: once, whatever the number of tasks."""

    @property
    def value(self) -> Stored:
        """What was sent."""


@dataclass(frozen=True)
class Shipped:
    """A model on its way to executors. Two are equal when the model is.

    Attributes:
        digest: sha256 of the model's card, which holds those of its files.
        alert_rate, method: what it is to score at.
        sent: its files.
    """

    digest: str
    alert_rate: float
    method: Method
    sent: Sent = field(compare=False, repr=False)

    @staticmethod
    def of(stored: Stored, sent: Sent, alert_rate: float, method: Method) -> Shipped:
        """Prepare a version that was sent."""
        text = json.dumps([stored.name, stored.where, stored.card], sort_keys=True)
        return Shipped(hashlib.sha256(text.encode()).hexdigest(), alert_rate, method, sent)


@lru_cache(maxsize=4)
def opened(shipped: Shipped) -> ModelVersion:
    """The model, ready to score with: opened once in each process."""
    version = open_version(shipped.sent.value, shipped.alert_rate, shipped.method)
    log.info("opened model %s", version.version)
    keep_freed_memory()
    return version


@dataclass(frozen=True)
class Plan:
    """What is to be done with each record batch.

    Attributes:
        model: what scores it.
        partition_by: its hive columns; a partition is one value of them.
        keep: columns of the source that the scores or cells are beside.
        full: write the whole reconstruction rather than repairs.
        explain: look for wrong cells.
        every_row: in every row, not in flagged ones only.
        notes: what is different about the schema, for the guard.
    """

    model: Shipped
    partition_by: tuple[str, ...]
    keep: tuple[str, ...] = ()
    full: bool = False
    explain: bool = True
    every_row: bool = False
    notes: tuple[str, ...] = ()


def score_stream(batches: Iterable[pa.RecordBatch], plan: Plan, output: Output) -> Batches:
    """Turn record batches into those of an output."""
    make = {"scores": _scores, "cells": _cells, "denoised": _denoised}[output]
    for _, scored in _scored(batches, plan):
        yield make(scored, plan)


def _scored(batches: Iterable[pa.RecordBatch], plan: Plan) -> Iterator[tuple[str, ScoredBatch]]:
    version = opened(plan.model)
    settle()
    rows = batch_rows(version.scorer.encoder.features)
    with BLAS.single():
        for given in batches:
            batch = _labelled(given, version.schema)
            for start in range(0, batch.num_rows, rows):
                for partition, own in _by_partition(batch.slice(start, rows), plan.partition_by):
                    options = Options(plan.full, partition_time(partition), plan.explain, every_row=plan.every_row)
                    yield partition, score_batch(own, version.scorer, options)


def _labelled(batch: pa.RecordBatch, learned: pa.Schema) -> pa.RecordBatch:
    """The same moments, in the time zone that they had in training: Spark gives all of them in that of its session."""
    for index, column in enumerate(batch.schema):
        place = learned.get_field_index(column.name)
        if pa.types.is_timestamp(column.type) and column.type.tz and place >= 0:
            zone = getattr(learned.field(place).type, "tz", None) or "UTC"
            kind = pa.timestamp(column.type.unit, zone)
            batch = batch.set_column(index, column.with_type(kind), batch.column(index).cast(kind))
    return batch


def _by_partition(batch: pa.RecordBatch, keys: Sequence[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The hive path of each partition that a record batch has rows of, and those rows, in order."""
    if not keys:
        yield "", batch
        return
    paths = paths_of(batch, keys).dictionary_encode()
    for code, path in enumerate(paths.dictionary.to_pylist()):
        alone = len(paths.dictionary) == 1
        yield path, batch if alone else batch.filter(pc.equal(paths.indices, code))


def paths_of(batch: pa.RecordBatch, keys: Sequence[str]) -> pa.Array:
    """The hive path of each row's partition, as `date=2013-01-29`, string [n]."""
    parts = []
    for key in keys:
        values = batch.column(batch.schema.get_field_index(key)).cast(pa.string())
        parts.append(pc.binary_join_element_wise(f"{key}=", pc.fill_null(values, NO_VALUE), ""))
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "/")


def _scores(scored: ScoredBatch, plan: Plan) -> pa.RecordBatch:
    rows, n = scored.rows, scored.source.num_rows
    return pa.record_batch(
        {
            **{name: scored.source.column(name) for name in plan.keep},
            "anomaly_score": pa.array(rows.anomaly_score),
            "p_value": pa.array(rows.p_value),
            "is_anomaly": pa.array(rows.is_anomaly),
            "top_column": scored.top_column,
            "error": pa.nulls(n, pa.string()),
            "model_version": pa.repeat(opened(plan.model).version, n),
        }
    )


def _cells(scored: ScoredBatch, plan: Plan) -> pa.RecordBatch:
    found = scored.cells.combine_chunks()
    rows = found.column("row").combine_chunks()
    kept = {name: take(scored.source.column(name), rows) for name in plan.keep}
    named = ("column", "observed", "expected", "cell_error", "p_value")
    return pa.record_batch({**kept, **{name: found.column(name).combine_chunks() for name in named}})


def _denoised(scored: ScoredBatch, plan: Plan) -> pa.RecordBatch:  # noqa: ARG001
    return scored.denoised


# The guard counts in whole numbers: each task counts its rows, and the counts of all tasks are added up.

_NUMBERS = pa.list_(pa.int64())


@dataclass
class _Counted:
    """A partition's counts, and the values of its hive columns, one row."""

    guard: Guard
    values: pa.RecordBatch

    def row(self, **columns: pa.Array) -> pa.RecordBatch:
        """One row: the hive columns, the number of rows, and more."""
        rows = pa.array([self.guard.rows], pa.int64())
        return pa.record_batch(
            {**dict(zip(self.values.schema.names, self.values, strict=True)), "rows": rows, **columns}
        )


def _counted(plan: Plan, partition: str, batch: pa.RecordBatch) -> _Counted:
    version = opened(plan.model)
    guard = Guard(version.scorer.encoder, version.guard, list(plan.notes), skip=version.unjudged(partition))
    return _Counted(guard, batch.slice(0, 1).select(list(plan.partition_by)))


def count_stream(batches: Iterable[pa.RecordBatch], plan: Plan) -> Batches:
    """Count what the guard asks for: a row for each partition, with `rows`, `odd` and `counts`."""
    found: dict[str, _Counted] = {}
    for partition, scored in _scored(batches, plan):
        if partition not in found:
            found[partition] = _counted(plan, partition, scored.source)
        found[partition].guard.watch(scored.bin_counts, scored.rows.p_value, scored.rows.misfit)
    for one in found.values():
        yield one.row(odd=pa.array([one.guard.odd], _NUMBERS), counts=pa.array([one.guard.counts], _NUMBERS))


def judge_stream(batches: Iterable[pa.RecordBatch], plan: Plan) -> Batches:
    """Add up counts, and say what the guard makes of each partition; all counts of one must come by here."""
    found: dict[str, _Counted] = {}
    for batch in batches:
        for row in range(batch.num_rows):
            own = batch.slice(row, 1)
            ((partition, _),) = _by_partition(own, plan.partition_by)
            if partition not in found:
                found[partition] = _counted(plan, partition, own)
            odd, counts = (own.column(name).flatten().to_numpy() for name in ("odd", "counts"))
            found[partition].guard.add(own.column("rows")[0].as_py(), odd, counts)
    for one in found.values():
        verdict = one.guard.verdict()
        yield one.row(verdict=pa.array([verdict.verdict]), reasons=pa.array([verdict.reasons], pa.list_(pa.string())))
