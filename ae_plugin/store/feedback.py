"""What people said of rows: `feedback/<when>-<random>.parquet`, one file a call, never changed again."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.errors import StoreError
from ae_plugin.store.files import Folder

FEEDBACK = "feedback"


def append(folder: Folder, table: pa.Table, now: datetime) -> str:
    """Add a file, whole or not at all; returns its name in the output."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="snappy")
    name = f"{FEEDBACK}/{now:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}.parquet"
    folder.write(name, buffer.getvalue())
    return name


def read(folder: Folder) -> Iterator[tuple[str, pa.Table]]:
    """All files, oldest first: where each is, and what it holds.

    Raises:
        StoreError: one cannot be read.
    """
    for name in folder.names(FEEDBACK):
        if name.endswith(".parquet"):
            where = f"{folder.uri}/{FEEDBACK}/{name}"
            try:
                table = pq.ParquetFile(io.BytesIO(folder.read(f"{FEEDBACK}/{name}"))).read()
            except (pa.ArrowException, OSError) as error:
                raise StoreError("is not a file of feedback", where=where, mend="Remove it") from error
            yield where, table
