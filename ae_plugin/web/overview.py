"""Pipelines at a glance: what their newest runs say, read again only when something was written since."""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ae_plugin.config import Pipeline
from ae_plugin.core.alarms import expected_rates
from ae_plugin.errors import AeError
from ae_plugin.schemas import AirflowTask, AlertRateOf, DecisionRecord, Verdict
from ae_plugin.store.decisions import DECISIONS, read_decision
from ae_plugin.store.files import Folder
from ae_plugin.store.partitions import in_order
from ae_plugin.store.registry import MODELS, Registry
from ae_plugin.store.runs import LATEST, slug_of
from ae_plugin.versions import read_report
from ae_plugin.web.responses import Outcome, PipelineSummary, RatePoint, State, TimelinePoint

RECENT = 30
TICK_NS = 50_000_000
STALE_SECONDS = 30.0
"""So long what was read from an object store holds: it cannot tell cheaply whether something was written."""
T = TypeVar("T")


def expected_of(rows: int, alert_rate: float, of: AlertRateOf, calibration: int | None) -> tuple[float, float] | None:
    """Where the observed rate of normal rows lies 99 times in 100; None: none can be flagged.

    Where the rate is one of alarms it is 0: a partition of normal rows has none, but for that share of them.
    """
    if of == "alarms":
        return (0.0, 0.0) if rows else None
    return expected_rates(rows, alert_rate, calibration)


Count = Annotated[int, Field(ge=0, lt=2**53)]


class _Word(BaseModel):
    verdict: Verdict


class Brief(BaseModel):
    """Of a run's record, what lists need."""

    model_config = ConfigDict(extra="ignore")

    partition: str
    run_id: str
    model_version: str
    outcome: Outcome
    guard: _Word
    rows: Count
    anomalies: Count
    alert_rate: float = Field(gt=0, lt=1)
    alert_rate_of: AlertRateOf = "rows"
    calibration_rows: Count | None = None
    observed_alert_rate: float | None
    score_quantiles: dict[str, float] = {}
    top_columns: dict[str, int] = {}
    p_value_drift: float | None
    started_at: str
    input_fingerprint: str
    airflow: AirflowTask | None = None

    @property
    def expected(self) -> tuple[float, float] | None:
        """Where the observed rate lies 99 times in 100, if all rows are normal."""
        return expected_of(self.rows, self.alert_rate, self.alert_rate_of, self.calibration_rows)

    @property
    def alarm(self) -> bool:
        """Whether more rows are flagged than chance explains."""
        expected, observed = self.expected, self.observed_alert_rate
        # The record's rate is rounded to six digits.
        return expected is not None and observed is not None and observed > expected[1] + 1e-6

    @property
    def point(self) -> TimelinePoint:
        """As the API tells it."""
        own = self.model_dump(exclude={"guard", "alert_rate", "alert_rate_of", "calibration_rows", "airflow"})
        return TimelinePoint(**own, verdict=self.guard.verdict, expected=self.expected)


@dataclass
class Cache(Generic[T]):
    """What was made of something that has a stamp, kept as long as that does not change: the newest `most` of them.

    Of several who ask for the same at once, one makes it, and the others wait.
    """

    most: int
    kept: dict[object, tuple[object, T]] = field(default_factory=dict)
    making: dict[object, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: object, stamp: object, make: Callable[[], T]) -> T:
        """What is kept of a key at this stamp, or else made now."""
        with self.lock:
            before, own = self.kept.get(key), self.making.setdefault(key, threading.Lock())
        if before is not None and before[0] == stamp:
            return before[1]
        with own:
            with self.lock:
                before = self.kept.get(key)
            if before is not None and before[0] == stamp:
                return before[1]
            made = make()
            with self.lock:
                self.kept.pop(key, None)
                self.kept[key] = stamp, made
                while len(self.kept) > self.most:
                    gone = next(iter(self.kept))
                    del self.kept[gone]
                    self.making.pop(gone, None)
            return made

    def drop(self, key: object) -> None:
        """Keep nothing of a key."""
        with self.lock:
            self.kept.pop(key, None)


log = logging.getLogger(__name__)
_summaries: Cache[PipelineSummary] = Cache(20_000)
_briefs: Cache[list[Brief]] = Cache(32)
_files: Cache[dict[str, tuple[str, Brief | None]]] = Cache(32)
_trained: Cache[str] = Cache(20_000)


def stamp_of(folder: Folder, names: Sequence[str]) -> tuple[object, ...]:
    """What changes when a file is put into one of these folders, or is replaced."""
    if not folder.local:
        # Each folder's half minutes start at another time, so that not all are read anew at once.
        return (int(time.monotonic() / STALE_SECONDS + zlib.crc32(folder.uri.encode()) / 2**32),)
    found: list[object] = []
    for name in names:
        try:
            changed = Path(folder.at(name)).stat().st_mtime_ns
        except OSError:
            changed = 0
        # A disk's clock ticks every few milliseconds: what changed just now may change again within the same tick.
        settled = not 0 <= time.time_ns() - changed < TICK_NS
        found.append(changed if settled else object())
    return tuple(found)


def briefs(pipeline: Pipeline) -> list[Brief]:
    """The newest run of each partition, in partition order; only records that changed are read again."""
    folder = Folder(pipeline.output)
    return _briefs.get(pipeline.output, stamp_of(folder, [LATEST]), lambda: _changed(folder))


