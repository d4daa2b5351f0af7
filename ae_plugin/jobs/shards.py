"""Shards: a large partition is scored part by part, by any processes in any order, and committed as one.

Each part is written to a stage that all of them share. One that is scored stays so, whatever becomes of the others;
once all are, they are counted together, the guard judges the whole, and a commit moves them into place or refuses them.
The files are the same as when one process scores the whole partition.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ae_plugin import __version__
from ae_plugin.config import Pipeline
from ae_plugin.errors import DataError, UnfamiliarError
from ae_plugin.jobs.inputs import find_files, find_target
from ae_plugin.jobs.machine import peak_memory_mb
from ae_plugin.jobs.run import Tally
from ae_plugin.jobs.table import TableRun, cut
from ae_plugin.schemas import RunRecord
from ae_plugin.store.commit import Commit, recover
from ae_plugin.store.files import Folder, SourceFile, fingerprint
from ae_plugin.store.owner import mark
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import read_latest, slug_of
from ae_plugin.store.staging import SharedStage, discard
from ae_plugin.versions import load_version

log = logging.getLogger(__name__)
_AGAIN = "The next run scores it anew"


class ShardPlan(BaseModel):
    """What the tasks of one partition have in common; goes from one to the other as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str
    shards: int
    model_version: str
    input_fingerprint: str
    settings: str = Field(description="sha256 of all that the files written hang on, but for the source.")
    mark: str = Field(description="Unlike that of any other plan: two runs share no stage.")

    @property
    def id(self) -> str:
        """Names the stage, and what was committed from it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def names(self) -> list[str]:
        """What each shard is called, for people."""
        return [f"{self.partition or 'the source'} {number + 1}/{self.shards}" for number in range(self.shards)]


class ShardRecord(BaseModel):
    """What one shard's task leaves for the commit."""

    model_config = ConfigDict(extra="forbid")

    tally: Tally
    counts: list[int]
    odd: list[int]
    moves: dict[str, str]
    written: dict[str, str]


def plan(pipeline: Pipeline, partition: str, files: list[SourceFile], version: str) -> ShardPlan | None:
    """Say how a partition is cut; None when it is scored as a whole.

    Args:
        pipeline: from `config.load`.
        partition: its hive path.
        files: of the partition.
        version: the model version to score all of it with.

    Raises:
        DataError: a file cannot be read.
    """
    shards = len(cut(pipeline, files, pipeline.source.format))
    if shards < 2:
        return None
    found = fingerprint(files)
    return ShardPlan(
        partition=partition,
        shards=shards,
        model_version=version,
        input_fingerprint=found,
        settings=_settings(pipeline),
        mark=mark(),
    )


def plans(pipeline: Pipeline, found: Mapping[str, list[SourceFile]]) -> list[ShardPlan]:
    """Say how those of some partitions are cut that are, to be scored with the champion; see `plan`.

    Raises:
        NoChampionError: there is none.
    """
    champion = Registry(pipeline.output).champion()
    made = []
    for partition, files in found.items():
        # What cannot be read is scored as a whole: that says why, and the others go on.
        with contextlib.suppress(DataError):
            made.append(plan(pipeline, partition, files, champion))
    return [one for one in made if one is not None]


def _settings(pipeline: Pipeline) -> str:
    chosen = pipeline.score.model_dump(
        include={"method", "alert_rate", "alert_rate_of", "cells", "denoise", "shard_rows"}
    )
    return hashlib.sha256(json.dumps([__version__, chosen], sort_keys=True).encode()).hexdigest()


def score_shard(pipeline: Pipeline, plan: ShardPlan, number: int) -> ShardRecord:
    """Score one shard into the shared stage; one that is scored already is left as it is.

    Args:
        pipeline: from `config.load`.
        plan: from `plan`.
        number: of the shard, from 0.

    Raises:
        DataError: the partition changed, or the pipeline did, since the plan was made; or a file cannot be read.
        StoreError: the model was tampered with, or the output cannot be written.
    """
    recover(Folder(pipeline.output), slug_of(plan.partition))
    run = _ShardedRun(pipeline, plan)
    if (done := run.done(number)) is not None:
        log.info("%s was scored before", plan.names[number])
        return done
    log.info("scoring %s of %s with %s", plan.names[number], pipeline.name, plan.model_version)
    below = f"{number:04d}.{mark()}"
    run.commit = Commit(run.folder, slug_of(plan.partition), run.stage, below)
    try:
        run.score_shard(run.shards[number])
        run.commit.sync()  # before there is a record of it
        run.tally.seconds, run.tally.peak_memory_mb = time.perf_counter() - run.clock, peak_memory_mb()
        record = ShardRecord(
            tally=run.tally,
            counts=run.guard.counts.tolist(),
            odd=run.guard.odd.tolist(),
            moves=run.commit.moves,
            written=run.written,
        )
        run.folder.write(run.at(number), record.model_dump_json().encode())
    except BaseException:
        with contextlib.suppress(Exception):  # what went wrong is to be told, not what follows from it
            run.folder.remove(f"{run.stage.name}/{below}")
        raise
    tally = record.tally
    log.info("%d rows, %d anomalies, %.2f s", tally.rows, tally.anomalies, tally.seconds)
    return record


