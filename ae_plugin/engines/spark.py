"""Spark: `score(df, model_uri)` maps a DataFrame's record batches through a model, `judge` asks the guard.

The driver reads and checks the model once, and broadcasts it: each executor gets it once, and each of its Python
workers opens it once (see `spark.python.worker.reuse`). So executors need no rights in the model's store, and all tasks
score with one version whatever is promoted meanwhile. They need this package and what it scores with; never Airflow,
Keras or TensorFlow.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import pyarrow as pa

from ae_plugin.core.explain import Options, score_batch
from ae_plugin.core.guard import schema_notes
from ae_plugin.engines.executors import Output, Plan, Shipped, count_stream, judge_stream, score_stream
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.schemas import Method
from ae_plugin.store.registry import Stored
from ae_plugin.versions import SCORING, ModelVersion, check_rate, locate, open_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

log = logging.getLogger(__name__)
_NEW: dict[str, dict[str, str]] = {
    "scores": {
        "anomaly_score": "float",
        "p_value": "float",
        "is_anomaly": "boolean",
        "top_column": "string",
        "error": "string",
        "model_version": "string",
    },
    "cells": {
        "column": "string",
        "observed": "string",
        "expected": "string",
        "cell_error": "float",
        "p_value": "float",
    },
    "denoised": {},
    "counts": {"rows": "bigint", "odd": "array<bigint>", "counts": "array<bigint>"},
    "verdicts": {"rows": "bigint", "verdict": "string", "reasons": "array<string>"},
}
"""What is added to the columns that are kept, and its type: as in the files; but no `row`, since Spark has no order."""


def score(
    df: DataFrame,
    model_uri: str | os.PathLike[str],
    *,
    output: Output = "scores",
    alert_rate: float = 0.01,
    method: Method = "combined",
    denoise: Literal["repair", "full"] = "repair",
    cells: Literal["flagged", "all"] = "flagged",
    keep: Sequence[str] | None = None,
    partition_by: Sequence[str] | None = None,
) -> DataFrame:
    """Score a DataFrame. Nothing runs before Spark is asked for rows; writing them all or not at all is Spark's part.

    Each row scores as `ae score` scores it, however Spark cuts the DataFrame.

    Args:
        df: the source: at least the learned columns.
        model_uri: a pipeline's output (its champion of this moment scores), or one version's folder in its `_models/`.
        output: `scores`: a row for each row. `cells`: a row for each wrong cell. `denoised`: the source with wrong
            cells repaired and nulls filled, in its own schema.
        alert_rate: share of normal rows that may be flagged.
        method: as `score.method` of a pipeline.
        denoise: `full`: the whole reconstruction rather than repairs.
        cells: `all`: judge the cells of every row, not of flagged ones only.
        keep: columns that scores and cells are beside. Absent: the model's keys and the partition's columns; all
            columns when the model has no keys.
        partition_by: the source's hive columns. Absent: those that training found, as far as the DataFrame has them.
            They matter where a time's age counts from its partition's date.

    Returns:
        Scores: the kept columns, `anomaly_score`, `p_value`, `is_anomaly`, `top_column`, `error` (null) and
        `model_version`. Cells: the kept columns, `column`, `observed`, `expected`, `cell_error` and `p_value`.
        Denoised: the DataFrame's columns.

    Raises:
        NoChampionError: the output holds no champion.
        StoreError: the model was tampered with, or is one of pictures.
        ConfigError: an argument is none of what it may be.
        DataError: a learned column is missing or of another type.
    """
    _check_choice("output", output, Output)
    _check_choice("denoise", denoise, Literal["repair", "full"])
    _check_choice("cells", cells, Literal["flagged", "all"])
    source = _Source(df, model_uri, alert_rate, method, partition_by)
    kept = source.kept(keep, output)
    plan = Plan(
        source.model,
        source.partition_by,
        keep=kept,
        full=denoise == "full",
        explain=output != "scores",
        every_row=cells == "all",
    )
    stream = partial(score_stream, plan=plan, output=output)
    if output == "denoised":
        return _mapped(df, stream, df.schema)
    narrow = source.narrow(kept)
    return _mapped(narrow, stream, _schema(narrow, kept, output))


def judge(
    df: DataFrame,
    model_uri: str | os.PathLike[str],
    *,
    method: Method = "combined",
    partition_by: Sequence[str] | None = None,
) -> DataFrame:
    """Ask the guard of each partition whether it is the kind of data that the model knows.

    The verdicts are those of `ae score`. Each task counts its rows; the counts are whole numbers, and are added up.

    Args:
        df: the source, as for `score`.
        model_uri: as for `score`.
        method: as for `score`.
        partition_by: as for `score`; a partition is one value of these. None at all: the DataFrame is one partition.

    Returns:
        A row for each partition: its hive columns, `rows`, `verdict` (`familiar`, `drifted`, `unfamiliar`), `reasons`.

    Raises:
        AeError: as `score` does.
    """
    source = _Source(df, model_uri, 0.01, method, partition_by)
    by = source.partition_by
    check_new(by, [*_NEW["counts"], *_NEW["verdicts"]])
    plan = Plan(source.model, by, explain=False, notes=tuple(source.notes()))
    narrow = source.narrow(())
    counts = _mapped(narrow, partial(count_stream, plan=plan), _schema(narrow, by, "counts"))
    together = counts.repartition(*by) if by else counts.repartition(1)
    return _mapped(together, partial(judge_stream, plan=plan), _schema(narrow, by, "verdicts"))


def ship(spark: SparkSession, stored: Stored, alert_rate: float, method: Method) -> Shipped:
    """Send a model to the executors, once to each."""
    return Shipped.of(stored, spark.sparkContext.broadcast(stored), alert_rate, method)


class _Source:
    """A DataFrame and the model that is to score it, checked against each other."""

    def __init__(
        self,
        df: DataFrame,
        model_uri: str | os.PathLike[str],
        alert_rate: float,
        method: Method,
        partition_by: Sequence[str] | None,
    ) -> None:
        if not hasattr(df, "mapInArrow"):
            raise DataError(f"a {type(df).__name__} is no Spark DataFrame", mend="For pandas and Arrow: ae_plugin.load")
        if not hasattr(df.sparkSession, "sparkContext"):
            mend = "Use a classic session, or submit the job"
            raise ConfigError("Spark Connect has no broadcast variables to send a model by", mend=mend)
        rate = check_rate(alert_rate)
        _check_choice("method", method, Method)
        registry, name = locate(model_uri)
        stored = registry.fetch(name).only(SCORING)
        self.df: DataFrame = df
        self.version: ModelVersion = open_version(stored, rate, method)
        learned = next(iter(self.version.card.partitions), "")
        self._hive = [part.partition("=")[0] for part in learned.split("/") if "=" in part]
        if partition_by is not None:
            self._check_there(partition_by, "partition_by")
        by = [key for key in self._hive if key in df.columns] if partition_by is None else partition_by
        self.partition_by: tuple[str, ...] = tuple(by)
        self._check_columns()
        self.model = ship(df.sparkSession, stored, rate, method)

    def _check_columns(self) -> None:
        """See that the model can read every column that it learned, without looking at a row."""
        scorer = self.version.scorer
        self.version.check_columns(self.df.columns, keys=False)
        score_batch(pa.RecordBatch.from_pylist([], schema=_arrow(self.narrow(()))), scorer, Options())
        for name in [] if self.partition_by else self.version.unjudged(""):
            log.warning("%s is not judged: its age counts from a partition's date, and there is none", name)

    def _check_there(self, names: Sequence[str], what: str) -> None:
        if isinstance(names, str) or not set(names) <= set(self.df.columns):
            raise ConfigError(f"{what} {names!r} are not columns of the DataFrame", mend="Give a list of its columns")

    def kept(self, keep: Sequence[str] | None, output: Output) -> tuple[str, ...]:
        """The columns that go into the output as they are."""
        if keep is None:
            keys = self.version.card.keys
            self._check_there(keys, "the model's keys")
            keep = [*keys, *self.partition_by] if keys else self.df.columns
        self._check_there(keep, "keep")
        check_new(keep, _NEW[output])
        return tuple(dict.fromkeys(keep))

    def narrow(self, keep: Sequence[str]) -> DataFrame:
        """The columns that are needed: Spark reads no others."""
        return self.df.select(*dict.fromkeys([*self.version.scorer.encoder.names, *keep, *self.partition_by]))

    def notes(self) -> list[str]:
        """What is different about the schema, for the guard: types are compared as Spark has them."""
        seen = _arrow(self.df.drop(*self.partition_by, *self._hive))
        known, learned = self.version.schema, self.version.scorer.encoder.names
        return schema_notes(
            pa.schema([field.with_type(_as_spark(field.type)) for field in seen]),
            {name: str(_as_spark(known.field(name).type)) for name in learned},
            set(known.names),
        )


def check_new(names: Sequence[str], new: Iterable[str]) -> None:
    """See that columns that are kept have other names than those that are added.

    Raises:
        ConfigError: one has not.
    """
    taken = [name for name in names if name in new]
    if taken:
        raise ConfigError(f"column {taken[0]!r} is one that the output adds", mend="Rename it, or do not keep it")


def _check_choice(what: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        raise ConfigError(f"{what} {value!r} is none of {', '.join(get_args(choices))}")


def _arrow(df: DataFrame) -> pa.Schema:
    """The schema of the record batches that Spark will give; no job runs."""
    return df.limit(0).toArrow().schema


def _as_spark(kind: pa.DataType) -> pa.DataType:
    """What Spark reads a type of Parquet's as: it has no dictionaries, no unsigned numbers, one resolution of time."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    return _WIDER.get(kind, kind)


_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
}


def _mapped(
    df: DataFrame, stream: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]], schema: StructType
) -> DataFrame:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:  # Spark takes plain functions only
        return stream(batches)

    return df.mapInArrow(work, schema)


def _schema(df: DataFrame, kept: Sequence[str], more: str) -> StructType:
    """The kept columns as the DataFrame has them, and more."""
    from pyspark.sql.types import StructType

    new = StructType.fromDDL(", ".join(f"{name} {kind}" for name, kind in _NEW[more].items()))
    return StructType([*(df.schema[name] for name in kept), *cast("StructType", new).fields])
