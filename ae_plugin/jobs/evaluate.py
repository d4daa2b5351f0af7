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
from ae_plugin.engines.local import Reader, batch_rows, prefetch
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.inputs import tables_only
from ae_plugin.jobs.versions import ModelVersion, load_version
from ae_plugin.schemas import EvaluateRecord
from ae_plugin.store.files import fingerprint, list_source, partitions_of
from ae_plugin.store.registry import Registry


def evaluate(pipeline: Pipeline, label: str) -> EvaluateRecord:
    """Score every partition that was not trained on (all, when there is no other), and compare with the labels.

    Args:
        pipeline: from `config.load`.
        label: a column of the source: true, non-zero or a non-empty string other than "0" and "false" is an anomaly.

    Raises:
        ConfigError: the model learned the label column, or it is not in the source.
        DataError: the labels are all of one kind.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    tables_only(pipeline, "ae evaluate")
    registry = Registry(pipeline.output)
    version = load_version(registry, registry.champion(), pipeline.score.alert_rate, pipeline.score.method)
    if label in version.scorer.encoder.names:
        raise ConfigError(
            f"the model learned the label column {label!r}",
            where="--label",
            mend="Add it to source.exclude and train anew",
        )
    truths, scores, alarms = [], [], []
    for truth, score, alarm in _scored(pipeline, version, label):
        truths.append(truth)
        scores.append(score)
        alarms.append(alarm)
    if not truths:
        raise DataError("holds no rows", where=pipeline.source.uri, mend="Nothing to compare")
    truth, score, alarm = np.concatenate(truths), np.concatenate(scores), np.concatenate(alarms)
    if truth.all() or not truth.any():
        raise DataError(
            f"all labels in {label!r} are of one kind", where=pipeline.source.uri, mend="Nothing to compare"
        )
    precision, recall, f1, _ = precision_recall_fscore_support(truth, alarm, average="binary", zero_division=0)
    return EvaluateRecord(
        pipeline=pipeline.name,
        model_version=version.version,
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


def _scored(
    pipeline: Pipeline, version: ModelVersion, label: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    groups = partitions_of(list_source(pipeline.source))
    trained = version.card.partitions
    fresh = {name: files for name, files in groups.items() if trained.get(name) != fingerprint(files)}
    for partition, files in (fresh or groups).items():
        reader = Reader(files, pipeline.source.format, version.schema, batch_rows(version.scorer.encoder.features))
        if label not in reader.schema.names:
            raise ConfigError(f"no column {label!r} in the source", where="--label", mend="Check the spelling")
        options, truths, rows = Options(reference=partition_time(partition), explain=False), [], []
        for batch in score_batches(prefetch(reader.batches()), version.scorer, options):
            truths.append(truths_of(batch.source.column(batch.source.schema.get_field_index(label))))
            rows.append(batch.rows)
        chosen, known = pipeline.score, version.scorer.calibration_rows
        limit = flag_limit(chosen.alert_rate_of, chosen.alert_rate, known, (own.p_value for own in rows))
        for truth, own in zip(truths, rows, strict=True):
            yield truth, own.anomaly_score, is_anomaly(own.p_value, limit)


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