def commit_shards(pipeline: Pipeline, plan: ShardPlan) -> RunRecord:
    """Move all shards of a partition into place at once, or refuse it as a whole.

    Args:
        pipeline: from `config.load`.
        plan: from `plan`.

    Returns:
        The partition's record, also when it was committed before.

    Raises:
        UnfamiliarError: the guard refused the partition.
        DataError: a shard is not scored, or the partition or the pipeline changed since the plan was made.
    """
    clock = time.perf_counter()
    recover(Folder(pipeline.output), slug_of(plan.partition))
    run = _ShardedRun(pipeline, plan)
    before = read_latest(run.folder, plan.partition)
    if before is not None and before.plan == plan.id:
        log.info("%s was committed before", plan.partition or "the source")
        if before.outcome != "scored":
            raise run.refusal(before)
        return before
    run.clock = clock
    try:
        return run.execute()
    except UnfamiliarError:
        with contextlib.suppress(Exception):
            discard(run.folder, run.stage.name)
        raise


class _ShardedRun(TableRun):
    """A run whose shards are scored by several processes, each of which makes one of these."""

    def __init__(self, pipeline: Pipeline, plan: ShardPlan) -> None:
        where, files = find_files(pipeline, plan.partition or None, None, pipeline.source.format)
        target = find_target(pipeline, files, None, None)
        name = plan.partition or "the source"
        if fingerprint(files) != plan.input_fingerprint:
            raise DataError("changed while it was scored", where=name, mend=_AGAIN)
        if _settings(pipeline) != plan.settings:
            raise DataError("the pipeline's settings changed while it was scored", where=name, mend=_AGAIN)
        version = load_version(
            Registry(pipeline.output), plan.model_version, pipeline.score.alert_rate, pipeline.score.method
        )
        super().__init__(pipeline, version, where, files, pipeline.source.format, target, time.perf_counter())
        self.plan_id = plan.id
        self.stage = SharedStage(target, slug_of(where), plan.id)
        self.commit = Commit(target, slug_of(where), self.stage)

    def at(self, number: int) -> str:
        """Where a shard's record is."""
        return f"{self.stage.name}/{number:04d}.json"

    def done(self, number: int) -> ShardRecord | None:
        """What a shard's task left; None when it is not scored, or what it wrote is not there any more."""
        try:
            record = ShardRecord.model_validate_json(self.folder.read(self.at(number)))
        except (FileNotFoundError, ValidationError):
            return None
        return record if all(map(self.folder.exists, record.moves.values())) else None

    def _stream(self) -> None:
        """Count together what all shards left."""
        self.flagged_up_to = self.pipeline.score.alert_rate
        missing = []
        for shard in self.shards:
            if (record := self.done(shard.number)) is None:
                missing.append(shard.number)
            else:
                self._add(record)
        if missing:
            numbers = ", ".join(str(number + 1) for number in missing[:20])
            raise DataError(
                f"{len(missing)} of {len(self.shards)} shards are not scored ({numbers})",
                where=self.partition or "the source",
                mend="See their tasks' logs, and let those run again",
            )
        self.stage.open()

    def _add(self, record: ShardRecord) -> None:
        own, more = self.tally, record.tally
        summed = {name: getattr(own, name) + getattr(more, name) for name in vars(own)}
        summed["peak_memory_mb"] = max(own.peak_memory_mb, more.peak_memory_mb)
        self.tally = Tally(**summed)
        self.guard.add(more.rows, np.array(record.odd, np.int64), np.array(record.counts, np.int64))
        self.commit.moves |= record.moves
        self.written |= record.written
