"""What comes out: Arrow schemas of the outputs, and the JSON that jobs return and store."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Literal

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

Verdict = Literal["familiar", "drifted", "unfamiliar"]
AlertRateOf = Literal["rows", "alarms"]
Method = Literal["combined", "reconstruction"]
RowVerdict = Literal["false_alarm", "confirmed"]
Decision = Literal["release", "discard"]


def scores_schema(keys: list[pa.Field]) -> pa.Schema:
    """Schema of `scores/`: one row per input row, in input order."""
    return pa.schema(
        [
            *keys,
            pa.field("row", pa.int64(), nullable=False),
            pa.field("anomaly_score", pa.float32()),
            pa.field("p_value", pa.float32()),
            pa.field("is_anomaly", pa.bool_()),
            pa.field("top_column", pa.string()),
            pa.field("error", pa.string()),
            pa.field("model_version", pa.string(), nullable=False),
        ]
    )


def cells_schema(keys: list[pa.Field]) -> pa.Schema:
    """Schema of `cells/`: one row per anomalous cell."""
    return pa.schema(
        [
            *keys,
            pa.field("row", pa.int64(), nullable=False),
            pa.field("column", pa.string(), nullable=False),
            pa.field("observed", pa.string()),
            pa.field("expected", pa.string()),
            pa.field("cell_error", pa.float32()),
            pa.field("p_value", pa.float32()),
        ]
    )


def heatmaps_schema(keys: list[pa.Field]) -> pa.Schema:
    """Schema of `heatmaps/`: one row per anomalous picture; both are grey PNGs of its size, 255 the most."""
    return pa.schema(
        [
            *keys,
            pa.field("row", pa.int64(), nullable=False),
            pa.field("heatmap", pa.binary(), nullable=False),
            pa.field("mask", pa.binary(), nullable=False),
        ]
    )


def feedback_schema(keys: list[pa.Field]) -> pa.Schema:
    """Schema of `feedback/`: one row per verdict that a person gave on a source row."""
    return pa.schema(
        [
            *keys,
            pa.field("partition", pa.string(), nullable=False),
            pa.field("row", pa.int64(), nullable=False),
            pa.field("verdict", pa.string(), nullable=False),
            pa.field("column", pa.string()),
            pa.field("note", pa.string()),
            pa.field("when", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("who", pa.string()),
        ]
    )


class Record(BaseModel):
    """What is written as JSON, and read again: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Dump; in JSON mode infinities become null as they do in `model_dump_json`."""
        if options.pop("mode", "python") == "json":
            dumped: dict[str, Any] = json.loads(self.model_dump_json(**options))
            return dumped
        return super().model_dump(**options)


class ColumnReason(Record):
    """One column's part in a guard verdict."""

    column: str
    reason: str
    effect: float = Field(description="Share of values that lie elsewhere than in training, or do not fit their row.")
    limit: float = Field(description="The share that training partitions and chance allow.")


class GuardVerdict(Record):
    """Is this partition the kind of data that the model knows?"""

    verdict: Verdict
    reasons: list[str]
    columns: list[ColumnReason]


class AirflowTask(Record):
    """The task instance that ran a job, when Airflow did."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


class ColumnProfile(Record):
    """How one column's values fell into parts, in a partition and in training; shares sum to 1, nulls included."""

    column: str
    kind: Literal["number", "category", "text", "time"]
    parts: list[str] = Field(description="What each part holds, in words: a range, a value, `null`, `never seen`.")
    now: list[float] = Field(description="Share of the partition's cells in each part.")
    training: list[float] = Field(description="Share of training's cells in each part.")
    moved: float = Field(description="Share of cells that lie elsewhere than in training, 0 to 1.")
    usual: float = Field(description="The share that training partitions and chance allow.")


class ScoreHistogram(Record):
    """How anomaly scores fell into bins; `edges` has one more entry than the counts."""

    edges: list[float]
    rows: list[int] = Field(description="Rows of the partition in each bin.")
    calibration: list[int] = Field(description="Calibration rows in each bin.")
    threshold: float | None = Field(description="The score from which on a row is flagged; null: none can be.")


