"""What all generated rows are to hold: `COLUMN=VALUE`, read in the column's own type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.columns import CategorySpec, ColumnSpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.generation import Indices
from ae_plugin.core.synthetic import Origin
from ae_plugin.core.values import as_floats, as_seconds, decoded
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


def read_conditions(where: Mapping[str, str], origin: Origin, specs: Sequence[ColumnSpec]) -> Conditions:
    """Read what all rows are to hold.

    Args:
        where: column -> value as text; an empty text is null.
        origin: rows of history.
        specs: of the learned columns.

    Raises:
        ConfigError: there is no such column, it was not learned, or history knows no such value.
    """
    names = [spec.name for spec in specs]
    out = Conditions({}, {}, None, {})
    for name, text in where.items():
        if name not in names:
            known = ", ".join(names[:SHOWN])
            raise ConfigError(
                f"{name!r} is no column that was learned", where="--where", mend=f"Name one of {known} ..."
            )
        index = names.index(name)
        column = decoded(origin.column(name))
        value = _value(name, text, column)
        out.given[index] = _rows(specs[index], value, column)
        out.fixed[name] = value
        out.texts[name] = text or None
    return out


def _value(name: str, text: str, column: pa.Array) -> pa.Scalar:
    if not text:
        return pa.scalar(None, column.type)
    try:
        return pa.array([text], pa.string()).cast(column.type)[0]
    except pa.ArrowException as error:
        mend = f"The column is {column.type}"
        raise ConfigError(f"{name}={text!r} is no value of that column", where="--where", mend=mend) from error


def _rows(spec: ColumnSpec, value: pa.Scalar, column: pa.Array) -> Indices:
    """Rows of history that hold a value, or, of numbers and times inside the range of history, the nearest to it."""
    same = column.is_null() if not value.is_valid else pc.equal(column, value).fill_null(False)
    found = np.flatnonzero(same.to_numpy(zero_copy_only=False))
    if len(found):
        return found
    if value.is_valid and isinstance(spec, (NumberSpec, TimeSpec)):
        one = pa.array([value.as_py()], column.type)
        read = as_floats if isinstance(spec, NumberSpec) else as_seconds
        (wanted, _), (values, nulls) = read(one), read(column)
        apart = np.abs(values.astype(np.float64) - float(wanted[0]))
        apart[~np.isfinite(apart) if nulls is None else nulls | ~np.isfinite(apart)] = np.inf
        there = values[np.isfinite(apart)]
        if there.min() <= wanted[0] <= there.max():
            return np.sort(np.argsort(apart, kind="stable")[:NEAREST])
        mend = (
            f"It holds {there.min():g} to {there.max():g}" if isinstance(spec, NumberSpec) else "It is out of its range"
        )
    else:
        mend = f"It holds {', '.join(map(str, _known(spec)))}" if value.is_valid else "It has no nulls"
    raise ConfigError(f"history holds no {spec.name}={value.as_py()!r}", where="--where", mend=mend)


def _known(spec: ColumnSpec) -> list[str]:
    if not isinstance(spec, (CategorySpec, TextSpec)):
        return []
    return [*spec.values[:SHOWN], *(["..."] if len(spec.values) > SHOWN else [])]
