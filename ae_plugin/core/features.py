"""Arrow record batches to encoded features: what the network sees.

Shapes, for a record batch of n rows, C learned columns and F encoded features:

    x       float32 [n, F]   encoded values; 0 where there is none
    state   uint8   [n, C]   VALUE, NULL, IMPOSSIBLE (never seen in training) or UNJUDGED (cannot be encoded here)
    bins    int64   [C, n]   which of all columns' bins the guard and the tail tables count the cell in

Every row is encoded by itself: nothing here depends on the other rows of the batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.columns import (
    GRID,
    IMPOSSIBLE_ERROR,
    CategorySpec,
    ColumnSpec,
    NumberSpec,
    TextSpec,
    TimeSpec,
)
from ae_plugin.core.ngrams import embed_strings
from ae_plugin.core.values import Bools, Doubles, Floats, Ints, Longs, as_floats, as_seconds, as_strings
from ae_plugin.errors import DataError

VALUE, NULL, IMPOSSIBLE, UNJUDGED = 0, 1, 2, 3
SECONDS = {"day": 86_400.0, "week": 604_800.0, "year": 31_556_952.0}
NULL_FLAG_FLOOR = 0.1
_MONTH = re.compile(r"\d{4}-\d{2}")


@dataclass(frozen=True)
class Encoded:
    """One encoded record batch; see the module's docstring for shapes."""

    x: Floats
    state: npt.NDArray[np.uint8]
    bins: Longs

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: npt.NDArray[np.intp]) -> Encoded:
        """Return the given rows."""
        return Encoded(self.x[rows], self.state[rows], self.bins[:, rows])

    @staticmethod
    def concat(parts: Sequence[Encoded]) -> Encoded:
        """Return the parts one below the other."""
        return Encoded(
            np.concatenate([p.x for p in parts]),
            np.concatenate([p.state for p in parts]),
            np.concatenate([p.bins for p in parts], axis=1),
        )


def squash(z: Floats) -> Floats:
    """Leave |z| <= 3 alone and bend the rest, up to 1e30, to sign·(3 + log1p(|z| - 3)), in place."""
    far = np.flatnonzero(np.abs(z) > 3)
    if len(far):
        tail = z[far]
        z[far] = np.sign(tail) * (3 + np.log1p(np.minimum(np.abs(tail), 1e30) - 3))
    return z


def unsquash(z: Floats) -> Floats:
    """Undo `squash`; beyond 3 + log1p(1e6) the value no longer grows."""
    far = np.flatnonzero(np.abs(z) > 3)
    if len(far):
        z = z.copy()
        tail = z[far]
        z[far] = np.sign(tail) * (3 + np.expm1(np.minimum(np.abs(tail) - 3, 13.8)))
    return z


def partition_time(partition: str) -> float | None:
    """Seconds since 1970 of a partition's own date or month (`date=2013-01-29`, `ym=2013-01`, `year=2013/month=1`)."""
    parts = dict(part.split("=", 1) for part in partition.split("/") if "=" in part)
    texts = list(parts.values())
    if {"year", "month"} <= parts.keys():
        texts.append(f"{parts['year']:0>4}-{parts['month']:0>2}-{parts.get('day', '1'):0>2}")
    for text in (f"{text}-01" if _MONTH.fullmatch(text) else text for text in texts):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return None


def fold_age(seconds: Doubles, spec: TimeSpec) -> Doubles:
    """Bring seconds within `slack` of the training range to its edge, and what lies beyond towards it by `slack`."""
    below, above = seconds - spec.low, seconds - spec.high
    out = np.where(below < 0, spec.low + np.minimum(0, below + spec.slack), seconds)
    return np.where(above > 0, spec.high + np.maximum(0, above - spec.slack), out)


