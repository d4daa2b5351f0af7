"""Arrow record batches to encoded features: what the network sees.

Shapes, for a record batch of n rows, C learned columns and F encoded features:

    x       float32 [n, F]   encoded values; 0 where there is none; in Fortran order, since columns are written whole
    state   uint8   [n, C]   VALUE, NULL, IMPOSSIBLE (never seen in training) or UNJUDGED (cannot be encoded here)
    bins    int16   [C, n]   which of its column's bins the guard and the tail tables count the cell in

Every row is encoded by itself: nothing here depends on the other rows of the batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin.core.columns import (
    IMPOSSIBLE_ERROR,
    CategorySpec,
    ColumnSpec,
    NumberSpec,
)
from ae_plugin.core.encoding import (
    IMPOSSIBLE,
    UNJUDGED,
    VALUE,
    encode_column,
    encode_number,
    null_flag,
    number_column,
)
from ae_plugin.core.numbers import encode_numbers, grid, tiles
from ae_plugin.core.values import (
    Bins,
    Bools,
    Doubles,
    Floats,
    as_floats,
    decoded,
    evenly_spaced,
)
from ae_plugin.errors import DataError

_MONTH = re.compile(r"\d{4}-\d{2}")


@dataclass(frozen=True)
class Encoded:
    """One encoded record batch; see the module's docstring for shapes."""

    x: Floats
    state: npt.NDArray[np.uint8]
    bins: Bins

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def whole(self) -> bool:
        """Whether every cell holds a value."""
        return not (self.state.size and self.state.max())

    def take(self, rows: npt.NDArray[np.intp]) -> Encoded:
        """Return the given rows, in the same memory order."""
        by_row = self.x.flags.c_contiguous
        x = self.x[rows] if by_row else self.x.T.take(rows, axis=1).T
        state = self.state[rows] if by_row else self.state.T.take(rows, axis=1).T
        return Encoded(x, state, self.bins.take(rows, axis=1))

    def thinned(self, most: int) -> Encoded:
        """Return at most so many rows, evenly spaced."""
        return self.take(evenly_spaced(len(self), most)) if len(self) > most else self

    @staticmethod
    def concat(parts: Sequence[Encoded]) -> Encoded:
        """Return the parts one below the other."""
        # Row by row in memory: training picks rows at random.
        x = np.empty((sum(map(len, parts)), parts[0].x.shape[1]), np.float32)
        return Encoded(
            np.concatenate([p.x for p in parts], out=x),
            np.concatenate([p.state for p in parts]),
            np.concatenate([p.bins for p in parts], axis=1),
        )


