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
