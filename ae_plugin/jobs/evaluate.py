"""Evaluate: compare scores with a label column that the model never saw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.alarms import flag_limit
from ae_plugin.core.calibration import is_anomaly
from ae_plugin.core.explain import Options, score_batches
from ae_plugin.core.features import partition_time
from ae_plugin.core.values import as_strings, decoded
from ae_plugin.engines.local import Reader, batch_rows
from ae_plugin.engines.threads import BLAS, prefetch
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.score import champion_of
from ae_plugin.schemas import EvaluateRecord
from ae_plugin.store.files import SourceFile, fingerprint, list_source, partitions_of
from ae_plugin.versions import ModelVersion

Compared = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Of some rows which are anomalous as labelled, their scores, and which were flagged."""


@BLAS.single()
def evaluate(pipeline: Pipeline, label: str, labels: str | None = None) -> EvaluateRecord:
    """Score every partition that was not trained on (all, when there is no other), and compare with the labels.

    Args:
        pipeline: from `config.load`.
        label: a column: true, non-zero or a non-empty string other than "0" and "false" is an anomaly.
        labels: of pictures, a Parquet or CSV file with that column and the row keys; absent: it is in the source.

    Raises:
        ConfigError: the model learned the label column, or it is not there.
        DataError: the labels are all of one kind.
    """
    version, groups = champion_of(pipeline), partitions_of(list_source(pipeline.source))
    trained = version.card.partitions
    fresh = {name: files for name, files in groups.items() if trained.get(name) != fingerprint(files)}
    if isinstance(version, ModelVersion):
        if labels is not None:
            raise ConfigError("a table's labels are a column of its source", where="--labels", mend="Leave it out")
        parts = _scored(pipeline, version, fresh or groups, label)
    else:
        # Only now: what reads pictures is slow to import.
        from ae_plugin.jobs.pictures.evaluate import scored_pictures

        parts = scored_pictures(pipeline, version, fresh or groups, label, labels)
    truth, score, alarm = (np.concatenate(arrays) for arrays in zip(_NONE, *parts, strict=True))
    if not len(truth):
        raise DataError("holds no rows", where=labels or pipeline.source.uri, mend="Nothing to compare")
    if truth.all() or not truth.any():
        raise DataError(
            f"all labels in {label!r} are of one kind",
            where=labels or pipeline.source.uri,
            mend="Nothing to compare: name normal ones and anomalies",
        )
    return _record(pipeline, version.version, label, truth, score, alarm)


_NONE = np.zeros(0, bool), np.zeros(0, np.float32), np.zeros(0, bool)


def _record(
    pipeline: Pipeline, version: str, label: str, truth: np.ndarray, score: np.ndarray, alarm: np.ndarray
) -> EvaluateRecord:
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    precision, recall, f1, _ = precision_recall_fscore_support(truth, alarm, average="binary", zero_division=0)
    return EvaluateRecord(
        pipeline=pipeline.name,
        model_version=version,
        label=label,
        rows=len(truth),
        positives=int(truth.sum()),
        auroc=float(roc_auc_score(truth, score)),
        average_precision=float(average_precision_score(truth, score)),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        observed_alert_rate=float(alarm.mean()),
        false_alarm_rate=float(alarm[~truth].mean()),
    )


def _scored(pipeline: Pipeline, version: ModelVersion, groups: dict[str, list[SourceFile]], label: str) -> Compared:
    if label in version.scorer.encoder.names:
        raise ConfigError(
            f"the model learned the label column {label!r}",
            where="--label",
            mend="Add it to source.exclude and train anew",
        )
    for partition, files in groups.items():
        reader = Reader(files, pipeline.source.format, version.schema, batch_rows(version.scorer.encoder.features))
        check_label(label, reader.schema)
        options, truths, rows = Options(reference=partition_time(partition), explain=False), [], []
        for batch in score_batches(prefetch(reader.batches()), version.scorer, options):
            truths.append(truths_of(batch.source.column(batch.source.schema.get_field_index(label))))
            rows.append(batch.rows)
        chosen, known = pipeline.score, version.scorer.calibration_rows
        limit = flag_limit(chosen.alert_rate_of, chosen.alert_rate, known, (own.p_value for own in rows))
        for truth, own in zip(truths, rows, strict=True):
            yield truth, own.anomaly_score, is_anomaly(own.p_value, limit)


def check_label(label: str, schema: pa.Schema, where: str = "the source") -> None:
    """Raise ConfigError where there is no such column."""
    if label not in schema.names:
        raise ConfigError(f"no column {label!r} in {where}", where="--label", mend="Check the spelling")


def truths_of(column: pa.Array) -> np.ndarray:
    """Labels as booleans [n]; null is normal.

    Raises:
        DataError: they are of a type that says neither yes nor no, or text that is not UTF-8.
    """
    column = decoded(column)
    kind = column.type
    if pa.types.is_boolean(kind):
        return np.asarray(column.fill_null(False).to_numpy(zero_copy_only=False), bool)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        return np.asarray(np.nan_to_num(numbers) != 0)
    try:
        texts = as_strings(column).fill_null("").to_pylist()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, UnicodeError) as error:
        reason = "text that is not UTF-8" if isinstance(error, UnicodeError) else str(kind)
        raise DataError(f"labels cannot be {reason}", where="--label", mend="Name a column of flags") from error
    return np.array([text.strip().lower() not in ("", "0", "false", "no", "normal") for text in texts], bool)
