"""Latent codes of a partition of pictures: each picture's own, or else the mean of its tiles'."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ae_plugin.core.pictures import Picture
from ae_plugin.engines.pictures import Decoded, PictureReader, decoded
from ae_plugin.engines.threads import parallel
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.store.files import SourceFile

_UNIT_BYTES = 2 * 2**20


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
