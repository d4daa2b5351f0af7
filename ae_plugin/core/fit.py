"""Learn each column's spec from a sample of training rows, and say what became of every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin.core.columns import CategorySpec, ColumnSpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.encoding import SECONDS
from ae_plugin.core.features import not_text, partition_time
from ae_plugin.core.ngrams import embed_strings
from ae_plugin.core.values import Doubles, as_floats, as_seconds, as_strings, decoded
from ae_plugin.schemas import ColumnNote

CATEGORY_LIMIT = 200
TEXT_DIMS = 24
VOCABULARY_LIMIT = 20_000
FENCE = 30.0
_DAY = 86_400.0


def learn_columns(
    sample: pa.Table,
    partitions: Sequence[str],
    *,
    keys: Sequence[str] = (),
    exclude: Sequence[str] = (),
    partition_by: Sequence[str] = (),
) -> tuple[list[ColumnSpec], list[ColumnNote]]:
    """Learn a spec for each column that can be learned.

    Args:
        sample: training rows in source order, with every source column.
        partitions: the hive path of the partition each row came from, [n].
        keys: columns that only name a row.
        exclude: columns the user does not want learned.
        partition_by: the source's hive keys.

    Returns:
        The specs in column order, and a note on every column.
    """
    names, groups = np.unique(np.asarray(partitions), return_inverse=True)
    times = [partition_time(str(name)) for name in names]
    anchors = None if None in times else np.asarray(times, np.float64)[groups]
    roles = {
        **dict.fromkeys(exclude, "excluded"),
        **dict.fromkeys(partition_by, "partition"),
        **dict.fromkeys(keys, "key"),
    }
    specs: list[ColumnSpec] = []
    notes: list[ColumnNote] = []
    for field in sample.schema:
        kind = str(field.type)
        if field.name in roles:
            notes.append(ColumnNote(column=field.name, type=kind, role=roles[field.name]))
            continue
        column = sample.column(field.name).combine_chunks()
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        try:
            spec, note = _learn(field, decoded(column), groups, len(names), anchors)
        except UnicodeError as error:
            raise not_text(field.name) from error
        role = "learned" if spec is not None else "passed through"
        notes.append(ColumnNote(column=field.name, type=kind, role=role, kind=spec.kind if spec else "", note=note))
        if spec is not None:
            specs.append(spec)
    return specs, notes


def _learn(
    field: pa.Field, column: pa.Array, groups: npt.NDArray[np.intp], n_groups: int, anchors: Doubles | None
) -> tuple[ColumnSpec | None, str]:
    kind = column.type
    if column.null_count == len(column):
        return None, "all null"
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        strings = as_strings(column)
        counts = strings.drop_null().value_counts()
        constant = len(counts) == 1 and not strings.null_count
        codes = strings.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
        skip = "constant" if constant else _by_partition(codes, groups, n_groups)
        return (None, skip) if skip else _learn_strings(field, strings, counts)
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_duration(kind)
    ):
        return _learn_number(field, column, groups, n_groups)
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return _learn_time(field, column, groups, n_groups, anchors)
    return None, f"{kind} is not a type that can be learned"


def _by_partition(codes: npt.NDArray[np.generic], groups: npt.NDArray[np.intp], n_groups: int) -> str:
    """Say why a column tells only which partition a row is in, or ''."""
    if n_groups < 2 or len(codes) < 2 * n_groups:
        return ""
    first = np.zeros(n_groups, codes.dtype)
    first[groups[::-1]] = codes[::-1]
    return "constant within each partition: it says when, not what" if (codes == first[groups]).all() else ""


def _unseen_rate(counts: npt.NDArray[np.int64]) -> float:
    """Good-Turing: the share of rows whose value would be new."""
    return float((np.sum(counts == 1) + 1) / (counts.sum() + 1))


def _learn_strings(field: pa.Field, strings: pa.Array, counts: pa.Array) -> tuple[ColumnSpec, str]:
    rows = len(strings)
    values = counts.field("values").to_pylist()
    shares = counts.field("counts").to_numpy(zero_copy_only=False).astype(np.int64)
    order = sorted(range(len(values)), key=lambda i: (-shares[i], values[i]))
    values, shares = [values[i] for i in order], shares[order]
    base = {"name": field.name, "type": str(field.type), "null_rate": strings.null_count / rows}
    if len(values) <= min(CATEGORY_LIMIT, max(2, rows // 10)):
        rates = (shares / shares.sum()).tolist()
        note = f"{len(values)} values"
        return CategorySpec(**base, values=values, rates=rates, unseen_rate=_unseen_rate(shares)), note
    vectors = embed_strings(values, TEXT_DIMS)
    weights = (shares / shares.sum())[:, None]
    means = (vectors * weights).sum(axis=0)
    spread = float((weights * (vectors - means) ** 2).sum())
    spec = TextSpec(
        **base,
        values=values[:VOCABULARY_LIMIT],
        dims=TEXT_DIMS,
        means=means.tolist(),
        scale=spread**-0.5 if spread > 1e-12 else 1.0,
        unseen_rate=_unseen_rate(shares),
    )
    return spec, f"{len(values)} values, by their character n-grams"


def _fence(values: Doubles) -> Doubles:
    """Drop what lies so far out that it would spoil mean and spread (sentinels, unit mix-ups)."""
    q1, q3 = np.quantile(values, [0.25, 0.75])
    if q3 <= q1:
        return values
    reach = FENCE * (q3 - q1)
    return np.asarray(values[(values >= q1 - reach) & (values <= q3 + reach)])


def _unit(values: Doubles) -> float:
    """A power of two in which values can be squared and summed without overflow: 1 but for the very largest."""
    _, exponent = np.frexp(np.abs(values).max())
    return float(2.0 ** max(0, int(exponent) - 400))


def _digits(values: Doubles) -> int | None:
    for digits in range(5):
        with np.errstate(over="ignore"):
            rounded = np.round(values, digits)
        if np.allclose(values, rounded, rtol=0, atol=1e-9 + 1e-7 * 10.0**-digits):
            return digits
    return None


def _learn_number(
    field: pa.Field, column: pa.Array, groups: npt.NDArray[np.intp], n_groups: int
) -> tuple[ColumnSpec | None, str]:
    kind = column.type
    floats, nulls = as_floats(column)
    values = floats.astype(np.float64)
    present = np.isfinite(values) if nulls is None else np.isfinite(values) & ~nulls
    finite = values[present]
    if not len(finite):
        return None, "all null"
    whole = present.all()
    if whole and (finite == finite[0]).all():
        return None, "constant"
    if whole and (skip := _by_partition(finite, groups, n_groups)):
        return None, skip
    if whole and pa.types.is_integer(kind) and _is_sequence(finite, groups):
        return None, "a running number: every value is new"
    unit = _unit(finite)
    inner = _fence(finite / unit)
    std, mean = float(inner.std()) * unit, float(inner.mean()) * unit
    low, high = float(inner.min()) * unit, float(inner.max()) * unit
    digits = 0 if pa.types.is_integer(kind) else _digits(inner * unit)
    if pa.types.is_decimal(kind):
        digits = max(kind.scale, 0)
    missing = float(1 - (len(finite) + np.isinf(values).sum()) / len(values))
    spec = NumberSpec(
        name=field.name,
        type=str(field.type),
        null_rate=max(0.0, missing),
        mean=mean,
        std=min(std, float(np.finfo(np.float64).max)) if std > 0 else 1.0,
        low=low,
        high=high,
        digits=digits,
    )
    far = len(finite) - len(inner)
    note = f"{low:g} to {high:g}" + (f"; {far} far-out values set aside" if far else "")
    return spec, note


def _is_sequence(values: Doubles, groups: npt.NDArray[np.intp]) -> bool:
    """Every value new, and growing from row to row or from partition to partition."""
    if len(values) < 20:
        return False
    if (np.diff(values) > 0).all():
        return True
    if len(np.unique(values)) < len(values) or groups.max() < 1:
        return False
    lows = [values[groups == g].min() for g in range(int(groups.max()) + 1)]
    highs = [values[groups == g].max() for g in range(int(groups.max()) + 1)]
    return all(high < low for high, low in zip(highs[:-1], lows[1:], strict=True))


def _learn_time(
    field: pa.Field, column: pa.Array, groups: npt.NDArray[np.intp], n_groups: int, anchors: Doubles | None
) -> tuple[ColumnSpec | None, str]:
    seconds, nulls = as_seconds(column)
    present = np.ones(len(seconds), bool) if nulls is None else ~nulls
    there = seconds[present]
    if present.all() and (there == there[0]).all():
        return None, "constant"
    if present.all() and (skip := _by_partition(seconds, groups, n_groups)):
        return None, skip
    span = float(np.ptp(_fence(there)))
    of_day = pa.types.is_time(column.type)
    ages, relative = there, False
    if anchors is not None and not of_day:
        ages = there - anchors[present]
        relative = bool(_fence(ages).std() < 0.5 * _fence(there).std())
    ages = _fence(ages if relative else there)
    step = next((s for s in (_DAY, 3600.0, 60.0, 1.0) if np.allclose(there % s, 0, atol=1e-6)), 1e-6)
    cycles = [c for c in ("day", "week", "year") if span >= 2 * SECONDS[c] and not of_day and step < SECONDS[c]]
    if of_day:
        cycles = ["day"]
    std = float(ages.std())
    spec = TimeSpec(
        name=field.name,
        type=str(field.type),
        null_rate=float(1 - present.mean()),
        relative=relative,
        mean=float(ages.mean()),
        std=std if std > 0 else max(step, 1.0),
        low=float(ages.min()),
        high=float(ages.max()),
        slack=0.0 if relative or of_day else max(span, 400 * _DAY),
        step=step,
        cycles=cycles,
    )
    parts = ["age from the partition's date" if relative else "age", *(f"cycle of a {c}" for c in cycles)]
    return spec, ", ".join(parts)
