"""One column of a record batch to features, and what state and which bin each of its cells is in.

Every cell is encoded by itself: nothing here depends on the other rows of the batch.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.columns import GRID, CategorySpec, ColumnSpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.ngrams import embed_strings
from ae_plugin.core.numbers import encode_numbers, grid, squash
from ae_plugin.core.values import Bins, Bools, Doubles, Floats, as_seconds, as_strings

VALUE, NULL, IMPOSSIBLE, UNJUDGED = 0, 1, 2, 3
"""What a cell may be: a value; null; never seen in training; not to be encoded here."""
SECONDS = {"day": 86_400.0, "week": 604_800.0, "year": 31_556_952.0}
NULL_FLAG_FLOOR = 0.1


def fold_age(seconds: Doubles, spec: TimeSpec) -> Doubles:
    """Bring seconds within `slack` of the training range to its edge, and what lies beyond towards it by `slack`."""
    below, above = seconds - spec.low, seconds - spec.high
    out = np.where(below < 0, spec.low + np.minimum(0, below + spec.slack), seconds)
    return np.where(above > 0, spec.high + np.maximum(0, above - spec.slack), out)


def null_flag(rows: int, states: npt.NDArray[np.uint8] | None, spec: ColumnSpec) -> Floats:
    """The feature that says which cells are null, float32 [rows]; rare nulls are far from all others."""
    rate = spec.null_rate
    is_null = np.zeros(rows, np.float32) if states is None else np.asarray(states == NULL, np.float32)
    flag = (is_null - np.float32(rate)) / np.float32(max(NULL_FLAG_FLOOR, (rate * (1 - rate)) ** 0.5))
    if states is not None:
        flag = np.where(states == UNJUDGED, np.float32(0), flag)
    return squash(flag.astype(np.float32))


_Column: TypeAlias = tuple[Floats, npt.NDArray[np.uint8] | None, Bins]
"""One column encoded: features [n, value_width], states [n] (None: values all), and bins [n], counted from 0."""


def encode_column(column: pa.Array, spec: ColumnSpec, reference: float | None) -> _Column:
    """Encode a column of words or times."""
    if isinstance(spec, CategorySpec):
        return _encode_category(column, spec)
    if isinstance(spec, TextSpec):
        return _encode_text(column, spec)
    if isinstance(spec, TimeSpec):
        return _encode_time(column, spec, reference)
    raise TypeError(spec.name)


def _states(rows: int, nulls: Bools | None, never: Bools | None, spec: ColumnSpec) -> npt.NDArray[np.uint8] | None:
    if nulls is None and never is None:
        return None
    states = np.zeros(rows, np.uint8)
    if never is not None:
        states[never] = IMPOSSIBLE
    if nulls is not None:
        states[nulls] = NULL if spec.nullable else IMPOSSIBLE
    return states


def _bins(z: Floats, nulls: Bools | None, never: Bools | None) -> Bins:
    cells = grid(z)
    if never is not None:
        cells[never] = GRID + 1
    if nulls is not None:
        cells[nulls] = GRID
    return cells


def encode_number(values: Floats | Doubles, nulls: Bools, spec: NumberSpec) -> _Column:
    """Encode a number column that holds gaps, or infinities, which no number column can."""
    infinite = np.isinf(values)
    never = infinite if infinite.any() else None
    z = encode_numbers([values], [spec])[0]
    z[nulls] = 0
    return z[:, None], _states(len(z), nulls, never, spec), _bins(z, nulls, never)


def number_column(column: pa.Array) -> pa.Array:
    """A column, if it is one of numbers; ArrowTypeError when it is not."""
    kind = column.type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_duration(kind)
        or pa.types.is_null(kind)
    ):
        raise pa.ArrowTypeError("not a number")
    return column.cast(pa.float64()) if pa.types.is_null(kind) else column


def _encode_category(column: pa.Array, spec: CategorySpec) -> _Column:
    strings = as_strings(column)
    known = len(spec.values)
    found = pc.index_in(strings, value_set=pa.array(spec.values, strings.type))
    index = found.fill_null(known).to_numpy(zero_copy_only=False).astype(np.intp)
    hot = np.eye(known + 1, known, dtype=np.float32)
    hot[:known] -= np.asarray(spec.rates, np.float32)
    values = (hot * np.float32(spec.scale))[index]
    nulls = np.asarray(strings.is_null().to_numpy(zero_copy_only=False)) if strings.null_count else None
    unseen = index == known
    never = None
    if unseen.any():
        never = unseen if nulls is None else unseen & ~nulls
    cells = index.astype(np.int16)
    if never is not None:
        cells[never] = known + 1
    if nulls is not None:
        cells[nulls] = known
    return values, _states(len(index), nulls, never, spec), cells


def _encode_text(column: pa.Array, spec: TextSpec) -> _Column:
    words = as_strings(column).dictionary_encode()
    words = words.combine_chunks() if isinstance(words, pa.ChunkedArray) else words
    distinct = words.dictionary.to_pylist()
    codes = words.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)
    table = np.zeros((len(distinct) + 1, spec.dims), np.float32)
    if distinct:
        table[:-1] = (embed_strings(distinct, spec.dims) - np.asarray(spec.means, np.float32)) * spec.scale
    known = set(spec.values)
    # Bins: known or not, by length; a new identifier is only as odd as new identifiers are.
    kinds = [min(len(word), 35) // 4 + (0 if word in known else 9) for word in distinct]
    cells = np.array([*kinds, spec.value_bins], np.int16)[codes]
    nulls = codes == len(distinct) if words.null_count else None
    return table[codes], _states(len(codes), nulls, None, spec), cells


def _encode_time(column: pa.Array, spec: TimeSpec, reference: float | None) -> _Column:
    if pa.types.is_null(column.type):
        column = column.cast(pa.timestamp("s"))  # nothing there, so of no type
    if not pa.types.is_temporal(column.type) or pa.types.is_duration(column.type):
        raise pa.ArrowTypeError("not a time")
    seconds, nulls = as_seconds(column)
    rows = len(seconds)
    if spec.relative and reference is None:
        unjudged = np.full(rows, UNJUDGED, np.uint8)
        return np.zeros((rows, spec.value_width), np.float32), unjudged, np.full(rows, GRID, np.int16)
    age = fold_age(seconds - (reference or 0.0) if spec.relative else seconds, spec)
    z = squash(((age - spec.mean) / spec.std).astype(np.float32))
    parts = [z]
    for cycle in spec.cycles:
        angle = seconds * (2 * np.pi / SECONDS[cycle])
        parts += [np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)]
    values = np.stack(parts, axis=1)
    if nulls is not None:
        values[nulls] = 0
    return values, _states(rows, nulls, None, spec), _bins(z, nulls, None)
