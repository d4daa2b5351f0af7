"""A run: one partition is scored, and all of it is committed at once, or refused, or nothing has changed."""

from __future__ import annotations

import re
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import ClassVar, Literal

import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.alarms import few_calibration_rows
from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.drift import p_value_drift
from ae_plugin.core.histogram import quantiles, unit_of
from ae_plugin.core.plane import Sketch
from ae_plugin.core.values import Floats
from ae_plugin.engines.cuts import WHOLE, Shard
from ae_plugin.engines.local import GROUP_ROWS, Writer
from ae_plugin.engines.threads import prefetch
from ae_plugin.errors import DataError, StoreError, UnfamiliarError
from ae_plugin.jobs.machine import peak_memory_mb
from ae_plugin.jobs.origin import airflow_task
from ae_plugin.jobs.portrait import profile_of
from ae_plugin.jobs.staged import Sink
from ae_plugin.jobs.story import tell_end, tell_start
from ae_plugin.jobs.summary import decision_words
from ae_plugin.schemas import ColumnProfile, DecisionRecord, GuardVerdict, Method, RunRecord
from ae_plugin.store.commit import Commit, recover
from ae_plugin.store.decisions import read_decision
from ae_plugin.store.files import Folder, SourceFile, fingerprint
from ae_plugin.store.runs import LATEST, PROFILES, RUNS, read_latest, slug_of
from ae_plugin.store.staging import sweep

PART = re.compile(r"part-\d+\.parquet")
TOP_COLUMNS = 10
QUANTILES = (0.5, 0.9, 0.99)


@dataclass
class Tally:
    """What was counted as the partition went by; `seconds` and `peak_memory_mb` are of other processes' part in it.

    `p_values`: see `core/drift.py`; `scores`: see `core/histogram.py`; `sketch`: see `core/plane.py`; `top_columns`:
    anomalous rows by the column that they are worst in.
    """

    rows: int = 0
    anomalies: int = 0
    unreadable: int = 0
    flagged: int = 0
    repaired: int = 0
    imputed: int = 0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    p_values: Counter[int] = field(default_factory=Counter)
    scores: Counter[int] = field(default_factory=Counter)
    sketch: Sketch = field(default_factory=Sketch)
    top_columns: Counter[str] = field(default_factory=Counter)


