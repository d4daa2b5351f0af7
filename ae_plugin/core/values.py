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


def as_floats(column: pa.Array) -> tuple[Doubles | Floats, Bools | None]:
    """Return a numeric column as floats, and where it is null or NaN (None when nowhere)."""
    nulls = None
    if column.null_count:
        nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
        column = column.fill_null(pa.scalar(0, column.type) if not pa.types.is_decimal(column.type) else 0)
    if pa.types.is_decimal(column.type) or pa.types.is_duration(column.type):
        if pa.types.is_duration(column.type):
            column = column.cast(pa.int64())
        column = column.cast(pa.float64())
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
    """Return a dictionary column as its plain values; any other column as it is."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


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
    """Return a bool or string column as plain strings."""
    if pa.types.is_boolean(column.type):
        return column.cast(pa.string())
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


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
