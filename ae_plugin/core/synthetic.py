"""Drawn rows as Arrow columns, in the source's own types; and how far they are from rows that are there.

A learned column's cell is a cell of history, or lies between two of them; an age counts from its row's partition. Of
other columns a row gets what is the same all over its partition, a key of its own, or null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.columns import ColumnSpec, NumberSpec, TimeSpec
from ae_plugin.core.decode import typed
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.generation import Drawn, Indices, Past
from ae_plugin.core.values import (
    Bools,
    Doubles,
    Floats,
    Longs,
    as_floats,
    as_seconds,
    as_strings,
    decoded,
    plain_type,
    take,
)

Fill = Literal["learned", "partition", "key", "null"]
"""Where a column's cells come from."""
CONTINUOUS = 0.5
"""Share of a column's cells that differ from one another, from which on new values may lie between them."""
_TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True)
class Origin:
    """Rows of history, as they are.

    Attributes:
        table: n rows, with every column of the source, each in one chunk.
        encoded: the same, encoded.
        groups: int64 [n], the number of each row's partition.
        times: float64 [n], seconds since 1970 of its own date; 0 where it has none.
    """

    table: pa.Table
    encoded: Encoded
    groups: npt.NDArray[np.intp]
    times: Doubles

    @staticmethod
    def of(table: pa.Table, encoded: Encoded, partitions: Sequence[str], times: Mapping[str, float | None]) -> Origin:
        """Take a sample of history: its rows, and each row's partition and its date."""
        _, first, groups = np.unique(np.asarray(partitions), return_index=True, return_inverse=True)
        dates = np.array([times[partitions[row]] or 0.0 for row in first])
        return Origin(table.unify_dictionaries().combine_chunks(), encoded, groups, dates[groups])

    def column(self, name: str) -> pa.Array:
        """A column in one piece."""
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)

    def take(self, rows: Indices) -> Origin:
        """Some of the rows."""
        table = self.table.take(pa.array(rows)).combine_chunks()
        return Origin(table, self.encoded.take(rows), self.groups[rows], self.times[rows])

    def past(self, encoder: TableEncoder) -> Past:
        """What rows are drawn from."""
        words, places = {}, {}
        for index, spec in enumerate(encoder.specs):
            column = decoded(self.column(spec.name))
            if isinstance(spec, NumberSpec):
                values, nulls = as_floats(column)
            elif isinstance(spec, TimeSpec):
                values, nulls = as_seconds(column)
                values = values - self.times if spec.relative else values
            else:
                coded = as_strings(column).dictionary_encode().indices
                words[index] = coded.fill_null(len(coded)).to_numpy(zero_copy_only=False).astype(np.int64)
                words[index] = np.unique(words[index], return_inverse=True)[1]
                continue
            wide = np.where(np.isfinite(values) & (True if nulls is None else ~nulls), values, np.nan).astype(
                np.float64
            )
            there = wide[~np.isnan(wide)]
            if len(np.unique(there)) >= CONTINUOUS * len(there):
                places[index] = wide
        several = self.groups.max() > 0
        moments = (self.groups / max(self.groups.max(), 1)).astype(np.float32) if several else None
        return Past(self.encoded, words, places, moments)


def fills(origin: Origin, encoder: TableEncoder, keys: Sequence[str], exclude: Sequence[str]) -> dict[str, Fill]:
    """Where the cells of each of the source's columns come from."""
    out: dict[str, Fill] = {}
    for field in origin.table.schema:
        if field.name in encoder.names:
            out[field.name] = "learned"
        elif field.name in keys:
            out[field.name] = "key"
        elif field.name in exclude:
            out[field.name] = "null"
        else:
            out[field.name] = _passed(origin, field)
    return out


def _passed(origin: Origin, field: pa.Field) -> Fill:
    column = decoded(origin.column(field.name))
    try:
        codes = column.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return "null"  # of a type that has no order and no dictionary: nobody can say that it stays the same
    _, first = np.unique(origin.groups, return_index=True)
    if (codes == codes[first][origin.groups]).all():
        return "partition"
    distinct = len(np.unique(codes)) == len(codes)
    return "key" if distinct and pa.types.is_integer(field.type) else "null"


