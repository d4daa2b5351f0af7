"""Parquet and CSV files on this machine: streams of record batches in, Parquet files out, in bounded memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ae_plugin.engines.sinks import LocalFile, RemoteFile
from ae_plugin.errors import DataError, is_io, is_transient
from ae_plugin.store.files import Folder, SourceFile, open_fs, writing

Part: TypeAlias = tuple[SourceFile, Sequence[int] | None]
"""A file, and which of its row groups; None: all."""
BATCH_ROWS = 32_768
GROUP_ROWS = 65_536
GROUP_BYTES = 64 * 2**20
_BATCH_CELLS = 4 * 2**20
_CSV_BLOCK = 8 * 2**20
_READ_AHEAD = 2**16


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what Arrow and the filesystem say about a bad file into one clear line."""
    try:
        yield
    except Exception as error:
        if not (is_io(error) or isinstance(error, (pa.ArrowException, EOFError, UnicodeError))):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        transient = is_transient(error)
        mend = "Try again" if transient else "Replace or remove the file"
        raise DataError(f"cannot be read ({reason})", where=where, mend=mend, transient=transient) from error


class Reader:
    """The files of one partition, read as one stream of record batches in one schema.

    The schema is the first file's, each column in a type that holds what every file has.

    Args:
        files: of one partition, in order.
        format: how they are written.
        schema: of the source when it is known (CSV files then need no guessing).
        rows: of the largest record batch.

    Raises:
        DataError: a file cannot be read, or has other columns than the first, or a column of quite another type.
    """

    def __init__(
        self, files: Sequence[SourceFile], format: str, schema: pa.Schema | None = None, rows: int = BATCH_ROWS
    ) -> None:
        self.files, self.format, self._rows = list(files), format, rows
        found = [(file.uri, schema_of(file.uri, format, schema)) for file in self.files]
        for uri, other in found:
            if lost := sorted(set(found[0][1].names) ^ set(other.names)):
                raise DataError(
                    f"column {lost[0]!r} is in some files of the partition only", where=uri, mend="Align the files"
                )
        self.schema = unify(found)

    def batches(
        self, columns: Sequence[str] | None = None, parts: Iterable[Part] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream rows in order, whole or some columns of them: all, or those of files' row groups (None: of all)."""
        narrow = self.schema
        if columns is not None and self.format != "csv":
            # CSV is parsed whole: the types of all columns must be known, also of those that are not wanted.
            narrow = pa.schema([self.schema.field(name) for name in columns])
        for file, groups in ((file, None) for file in self.files) if parts is None else parts:
            for batch in read_file(file.uri, self.format, narrow, self._rows, groups):
                yield batch if columns is None else batch.select(list(columns))


def batch_rows(features: int) -> int:
    """Rows of a record batch that is encoded into so many features: as many as a budget of cells allows."""
    return min(max(_BATCH_CELLS // features // 1024 * 1024, 1024), BATCH_ROWS)


def schema_of(uri: str, format: str, known: pa.Schema | None = None) -> pa.Schema:
    """A file's schema: of Parquet from its footer; of CSV as known from training, or else guessed from its start."""
    with reading(uri):
        if format == "csv":
            with _open_csv(uri, {}) as stream:
                schema = _csv_schema(stream.schema, known)
        else:
            with open_input(uri) as handle:
                schema = pq.read_schema(handle)
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise DataError(f"column {twice[0]!r} is there twice", where=uri, mend="Rename one of them")
    return schema


def _csv_schema(guessed: pa.Schema, known: pa.Schema | None) -> pa.Schema:
    types = {field.name: field.type for field in known or () if not pa.types.is_null(field.type)}
    fields = []
    for field in guessed:
        kind = types.get(field.name, field.type)
        # Whole numbers so far, fractions today: no reason to refuse the file.
        wider = pa.types.is_integer(kind) and pa.types.is_floating(field.type)
        fields.append(field if wider else field.with_type(kind))
    return pa.schema(fields)


def unify(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """The first schema, each column in the narrowest type that holds what all of them have.

    Args:
        schemas: (the file's URI, its schema); all hold the first one's columns.

    Raises:
        DataError: a column's types have no such type in common.
    """
    (_, first), *rest = schemas
    fields = list(first)
    for uri, schema in rest:
        fields = [_wider(field, schema.field(field.name), uri) for field in fields]
    return pa.schema(fields, metadata=first.metadata)


def _wider(field: pa.Field, other: pa.Field, uri: str) -> pa.Field:
    pairs = ((field.type, other.type), (_plain(field.type), _plain(other.type)))
    kind = field.type if field.type == other.type else next(filter(None, (_common(*pair) for pair in pairs)), None)
    if kind is None:
        raise DataError(
            f"column {field.name!r} is {other.type} here, but {field.type} in other files",
            where=uri,
            mend="Write it with one type",
        )
    return field.with_type(kind).with_nullable(field.nullable or other.nullable)


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that two types widen to, if there is one."""
    try:
        schemas = [pa.schema([("", kind)]) for kind in (one, other)]
        kind = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    # Text would widen to bytes, which nobody can learn.
    text = (pa.string(), pa.large_string(), pa.string_view())
    return None if kind not in text and (one in text or other in text) and pa.null() not in (one, other) else kind


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def read_file(
    uri: str, format: str, schema: pa.Schema, rows: int = BATCH_ROWS, groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Stream a file, or some row groups of it, as record batches of at most `rows` rows in a schema (see `unify`)."""
    with reading(uri):
        if format == "csv":
            with _open_csv(uri, {field.name: field.type for field in schema}) as stream:
                for batch in stream:
                    for start in range(0, batch.num_rows, rows):
                        yield _conform(batch.slice(start, rows), schema)
            return
        with open_input(uri) as handle:
            # pre_buffer would hold every row group's column chunks, and without a buffer whole ones: both grow.
            file = pq.ParquetFile(handle, pre_buffer=False, buffer_size=_READ_AHEAD)
            for batch in file.iter_batches(batch_size=rows, row_groups=groups, columns=schema.names):
                yield _conform(batch, schema)


def _open_csv(uri: str, types: dict[str, pa.DataType]) -> Any:
    from pyarrow import csv

    nulls = [*csv.ConvertOptions().null_values, "?"]  # as ARFF and many public tables write a gap
    fs, path = open_fs(uri)
    handle = fs.open(path, "rb", compression="infer")
    delimiter = _delimiter(handle.readline(_CSV_BLOCK))
    handle.seek(0)
    return csv.open_csv(
        handle,
        read_options=csv.ReadOptions(block_size=_CSV_BLOCK),
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=nulls),
    )


def _delimiter(header: bytes) -> str:
    """What parts a header's names: the most frequent of `,` `;` tab and `|` outside quotes; `,` when in doubt."""
    plain = re.sub(rb'"[^"]*"', b"", header)
    return max(",;\t|", key=lambda mark: plain.count(mark.encode()))


def _conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(schema):
        return batch.replace_schema_metadata(schema.metadata)
    columns = [
        _as(column, field.type) for column, field in zip(batch.select(schema.names).columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    # A wider type holds every value; only of huge integers a float keeps fewer digits, which is no error.
    return column if column.type == kind else column.cast(kind, safe=not pa.types.is_floating(kind))


@contextmanager
def open_input(uri: str) -> Iterator[Any]:
    """Open a file for Parquet: local files natively, without a memory map; the rest through fsspec."""
    fs, path = open_fs(uri)
    if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        with pa.OSFile(path, "rb") as handle:
            yield handle
    else:
        with fs.open(path, "rb") as handle:
            yield handle


def row_bytes(found: pq.FileMetaData) -> int:
    """Bytes that a row of a Parquet file takes, on average over the row group where it takes most."""
    groups = [found.row_group(number) for number in range(found.num_row_groups)]
    return max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0) + 1


class Writer:
    """One Parquet file of an output: strings dictionary-encoded, numbers plain, deterministic bytes.

    Args:
        folder: the output.
        name: of the (staged) file.
        schema: exactly what is written.
        group_rows: rows of a row group, of fewer where those hold `GROUP_BYTES` of binary values; as many are in memory
            before they are written.
    """

    def __init__(self, folder: Folder, name: str, schema: pa.Schema, group_rows: int = GROUP_ROWS) -> None:
        self.schema, self.rows, self._group = schema, 0, group_rows
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._where = folder.uri
        with writing(self._where):
            self._file = LocalFile(folder.prepare(name)) if folder.local else RemoteFile(folder.open_write(name))
            sink = self._file.sink
            words = [f.name for f in schema if _is_text(f.type)]
            self._writer = pq.ParquetWriter(sink, schema, compression="snappy", use_dictionary=words or False)

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Add rows; row groups are of one size wherever the stream was cut."""
        self._waiting.append(batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch]))
        self.rows += batch.num_rows
        self._bytes += _binary_bytes(batch)
        if self._bytes >= GROUP_BYTES or sum(table.num_rows for table in self._waiting) >= self._group:
            self._flush()

    def _flush(self, *, last: bool = False) -> None:
        whole = pa.concat_tables(self._waiting)
        with writing(self._where):
            while (rows := self._next_group(whole)) or (last and whole.num_rows):
                part = whole.slice(0, rows or whole.num_rows)
                self._writer.write_table(part, row_group_size=self._group)
                whole = whole.slice(part.num_rows)
            self._file.grown()
        self._waiting, self._bytes = [whole], _binary_bytes(whole)

    def _next_group(self, table: pa.Table) -> int:
        """How many rows make the next row group, whatever follows them; 0: it is not full yet."""
        fit = self._group
        for sizes in _binary_sizes(table):
            fit = min(fit, max(int(np.searchsorted(sizes.cumsum(), GROUP_BYTES, side="right")), 1))
        return fit if fit < table.num_rows or table.num_rows == self._group else 0

    def close(self) -> str:
        """Finish the file; returns its sha256."""
        if self._waiting:
            self._flush(last=True)
        with writing(self._where):
            self._writer.close()
            return self._file.close()

    def abort(self) -> None:
        """Let go of a file that will be thrown away."""
        for end in (self._writer.close, self._file.abort):
            try:
                end()
            except Exception as error:
                if not (is_io(error) or isinstance(error, pa.ArrowException)):
                    raise


def _binary_sizes(table: pa.Table | pa.RecordBatch) -> Iterator[npt.NDArray[np.int64]]:
    """Bytes of each row's value, of each column of binary type or of a struct with binary `bytes`."""
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            column = pc.struct_field(column, "bytes")
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            yield pc.binary_length(column).fill_null(0).to_numpy().astype(np.int64)


def _binary_bytes(table: pa.Table | pa.RecordBatch) -> int:
    return sum(int(sizes.sum()) for sizes in _binary_sizes(table))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))
