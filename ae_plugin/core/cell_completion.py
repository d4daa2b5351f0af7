"""Completion of rows: cells that are empty, or that somebody asks for, filled from all other cells of their row."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.columns import CategorySpec, ColumnSpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.decode import as_text, ticks_of
from ae_plugin.core.encoding import IMPOSSIBLE, NULL
from ae_plugin.core.explain import Options, column_of, empty_cells, expected_of, heed, put
from ae_plugin.core.features import Encoded
from ae_plugin.core.intervals import Intervals, design_of, number_ends, probable, time_ends
from ae_plugin.core.scoring import Scorer
from ae_plugin.core.values import Bools, Floats, coded

GRAIN = np.float32(2**-14)
"""What is expected is a whole multiple of this: how a network's last bit is rounded hangs on the rows beside."""
MOST_WORDS = 32
"""A set of more words than these is not told: it says nothing."""
CELLS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("column", pa.string(), nullable=False),
        pa.field("value", pa.string()),
        pa.field("low", pa.string()),
        pa.field("high", pa.string()),
        pa.field("words", pa.list_(pa.string())),
    ]
)
_WIDE = Context(prec=100)


@dataclass(frozen=True)
class CompletedBatch:
    """One record batch, completed.

    Attributes:
        completed: the batch in the source's exact schema, with all cells filled that the model can tell.
        cells: one row per cell that was empty or asked for, see `CELLS`; row counts within this batch. A value is null
            where the model cannot tell: such a cell stays as it is.
        filled: cells that got a value.
    """

    completed: pa.RecordBatch
    cells: pa.Table
    filled: int


def complete_batch(
    batch: pa.RecordBatch, scorer: Scorer, coverage: float, asked: Bools | None = None, reference: float | None = None
) -> CompletedBatch:
    """Fill the empty cells of a record batch, and those that are asked for.

    Args:
        batch: holds at least the learned columns.
        scorer: of a version; without `intervals` in its reference no interval is told.
        coverage: share of cells that are to lie within their interval.
        asked: bool [n, C], cells to fill whatever they hold: that is not looked at.
        reference: seconds since 1970 of the partition's own date, when it has one.

    Raises:
        DataError: a learned column is missing, or of a type it cannot be read as.
    """
    given = batch if asked is None or not asked.any() else _without(batch, scorer, asked)
    encoded = scorer.encode(given, reference)
    gone = (encoded.state == NULL) | ((encoded.state == IMPOSSIBLE) & empty_cells(given, scorer))
    wanted = empty_cells(given, scorer)
    touched = np.flatnonzero(wanted.any(axis=1))
    if not len(touched):
        return CompletedBatch(batch, CELLS.empty_table(), 0)
    part = encoded.take(touched)
    visible = scorer.encoder.visible(part) * ~gone[touched]
    filled = (np.rint(scorer.expect(part.x, visible) / GRAIN) * GRAIN).astype(np.float32)
    expected = expected_of(given, scorer, Options(reference=reference), wanted, touched, filled)
    heed(given, scorer, {}, expected)
    columns, tables, count = list(batch.columns), [], 0
    for index, (rows, values) in expected.items():
        name = scorer.encoder.names[index]
        place = batch.schema.get_field_index(name)
        told = values.is_valid().to_numpy(zero_copy_only=False)
        if told.any():
            new = put(column_of(batch, name), rows[told], values.filter(pa.array(told)))
            try:
                columns[place] = _as_was(new, columns[place])
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                values = pa.nulls(len(rows), values.type)  # more values than the dictionary's type can count
                told[:] = False
        count += int(told.sum())
        at = np.searchsorted(touched, rows)
        row = _Rows(part.take(at), visible[at], filled[at], reference)
        tables.append(_cells(scorer, index, rows, values, row, coverage))
    cells = pa.concat_tables(tables).sort_by([("row", "ascending"), ("column", "ascending")])
    return CompletedBatch(pa.RecordBatch.from_arrays(columns, schema=batch.schema), cells, count)


@dataclass(frozen=True)
class _Rows:
    """Some rows as they were filled: encoded, what was visible [n, C], what came of it [n, F], and their date."""

    encoded: Encoded
    visible: Floats
    filled: Floats
    reference: float | None


def _without(batch: pa.RecordBatch, scorer: Scorer, asked: Bools) -> pa.RecordBatch:
    """A record batch without the cells that are asked for, dictionaries spelt out."""
    columns = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
    for index in np.flatnonzero(asked.any(axis=0)):
        name, rows = scorer.encoder.names[index], np.flatnonzero(asked[:, index])
        column = column_of(batch, name)
        columns[name] = put(column, rows, pa.nulls(len(rows), column.type))
    return pa.RecordBatch.from_pydict(columns)


