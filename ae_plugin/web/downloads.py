"""Files to take away: a partition's flagged rows, or its wrong cells, as Parquet or CSV."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from ae_plugin.engines.local import open_input, reading
from ae_plugin.errors import DataError
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import Folder
from ae_plugin.store.runs import slug_of

Dataset = Literal["rows", "cells"]
Format = Literal["parquet", "csv"]
_IN_MEMORY = 8 * 2**20
_CHUNK = 2**20
_BATCH = 65_536
TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv; charset=utf-8"}


def file_name(run: RunRecord, dataset: Dataset, format: Format) -> str:
    """What the file is called: letters, digits, `-`, `_` and `.` alone."""
    slug = slug_of(run.partition).replace("=", "-")
    return f"{run.pipeline}-{slug}-{dataset}.{format}"


def download(pipeline: Pipeline, run: RunRecord, dataset: Dataset, format: Format) -> IO[bytes]:
    """The flagged rows of `scores/`, or `cells/`, in a temporary file at its start.

    Raises:
        DataError: it cannot be read, or CSV cannot hold it.
    """
    folder, kept = Folder(pipeline.output), tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by `chunks`
    names = sorted(name for name in run.outputs if name.startswith("scores/" if dataset == "rows" else "cells/"))
    if not names:
        raise DataError(f"has no {dataset} to download", where=run.partition or "the source")
    writer = None
    try:
        for batch in _batches(folder, names, flagged=dataset == "rows"):
            writer = writer or _writer(kept, batch.schema, format)
            writer.write_batch(batch)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"cannot be written as {format} ({reason})", where=run.partition, mend="Take Parquet"
        ) from error
    if writer is not None:
        writer.close()
    kept.seek(0)
    return kept


def _batches(folder: Folder, names: list[str], *, flagged: bool) -> Iterator[pa.RecordBatch]:
    for name in names:
        where = f"{folder.uri}/{name}"
        with reading(where), open_input(where) as handle:
            file = pq.ParquetFile(handle, pre_buffer=False)
            yield pa.RecordBatch.from_pylist([], file.schema_arrow)
            for batch in file.iter_batches(_BATCH):
                yield batch.filter(pc.fill_null(batch.column("is_anomaly"), False)) if flagged else batch


def _writer(file: IO[bytes], schema: pa.Schema, format: Format) -> pq.ParquetWriter | pcsv.CSVWriter:
    return pq.ParquetWriter(file, schema) if format == "parquet" else pcsv.CSVWriter(file, schema)


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The file's bytes; it is closed, and gone, at the end."""
    with file:
        while data := file.read(_CHUNK):
            yield data
