"""Pipelines at a glance: what their newest runs say, read again only when something was written since."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ae_plugin.config import Pipeline
from ae_plugin.core.alarms import expected_rates
from ae_plugin.errors import AeError
from ae_plugin.schemas import AirflowTask, AlertRateOf, DecisionRecord, Verdict
from ae_plugin.store.decisions import DECISIONS, read_decision
from ae_plugin.store.files import Folder
from ae_plugin.store.partitions import in_order
from ae_plugin.store.registry import MODELS, Registry
from ae_plugin.store.runs import LATEST
from ae_plugin.versions import read_report
from ae_plugin.web.responses import Outcome, PipelineSummary, RatePoint, State, TimelinePoint

RECENT = 30
FRESH_SECONDS, PATIENT_SECONDS = 1.0, 0.15
"""So long all summaries hold together, and so long one request reads those that are new."""
STALE_SECONDS = 30.0
"""So long what was read from an object store holds: it cannot tell cheaply whether something was written."""
T = TypeVar("T")


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
    rows: int
    anomalies: int
    alert_rate: float
    alert_rate_of: AlertRateOf = "rows"
    calibration_rows: int | None = None
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
        if self.alert_rate_of == "alarms":
            return None
        return expected_rates(self.rows, self.alert_rate, self.calibration_rows)

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
    """What was made of something that has a stamp, kept as long as that does not change: the newest `most` of them."""

    most: int
    kept: dict[object, tuple[object, T]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: object, stamp: object, make: Callable[[], T]) -> T:
        """What is kept of a key at this stamp, or else made now."""
        with self.lock:
            before = self.kept.get(key)
        if before is not None and before[0] == stamp:
            return before[1]
        made = make()
        with self.lock:
            self.kept.pop(key, None)
            self.kept[key] = stamp, made
            while len(self.kept) > self.most:
                del self.kept[next(iter(self.kept))]
        return made


_summaries: Cache[PipelineSummary] = Cache(20_000)
_briefs: Cache[list[Brief]] = Cache(32)
_trained: Cache[str] = Cache(20_000)


def stamp_of(folder: Folder, names: Sequence[str]) -> tuple[object, ...]:
    """What changes when a file is put into one of these folders, or is replaced."""
    if not folder.local:
        return (int(time.monotonic() / STALE_SECONDS),)
    found = []
    for name in names:
        try:
            found.append(Path(folder.at(name)).stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


def briefs(pipeline: Pipeline) -> list[Brief]:
    """The newest run of each partition, in partition order."""
    folder = Folder(pipeline.output)
    return _briefs.get(pipeline.output, stamp_of(folder, [LATEST]), lambda: _read(folder, folder.names(LATEST)))


def _read(folder: Folder, names: Sequence[str]) -> list[Brief]:
    found = []
    for content in folder.read_all([f"{LATEST}/{name}" for name in names if name.endswith(".json")]):
        # One that another version of this package wrote counts as never scored.
        with suppress(ValidationError):
            found.append(Brief.model_validate_json(content))
    return sorted(found, key=lambda run: in_order(run.partition))


@dataclass
class _All:
    """All pipelines' summaries, as they were a moment ago: whoever asks at the same time gets the same."""

    found: dict[str, PipelineSummary] = field(default_factory=dict)
    at: float = 0.0
    whole: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


_all = _All()


def summaries(known: Mapping[str, Pipeline]) -> dict[str, PipelineSummary]:
    """Those pipelines that can be read in `PATIENT_SECONDS`, by name: all of them but just after a server's start."""
    with _all.lock:
        if not _all.whole or time.monotonic() - _all.at > FRESH_SECONDS:
            until = time.monotonic() + PATIENT_SECONDS
            before, _all.found = _all.found, {}
            for name, pipeline in known.items():
                if time.monotonic() < until:
                    _all.found[name] = summary(pipeline)
                elif name in before:
                    _all.found[name] = before[name]
            _all.whole = len(_all.found) == len(known)
            _all.at = time.monotonic()
        return _all.found


def forget() -> None:
    """Something was decided: who asks next is to see it."""
    _all.whole = False


def summary(pipeline: Pipeline) -> PipelineSummary:
    """One pipeline; of one that cannot be read, why."""
    try:
        folder = Folder(pipeline.output)
        stamp = (pipeline, *stamp_of(folder, [LATEST, MODELS, DECISIONS]))
        return _summaries.get((pipeline.name, pipeline.output), stamp, lambda: _summary(pipeline, folder))
    except AeError as error:
        told = {"name": pipeline.name, "state": "unreadable", "problem": str(error)}
        return PipelineSummary(**told, alert_rate=pipeline.score.alert_rate)


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
    return "quiet" if last.guard.verdict == "familiar" else "drifted"


def _trained_at(registry: Registry, version: str) -> str | None:
    try:
        return _trained.get((registry.folder.uri, version), None, lambda: read_report(registry, version).created_at)
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
