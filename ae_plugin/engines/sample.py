"""A sample of history: row groups from every partition, rows from each of them, in bounded memory.

Whether a row is drawn, and what it is then used for, depends on the seed, on its partition's name, on its file's name
and on its place in that file. So the same row is dealt the same way in the next training, whatever came or went beside
it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.core.values import Bools, Doubles, plain_type
from ae_plugin.engines.local import open_input, read_file, reading, schema_of, unify
from ae_plugin.errors import DataError
from ae_plugin.store.files import SourceFile

SAMPLE_BYTES = 512 * 2**20
CHOICE = 4
"""Row groups are drawn from a partition until they hold so many times the rows that it is to give."""


@dataclass(frozen=True)
class Marked:
    """Rows of one partition, by their place in it, that a person has judged: known to be normal, known to be wrong."""

    normal: frozenset[int] = frozenset()
    wrong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Sample:
    """Rows to train on, in source order.

    Attributes:
        table: at most the budget's rows, with the source's columns.
        partitions: hive path of each row's partition, [n].
        odds: float64 [n], what decides which rows stay when there are too many: the lowest.
        lots: float64 [n] in [0, 1), what decides a row's use.
        rows_total: rows in the history, sampled or not.
        later: columns that only later files have.
        limits: what kept the sample from being all of history, in words.
        vouched: bool [n], rows that a person knows to be normal; None when there are none.
    """

    table: pa.Table
    partitions: list[str]
    odds: Doubles
    lots: Doubles
    rows_total: int
    later: list[pa.Field]
    limits: tuple[str, ...] = ()
    vouched: Bools | None = None

    def thinned(self, rows: int, why: str) -> Sample:
        """Return that many of the rows, of each partition its share, in source order; those vouched for come first."""
        places = evenly(self.partitions, self.odds)
        if self.vouched is not None:
            places[self.vouched] = -1
        return self.taken(np.sort(np.argsort(places, kind="stable")[:rows]), why)

    def taken(self, kept: npt.NDArray[np.intp], *limits: str) -> Sample:
        """Return some of the rows, and what kept it from being all, if it is a budget."""
        return Sample(
            self.table.take(pa.array(kept)),
            [self.partitions[i] for i in kept],
            self.odds[kept],
            self.lots[kept],
            self.rows_total,
            self.later,
            (*self.limits, *limits),
            None if self.vouched is None else self.vouched[kept],
        )


def evenly(partitions: Sequence[str], draws: Doubles) -> Doubles:
    """Each row's place among its partition's rows, float64 [n] in [0, 1): the k lowest of all rows are an even share.

    Args:
        partitions: of each row, [n]; the rows of one lie together.
        draws: float64 [n] in [0, 1), what a partition's rows are ordered by.
    """
    out = np.empty(len(draws))
    for _, own in stretches(partitions):
        rank = np.argsort(np.argsort(draws[own], kind="stable"), kind="stable")
        out[own] = (rank + draws[own]) / len(rank)  # with the draws, since partitions of one size would tie
    return out


def stretches(partitions: Sequence[str]) -> Iterator[tuple[str, slice]]:
    """Each partition of rows that lie together, and where they lie."""
    names = np.asarray(partitions)
    starts = np.flatnonzero(names[1:] != names[:-1]) + 1
    edges = [0, *starts.tolist(), len(names)] if len(names) else []
    return ((str(names[a]), slice(a, b)) for a, b in pairwise(edges))


def sample(
    groups: dict[str, list[SourceFile]],
    format: str,
    max_rows: int,
    seed: int,
    marks: Mapping[str, Marked] | None = None,
) -> Sample:
    """Read history, or, when it is longer than `max_rows`, a seeded sample in which each partition has its share.

    Row groups are drawn from each partition until they hold four times its share, then rows are drawn from them. All
    that is drawn is read, and what is held of it at any time is bounded by the budget and by SAMPLE_BYTES. Rows that
    are marked as wrong are never drawn, rows that are marked as normal always.

    Raises:
        DataError: a file cannot be read, lacks a column that the first one has, or has it in quite another type; or
            there are no rows.
    """
    schema, later = history_schema(groups, format)
    units = {name: _units(files, format, schema) for name, files in groups.items()}
    total = sum(unit.rows for own in units.values() for unit in own)
    if not total:
        where = next((file.uri for files in groups.values() for file in files), "")
        raise DataError("the history holds no rows", where=where, mend="Check source.uri and train.until")
    kept = _Kept(schema)
    for partition, own in units.items():
        share, drawn, marked = 1.0, own, (marks or {}).get(partition, Marked())
        if total > max_rows:
            wanted = max_rows * sum(unit.rows for unit in own) / total
            drawn = _draw(own, wanted, seed, marked.normal)
            # A few more than wanted, so that chance leaves no partition out; the surplus is thinned away.
            share = min(1.0, (1.2 * wanted + 5) / max(sum(unit.rows for unit in drawn), 1))
        for unit in drawn:
            rng, first = unit.generator(seed), unit.first
            only = None if unit.group is None else [unit.group]
            for batch in read_file(unit.file.uri, format, schema, groups=only):
                odds, lots = rng.random((batch.num_rows, 2)).T
                odds = _judged(odds / share, first, marked)
                kept.add(batch, partition, odds, lots)
                first += batch.num_rows
    found = kept.sample(total, later)
    return found.thinned(max_rows, f"train.max_rows {max_rows}") if len(found.odds) > max_rows else found


def _judged(odds: Doubles, first: int, marked: Marked) -> Doubles:
    """The odds of rows from `first` on: below all others for those known to be normal, beyond all for the wrong."""
    for rows, value in ((marked.normal, -1.0), (marked.wrong, np.inf)):
        for row in rows:
            if 0 <= row - first < len(odds):
                odds[row - first] = value
    return odds


@dataclass
class _Kept:
    """The rows drawn so far: those with odds below a limit, which is lowered when they no longer fit."""

    schema: pa.Schema
    parts: list[pa.RecordBatch] = field(default_factory=list)
    dealt: list[tuple[str, Doubles, Doubles]] = field(default_factory=list)
    limit: float = 1.0
    size: int = 0

    def add(self, batch: pa.RecordBatch, partition: str, odds: Doubles, lots: Doubles) -> None:
        """Take the rows of a record batch whose odds are below the limit."""
        low = odds < self.limit
        if not low.all():
            batch, odds, lots = batch.filter(pa.array(low)), odds[low], lots[low]
        self.parts.append(batch)
        self.dealt.append((partition, odds, lots))
        self.size += batch.nbytes
        if self.size > SAMPLE_BYTES:
            self._make_room()

    def _make_room(self) -> None:
        whole = pa.Table.from_batches(self.parts, self.schema)
        if any(pa.types.is_dictionary(kind) for kind in self.schema.types):
            whole = whole.combine_chunks()  # each record batch brought its own copy of a dictionary
        while whole.nbytes > SAMPLE_BYTES * 3 // 4 and whole.num_rows > 1:
            self.limit /= 2
            lows = [odds < self.limit for _, odds, _ in self.dealt]
            whole = whole.filter(pa.array(np.concatenate(lows))).combine_chunks()
            self.dealt = [
                (name, odds[low], lots[low]) for (name, odds, lots), low in zip(self.dealt, lows, strict=True)
            ]
        self.parts, self.size = whole.to_batches(), whole.nbytes

    def sample(self, total: int, later: list[pa.Field]) -> Sample:
        """What was kept."""
        odds = np.concatenate([odds for _, odds, _ in self.dealt])
        vouched = odds < 0
        return Sample(
            pa.Table.from_batches(self.parts, self.schema),
            [name for name, odds, _ in self.dealt for _ in odds],
            odds,
            np.concatenate([lots for _, _, lots in self.dealt]),
            total,
            later,
            () if self.limit == 1 else (f"{SAMPLE_BYTES >> 20} MB of memory",),
            vouched if vouched.any() else None,
        )


@dataclass(frozen=True)
class _Unit:
    """What can be drawn by itself: a row group of a Parquet file, or (group None) a whole CSV file.

    `twin` counts the files of the same partition and name before this one: they lie in folders of their own. `first` is
    the place of its first row in the partition.
    """

    file: SourceFile
    twin: int
    group: int | None
    rows: int
    first: int

    def generator(self, seed: int) -> np.random.Generator:
        """What deals this unit's rows."""
        names = [zlib.crc32(name.encode(errors="surrogateescape")) for name in (self.file.partition, _name(self.file))]
        return np.random.default_rng([seed, 7, *names, self.twin, self.group or 0])


