"""The pipeline YAML: its sections together, and how it is found and read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ae_plugin.errors import ConfigError, is_transient
from ae_plugin.places import check_apart, check_uri, is_absolute
from ae_plugin.sections import SHARD_ROWS, Alert, Model, Score, Section, Source, Train, check_name

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
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # as safe, and faster
_DEEPEST = 50
_NOT_YAML = (ValueError, OSError, LookupError, TypeError, AttributeError, OverflowError)
"""What PyYAML raises of tags that do not fit their values, beside its own errors."""
PIPELINES_DIR = Path("dags/pipelines")


class Pipeline(Section):
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
    def _partitioned(self) -> Pipeline:
        if not self.source.partition_by:
            for place, chosen in (
                ("score.schedule: partition", self.score.keyed),
                ("train.on_drift", self.train.on_drift),
            ):
                if chosen:
                    raise ValueError(f"{place} wants source.partition_by")
        key, keys = self.score.partition_key, self.source.partition_by
        if key is not None and len(key.strip("/").split("/")) != len(keys):
            raise ValueError(f"score.partition_key: {key!r} names no partition of {'/'.join(keys)}")
        if self.train.on_drift and self.train.until:
            raise ValueError("train.on_drift and train.until exclude each other: no training would see what drifted")
        return self

    @model_validator(mode="after")
    def _of_tables_only(self) -> Pipeline:
        if self.source.format != "images":
            if self.model.image_size != "auto":
                raise ValueError(f"model.image_size: {self.model.image_size} is for pictures; leave it out")
            return self
        if self.model.kind == "dense":
            raise ValueError("model.kind: 'dense' is for tables; pictures know auto and variational")
        for place, chosen, wanted in (
            ("source.exclude", self.source.exclude, []),
            ("model.latent_dim", self.model.latent_dim, None),
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
    named = (folder / f"{pipeline}.{ending}" for folder in (root / PIPELINES_DIR, Path()) for ending in ("yaml", "yml"))
    for path in (given, *named):
        with contextlib.suppress(OSError, ValueError):  # too long a name, or a NUL in it
            if path.is_file():
                return path
    raise ConfigError(
        "no such pipeline",
        where=str(pipeline),
        mend=f"Give a YAML's path, or the name of one here or in {root / PIPELINES_DIR}/",
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
        raw = _parsed(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, *_NOT_YAML) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"not readable as YAML ({reason})", where=str(path), transient=is_transient(error)) from error
    if not isinstance(raw, dict):
        raise ConfigError("not a pipeline", where=str(path), mend="It must be a mapping with name, source and output")
    try:
        return Pipeline.model_validate(raw).resolved(root_of(path))
    except ValidationError as error:
        raise ConfigError(_first_lines(error), where=str(path), mend="See docs/configuration.md") from error


def _parsed(text: str) -> object:
    """What a YAML holds; ValueError when it is nested deeper than any pipeline: libyaml would end the process then."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} levels deep")
    return _LOADER(text).get_single_data()


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
