"""What the bottleneck's jobs write, and say they wrote: datasets' Arrow schemas and pydantic records."""

from __future__ import annotations

from typing import Literal

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


def frames_schema(fields: pa.Schema) -> pa.Schema:
    """Schema of `traversal/frames.parquet`: one row per latent variable and step, in order.

    Args:
        fields: of the decoded rows, or of the pictures; names that are taken by them get an underscore in front.
    """
    own = (("latent", pa.int32()), ("step", pa.int32()), ("value", pa.float32()))
    added = []
    for name, kind in own:
        while name in fields.names:
            name = f"_{name}"
        added.append(pa.field(name, kind, nullable=False))
    return pa.schema([*added, *fields], {**(fields.metadata or {}), b"ae_plugin.synthetic": b"decoded, not observed"})


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


class LatentMove(Record):
    """What a latent variable changes."""

    what: str = Field(description="A column, or of pictures `x`, `y`, `area` or `brightness`.")
    change: float = Field(description="Its range over the steps, in standard deviations.")
    first: str = Field(description="What it is at the first step.")
    last: str = Field(description="What it is at the last step.")


class LatentNote(Record):
    """One latent variable of a traversal."""

    latent: int = Field(description="Its place in the code, from 0.")
    carries: float = Field(description="Nats, or a share of the reconstruction's variance: see `carried_by`.")
    low: float = Field(description="Its value at the first step.")
    high: float = Field(description="Its value at the last step.")
    title: str = Field(description="What it changes, in words.")
    moves: list[LatentMove] = Field(description="What it changes, the most first.")


class TraverseRecord(PartitionRecord):
    """A traversal; stored as `_runs/_traversal/newest.json`. `rows` are those of frames.parquet."""

    row: int = Field(description="Place in the partition of the row that is held.")
    steps: int
    latent_dim: int
    axes: bool = Field(
        description="Latent variables are the principal axes of the codes in the partition, as in models that are not "
        "variational, and not the numbers of `embeddings/`."
    )
    carried_by: Literal["kl", "explained"] = Field(
        description="What `carries` is: nats that a latent variable tells of a row, or the share of the "
        "reconstruction's variance that is lost when it is held at its mean."
    )
    latents: list[LatentNote] = Field(description="Those that carry most first.")
