"""What a job of the bottleneck reads of a partition, and how it leaves one dataset: whole, or as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from ae_plugin.config import Pipeline
from ae_plugin.errors import ConfigError, UnfamiliarError
from ae_plugin.jobs.inputs import find_files, find_target
from ae_plugin.jobs.machine import peak_memory_mb
from ae_plugin.jobs.origin import airflow_task
from ae_plugin.latent_schemas import PartitionRecord
from ae_plugin.masks import shown
from ae_plugin.sections import Format
from ae_plugin.store.commit import Commit, recover
from ae_plugin.store.decisions import read_decision
from ae_plugin.store.files import Folder, SourceFile, fingerprint, list_source, partitions_of
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import latest, read_latest, slug_of
from ae_plugin.store.staging import sweep

Stored = TypeVar("Stored", bound=PartitionRecord)


@dataclass(frozen=True)
class Inputs:
    """The files of one partition, and where its outputs go.

    Attributes:
        where: hive path; empty for a whole source.
        files: to read.
        kind: their format.
        folder: to write to.
        digest: fingerprint of the files.
    """

    where: str
    files: list[SourceFile]
    kind: Format
    folder: Folder
    digest: str

    def wrote(self, what: str) -> str:
        """What was made of it, and where that is, for people."""
        return f"{self.where or 'the source'}: {what}, written to {shown(self.folder.uri)}"

    def target(self, dataset: str) -> str:
        """Name of the partition's file in a dataset."""
        return "/".join(piece for piece in (dataset, self.where, "part-0.parquet") if piece)


def find_inputs(pipeline: Pipeline, partition: str | None, source: str | None, output: str | None) -> Inputs:
    """Find the files to read and the folder to write to.

    Args:
        pipeline: from `config.load`.
        partition: hive path or value; absent for a source without partitions.
        source: a file or folder instead of the pipeline's source.
        output: where to write instead of the pipeline's output.

    Raises:
        UnfamiliarError: the guard refused the partition as it is, and nobody released it.
        UserError: the source or the output is not what it should be.
    """
    kind: Format = "csv" if source and source.lower().endswith((".csv", ".csv.gz")) else pipeline.source.format
    where, files = find_files(pipeline, partition, source, kind)
    folder, digest = find_target(pipeline, files, source, output), fingerprint(files)
    if source is None:
        _check_known(Folder(pipeline.output), where, digest)
    return Inputs(where, files, kind, folder, digest)


def _check_known(folder: Folder, partition: str, now: str) -> None:
    """See that the guard did not refuse these very files: a model says nothing of what it does not know."""
    run = read_latest(folder, partition)
    if run is None or run.outcome == "scored" or run.input_fingerprint != now:
        return
    decision = read_decision(folder, partition)
    if decision is None or decision.fingerprint != now or decision.decision != "release":
        mend = "Look at it, then release it, or train anew"
        raise UnfamiliarError("refused as unfamiliar", where=partition or "the source", mend=mend)


def free_names(wanted: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names for columns beside a source's: with underscores behind them where the source has such a one."""
    out = []
    for name in wanted:
        while name in taken:
            name = f"{name}_"
        out.append(name)
    return out


def without_twins(schema: pa.Schema, dataset: str) -> pa.Schema:
    """A dataset's schema, whose keys are called otherwise than its own columns; ConfigError when one is not."""
    twins = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twins:
        what = f"key {twins[0]!r} is named like a column of {dataset}/"
        raise ConfigError(what, where="source.keys", mend="Give it another name in the source")
    return schema


@contextmanager
def committed(inputs: Inputs, dataset: str) -> Iterator[Commit]:
    """Stage what one partition gets in a dataset; moved into place at the end, abandoned if anything is raised."""
    folder = inputs.folder
    fresh = folder.missing()
    folder.makedirs()
    recover(folder)
    sweep(folder)
    commit = Commit(folder, f"{dataset}-{slug_of(inputs.where)}")
    try:
        yield commit
        commit.apply()
    except BaseException:
        commit.abandon()
        folder.remove_empty(fresh)
        raise


def spent(clock: float, rows: int) -> dict[str, Any]:
    """What a job took, as its record has it: since `clock`, by `time.perf_counter`, for so many rows."""
    seconds = time.perf_counter() - clock
    return {
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / max(seconds, 1e-9), 1),
        "peak_memory_mb": peak_memory_mb(),
        "airflow": airflow_task(),
    }


def nothing_due(pipeline: Pipeline, done: str) -> str:
    """Why a job has nothing to do: all that was scored is `done`, or nothing was scored yet."""
    runs = latest(Folder(pipeline.output)).values()
    if any(run.outcome == "scored" for run in runs):
        return f"nothing to do: all that was scored {done}"
    if runs:
        return "nothing to do: all partitions so far were refused as unfamiliar, and none was released"
    return "nothing to do: nothing was scored yet. Run `ae score` first, or name a partition"


def keep(commit: Commit, records: str, record: PartitionRecord) -> None:
    """Stage a partition's record, the last of what it gets: where it fits the files, they are whole."""
    name = f"{records}/{slug_of(record.partition)}.json"
    commit.folder.write(commit.staged(name), record.model_dump_json(indent=1).encode())


def read_record(folder: Folder, records: str, partition: str, kind: type[Stored]) -> Stored | None:
    """Read a partition's record; None where there is none that can be read."""
    try:
        return kind.model_validate_json(folder.read(f"{records}/{slug_of(partition)}.json"))
    except (FileNotFoundError, ValidationError):
        return None


def due(
    pipeline: Pipeline,
    records: str,
    kind: type[Stored],
    fits: Callable[[Stored], bool] = lambda _: True,
    output: str | None = None,
) -> list[str]:
    """Partitions that were scored, and lack a record by the champion of their files as they are; in order.

    Args:
        pipeline: from `config.load`.
        records: folder of the records.
        kind: of the records.
        fits: whether a record holds in all other respects.
        output: where records are, instead of the pipeline's output.

    Raises:
        NoChampionError: there is no champion.
        DataError: the source cannot be listed.
    """
    registry = Registry(pipeline.output)
    champion, folder = registry.champion(), Folder(output) if output else registry.folder
    groups, runs, out = partitions_of(list_source(pipeline.source)), latest(registry.folder), []
    for partition, files in groups.items():
        run = runs.get(partition)
        if run is not None and run.outcome == "scored":
            done = read_record(folder, records, partition, kind)
            current = done is not None and (done.model_version, done.input_fingerprint) == (
                champion,
                fingerprint(files),
            )
            if done is None or not current or not fits(done):
                out.append(partition)
    return out
