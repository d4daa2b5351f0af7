"""Score one partition of pictures: scores, denoised pictures, heatmaps and masks out, all of them or none."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.drift import count_p_values
from ae_plugin.core.histogram import count_scores
from ae_plugin.core.picture_guard import PictureGuard
from ae_plugin.core.picture_scoring import ScoredPicture
from ae_plugin.core.pictures import Picture, PictureError, bands, encode
from ae_plugin.core.values import Bools, Floats
from ae_plugin.engines.folders import FolderWriter, check_layout
from ae_plugin.engines.pictures import BATCH_PICTURES, PIXEL_BYTES, Decoded, PictureReader, decoded
from ae_plugin.engines.threads import parallel
from ae_plugin.errors import DataError
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.jobs.run import Run
from ae_plugin.jobs.staged import Sink
from ae_plugin.schemas import GuardVerdict, heatmaps_schema, scores_schema
from ae_plugin.store.commit import FOLDERS
from ae_plugin.store.files import Folder, SourceFile

_NAMED = 5
_UNIT_BYTES = 2 * 2**20
"""Of pixels that a thread scores at a time: some 500 tiles of grey, so that all threads end together."""


@dataclass(frozen=True)
class _Found:
    """What was found of one picture.

    Attributes:
        score, p_value, flagged: as in `scores/`.
        distance, described: as in `ScoredPicture`; for the guard.
        repaired: its new bytes; None when nothing is to be repaired.
        heatmap, mask: grey PNGs of its size; empty when it is not flagged.
    """

    score: float
    distance: float
    described: Floats
    p_value: float
    flagged: bool
    repaired: bytes | None
    heatmap: bytes
    mask: bytes


class PictureRun(Run):
    """One partition of pictures being scored."""

    datasets = "scores", "denoised", "heatmaps"
    unit = "picture"
    group_rows = BATCH_PICTURES
    method = "combined"

    def __init__(
        self,
        pipeline: Pipeline,
        version: PictureVersion,
        partition: str,
        files: list[SourceFile],
        folder: Folder,
        clock: float,
    ) -> None:
        super().__init__(pipeline, partition, files, folder, clock)
        self.version, self.reader = version, PictureReader(files, image=version.card.image)
        self._folder: FolderWriter | None = None
        self._one_large = threading.Lock()  # what is said of a picture takes many times its memory
        if self.reader.of_files:
            check_layout(files)
        self.model_version, self.schema = version.version, self.reader.schema
        self.calibration = version.scorer.reference.calibration
        reference, rate = version.scorer.reference, version.scorer.alert_rate
        self.guard = PictureGuard(reference.far, self.calibration_rows, reference.kind, rate)
        for name in version.card.keys:
            if name not in self.schema.names:
                raise DataError(
                    f"column {name!r} is missing, but the model learned with it",
                    where=files[0].uri,
                    mend="Bring it back",
                )
        self.keys = version.card.keys or [name for name in ("file",) if name in self.schema.names]

    def _stream(self) -> None:
        keys = [self.schema.field(name) for name in self.keys]
        schemas = {"scores": scores_schema(keys), "denoised": self.schema, "heatmaps": heatmaps_schema(keys)}
        # Files are read and decoded beside this, in threads of their own, and written by this one.
        with self.writers(schemas) as writers:
            for batch, found, errors in parallel(
                self._judge, decoded(self._source(), size=_UNIT_BYTES, image=self.reader.image)
            ):
                self._watch(found)
                writers["scores"].write(self._scores(batch, found, errors, schemas["scores"]))
                writers["denoised"].write(self._denoised(batch, found))
                writers["heatmaps"].write(self._heatmaps(batch, found, schemas["heatmaps"]))
                self._count(batch.num_rows, found)

    def _watch(self, found: dict[int, _Found]) -> None:
        if found:
            distances = np.array([one.distance for one in found.values()], np.float32)
            described = np.stack([one.described for one in found.values()])
            self.guard.watch(distances, described, sum(one.flagged for one in found.values()))

    def _judge(self, unit: Decoded) -> tuple[pa.RecordBatch, dict[int, _Found], list[str | None]]:
        """A record batch, what was found of its pictures, by row, and why there is nothing of those not read."""
        batch, pictures = unit
        errors = [str(one) if isinstance(one, PictureError) else None for one in pictures]
        known = {row: picture for row, picture in enumerate(pictures) if isinstance(picture, Picture)}
        large = any(picture.pixels.nbytes > PIXEL_BYTES for picture in known.values())
        with self._one_large if large else contextlib.nullcontext():
            return batch, self._found(known), errors

    def _found(self, known: dict[int, Picture]) -> dict[int, _Found]:
        scorer, found = self.version.scorer, {}
        # One by one: what the network says of a picture takes many times the picture's memory.
        for (row, picture), scored in zip(known.items(), scorer.score(list(known.values())), strict=True):
            (p,), (flagged,) = scorer.flag(np.array([scored.score]))
            mask = scorer.mask(scored.heat)
            found[row] = _Found(
                float(scored.score),
                float(scored.distance),
                scored.described,
                float(p),
                bool(flagged),
                self._repaired(picture, scored),
                _grey(scored.heat) if flagged else b"",
                _grey(mask) if flagged else b"",
            )
        return found

    def _repaired(self, picture: Picture, scored: ScoredPicture) -> bytes | None:
        """The picture, repaired; None where nothing is to be changed."""
        pixels = self.version.mended(picture, scored, full=self.pipeline.score.denoise == "full")
        if np.array_equal(pixels, picture.pixels):
            return None
        return encode(pixels, picture, picture.kind if self.reader.of_files else "PNG")

    def _scores(
        self, batch: pa.RecordBatch, found: dict[int, _Found], errors: list[str | None], schema: pa.Schema
    ) -> pa.RecordBatch:
        first, n = self.tally.rows, batch.num_rows
        rows = [found.get(row) for row in range(n)]
        columns = [
            *self._keys(batch),
            pa.array(range(first, first + n), pa.int64()),
            pa.array([row and row.score for row in rows], pa.float32()),
            pa.array([row and row.p_value for row in rows], pa.float32()),
            pa.array([row and row.flagged for row in rows], pa.bool_()),
            pa.nulls(n, pa.string()),
            pa.array(errors, pa.string()),
            pa.repeat(self.model_version, n),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _denoised(self, batch: pa.RecordBatch, found: dict[int, _Found]) -> pa.RecordBatch:
        """The record batch with repaired pictures; the others stay byte for byte."""
        cells = batch.column(self.reader.image).to_pylist()
        for row, one in found.items():
            if one.repaired is not None:
                cells[row] = {**cells[row], "bytes": one.repaired} if isinstance(cells[row], dict) else one.repaired
        place = batch.schema.get_field_index(self.reader.image)
        field = batch.schema.field(place)
        return batch.set_column(place, field, pa.array(cells, field.type))

    def _heatmaps(self, batch: pa.RecordBatch, found: dict[int, _Found], schema: pa.Schema) -> pa.RecordBatch:
        flagged = {row: one for row, one in found.items() if one.flagged}
        at = pa.array(list(flagged), pa.int64())
        columns = [
            *(key.take(at) for key in self._keys(batch)),
            pa.array([self.tally.rows + row for row in flagged], pa.int64()),
            pa.array([one.heatmap for one in flagged.values()], pa.binary()),
            pa.array([one.mask for one in flagged.values()], pa.binary()),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _count(self, rows: int, found: dict[int, _Found]) -> None:
        self.tally.rows += rows
        self.tally.anomalies += sum(one.flagged for one in found.values())
        self.tally.unreadable += rows - len(found)
        self.tally.repaired += sum(one.repaired is not None for one in found.values())
        p = np.array([one.p_value for one in found.values()], np.float32)
        self.tally.p_values += count_p_values(p, self.calibration_rows)
        scores = np.array([one.score for one in found.values()], np.float32)
        self.tally.scores += count_scores(scores, self.unit_of_scores)

    def _keys(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [batch.column(batch.schema.get_field_index(name)) for name in self.keys]

    def _sink(self, dataset: str, schema: pa.Schema, part: int) -> Sink:
        if not self.path(dataset).endswith("/"):
            return super()._sink(dataset, schema, part)
        self.check_ours(self.path(dataset))
        self._folder = FolderWriter(self.folder, self.commit.staged(self.path(dataset)), self.files)
        return self._folder

    def path(self, dataset: str, part: int = 0) -> str:
        """Where a dataset of the partition lies: files are written as files, in a folder (it ends in `/`)."""
        if not (self.reader.of_files and dataset in FOLDERS):
            return super().path(dataset, part)
        return "".join(f"{part}/" for part in (dataset, self.partition) if part)

    def _notes(self) -> list[str]:
        lost = sorted(self._folder.lost.items()) if self._folder else []
        few = [f"{name} is not passed on: {why}" for name, why in lost[:_NAMED]]
        more = [f"{len(lost) - _NAMED} more files are not passed on"] if len(lost) > _NAMED else []
        return [*super()._notes(), *few, *more]

    def _verdict(self) -> GuardVerdict:
        return self.guard.verdict()

    def _source(self) -> Iterator[pa.RecordBatch]:
        return self.reader.batches()


def _grey(values: Floats | Bools) -> bytes:
    """Values [H, W], cut to 0..1, as an 8-bit grey PNG."""
    pixels = np.empty(values.shape, np.uint8)
    for rows in bands(len(pixels)):
        pixels[rows] = np.rint(np.clip(values[rows].astype(np.float32), 0, 1) * 255)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
