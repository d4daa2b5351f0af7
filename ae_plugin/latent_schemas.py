"""What the bottleneck's jobs write, and say they wrote: datasets' Arrow schemas and pydantic records."""

from __future__ import annotations

import pyarrow as pa
from pydantic import Field

from ae_plugin.schemas import AirflowTask, Record


def embeddings_schema(keys: list[pa.Field], latent_dim: int) -> pa.Schema:
    """Schema of `embeddings/`: one row per input row, in input order."""
    return pa.schema(
        [
            *keys,
            pa.field("row", pa.int64(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), latent_dim)),
            pa.field("model_version", pa.string(), nullable=False),
        ]
    )


class PartitionRecord(Record):
    """What a job of the bottleneck did with one partition."""

    pipeline: str
    model_version: str
    partition: str = Field(description="Hive path, as `date=2013-01-29`; empty for a whole source.")
    rows: int
    seconds: float
    rows_per_second: float
    peak_memory_mb: float
    input_fingerprint: str = Field(description="sha256 of the partition's listing: paths, sizes, change times.")
    outputs: dict[str, str] = Field(description="The file written, and its sha256.")
    airflow: AirflowTask | None = Field(None, description="The task that ran it; null outside Airflow.")


class EmbedRecord(PartitionRecord):
    """One partition's embeddings; stored as `_runs/_embeddings/<partition>.json`."""

    latent_dim: int
    unreadable_rows: int = Field(description="Pictures that could not be read; their embedding is null.")


def classes_schema(keys: list[pa.Field]) -> pa.Schema:
    """Schema of `classes/`: one row per input row, in input order."""
    return pa.schema(
        [
            *keys,
            pa.field("row", pa.int64(), nullable=False),
            pa.field("class", pa.string()),
            pa.field("probability", pa.float32()),
            pa.field("likeliest", pa.string()),
            pa.field("model_version", pa.string(), nullable=False),
        ]
    )


class KeptLabel(Record):
    """A row that somebody labelled."""

    partition: str
    row: int
    keys: dict[str, str | None] = Field(description="Key column -> value as text; empty without `source.keys`.")
    label: str


class KeptLabels(Record):
    """The labels that were given last; stored as `_heads/labels.json`."""

    pipeline: str
    given_at: str
    fingerprints: dict[str, str] = Field(description="Partition -> fingerprint of its files when they were given.")
    labels: list[KeptLabel]


class LabelFitRecord(Record):
    """What a head was made of."""

    pipeline: str
    model_version: str
    labels: str = Field(description="First 16 digits of the sha256 of `_heads/labels.json`.")
    classes: dict[str, int] = Field(description="Class -> labelled rows used.")
    lost: int = Field(description="Labelled rows that are no longer there, or that cannot be read.")
    history_rows: int = Field(description="Rows without labels that were used.")
    least_p: float = Field(description="The p-value of the oddest labelled row.")
    sure: float = Field(description="Probability from which on a class is given.")
    counts: tuple[float, float] = Field(description="What the near and the linear opinion count.")
    held_out: float | None = Field(description="Share right of labelled rows that are judged without themselves.")
    seconds: float


class ClassifyRecord(PartitionRecord):
    """One partition's classes; stored as `_runs/_classes/<partition>.json`."""

    labels: str = Field(description="As in the record of `ae label-fit`: which labels the head was made of.")
    classes: dict[str, int] = Field(description="Class -> rows of it.")
    unknown_rows: int = Field(description="Rows whose class is null although they were read: don't know.")
    unreadable_rows: int = Field(description="Pictures that could not be read; all is null.")
