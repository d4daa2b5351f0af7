"""Scored record batches: scores, cells and denoised rows of one Arrow record batch.

The one function that everything else feeds: `score_batches` turns a stream of Arrow record batches into a stream of
scored ones. A local Parquet stream, a mapped Airflow task and Spark's `mapInArrow` call the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.cells import CellVerdicts, fill, judge_cells
from ae_plugin.core.decode import as_text, as_type, decode_all, expected_values
from ae_plugin.core.encoding import IMPOSSIBLE, NULL
from ae_plugin.core.guard import Counts, count_bins
from ae_plugin.core.rules import Broken
from ae_plugin.core.scoring import RowScores, Scorer
from ae_plugin.core.values import Bools, Floats, coded, decoded


@dataclass(frozen=True)
class ScoredBatch:
    """One record batch with all that was found out about it.

    Attributes:
        source: the batch as it came.
        bin_counts: int64 [total bins], its cells by bin, for the guard.
        rows: row scores.
        top_column: string [n], null for normal rows.
        cells: one row per wrong cell: row (within this batch), column, observed, expected, cell_error, p_value.
        denoised: the batch with wrong cells repaired and nulls imputed, in the source's exact schema.
        repaired: number of wrong cells replaced.
        imputed: number of nulls filled.
    """

    source: pa.RecordBatch
    bin_counts: Counts
    rows: RowScores
    top_column: pa.Array
    cells: pa.Table
    denoised: pa.RecordBatch
    repaired: int
    imputed: int


@dataclass(frozen=True)
class Options:
    """How to score one partition.

    Attributes:
        full: write the whole reconstruction rather than repairs.
        reference: seconds since 1970 of the partition's own date, when it has one.
        explain: look for wrong cells and denoise; without it only row scores are made.
        limit: p-value up to which rows are flagged; None: the scorer's alert rate.
        every_row: look for wrong cells in every row, not in flagged ones only.
    """

    full: bool = False
    reference: float | None = None
    explain: bool = True
    limit: float | None = None
    every_row: bool = False


def score_batches(
    batches: Iterable[pa.RecordBatch], scorer: Scorer, options: Options | None = None
) -> Iterator[ScoredBatch]:
    """Score a stream of record batches; each result depends on its own rows alone."""
    for batch in batches:
        yield score_batch(batch, scorer, options or Options())


def score_batch(batch: pa.RecordBatch, scorer: Scorer, options: Options) -> ScoredBatch:
    """Score one record batch."""
    encoded = scorer.encode(batch, options.reference)
    rows, reconstruction = scorer.score(encoded, options.limit)
    flagged = np.flatnonzero(rows.is_anomaly)
    looks: list[Look] = []
    top = pa.nulls(len(encoded), pa.string())
    if len(flagged):
        looks.append((flagged, judge_cells(scorer, encoded.take(flagged), scorer.alert_rate)))
        names = np.full(len(encoded), None, object)
        names[flagged] = np.asarray(scorer.encoder.names, object)[looks[0][1].top]
        top = pa.array(names, pa.string())
    counts = count_bins(scorer.encoder, encoded.bins)
    if not options.explain:
        return ScoredBatch(batch, counts, rows, top, _no_cells(), batch, 0, 0)
    if options.every_row:
        looks.append((np.arange(len(encoded)), judge_cells(scorer, encoded, scorer.alert_rate, scorer.core_tails)))
    broken = {scorer.encoder.names.index(name): found for name, found in scorer.rules.find(batch).items()}
    wrong = np.zeros(encoded.state.shape, bool, order="F")
    for looked_at, verdicts in looks:
        wrong[looked_at] |= verdicts.wrong
    for index, found in broken.items():
        wrong[found.rows, index] = True
    gone = wrong | (encoded.state == NULL)
    never = encoded.state == IMPOSSIBLE
    if never.any():
        gone |= never & empty_cells(batch, scorer)
    touched = np.flatnonzero(gone.any(axis=1))
    filled = fill(scorer, encoded.take(touched), wrong[touched])
    expected = expected_of(batch, scorer, options, gone, touched, filled)
    heed(batch, scorer, broken, expected)
    _acquit(batch, scorer, wrong, expected)
    judged = _judged(scorer, looks, broken, expected)
    cells = _cells(batch, scorer, judged, wrong, expected)
    denoised, repaired, imputed = _denoise(batch, scorer, options, wrong, expected, reconstruction)
    return ScoredBatch(batch, counts, rows, top, cells, denoised, repaired, imputed)


Look = tuple[npt.NDArray[np.intp], CellVerdicts]
"""Rows of the batch that were looked at, increasing, and the verdicts on their cells."""

Expected = dict[int, tuple[npt.NDArray[np.intp], pa.Array]]
"""Column index -> (rows of the batch, their expected values in the column's type, its dictionary spelt out)."""


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of a record batch, its dictionary spelt out."""
    return decoded(batch.column(batch.schema.get_field_index(name)))


def empty_cells(batch: pa.RecordBatch, scorer: Scorer) -> Bools:
    """Which cells hold nothing (null or NaN), bool [n, C]; asked for columns that never had nulls in training."""
    out = np.zeros((batch.num_rows, len(scorer.encoder.names)), bool)
    for index, name in enumerate(scorer.encoder.names):
        column = column_of(batch, name)
        if column.null_count or pa.types.is_floating(column.type):
            out[:, index] = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
    return out


def expected_of(
    batch: pa.RecordBatch, scorer: Scorer, options: Options, gone: Bools, touched: npt.NDArray[np.intp], filled: Floats
) -> Expected:
    """Decode what some cells should hold.

    Args:
        batch: n rows.
        scorer: of the version.
        options: the partition's date.
        gone: bool [n, C], the cells.
        touched: the rows that have any, increasing.
        filled: float32 [len(touched), F], what these should hold.
    """
    out: Expected = {}
    for index, (spec, where) in enumerate(zip(scorer.encoder.specs, scorer.encoder.slices, strict=True)):
        rows = np.flatnonzero(gone[touched, index])
        if len(rows):
            observed = column_of(batch, spec.name).take(pa.array(touched[rows]))
            values = expected_values(spec, filled[rows][:, where], observed, options.reference)
            out[index] = (touched[rows], values)
    return out


def heed(batch: pa.RecordBatch, scorer: Scorer, broken: dict[int, Broken], expected: Expected) -> None:
    """Put what the rules expect, in place, before what the network does; a broken cell is never as expected."""
    for index, (rows, values) in expected.items():
        name = scorer.encoder.names[index]
        told = scorer.rules.follows(batch, name, rows)
        found = broken.get(index)
        if found is None and told.null_count == len(told):
            continue
        observed = column_of(batch, name).take(pa.array(rows))
        if found is None:
            values = pc.coalesce(as_type(told, values.type), values)
        else:
            place = np.searchsorted(rows, found.rows)
            own = np.zeros(len(rows), bool)
            own[place] = True
            said = pc.replace_with_mask(told, pa.array(own), found.expected)
            values = pc.coalesce(as_type(said, values.type), values)
            odd = pc.and_(pa.array(own), pc.fill_null(pc.equal(values, observed), False))
            values = pc.if_else(odd, pa.scalar(None, values.type), values)
        expected[index] = rows, values


def _acquit(batch: pa.RecordBatch, scorer: Scorer, wrong: Bools, expected: Expected) -> None:
    """Take back, in place, the verdict on cells that hold what is expected: odd they may be, but nothing is better."""
    for index, (rows, values) in expected.items():
        observed = column_of(batch, scorer.encoder.names[index]).take(pa.array(rows))
        if pa.types.is_float16(observed.type):
            observed, values = observed.cast(pa.float32()), values.cast(pa.float32())
        if pa.types.is_null(observed.type):
            continue
        same = pc.fill_null(pc.equal(observed, values), False).to_numpy(zero_copy_only=False)
        wrong[rows[same], index] = False
        kept = np.flatnonzero(~same)
        if len(kept) < len(rows):
            expected[index] = rows[kept], expected[index][1].take(pa.array(kept))


def _no_cells() -> pa.Table:
    texts = {name: pa.array([], pa.string()) for name in ("column", "observed", "expected")}
    floats = {name: pa.array([], pa.float32()) for name in ("cell_error", "p_value")}
    return pa.table({"row": pa.array([], pa.int64()), **texts, **floats})


Judged = dict[int, tuple[Floats, Floats]]
"""Column index -> (cell errors, p-values) of those rows in which something is expected of the column."""


def _judged(scorer: Scorer, looks: list[Look], broken: dict[int, Broken], expected: Expected) -> Judged:
    out: Judged = {}
    for index, (rows, _) in expected.items():
        error, p = np.zeros(len(rows), np.float32), np.ones(len(rows), np.float32)
        for looked_at, verdicts in looks:
            place = np.searchsorted(looked_at, rows).clip(max=len(looked_at) - 1)
            own = (looked_at[place] == rows) & verdicts.wrong[place, index]
            error[own], p[own] = (part[place[own], index] for part in (verdicts.error, verdicts.p_value))
        if index in broken:
            own = np.isin(rows, broken[index].rows)
            error[own] = np.maximum(error[own], scorer.encoder.unseen_errors[index])
            p[own] = np.minimum(p[own], np.float32(broken[index].p_value))
        out[index] = error, p
    return out


def _cells(batch: pa.RecordBatch, scorer: Scorer, judged: Judged, wrong: Bools, expected: Expected) -> pa.Table:
    parts: list[list[pa.Array]] = []
    for index, name in enumerate(scorer.encoder.names):
        if index not in expected:
            continue
        rows, values = expected[index]
        own = np.flatnonzero(wrong[rows, index])
        if not len(own):
            continue
        observed = column_of(batch, name).take(pa.array(rows[own]))
        figures = (part[own] for part in judged[index])
        texts = as_text(observed), as_text(values.take(pa.array(own)))
        parts.append([pa.array(rows[own]), pa.repeat(name, len(own)), *texts, *figures])
    empty = _no_cells()
    if not parts:
        return empty
    columns = [pa.concat_arrays(map(pa.array, pieces)) for pieces in zip(*parts, strict=True)]
    found = pa.Table.from_arrays(columns, schema=empty.schema)
    return found.sort_by([("row", "ascending"), ("p_value", "ascending"), ("column", "ascending")])


def _denoise(
    batch: pa.RecordBatch,
    scorer: Scorer,
    options: Options,
    wrong: Bools,
    expected: Expected,
    reconstruction: Floats,
) -> tuple[pa.RecordBatch, int, int]:
    columns = list(batch.columns)
    repaired = imputed = 0
    whole = decode_all(scorer.encoder, batch, reconstruction, options.reference) if options.full else {}
    for index, name in enumerate(scorer.encoder.names):
        place = batch.schema.get_field_index(name)
        if index not in whole and index not in expected:
            continue
        given, column = columns[place], column_of(batch, name)
        rows, values = expected.get(index, (np.zeros(0, np.intp), pa.nulls(0, column.type)))
        told = values.is_valid().to_numpy(zero_copy_only=False)
        if index in whole:
            values_all = whole[index]
            column = pc.if_else(values_all.is_valid(), values_all, column) if values_all.null_count else values_all
        if told.any():
            column = put(column, rows[told], values.filter(pa.array(told)))
        if pa.types.is_dictionary(given.type):
            try:
                column = coded(column, given)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                continue  # more values than the dictionary's type can count: the column stays as it is
        columns[place] = column if column.type == given.type else column.cast(given.type)
        fixes = wrong[rows, index]
        repaired += int((told & fixes).sum())
        imputed += int((told & ~fixes).sum())
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema), repaired, imputed


def put(column: pa.Array, rows: npt.NDArray[np.intp], values: pa.Array) -> pa.Array:
    """A column with other values in some rows, increasing."""
    if not (pa.types.is_duration(column.type) or pa.types.is_float16(column.type) or pa.types.is_null(column.type)):
        mask = np.zeros(len(column), bool)
        mask[rows] = True
        return pc.replace_with_mask(column, pa.array(mask), values)
    # Arrow has no such kernel for the rest.
    source = np.arange(len(column))
    source[rows] = len(column) + np.arange(len(rows))
    return pa.concat_arrays([column, values]).take(pa.array(source))
