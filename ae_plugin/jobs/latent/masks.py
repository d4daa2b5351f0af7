"""Mask files: which cells of a table to fill, whatever they hold."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.values import Bools
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.inputs import open_file
from ae_plugin.jobs.pointed import as_key, key_texts
from ae_plugin.store.files import PICTURES, Folder, list_source, open_fs, partitions_of
from ae_plugin.store.partitions import partition_id
from ae_plugin.store.runs import latest

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


def partitions_in(path: str, pipeline: Pipeline) -> set[str] | None:
    """The partitions that a mask is about; None where that is not for it to say: it is one picture, or of pictures.

    Args:
        path: of the mask.
        pipeline: whose source it is of.

    Raises:
        ConfigError: it does not say, and the source has partitions; or it names one that is not there.
        DataError: it cannot be read, or the source cannot be listed.
    """
    by = pipeline.source.partition_by
    fs, place = open_fs(path)
    if not by or fs.isdir(place) or place.lower().endswith(PICTURES):
        return None
    reader = open_file(path, pa.schema([(name, pa.string()) for name in ("partition", *by)]), where="--mask")
    held = reader.schema.names
    if "partition" not in held and not all(name in held for name in by):
        what = "it does not say which partition"
        raise ConfigError(what, where=path, mend="Give --partition, or add a column `partition`")
    names = ["partition"] if "partition" in held else by
    # Of each batch these columns alone: the others may be pictures.
    table = pa.Table.from_batches([batch.select(names) for batch in reader.batches()])
    # What was scored once, and has gone since, is no mistake.
    there, found = [*latest(Folder(pipeline.output)), *partitions_of(list_source(pipeline.source))], set[str]()
    if "partition" in held:
        for line, name in enumerate(key_texts(table.column("partition"))):
            if not name:
                raise ConfigError(
                    f"line {line + 1} does not say which partition", where=path, mend="Give its partition"
                )
            found.add(_there(partition_id(name, by), there, path, line))
        return found
    columns = [key_texts(table.column(name)) for name in by]
    for line, values in enumerate(zip(*columns, strict=True)):
        own = next((name for name in there if same_values(values, name)), None)
        told = "/".join(f"{name}={value}" for name, value in zip(by, values, strict=True))
        found.add(_there(own or told, there, path, line))
    return found


def _there(partition: str, there: Sequence[str], path: str, line: int) -> str:
    if partition not in there:
        what = f"no partition {partition}, in line {line + 1}"
        raise ConfigError(what, where=path, mend=f"The newest is {there[-1]}" if there else "")
    return partition


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
    own = [piece.partition("=")[2] for piece in partition.split("/")]
    told = [value or "" for value in values]
    plain = [text.lstrip("0") if text.isdecimal() else text for text in (*own, *told)]
    return plain[: len(own)] == plain[len(own) :]


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
