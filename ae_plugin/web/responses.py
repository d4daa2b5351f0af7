"""What the API answers, and what it is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ae_plugin.latent_schemas import LatentNote, TraverseRecord
from ae_plugin.schemas import (
    Decision,
    FeedbackMark,
    ModelEntry,
    Profile,
    RowVerdict,
    RunRecord,
    TrainReport,
    Verdict,
)

State = Literal[
    "quiet", "alarm", "drifted", "refused", "waiting", "cannot_alarm", "no_model", "nothing_scored", "unreadable"
]
"""Of a pipeline, by its newest partition.

`alarm`: more flagged rows than chance explains at the promised rate. `waiting`: an older partition was refused, and
nobody decided on it. `cannot_alarm`: too few calibration rows to flag any.
"""
Outcome = Literal["scored", "quarantined", "refused"]
Picture = Literal["original", "denoised", "heatmap", "mask"]


class RatePoint(BaseModel):
    """One partition of a sparkline."""

    partition: str
    observed_alert_rate: float | None
    alarm: bool = Field(description="More rows are flagged than chance explains, 99 times in 100.")
    outcome: Outcome
    verdict: Verdict


class PipelineSummary(BaseModel):
    """One pipeline at a glance."""

    name: str
    pictures: bool = Field(False, description="Of pictures rather than of a table.")
    state: State = "nothing_scored"
    problem: str | None = Field(None, description="Why it is `unreadable`, in one line.")
    champion: str | None = None
    champion_since: str | None = Field(None, description="When it became champion; ISO 8601, UTC.")
    champion_trained_at: str | None = Field(None, description="ISO 8601, UTC.")
    challenger: str | None = Field(None, description="The newest version, when it is not the champion.")
    partitions_scored: int = 0
    waiting: int = Field(0, description="Refused partitions that nobody released or discarded.")
    last_partition: str | None = None
    last_verdict: Verdict | None = None
    last_outcome: Outcome | None = None
    last_scored_at: str | None = Field(None, description="ISO 8601, UTC.")
    rows: int | None = Field(None, description="Of the last partition.")
    anomalies: int | None = None
    observed_alert_rate: float | None = None
    alert_rate: float = 0.0
    expected: tuple[float, float] | None = Field(None, description="Where the rate lies 99 times in 100, if normal.")
    recent: list[RatePoint] = Field(default_factory=list, description="The newest 30 partitions, oldest first.")


class PipelineList(BaseModel):
    """Some of the pipelines that the caller may read."""

    total: int = Field(description="That match the search, on all pages.")
    left: int = Field(0, description="Pipelines that are still to be read, just after a server's start: ask again.")
    counts: dict[State, int] = Field(description="Pipelines that match the search, by state, whatever state is asked.")
    pipelines: list[PipelineSummary]


class PipelineDetail(BaseModel):
    """A pipeline, and what may be done with it."""

    summary: PipelineSummary
    may_decide: bool = Field(description="Whether the caller may edit its DAG.")
    source: str
    output: str
    partition_by: list[str]
    keys: list[str]
    train_dag: str
    score_dag: str
    train_schedule: str | None
    score_schedule: str
    promote: Literal["auto", "approval", "never"]
    on_unfamiliar: Literal["score", "quarantine", "fail"]
    denoise: Literal["repair", "full"]


class RunList(BaseModel):
    """The newest run of each partition, whole."""

    runs: list[RunRecord]


class TimelinePoint(BaseModel):
    """One partition's newest run."""

    partition: str
    run_id: str
    model_version: str
    outcome: Outcome
    verdict: Verdict
    rows: int
    anomalies: int
    observed_alert_rate: float | None
    expected: tuple[float, float] | None = Field(description="Where the rate lies 99 times in 100, if normal.")
    score_quantiles: dict[str, float] = Field(description='"0.5", "0.9", "0.99" -> anomaly score; empty if unknown.')
    top_columns: dict[str, int] = Field(description="Column -> anomalous rows it is worst in.")
    p_value_drift: float | None
    started_at: str
    input_fingerprint: str = Field(description="Of the files that it was: what `seen` of a decision means.")
    decision: Decision | None = Field(None, description="What somebody decided on a refused partition.")


class Timeline(BaseModel):
    """The newest runs, in partition order."""

    total: int
    alert_rate: float
    points: list[TimelinePoint]


class PartitionDetail(BaseModel):
    """One partition: its run, what it looked like, and its neighbours."""

    run: RunRecord
    expected: tuple[float, float] | None
    profile: Profile | None = Field(description="Null of runs from before it was kept.")
    previous: str | None
    next: str | None
    may_decide: bool
    decision: DecisionMade | None
    columns: list[str] = Field(description="Of the source, in its order.")
    keys: list[str]


