"""Reconstruction back to values: what a cell should have been, in the column's own type and units."""

from __future__ import annotations

from decimal import Context, Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.core.columns import CategorySpec, ColumnSpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.encoding import SECONDS
from ae_plugin.core.features import TableEncoder
from ae_plugin.core.ngrams import embed_strings
from ae_plugin.core.numbers import decode_numbers, unsquash
from ae_plugin.core.values import Doubles, Floats, as_strings, decoded

SPELLING_WEIGHT = 6.0
SPELLING_DIMS = 256
NEAR = 0.5
_WIDE = Context(prec=100)


def expected_values(spec: ColumnSpec, features: Floats, observed: pa.Array, reference: float | None = None) -> pa.Array:
    """Decode one column's reconstruction.

    Args:
        spec: the column's spec.
        features: float32 [n, spec.width], the reconstruction with the cell hidden.
        observed: [n] what the cells hold; its type (of its values, when it is a dictionary) is that of the result.
        reference: seconds since 1970 of the partition's own date, when it has one.

    Returns:
        [n] values of the observed type: known categories, numbers inside the training range; null where the model
        cannot tell (an identifier, or a moment that nothing pins down).
    """
    observed = decoded(observed)
    if isinstance(spec, NumberSpec):
        return _numbers(spec, features[:, 0], observed.type)
    if isinstance(spec, CategorySpec):
        words = _categories(spec, features[:, : spec.value_width], as_strings(observed))
        return as_type(pa.array(words, pa.string()), observed.type)
    if isinstance(spec, TextSpec):
        words = _texts(spec, features[:, : spec.value_width], as_strings(observed))
        return as_type(pa.array(words, pa.string()), observed.type)
    return _times(spec, features, observed.type, reference)


def decode_all(
    encoder: TableEncoder, batch: pa.RecordBatch, reconstruction: Floats, reference: float | None = None
) -> dict[int, pa.Array]:
    """Decode every learned column of a record batch from its reconstruction float32 [n, F]: column index -> values.

    Float columns of one width are decoded together.
    """
    out: dict[int, pa.Array] = {}
    together: dict[pa.DataType, list[int]] = {}
    for index, (spec, where) in enumerate(zip(encoder.specs, encoder.slices, strict=True)):
        observed = batch.column(batch.schema.get_field_index(spec.name))
        if isinstance(spec, NumberSpec) and observed.type in (pa.float32(), pa.float64()):
            together.setdefault(observed.type, []).append(index)
        else:
            out[index] = expected_values(spec, reconstruction[:, where], observed, reference)
    for kind, places in together.items():
        specs = [spec for spec in (encoder.specs[index] for index in places) if isinstance(spec, NumberSpec)]
        z = reconstruction.T[[encoder.slices[index].start for index in places]]
        for index, values in zip(places, decode_numbers(z, specs, kind.to_pandas_dtype()), strict=True):
            out[index] = pa.array(values)
    return out


def as_text(values: pa.Array) -> pa.Array:
    """Write values as strings, for people; null stays null."""
    values = decoded(values)
    if pa.types.is_duration(values.type):
        values = values.cast(pa.int64())
    if pa.types.is_floating(values.type):
        texts = [None if v is None else f"{v:.7g}" for v in values.to_pylist()]
        return pa.array(texts, pa.string())
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), pa.string())
    return values.cast(pa.string())


def _numbers(spec: NumberSpec, z: Floats, kind: pa.DataType) -> pa.Array:
    return typed(decode_numbers(z[None], [spec], np.float32 if pa.types.is_float32(kind) else np.float64)[0], kind)


def typed(values: Floats | Doubles, kind: pa.DataType) -> pa.Array:
    """Numbers as an Arrow array of a number type, null where it cannot hold them."""
    if pa.types.is_decimal(kind):
        return pa.array([_decimal(float(v), kind) for v in values], kind)
    if pa.types.is_integer(kind) or pa.types.is_duration(kind):
        plain = pa.int64() if pa.types.is_duration(kind) else kind
        return _integers(np.rint(values), plain).cast(kind)
    return pa.nulls(len(values)) if pa.types.is_null(kind) else pa.array(values).cast(kind, safe=False)


def _integers(values: Floats | Doubles, kind: pa.DataType) -> pa.Array:
    """Whole numbers in an integer type, null where it cannot hold them."""
    dtype = np.dtype(kind.to_pandas_dtype())
    info = np.iinfo(dtype)
    # As floats the largest 64-bit integers round up to one more than they are.
    fits = (values >= float(info.min)) & (values < float(info.max) if info.bits == 64 else values <= info.max)
    return pa.array(np.where(fits, values, 0).astype(dtype), kind, mask=~fits)


def _decimal(value: float, kind: pa.DataType) -> Decimal | None:
    """A number in a decimal type, None where its digits do not fit."""
    if abs(value) >= 10.0 ** (kind.precision - kind.scale):
        return None
    return Decimal(repr(value)).quantize(Decimal(1).scaleb(-kind.scale), context=_WIDE)


