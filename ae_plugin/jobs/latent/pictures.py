"""Codes and features of a partition of pictures: each picture's own code, or else the mean of its tiles'."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ae_plugin.core.descriptors import hog
from ae_plugin.core.laid import Laid
from ae_plugin.core.picture_scoring import PIECE
from ae_plugin.core.pictures import Picture, scaled
from ae_plugin.core.values import Floats, Longs
from ae_plugin.engines.pictures import Decoded, PictureReader, decoded
from ae_plugin.engines.threads import parallel
from ae_plugin.jobs.latent.embed import GRAIN
from ae_plugin.jobs.latent.features import Seen, joined, spaced, taken
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.store.files import SourceFile

_UNIT_BYTES = 2 * 2**20
FEWEST = 200
"""Pictures of history that a head sees at least, if there are as many, however large they are."""


class PictureCodes:
    """A partition's pictures with their codes; see `jobs.latent.embed.Coded`."""

    def __init__(self, version: PictureVersion, files: list[SourceFile]) -> None:
        self._version, self._reader = version, PictureReader(files, image=version.card.image)
        names = version.card.keys or [name for name in ("file",) if name in self._reader.schema.names]
        self.keys = [self._reader.schema.field(name) for name in names]
        self.latent_dim = version.latent_dim

    def batches(self) -> Iterator[tuple[pa.RecordBatch, np.ndarray, np.ndarray]]:
        """All pictures, in order; of those that cannot be read there is no code."""
        return parallel(self._embed, decoded(self._reader.batches(), size=_UNIT_BYTES, image=self._reader.image))

    def _embed(self, unit: Decoded) -> tuple[pa.RecordBatch, np.ndarray, np.ndarray]:
        batch, pictures = unit
        known = np.array([isinstance(one, Picture) for one in pictures], bool)
        codes = np.zeros((batch.num_rows, self.latent_dim), np.float32)
        codes[known] = self._version.embed([one for one in pictures if isinstance(one, Picture)])
        return batch, codes, known


class PictureFeatures:
    """A partition of pictures with what a head sees of them; see `jobs.latent.features.Featured`."""

    def __init__(self, version: PictureVersion, files: list[SourceFile]) -> None:
        self._scorer, self._reader = version.scorer, PictureReader(files, image=version.card.image)
        names = version.card.keys or [name for name in ("file",) if name in self._reader.schema.names]
        self.keys = [self._reader.schema.field(name) for name in names]
        self.blocks = _widths(version)

    def batches(self) -> Iterator[tuple[pa.RecordBatch, Seen]]:  # noqa: D102
        return self._seen(self._reader.batches())

    def at(self, rows: Longs) -> Seen:  # noqa: D102
        return joined((seen for _, seen in self._seen(taken(self._reader.batches(), rows))), sum(self.blocks))

    def _seen(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, Seen]]:
        return parallel(self._see, decoded(batches, size=_UNIT_BYTES, image=self._reader.image))

    def _see(self, unit: Decoded) -> tuple[pa.RecordBatch, Seen]:
        batch, pictures = unit
        known = np.array([isinstance(one, Picture) for one in pictures], bool)
        features, scores = np.zeros((len(known), sum(self.blocks)), np.float32), np.zeros(len(known), np.float32)
        scored = self._scorer.score([one for one in pictures if isinstance(one, Picture)])
        for row, one in zip(np.flatnonzero(known), scored, strict=True):
            features[row] = np.rint(one.described / GRAIN) * GRAIN
            scores[row] = one.score
        return batch, Seen(features, self._scorer.flag(scores)[0], known)


def _widths(version: PictureVersion) -> list[int]:
    """Descriptors alone: codes beside them, whole or by place, told less on pictures put aside for that question."""
    side, channels = version.card.side, version.card.channels
    return [hog(np.zeros((1, *side, channels), np.float32)).shape[1]]


def picture_history(
    version: PictureVersion, groups: dict[str, list[SourceFile]], most: int
) -> tuple[Floats, list[int]]:
    """Features of at most so many pictures of history; of fewer, the more tiles one has. See `history_features`."""
    readers = [PictureReader(files, image=version.card.image) for files in groups.values()]
    counts = [sum(batch.num_rows for batch in reader.batches(_narrow(reader))) for reader in readers]
    chosen = spaced(counts, max(most // _tiles_of(version, readers[0]), FEWEST))
    found = [np.zeros((0, *_widths(version)), np.float32)]
    for reader, rows in zip(readers, chosen, strict=True):
        for _, pictures in decoded(taken(reader.batches(), rows), image=reader.image):
            found += [_described(version, one)[None] for one in pictures if isinstance(one, Picture)]
    return np.concatenate(found), _widths(version)


def _described(version: PictureVersion, picture: Picture) -> Floats:
    """What scoring calls `described` of a picture, float32 [F], without scoring it."""
    laid, channels = _laid(version, picture), version.card.channels
    total, count = np.zeros(_widths(version)[0], np.float32), len(laid.where.corners)
    for start in range(0, count, PIECE):
        for tile in hog(laid.tiles(channels, slice(start, start + PIECE))):
            total += tile
    return np.asarray(np.rint(total / np.float32(count) / GRAIN) * GRAIN, np.float32)


def _laid(version: PictureVersion, picture: Picture) -> Laid:
    longest = version.card.image_size
    return Laid.of(scaled(picture, longest) if longest else picture, version.card.side)


def _narrow(reader: PictureReader) -> list[str] | None:
    """A column that is quick to read, to count rows by."""
    other = next((name for name in reader.schema.names if name != reader.image), None)
    return [other] if other else None


def _tiles_of(version: PictureVersion, reader: PictureReader) -> int:
    """How many tiles the first picture that can be read is cut into."""
    for _, pictures in decoded(reader.batches(), image=reader.image):
        for one in pictures:
            if isinstance(one, Picture):
                return len(_laid(version, one).where.corners)
    return 1
