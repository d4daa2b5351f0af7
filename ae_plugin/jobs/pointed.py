"""Rows that people point at: by their place in a partition, by their keys, or by both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.values import decoded
from ae_plugin.engines.local import Reader
from ae_plugin.errors import ConfigError

if TYPE_CHECKING:
    from ae_plugin.engines.pictures import PictureReader

Keys = tuple[str | None, ...]


class Pointed(Protocol):
    """A row as somebody names it.

    Attributes:
        partition: its value or hive path; absent for a source without partitions.
        row: place in the partition, from 0.
        keys: key column -> value, as text.
        origin: what to name when something is wrong with it.
    """

    @property
    def partition(self) -> str | None: ...  # noqa: D102
    @property
    def row(self) -> int | None: ...  # noqa: D102
    @property
    def keys(self) -> Mapping[str, str | None]: ...  # noqa: D102
    @property
    def origin(self) -> str: ...  # noqa: D102


@dataclass
class Found:
    """What a partition holds of the rows and keys that were asked for.

    Attributes:
        rows: rows of the partition.
        kept: row -> its keys, a table of one row.
        keys: row -> its keys as text.
        places: keys as text -> the rows that have them.
    """

    rows: int = 0
    kept: dict[int, pa.Table] = field(default_factory=dict)
    keys: dict[int, Keys] = field(default_factory=dict)
    places: dict[Keys, list[int]] = field(default_factory=lambda: defaultdict(list))

    def row_of(self, row: int, keys: Keys | None) -> int | None:
        """The row at a place, if it has (still) these keys, or else the one row that has them; None: there is none."""
        if not keys:
            return row if 0 <= row < self.rows else None
        if self.keys.get(row) == keys:
            return row
        places = self.places.get(keys, [])
        return places[0] if len(places) == 1 else None


def look_up(reader: Reader | PictureReader, fields: Sequence[pa.Field], rows: set[int], keys: set[Keys]) -> Found:
    """Stream a partition's key columns, and keep what was asked for."""
    found, wanted, names = Found(), {key for key in keys if key}, [key.name for key in fields]
    for batch in reader.batches(names or reader.schema.names[:1]):
        own = batch.select(names)
        here = {row - found.rows for row in rows if 0 <= row - found.rows < batch.num_rows}
        texts: list[Keys] = []
        if names and (wanted or here):
            texts = list(zip(*map(key_texts, own.columns), strict=True))
        for index, key in enumerate(texts):
            if key in wanted:
                found.places[key].append(found.rows + index)
                here.add(index)
        for index in sorted(here):
            found.kept[found.rows + index] = pa.Table.from_batches([own.slice(index, 1)])
            found.keys[found.rows + index] = texts[index] if names else ()
        found.rows += batch.num_rows
    return found


def key_texts(values: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """A key column as texts, two of them the same where two keys are; null stays null."""
    plain = decoded(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)
    if pa.types.is_duration(plain.type):
        plain = plain.cast(pa.int64())
    if not (pa.types.is_nested(plain.type) or any(is_bytes(plain.type) for is_bytes in _BYTES)):
        return list(plain.cast(pa.string()).to_pylist())
    written = (v.decode(errors="backslashreplace") if isinstance(v, bytes) else v for v in plain.to_pylist())
    return [None if v is None else str(v) for v in written]


_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


def as_key(text: str | None, kind: pa.DataType) -> str | None:
    """A key as somebody wrote it, written as `key_texts` does; as it is when it is none of that type."""
    with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeError):
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        return key_texts(pa.array([text], pa.string()).cast(plain))[0]
    return text


def check_key(name: str, schema: pa.Schema) -> None:
    """See that a key is a column of the source; ConfigError when it is not."""
    if name not in schema.names:
        raise ConfigError(f"no column {name!r} in the source", where="source.keys", mend="Check the spelling")


def key_fields(pipeline: Pipeline, schema: pa.Schema) -> list[pa.Field]:
    """The source's row keys, those that are there."""
    return [schema.field(name) for name in pipeline.source.row_keys if name in schema.names]


def rows_of(said: Iterable[Pointed]) -> set[int]:
    """The places that are named."""
    return {one.row for one in said if one.row is not None}


def keys_named(said: Iterable[Pointed], fields: Sequence[pa.Field]) -> set[Keys]:
    """The keys that are named; ConfigError where those are others than the source's."""
    names = [key.name for key in fields]
    for one in said:
        if one.keys and set(one.keys) != set(names):
            wanted = ", ".join(names) or "none: the source has no keys"
            raise ConfigError(f"keys are {', '.join(one.keys)}", where=one.origin, mend=f"Wanted: {wanted}")
    return {values_of(one.keys, fields) for one in said if one.keys}


def values_of(keys: Mapping[str, str | None], fields: Sequence[pa.Field]) -> Keys:
    """The keys' values in the source's order; () when they are others than the source's."""
    if set(keys) != {key.name for key in fields}:
        return ()
    return tuple(as_key(keys[key.name], key.type) for key in fields)


def place_of(one: Pointed, fields: Sequence[pa.Field], where: str, found: Found) -> int:
    """The place of the row that is meant."""
    wanted = values_of(one.keys, fields) if one.keys else None
    if one.row is None:
        if wanted is None:
            raise ConfigError("no row given", where=one.origin, mend="Give its place in the partition, or its keys")
        places = found.places.get(wanted, [])
        if len(places) != 1:
            have, mend = ("several rows", "Give the row's place too") if places else ("no row", "Check the keys")
            raise ConfigError(f"{have} of {where} with these keys", where=one.origin, mend=mend)
        return places[0]
    if not 0 <= one.row < found.rows:
        raise ConfigError(f"no row {one.row} in {where}", where=one.origin, mend=f"It holds {found.rows} rows, from 0")
    if wanted is not None and found.keys[one.row] != wanted:
        raise ConfigError(f"row {one.row} of {where} has other keys", where=one.origin, mend="Leave one of the two out")
    return one.row


@dataclass(frozen=True)
class One:
    """One row that somebody points at; see `Pointed`."""

    row: int | None
    keys: Mapping[str, str | None]
    partition: str | None = None

    @property
    def origin(self) -> str:
        """The option that named it."""
        return "--row" if self.row is not None else "--key"


def place_in(
    pipeline: Pipeline, reader: Reader | PictureReader, where: str, row: int | None, keys: Mapping[str, str | None]
) -> int:
    """The place of a row that is meant by its place or its keys; ConfigError when there is none, or several."""
    one, fields = One(row, dict(keys)), key_fields(pipeline, reader.schema)
    return place_of(one, fields, where, look_up(reader, fields, rows_of([one]), keys_named([one], fields)))
