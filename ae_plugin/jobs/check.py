"""Check: read everything a pipeline needs, run nothing."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict

from ae_plugin.config import Pipeline
from ae_plugin.engines.sample import history_schema
from ae_plugin.errors import ConfigError, NoChampionError, StoreError
from ae_plugin.jobs.history import training_partitions
from ae_plugin.jobs.inputs import open_partition
from ae_plugin.jobs.score import champion_of
from ae_plugin.store.files import Folder, list_source, partitions_of


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


def _writable(uri: str) -> None:
    folder = Folder(uri)
    if not folder.local:
        return
    path = folder.path
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    if not os.path.isdir(path) or not os.access(path, os.W_OK):
        raise StoreError("cannot be written", where=uri, mend="Check the path and its rights")