def partition_time(partition: str) -> float | None:
    """Seconds since 1970 of a partition's own date or month.

    As in `date=2013-01-29`, `ym=2013-01`, `year=2013/month=1`, or the value alone: `2013-01-29`.
    """
    parts = dict(part.split("=", 1) for part in partition.split("/") if "=" in part)
    texts = [part.rpartition("=")[2] for part in partition.split("/")]
    if {"year", "month"} <= parts.keys():
        texts.append(f"{parts['year']:0>4}-{parts['month']:0>2}-{parts.get('day', '1'):0>2}")
    for text in (f"{text}-01" if _MONTH.fullmatch(text) else text for text in texts):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return None


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
        x = np.empty((rows, self.features), np.float32, order="F")
        state = np.zeros((rows, len(self.specs)), np.uint8, order="F")
        bins = np.empty((len(self.specs), rows), np.int16)
        whole: dict[np.dtype[Any], dict[int, Floats | Doubles]] = {}
        for index, spec in enumerate(self.specs):
            column = _column(batch, spec.name)
            try:
                if isinstance(spec, NumberSpec):
                    numbers, nulls = as_floats(number_column(column))
                    if nulls is None:
                        whole.setdefault(numbers.dtype, {})[index] = numbers
                        continue
                    found = encode_number(numbers, nulls, spec)
                else:
                    found = encode_column(column, spec, reference)
            except UnicodeError as error:
                raise not_text(spec.name) from error
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                raise DataError(
                    f"column {spec.name!r} is {column.type}, but the model learned {spec.type}",
                    mend="Write it with that type, or train anew",
                ) from error
            values, states, cells = found
            start = self.slices[index].start
            x[:, start : start + spec.value_width] = values
            if spec.nullable:
                x[:, self.slices[index].stop - 1] = null_flag(rows, states, spec)
            if states is not None:
                state[:, index] = states
            bins[index] = cells
        for columns in whole.values():
            self._encode_block(columns, x, bins)
        return Encoded(x, state, bins)

    def _encode_block(self, columns: Mapping[int, Floats | Doubles], x: Floats, bins: Bins) -> None:
        """Encode number columns of one precision that hold a number in every cell, into x and bins."""
        places = list(columns)
        specs = [spec for spec in (self.specs[index] for index in places) if isinstance(spec, NumberSpec)]
        z = encode_numbers(list(columns.values()), specs)
        for part in tiles(z.shape[1]):
            bins[places, part] = grid(z[:, part])
        for row, index, spec in zip(z, places, specs, strict=True):
            x[:, self.slices[index].start] = row
            if spec.nullable:
                x[:, self.slices[index].stop - 1] = null_flag(1, None, spec)[0]

    def visible(self, encoded: Encoded) -> Floats:
        """Which columns the network may see, float32 [n, C]: impossible and unjudged cells are hidden."""
        return np.asarray(encoded.state < IMPOSSIBLE, dtype=np.float32)

    def inputs(self, encoded: Encoded) -> tuple[Floats, Floats]:
        """What the network sees of rows: x with hidden cells 0, float32 [n, F], and which are not, float32 [n, C]."""
        if encoded.whole:
            return encoded.x, np.broadcast_to(np.float32(1), encoded.state.shape)
        visible = self.visible(encoded)
        return self.hide(encoded.x, visible), visible

    def weights(self, encoded: Encoded) -> Floats:
        """Which features have a true value to compare with, float32 [n, F]."""
        weight = np.ones((len(encoded), self.features), np.float32, order="F")
        if encoded.whole:
            return weight
        for spec, where, state in zip(self.specs, self.slices, encoded.state.T, strict=True):
            weight[:, where.start : where.start + spec.value_width] = (state == VALUE)[:, None]
            if spec.nullable:
                weight[:, where.stop - 1] = state != UNJUDGED
        return weight

    def column_errors(self, encoded: Encoded, reconstruction: Floats) -> Floats:
        """Cell errors, float32 [n, C], in scaled units²: feature errors summed over each column's features.

        Summed feature by feature, so that a row's bits depend neither on the other rows nor on the memory's order.
        """
        squares = np.subtract(reconstruction, encoded.x)
        np.square(squares, out=squares)
        if not encoded.whole:
            squares *= self.weights(encoded)
        if self.features == len(self.specs):
            errors = squares
        else:
            errors = np.empty((len(encoded), len(self.specs)), np.float32, order="F")
            for index, where in enumerate(self.slices):
                errors[:, index] = add_columns(squares[:, where])
        if not encoded.whole:
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


def add_columns(values: Floats) -> Floats:
    """Sum over each row of float32 [n, k], column after column: the same bits however many rows there are."""
    out = values[:, 0].copy()
    for column in values.T[1:]:
        out += column
    return out


def _column(batch: pa.RecordBatch | pa.Table, name: str) -> pa.Array:
    index = batch.schema.get_field_index(name)
    if index < 0:
        raise DataError(f"column {name!r} is missing", mend="Bring it back, or train anew without it")
    column = batch.column(index)
    return decoded(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


def not_text(name: str) -> DataError:
    """The error of a text column that holds bytes which are no UTF-8."""
    return DataError(f"column {name!r} holds text that is not UTF-8", mend="Write it as UTF-8, or exclude it")


def _unseen_error(spec: ColumnSpec) -> float:
    if isinstance(spec, CategorySpec):
        return float(min(IMPOSSIBLE_ERROR, np.log(spec.unseen_rate) ** 2 / 2))
    return IMPOSSIBLE_ERROR
