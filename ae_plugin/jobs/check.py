"""Check: read everything a pipeline needs, run nothing."""

from __future__ import annotations

import math
import os

from pydantic import BaseModel, ConfigDict

from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import rows_needed
from ae_plugin.engines.sample import history_schema
from ae_plugin.errors import ConfigError, NoChampionError, StoreError
from ae_plugin.jobs.history import training_partitions
from ae_plugin.jobs.inputs import open_partition
from ae_plugin.jobs.score import champion_of
from ae_plugin.store.files import SUFFIXES, Folder, SourceFile, list_source, partitions_of


class CheckRecord(BaseModel):
    """What `ae check` found."""

    model_config = ConfigDict(extra="forbid")

    pipeline: str
    partitions: int
    files: int
    bytes: int
    train_partitions: list[str]
    columns: list[str]
    champion: str | None
    notes: list[str]


def check(pipeline: Pipeline) -> CheckRecord:
    """Read the source's listing, the schemas of its newest partition and of history, the registry, and the rights.

    Raises:
        UserError: something would stop a run.
    """
    files = list_source(pipeline.source)
    groups = partitions_of(files)
    schema = open_partition(pipeline.source, groups[list(groups)[-1]]).schema
    for name in [*pipeline.source.keys, *pipeline.source.exclude]:
        if name not in schema.names:
            raise ConfigError(f"no column {name!r} in the source", where="source.keys, source.exclude")
    history = training_partitions(pipeline)
    notes = []
    if pipeline.source.format != "images":
        _, later = history_schema(history, pipeline.source.format)
        notes = [f"{field.name} is not learned yet: it is not in all of history" for field in later]
    else:
        notes = _too_few([file for group in history.values() for file in group], pipeline.score.alert_rate)
    _writable(pipeline.output)
    try:
        champion: str | None = champion_of(pipeline).version
    except NoChampionError:
        champion = None
        notes.append("no champion yet: run `ae train`")
    return CheckRecord(
        pipeline=pipeline.name,
        partitions=len(groups),
        files=len(files),
        bytes=sum(file.size for file in files),
        train_partitions=list(history),
        columns=[f"{field.name}: {field.type}" for field in schema],
        champion=champion,
        notes=notes,
    )


def _too_few(history: list[SourceFile], rate: float) -> list[str]:
    """Say where a folder's pictures are too few to train on, or for alarms. Files of Parquet hold any number."""
    # Only now: what reads pictures is slow to import.
    from ae_plugin.jobs.pictures.history import MIN_PICTURES, calibration_pictures

    files = len(history)
    if history[0].name.lower().endswith(SUFFIXES["parquet"]):
        return []
    held, needed = calibration_pictures(files, rate), rows_needed(rate)
    if files < MIN_PICTURES:
        return [f"history holds {files} pictures; at least {MIN_PICTURES} are needed to train"]
    if held < needed:
        return [
            f"of {files} pictures of history {held} calibrate, and an alarm at alert_rate {rate:g} needs {needed}: "
            f"none can be flagged until there are more, or alert_rate is at least {math.ceil(1000 / (held + 1)) / 1000}"
        ]
    return []


def _writable(uri: str) -> None:
    folder = Folder(uri)
    if not folder.local:
        return
    path = folder.path
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    if not os.path.isdir(path) or not os.access(path, os.W_OK):
        raise StoreError("cannot be written", where=uri, mend="Check the path and its rights")
