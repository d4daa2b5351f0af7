"""Complete: cells (pixels) that are empty, or that a mask names, filled from all others; with an interval for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.cell_completion import CompletedBatch, complete_batch
from ae_plugin.core.features import partition_time
from ae_plugin.engines.local import Reader, Writer, batch_rows
from ae_plugin.engines.threads import parallel, prefetch
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.latent.mask_partitions import partitions_in
from ae_plugin.jobs.latent.masks import digest_of, read_mask
from ae_plugin.jobs.latent.output import Inputs, committed, due, find_inputs, keep, spent, without_twins
from ae_plugin.jobs.score import champion_of
from ae_plugin.jobs.staged import let_go
from ae_plugin.latent_schemas import CompleteRecord, completions_schema
from ae_plugin.store.commit import Commit
from ae_plugin.store.runs import COMPLETED
from ae_plugin.versions import ModelVersion

if TYPE_CHECKING:
    from ae_plugin.jobs.pictures.versions import PictureVersion

log = logging.getLogger(__name__)
COVERAGE = 0.9
NO_INTERVALS = "no intervals: {} is older than those are. Train anew to have them"


@dataclass
class Counted:
    """What went by while a partition was completed.

    Attributes:
        rows, unreadable: rows (pictures), and those that could not be read.
        touched: rows with a cell (pictures with a pixel) to fill.
        filled, left: cells (pixels) that got a value, and that stay as they were.
        outputs: the files written, and their sha256.
        notes: what the user should know.
    """

    rows: int = 0
    unreadable: int = 0
    touched: int = 0
    filled: int = 0
    left: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def complete(
    pipeline: Pipeline,
    partition: str | None = None,
    *,
    source: str | None = None,
    output: str | None = None,
    mask: str | None = None,
    coverage: float = COVERAGE,
    version: ModelVersion | PictureVersion | None = None,
) -> CompleteRecord:
    """Complete one partition with the champion.

    Args:
        pipeline: from `config.load`.
        partition: its hive path (`date=2013-01-29`) or value; absent for a source without partitions.
        source: a file or folder instead of the pipeline's source.
        output: where to write instead of the pipeline's output; the model still comes from there.
        mask: a file that names cells to fill whatever they hold; of pictures, one whose white pixels are to be filled,
            or a folder of such, named as the pictures.
        coverage: share of cells (pixels) that are to lie within their interval.
        version: what to complete with, when it is loaded already; else the champion.

    Raises:
        UnfamiliarError: the guard refused the partition as it is, and nobody released it.
        NoChampionError: there is nothing to complete with.
        UserError: the source, the mask, the output or the model is not what it should be.
    """
    clock = time.perf_counter()
    check_coverage(coverage)
    version = version or champion_of(pipeline)
    inputs, digest = find_inputs(pipeline, partition, source, output), digest_of(mask)
    with committed(inputs, "completed") as commit:
        if isinstance(version, ModelVersion):
            counted = _complete_table(pipeline, version, inputs, mask, coverage, commit)
        else:
            # Only now: what reads pictures is slow to import.
            from ae_plugin.jobs.latent.picture_completion import complete_pictures

            counted = complete_pictures(pipeline, version, inputs, mask, coverage, commit)
        record = CompleteRecord(
            pipeline=pipeline.name,
            model_version=version.version,
            partition=inputs.where,
            coverage=coverage,
            mask=digest,
            unreadable_rows=counted.unreadable,
            rows_completed=counted.touched,
            filled=counted.filled,
            left=counted.left,
            notes=counted.notes,
            rows=counted.rows,
            outputs=counted.outputs,
            input_fingerprint=inputs.digest,
            **spent(clock, counted.rows),
        )
        keep(commit, COMPLETED, record)
    log.info("%s", inputs.wrote(f"{record.filled} filled in {record.rows_completed} rows"))
    return record


def due_completions(
    pipeline: Pipeline, mask: str | None = None, coverage: float = COVERAGE, output: str | None = None
) -> dict[str, str | None]:
    """Partitions that were scored, and not yet completed by the champion, at this coverage, with this mask; in order.

    Args:
        pipeline: from `config.load`.
        mask: a file or folder, see `complete`.
        coverage: see there.
        output: where completions are, instead of the pipeline's output.

    Returns:
        Each partition's mask: None where the file names cells of others alone.

    Raises:
        NoChampionError: there is nothing to complete with.
        ConfigError: the mask does not say which partitions it is about, or names one that is not there.
        DataError: the source cannot be listed.
    """
    check_coverage(coverage)
    digest, about = digest_of(mask), None if mask is None else partitions_in(mask, pipeline)

    def own(partition: str) -> bool:
        return about is None or partition in about

    def fits(done: CompleteRecord) -> bool:
        return done.coverage == coverage and (done.mask == digest or not own(done.partition))

    found = due(pipeline, COMPLETED, CompleteRecord, fits, output)
    return {name: mask if own(name) else None for name in found}


def check_coverage(coverage: float) -> None:
    """See that a coverage is a share.

    Raises:
        ConfigError: it is none.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"{coverage:g} is not a number between 0 and 1", where="--coverage")


