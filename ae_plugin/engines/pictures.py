"""Pictures on this machine or in a store: streams of record batches in, decoded beside them, in bounded memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ae_plugin.core.pictures import Picture, PictureError, decode
from ae_plugin.engines.local import Reader, open_input, reading, row_bytes
from ae_plugin.engines.threads import parallel, prefetch
from ae_plugin.errors import DataError
from ae_plugin.store.files import PICTURES, SourceFile, open_fs

FILES = pa.schema([("file", pa.string()), ("image", pa.binary()), ("error", pa.string())])
BATCH_PICTURES = 256
BATCH_BYTES = 32 * 2**20
_FILE_BYTES = 2**30  # an Arrow array of bytes holds twice as many
PIXEL_BYTES = 32 * 2**20
_READ_THREADS = 4

T = TypeVar("T")
_Row = tuple[str, bytes | None, str | None]
Decoded = tuple[pa.RecordBatch, list[Picture | PictureError]]


class PictureReader:
    """The pictures of one partition, read as one stream of record batches in one schema.

    Image files become rows of `FILES`: `file` is the path below the partition's folder, `image` the file's bytes, null
    with the reason in `error` when it cannot be read. Parquet files keep their columns; a page of theirs is read whole,
    which pyarrow makes of 1024 pictures unless it is told otherwise (`write_batch_size`).

    Args:
        files: of one partition, in order; image files or Parquet files (see `list_source`).
        rows: of the largest record batch.
        size: bytes of the largest record batch; only a single picture may be larger.
        image: the column of pictures, where it is known.

    Attributes:
        schema: of the record batches.
        image: the column that holds the pictures, as bytes or as a struct of `bytes` and more.
        of_files: these are image files, no Parquet.

    Raises:
        DataError: a name that is no text, Parquet files that `Reader` refuses, or in which `image`, or without it any
            column or more than one, cannot be the pictures.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        rows: int = BATCH_PICTURES,
        size: int = BATCH_BYTES,
        *,
        image: str | None = None,
    ) -> None:
        self.files, self.format = list(files), "images"
        self._rows, self._size = rows, size
        self._table: Reader | None = None
        self.of_files = self.files[0].name.lower().endswith(PICTURES)
        strange = next((file for file in self.files if not _is_text(file.name)), None)
        if strange is not None:
            raise DataError(f"its name {strange.name!r} is not UTF-8", where=self.files[0].uri, mend="Rename it")
        if not self.of_files:
            # Arrow cuts by rows only, so that what a row takes on average must be known before.
            fit = size // max(_row_bytes(file.uri) for file in self.files)
            self._table = Reader(self.files, "parquet", rows=min(max(fit, 1), rows))
        self.schema = FILES if self._table is None else self._table.schema
        self.image = image_column(self.schema, self.files[0].uri, image)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream all rows in order, whole or some columns of them; image files are opened only if those ask for it."""
        batches = self._of_files(columns) if self._table is None else self._of_table(self._table, columns)
        for batch in batches:
            yield batch if columns is None else batch.select(list(columns))

    def _of_table(self, table: Reader, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        for batch in table.batches(columns):
            if self.image not in batch.schema.names:
                yield batch
                continue
            sizes = pc.binary_length(_bytes_of(batch, self.image)).to_pylist()
            start = 0
            for group in _grouped(sizes, lambda size: size or 0, self._rows, self._size):
                yield batch.slice(start, len(group))
                start += len(group)

    def _of_files(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        blind = columns is not None and not {"image", "error"} & set(columns)
        rows: Iterable[_Row] = parallel(_name if blind else _read, self.files, _READ_THREADS)
        for group in _grouped(rows, lambda row: len(row[1] or b""), self._rows, self._size):
            arrays = [
                pa.array(column, field.type) for column, field in zip(zip(*group, strict=True), FILES, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=FILES)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a disk's names are bytes
        return False
    return True


def image_column(schema: pa.Schema, where: str = "", known: str | None = None) -> str:
    """The column that holds pictures: the one that is known to, or the only one of bytes, or else `image`.

    Structs with `bytes` in them count as such.

    Raises:
        DataError: there is none, or there are several and none is called `image`; the known one is missing, or is none.
    """
    if known is not None:
        if known not in schema.names:
            raise DataError(
                f"column {known!r} is missing, but the model learned with it", where=where, mend="Bring it back"
            )
        if not _holds_bytes(schema.field(known).type):
            kind = schema.field(known).type
            raise DataError(
                f"column {known!r} is {kind}, but held pictures", where=where, mend="Write it as bytes again"
            )
        return known
    found = [field.name for field in schema if _holds_bytes(field.type)]
    if not found:
        raise DataError(
            "no column holds pictures", where=where, mend="Write one of binary type, or as a struct of bytes and path"
        )
    if len(found) > 1 and "image" not in found:
        names = ", ".join(found)
        raise DataError(f"several columns may hold pictures ({names})", where=where, mend="Call the right one image")
    return found[0] if len(found) == 1 else "image"


def decoded(
    batches: Iterable[pa.RecordBatch], threads: int = 2, size: int = PIXEL_BYTES, *, image: str | None = None
) -> Iterator[Decoded]:
    """Decode the pictures of record batches in threads, in order, a bounded number ahead of whoever uses them.

    Args:
        batches: of a `PictureReader`, with the column of pictures.
        threads: that decode.
        size: bytes of the pixels of a record batch, which is cut where it has more; only a single picture may.
        image: the column of pictures, where it is known.

    Yields:
        (record batch, a picture for each of its rows, or why there is none).

    Raises:
        DataError: what reading raises, or see `image_column`.
    """
    return prefetch(_decode(batches, threads, size, image), 1)


def _decode(batches: Iterable[pa.RecordBatch], threads: int, size: int, image: str | None) -> Iterator[Decoded]:
    for batch in prefetch(batches, 1):
        pictures = parallel(functools.partial(_picture, *_cells(batch, image)), range(batch.num_rows), threads)
        start = 0
        for group in _grouped(pictures, _pixel_bytes, batch.num_rows, size):
            yield batch.slice(start, len(group)), group
            start += len(group)


def _cells(batch: pa.RecordBatch, image: str | None) -> tuple[pa.Array, pa.Array | None]:
    """The pictures' bytes, and why there are none where that is known."""
    known = batch.schema.equals(FILES)
    return _bytes_of(batch, image or image_column(batch.schema)), batch.column("error") if known else None


