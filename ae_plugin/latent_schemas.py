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


class Closeness(Record):
    """How near rows are to the nearest row of history: Euclidean distance of encoded rows, in scaled units."""

    rows: int = Field(description="Rows that were measured.")
    quantiles: dict[str, float] = Field(description="`0.05`, `0.5`, `0.95`: the distance that so large a share has.")
    copies: int = Field(description="Rows of these that are in history, alike in all learned columns.")


class GenerateRecord(Record):
    """One file of new rows; stored as `_runs/_generated/<name>.json`."""

    pipeline: str
    model_version: str
    name: str = Field(description="Of the file in `generated/`, less `.parquet`.")
    rows: int
    seed: int
    where: dict[str, str | None] = Field(description="What all rows were to hold, by column.")
    history_rows: int = Field(description="Rows of history that the new ones were drawn from.")
    redrawn: int = Field(description="Rows drawn again, since they were copies of a row of history.")
    copies: int = Field(description="Rows written that are alike a row of history in all learned columns.")
    synthetic: Closeness = Field(description="The first of the new rows, and the history that they were drawn from.")
    held_out: Closeness = Field(description="Rows of history that nothing was drawn from, and the same history.")
    notes: list[str] = Field(description="What you should know, in words.")
    seconds: float
    rows_per_second: float
    peak_memory_mb: float
    input_fingerprint: str = Field(description="sha256 of the listing of the files that history was read from.")
    outputs: dict[str, str] = Field(description="The file written, and its sha256.")
    airflow: AirflowTask | None = Field(None, description="The task that ran it; null outside Airflow.")