class Table:
    """Makes Arrow rows of drawn ones.

    Args:
        origin: what they were drawn from.
        specs: of the learned columns.
        fill: where each column's cells come from.
        schema: of the source; the types that are written.
        fixed: column -> the value that all its cells have.
    """

    def __init__(
        self,
        origin: Origin,
        specs: Sequence[ColumnSpec],
        fill: Mapping[str, Fill],
        schema: pa.Schema,
        fixed: Mapping[str, pa.Scalar],
    ) -> None:
        self.origin, self.fill, self.schema, self.fixed = origin, fill, schema, fixed
        self._specs = {spec.name: (index, spec) for index, spec in enumerate(specs)}

    def rows(self, drawn: Drawn, start: int) -> pa.RecordBatch:
        """Rows in the source's schema.

        Args:
            drawn: of them.
            start: number of the first one, from 0: what makes keys new.
        """
        columns = [self._column(field, drawn, start) for field in self.schema]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _column(self, field: pa.Field, drawn: Drawn, start: int) -> pa.Array:
        rows, how = len(drawn.base), self.fill[field.name]
        if field.name in self.fixed:
            return pa.repeat(self.fixed[field.name], rows).cast(field.type)
        if how == "learned":
            values = self._learned(*self._specs[field.name], drawn)
        elif how == "partition":
            values = take(self.origin.column(field.name), pa.array(drawn.base))
        elif how == "key":
            values = fresh(field.type, start, rows)
        else:
            values = pa.nulls(rows, field.type)
        if values.type != field.type:
            values = values.cast(field.type)
        return values if field.nullable or not values.null_count else _blank(values)

    def _learned(self, index: int, spec: ColumnSpec, drawn: Drawn) -> pa.Array:
        column = self.origin.column(spec.name)
        first, second, share = drawn.first[:, index], drawn.second[:, index], drawn.share[:, index]
        if isinstance(spec, TimeSpec) and (spec.relative or share.any()):
            return self._times(decoded(column), spec, drawn.base, first, second, share)
        found = take(column, pa.array(first))
        if not share.any():
            return found
        assert isinstance(spec, NumberSpec)
        values = as_floats(decoded(column))[0].astype(np.float64)
        between = values[first] + share * (values[second] - values[first])
        if spec.digits is not None:
            between = np.round(between, spec.digits)
        made = typed(between, found.type)
        return pc.if_else(pa.array((share > 0) & ~_nulls(made)), made, found)

    def _times(
        self, column: pa.Array, spec: TimeSpec, base: Indices, first: Indices, second: Indices, share: Doubles
    ) -> pa.Array:
        """Moments: an age counted from the date of the row's own partition, in whole ticks of the column's type."""
        ticks, per_second = _as_ticks(column)
        dates = (self.origin.times * per_second).round().astype(np.int64) if spec.relative else np.zeros_like(ticks)
        ages = ticks - dates
        step = max(1, round(spec.step * per_second))
        apart = np.rint(share * (ages[second] - ages[first]) / step).astype(np.int64) * step
        made = ages[first] + apart + dates[base]
        kind = column.type
        narrow = pa.types.is_date32(kind) or pa.types.is_time32(kind)
        values = pa.array(made.astype(np.int32) if narrow else made, mask=_nulls(column)[first])
        return values.cast(kind)


def _nulls(values: pa.Array) -> Bools:
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False))


def _as_ticks(column: pa.Array) -> tuple[Longs, float]:
    """A column of times as whole numbers, 0 for null, and how many of them make a second."""
    kind = column.type
    if pa.types.is_date32(kind):
        ticks, per_second = column.cast(pa.int32()).cast(pa.int64()), 1 / 86_400
    elif pa.types.is_time32(kind):
        ticks, per_second = column.cast(pa.int32()).cast(pa.int64()), _TICKS[kind.unit]
    else:
        ticks, per_second = column.cast(pa.int64()), _TICKS["ms" if pa.types.is_date64(kind) else kind.unit]
    return ticks.fill_null(0).to_numpy(), per_second


def fresh(kind: pa.DataType, start: int, rows: int) -> pa.Array:
    """Keys that nobody takes for real: -1, -2, ... or `synthetic-1`, ...; null where the type holds neither."""
    numbers = np.arange(start + 1, start + rows + 1)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.array([f"synthetic-{number}" for number in numbers]).cast(kind)
    fits = pa.types.is_floating(kind) or (
        pa.types.is_signed_integer(kind) and -numbers[-1] >= -(2 ** (kind.bit_width - 1))
    )
    return pa.array(-numbers).cast(kind, safe=False) if fits else pa.nulls(rows, kind)