def _draw(units: list[_Unit], wanted: float, seed: int, needed: frozenset[int]) -> list[_Unit]:
    """Units of one partition in random order until they hold CHOICE times the wanted rows; in source order again.

    Those that hold a needed row are drawn as well.
    """
    order = np.argsort([unit.generator(seed).random() for unit in units], kind="stable")
    held = np.cumsum([units[index].rows for index in order])
    enough = int(np.searchsorted(held, CHOICE * wanted)) + 1
    drawn = set(order[:enough].tolist())
    return [
        unit
        for index, unit in enumerate(units)
        if index in drawn or any(unit.first <= row < unit.first + unit.rows for row in needed)
    ]


def history_schema(groups: dict[str, list[SourceFile]], format: str) -> tuple[pa.Schema, list[pa.Field]]:
    """The oldest file's columns, each in a type that holds all of history, and the columns that only later files have.

    Raises:
        DataError: a file cannot be read, lacks a column of the oldest one, or has it in quite another type.
    """
    found = [(file.uri, schema_of(file.uri, format)) for files in groups.values() for file in files]
    first: pa.Schema = found[0][1]
    later: dict[str, pa.Field] = {}
    for uri, schema in found:
        if lost := [name for name in first.names if schema.get_field_index(name) < 0]:
            raise DataError(
                f"column {lost[0]!r} is missing here but not in the oldest file of history",
                where=uri,
                mend="Bring it back, or train on partitions with one schema: see train.partitions",
            )
        later |= {new.name: new for new in schema if first.get_field_index(new.name) < 0}
    plain = [field.with_type(plain_type(field.type)) for field in unify(found)]
    return pa.schema(plain, metadata=first.metadata), list(later.values())


def _units(files: list[SourceFile], format: str, schema: pa.Schema) -> list[_Unit]:
    units: list[_Unit] = []
    names: Counter[str] = Counter()
    first = 0
    for file in files:
        twin = names[_name(file)]
        names[_name(file)] += 1
        for group, rows in _parts(file, format, schema):
            units.append(_Unit(file, twin, group, rows, first))
            first += rows
    return units


def _parts(file: SourceFile, format: str, schema: pa.Schema) -> list[tuple[int | None, int]]:
    """A file's row groups and their rows; (None, rows) for a whole CSV file."""
    if format == "csv":
        return [(None, sum(batch.num_rows for batch in read_file(file.uri, format, schema)))]
    with reading(file.uri), open_input(file.uri) as handle:
        meta = pq.ParquetFile(handle).metadata
        return [(group, meta.row_group(group).num_rows) for group in range(meta.num_row_groups)]


def _name(file: SourceFile) -> str:
    return file.uri.rpartition("/")[2]