class MapPoint(Record):
    """One row in the plane of the two directions in which training rows' latent codes differ most."""

    row: int
    x: float
    y: float
    anomaly_score: float
    p_value: float


class Profile(Record):
    """What a partition looked like when it was scored; stored as `_runs/_profiles/<partition>.json`."""

    run_id: str
    partition: str
    model_version: str
    columns: list[ColumnProfile] = Field(description="Those that moved most, at most 40; empty of pictures.")
    scores: ScoreHistogram | None
    points: list[MapPoint] = Field(description="A sample of all rows, at most 1,000; empty of pictures.")
    worst: list[MapPoint] = Field(description="The most anomalous flagged rows, at most 300; empty of pictures.")


class RunRecord(Record):
    """One partition's run; stored as `_runs/<run_id>.json`."""

    run_id: str
    pipeline: str
    model_version: str
    method: Method = "combined"
    partition: str = Field(description="Hive path of the partition, as `date=2013-01-29`; empty for a whole source.")
    shards: int = Field(1, description="Parts that it was scored in, each a file of every dataset.")
    plan: str | None = Field(None, description="Of a partition whose shards were tasks: names what they had in common.")
    outcome: Literal["scored", "quarantined", "refused"]
    rows: int = Field(ge=0, lt=2**53)
    anomalies: int = Field(ge=0, lt=2**53)
    alert_rate: float = Field(gt=0, lt=1)
    alert_rate_of: AlertRateOf = "rows"
    flagged_up_to: float | None = Field(None, description="Largest p-value that is flagged; 0: none is.")
    observed_alert_rate: float | None
    p_value_drift: float | None = Field(None, description="Distance of the p-values from calibration rows', 0 to 1.")
    score_quantiles: dict[str, float] = Field(
        default_factory=dict, description="`0.5`, `0.9`, `0.99` -> anomaly score, to 7%; empty of older runs."
    )
    top_columns: dict[str, int] = Field(default_factory=dict, description="Column -> anomalous rows it is worst in.")
    unreadable_rows: int
    cells_flagged: int
    cells_repaired: int
    cells_imputed: int
    pictures_repaired: int | None = Field(None, description="Pictures with repaired pixels; null of a table.")
    guard: GuardVerdict
    notes: list[str] = Field(description="What the user should know, in words.")
    seconds: float
    rows_per_second: float
    peak_memory_mb: float
    started_at: str
    calibration_rows: int | None = Field(
        None, ge=0, lt=2**53, description="Rows that the p-values are made of; null of older runs."
    )
    input_files: int | None = Field(None, description="Files of the partition.")
    input_bytes: int | None = Field(None, description="Bytes that they hold.")
    input_fingerprint: str = Field(description="sha256 of the partition's listing: paths, sizes, change times.")
    outputs: dict[str, str] = Field(description="Each output file, or folder (it ends in `/`), and its sha256.")
    airflow: AirflowTask | None = Field(None, description="The task that ran it; null outside Airflow.")


class GateResult(Record):
    """How well one scorer tells injected faults from held-out rows of the same table."""

    scorer: Literal["challenger", "untrained", "pca", "champion"]
    auroc: dict[str, float] = Field(description="Fault kind -> AUROC, 0.5 is chance.")
    mean: float


class Gate(Record):
    """The promotion gate's result."""

    passed: bool
    reasons: list[str]
    results: list[GateResult]
    champion: str | None = Field(None, description="The version compared with, when there was one.")


class ColumnNote(Record):
    """What became of one source column."""

    column: str
    type: str
    role: Literal["learned", "key", "excluded", "partition", "passed through"]
    kind: str = ""
    note: str = ""


class Explained(Record):
    """Shares of what differs between rows that a reconstruction accounts for: 1 is all of it, 0 what the mean does."""

    column: str = Field(description="Empty for all columns together.")
    network: float = Field(description="The network, every cell visible.")
    pca: float = Field(description="PCA, every cell visible.")
    network_hidden: float = Field(description="The network, the cell's group hidden.")
    pca_hidden: float = Field(description="PCA, the cell's group hidden.")