def _blank(values: pa.Array) -> pa.Array:
    """Where nulls are not allowed: zero, empty or false."""
    kind = plain_type(values.type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        nothing: object = ""
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        nothing = b""
    elif pa.types.is_fixed_size_binary(kind):
        nothing = bytes(kind.byte_width)
    elif pa.types.is_struct(kind):
        nothing = {}
    elif pa.types.is_nested(kind):
        nothing = [None] * getattr(kind, "list_size", 0)
    else:
        nothing = pa.scalar(0, pa.int32()).cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
        zeros = pa.repeat(nothing, len(values)).cast(kind)
        return pc.if_else(values.cast(kind).is_null(), zeros, values.cast(kind)).cast(values.type)
    filled = [nothing if value is None else value for value in values.to_pylist()]
    return pa.array(filled, kind).cast(values.type)


def comparable(column: pa.Array) -> pa.Array:
    """A column in a type that Arrow can compare: see `decoded`, and no half floats."""
    column = decoded(column)
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


def _numbers(column: pa.Array) -> Doubles | None:
    """Numbers and times as float64 [n], NaN for null; None of any other column."""
    kind = column.type
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_duration)
    if any(of(kind) for of in numeric):
        values, nulls = as_floats(column)
    elif pa.types.is_temporal(kind):
        values, nulls = as_seconds(column)
    else:
        return None
    return np.where(False if nulls is None else nulls, np.nan, values).astype(np.float64)


class Known:
    """Tells rows that are the same as one of history in all learned columns.

    Args:
        origin: the rows of history.
        names: of the learned columns.
        beside: whether a number of a column of which most differ counts as the nearest of history: a row that is a real
            one but for a number drawn just beside it is a copy then.
    """

    def __init__(self, origin: Origin, names: Sequence[str], *, beside: bool = True) -> None:
        columns = {name: comparable(origin.column(name)) for name in names}
        self._values = {name: column.unique() for name, column in columns.items()}
        self._grids: dict[str, Doubles] = {}
        for name, column in columns.items() if beside else ():
            numbers = _numbers(column)
            if numbers is not None:
                grid = np.unique(numbers[~np.isnan(numbers)])
                if len(grid) > 1 and len(grid) >= CONTINUOUS * (~np.isnan(numbers)).sum():
                    self._grids[name] = grid
        self._rows = np.unique(self._coded(origin.table))

    def copies(self, rows: pa.RecordBatch | pa.Table) -> Bools:
        """Which rows are in history, bool [m]."""
        return np.asarray(np.isin(self._coded(rows), self._rows))

    def _coded(self, rows: pa.RecordBatch | pa.Table) -> npt.NDArray[np.void]:
        codes = np.empty((rows.num_rows, len(self._values)), np.int32)
        for place, (name, values) in enumerate(self._values.items()):
            column = rows.column(name)
            column = comparable(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
            if name in self._grids:
                codes[:, place] = _nearest(column.cast(values.type), self._grids[name])
                continue
            found = pc.index_in(column.cast(values.type), value_set=values)
            codes[:, place] = found.fill_null(-1).to_numpy(zero_copy_only=False)
        whole = np.dtype((np.void, codes.dtype.itemsize * codes.shape[1]))
        return np.ascontiguousarray(codes).view(whole)[:, 0]


def _nearest(column: pa.Array, grid: Doubles) -> npt.NDArray[np.intp]:
    """Places of the nearest values of a grid, two at least, increasing; -1 for null."""
    numbers = _numbers(column)
    assert numbers is not None  # else it had no grid
    above = np.clip(np.searchsorted(grid, numbers), 1, len(grid) - 1)
    nearer = numbers - grid[above - 1] <= grid[above] - numbers
    return np.where(np.isnan(numbers), -1, above - nearer)


def distances(rows: Floats, history: Floats) -> Floats:
    """How far each row float32 [m, F] is from the nearest one of history [n, F], float32 [m]."""
    squares = np.square(history).sum(axis=1)
    parts = []
    for start in range(0, len(rows), 512):
        part = rows[start : start + 512]
        nearest = (squares - 2 * (part @ history.T)).min(axis=1) + np.square(part).sum(axis=1)
        parts.append(np.sqrt(np.maximum(nearest, 0)))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
