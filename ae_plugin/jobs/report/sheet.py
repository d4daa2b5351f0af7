"""The contact sheet: anomalous pictures as they came, as they were written denoised, and where they are wrong."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.pictures import Picture, PictureError, decode, to_float
from ae_plugin.core.values import Floats
from ae_plugin.engines.pictures import PictureReader, image_column
from ae_plugin.errors import UserError
from ae_plugin.jobs.report.stored import WorstRow, batches_of
from ae_plugin.places import is_below
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import Folder, fingerprint, list_source, partitions_of

LARGEST, SMALLEST = 320, 128
_HOT = np.array([0.90, 0.20, 0.05], np.float32)


@dataclass(frozen=True)
class Print:
    """One anomalous picture; the three are data URIs of PNGs, empty where they cannot be had."""

    row: WorstRow
    original: str
    denoised: str
    heat: str


@dataclass(frozen=True)
class Strip:
    """The worst pictures of one partition; `problem` says why something is not shown."""

    run: RunRecord
    prints: list[Print]
    problem: str


def contact_sheet(
    pipeline: Pipeline, folder: Folder, worst: Sequence[WorstRow], runs: Sequence[RunRecord]
) -> list[Strip]:
    """Put the worst pictures side by side with what was made of them, those of one partition together."""
    by_name = {run.partition: run for run in runs}
    return [
        _strip(pipeline, folder, by_name[partition], list(rows))
        for partition, rows in groupby(worst, key=lambda row: row.partition)
    ]


def _strip(pipeline: Pipeline, folder: Folder, run: RunRecord, rows: list[WorstRow]) -> Strip:
    wanted, problem = {row.row for row in rows}, ""
    heats = {
        row: heat
        for batch in batches_of(folder, run, "heatmaps", run.rows)
        for row, heat in _heats(batch)
        if row in wanted
    }
    denoised = dict(_denoised(folder, run, rows))
    originals: dict[int, Picture] = {}
    try:
        files = partitions_of(list_source(pipeline.source)).get(run.partition, [])
        if not files or fingerprint(files) != run.input_fingerprint:
            problem = "its source changed since it was scored, or is gone"
        else:
            originals = dict(_at(PictureReader(files).batches(), wanted))
    except UserError as error:
        problem = f"its source cannot be read ({error})"
    prints = [
        Print(
            row,
            _uri(to_float(originals[row.row])) if row.row in originals else "",
            _uri(to_float(denoised[row.row])) if row.row in denoised else "",
            _overlay(originals.get(row.row) or denoised.get(row.row), heats.get(row.row)),
        )
        for row in rows
    ]
    return Strip(run, prints, problem)


def _denoised(folder: Folder, run: RunRecord, rows: list[WorstRow]) -> Iterator[tuple[int, Picture]]:
    """The pictures of some rows as they were written: out of a Parquet file, or files by themselves."""
    where = next((name for name in run.outputs if name.startswith("denoised/")), "")
    if not where.endswith("/"):
        yield from _at(batches_of(folder, run, "denoised", run.rows), {row.row for row in rows})
        return
    for row in rows:
        name = dict(row.keys).get("file") or ""
        with contextlib.suppress(PictureError, FileNotFoundError):
            if is_below(name):
                yield row.row, decode(folder.read(f"{where}{name}"))


def _at(batches: Iterator[pa.RecordBatch], wanted: set[int]) -> Iterator[tuple[int, Picture]]:
    """The pictures at some places of a stream, which is read no further than the last of them."""
    first = 0
    for batch in batches:
        if first > max(wanted):
            return
        image = image_column(batch.schema)
        for row in sorted(wanted & set(range(first, first + batch.num_rows))):
            cell = batch.column(image)[row - first].as_py()
            try:
                yield row, decode(cell["bytes"] if isinstance(cell, dict) else cell)
            except (PictureError, TypeError):
                continue
        first += batch.num_rows


def _heats(batch: pa.RecordBatch) -> Iterator[tuple[int, Floats]]:
    for row, data in zip(batch.column("row").to_pylist(), batch.column("heatmap").to_pylist(), strict=True):
        yield row, to_float(decode(data))[..., 0]


def _overlay(picture: Picture | None, heat: Floats | None) -> str:
    """The picture in grey, hotter where it is wrong."""
    if picture is None or heat is None:
        return ""
    grey = to_float(picture)[..., :3].mean(axis=2, keepdims=True)
    share = (heat / max(float(heat.max()), 1e-6))[..., None]
    return _uri((1 - share) * grey + share * _HOT)


def _uri(pixels: Floats) -> str:
    """A PNG as a data URI, no larger than a page needs."""
    wide = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(wide[..., 0] if wide.shape[2] == 1 else wide)
    longest = max(image.size)
    scale = LARGEST / longest if longest > LARGEST else max(SMALLEST // longest, 1)
    size = [max(round(length * scale), 1) for length in image.size]
    stream = io.BytesIO()
    how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    image.resize((size[0], size[1]), how).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
