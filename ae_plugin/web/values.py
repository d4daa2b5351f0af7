"""Whole rows, as the source has them and as `denoised/` has them; and pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from ae_plugin.engines.local import Reader, open_input, reading
from ae_plugin.engines.picked import rows_at
from ae_plugin.errors import DataError
from ae_plugin.jobs.report.stored import texts
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import PICTURES, Folder, SourceFile, fingerprint, list_source, open_fs, partitions_of
from ae_plugin.web.responses import CellValue, Picture, RowValues

SIDE = 2_048
"""Pixels on the longer side of what is made for browsers; larger pictures are thinned out."""
MOST_CSV_BYTES = 256 * 2**20
_KNOWN = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
LONGEST = 2_000
"""Letters of a value that are told."""


def row_values(pipeline: Pipeline, run: RunRecord, rows: Sequence[int]) -> list[RowValues]:
    """Some rows of a table's partition, in the order asked for; those that are not there are left out.

    Raises:
        DataError: the partition changed since the run, or cannot be read.
    """
    denoised = denoised_reader(pipeline, run)
    files = source_files(pipeline, run)
    if pipeline.source.format == "csv" and sum(file.size for file in files) > MOST_CSV_BYTES:
        what, mend = f"is CSV of more than {MOST_CSV_BYTES // 2**20} MB", "See the download, or write it as Parquet"
        raise DataError(f"{what}: single rows are not looked up", where=run.partition or "the source", mend=mend)
    # In the types of training, which `denoised/` has: guessed anew, 007 would be 7.
    source = Reader(files, pipeline.source.format, denoised.schema)
    ours, theirs = rows_at(denoised, rows), rows_at(source, rows)
    found = []
    for row in rows:
        if row in theirs:
            found.append(RowValues(row=row, values=_values(theirs[row], ours.get(row))))
    return found


def _values(source: pa.RecordBatch, denoised: pa.RecordBatch | None) -> list[CellValue]:
    values = []
    for name in source.schema.names:
        observed = _text(source.column(name))
        repaired = _text(denoised.column(name)) if denoised is not None else observed
        same = denoised is None or source.column(name).equals(denoised.column(name))
        values.append(CellValue(column=name, observed=observed, denoised=repaired, changed=not same))
    return values


def _text(value: pa.Array) -> str | None:
    return cut(texts(value)[0])


def cut(text: str | None) -> str | None:
    """A text, shortened if it is very long."""
    return text if text is None or len(text) <= LONGEST else f"{text[:LONGEST]}..."


def source_columns(pipeline: Pipeline, run: RunRecord) -> list[str]:
    """Names of the source's columns, as `denoised/` has them; empty where there is none that can be read."""
    if run.outcome != "scored" or pipeline.source.format == "images" or not run.outputs:
        return []
    try:
        return list(denoised_reader(pipeline, run).schema.names)
    except DataError:  # whoever asks for rows is told
        return []


def source_files(pipeline: Pipeline, run: RunRecord) -> list[SourceFile]:
    """The partition's files, as they were when it was scored.

    Raises:
        DataError: they are no longer.
    """
    files = partitions_of(list_source(pipeline.source)).get(run.partition, [])
    if fingerprint(files) != run.input_fingerprint:
        raise DataError(
            "changed since it was scored", where=run.partition or "the source", mend="Let the score DAG run again"
        )
    return files


def denoised_reader(pipeline: Pipeline, run: RunRecord) -> Reader:
    """What reads the partition's denoised rows."""
    folder = Folder(pipeline.output)
    names = sorted(name for name in run.outputs if name.startswith("denoised/"))
    return Reader([SourceFile(f"{folder.uri}/{name}", run.partition, 0, "", name) for name in names], "parquet")


@dataclass(frozen=True)
class Shown:
    """A picture as a browser can show it."""

    content: bytes
    kind: str


def picture(pipeline: Pipeline, run: RunRecord, row: int, what: Picture) -> Shown | None:
    """One picture of a partition of pictures; None where there is no such one, or it is no picture.

    Args:
        pipeline: of pictures.
        run: that scored the partition.
        row: its place.
        what: as it came, as it was repaired, or where it is odd (flagged pictures only).

    Raises:
        DataError: the partition changed since the run, or cannot be read.
    """
    found = _bytes(pipeline, run, row, what)
    return None if found is None else _shown(found)


def _bytes(pipeline: Pipeline, run: RunRecord, row: int, what: Picture) -> bytes | None:
    folder = Folder(pipeline.output)
    if what == "original":
        files = source_files(pipeline, run)
        if files[0].name.lower().endswith(PICTURES):
            return _file(files[row].uri) if 0 <= row < len(files) else None
        return _in_table(Reader(files, "parquet"), row)
    if what == "denoised":
        below = next((name for name in run.outputs if name.startswith("denoised/")), None)
        if below is None:
            return None
        if not below.endswith("/"):
            return _in_table(denoised_reader(pipeline, run), row)
        files = source_files(pipeline, run)
        return _file(f"{folder.uri}/{below}{files[row].name}") if 0 <= row < len(files) else None
    return _heatmap(folder, run, row, what)


def _shown(content: bytes) -> Shown | None:
    """Never what the source calls it, but what its first bytes say; of what browsers do not know a PNG is made."""
    # Only now: what reads pictures is slow to import.
    from ae_plugin.core.pictures import MAX_PIXELS, PictureError, decode, encode
    from ae_plugin.core.pictures import Picture as Decoded

    for start, kind in _KNOWN.items():
        if content.startswith(start):
            return Shown(content, kind) if _pixels(content, kind) <= MAX_PIXELS else None
    try:
        found = decode(content)
        step = -(-max(found.pixels.shape[:2]) // SIDE)
        pixels = found.pixels[::step, ::step]
        if pixels.dtype != np.uint8:
            pixels = (pixels >> 8).astype(np.uint8)
        pixels = np.ascontiguousarray(pixels)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]
        return Shown(encode(pixels, Decoded(pixels, mode), "PNG"), "image/png")
    except (PictureError, KeyError):
        return None


def _pixels(content: bytes, kind: str) -> int:
    """How many pixels a PNG or JPEG says it has; nothing is decoded."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    try:
        with (PngImageFile if kind == "image/png" else JpegImageFile)(io.BytesIO(content)) as image:
            return image.width * image.height
    except Exception:  # noqa: BLE001 - Pillow's readers raise what they like; the browser shows what it can
        return 0


def _file(uri: str) -> bytes:
    fs, path = open_fs(uri)
    with reading(uri):
        return bytes(fs.cat_file(path))


def _in_table(reader: Reader, row: int) -> bytes | None:
    found = rows_at(reader, [row]).get(row)
    if found is None:
        return None
    # Only now: what reads pictures is slow to import.
    from ae_plugin.engines.pictures import image_column

    column = found.column(image_column(reader.schema, reader.files[0].uri))
    value = column[0].as_py()
    held = value.get("bytes") if isinstance(value, dict) else value
    return None if held is None else bytes(held)


def _heatmap(folder: Folder, run: RunRecord, row: int, what: Picture) -> bytes | None:
    for name in sorted(name for name in run.outputs if name.startswith("heatmaps/")):
        where = f"{folder.uri}/{name}"
        with reading(where), open_input(where) as handle:
            for batch in pq.ParquetFile(handle, pre_buffer=False).iter_batches(64, columns=["row", what]):
                place = pc.index(batch.column("row"), row).as_py()
                if place >= 0:
                    return bytes(batch.column(what)[place].as_py())
    return None