def _as_was(column: pa.Array, given: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(given.type):
        return coded(column, given)
    return column if column.type == given.type else column.cast(given.type)


def _cells(
    scorer: Scorer, index: int, rows: npt.NDArray[np.intp], values: pa.Array, row: _Rows, coverage: float
) -> pa.Table:
    spec, known = scorer.encoder.specs[index], scorer.reference.intervals
    texts, none = as_text(values), pa.nulls(len(rows), pa.string())
    low, high, words = none, none, pa.nulls(len(rows), CELLS.field("words").type)
    if known is not None and isinstance(spec, (CategorySpec, TextSpec)):
        words = _sets(spec, known, index, scorer.encoder.slices[index], row, coverage, texts)
    elif known is not None:
        low, high = _ends(scorer, spec, known, index, row, coverage, values)
    told = values.is_valid()
    low, high = (pc.if_else(told, end, None) for end in (low, high))
    at = pa.array(rows.astype(np.int64))
    return pa.table([at, pa.repeat(spec.name, len(rows)), texts, low, high, words], schema=CELLS)


def _ends(
    scorer: Scorer,
    spec: ColumnSpec,
    known: Intervals,
    index: int,
    row: _Rows,
    coverage: float,
    values: pa.Array,
) -> tuple[pa.Array, pa.Array]:
    """Both ends of the intervals of a column of numbers or times, as texts."""
    band, where = known.bands(row.visible), scorer.encoder.slices[index]
    design = design_of(scorer.encoder, row.encoded.x, row.visible, row.filled, index)
    usual = known.usual(index, design)
    below, above = (part * usual for part in known.reach(band, index, coverage))
    if isinstance(spec, NumberSpec):
        guess = row.filled[:, where.start]
        ends = number_ends(spec, *(np.clip(guess + part, *known.ends[:, index]) for part in (below, above)))
        texts = [_number_texts(end, values.type, up=up) for end, up in zip(ends, (False, True), strict=True)]
    elif isinstance(spec, TimeSpec):
        start = (row.reference or 0.0) if spec.relative else 0.0
        ends = time_ends(spec, row.filled[:, where], below, above, known.ends[:, index])
        texts = [as_text(ticks_of(end + start, values.type)) for end in ends]
    else:
        raise TypeError(f"{spec.name} holds words")
    return texts[0], texts[1]


def _number_texts(end: npt.NDArray[np.float64], kind: pa.DataType, *, up: bool) -> pa.Array:
    """Ends as their column would write them, rounded outwards."""
    if pa.types.is_decimal(kind):
        unit, how = Decimal(1).scaleb(-kind.scale), ROUND_CEILING if up else ROUND_FLOOR
        # Past its shortest form a float's digits are noise, which would round up a whole number.
        texts = [str(Decimal(f"{v:.12g}").quantize(unit, rounding=how, context=_WIDE)) for v in end.tolist()]
    elif pa.types.is_integer(kind) or pa.types.is_duration(kind):
        texts = [str(int(v)) for v in (np.ceil if up else np.floor)(end).tolist()]
    else:
        # Seven digits are what single precision holds; a thousandth of the last one is noise.
        unit_of = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(end), 1e-300))) - 6)
        whole = np.ceil(end / unit_of - 1e-3) if up else np.floor(end / unit_of + 1e-3)
        texts = [f"{v:.7g}" for v in (whole * unit_of).tolist()]
    return pa.array(texts, pa.string())


def _sets(
    spec: CategorySpec | TextSpec,
    known: Intervals,
    index: int,
    where: slice,
    row: _Rows,
    coverage: float,
    texts: pa.Array,
) -> pa.Array:
    """The smallest sets of words that cover: what is filled in, then the most probable first.

    What is filled in may be told by a rule, whatever the network takes for probable.
    """
    least = known.least(known.bands(row.visible), index, coverage)
    chances = probable(spec, row.filled[:, where])
    out: list[list[str] | None] = []
    for chance, limit, text in zip(chances, least, texts.to_pylist(), strict=True):
        within = np.flatnonzero(chance >= limit)
        ranked = [spec.values[i] for i in within[np.argsort(-chance[within], kind="stable")][: MOST_WORDS + 1]]
        own = [text, *(word for word in ranked if word != text)]
        out.append(own if text is not None and len(own) <= MOST_WORDS else None)
    return pa.array(out, CELLS.field("words").type)