class TableEncoder:
    """Encodes record batches by the specs that `fit` learned.

    Args:
        specs: one per learned column, in the order of the model's inputs.
    """

    def __init__(self, specs: Sequence[ColumnSpec]) -> None:
        self.specs = list(specs)
        self.names = [spec.name for spec in self.specs]
        edges = np.concatenate([[0], np.cumsum([spec.width for spec in self.specs])]).astype(int)
        self.slices = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        self.features = int(edges[-1])
        offsets = np.concatenate([[0], np.cumsum([spec.bins for spec in self.specs])]).astype(np.int32)
        self.bin_offsets, self.total_bins = offsets[:-1], int(offsets[-1])

    @cached_property
    def column_of(self) -> npt.NDArray[np.intp]:
        """Column index of each feature, [F]."""
        return np.repeat(np.arange(len(self.specs)), [spec.width for spec in self.specs])

    @cached_property
    def is_flag(self) -> Bools:
        """Which features are null flags, [F]."""
        flags = np.zeros(self.features, bool)
        for spec, where in zip(self.specs, self.slices, strict=True):
            if spec.nullable:
                flags[where.stop - 1] = True
        return flags

    @cached_property
    def unseen_errors(self) -> Floats:
        """Cell error of an impossible value, by column, [C]: scaled units²."""
        return np.array([_unseen_error(spec) for spec in self.specs], np.float32)

    def encode(self, batch: pa.RecordBatch | pa.Table, reference: float | None = None) -> Encoded:
        """Encode a record batch.

        Args:
            batch: holds at least the learned columns; others are ignored.
            reference: seconds since 1970 of the partition's own date, when it has one.

        Raises:
            DataError: a learned column is missing, or of a type it cannot be read as.
        """
        rows = batch.num_rows
        x = np.zeros((rows, self.features), np.float32)
        state = np.zeros((rows, len(self.specs)), np.uint8)
        bins = np.zeros((len(self.specs), rows), np.int64)
        for index, spec in enumerate(self.specs):
            column = _column(batch, spec.name)
            try:
                values, states, cells = _encode_column(column, spec, reference)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                raise DataError(
                    f"column {spec.name!r} is {column.type}, but the model learned {spec.type}",
                    mend="Write it with that type, or train anew",
                ) from error
            x[:, self.slices[index]] = _with_flag(values, states, spec)
            if states is not None:
                state[:, index] = states
            np.add(cells, self.bin_offsets[index], out=bins[index])
        return Encoded(x, state, bins)

    def visible(self, encoded: Encoded) -> Floats:
        """Which columns the network may see, float32 [n, C]: impossible and unjudged cells are hidden."""
        return np.asarray(encoded.state < IMPOSSIBLE, dtype=np.float32)

    def weights(self, encoded: Encoded) -> Floats:
        """Which features have a true value to compare with, float32 [n, F]."""
        state = encoded.state
        if not state.any():
            return np.ones((len(encoded), self.features), np.float32)
        weight = np.asarray(state == VALUE, np.float32)[:, self.column_of]
        flags = np.asarray(state != UNJUDGED, np.float32)[:, self.column_of[self.is_flag]]
        weight[:, self.is_flag] = flags
        return weight

    def column_errors(self, encoded: Encoded, reconstruction: Floats) -> Floats:
        """Cell errors, float32 [n, C], in scaled units²: feature errors summed over each column's features."""
        errors = np.subtract(reconstruction, encoded.x)
        np.square(errors, out=errors)
        plain = self.features == len(self.specs)
        touched = encoded.state.any()
        if touched:
            errors *= self.weights(encoded)
        if not plain:
            errors = np.add.reduceat(errors, [s.start for s in self.slices], axis=1)
        if touched:
            never = encoded.state == IMPOSSIBLE
            errors = np.where(never, np.maximum(errors, self.unseen_errors), errors)
        return errors

    def hide(self, x: Floats, visible: Floats) -> Floats:
        """Return x with the features of hidden columns set to 0."""
        if visible.all():
            return x
        if self.features == len(self.specs):
            return x * visible
        return x * visible[:, self.column_of]


def iter_columns(encoder: TableEncoder) -> Iterator[tuple[int, ColumnSpec, slice]]:
    """Yield (index, spec, feature slice) of each learned column."""
    yield from zip(range(len(encoder.specs)), encoder.specs, encoder.slices, strict=True)


def _column(batch: pa.RecordBatch | pa.Table, name: str) -> pa.Array:
    index = batch.schema.get_field_index(name)
    if index < 0:
        raise DataError(f"column {name!r} is missing", mend="Bring it back, or train anew without it")
    column = batch.column(index)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _unseen_error(spec: ColumnSpec) -> float:
    if isinstance(spec, CategorySpec):
        return float(min(IMPOSSIBLE_ERROR, np.log(spec.unseen_rate) ** 2 / 2))
    return IMPOSSIBLE_ERROR


def _with_flag(values: Floats, states: npt.NDArray[np.uint8] | None, spec: ColumnSpec) -> Floats:
    if not spec.nullable:
        return values
    rate = spec.null_rate
    is_null = np.zeros(len(values), np.float32) if states is None else np.asarray(states == NULL, np.float32)
    flag = (is_null - np.float32(rate)) / np.float32(max(NULL_FLAG_FLOOR, (rate * (1 - rate)) ** 0.5))
    if states is not None:
        flag = np.where(states == UNJUDGED, np.float32(0), flag)
    return np.concatenate([values, squash(flag.astype(np.float32))[:, None]], axis=1)


