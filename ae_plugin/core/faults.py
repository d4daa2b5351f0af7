"""Faults injected into real rows, for the promotion gate: extremes, swaps between rows, and nulls.

They are made on Arrow tables, before any encoding, so that every scorer, whatever it learned, meets the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.values import as_floats

KINDS = ("extremes", "swaps", "nulls")
SHARE = 0.1


def inject(table: pa.Table, columns: Sequence[str], kind: str, seed: int) -> pa.Table:
    """Return the table with a tenth of each row's cells (at least one) made wrong.

    Args:
        table: normal rows.
        columns: where faults may go.
        kind: one of `KINDS`. `extremes` throws numbers far out and swaps everything else; `swaps` takes the value of
            another row; `nulls` empties the cell.
        seed: same seed, same faults.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    rows = table.num_rows
    cells = rng.random((rows, len(columns))).argsort(axis=1) < max(1, round(SHARE * len(columns)))
    for index, name in enumerate(columns):
        place = table.schema.get_field_index(name)
        column = table.column(place).combine_chunks()
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        hit = cells[:, index]
        if kind == "nulls":
            wrong = pa.nulls(rows, column.type)
        elif kind == "extremes" and _is_plain_number(column.type):
            wrong = _far_out(column, rng)
        else:
            wrong = column.take(pa.array(_derange(column, rng)))
        field = table.schema.field(place).with_nullable(True)
        table = table.set_column(place, field, pc.if_else(pa.array(hit), wrong, column))
    return table


def _is_plain_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _far_out(column: pa.Array, rng: np.random.Generator) -> pa.Array:
    values, nulls = as_floats(column)
    there = values[np.isfinite(values) & (~nulls if nulls is not None else True)].astype(np.float64)
    low, high = (float(q) for q in np.quantile(there if len(there) else [0.0, 1.0], [0.005, 0.995]))
    with np.errstate(over="ignore", invalid="ignore"):  # at the ends of a type's range, far out is the end itself
        reach = max(high - low, 1.0)
        below = low - reach * rng.uniform(0.2, 1, len(values))
        above = high + reach * rng.uniform(0.2, 1, len(values))
        far = np.where(rng.random(len(values)) < 0.5, below, above)
        if pa.types.is_integer(column.type):
            bits = np.iinfo(column.type.to_pandas_dtype())
            far = np.clip(np.rint(far), float(bits.min), float(np.nextafter(bits.max, 0))).astype(np.int64)
    return pa.array(far).cast(column.type, safe=False)


def _derange(column: pa.Array, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Another row for each row, with another value where one can be found in a few tries."""
    rows = len(column)
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    other = rng.integers(0, rows, rows)
    for _ in range(8):
        same = codes[other] == codes
        if not same.any():
            break
        other[same] = rng.integers(0, rows, int(same.sum()))
    return other