class Comparison(Record):
    """The network beside PCA of the same dimension, on rows that neither was fitted to."""

    rows: int
    dimension: int = Field(description="Components of PCA: latent_dim, or as many as there are features.")
    overall: Explained
    columns: list[Explained] = Field(description="Where the two differ most with the cell hidden; at most 40.")


class FeedbackMark(Record):
    """A person's verdict on one source row; `keys` as text."""

    partition: str = ""
    row: int = Field(ge=0)
    keys: dict[str, str | None] = Field(default_factory=dict)
    verdict: RowVerdict
    column: str | None = Field(None, description="The cell that it is about; null: the whole row.")
    note: str | None = None
    when: datetime
    who: str | None = None

    @field_validator("when")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        return value if value.tzinfo else value.replace(tzinfo=timezone.utc)


class FeedbackRecord(Record):
    """`ae feedback`: what was added, or (with `--list`) the last word on each row."""

    pipeline: str
    path: str | None = Field(description="The file written; null when only listed.")
    marks: list[FeedbackMark]


class DecisionRecord(Record):
    """What a person decided on a refused partition; stored as `decisions/<partition>.json`."""

    partition: str = Field(description="Hive path, as `date=2013-01-29`; empty for a whole source.")
    decision: Decision
    fingerprint: str = Field(description="`input_fingerprint` of the run looked at: it holds for those files alone.")
    who: str
    when: AwareDatetime
    note: str | None = None


class FeedbackUse(Record):
    """What became of the verdicts on rows."""

    confirmed: int = Field(0, description="Rows left out of everything.")
    false_alarms: int = Field(0, description="Rows trained on, each several times.")
    copies: int = Field(0, description="How many times each false alarm is trained on.")
    not_found: int = Field(0, description="Verdicts on rows that are no longer in their partition.")
    elsewhere: int = Field(0, description="Verdicts on rows of partitions that are not trained on.")


class TrainReport(Record):
    """One training's report; stored as `report.json` beside the weights."""

    pipeline: str
    model_version: str
    rows_seen: int
    rows_total: int
    rows_train: int
    rows_validation: int
    rows_calibration: int
    partitions: list[str]
    incidents: dict[str, str] = Field(default_factory=dict, description="Partition left out -> why.")
    columns: list[ColumnNote]
    features: int
    latent_dim: int
    steps: int
    steps_budget: int
    stopped_early: bool
    seconds: float
    rows_per_second: float
    peak_memory_mb: float
    validation_loss: float
    loss_curve: list[tuple[int, float, float]] = Field(description="(step, training loss, validation loss).")
    export_difference: float = Field(description="Largest |LiteRT - Keras| on real rows.")
    gate: Gate
    comparison: Comparison | None = Field(None, description="Absent in versions from before it was measured.")
    feedback: FeedbackUse = Field(default_factory=FeedbackUse)
    notes: list[str]
    created_at: str
    airflow: AirflowTask | None = Field(None, description="The task that ran it; null outside Airflow.")


class PromoteRecord(Record):
    """What promote or rollback did."""

    pipeline: str
    champion: str | None
    previous: str | None
    promoted: bool
    forced: bool = False
    reasons: list[str]


class ModelEntry(Record):
    """One line of `ae models`; of a version that cannot be read, `problem` says why and the rest is empty."""

    version: str
    pointers: list[str]
    created_at: str | None = None
    rows_train: int | None = None
    partitions: list[str] = Field(default_factory=list)
    gate_passed: bool | None = None
    validation_loss: float | None = None
    problem: str | None = None


class EvaluateRecord(Record):
    """`ae evaluate`: scores against a label column."""

    pipeline: str
    model_version: str
    label: str
    rows: int
    positives: int
    auroc: float
    average_precision: float
    precision: float
    recall: float
    f1: float
    observed_alert_rate: float
    false_alarm_rate: float