def _encode_column(
    column: pa.Array, spec: ColumnSpec, reference: float | None
) -> tuple[Floats, npt.NDArray[np.uint8] | None, Ints]:
    if isinstance(spec, NumberSpec):
        return _encode_number(column, spec)
    if isinstance(spec, CategorySpec):
        return _encode_category(column, spec)
    if isinstance(spec, TextSpec):
        return _encode_text(column, spec)
    return _encode_time(column, spec, reference)


def _states(rows: int, nulls: Bools | None, never: Bools | None, spec: ColumnSpec) -> npt.NDArray[np.uint8] | None:
    if nulls is None and never is None:
        return None
    states = np.zeros(rows, np.uint8)
    if never is not None:
        states[never] = IMPOSSIBLE
    if nulls is not None:
        states[nulls] = NULL if spec.nullable else IMPOSSIBLE
    return states


def _grid(z: Floats, nulls: Bools | None, never: Bools | None) -> Ints:
    scaled = z * np.float32(GRID / 16)
    scaled += np.float32(GRID / 2)
    cells = np.clip(scaled, 0, GRID - 1, out=scaled).astype(np.int32)
    if never is not None:
        cells[never] = GRID + 1
    if nulls is not None:
        cells[nulls] = GRID
    return cells


def _encode_number(column: pa.Array, spec: NumberSpec) -> tuple[Floats, npt.NDArray[np.uint8] | None, Ints]:
    if not _is_number(column.type):
        raise pa.ArrowTypeError("not a number")
    values, nulls = as_floats(column)
    never = None
    with np.errstate(invalid="ignore", over="ignore"):
        z = np.subtract(values, spec.mean, dtype=values.dtype)
        z /= spec.std
        z = z.astype(np.float32, copy=False)
        if not np.isfinite(z.sum()):
            never = np.isinf(values)
    gone = _either(nulls, never)
    if gone is not None:
        z[gone] = 0
    squash(z)
    return z[:, None], _states(len(z), nulls, never, spec), _grid(z, nulls, never)


def _either(a: Bools | None, b: Bools | None) -> Bools | None:
    if a is None or b is None:
        return a if b is None else b
    return a | b


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_duration(kind)
        or pa.types.is_null(kind)
    )


def _encode_category(column: pa.Array, spec: CategorySpec) -> tuple[Floats, npt.NDArray[np.uint8] | None, Ints]:
    strings = as_strings(column)
    known = len(spec.values)
    found = pc.index_in(strings, value_set=pa.array(spec.values, strings.type))
    index = found.fill_null(known).to_numpy(zero_copy_only=False).astype(np.int32)
    hot = np.eye(known + 1, known, dtype=np.float32)
    hot[:known] -= np.asarray(spec.rates, np.float32)
    values = (hot * np.float32(spec.scale))[index]
    nulls = np.asarray(strings.is_null().to_numpy(zero_copy_only=False)) if strings.null_count else None
    unseen = index == known
    never = None
    if unseen.any():
        never = unseen if nulls is None else unseen & ~nulls
    cells = index.copy()
    if never is not None:
        cells[never] = known + 1
    if nulls is not None:
        cells[nulls] = known
    return values, _states(len(index), nulls, never, spec), cells


def _encode_text(column: pa.Array, spec: TextSpec) -> tuple[Floats, npt.NDArray[np.uint8] | None, Ints]:
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
    cells = np.array([*kinds, spec.value_bins], np.int32)[codes]
    nulls = codes == len(distinct) if words.null_count else None
    return table[codes], _states(len(codes), nulls, None, spec), cells


def _encode_time(
    column: pa.Array, spec: TimeSpec, reference: float | None
) -> tuple[Floats, npt.NDArray[np.uint8] | None, Ints]:
    if not pa.types.is_temporal(column.type) or pa.types.is_duration(column.type):
        raise pa.ArrowTypeError("not a time")
    seconds, nulls = as_seconds(column)
    rows = len(seconds)
    if spec.relative and reference is None:
        unjudged = np.full(rows, UNJUDGED, np.uint8)
        return np.zeros((rows, spec.value_width), np.float32), unjudged, np.full(rows, GRID, np.int32)
    age = fold_age(seconds - (reference or 0.0) if spec.relative else seconds, spec)
    z = squash(((age - spec.mean) / spec.std).astype(np.float32))
    parts = [z]
    for cycle in spec.cycles:
        angle = seconds * (2 * np.pi / SECONDS[cycle])
        parts += [np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)]
    values = np.stack(parts, axis=1)
    if nulls is not None:
        values[nulls] = 0
    return values, _states(rows, nulls, None, spec), _grid(z, nulls, None)
