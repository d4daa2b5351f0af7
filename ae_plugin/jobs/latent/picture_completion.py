"""Complete a partition of pictures: their transparent pixels, and those that a mask shows, with intervals."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.pictures import Picture, encode
from ae_plugin.core.values import Bools
from ae_plugin.engines.folders import FolderWriter, check_layout
from ae_plugin.engines.local import Writer
from ae_plugin.engines.pictures import BATCH_PICTURES, Decoded, PictureReader, decoded
from ae_plugin.engines.threads import parallel
from ae_plugin.errors import StoreError
from ae_plugin.jobs.latent.complete import NO_INTERVALS, Counted
from ae_plugin.jobs.latent.output import Inputs, read_record, without_twins
from ae_plugin.jobs.latent.picture_masks import PictureMasks
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.jobs.staged import let_go
from ae_plugin.latent_schemas import CompleteRecord, pixel_completions_schema
from ae_plugin.store.commit import Commit
from ae_plugin.store.runs import COMPLETED

_UNIT_BYTES = 2 * 2**20


@dataclass(frozen=True)
class _Made:
    """One completed picture: its new bytes (None: it stays as it is), the mask and both ends as PNGs, and counts."""

    image: bytes | None
    mask: bytes
    low: bytes | None
    high: bytes | None
    filled: int
    left: int


def complete_pictures(
    pipeline: Pipeline, version: PictureVersion, inputs: Inputs, path: str | None, coverage: float, commit: Commit
) -> Counted:
    """Stage both datasets of a partition of pictures, counting what goes by.

    Raises:
        DataError: it cannot be read, or a mask does not fit its picture.
        StoreError: something that is not ours is in the way.
    """
    reader = PictureReader(inputs.files, image=version.card.image)
    keys = version.card.keys or [name for name in ("file",) if name in reader.schema.names]
    masks = None
    if path is not None:
        masks = PictureMasks(path, inputs.where, pipeline.source.row_keys, pipeline.source.partition_by)
    whole = _target(inputs, reader)
    told = inputs.target("completions")
    fields = [reader.schema.field(name) for name in keys]
    schema = without_twins(pixel_completions_schema(fields), "completions")
    counted = Counted(notes=[] if version.reach else [NO_INTERVALS.format(version.version)])
    if reader.of_files:
        writer: FolderWriter | Writer = FolderWriter(commit.folder, commit.staged(whole), inputs.files)
    else:
        writer = Writer(commit.folder, commit.staged(whole), reader.schema, BATCH_PICTURES)
    writers = {whole: writer, told: Writer(commit.folder, commit.staged(told), schema, BATCH_PICTURES)}
    worker = _Worker(version, masks, coverage, as_files=reader.of_files)
    with let_go(*writers.values()):
        for batch, made, lost in parallel(
            worker, _numbered(decoded(reader.batches(), size=_UNIT_BYTES, image=reader.image))
        ):
            writer.write(_completed(batch, made, reader.image))
            writers[told].write(_told(batch, made, keys, counted.rows, version.version, schema))
            counted.rows += batch.num_rows
            counted.unreadable += lost
            counted.touched += len(made)
            counted.filled += sum(one.filled for one in made.values())
            counted.left += sum(one.left for one in made.values())
        counted.outputs = {target: each.close() for target, each in writers.items()}
    if isinstance(writer, FolderWriter):
        counted.notes += [f"{name} is not passed on: {why}" for name, why in sorted(writer.lost.items())[:5]]
    if masks and not masks.met:
        counted.notes.append(f"no mask in {masks.path} is of a picture of {inputs.where or 'the source'}")
    return counted


def _numbered(units: Iterator[Decoded]) -> Iterator[tuple[Decoded, int]]:
    first = 0
    for unit in units:
        yield unit, first
        first += unit[0].num_rows


def _target(inputs: Inputs, reader: PictureReader) -> str:
    """Where the completed pictures go: files in a folder of their own, which holds nothing that is not ours."""
    if not reader.of_files:
        return inputs.target("completed")
    check_layout(inputs.files)
    name = "".join(f"{part}/" for part in ("completed", inputs.where) if part)
    before = read_record(inputs.folder, COMPLETED, inputs.where, CompleteRecord)
    if before is None and inputs.folder.names(name.rstrip("/")):
        where, mend = f"{inputs.folder.uri}/{name}", "Move them away, or choose another output"
        raise StoreError("holds files that no run of this partition wrote", where=where, mend=mend)
    return name


class _Worker:
    """Completes the pictures of a record batch."""

    def __init__(self, version: PictureVersion, masks: PictureMasks | None, coverage: float, *, as_files: bool) -> None:
        self._version, self._masks, self._coverage, self._as_files = version, masks, coverage, as_files

    def __call__(self, numbered: tuple[Decoded, int]) -> tuple[pa.RecordBatch, dict[int, _Made], int]:
        """The record batch, what became of its pictures by place, and how many cannot be read."""
        (batch, pictures), first = numbered
        made = {}
        for index, picture in enumerate(pictures):
            if isinstance(picture, Picture):
                hidden = self._hidden(batch, index, first + index, picture)
                if hidden.any():
                    made[index] = self._made(picture, hidden)
        return batch, made, sum(not isinstance(picture, Picture) for picture in pictures)

    def _hidden(self, batch: pa.RecordBatch, index: int, row: int, picture: Picture) -> Bools:
        pixels = picture.pixels
        hidden = pixels[..., 3] == 0 if pixels.shape[2] == 4 else np.zeros(pixels.shape[:2], bool)
        shown = self._masks.of(batch, index, row, picture) if self._masks else None
        return hidden if shown is None else hidden | shown

    def _made(self, picture: Picture, hidden: Bools) -> _Made:
        count = int(hidden.sum())
        if not picture.single or hidden.all():  # further frames would be lost; from nothing nothing follows
            return _Made(None, _grey(hidden), None, None, 0, count)
        new, ends = self._version.completed(picture, ~hidden, self._coverage)
        pixels = new.pixels
        if pixels.shape[2] == 4:
            pixels[hidden, 3] = np.iinfo(pixels.dtype).max
        kind = picture.kind if self._as_files else "PNG"
        low, high = (None, None) if ends is None else (encode(end, picture) for end in ends)
        return _Made(encode(pixels, picture, kind), _grey(hidden), low, high, count, 0)


def _completed(batch: pa.RecordBatch, made: dict[int, _Made], image: str) -> pa.RecordBatch:
    """The record batch with completed pictures; the others stay byte for byte."""
    cells = batch.column(batch.schema.get_field_index(image)).to_pylist()
    for row, one in made.items():
        if one.image is not None:
            cells[row] = {**cells[row], "bytes": one.image} if isinstance(cells[row], dict) else one.image
    place = batch.schema.get_field_index(image)
    field = batch.schema.field(place)
    return batch.set_column(place, field, pa.array(cells, field.type))


def _told(
    batch: pa.RecordBatch, made: dict[int, _Made], keys: list[str], first: int, version: str, schema: pa.Schema
) -> pa.RecordBatch:
    """Rows of `completions/`."""
    at = pa.array(list(made), pa.int64())
    columns = [
        *(batch.column(batch.schema.get_field_index(name)).take(at) for name in keys),
        pa.array([first + row for row in made], pa.int64()),
        pa.array([one.filled for one in made.values()], pa.int64()),
        *(pa.array([getattr(one, name) for one in made.values()], pa.binary()) for name in ("mask", "low", "high")),
        pa.repeat(version, len(made)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _grey(mask: Bools) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(stream, "PNG")
    return stream.getvalue()
