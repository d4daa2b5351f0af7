"""Model versions for whoever looks: what one was trained on, and what changed from one to another."""

from __future__ import annotations

from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import threshold
from ae_plugin.core.values import Floats
from ae_plugin.errors import AeError, StoreError
from ae_plugin.jobs.models import models
from ae_plugin.schemas import TrainReport
from ae_plugin.store.registry import Registry
from ae_plugin.versions import REFERENCE, read_report
from ae_plugin.web.responses import CalibrationLine, Difference, PointerMove, VersionComparison, VersionDetail

RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.001)
_NAMED, _ABSENT = 8, "not there"


def version_detail(pipeline: Pipeline, version: str) -> VersionDetail | None:
    """One version; None when there is no such one.

    Raises:
        StoreError: a pointer is broken.
    """
    registry = Registry(pipeline.output)
    entry = next((entry for entry in models(pipeline) if entry.version == version), None)
    if entry is None:
        return None
    pointer = registry.pointer("champion")
    history = pointer.history if pointer else []
    moves = [PointerMove(**move.model_dump()) for move in history if move.version == version]
    report, calibration = None, list[CalibrationLine]()
    try:
        report = read_report(registry, version)
        calibration = _calibration(registry, version, pipeline)
    except AeError as error:
        entry.problem = entry.problem or str(error)
    return VersionDetail(entry=entry, report=report, calibration=calibration, moves=moves)


def _calibration(registry: Registry, version: str, pipeline: Pipeline) -> list[CalibrationLine]:
    try:
        arrays = load_arrays(registry.read_file(version, REFERENCE))
        combined = pipeline.source.format == "images" or pipeline.score.method == "combined"
        scores: Floats = arrays["calibration" if combined else "calibration_errors"]
    except (SafetensorError, KeyError) as error:
        where = f"{registry.folder.uri}/_models/{version}/{REFERENCE}"
        raise StoreError("holds no calibration set", where=where, mend="Train anew") from error
    rates = sorted({*RATES, pipeline.score.alert_rate}, reverse=True)
    lines = []
    for rate in rates:
        limit = threshold(scores, rate)
        lines.append(
            CalibrationLine(
                alert_rate=rate, threshold=limit, by_chance=0 if limit is None else int((scores >= limit).sum())
            )
        )
    return lines


def compare_versions(pipeline: Pipeline, one: str, other: str) -> VersionComparison:
    """What changed from one version to another.

    Raises:
        ConfigError: there is no such version.
        StoreError: one was tampered with.
    """
    registry = Registry(pipeline.output)
    ours, theirs = (_facts(read_report(registry, version)) for version in (one, other))
    found = [
        Difference(what=what, one=ours.get(what, _ABSENT), other=theirs.get(what, _ABSENT))
        for what in dict.fromkeys([*ours, *theirs])
        if ours.get(what) != theirs.get(what)
    ]
    return VersionComparison(one=one, other=other, differences=found)


def _facts(report: TrainReport) -> dict[str, str]:
    """What is compared, in words."""
    gate = {f"gate, AUROC of {result.scorer}": f"{result.mean:.3f}" for result in report.gate.results}
    columns = {f"column {note.column}": f"{note.role} ({note.kind or note.type})" for note in report.columns}
    return {
        "trained at": report.created_at,
        "rows trained on": f"{report.rows_train:,}",
        "calibration rows": f"{report.rows_calibration:,}",
        "partitions": _span(report.partitions),
        "left out as incidents": _some(sorted(report.incidents)),
        "features": f"{report.features:,}",
        "latent dimensions": f"{report.latent_dim:,}",
        "training steps": f"{report.steps:,}",
        "validation loss": f"{report.validation_loss:.4g}",
        "gate": "passed" if report.gate.passed else "not passed",
        **{what: mean for what, mean in gate.items() if not what.endswith("champion")},
        **columns,
        "confirmed anomalies left out": f"{report.feedback.confirmed:,}",
        "false alarms learned": f"{report.feedback.false_alarms:,}",
        "notes": _some(report.notes),
    }


def _span(partitions: list[str]) -> str:
    if len(partitions) < 2:
        return partitions[0] if partitions else "none"
    return f"{len(partitions):,}, {partitions[0]} to {partitions[-1]}"


def _some(texts: list[str]) -> str:
    more = [f"{len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
    return "; ".join([*texts[:_NAMED], *more]) or "none"


def trained_by(pipeline: Pipeline, task: Mapping[str, object]) -> str | None:
    """The version that a run of Airflow's trained, newest first; None when there is none (any more).

    Args:
        pipeline: whose versions they are.
        task: what is known of the task that is meant: some of `AirflowTask`.
    """
    registry = Registry(pipeline.output)
    for version in reversed(registry.versions()):
        try:
            found = read_report(registry, version).airflow
        except AeError:
            continue
        known = found.model_dump() if found else {}
        if known and all(known.get(what) == value for what, value in task.items() if what in ("dag_id", "run_id")):
            return version
    return None
