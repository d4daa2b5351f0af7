"""The newest traversal, as its frames lie in the output: the page moves along them, and no model runs."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fastapi import HTTPException

from ae_plugin.config import Pipeline
from ae_plugin.core.decode import as_text
from ae_plugin.jobs.latent.traversed import FRAMES, read_traversal
from ae_plugin.latent_schemas import LatentNote, TraverseRecord
from ae_plugin.store.files import Folder
from ae_plugin.web.responses import TraversalView, TraversedColumn, TraversedLatent

MOST_BYTES = 32 * 2**20
"""Of the file of frames; larger ones, of thousands of steps, are for other readers."""
COLUMNS = 12
"""Of a latent variable, that are shown: what it changes most, then what else changes."""


def traversal_view(pipeline: Pipeline) -> TraversalView:
    """The newest traversal; HTTP 409 while another one takes its place."""
    found = _frames(pipeline)
    if found is None:
        return TraversalView(record=None, latents=[])
    record, table = found
    pictures = pipeline.source.format == "images"
    shown = [_latent(note, _of(table, note.latent), pictures=pictures) for note in record.latents]
    return TraversalView(record=record, latents=shown)


def traversal_picture(pipeline: Pipeline, latent: int, step: int) -> bytes | None:
    """One decoded picture, a PNG; None where there is none."""
    found = _frames(pipeline) if pipeline.source.format == "images" else None
    if found is None:
        return None
    own = _of(found[1], latent)
    return own.column(own.num_columns - 1)[step].as_py() if step < own.num_rows else None


def _frames(pipeline: Pipeline) -> tuple[TraverseRecord, pa.Table] | None:
    """The record and its frames, which fit one another."""
    folder = Folder(pipeline.output)
    for _ in range(2):
        record = read_traversal(folder)
        if record is None:
            return None
        try:
            size = folder.size(FRAMES)
            if size > MOST_BYTES:
                raise HTTPException(409, f"{FRAMES} has {size} bytes: too many to be shown here")
            content = folder.read(FRAMES)
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest() == record.outputs.get(FRAMES):
            return record, pq.read_table(pa.BufferReader(content))
    raise HTTPException(409, f"{FRAMES}: is being written just now, or was changed")


def _of(table: pa.Table, latent: int) -> pa.Table:
    return table.filter(pc.equal(table.column(0), latent))


def _latent(note: LatentNote, own: pa.Table, *, pictures: bool) -> TraversedLatent:
    named = [move.what for move in note.moves]
    columns = []
    if not pictures:
        texts = {name: as_text(own.column(name).combine_chunks()).to_pylist() for name in _told(own)}
        changing = [name for name, values in texts.items() if len(set(values)) > 1]
        order = sorted(changing, key=lambda name: named.index(name) if name in named else len(named))
        columns = [TraversedColumn(column=name, values=texts[name]) for name in order[:COLUMNS]]
    return TraversedLatent(note=note, values=own.column(2).to_pylist(), columns=columns)


def _told(own: pa.Table) -> list[str]:
    """Columns that can be written as text."""
    kinds = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return [field.name for field in own.schema if not any(is_kind(field.type) for is_kind in kinds)][3:]