def _picture(images: pa.Array, errors: pa.Array | None, row: int) -> Picture | PictureError:
    data = images[row].as_py()
    if data is None:
        return PictureError("is missing" if errors is None else errors[row].as_py())
    try:
        return decode(data)
    except PictureError as error:
        return PictureError(str(error))  # a new one: what was raised holds on to the bytes


def _pixel_bytes(picture: Picture | PictureError) -> int:
    return picture.pixels.nbytes if isinstance(picture, Picture) else 0


def _grouped(items: Iterable[T], cost: Callable[[T], int], most: int, limit: int) -> Iterator[list[T]]:
    """Cut a stream into lists of at most so many items that cost no more than the limit, unless a single one does."""
    group: list[T] = []
    total = 0
    for item in items:
        taken = cost(item)
        if group and (len(group) == most or total + taken > limit):
            yield group
            group, total = [], 0
        group.append(item)
        total += taken
    if group:
        yield group


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _bytes_of(batch: pa.RecordBatch, image: str) -> pa.Array:
    column = batch.column(image)
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    return column.cast(pa.large_binary()) if pa.types.is_binary_view(column.type) else column


def _row_bytes(uri: str) -> int:
    with reading(uri), open_input(uri) as handle:
        return row_bytes(pq.read_metadata(handle))


def _name(file: SourceFile) -> _Row:
    return file.name, None, None


def _read(file: SourceFile) -> _Row:
    """A file's bytes, or why there are none; what may be there the next time is raised."""
    if file.size > _FILE_BYTES:
        return file.name, None, f"has {file.size} bytes, more than {_FILE_BYTES} allowed"
    try:
        with reading(file.uri):
            fs, path = open_fs(file.uri)
            return file.name, bytes(fs.cat_file(path)), None
    except DataError as error:
        if error.transient:
            raise
        return file.name, None, error.what