def _categories(spec: CategorySpec, features: Floats, observed: pa.Array) -> list[str | None]:
    chance = features / np.float32(spec.scale) + np.asarray(spec.rates, np.float32)
    best = chance.argmax(axis=1)
    known = pc.is_in(observed, value_set=pa.array(spec.values, observed.type)).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(~known & ~observed.is_null().to_numpy(zero_copy_only=False))
    if len(odd):
        words = embed_strings(observed.take(pa.array(odd)).to_pylist(), SPELLING_DIMS)
        likeness = words @ embed_strings(spec.values, SPELLING_DIMS).T
        best[odd] = (np.log(np.clip(chance[odd], 1e-3, 1)) + SPELLING_WEIGHT * likeness).argmax(axis=1)
    return [spec.values[i] for i in best]


def _texts(spec: TextSpec, features: Floats, observed: pa.Array) -> list[str | None]:
    out: list[str | None] = [None] * len(features)
    if spec.imputable:
        table = embed_strings(spec.values, spec.dims)
        wanted = features / np.float32(spec.scale) + np.asarray(spec.means, np.float32)
        return [spec.values[i] for i in nearest(wanted, table)]
    known = set(spec.values)
    odd = [row for row, word in enumerate(observed.to_pylist()) if word is not None and word not in known]
    if odd:
        words = embed_strings(observed.take(pa.array(odd)).to_pylist(), SPELLING_DIMS)
        likeness = words @ embed_strings(spec.values, SPELLING_DIMS).T
        for row, best, much in zip(odd, likeness.argmax(axis=1), likeness.max(axis=1), strict=True):
            out[row] = spec.values[best] if much >= NEAR else None
    return out


def nearest(wanted: Floats, table: Floats) -> npt.NDArray[np.intp]:
    """Index of the nearest row of `table` to each row of `wanted`, a thousand at a time."""
    squares = (table**2).sum(axis=1)
    parts = [
        (squares - 2 * wanted[start : start + 1000] @ table.T).argmin(axis=1) for start in range(0, len(wanted), 1000)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.intp)


def as_type(words: pa.Array, kind: pa.DataType) -> pa.Array:
    """Strings in a column's type, null where it cannot hold them."""
    if pa.types.is_null(kind):
        return pa.nulls(len(words))
    try:
        return words.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(words), kind)  # the column came in a type that holds no words


def _times(spec: TimeSpec, features: Floats, kind: pa.DataType, reference: float | None) -> pa.Array:
    lost = spec.relative and reference is None
    if lost or not (spec.relative or pa.types.is_time(kind)) or pa.types.is_null(kind):
        # An absolute moment does not follow from a row's other cells, and who sorts by it would sort by a guess.
        return pa.nulls(len(features), kind)
    return ticks_of(seconds_of(spec, features, (reference or 0.0) if spec.relative else 0.0), kind)


def seconds_of(spec: TimeSpec, features: Floats, start: float = 0.0) -> Doubles:
    """Seconds since what a time column counts from, float64 [n], from its features float32 [n, width].

    Args:
        spec: of the column.
        features: its reconstruction.
        start: seconds since 1970 of what its age counts from.
    """
    low, high = _whole_steps(spec.low + start, spec.high + start, spec.step)
    seconds = np.clip(unsquash(features[:, 0]).astype(np.float64) * spec.std + spec.mean + start, low, high)
    if "day" in spec.cycles:
        seconds = _nearest_phase(seconds, features, 1 + 2 * spec.cycles.index("day"), SECONDS["day"])
        seconds = _inside(seconds, low, high, SECONDS["day"])
    return np.asarray(np.clip(np.round(seconds / spec.step) * spec.step, low, high), np.float64)


def _whole_steps(low: float, high: float, step: float) -> tuple[float, float]:
    """The first and last multiple of `step` within low..high; low and high themselves where there is none."""
    first, last = float(np.ceil(low / step - 1e-6) * step), float(np.floor(high / step + 1e-6) * step)
    return (first, last) if first <= last else (low, high)


def _nearest_phase(seconds: Doubles, features: Floats, place: int, period: float) -> Doubles:
    phase = np.arctan2(features[:, place], features[:, place + 1]).astype(np.float64) / (2 * np.pi) * period
    shift = (phase - seconds + period / 2) % period - period / 2
    return np.asarray(seconds + shift, np.float64)


def _inside(seconds: Doubles, low: float, high: float, period: float) -> Doubles:
    """Move times that were shifted well out of low..high back by one period, where that keeps them inside."""
    little = period / 96
    seconds = np.where((seconds > high + little) & (seconds - period >= low), seconds - period, seconds)
    return np.where((seconds < low - little) & (seconds + period <= high), seconds + period, seconds)


def ticks_of(seconds: Doubles, kind: pa.DataType) -> pa.Array:
    """Seconds since 1970 (of a time of day: since midnight) in a column's type."""
    if pa.types.is_date32(kind):
        return pa.array(np.round(seconds / 86_400).astype(np.int32)).cast(kind)
    if pa.types.is_time(kind):
        seconds = seconds % 86_400
    unit = "ms" if pa.types.is_date64(kind) else kind.unit
    ticks = np.round(seconds * {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]).astype(np.int64)
    small = pa.types.is_time32(kind)
    return pa.array(ticks.astype(np.int32) if small else ticks).cast(kind)
