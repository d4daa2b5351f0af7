"""Jobs from Python: the same as `ae train`, `ae score`, `ae promote`, for a Pipeline, a YAML's path or its name."""

from __future__ import annotations

from pathlib import Path

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.schemas import PromoteRecord, RunRecord, TrainReport


def _pipeline(pipeline: Pipeline | str | Path) -> Pipeline:
    return pipeline if isinstance(pipeline, Pipeline) else config.load(pipeline)


def train(pipeline: Pipeline | str | Path) -> TrainReport:
    """Train a new version, and promote it when the pipeline says `promote: auto` and the gate passes.

    Raises:
        UserError: the pipeline, its source or its output is not what it should be.
    """
    from ae_plugin.jobs.train import train as job

    loaded = _pipeline(pipeline)
    report = job(loaded)
    if loaded.promote == "auto":
        promote(loaded, report.model_version)
    return report


def promote(pipeline: Pipeline | str | Path, version: str | None = None, *, force: bool = False) -> PromoteRecord:
    """Make the challenger (or `version`) champion when its gate passed, or by force.

    Raises:
        UserError: there is no such version.
    """
    from ae_plugin.jobs.promote import promote as job

    return job(_pipeline(pipeline), version, force=force, by="python")


def score(
    pipeline: Pipeline | str | Path,
    partition: str | None = None,
    *,
    source: str | None = None,
    output: str | None = None,
) -> RunRecord:
    """Score one partition with the champion and write its outputs.

    Raises:
        UnfamiliarError: the partition was refused.
        NoChampionError: there is nothing to score with.
        UserError: the source, the output or the model is not what it should be.
    """
    from ae_plugin.jobs.score import score as job

    return job(_pipeline(pipeline), partition, source=source, output=output)
