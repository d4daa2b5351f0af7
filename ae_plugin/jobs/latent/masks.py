"""Mask files: which cells of a table to fill, whatever they hold."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.values import Bools
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.inputs import open_file
from ae_plugin.jobs.pointed import as_key, key_texts
from ae_plugin.store.files import open_fs
from ae_plugin.store.partitions import partition_id

Keys = tuple[str | None, ...]
ONE_OF_TWO = "Leave the row or its keys out"


@dataclass
class CellMask:
    """The cells that a mask file names in one partition.

    Attributes:
        where: the file.
        rows: row -> its columns' places.
        keys: keys as text -> the columns' places of the rows that have them.
        names: the key columns.
        both: row -> its keys, where a line gives both.
        met: keys that were met.
    """

    where: str
    names: list[str]
    rows: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[Keys, list[int]] = field(default_factory=lambda: defaultdict(list))
    both: dict[int, Keys] = field(default_factory=dict)
    met: set[Keys] = field(default_factory=set)

    def of(self, batch: pa.RecordBatch, first: int, columns: int) -> Bools:
        """Which cells of a record batch are asked for, bool [n, columns]; its rows count from `first`."""
        out = np.zeros((batch.num_rows, columns), bool)
        for row in range(first, first + batch.num_rows) if len(self.rows) > batch.num_rows else list(self.rows):
            if row in self.rows and first <= row < first + batch.num_rows:
                out[row - first, self.rows[row]] = True
        if self.keys or self.both:
            kinds = [batch.schema.field(name).type for name in self.names]
            named = {self._typed(keys, kinds): columns for keys, columns in self.keys.items()}
            both = {row: self._typed(keys, kinds) for row, keys in self.both.items()}
            texts = zip(*(key_texts(batch.column(name)) for name in self.names), strict=True)
            for row, keys in enumerate(texts):
                if both.get(first + row, keys) != keys:
                    raise ConfigError(f"row {first + row} has other keys", where=self.where, mend=ONE_OF_TWO)
                if keys in named:
                    if keys in self.met:
                        told = self._told(keys)
                        raise ConfigError(f"several rows have {told}", where=self.where, mend="Give their rows")
                    out[row, named[keys]] = True
                    self.met.add(keys)
            self.keys = defaultdict(list, named)
        return out

    @staticmethod
    def _typed(keys: Keys, kinds: Sequence[pa.DataType]) -> Keys:
        """Keys as the source's columns would write them."""
        return tuple(as_key(key, kind) for key, kind in zip(keys, kinds, strict=True))

    def _told(self, keys: Keys) -> str:
        return ", ".join(f"{name} {value}" for name, value in zip(self.names, keys, strict=True))

    def check(self, rows: int, partition: str) -> None:
        """See that all that it names is there, when all rows of the partition went by.

        Raises:
            ConfigError: it is not.
        """
        where = partition or "the source"
        beyond = [row for row in self.rows if not 0 <= row < rows]
        if beyond:
            raise ConfigError(f"no row {beyond[0]} in {where}", where=self.where, mend=f"It holds {rows} rows, from 0")
        lost = [keys for keys in self.keys if keys not in self.met]
        if lost:
            raise ConfigError(f"no row of {where} has {self._told(lost[0])}", where=self.where, mend="Check the keys")


def digest_of(mask: str | None) -> str | None:
    """The sha256 of a mask file; of a folder, of its files' names, sizes and change times."""
    if mask is None:
        return None
    fs, path = open_fs(mask)
    found = hashlib.sha256()
    try:
        if fs.isdir(path):
            for name, about in sorted(fs.find(path, detail=True).items()):
                changed = about.get("mtime", about.get("LastModified", about.get("updated", "")))
                found.update(f"{name}\n{about.get('size')}\n{changed}\n".encode())
        else:
            found.update(fs.cat_file(path))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot be read ({reason})", where=mask, mend="Check the path of --mask") from error
    return found.hexdigest()


def read_mask(path: str, pipeline: Pipeline, partition: str, names: Sequence[str], keys: Sequence[str]) -> CellMask:
    """Read a mask file: `column`, and `row` or the keys; with `partition`, or the source's own partition columns.

    Args:
        path: a Parquet or CSV file.
        pipeline: from `config.load`.
        partition: hive path of the one that is completed.
        names: the learned columns, in order.
        keys: of the source.

    Raises:
        ConfigError: it does not say which cells, or names a column that is not learned.
        DataError: it cannot be read.
    """
    by = pipeline.source.partition_by
    texts = pa.schema([(name, pa.string()) for name in ("partition", "column", "row", *keys, *by)])
    reader = open_file(path, texts, where="--mask")
    held = reader.schema.names
    if "column" not in held:
        raise ConfigError("no column 'column', which names the cells", where=path, mend="Add it")
    by_row, by_keys = "row" in held, bool(keys) and all(key in held for key in keys)
    if not by_row and not by_keys:
        wanted = f"row, or {', '.join(keys)}" if keys else "row"
        raise ConfigError("it does not say which rows", where=path, mend=f"Wanted: {wanted}")
    table = pa.Table.from_batches(reader.batches(), reader.schema)
    columns = {name: key_texts(table.column(name)) for name in held if name in texts.names}
    mask, place = CellMask(path, list(keys)), {name: index for index, name in enumerate(names)}
    for index, column in enumerate(columns["column"]):
        if _elsewhere(columns, index, by, partition, path):
            continue
        if column not in place:
            what = f"column {column!r}, in line {index + 1}, is none that the model learned"
            raise ConfigError(what, where=path, mend="`ae models` and the training report say which are")
        row = columns["row"][index] if by_row else None
        if row not in (None, ""):
            number = _whole(row, path, index)
            mask.rows[number].append(place[column])
            if by_keys and all(columns[key][index] for key in keys):
                mask.both[number] = tuple(columns[key][index] for key in keys)
        elif by_keys:
            mask.keys[tuple(columns[key][index] for key in keys)].append(place[column])
        else:
            raise ConfigError(f"line {index + 1} does not say which row", where=path, mend="Give its row")
    return mask


def same_values(values: Sequence[str | None], partition: str) -> bool:
    """Whether partition columns hold a partition's values, numbers by what they are worth: 1 is `month=01`."""
    own = worth(piece.partition("=")[2] for piece in partition.split("/"))
    return own == worth(value or "" for value in values)


def worth(values: Iterable[str]) -> tuple[str, ...]:
    """Values of partition columns as they compare: 1 and 01 are the same."""
    return tuple(text.lstrip("0") if text.isdecimal() else text for text in values)


def _whole(text: str | None, path: str, index: int) -> int:
    try:
        return int((text or "").removesuffix(".0"))
    except ValueError as error:
        raise ConfigError(f"row {text!r}, in line {index + 1}, is no whole number", where=path) from error


def _elsewhere(columns: dict[str, list[str | None]], index: int, by: Sequence[str], partition: str, path: str) -> bool:
    """Whether a line of the file is about another partition."""
    said = columns["partition"][index] if "partition" in columns else None
    if said not in (None, ""):
        return partition_id(str(said), list(by)) != partition
    if by and "partition" in columns:
        raise ConfigError(f"line {index + 1} does not say which partition", where=path, mend="Give its partition")
    if by and all(name in columns for name in by):
        return not same_values([columns[name][index] for name in by], partition)
    return False
