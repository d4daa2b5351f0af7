"""Sections of the pipeline YAML: every field, its default and its check. `docs/configuration.md` mirrors this file."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ae_plugin.places import check_uri
from ae_plugin.schemas import AlertRateOf

Format = Literal["parquet", "csv", "images"]
SHARD_ROWS = 4_000_000
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def check_name(name: str) -> str:
    """Return `name` unchanged, or raise ValueError when it cannot name a pipeline."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} must start with a lower-case letter and hold only a-z, 0-9, - and _ (at most 63)")
    return name


def check_cron(text: str) -> str:
    """Return `text` unchanged, or raise ValueError when it is neither a cron expression nor a preset."""
    from croniter import croniter

    presets = {"@hourly", "@daily", "@weekly", "@monthly", "@yearly"}
    if text not in presets and not (len(text.split()) == 5 and croniter.is_valid(text)):
        raise ValueError(f"{text!r} is not a cron expression; five fields are wanted, as in '0 3 * * 1'")
    return text


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Section(BaseModel):
    """A part of the YAML: unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Section):
    """Where the table or the pictures are, and which of its columns are not to be learned."""

    uri: str = Field(description="A folder, file or glob: local, or s3://, gs://, abfs:// through fsspec.")
    format: Format = Field("parquet", description="How the files are written.")
    partition_by: Annotated[list[str], BeforeValidator(_listed)] = Field(
        default_factory=list,
        description="Hive key or keys; a partition is one value of them. Absent: the whole source is one partition.",
    )
    keys: Annotated[list[str], BeforeValidator(_listed)] = Field(
        default_factory=list, description="Row keys: passed through untouched, copied to every output, never learned."
    )
    exclude: Annotated[list[str], BeforeValidator(_listed)] = Field(
        default_factory=list, description="Columns passed through untouched and never learned."
    )

    _uri = field_validator("uri")(check_uri)

    @property
    def row_keys(self) -> list[str]:
        """What names a row: `keys`; of pictures without any their file, which those of a folder have."""
        return self.keys or (["file"] if self.format == "images" else [])

    @field_validator("partition_by", "keys", "exclude")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        twice = [name for name, count in Counter(value).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} is there twice")
        return value


class Model(Section):
    """Which network learns the table."""

    kind: Literal["auto", "dense", "variational"] = Field(
        "auto",
        description="`auto` picks the network and its size from the data. `variational`: codes are clouds; of pictures "
        "a model of whole ones, beside the network that scores.",
    )
    image_size: Literal["auto"] | int = Field(
        "auto",
        description="Of pictures. `auto`: at their own resolution, in tiles. A number: scaled to so many pixels on the "
        "longer side before the network sees them.",
    )
    latent_dim: Literal["auto"] | int | None = Field(
        None,
        description="Numbers that `ae embed` puts a row of a table in. `auto`: as many as are worth it, by the knee of "
        "the reconstruction error. Absent: what the network that scores has, 64.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of everything random; same data and seed, same weights.")

    @field_validator("latent_dim")
    @classmethod
    def _dimensions(cls, value: Any) -> Any:
        if value not in ("auto", None) and not 1 <= value <= 1_024:
            raise ValueError("must be auto, or a number from 1 to 1024")
        return value

    @field_validator("image_size")
    @classmethod
    def _pixels(cls, value: Any) -> Any:
        if value != "auto" and not 16 <= value <= 4_096:
            raise ValueError("must be auto, or a number of pixels from 16 to 4096")
        return value

    @property
    def longest(self) -> int | None:
        """`image_size` as a number; None for `auto`."""
        return None if self.image_size == "auto" else self.image_size


class _Work(Section):
    """Where the tasks that take long run."""

    queue: str | None = Field(None, min_length=1, description="Airflow queue of the task; absent: the default one.")
    pool: str | None = Field(None, min_length=1, description="Airflow pool of the task; absent: the default one.")

    @property
    def where(self) -> dict[str, str]:
        """Arguments of an operator: queue and pool, where they are given."""
        return self.model_dump(include={"queue", "pool"}, exclude_none=True)


class Train(_Work):
    """When to train, and on what."""

    schedule: str | None = Field(None, description="Cron expression of the train DAG; absent: by hand only.")
    partitions: int | None = Field(None, ge=1, description="Train on the newest N partitions; absent: on all of them.")
    until: str | None = Field(
        None, description="Newest partition to train on (inclusive); absent: the newest there is."
    )
    contamination: Literal["auto"] | float = Field(
        "auto", description="0: history is known to be normal. `auto`: it may hold anomalies."
    )
    steps: Literal["auto"] | int = Field(
        "auto", description="Training budget in mini-batches; `auto` follows the table."
    )
    on_drift: int | None = Field(
        None,
        ge=1,
        description="Train anew once so many partitions drifted, or are unfamiliar, since the last training.",
    )
    on_feedback: int | None = Field(
        None, ge=1, description="Train anew once there are so many verdicts on rows since the last training."
    )
    max_rows: int = Field(
        200_000, ge=200, description="Rows held in memory while training; longer history is sampled by row group."
    )

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        return value if value is None else check_cron(value)

    @field_validator("contamination")
    @classmethod
    def _share(cls, value: Any) -> Any:
        if value != "auto" and not 0 <= value < 0.5:
            raise ValueError("must be auto, or a share from 0 up to (not including) 0.5")
        return value

    @field_validator("steps")
    @classmethod
    def _steps(cls, value: Any) -> Any:
        if value != "auto" and not 1 <= value <= 1_000_000:
            raise ValueError("must be auto, or a number of steps from 1 to 1000000")
        return value

    @field_validator("until", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return value if value is None else str(value)


class Score(_Work):
    """When to score, how many false alarms to accept, and what to write."""

    schedule: str | None = Field(
        "asset",
        description="`asset`: after the source or the model changed. `partition`: a run for each partition that the "
        "source's events name. Or a cron expression; null: by hand only.",
    )
    partition_key: str | None = Field(
        None,
        description="With a cron expression: a run scores the partition of its date, written in this way (strftime).",
    )
    partition_offset: int = Field(
        0,
        ge=-1000,
        le=1000,
        description="Steps of the cron expression from a run to its partition; -1: the one before.",
    )
    method: Literal["combined", "reconstruction"] = Field(
        "combined",
        description="`combined`: distance from history, rarity, reconstruction error and hidden cells together. "
        "`reconstruction`: the reconstruction error alone; finds less, in half the time.",
    )
    alert_rate: float = Field(0.01, gt=0, lt=1, description="Share of normal rows that may be flagged.")
    alert_rate_of: AlertRateOf = Field(
        "rows",
        description="What `alert_rate` is a share of. `rows`: of the normal rows, so many may be flagged. "
        "`alarms`: of a partition's flagged rows, so many may be normal.",
    )
    cells: Literal["flagged", "all"] = Field(
        "flagged",
        description="Whose numbers are judged by the rest of their row. `flagged`: those of flagged rows. `all`: "
        "those of every row, to clean a table once; slower.",
    )
    at_once: int = Field(4, ge=1, description="Tasks of this pipeline that score at the same time, at most.")
    shard_rows: int = Field(
        SHARD_ROWS,
        ge=1_000,
        description="A Parquet partition of at least twice as many rows is cut into shards of about so many, between "
        "row groups; each is a task, and a file of every dataset.",
    )
    on_unfamiliar: Literal["score", "quarantine", "fail"] = Field(
        "quarantine", description="What to do with a partition that the model does not know."
    )
    denoise: Literal["repair", "full"] = Field(
        "repair", description="`repair`: replace wrong and missing cells only. `full`: write the whole reconstruction."
    )

    @property
    def keyed(self) -> bool:
        """Whether a run is of one partition, named by its key."""
        return self.schedule == "partition" or self.partition_key is not None

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        return value if value in (None, "asset", "partition") else check_cron(str(value))

    @field_validator("partition_key")
    @classmethod
    def _dated(cls, value: str | None) -> str | None:
        moments = (datetime(2001, 1, 1, 5, tzinfo=timezone.utc), datetime(2013, 11, 28, 5, tzinfo=timezone.utc))
        if value is not None and len({moment.strftime(value) for moment in moments}) < 2:
            raise ValueError(f"{value!r} says no date; '%Y-%m-%d' would")
        return value

    @model_validator(mode="after")
    def _with_cron(self) -> Score:
        if self.partition_key is not None and self.schedule in (None, "asset", "partition"):
            raise ValueError("partition_key goes with a cron expression in schedule")
        if self.partition_offset and self.partition_key is None:
            raise ValueError("partition_offset goes with partition_key")
        return self


AlertEvent: TypeAlias = Literal["anomalies_above", "unfamiliar", "not_promoted", "late"]
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Alert(Section):
    """Whom Airflow tells of what."""

    when: list[AlertEvent] = Field(min_length=1, description="Of what: see the guide.")
    above: float | None = Field(
        None, gt=0, lt=1, description="`anomalies_above`: the share of a partition's rows above which."
    )
    after: str | None = Field(
        None,
        pattern=r"^[1-9]\d{0,3}[mhd]$",
        description="`late`: how long after it was queued a score run should be done: `90m`, `2h` or `1d`.",
    )
    notifier: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$", description="Import path of a notifier of Airflow's."
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Its arguments.")

    @model_validator(mode="after")
    def _share(self) -> Alert:
        if ("anomalies_above" in self.when) != (self.above is not None):
            raise ValueError("above goes with anomalies_above: give both or none")
        if ("late" in self.when) != (self.after is not None):
            raise ValueError("after goes with late: give both or none")
        return self

    @property
    def patience(self) -> timedelta | None:
        """`after` as a length of time."""
        return None if self.after is None else timedelta(**{_UNITS[self.after[-1]]: int(self.after[:-1])})
