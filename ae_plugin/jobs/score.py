"""Score: one partition in, its scores, cells and denoised rows out, all of them or none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ae_plugin.config import Pipeline
from ae_plugin.jobs.inputs import find_files, find_target
from ae_plugin.jobs.table import TableRun
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import SourceFile
from ae_plugin.store.registry import Registry, Stored
from ae_plugin.versions import ModelVersion, load_version, open_version

if TYPE_CHECKING:
    from ae_plugin.jobs.pictures.versions import PictureVersion


def score(
    pipeline: Pipeline,
    partition: str | None = None,
    *,
    source: str | None = None,
    output: str | None = None,
    version: ModelVersion | PictureVersion | None = None,
    files: list[SourceFile] | None = None,
) -> RunRecord:
    """Score one partition with the champion.

    Args:
        pipeline: from `config.load`.
        partition: its hive path (`date=2013-01-29`) or value; absent for a source without partitions.
        source: a file or folder to score instead of the pipeline's source.
        output: where to write instead of the pipeline's output; the model still comes from there.
        version: what to score with, when it is loaded already; else the champion.
        files: of the partition, when they are listed already; else they are looked for.

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
    where = partition or ""
    if files is None:
        where, files = find_files(pipeline, partition, source, kind)
    target = find_target(pipeline, files, source, output)
    if not isinstance(version, ModelVersion):
        # Only now: what reads pictures is slow to import.
        from ae_plugin.jobs.pictures.score import PictureRun

        return PictureRun(pipeline, version, where, files, target, clock).execute()
    return TableRun(pipeline, version, where, files, kind, target, clock).execute()


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
    registry = Registry(pipeline.output)
    return version_of(pipeline, registry.fetch(registry.champion()))


def version_of(pipeline: Pipeline, stored: Stored) -> ModelVersion | PictureVersion:
    """Make a version that was read ready to score a pipeline; StoreError when it is not of its sort."""
    if pipeline.source.format != "images":
        return open_version(stored, pipeline.score.alert_rate, pipeline.score.method)
    from ae_plugin.jobs.pictures.versions import open_picture_version

    return open_picture_version(stored, pipeline.score.alert_rate)
