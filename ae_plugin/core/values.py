"""Arrow columns to plain arrays, and the names of their types."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bins = npt.NDArray[np.int16]
Longs = npt.NDArray[np.int64]


def evenly_spaced(rows: int, most: int) -> npt.NDArray[np.intp]:
    """At most so many of so many rows, increasing: history lies in the order of time, and all of it must have a say."""
    return np.linspace(0, rows - 1, most).astype(np.intp) if rows > most else np.arange(rows)


def as_floats(column: pa.Array) -> tuple[Doubles | Floats, Bools | None]:
    """Return a numeric column as floats, and where it is null or NaN (None when nowhere)."""
    nulls = None
    if column.null_count:
        nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
        column = column.fill_null(pa.scalar(0, column.type) if not pa.types.is_decimal(column.type) else 0)
    if pa.types.is_decimal(column.type) or pa.types.is_duration(column.type):
        if pa.types.is_duration(column.type):
            column = column.cast(pa.int64())
        column = column.cast(pa.float64(), safe=False)  # of huge numbers a float keeps fewer digits
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(values.sum())
    if not finite:
        nan = np.isnan(values)
        nulls = nan if nulls is None else nulls | nan
    return values, nulls


def decoded(column: pa.Array) -> pa.Array:
    """Return a column in a type that all of Arrow's kernels know, its dictionary spelt out."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = plain_type(column.type)
    return column if kind == column.type else column.cast(kind)


def take(column: pa.Array, rows: pa.Array) -> pa.Array:
    """Return rows of a column of any type."""
    plain = plain_type(column.type)
    return column.take(rows) if plain == column.type else column.cast(plain).take(rows).cast(column.type)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that holds the same values and that all of Arrow's kernels know: no views, no small decimals."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    for is_list, make in _LISTS:
        if is_list(kind):
            inner = kind.value_field
            plain = plain_type(inner.type)
            sized = (kind.list_size,) if pa.types.is_fixed_size_list(kind) else ()
            return kind if plain == inner.type else make(inner.with_type(plain), *sized)
    return kind


_PLAIN = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
_LISTS = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_list_view, pa.list_),
    (pa.types.is_fixed_size_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_large_list_view, pa.large_list),
)


def coded(values: pa.Array, like: pa.Array) -> pa.Array:
    """Return plain values in the dictionary type of `like`: its dictionary, in its order, then what is new.

    Raises:
        ArrowInvalid: the type's index cannot count that many values.
    """
    index = pc.index_in(values, value_set=like.dictionary)
    new = values.filter(pc.and_(index.is_null(), values.is_valid())).unique()
    dictionary = pa.concat_arrays([like.dictionary, new])
    index = pc.index_in(values, value_set=dictionary).cast(like.type.index_type)
    return pa.DictionaryArray.from_arrays(index, dictionary, ordered=like.type.ordered)


def as_strings(column: pa.Array) -> pa.Array:
    """Return a bool or string column as plain strings.

    Raises:
        UnicodeError: it holds bytes that are no UTF-8, which Parquet does not check.
    """
    strings = column if pa.types.is_string(column.type) else column.cast(pa.string())
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UnicodeError(str(error)) from error
    return strings


def as_seconds(column: pa.Array) -> tuple[Doubles, Bools | None]:
    """Return a date, timestamp or time-of-day column as seconds, and where it is null."""
    nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False)) if column.null_count else None
    kind = column.type
    if pa.types.is_date32(kind):
        ticks, per_second = column.cast(pa.int32()).cast(pa.int64()), 1 / 86_400
    elif pa.types.is_time32(kind):
        ticks, per_second = column.cast(pa.int32()).cast(pa.int64()), {"s": 1.0, "ms": 1e3}[kind.unit]
    else:
        unit = "ms" if pa.types.is_date64(kind) else kind.unit
        ticks, per_second = column.cast(pa.int64()), {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    return ticks.fill_null(0).to_numpy().astype(np.float64) / per_second, nulls
