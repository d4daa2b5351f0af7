"""What a head sees of rows: codes, cells as the network guesses them, and as they are; of pictures, descriptors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.features import Encoded, partition_time
from ae_plugin.core.scoring import embed as codes_of
from ae_plugin.core.scoring import guesses
from ae_plugin.core.values import Bools, Floats, Longs, evenly_spaced
from ae_plugin.engines.local import Reader, batch_rows
from ae_plugin.engines.sample import sample, stretches
from ae_plugin.engines.threads import parallel, prefetch
from ae_plugin.errors import DataError
from ae_plugin.jobs.feedback import honoured
from ae_plugin.jobs.history import trained_on
from ae_plugin.jobs.latent.embed import GRAIN
from ae_plugin.sections import Format
from ae_plugin.store.files import SourceFile
from ae_plugin.versions import ModelVersion

if TYPE_CHECKING:
    from ae_plugin.jobs.pictures.versions import PictureVersion

    Version = ModelVersion | PictureVersion

Batch = tuple[pa.RecordBatch, "Seen"]


class Seen(NamedTuple):
    """What is seen of n rows.

    Attributes:
        features: float32 [n, F].
        p_values: float32 [n], lower is more anomalous.
        known: bool [n], False where a picture cannot be read.
    """

    features: Floats
    p_values: Floats
    known: Bools

    def readable(self) -> Seen:
        """Those that can be read."""
        return Seen(self.features[self.known], self.p_values[self.known], self.known[self.known])


class Featured(Protocol):
    """A partition's rows with their features.

    Attributes:
        keys: fields of the row keys.
        blocks: widths of the features' blocks.
    """

    keys: list[pa.Field]
    blocks: list[int]

    def batches(self) -> Iterator[Batch]:
        """All rows, in order."""

    def at(self, rows: Longs) -> Seen:
        """Some rows, increasing."""


def featured(version: Version, where: str, files: list[SourceFile], kind: Format) -> Featured:
    """What reads a partition's rows with their features.

    Args:
        version: whose encoder makes them.
        where: the partition's hive path.
        files: of it.
        kind: their format.

    Raises:
        DataError: a file cannot be read, or lacks a learned column.
    """
    if isinstance(version, ModelVersion):
        return RowFeatures(version, where, files, kind)
    # Only now: what reads pictures is slow to import.
    from ae_plugin.jobs.latent.pictures import PictureFeatures

    return PictureFeatures(version, files)


class RowFeatures:
    """A partition of a table; see `Featured`."""

    def __init__(self, version: ModelVersion, where: str, files: list[SourceFile], kind: Format) -> None:
        self._version, self._at = version, partition_time(where)
        encoder = version.scorer.encoder
        self._reader = Reader(files, kind, version.schema, batch_rows(encoder.features))
        version.check_columns(self._reader.schema.names, files[0].uri)
        self.keys = [self._reader.schema.field(name) for name in version.card.keys]
        self.blocks = widths(version)

    def batches(self) -> Iterator[Batch]:  # noqa: D102
        return parallel(lambda batch: (batch, self._see(batch)), prefetch(self._reader.batches()))

    def at(self, rows: Longs) -> Seen:  # noqa: D102
        return joined((self._see(batch) for batch in taken(self._reader.batches(), rows)), sum(self.blocks))

    def _see(self, batch: pa.RecordBatch) -> Seen:
        try:
            return row_features(self._version, batch, self._at)
        except DataError as error:
            raise error.placed(self._reader.files[0].uri) from error


def widths(version: ModelVersion) -> list[int]:
    """Widths of a table's blocks of features."""
    features = version.scorer.encoder.features
    return [version.card.latent_dim, features, features]


def row_features(version: ModelVersion, batch: pa.RecordBatch | pa.Table, at: float | None) -> Seen:
    """See rows; `at`: seconds since 1970 of their partition's date."""
    encoded = version.scorer.encode(batch, at)
    p = version.scorer.score(encoded)[0].p_value
    return Seen(_features(version, encoded), p, np.ones(len(p), bool))


def _features(version: ModelVersion, encoded: Encoded) -> Floats:
    scorer = version.scorer
    x, visible = scorer.encoder.inputs(encoded)
    guessed = guesses(scorer.encoder, scorer.network, scorer.reference.groups, encoded)
    features = np.concatenate([codes_of(scorer.network, x, visible), guessed, x], axis=1)
    return np.asarray(np.rint(features / GRAIN) * GRAIN, np.float32)


def history_features(
    pipeline: Pipeline, version: Version, groups: dict[str, list[SourceFile]], most: int
) -> tuple[Floats, list[int]]:
    """Features float32 [n, F] of at most so many rows of history, and the widths of their blocks.

    Args:
        pipeline: from `config.load`.
        version: whose encoder makes them.
        groups: the source's partitions; those that the version was trained on are taken, or all, if none is left.
        most: rows.
    """
    trained = trained_on(pipeline, groups, version.card.partitions) or groups
    if not isinstance(version, ModelVersion):
        from ae_plugin.jobs.latent.pictures import picture_history

        return picture_history(version, trained, most)
    found = sample(trained, pipeline.source.format, most, version.card.seed, honoured(pipeline, trained).marks)
    parts = [
        _features(
            version, version.scorer.encode(found.table.slice(own.start, own.stop - own.start), partition_time(name))
        )
        for name, own in stretches(found.partitions)
    ]
    return np.concatenate(parts), widths(version)


def taken(batches: Iterable[pa.RecordBatch], rows: Longs) -> Iterator[pa.RecordBatch]:
    """Some rows of a stream, increasing; of record batches that hold none nothing comes."""
    first = 0
    for batch in batches:
        own = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)] - first
        first += batch.num_rows
        if len(own):
            yield batch.take(pa.array(own))
        if len(rows) and first > rows[-1]:
            return


def joined(parts: Iterable[Seen], width: int) -> Seen:
    """Several as one."""
    found = [*parts] or [Seen(np.zeros((0, width), np.float32), np.zeros(0, np.float32), np.zeros(0, bool))]
    return Seen(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))


def spaced(counts: Sequence[int], most: int) -> list[Longs]:
    """At most so many rows of several partitions with so many each, evenly spaced: of each which, increasing."""
    chosen = evenly_spaced(sum(counts), most)
    edges = np.cumsum([0, *counts])
    return [chosen[(chosen >= a) & (chosen < b)] - a for a, b in pairwise(edges)]