class Run(ABC):
    """One partition being scored.

    Args:
        pipeline: whose source it is of.
        partition: its hive path.
        files: of the partition.
        folder: what is written to.
        clock: `time.perf_counter` when the job began.

    Attributes:
        datasets: what a scored partition is made of, by name.
        unit: what a row is.
        group_rows: rows of a row group of what is written.
        shards: parts that the partition is scored in.
        plan_id: names the plan by which several processes score them.
        model_version: what scores it.
        method: how.
        calibration: scores of the rows that its p-values are made of, increasing.
        schema: of the source, and so of `quarantine/`.
    """

    datasets: ClassVar[tuple[str, ...]]
    unit: ClassVar[Literal["row", "picture"]] = "row"
    group_rows: ClassVar[int] = GROUP_ROWS
    shards: Sequence[Shard] = (WHOLE,)
    plan_id: str | None = None
    model_version: str
    method: Method
    calibration: Floats
    schema: pa.Schema

    def __init__(
        self, pipeline: Pipeline, partition: str, files: list[SourceFile], folder: Folder, clock: float
    ) -> None:
        self.pipeline, self.partition, self.files, self.folder, self.clock = pipeline, partition, files, folder, clock
        self.started = datetime.now(timezone.utc)
        self.tally, self.written = Tally(), dict[str, str]()
        self.flagged_up_to: float | None = None
        self.release: DecisionRecord | None = None
        self.commit = Commit(folder, slug_of(partition))

    @property
    def calibration_rows(self) -> int:
        """Rows that the p-values are made of."""
        return len(self.calibration)

    @cached_property
    def unit_of_scores(self) -> float:
        """What scores are counted in."""
        return unit_of(self.calibration)

    @property
    def scored_before(self) -> bool:
        """Whether a run of this partition wrote to the output before: its folders there are ours, then."""
        return self.folder.exists(f"{LATEST}/{slug_of(self.partition)}.json")

    def _stale(self, outputs: dict[str, str]) -> list[str]:
        """What an earlier run of this partition wrote, and this one does not: files, and folders (they end in `/`)."""
        if not self.scored_before:
            return []
        # The record too: a store may be slow to list what it holds. And the listing: a refusal's record names no files.
        before = read_latest(self.folder, self.partition)
        found = {*(before.outputs if before else ())}
        for dataset in (*self.datasets, "quarantine"):
            folder, _, name = self.path(dataset).rpartition("/")
            if not name:
                found.add(f"{folder}/")
            else:
                found |= {f"{folder}/{other}" for other in self.folder.names(folder) if PART.fullmatch(other)}
        return sorted(name for name in found if name not in outputs)

    def check_ours(self, name: str) -> None:
        """See that a folder, which will be replaced as a whole, holds nothing that is not ours.

        Raises:
            StoreError: it holds something, and no run of this partition wrote here before.
        """
        if not self.scored_before and self.folder.names(name.rstrip("/")):
            where, mend = f"{self.folder.uri}/{name}", "Move them away, or choose another output"
            raise StoreError("holds files that no run of this partition wrote", where=where, mend=mend)

    @abstractmethod
    def _stream(self) -> None:
        """Score the partition into staged files (see `writers`), counting what goes by."""

    @abstractmethod
    def _verdict(self) -> GuardVerdict:
        """What the guard says of all that went by."""

    @abstractmethod
    def _source(self) -> Iterator[pa.RecordBatch]:
        """The source's rows, as they are."""

    def execute(self) -> RunRecord:
        """Score the partition, and commit or refuse it.

        Raises:
            UnfamiliarError: the guard refused it, or a person discarded it.
        """
        fresh = self.folder.missing()
        self.folder.makedirs()
        recover(self.folder)
        sweep(self.folder)
        tell_start(self.pipeline.name, self.partition, self.model_version, self.files)
        try:
            self._stream()
            verdict = self._verdict()
            refused = verdict.verdict == "unfamiliar" and self.pipeline.score.on_unfamiliar != "score"
            # As late as can be: somebody may decide while the partition is scored.
            if (decided := self._decided()) and refused:
                self.release, refused = decided, False
            record = self._refuse(verdict) if refused else self._accept(verdict)
        except BaseException:
            self.commit.abandon()
            self.folder.remove_empty(fresh)
            raise
        tell_end(record, self.folder.uri, self.calibration_rows)
        if refused:
            raise self.refusal(record)
        return record

    def _to_remove(self, outcome: str, outputs: dict[str, str]) -> list[str]:
        """What is not to be there after the commit: quarantined rows too, if somebody discarded them meanwhile."""
        found = read_decision(Folder(self.pipeline.output), self.partition) if outcome == "quarantined" else None
        if found is not None and found.decision == "discard" and found.fingerprint == fingerprint(self.files):
            return sorted({*self._stale({}), *outputs})
        return self._stale(outputs)

    def _decided(self) -> DecisionRecord | None:
        """What a person decided on these very files: None, or a release.

        Raises:
            UnfamiliarError: they were discarded.
        """
        found = read_decision(Folder(self.pipeline.output), self.partition)
        if found is None or found.fingerprint != fingerprint(self.files):
            return None
        if found.decision == "discard":
            name, mend = self.partition or "the source", "`ae release` takes that back"
            raise UnfamiliarError(f"unfamiliar data, {decision_words(found)}", where=name, mend=mend)
        return found

    @contextmanager
    def writers(self, schemas: dict[str, pa.Schema], part: int = 0) -> Iterator[dict[str, Sink]]:
        """One staged file or folder for each dataset; finished at the end, let go of when anything fails."""
        found: dict[str, Sink] = {}
        try:
            for name, schema in schemas.items():
                found[name] = self._sink(name, schema, part)
            yield found
            for name in schemas:
                self.written[self.path(name, part)] = found[name].close()
                del found[name]
        except BaseException:
            for sink in found.values():
                sink.abort()
            raise

    def _sink(self, dataset: str, schema: pa.Schema, part: int) -> Sink:
        return Writer(self.folder, self.commit.staged(self.path(dataset, part)), schema, self.group_rows)

    def path(self, dataset: str, part: int = 0) -> str:
        """Where the partition's n-th file of a dataset lies, relative to the output; its folder, if it ends in `/`."""
        # In this way names come in order, and the first has the same name whether others follow or not.
        name = f"part-{part:04d}.parquet" if part else "part-0.parquet"
        return "/".join(piece for piece in (dataset, self.partition, name) if piece)

    def _accept(self, verdict: GuardVerdict) -> RunRecord:
        return self._commit(verdict, "scored", self.written)

    def _refuse(self, verdict: GuardVerdict) -> RunRecord:
        """Write nothing but the refusal, or the source rows into quarantine; what was scored before is withdrawn."""
        self.commit.abandon()
        self.commit = Commit(self.folder, slug_of(self.partition))
        if self.pipeline.score.on_unfamiliar == "fail":
            return self._commit(verdict, "refused", {})
        self.written = {}
        with self.writers({"quarantine": self.schema}) as writers:
            rows = 0
            for batch in prefetch(self._source()):
                writers["quarantine"].write(batch)
                rows += batch.num_rows
        if rows != self.tally.rows:
            what, mend = (
                f"held {self.tally.rows} rows, and {rows} when they were set aside",
                "The next run judges it anew",
            )
            raise DataError(what, where=self.partition or "the source", mend=mend, transient=True)
        return self._commit(verdict, "quarantined", self.written)

    def _commit(self, verdict: GuardVerdict, outcome: str, outputs: dict[str, str]) -> RunRecord:
        tally, slug = self.tally, slug_of(self.partition)
        seconds = time.perf_counter() - self.clock + tally.seconds
        digest = fingerprint(self.files)
        counted, tables = outcome == "scored", self.unit == "row"
        record = RunRecord(
            run_id=f"{self.started:%Y%m%dT%H%M%S}-{slug}-{uuid.uuid4().hex[:6]}",
            pipeline=self.pipeline.name,
            model_version=self.model_version,
            method=self.method,
            partition=self.partition,
            shards=len(self.shards),
            plan=self.plan_id,
            outcome=outcome,
            rows=tally.rows,
            anomalies=tally.anomalies,
            alert_rate=self.pipeline.score.alert_rate,
            alert_rate_of=self.pipeline.score.alert_rate_of,
            flagged_up_to=self.flagged_up_to,
            observed_alert_rate=round(tally.anomalies / tally.rows, 6) if tally.rows else None,
            p_value_drift=p_value_drift(tally.p_values, self.calibration),
            score_quantiles=quantiles(tally.scores, QUANTILES, self.unit_of_scores),
            top_columns=dict(sorted(tally.top_columns.items(), key=lambda one: (-one[1], one[0]))[:TOP_COLUMNS]),
            unreadable_rows=tally.unreadable,
            cells_flagged=tally.flagged,
            cells_repaired=tally.repaired if counted and tables else 0,
            cells_imputed=tally.imputed if counted else 0,
            pictures_repaired=None if tables else tally.repaired if counted else 0,
            guard=verdict,
            notes=self._notes(),
            seconds=round(seconds, 3),
            rows_per_second=round(tally.rows / max(seconds, 1e-9), 1),
            peak_memory_mb=max(peak_memory_mb(), tally.peak_memory_mb),
            started_at=self.started.isoformat(timespec="seconds"),
            calibration_rows=self.calibration_rows,
            input_files=len(self.files),
            input_bytes=sum(file.size for file in self.files),
            input_fingerprint=digest,
            outputs=outputs,
            airflow=airflow_task(),
        )
        text = record.model_dump_json(indent=1).encode()
        for name in (f"{RUNS}/{record.run_id}.json", f"{LATEST}/{slug}.json"):
            self.folder.write(self.commit.staged(name), text)
        profile = profile_of(record, tally.scores, self.calibration, tally.sketch, self._columns())
        self.folder.write(self.commit.staged(f"{PROFILES}/{slug}.json"), profile.model_dump_json().encode())
        if outcome != "refused":  # then what was scored before stays
            self.commit.stale = lambda: self._to_remove(outcome, outputs)
        self.commit.apply()
        return record

    def _columns(self) -> list[ColumnProfile]:
        """How the values of columns are spread; pictures have none."""
        return []

    def _notes(self) -> list[str]:
        notes = [f"unfamiliar, and scored since it was {decision_words(self.release)}"] if self.release else []
        have, needed = self.calibration_rows, rows_needed(self.pipeline.score.alert_rate)
        if have < needed:
            notes.append(
                f"no row can be flagged: {have} calibration rows, but alert_rate "
                f"{self.pipeline.score.alert_rate:g} needs {needed}"
            )
        elif self.pipeline.score.alert_rate_of == "alarms":
            notes += few_calibration_rows(self.pipeline.score.alert_rate, have, self.tally.rows)
        if not self.tally.rows:
            notes.append("the partition holds no rows")
        return notes

    def refusal(self, record: RunRecord) -> UnfamiliarError:
        """What to raise of a partition that the guard refused."""
        kept = next(iter(record.outputs), None)
        mend = (
            f"Its {self.unit}s are in {self.folder.uri}/{kept}" if kept else "What was scored before is left as it is"
        )
        why = "; ".join(record.guard.reasons[:3]) or "most columns are far from training"
        name = self.partition or "the source"
        error = UnfamiliarError(
            f"unfamiliar data, refused ({why})",
            where=name,
            mend=f"{mend}; look at it, then release or discard it, or train anew",
        )
        error.record = record
        return error
