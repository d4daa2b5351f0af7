"""Score one partition of pictures: scores, denoised pictures, heatmaps and masks out, all of them or none."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.denoising import quieted
from ae_plugin.core.picture_guard import PictureGuard
from ae_plugin.core.picture_scoring import ScoredPicture, mend
from ae_plugin.core.pictures import Picture, PictureError, encode
from ae_plugin.core.values import Bools, Floats
from ae_plugin.engines.pictures import BATCH_PICTURES, PictureReader, decoded
from ae_plugin.errors import DataError
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.jobs.run import Run
from ae_plugin.schemas import GuardVerdict, RunRecord, heatmaps_schema, scores_schema
from ae_plugin.store.files import Folder, SourceFile


class PictureRun(Run):
    """One partition of pictures being scored."""

    datasets = "scores", "denoised", "heatmaps"
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
        self.version, self.reader = version, PictureReader(files)
        self.model_version, self.schema = version.version, self.reader.schema
        self.calibration_rows = len(version.scorer.reference.calibration)
        self.guard = PictureGuard(version.card.far)
        for name in [version.card.image, *version.card.keys]:
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
        with self.writers(schemas) as writers:
            for batch, pictures in decoded(self._source()):
                parts = self._judge(batch, pictures, schemas)
                for name, part in parts.items():
                    writers[name].write(part)
                self.tally.rows += batch.num_rows

    def _judge(
        self, batch: pa.RecordBatch, pictures: list[Picture | PictureError], schemas: dict[str, pa.Schema]
    ) -> dict[str, pa.RecordBatch]:
        known = [(row, picture) for row, picture in enumerate(pictures) if isinstance(picture, Picture)]
        scorer, n = self.version.scorer, len(pictures)
        score, p, flagged = np.zeros(n, np.float32), np.zeros(n, np.float32), np.zeros(n, bool)
        images, heats = batch.column(self.reader.image).to_pylist(), []
        far = []
        for (row, picture), scored in zip(known, scorer.score([picture for _, picture in known]), strict=True):
            score[row] = scored.score
            (p[row],), (flagged[row],) = scorer.flag(np.array([scored.score]))
            mask = scorer.mask(scored.heat)
            far.append(scored.distance)
            if flagged[row]:
                heats.append((row, _grey(np.clip(scored.heat, 0, 1)), _grey(mask.astype(np.float32))))
            images[row] = self._denoised(picture, scored, mask, images[row])
        self.guard.watch(np.array(far, np.float32))
        self.tally.anomalies += int(flagged.sum())
        self.tally.unreadable += n - len(known)
        unread = np.ones(n, bool)
        unread[[row for row, _ in known]] = False
        errors = [str(picture) if isinstance(picture, PictureError) else None for picture in pictures]
        keys = [batch.column(batch.schema.get_field_index(name)) for name in self.keys]
        first = self.tally.rows
        scores = [
            *keys,
            pa.array(np.arange(first, first + n, dtype=np.int64)),
            pa.array(score, mask=unread),
            pa.array(p, mask=unread),
            pa.array(flagged, mask=unread),
            pa.nulls(n, pa.string()),
            pa.array(errors, pa.string()),
            pa.repeat(self.model_version, n),
        ]
        at = pa.array([row for row, _, _ in heats], pa.int64())
        heatmaps = [
            *(key.take(at) for key in keys),
            pa.array([first + row for row, _, _ in heats], pa.int64()),
            pa.array([heat for _, heat, _ in heats], pa.binary()),
            pa.array([mask for _, _, mask in heats], pa.binary()),
        ]
        place = batch.schema.get_field_index(self.reader.image)
        field = batch.schema.field(place)
        denoised = batch.set_column(place, field, pa.array(images, field.type))
        return {
            "scores": pa.RecordBatch.from_arrays(scores, schema=schemas["scores"]),
            "denoised": denoised,
            "heatmaps": pa.RecordBatch.from_arrays(heatmaps, schema=schemas["heatmaps"]),
        }

    def _denoised(self, picture: Picture, scored: ScoredPicture, mask: Bools, before: Any) -> Any:
        """The picture's cell, repaired where it is wrong; untouched bytes where nothing is to be changed."""
        if self.pipeline.score.denoise == "full":
            quiet, scored, mask = self._quiet(picture, scored, mask)
            if quiet is picture and not mask.any():
                return before
            picture = quiet
        elif not mask.any():
            return before
        data = encode(mend(picture, scored, mask), picture)
        self.tally.repaired += int(mask.any())
        return {**before, "bytes": data} if isinstance(before, dict) else data

    def _quiet(self, picture: Picture, scored: ScoredPicture, mask: Bools) -> tuple[Picture, ScoredPicture, Bools]:
        """The picture without its noise, what is then said of it, and where it is then wrong."""
        quiet = quieted(picture, self.version.denoiser)
        if quiet is picture:
            return picture, scored, mask
        (scored,) = self.version.scorer.score([quiet])
        return quiet, scored, self.version.scorer.mask(scored.heat)

    def _verdict(self) -> GuardVerdict:
        return self.guard.verdict()

    def _source(self) -> Iterator[pa.RecordBatch]:
        return self.reader.batches()

    def _mended(self, record: RunRecord) -> str:
        return f"{record.cells_repaired} pictures repaired, {record.unreadable_rows} cannot be read"


def _grey(values: Floats | npt.NDArray[np.float32]) -> bytes:
    """Values 0..1 [H, W] as an 8-bit grey PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
