"""Traverse: one latent variable changed, the others held; what the decoder makes of it, as rows and as a sheet."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.traversal import Move, named, steps_of
from ae_plugin.core.values import Floats
from ae_plugin.engines.local import Writer
from ae_plugin.engines.threads import BLAS
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.latent.output import Inputs, committed, find_inputs, spent
from ae_plugin.jobs.latent.traversed import FRAMES, SHEET
from ae_plugin.jobs.score import champion_of
from ae_plugin.jobs.staged import let_go
from ae_plugin.latent_schemas import LatentMove, LatentNote, TraverseRecord, frames_schema
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import list_source, partitions_of
from ae_plugin.store.runs import TRAVERSAL
from ae_plugin.versions import ModelVersion

if TYPE_CHECKING:
    from ae_plugin.jobs.pictures.versions import PictureVersion

log = logging.getLogger(__name__)
LATENTS, STEPS = 8, 7
MOST_STEPS = 101
SAMPLE = 2_048
"""Rows that say where codes lie, evenly from the partition."""


@dataclass(frozen=True)
class Frame:
    """What one latent variable does, decoded.

    Attributes:
        rows: a record batch of a row for each step.
        moves: what changes over the steps, all of it.
    """

    rows: pa.RecordBatch
    moves: list[Move]


class Subject(Protocol):
    """A row (or picture) that is held, and what decodes codes near it.

    Attributes:
        row: its place in the partition.
        fields: of the rows that are decoded.
        base: its code, float32 [L].
        low, high: where each latent variable starts and ends, float32 [L].
        carries: how much each carries, float32 [L].
        axes: the latent variables are the principal axes of the codes, not the codes' own numbers.
        carried_by: in which measure: `kl`, in nats, or `explained`, a share of the reconstruction's variance.
    """

    row: int
    fields: pa.Schema
    base: Floats
    low: Floats
    high: Floats
    carries: Floats
    axes: bool
    carried_by: str

    def frame(self, codes: Floats) -> Frame:
        """Decode the codes float32 [S, L] of one latent variable's steps."""

    def title(self, moves: list[Move]) -> str:
        """What those that are named say together."""

    def sheet(self, frames: list[tuple[LatentNote, Frame]]) -> bytes:
        """All of it to look at, a PNG."""


@BLAS.single()
def traverse(
    pipeline: Pipeline,
    partition: str | None = None,
    *,
    latents: int = LATENTS,
    steps: int = STEPS,
    row: int | None = None,
    keys: Mapping[str, str | None] | None = None,
    output: str | None = None,
    version: ModelVersion | PictureVersion | None = None,
) -> TraverseRecord:
    """Write the traversal of a row's latent variables: `traversal/frames.parquet` and `traversal/sheet.png`.

    Args:
        pipeline: from `config.load`.
        partition: that the row is in; absent: the newest that the champion was trained on.
        latents: how many, those that carry most first.
        steps: values that each takes.
        row: place of the row that is held; absent, without keys too: the most usual one.
        keys: its keys instead.
        output: where to write instead of the pipeline's output; the model still comes from there.
        version: what to decode with, when it is loaded already; else the champion.

    Raises:
        ConfigError: latents or steps are none, or there is no such row.
        UnfamiliarError: the guard refused the partition, and nobody released it.
        NoChampionError: there is nothing to decode with.
        UserError: the source, the output or the model is not what it should be.
    """
    clock = time.perf_counter()
    if latents < 1 or not 2 <= steps <= MOST_STEPS:
        what = f"latents {latents}, steps {steps}"
        raise ConfigError(what, where="traverse", mend=f"Wanted: at least 1 latent, and 2 to {MOST_STEPS} steps")
    version = version or champion_of(pipeline)
    inputs = find_inputs(pipeline, _chosen(pipeline, version, partition), None, output)
    subject = _subject(pipeline, version, inputs, row, keys or {})
    order = np.argsort(-subject.carries, kind="stable")[:latents]
    frames = [_frame(subject, int(latent), steps) for latent in order]
    with committed(inputs, "traversal") as commit:
        outputs = _write(subject, frames, commit)
        rows = sum(frame.rows.num_rows for _, frame in frames)
        record = TraverseRecord(
            pipeline=pipeline.name,
            model_version=version.version,
            partition=inputs.where,
            row=subject.row,
            rows=rows,
            steps=steps,
            latent_dim=len(subject.base),
            axes=subject.axes,
            carried_by="kl" if subject.carried_by == "kl" else "explained",
            latents=[note for note, _ in frames],
            input_fingerprint=inputs.digest,
            outputs=outputs,
            **spent(clock, rows),
        )
        commit.folder.write(commit.staged(TRAVERSAL), record.model_dump_json(indent=1).encode())
    log.info("%s", inputs.wrote(f"{len(frames)} latent variables, {steps} steps each"))
    return record


def _chosen(pipeline: Pipeline, version: ModelVersion | PictureVersion, partition: str | None) -> str | None:
    """The partition that is read: the one asked for, or the newest that was trained on and is still there."""
    if partition is not None or not pipeline.source.partition_by:
        return partition
    there = list(partitions_of(list_source(pipeline.source)))
    trained = [name for name in there if name in version.card.partitions]
    return (trained or there)[-1]


def _subject(
    pipeline: Pipeline,
    version: ModelVersion | PictureVersion,
    inputs: Inputs,
    row: int | None,
    keys: Mapping[str, str | None],
) -> Subject:
    if isinstance(version, ModelVersion):
        from ae_plugin.jobs.latent.traverse_rows import RowSubject

        return RowSubject(pipeline, version, inputs, row, keys)
    # Only now: what reads pictures is slow to import.
    from ae_plugin.jobs.latent.traverse_pictures import PictureSubject

    return PictureSubject(pipeline, version, inputs, row, keys)


def _frame(subject: Subject, latent: int, steps: int) -> tuple[LatentNote, Frame]:
    low, high = float(subject.low[latent]), float(subject.high[latent])
    frame = subject.frame(steps_of(subject.base, latent, low, high, steps))
    moves = named(frame.moves)
    note = LatentNote(
        latent=latent,
        carries=round(float(subject.carries[latent]), 6),
        low=round(low, 6),
        high=round(high, 6),
        title=subject.title(moves) if moves else "hardly anything",
        moves=[
            LatentMove(what=move.what, change=round(move.change, 3), first=move.first, last=move.last) for move in moves
        ],
    )
    return note, frame


def _write(subject: Subject, frames: list[tuple[LatentNote, Frame]], commit: Commit) -> dict[str, str]:
    """Stage the frames and the sheet; returns their sha256."""
    writer = Writer(commit.folder, commit.staged(FRAMES), frames_schema(subject.fields))
    with let_go(writer):
        for note, frame in frames:
            writer.write(_rows(note, frame, writer.schema))
        digest = writer.close()
    sheet = subject.sheet(frames)
    commit.folder.write(commit.staged(SHEET), sheet)
    return {FRAMES: digest, SHEET: hashlib.sha256(sheet).hexdigest()}


def _rows(note: LatentNote, frame: Frame, schema: pa.Schema) -> pa.RecordBatch:
    steps = frame.rows.num_rows
    own = [
        pa.array(np.full(steps, note.latent, np.int32)),
        pa.array(np.arange(steps, dtype=np.int32)),
        pa.array(np.linspace(note.low, note.high, steps).astype(np.float32)),
    ]
    return pa.RecordBatch.from_arrays([*own, *frame.rows.columns], schema=schema)
