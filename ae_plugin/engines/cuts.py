"""Where a large partition is cut, for several tasks to score it: between row groups, evenly, by its files alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from ae_plugin.engines.local import open_input, reading
from ae_plugin.store.files import SourceFile

MOST = 1000
"""Shards of a partition: Airflow maps at most 1024 tasks."""


@dataclass(frozen=True)
class Cut:
    """Row groups of one file, `start` up to, not including, `stop`."""

    file: SourceFile
    start: int
    stop: int


@dataclass(frozen=True)
class Shard:
    """A part of a partition.

    Attributes:
        number: its place among the shards, from 0.
        first_row: place of its first row in the partition.
        cuts: what it is made of, in order; None: the whole partition.
    """

    number: int
    first_row: int
    cuts: tuple[Cut, ...] | None


WHOLE = Shard(0, 0, None)


def shards_of(files: Sequence[SourceFile], rows: int) -> list[Shard]:
    """Cut Parquet files into shards of about equal size, none of fewer than `rows` rows but for what row groups do.

    Args:
        files: of one partition, in order.
        rows: a shard's least number of rows; a partition of fewer than twice as many is not cut.

    Raises:
        DataError: a file cannot be read.
    """
    if sum(file.size for file in files) < rows:
        return [WHOLE]  # not even a byte a row: its footers need not be read
    groups = [(file, group, length) for file in files for group, length in enumerate(_lengths(file))]
    total = sum(length for *_, length in groups)
    wanted = min(total // rows, MOST)
    if wanted < 2:
        return [WHOLE]
    shards: list[Shard] = []
    first, seen, share, cuts = 0, 0, 0, list[Cut]()
    for file, group, length in groups:
        if cuts and cuts[-1].file is file:
            cuts[-1] = Cut(file, cuts[-1].start, group + 1)
        else:
            cuts.append(Cut(file, group, group + 1))
        seen += length
        if seen * wanted // total > share:
            shards.append(Shard(len(shards), first, tuple(cuts)))
            first, share, cuts = seen, seen * wanted // total, []
    if cuts:  # row groups without rows, at the end
        shards[-1] = Shard(shards[-1].number, shards[-1].first_row, (*(shards[-1].cuts or ()), *cuts))
    return shards if len(shards) > 1 else [WHOLE]


def _lengths(file: SourceFile) -> list[int]:
    with reading(file.uri), open_input(file.uri) as handle:
        found = pq.ParquetFile(handle).metadata
        return [found.row_group(group).num_rows for group in range(found.num_row_groups)]