def _changed(folder: Folder) -> list[Brief]:
    known, stamps = _files.get(folder.uri, None, dict), folder.stamps(LATEST)
    anew = [name for name, stamp in stamps.items() if name.endswith(".json") and known.get(name, ("",))[0] != stamp]
    for name in known.keys() - stamps.keys():
        del known[name]
    read = {slug_of(run.partition): run for run in _read(folder, anew)}
    for name in anew:
        known[name] = stamps[name], read.get(name.removesuffix(".json"))
    return sorted((run for _, run in known.values() if run is not None), key=lambda run: in_order(run.partition))


def _read(folder: Folder, names: Sequence[str]) -> list[Brief]:
    found = []
    for content in folder.read_all([f"{LATEST}/{name}" for name in names if name.endswith(".json")]):
        # One that another version of this package wrote counts as never scored.
        with suppress(ValidationError):
            found.append(Brief.model_validate_json(content))
    return sorted(found, key=lambda run: in_order(run.partition))


def summary(pipeline: Pipeline) -> PipelineSummary:
    """One pipeline; of one that cannot be read, why."""
    told = {"name": pipeline.name, "state": "unreadable", "alert_rate": pipeline.score.alert_rate}
    try:
        folder = Folder(pipeline.output)
        stamp = (pipeline, *stamp_of(folder, [LATEST, MODELS, DECISIONS]))
        return _summaries.get((pipeline.name, pipeline.output), stamp, lambda: _summary(pipeline, folder))
    except AeError as error:
        return PipelineSummary(**told, problem=str(error))
    except Exception:  # one pipeline's trouble is not to hide all others
        log.exception("%s cannot be read", pipeline.name)
        return PipelineSummary(**told, problem="cannot be read; the API server's log says why")


def forget(pipeline: Pipeline) -> None:
    """Something was decided on a pipeline: who asks next is to see it."""
    _summaries.drop((pipeline.name, pipeline.output))
    _briefs.drop(pipeline.output)


def _summary(pipeline: Pipeline, folder: Folder) -> PipelineSummary:
    registry = Registry(pipeline.output)
    champion, challenger = registry.pointer("champion"), registry.pointer("challenger")
    names = sorted((name for name in folder.names(LATEST) if name.endswith(".json")), key=in_order)
    runs = _read(folder, names[-RECENT:])
    last = runs[-1] if runs else None
    found = PipelineSummary(
        name=pipeline.name,
        pictures=pipeline.source.format == "images",
        champion=champion.version if champion else None,
        champion_since=champion.history[-1].at if champion and champion.history else None,
        champion_trained_at=_trained_at(registry, champion.version) if champion else None,
        challenger=challenger.version if challenger and champion and challenger.version != champion.version else None,
        partitions_scored=len(names),
        waiting=sum(run.outcome != "scored" and decision_on(folder, run) is None for run in runs),
        alert_rate=pipeline.score.alert_rate,
        recent=[_rate_point(run) for run in runs],
    )
    if last is None:
        found.state = "nothing_scored" if champion else "no_model"
        if challenger and not champion:
            found.challenger = challenger.version
        return found
    found.last_partition, found.last_scored_at = last.partition, last.started_at
    found.last_verdict, found.last_outcome = last.guard.verdict, last.outcome
    found.rows, found.anomalies = last.rows, last.anomalies
    found.observed_alert_rate, found.expected = last.observed_alert_rate, last.expected
    found.state = state_of(last)
    if found.waiting and found.state in ("quiet", "drifted"):
        found.state = "waiting"
    return found


def _rate_point(run: Brief) -> RatePoint:
    return RatePoint(
        partition=run.partition,
        observed_alert_rate=run.observed_alert_rate,
        alarm=run.alarm,
        outcome=run.outcome,
        verdict=run.guard.verdict,
    )


def state_of(last: Brief) -> State:
    """What a pipeline's newest partition says of it."""
    if last.outcome != "scored":
        return "refused"
    if last.alarm:
        return "alarm"
    if last.rows and last.expected is None:
        return "cannot_alarm"
    return "quiet" if last.guard.verdict == "familiar" else "drifted"


def _trained_at(registry: Registry, version: str) -> str | None:
    try:
        stamp = stamp_of(registry.folder, [f"{MODELS}/{version}"])
        return _trained.get((registry.folder.uri, version), stamp, lambda: read_report(registry, version).created_at)
    except AeError:
        return None  # the page of its models says what is wrong


def decision_on(folder: Folder, run: Brief) -> DecisionRecord | None:
    """What somebody decided on the very files that a run refused."""
    if run.outcome == "scored":
        return None
    found = read_decision(folder, run.partition)
    return found if found is not None and found.fingerprint == run.input_fingerprint else None


def timeline(pipeline: Pipeline, last: int) -> tuple[int, list[TimelinePoint]]:
    """How many partitions were scored or refused, and the newest of them, oldest first."""
    folder, runs = Folder(pipeline.output), briefs(pipeline)
    points = []
    for run in runs[-last:]:
        point, decision = run.point, decision_on(folder, run)
        point.decision = decision.decision if decision else None
        points.append(point)
    return len(runs), points
