"""Single rows of a partition's files, wherever they lie, read in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.core.values import take
from ae_plugin.engines.local import Reader, open_input, reading

Longs = npt.NDArray[np.int64]


def rows_at(reader: Reader, rows: Sequence[int]) -> dict[int, pa.RecordBatch]:
    """The rows at some places of a partition, each a record batch of one; what is not there is left out.

    Of Parquet only the row groups that hold them are read.

    Args:
        reader: of the partition's files.
        rows: places from 0.
    """
    wanted = np.unique(np.asarray(rows, np.int64))
    found: dict[int, pa.RecordBatch] = {}
    for first, batch in _batches(reader, wanted):
        here = wanted[(wanted >= first) & (wanted < first + batch.num_rows)]
        for row in here:
            place = pa.array([row - first])
            columns = [take(column, place) for column in batch.columns]
            found[int(row)] = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
        if len(found) == len(wanted):
            break
    return found


def _batches(reader: Reader, wanted: Longs) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Record batches that may hold wanted rows, each with its first row's place."""
    if reader.format == "csv":
        first = 0
        for batch in reader.batches():
            yield first, batch
            first += batch.num_rows
        return
    first = 0
    for file in reader.files:
        with reading(file.uri), open_input(file.uri) as handle:
            footer = pq.read_metadata(handle)
        for number in range(footer.num_row_groups):
            rows = footer.row_group(number).num_rows
            if ((wanted >= first) & (wanted < first + rows)).any():
                within = first
                last = wanted[wanted < first + rows].max()
                for batch in reader.batches(parts=[(file, [number])]):
                    yield within, batch
                    within += batch.num_rows
                    if within > last:
                        break
            first += rows
