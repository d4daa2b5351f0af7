"""Decide: a person looks at a refused partition, and has it scored all the same, or left out for good."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import cast, get_args

from ae_plugin.config import Pipeline
from ae_plugin.errors import ConfigError, DataError, EmptySourceError
from ae_plugin.jobs.inputs import find_files
from ae_plugin.jobs.people import check_words, this_user
from ae_plugin.jobs.run import PART
from ae_plugin.jobs.summary import decision_words
from ae_plugin.schemas import Decision, DecisionRecord, RunRecord
from ae_plugin.store.commit import Commit, recover
from ae_plugin.store.decisions import decided_on_files, name_of
from ae_plugin.store.files import PICTURES, Folder, SourceFile, fingerprint, list_source, partitions_of
from ae_plugin.store.partitions import partition_id
from ae_plugin.store.runs import read_latest, slug_of
from ae_plugin.store.staging import sweep

log = logging.getLogger(__name__)


def decide(
    pipeline: Pipeline,
    partition: str | None,
    decision: str,
    *,
    note: str | None = None,
    who: str | None = None,
    seen: str | None = None,
) -> DecisionRecord:
    """Release a refused partition, or discard it; a later decision takes the place of an earlier one.

    What is released is scored at the next run, whatever the guard says. What is discarded is not scored, not trained
    on and not counted as drift, and its rows in quarantine/ are removed. Both hold for the files that were refused,
    and are void when those change.

    Args:
        pipeline: from `config.load`.
        partition: its hive path (`date=2013-01-29`) or value; None or "" for a source without partitions.
        decision: `release` or `discard`.
        note: why.
        who: says so; None: the user that runs this.
        seen: `input_fingerprint` of the run that was looked at; None: the newest.

    Raises:
        ConfigError: there is no such partition or decision, or the partition is not refused.
        DataError: its files are not those that were looked at any more; or the source cannot be listed.
        StoreError: the output cannot be read or written.
    """
    if decision not in get_args(Decision):
        raise ConfigError(f"{decision!r} is no decision", mend="Say release or discard")
    check_words(note, who, where=f"ae {decision}")
    folder = Folder(pipeline.output)
    where, files = _find(pipeline, partition, folder, decision)
    recover(folder)
    sweep(folder)
    run = _refused(folder, where)
    # What has left the source can be discarded as it was: nothing will ever change it.
    now = fingerprint(files) if files else run.input_fingerprint
    if not run.input_fingerprint == now == (seen or now):
        what, mend = "changed since it was looked at", "The next run judges it afresh"
        raise DataError(what, where=where or "the source", mend=mend)
    record = DecisionRecord(
        partition=where,
        decision=cast("Decision", decision),
        fingerprint=now,
        who=who or this_user(),
        when=datetime.now(timezone.utc),
        note=note or None,
    )
    _keep(folder, record, files)
    log.info("%s of %s: %s", where or "the source", pipeline.name, decision_words(record))
    return record


def decisions(pipeline: Pipeline) -> dict[str, DecisionRecord]:
    """The decisions that still hold, by partition, in order: those on files that are in the source as they were.

    Raises:
        DataError: the source cannot be listed.
        StoreError: a decision cannot be read.
    """
    return decided_on_files(Folder(pipeline.output), partitions_of(list_source(pipeline.source)))


def discarded(pipeline: Pipeline, groups: dict[str, list[SourceFile]]) -> dict[str, DecisionRecord]:
    """Those of some partitions that somebody discarded, as they are now."""
    decided = decided_on_files(Folder(pipeline.output), groups)
    return {name: one for name, one in decided.items() if one.decision == "discard"}


def _find(pipeline: Pipeline, partition: str | None, folder: Folder, decision: str) -> tuple[str, list[SourceFile]]:
    """The partition and its files; none where they left the source since it was refused, and it is to be discarded."""
    try:
        return find_files(pipeline, partition or None, None, pipeline.source.format)
    except (ConfigError, EmptySourceError) as error:
        if decision == "discard" and error.where != "--partition":
            gone = partition_id(partition or "", pipeline.source.partition_by)
            if read_latest(folder, gone) is not None:
                return gone, []
        if isinstance(error, EmptySourceError):
            raise
        if error.where != "--partition":
            raise
        raise ConfigError(error.what, where="PARTITION", mend=error.mend) from error


def _refused(folder: Folder, partition: str) -> RunRecord:
    """A partition's newest run, which the guard refused; ConfigError when it is not so."""
    run, name = read_latest(folder, partition), partition or "the source"
    if run is None:
        raise ConfigError("was not scored yet, so nobody refused it", where=name, mend="Run `ae score`")
    if run.outcome == "scored":
        raise ConfigError(f"is not refused: {run.model_version} scored it", where=name)
    return run


def _keep(folder: Folder, record: DecisionRecord, files: list[SourceFile]) -> None:
    """Write a decision, and with it remove what it makes worthless: both, or neither."""
    commit = Commit(folder, slug_of(record.partition))
    if record.decision == "discard":
        commit.stale = lambda: _set_aside(folder, record, files)
    try:
        folder.write(commit.staged(name_of(record.partition)), record.model_dump_json(indent=1).encode())
        commit.apply()
    except BaseException:
        commit.abandon()
        raise


def _set_aside(folder: Folder, record: DecisionRecord, files: list[SourceFile]) -> list[str]:
    """What there is of a partition in quarantine/, unless another run has put other rows there meanwhile."""
    run = read_latest(folder, record.partition)
    if run is None or run.input_fingerprint != record.fingerprint:
        return []
    where = "/".join(piece for piece in ("quarantine", record.partition) if piece)
    whole = [name for name in run.outputs if name.startswith("quarantine/") and name.endswith("/")]
    if whole or (files and files[0].name.lower().endswith(PICTURES)):
        return whole or [f"{where}/"]
    listed = {f"{where}/{name}" for name in folder.names(where) if PART.fullmatch(name)}
    # The record's too: a store may be slow to list what it holds.
    return sorted(listed | {name for name in run.outputs if name.startswith("quarantine/")})
