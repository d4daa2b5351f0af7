"""A partition's flagged rows, worst first: read from `scores/` and `cells/`, a page at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from ae_plugin.core.values import take
from ae_plugin.engines.local import open_input, reading
from ae_plugin.jobs.feedback import standing
from ae_plugin.jobs.pointed import key_texts
from ae_plugin.schemas import FeedbackMark, RunRecord, scores_schema
from ae_plugin.store.feedback import FEEDBACK
from ae_plugin.store.files import Folder
from ae_plugin.web.overview import Cache, stamp_of
from ae_plugin.web.responses import AnomalousRow, RowPage, WrongCell
from ae_plugin.web.values import cut

MOST = 100_000
"""Flagged rows that are ordered and paged; of more the worst."""
COLUMNS = 50
CELLS = 200
"""Wrong cells of one row that are told."""
_BATCH, _FEW = 131_072, 2_048
_KEPT = ("anomaly_score", "p_value", "top_column")
Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Flagged:
    """The flagged rows of a run, worst first: smallest p-value, then highest score.

    Attributes:
        rows: int64 [k], places in the partition.
        score: float32 [k].
        p: float32 [k].
        top: the column that each is worst in, [k]; of pictures None.
        total: how many there are; more than k when they are too many to be kept.
    """

    rows: Longs
    score: npt.NDArray[np.float32]
    p: npt.NDArray[np.float32]
    top: list[str | None]
    total: int

    @property
    def columns(self) -> dict[str, int]:
        """Column -> rows that it is worst in, most first."""
        return dict(Counter(name for name in self.top if name is not None).most_common(COLUMNS))


_flagged: Cache[Flagged] = Cache(8)
_marks: Cache[list[FeedbackMark]] = Cache(8)


def row_page(
    pipeline: Pipeline,
    run: RunRecord,
    *,
    offset: int = 0,
    limit: int = 50,
    column: str | None = None,
    value: str | None = None,
    only: Sequence[int] = (),
) -> RowPage:
    """Some of a run's flagged rows.

    Args:
        pipeline: whose run it is.
        run: the newest of its partition, and scored.
        offset: rows before the page.
        limit: rows of the page.
        column: only rows with a wrong cell in this column, or that are worst in it.
        value: only rows with a wrong cell (of that column) whose observed or expected value holds this text.
        only: only these rows.

    Raises:
        DataError: what the run wrote cannot be read.
    """
    folder = Folder(pipeline.output)
    found = _flagged.get((folder.uri, run.partition), run.run_id, lambda: _read_flagged(folder, run))
    kept = np.ones(len(found.rows), bool)
    if only:
        kept &= np.isin(found.rows, np.asarray(only, np.int64))
    if column or value:
        hit = np.isin(found.rows, _rows_with(folder, run, column, value, np.sort(found.rows)))
        if column and not value:
            hit |= np.fromiter((name == column for name in found.top), bool, len(found.top))
        kept &= hit
    places = np.flatnonzero(kept)
    page = places[offset : offset + limit]
    return RowPage(
        total=len(places),
        flagged=found.total,
        seen=run.input_fingerprint,
        columns=found.columns,
        rows=_rows(pipeline, run, found, page),
    )


def _read_flagged(folder: Folder, run: RunRecord) -> Flagged:
    parts: list[pa.Table] = []
    total = first = 0
    for batch in _stream(folder, run, "scores", ["is_anomaly", *_KEPT]):
        places = np.flatnonzero(batch.column("is_anomaly").fill_null(False).to_numpy(zero_copy_only=False))
        if len(places):
            total += len(places)
            columns = [_plain(take(batch.column(name), pa.array(places))) for name in _KEPT]
            parts.append(pa.table([pa.array(places + first), *columns], ["row", "score", "p", "top"]))
            if sum(part.num_rows for part in parts) > 2 * MOST:
                parts = [_worst(pa.concat_tables(parts))]
        first += batch.num_rows
    empty = pa.table({"row": pa.array([], pa.int64()), "score": [], "p": [], "top": pa.array([], pa.string())})
    found = _worst(pa.concat_tables(parts)) if parts else empty
    rows, score, p = (found.column(name).to_numpy() for name in ("row", "score", "p"))
    return Flagged(rows, score.astype(np.float32), p.astype(np.float32), found.column("top").to_pylist(), total)


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _worst(found: pa.Table) -> pa.Table:
    row, score, p = (found.column(name).to_numpy() for name in ("row", "score", "p"))
    return found.take(pa.array(np.lexsort((row, -score, p))[:MOST]))


def _stream(folder: Folder, run: RunRecord, dataset: str, names: list[str] | None) -> Iterator[pa.RecordBatch]:
    """Record batches of what the run wrote, in order."""
    for name in sorted(name for name in run.outputs if name.startswith(f"{dataset}/")):
        where = f"{folder.uri}/{name}"
        with reading(where), open_input(where) as handle:
            # `pre_buffer` would hold whole row groups.
            yield from pq.ParquetFile(handle, pre_buffer=False).iter_batches(_BATCH, columns=names)


def _rows_with(folder: Folder, run: RunRecord, column: str | None, value: str | None, among: Longs) -> Longs:
    """Those of some rows with a wrong cell in a column, or whose observed or expected value holds a text."""
    found = [np.zeros(0, np.int64)]
    for batch in _stream(folder, run, "cells", ["row", "column", "observed", "expected"]):
        hit = pc.equal(batch.column("column"), column) if column else pa.array(np.ones(batch.num_rows, bool))
        if value:
            holds = [
                pc.match_substring(_plain(batch.column(name)), value, ignore_case=True).fill_null(False)
                for name in ("observed", "expected")
            ]
            hit = pc.and_(hit, pc.or_(*holds))
        rows = batch.column("row").filter(hit).to_numpy()
        found.append(np.unique(rows[np.isin(rows, among)]))
    return np.unique(np.concatenate(found))


def _rows(pipeline: Pipeline, run: RunRecord, found: Flagged, page: npt.NDArray[np.intp]) -> list[AnomalousRow]:
    rows = found.rows[page].tolist()
    folder = Folder(pipeline.output)
    keys, cells, said = _keys_of(folder, run, rows), _cells_of(folder, run, rows), _said(pipeline, folder)
    marks = {(mark.row, _name(mark.keys)): mark for mark in said if mark.partition == run.partition}
    return [
        AnomalousRow(
            row=row,
            keys={name: cut(text) for name, text in keys.get(row, {}).items()},
            anomaly_score=float(found.score[place]),
            p_value=float(found.p[place]),
            top_column=found.top[place],
            cells=cells.get(row, []),
            # Of a partition that was written anew another row may stand there: the keys tell.
            feedback=marks.get((row, _name(keys.get(row, {})))),
        )
        for row, place in zip(rows, page, strict=True)
    ]


def _name(keys: Mapping[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(keys.items()))


def _said(pipeline: Pipeline, folder: Folder) -> list[FeedbackMark]:
    stamp = stamp_of(folder, [FEEDBACK])
    # An object store cannot tell whether something was said since.
    return _marks.get(folder.uri, stamp if folder.local else object(), lambda: standing(pipeline).marks)


def _groups(folder: Folder, run: RunRecord, dataset: str, rows: Sequence[int]) -> Iterator[pa.Table]:
    """The row groups of a dataset that may hold some rows of the partition, by their `row` statistics."""
    wanted = np.asarray(sorted(rows), np.int64)
    for name in sorted(name for name in run.outputs if name.startswith(f"{dataset}/")):
        where = f"{folder.uri}/{name}"
        with reading(where), open_input(where) as handle:
            file = pq.ParquetFile(handle, pre_buffer=False)
            place = file.schema_arrow.get_field_index("row")
            for number in range(file.num_row_groups):
                known = file.metadata.row_group(number).column(_leaf(file, place)).statistics
                low, high = (known.min, known.max) if known is not None and known.has_min_max else (0, 2**62)
                if ((wanted >= low) & (wanted <= high)).any():
                    for batch in file.iter_batches(_FEW, row_groups=[number]):
                        hit = pc.is_in(batch.column("row"), pa.array(wanted))
                        if pc.any(hit).as_py():
                            yield pa.Table.from_batches([batch.filter(hit)])


def _leaf(file: pq.ParquetFile, place: int) -> int:
    """The place of a column among the leaves: keys may be nested."""
    name = file.schema_arrow.field(place).name
    return next(index for index in range(len(file.schema)) if file.schema.column(index).path == name)


def _keys_of(folder: Folder, run: RunRecord, rows: Sequence[int]) -> dict[int, dict[str, str | None]]:
    found: dict[int, dict[str, str | None]] = {}
    own = len(scores_schema([]))
    for table in _groups(folder, run, "scores", rows) if rows else ():
        names = table.column_names[: table.num_columns - own]
        told = [key_texts(table.column(name)) for name in names]
        for index, row in enumerate(table.column("row").to_pylist()):
            found[row] = {name: text[index] for name, text in zip(names, told, strict=True)}
    return found


def _cells_of(folder: Folder, run: RunRecord, rows: Sequence[int]) -> dict[int, list[WrongCell]]:
    found: dict[int, list[WrongCell]] = {}
    names = ["column", "observed", "expected", "cell_error", "p_value"]
    for table in _groups(folder, run, "cells", rows) if rows else ():
        for row, cell in zip(table.column("row").to_pylist(), table.select(names).to_pylist(), strict=True):
            own = found.setdefault(row, [])
            if len(own) < CELLS:
                own.append(WrongCell(**{**cell, "observed": cut(cell["observed"]), "expected": cut(cell["expected"])}))
    for own in found.values():
        own.sort(key=lambda cell: (cell.p_value or 0.0, -(cell.cell_error or 0.0)))
    return found
