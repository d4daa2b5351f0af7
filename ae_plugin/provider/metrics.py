"""What tasks count, through Airflow's own metrics: StatsD, DogStatsD or OpenTelemetry, whichever `[metrics]` names.

Each is sent as `ae.<name>` with tags, and, as Airflow does with its own where `[metrics] legacy_names_on` is set, once
more with the tags' values in its name, `ae.<pipeline>.<name>.<outcome>`: plain StatsD knows no tags. No tag takes
more values than there are pipelines: a partition is none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats

if TYPE_CHECKING:  # what they import is not needed where DAGs are only parsed
    from ae_plugin.jobs.several import Several
    from ae_plugin.schemas import PromoteRecord, RunRecord, TrainReport

COUNTED = "rows", "anomalies", "unreadable_rows", "cells_flagged", "cells_repaired", "cells_imputed"
"""Figures of a run record that are added up, of partitions that were scored."""
SHOWN = "p_value_drift", "rows_per_second", "peak_memory_mb"
"""Figures of a run record that are shown as they are, of the newest partition."""
TRAINED = "rows_train", "steps", "validation_loss", "peak_memory_mb"
"""Figures of a training report that are shown."""


def score_metrics(pipeline: str, done: Several) -> None:
    """Tell what became of the partitions of a score task."""
    for record in done.records:
        run_metrics(record)
    for _ in done.failed:
        _count("partitions", 1, pipeline, outcome="failed")


def run_metrics(run: RunRecord) -> None:
    """Tell of one partition that was scored, quarantined or refused."""
    _count("partitions", 1, run.pipeline, outcome=run.outcome)
    _count("guard", 1, run.pipeline, verdict=run.guard.verdict)
    if run.outcome == "scored":
        for name in COUNTED:
            _count(name, getattr(run, name), run.pipeline)
    _show("guard_columns", len(run.guard.columns), run.pipeline)
    _show("alert_rate", run.observed_alert_rate, run.pipeline)
    for name in SHOWN:
        _show(name, getattr(run, name), run.pipeline)
    _send(stats.timing, "score_duration", run.seconds * 1000, run.pipeline)


def due_metrics(pipeline: str, partitions: int) -> None:
    """Tell how many partitions wait to be scored."""
    _show("partitions_due", partitions, pipeline)


def train_metrics(report: TrainReport) -> None:
    """Tell of a training."""
    _count("trainings", 1, report.pipeline, gate="passed" if report.gate.passed else "failed")
    for name in TRAINED:
        _show(f"train_{name.removesuffix('_train')}", getattr(report, name), report.pipeline)
    for result in report.gate.results:
        if result.scorer == "challenger":
            _show("train_auroc", result.mean, report.pipeline)
    _send(stats.timing, "train_duration", report.seconds * 1000, report.pipeline)


def promote_metrics(record: PromoteRecord) -> None:
    """Tell whether the champion's pointer moved."""
    _count("promotions", 1, record.pipeline, outcome="promoted" if record.promoted else "kept")


def _count(name: str, by: int, pipeline: str, **tags: str) -> None:
    _send(stats.incr, name, by, pipeline, **tags)


def _show(name: str, value: float | None, pipeline: str) -> None:
    if value is not None and math.isfinite(value):
        _send(stats.gauge, name, value, pipeline)


def _send(kind: Any, name: str, value: float, pipeline: str, **tags: str) -> None:
    kind(f"ae.{name}", value, tags={"pipeline": pipeline, **tags})
    if conf.getboolean("metrics", "legacy_names_on", fallback=True):
        kind(".".join(["ae", pipeline, name, *tags.values()]), value)
