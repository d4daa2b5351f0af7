"""Parquet and CSV files on this machine: streams of record batches in, Parquet files out, in bounded memory."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from ae_plugin.engines.sinks import LocalFile, RemoteFile
from ae_plugin.errors import DataError, is_io, is_transient
from ae_plugin.store.files import Folder, SourceFile, open_fs, writing

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
BATCH_ROWS = 32_768
GROUP_ROWS = 65_536
SAMPLE_BYTES = 512 * 2**20
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

    Args:
        files: of one partition, in order.
        format: how they are written.
        schema: of the source when it is known (CSV files then need no guessing).

    Raises:
        DataError: a file cannot be read, or has another schema than the first.
    """

    def __init__(self, files: Sequence[SourceFile], format: str, schema: pa.Schema | None = None) -> None:
        self.files, self.format = list(files), format
        self._wanted = schema
        first = self.files[0].uri
        with reading(first):
            self.schema = self._schema_of(first)
            twice = [name for name, count in Counter(self.schema.names).items() if count > 1]
        if twice:
            raise DataError(f"column {twice[0]!r} is there twice", where=first, mend="Rename one of them")

    def _schema_of(self, uri: str) -> pa.Schema:
        if self.format == "csv":
            with self._csv(uri) as stream:
                return stream.schema
        with open_input(uri) as handle:
            return pq.read_schema(handle)

    def _csv(self, uri: str) -> Any:
        from pyarrow import csv

        types = {field.name: field.type for field in self._wanted or ()}
        fs, path = open_fs(uri)
        return csv.open_csv(
            fs.open(path, "rb", compression="infer"),
            read_options=csv.ReadOptions(block_size=_CSV_BLOCK),
            convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=True),
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Stream all rows in order."""
        for file in self.files:
            with reading(file.uri):
                for batch in self._batches_of(file.uri):
                    yield self._same_schema(batch, file.uri)

    def _batches_of(self, uri: str) -> Iterator[pa.RecordBatch]:
        if self.format == "csv":
            with self._csv(uri) as stream:
                yield from stream
            return
        with open_input(uri) as handle:
            # pre_buffer would hold every row group's column chunks, and without a buffer whole ones: both grow.
            file = pq.ParquetFile(handle, pre_buffer=False, buffer_size=_READ_AHEAD)
            yield from file.iter_batches(batch_size=BATCH_ROWS)

    def _same_schema(self, batch: pa.RecordBatch, uri: str) -> pa.RecordBatch:
        if batch.schema.equals(self.schema, check_metadata=False):
            return batch.replace_schema_metadata(self.schema.metadata)
        lost = set(self.schema.names) ^ set(batch.schema.names)
        if lost:
            name = sorted(lost)[0]
            raise DataError(
                f"column {name!r} is in some files of the partition only", where=uri, mend="Align the files"
            )
        return batch.select(self.schema.names).cast(self.schema)


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


class Writer:
    """One Parquet file of an output: strings dictionary-encoded, numbers plain, deterministic bytes.

    Args:
        folder: the output.
        name: of the (staged) file.
        schema: exactly what is written.
    """

    def __init__(self, folder: Folder, name: str, schema: pa.Schema) -> None:
        self.schema, self.rows = schema, 0
        self._waiting: list[pa.Table] = []
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
        if sum(table.num_rows for table in self._waiting) >= GROUP_ROWS:
            self._flush(GROUP_ROWS)

    def _flush(self, least: int) -> None:
        whole = pa.concat_tables(self._waiting)
        with writing(self._where):
            while whole.num_rows >= max(least, 1):
                self._writer.write_table(whole.slice(0, GROUP_ROWS), row_group_size=GROUP_ROWS)
                whole = whole.slice(GROUP_ROWS)
            self._file.grown()
        self._waiting = [whole]

    def close(self) -> str:
        """Finish the file; returns its sha256."""
        if self._waiting:
            self._flush(1)
        with writing(self._where):
            self._writer.close()
            return self._file.close()

    def abort(self) -> None:
        """Let go of a file that will be thrown away."""
        for end in (self._writer.close, self._file.close):
            with contextlib.suppress(OSError, pa.ArrowException):
                end()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Run an iterator in a thread of its own, at most `depth` items ahead; its error is raised here."""
    ahead: queue.Queue[tuple[Literal["item", "error", "end"], Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: Literal["item", "error", "end"], value: Any) -> bool:
        while not stop.is_set():
            try:
                ahead.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            put("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ahead.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stop.set()
        thread.join()


def parallel(work: Callable[[T], R], items: Iterable[T], workers: int = 2) -> Iterator[R]:
    """Apply `work` to items in a few threads, results in the items' order, at most one result a worker ahead."""
    # The threads share the cores already: a BLAS that starts its own on top of them halves the speed.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers, thread_name_prefix="score") as pool:
        ahead: deque[Future[R]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


@dataclass(frozen=True)
class Sample:
    """Rows to train on, in source order.

    Attributes:
        table: at most the budget's rows, with every source column.
        partitions: hive path of each row's partition, [n].
        rows_total: rows in the history, sampled or not.
    """

    table: pa.Table
    partitions: list[str]
    rows_total: int

    def thinned(self, rows: int, seed: int) -> Sample:
        """Return a seeded sample of this one, in source order."""
        kept = np.sort(np.random.default_rng([seed, 13]).permutation(self.table.num_rows)[:rows])
        return Sample(self.table.take(pa.array(kept)), [self.partitions[i] for i in kept], self.rows_total)


def sample(groups: dict[str, list[SourceFile]], format: str, max_rows: int, seed: int) -> Sample:
    """Read history, or, when it is longer than `max_rows`, a seeded sample of its row groups.

    Row groups are drawn at random until they hold four times the budget, then rows are drawn from them, so that memory
    is bounded by the budget however long history is.
    """
    units = _units(groups, format)
    schema = Reader([units[0].file], format).schema
    total = sum(unit.rows for unit in units)
    rng = np.random.default_rng([seed, 7])
    if total > max_rows:
        order, held, picked = rng.permutation(len(units)), 0, []
        for index in order:
            picked.append(int(index))
            held += units[index].rows
            if held >= 4 * max_rows:
                break
        units = [units[index] for index in sorted(picked)]
        log.info("history holds %d rows; sampling %d of them from %d row groups", total, max_rows, len(units))
    held = max(sum(unit.rows for unit in units), 1)
    share, size = min(1.0, max_rows / held), 0
    parts: list[pa.RecordBatch] = []
    names: list[str] = []
    for unit in units:
        for batch in unit.read(schema):
            if share < 1:
                batch = batch.filter(pa.array(rng.random(batch.num_rows) < share))
            size += batch.nbytes
            if size > SAMPLE_BYTES:
                log.warning("the sample reached %d MB; the rest of history is left out", SAMPLE_BYTES >> 20)
                return Sample(_one(parts, schema), names, total)
            parts.append(batch)
            names += [unit.file.partition] * batch.num_rows
    found = Sample(_one(parts, schema), names, total)
    return found.thinned(max_rows, seed) if len(names) > max_rows else found


def _one(parts: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(parts, schema)


@dataclass(frozen=True)
class _Unit:
    """What can be sampled by itself: a row group of a Parquet file, or a whole CSV file."""

    file: SourceFile
    format: str
    group: int
    rows: int

    def read(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        reader = Reader([self.file], self.format, schema if self.format == "csv" else None)
        lost = [name for name in schema.names if name not in reader.schema.names]
        if lost:
            raise DataError(
                f"column {lost[0]!r} is missing here but not elsewhere in history",
                where=self.file.uri,
                mend="Train on partitions with one schema: see train.partitions",
            )
        if self.format == "csv":
            for batch in reader.batches():
                yield batch.select(schema.names).cast(schema)
            return
        with reading(self.file.uri), open_input(self.file.uri) as handle:
            file = pq.ParquetFile(handle, pre_buffer=False, buffer_size=_READ_AHEAD)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[self.group], columns=schema.names):
                yield batch.select(schema.names).cast(schema)


def _units(groups: dict[str, list[SourceFile]], format: str) -> list[_Unit]:
    units = []
    for file in (file for files in groups.values() for file in files):
        if format == "csv":
            rows = sum(batch.num_rows for batch in Reader([file], format).batches())
            units.append(_Unit(file, format, 0, rows))
            continue
        with reading(file.uri), open_input(file.uri) as handle:
            meta = pq.ParquetFile(handle).metadata
            units += [_Unit(file, format, g, meta.row_group(g).num_rows) for g in range(meta.num_row_groups)]
    if not units:
        where = next((file.uri for files in groups.values() for file in files), "")
        raise DataError("the history holds no rows", where=where, mend="Check source.uri and train.until")
    return units