class DecisionMade(BaseModel):
    """What somebody decided on a refused partition."""

    decision: Decision
    who: str | None
    when: str
    note: str | None


class WrongCell(BaseModel):
    """A cell that does not fit the rest of its row."""

    column: str
    observed: str | None
    expected: str | None
    cell_error: float | None
    p_value: float | None


class AnomalousRow(BaseModel):
    """A flagged row, its wrong cells, and the last word that was said on it."""

    row: int
    keys: dict[str, str | None]
    anomaly_score: float
    p_value: float
    top_column: str | None
    cells: list[WrongCell]
    feedback: FeedbackMark | None


class RowPage(BaseModel):
    """Some of a partition's flagged rows, worst first."""

    total: int = Field(description="Flagged rows that pass the filter.")
    flagged: int = Field(description="Flagged rows in all; of more than 100,000 the worst can be paged.")
    seen: str = Field(description="`input_fingerprint` of the run that they are of, for an order on them.")
    columns: dict[str, int] = Field(description="Column -> flagged rows in which it is worst, most first, at most 50.")
    rows: list[AnomalousRow]


class CellValue(BaseModel):
    """One cell of a row: as the source has it, and as `denoised/` has it."""

    column: str
    observed: str | None
    denoised: str | None
    changed: bool


class RowValues(BaseModel):
    """A whole row."""

    row: int
    values: list[CellValue]


class RowValuesList(BaseModel):
    """Whole rows, in the order asked for."""

    rows: list[RowValues]


class ModelList(BaseModel):
    """A pipeline's model versions, oldest first."""

    models: list[ModelEntry]
    may_decide: bool = False
    former: list[str] = Field(default_factory=list, description="Versions that were champion before, newest first.")


class CalibrationLine(BaseModel):
    """From which score on a row is flagged at an alert rate."""

    alert_rate: float
    threshold: float | None = Field(description="Null: so few calibration rows allow no alarm.")
    by_chance: int = Field(description="Calibration rows at or above it.")


class PointerMove(BaseModel):
    """One move of the champion's pointer."""

    version: str
    at: str
    by: str
    why: str


class VersionDetail(BaseModel):
    """One model version."""

    entry: ModelEntry
    report: TrainReport | None
    calibration: list[CalibrationLine]
    moves: list[PointerMove] = Field(description="When it became champion, oldest first.")


class Difference(BaseModel):
    """One thing that differs between two versions."""

    what: str
    one: str
    other: str


class VersionComparison(BaseModel):
    """What changed from one version to another."""

    one: str
    other: str
    differences: list[Difference]


class Context(BaseModel):
    """What belongs to a DAG, a DAG run or a task instance of Airflow's."""

    pipeline: str | None = Field(description="Null: the DAG is none of a pipeline's.")
    verb: Literal["train", "score"] | None
    points: list[TimelinePoint] = Field(description="Partitions that this run, or task, scored last.")
    version: str | None = Field(None, description="The model version that this run trained.")
    problem: str | None = Field(None, description="Of the DAG of a YAML that does not load: why.")


class TraversedColumn(BaseModel):
    """A column at each step, as text."""

    column: str
    values: list[str | None]


class TraversedLatent(BaseModel):
    """One latent variable: its value at each step, and the columns that change; of pictures there are none."""

    note: LatentNote
    values: list[float]
    columns: list[TraversedColumn]


class TraversalView(BaseModel):
    """The newest traversal; null and empty where there is none."""

    record: TraverseRecord | None
    latents: list[TraversedLatent]


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FeedbackOrder(_Order):
    """Verdicts to keep: one for each row."""

    partition: str
    rows: list[Annotated[int, Field(lt=2**62)]] = Field(min_length=1, max_length=1000)
    verdict: RowVerdict
    column: str | None = None
    seen: str | None = Field(None, description="`input_fingerprint` of the run that was looked at.")
    note: str | None = Field(None, max_length=2000)


class FeedbackKept(BaseModel):
    """What was kept."""

    marks: list[FeedbackMark]


class PromoteOrder(_Order):
    """A version to make champion; `force`: whatever the gate said."""

    version: str
    force: bool = False


class RollbackOrder(_Order):
    """Go back to the champion before, or to a version."""

    version: str | None = None


class DecisionOrder(_Order):
    """What to do with a refused partition: score it at the next run, or leave it out for good."""

    partition: str
    decision: Decision
    seen: str | None = Field(None, description="`input_fingerprint` of the run that was looked at.")
    note: str | None = Field(None, max_length=2000)
