"""The pipeline YAML: every field, its default and its check. `docs/configuration.md` mirrors this file."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ae_plugin.errors import ConfigError, is_transient
from ae_plugin.places import check_apart, check_uri, is_absolute
from ae_plugin.schemas import AlertRateOf

OUTPUT_COLUMNS = frozenset(
    [
        "row",
        "anomaly_score",
        "p_value",
        "is_anomaly",
        "top_column",
        "error",
        "model_version",
        "column",
        "observed",
        "expected",
        "cell_error",
    ]
)
Format = Literal["parquet", "csv", "images"]
SHARD_ROWS = 4_000_000
PIPELINES_DIR = Path("dags/pipelines")
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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Section):
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


class Model(_Section):
    """Which network learns the table."""

    kind: Literal["auto", "dense"] = Field("auto", description="`auto` picks the network and its size from the data.")
    image_size: Literal["auto"] | int = Field(
        "auto",
        description="Of pictures. `auto`: at their own resolution, in tiles. A number: scaled to so many pixels on the "
        "longer side before the network sees them.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of everything random; same data and seed, same weights.")

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


class _Work(_Section):
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
        "asset", description="`asset`: after the source or the model changed; or a cron expression; null: by hand only."
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

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        return value if value in (None, "asset") else check_cron(str(value))


AlertEvent: TypeAlias = Literal["anomalies_above", "unfamiliar", "not_promoted"]


class Alert(_Section):
    """Whom Airflow tells of what."""

    when: list[AlertEvent] = Field(min_length=1, description="Of what: see the guide.")
    above: float | None = Field(
        None, gt=0, lt=1, description="`anomalies_above`: the share of a partition's rows from which on."
    )
    notifier: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$", description="Import path of a notifier of Airflow's."
    )
    args: dict[str, Any] = Field(default_factory=dict, description="Its arguments.")

    @model_validator(mode="after")
    def _share(self) -> Alert:
        if ("anomalies_above" in self.when) != (self.above is not None):
            raise ValueError("above goes with anomalies_above: give both or none")
        return self


class Pipeline(_Section):
    """One pipeline: a source, a model, a schedule, an output."""

    name: str = Field(
        description="Lower-case letters, digits, - and _; the DAGs are `<name>__train` and `<name>__score`."
    )
    source: Source
    model: Model = Field(default_factory=lambda: Model())
    train: Train = Field(default_factory=lambda: Train())
    score: Score = Field(default_factory=lambda: Score())
    promote: Literal["auto", "approval", "never"] = Field(
        "auto",
        description="`auto`: promote when the gate passes. `approval`: wait for a person. `never`: only by hand.",
    )
    alerts: list[Alert] = Field(default_factory=list, description="Whom Airflow tells of what.")
    output: str = Field(description="Folder (or URI) for every output of this pipeline, its models included.")

    _uri = field_validator("output")(check_uri)

    @field_validator("name")
    @classmethod
    def _slug(cls, value: str) -> str:
        return check_name(value)

    @model_validator(mode="after")
    def _no_output_column(self) -> Pipeline:
        for place in ("keys", "partition_by"):
            taken = sorted(set(getattr(self.source, place)) & OUTPUT_COLUMNS)
            if taken:
                raise ValueError(f"source.{place}: {taken[0]!r} is a column that the outputs have already; rename it")
        return self

    @model_validator(mode="after")
    def _of_tables_only(self) -> Pipeline:
        if self.source.format != "images":
            if self.model.image_size != "auto":
                raise ValueError(f"model.image_size: {self.model.image_size} is for pictures; leave it out")
            return self
        for place, chosen, wanted in (
            ("source.exclude", self.source.exclude, []),
            ("model.kind", self.model.kind, "auto"),
            ("score.method", self.score.method, "combined"),
            ("score.alert_rate_of", self.score.alert_rate_of, "rows"),
            ("score.cells", self.score.cells, "flagged"),
            ("score.shard_rows", self.score.shard_rows, SHARD_ROWS),
        ):
            if chosen != wanted:
                raise ValueError(f"{place}: {chosen!r} is for tables; pictures know only {wanted!r}")
        return self

    @model_validator(mode="after")
    def _apart(self) -> Pipeline:
        # How a relative and an absolute path lie is known once the former has its root: see `resolved`.
        if is_absolute(self.source.uri) == is_absolute(self.output):
            try:
                check_apart(self.source.uri, self.output)
            except ConfigError as error:
                raise ValueError(error.what) from error
        return self

    def resolved(self, root: Path) -> Pipeline:
        """Return a copy whose relative paths are taken from `root`; URIs with a scheme stay as they are.

        Raises:
            ValidationError: source and output turn out to overlap.
        """
        raw = self.model_dump()
        raw["source"]["uri"], raw["output"] = _absolute(self.source.uri, root), _absolute(self.output, root)
        return Pipeline.model_validate(raw)


def _absolute(uri: str, root: Path) -> str:
    return uri if is_absolute(uri) else str(root / uri)


def root_of(path: Path) -> Path:
    """Where relative paths in a YAML start: $AE_ROOT, else the parent of its `dags/`, else its own folder."""
    if os.environ.get("AE_ROOT"):
        return Path(os.environ["AE_ROOT"]).absolute()
    for folder in path.absolute().parents:
        if folder.name == "dags":
            return folder.parent
    return path.absolute().parent


def find(pipeline: str | Path) -> Path:
    """Turn a YAML's path, or the name of one in `dags/pipelines/`, into a path.

    Raises:
        ConfigError: there is no such file.
    """
    given = Path(pipeline)
    root = Path(os.environ.get("AE_ROOT", "."))
    for path in (given, root / PIPELINES_DIR / f"{pipeline}.yaml", root / PIPELINES_DIR / f"{pipeline}.yml"):
        with contextlib.suppress(OSError, ValueError):  # too long a name, or a NUL in it
            if path.is_file():
                return path
    raise ConfigError(
        "no such pipeline", where=str(pipeline), mend=f"Give a YAML's path, or the name of one in {PIPELINES_DIR}/"
    )


def load(pipeline: str | Path) -> Pipeline:
    """Read a pipeline YAML, with its paths resolved.

    Args:
        pipeline: a YAML's path, or the name of one in `dags/pipelines/`.

    Raises:
        ConfigError: the file is missing, is not YAML, or a field is unknown, missing or wrong.
    """
    path = find(pipeline)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"not readable as YAML ({reason})", where=str(path), transient=is_transient(error)) from error
    if not isinstance(raw, dict):
        raise ConfigError("not a pipeline", where=str(path), mend="It must be a mapping with name, source and output")
    try:
        return Pipeline.model_validate(raw).resolved(root_of(path))
    except ValidationError as error:
        raise ConfigError(_first_lines(error), where=str(path), mend="See docs/configuration.md") from error


def _first_lines(error: ValidationError) -> str:
    problems, items = [], error.errors(include_url=False, include_context=False)
    # `auto` or a number: pydantic complains of each by itself, at a place of its own below the key.
    choices = {item["loc"][:-1] for item in items if item["loc"] and str(item["loc"][-1]).startswith("literal[")}
    for item in items:
        loc, text = item["loc"], item["msg"].removeprefix("Value error, ")
        if loc and loc[:-1] in choices:
            if item["type"] == "literal_error":
                continue
            loc, text = loc[:-1], f"must be auto, or {text.removeprefix('Input should be ')}"
        place = ".".join(str(part) for part in loc)
        if item["type"] == "extra_forbidden":
            text = "unknown key"
        elif item["type"] == "missing":
            text = "is missing"
        problems.append(f"{place}: {text}" if place else text)
    return "; ".join(problems)
