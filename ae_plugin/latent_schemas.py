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


class Moved(Record):
    """A column that moves with a number of the code."""

    column: str
    by: float = Field(description="Scaled units, when the number goes up by a standard deviation.")
    words: tuple[str, str] | None = Field(None, description="The word that gets rarer, and the one that gets likelier.")


class Latent(Record):
    """One number of the code: what it takes off the error, and what moves with it."""

    share: float = Field(description="Of the variance of calibration rows, what it adds to those before it.")
    title: str = Field(description="In words: `distance up, air_time up`.")
    moves: list[Moved]


class Rate(Record):
    """Bits a row against the share of the variance that is lost, for rows of the source and for rows of another."""

    method: str = Field(description="network, pca, or zstd, which loses nothing.")
    dimension: int
    step: float = Field(description="Numbers of the code are rounded to multiples of this, in scaled units.")
    bits: float
    lost: float
    lost_elsewhere: float = Field(description="Of rows whose columns were shuffled: the same values, another source.")
    bits_elsewhere: float


class Reduction(Record):
    """How a version puts a row in a few numbers; stored as `reduction.json` in the version's folder."""

    features: int
    rows: int = Field(description="Calibration rows that everything here was measured on.")
    latent_dim: int = Field(description="Numbers kept.")
    chosen: str = Field(description="`knee`, or `asked`.")
    linear: bool = Field(description="Whether PCA is as good, and is what is kept.")
    network_left: list[float] = Field(description="Share of the variance the network leaves with 0, 1, 2 ... numbers.")
    pca_left: list[float] = Field(description="The same for PCA.")
    latents: list[Latent]
    rates: list[Rate]
    seconds: float


def completions_schema(keys: list[pa.Field]) -> pa.Schema:
    """Schema of `completions/` of a table: one row per cell that was empty or asked for, in input order."""
    return pa.schema(
        [
            *keys,
            pa.field("row", pa.int64(), nullable=False),
            pa.field("column", pa.string(), nullable=False),
            pa.field("value", pa.string()),
            pa.field("low", pa.string()),
            pa.field("high", pa.string()),
            pa.field("words", pa.list_(pa.string())),
            pa.field("model_version", pa.string(), nullable=False),
        ]
    )


def pixel_completions_schema(keys: list[pa.Field]) -> pa.Schema:
    """Schema of `completions/` of pictures: one row per picture with pixels that were filled, in input order."""
    return pa.schema(
        [
            *keys,
            pa.field("row", pa.int64(), nullable=False),
            pa.field("filled", pa.int64(), nullable=False),
            pa.field("mask", pa.binary(), nullable=False),
            pa.field("low", pa.binary()),
            pa.field("high", pa.binary()),
            pa.field("model_version", pa.string(), nullable=False),
        ]
    )


class CompleteRecord(PartitionRecord):
    """How one partition was completed; stored as `_runs/_completed/<partition>.json`."""

    coverage: float = Field(description="Share of cells (pixels) that are to lie within their interval.")
    mask: str | None = Field(description="sha256 of what named the cells (pixels) to fill; null without one.")
    unreadable_rows: int = Field(description="Pictures that could not be read; they are passed on as they are.")
    rows_completed: int = Field(description="Rows (pictures) with something to fill.")
    filled: int = Field(description="Cells (pixels) that were filled.")
    left: int = Field(description="Cells (pixels) to fill that stay as they are: the model cannot tell.")
    notes: list[str] = Field(description="What the user should know, in words.")


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
    row: int = Field(ge=0)
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
    model: str = Field(description="First 16 digits of the sha256 of the version's files: whose head it is.")
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
