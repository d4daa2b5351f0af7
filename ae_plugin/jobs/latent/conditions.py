"""What all generated rows are to hold: `COLUMN=VALUE`, read in the column's own type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.columns import ColumnSpec, NumberSpec, TimeSpec
from ae_plugin.core.generation import Indices
from ae_plugin.core.synthetic import Fill, Origin, comparable
from ae_plugin.core.values import as_floats, as_seconds
from ae_plugin.errors import ConfigError

NEAREST = 50
"""Rows of history that stand for a number that is in none of them."""
SHOWN = 8


@dataclass(frozen=True)
class Conditions:
    """What is given.

    Attributes:
        texts: column -> value, as it was written; None for null.
        given: index of a learned column -> rows of history that have the value, or the nearest to it.
        base: rows of history whose partition has what is given of other columns; None: any.
        fixed: column -> value.
    """

    texts: dict[str, str | None]
    given: dict[int, Indices]
    base: Indices | None
    fixed: dict[str, pa.Scalar]

    def __str__(self) -> str:
        return ",".join(f"{name}={'' if text is None else text}" for name, text in sorted(self.texts.items()))


def read_conditions(
    where: Mapping[str, str], origin: Origin, specs: Sequence[ColumnSpec], fill: Mapping[str, Fill]
) -> Conditions:
    """Read what all rows are to hold.

    Args:
        where: column -> value as text; an empty text is null.
        origin: rows of history.
        specs: of the learned columns.
        fill: where each column's cells come from.

    Raises:
        ConfigError: there is no such column, it was not learned, or history knows no such value.
    """
    names = [spec.name for spec in specs]
    texts: dict[str, str | None] = {}
    given: dict[int, Indices] = {}
    fixed: dict[str, pa.Scalar] = {}
    base = None
    for name, text in where.items():
        how = fill.get(name)
        if how not in ("learned", "partition"):
            known = ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
            what = f"{name!r} is no column that was learned"
            raise ConfigError(what, where="--where", mend=f"Name one of {known}")
        column = comparable(origin.column(name))
        value = _value(name, text, column)
        spec = specs[names.index(name)] if how == "learned" else None
        rows = _rows(name, spec, value, column)
        if how == "learned":
            given[names.index(name)] = rows
        else:
            base = rows if base is None else np.intersect1d(base, rows)
            if not len(base):
                raise ConfigError(f"no partition of history has {name}={text} beside the rest", where="--where")
        fixed[name], texts[name] = value, text or None
    return Conditions(texts, given, base, fixed)


def _value(name: str, text: str, column: pa.Array) -> pa.Scalar:
    if not text:
        return pa.scalar(None, column.type)
    try:
        return pa.array([text], pa.string()).cast(column.type)[0]
    except pa.ArrowException as error:
        mend = f"The column is {column.type}"
        raise ConfigError(f"{name}={text!r} is no value of that column", where="--where", mend=mend) from error


def _rows(name: str, spec: ColumnSpec | None, value: pa.Scalar, column: pa.Array) -> Indices:
    """Rows of history that hold a value, or, of numbers and times inside the range of history, the nearest to it."""
    same = column.is_null() if not value.is_valid else pc.equal(column, value).fill_null(False)
    found = np.flatnonzero(same.to_numpy(zero_copy_only=False))
    if len(found):
        return found
    mend = "They hold no nulls" if not value.is_valid else f"They hold {_shown(column)}"
    if value.is_valid and isinstance(spec, (NumberSpec, TimeSpec)):
        one = pa.array([value.as_py()], column.type)
        read = as_floats if isinstance(spec, NumberSpec) else as_seconds
        (wanted, _), (values, nulls) = read(one), read(column)
        apart = np.abs(values.astype(np.float64) - float(wanted[0]))
        apart[~np.isfinite(apart) if nulls is None else nulls | ~np.isfinite(apart)] = np.inf
        there = values[np.isfinite(apart)]
        if len(there) and there.min() <= wanted[0] <= there.max():
            return np.sort(np.argsort(apart, kind="stable")[:NEAREST])
        if isinstance(spec, NumberSpec) and len(there):
            mend = f"They hold {there.min():g} to {there.max():g}"
    what = f"none of the {len(column)} rows of history that are drawn from holds {name}={value.as_py()!r}"
    raise ConfigError(what, where="--where", mend=mend)


def _shown(column: pa.Array) -> str:
    """The most frequent values of a column, in words."""
    counts = sorted(column.drop_null().value_counts().to_pylist(), key=lambda one: -one["counts"])
    return ", ".join([*(str(one["values"]) for one in counts[:SHOWN]), *(["..."] if len(counts) > SHOWN else [])])