def _complete_table(
    pipeline: Pipeline, version: ModelVersion, inputs: Inputs, path: str | None, coverage: float, commit: Commit
) -> Counted:
    """Stage both files, counting what goes by."""
    scorer, at = version.scorer, partition_time(inputs.where)
    reader = Reader(inputs.files, inputs.kind, version.schema, batch_rows(scorer.encoder.features))
    version.check_columns(reader.schema.names, inputs.files[0].uri)
    keys = [reader.schema.field(name) for name in version.card.keys]
    mask = None
    if path is not None:
        mask = read_mask(path, pipeline, inputs.where, scorer.encoder.names, version.card.keys)

    def completed(batch: pa.RecordBatch, first: int) -> CompletedBatch:
        asked = mask.of(batch, first, len(scorer.encoder.names)) if mask else None
        try:
            return complete_batch(batch, scorer, coverage, asked, at)
        except DataError as error:
            raise error.placed(inputs.files[0].uri) from error

    counted = Counted(notes=[] if scorer.reference.intervals else [NO_INTERVALS.format(version.version)])
    if mask is not None and not mask.rows and not mask.keys:
        counted.notes.append(f"{mask.where} names no cell of {inputs.where or 'the source'}")
    whole, told = inputs.target("completed"), inputs.target("completions")
    schema = without_twins(completions_schema(keys), "completions")
    writers = {
        whole: Writer(commit.folder, commit.staged(whole), reader.schema),
        told: Writer(commit.folder, commit.staged(told), schema),
    }
    with let_go(*writers.values()):
        for batch, found in parallel(lambda pair: (pair[0], completed(*pair)), prefetch(_numbered(reader))):
            writers[whole].write(found.completed)
            writers[told].write(_told(found.cells, batch, keys, counted.rows, version.version))
            counted.rows += batch.num_rows
            counted.filled += found.filled
            counted.left += found.cells.num_rows - found.filled
            counted.touched += len(np.unique(found.cells.column("row").to_numpy()))
        if mask:
            mask.check(counted.rows, inputs.where)
        counted.outputs = {target: writer.close() for target, writer in writers.items()}
    return counted


def _numbered(reader: Reader) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Record batches, and the place of each one's first row."""
    first = 0
    for batch in reader.batches():
        yield batch, first
        first += batch.num_rows


def _told(cells: pa.Table, batch: pa.RecordBatch, keys: list[pa.Field], first: int, version: str) -> pa.Table:
    """Rows of `completions/`."""
    rows = cells.column("row").combine_chunks()
    own = [batch.column(batch.schema.get_field_index(key.name)).take(rows) for key in keys]
    places = pa.array(rows.to_numpy() + first, pa.int64())
    rest = [cells.column(name) for name in cells.column_names[1:]]
    return pa.table([*own, places, *rest, pa.repeat(version, len(rows))], schema=completions_schema(keys))
