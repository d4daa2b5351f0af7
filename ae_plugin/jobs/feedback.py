"""Feedback: what people say of rows is kept, and honoured by the next training.

A verdict names a row by its partition and its place in it. Where the source has keys they are kept beside it, and the
row is found again when its partition was rewritten in another order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, cast, get_args

import pyarrow as pa
from pydantic import ValidationError

from ae_plugin.config import Pipeline
from ae_plugin.engines.sample import Marked
from ae_plugin.errors import ConfigError, DataError, StoreError
from ae_plugin.jobs.inputs import open_file, open_partition
from ae_plugin.jobs.people import check_words, this_user
from ae_plugin.jobs.pointed import (
    Found,
    check_key,
    key_fields,
    key_texts,
    keys_named,
    look_up,
    place_of,
    rows_of,
    values_of,
)
from ae_plugin.schemas import FeedbackMark, FeedbackRecord, FeedbackUse, RowVerdict, feedback_schema
from ae_plugin.store import feedback as store
from ae_plugin.store.files import Folder, SourceFile, fingerprint, list_source, partitions_of
from ae_plugin.store.partitions import partition_id

VERDICTS = get_args(RowVerdict)


@dataclass(frozen=True)
class Said:
    """One verdict as somebody gave it: on a row by its place, by its keys, or by both.

    Attributes:
        verdict: `false_alarm` or `confirmed`.
        partition: its value or hive path; absent for a source without partitions.
        row: place in the partition, from 0.
        keys: key column -> value, as text.
        column: the cell that it is about; None: the whole row.
        note: why.
        when: None: now.
        who: None: the user that runs this.
        origin: what to name when something is wrong with it.
    """

    verdict: str
    partition: str | None = None
    row: int | None = None
    keys: Mapping[str, str | None] = field(default_factory=dict)
    column: str | None = None
    note: str | None = None
    when: datetime | None = None
    who: str | None = None
    origin: str = "ae feedback"


def feedback(pipeline: Pipeline, said: Sequence[Said], *, seen: str | None = None) -> FeedbackRecord:
    """Keep verdicts on rows, all of them in one file or none; the next training honours them.

    Args:
        pipeline: from `config.load`.
        said: the verdicts.
        seen: `input_fingerprint` of the run whose rows were looked at; None: the rows are those of the source as it is.

    Raises:
        ConfigError: a partition, row, column or verdict is not there, or keys do not tell one row from another.
        DataError: the source's files are not those that were looked at any more.
        UserError: the source cannot be read, or the output not written.
    """
    taken = set(feedback_schema([]).names) & set(pipeline.source.keys)
    if taken:
        raise ConfigError(f"key {min(taken)!r} is named like a column of feedback/", where="source.keys")
    groups = partitions_of(list_source(pipeline.source))
    by_partition: dict[str, list[Said]] = defaultdict(list)
    for one in said:
        by_partition[_partition(pipeline, one, groups)].append(one)
    now = datetime.now(timezone.utc)
    tables, marks = [], []
    for partition, own in by_partition.items():
        if seen is not None and fingerprint(groups[partition]) != seen:
            what, mend = "changed since its rows were looked at", "Look at them again once it is scored anew"
            raise DataError(what, where=partition or "the source", mend=mend)
        reader = open_partition(pipeline.source, groups[partition])
        for key in pipeline.source.keys:
            check_key(key, reader.schema)
        keys = key_fields(pipeline, reader.schema)
        found = look_up(reader, keys, rows_of(own), keys_named(own, keys))
        for one in own:
            mark = _mark(one, keys, partition, found, reader.schema, now)
            marks.append(mark)
            tables.append(_table(mark, found.kept[mark.row], feedback_schema(keys)))
    folder = Folder(pipeline.output)
    folder.makedirs()
    name = store.append(folder, pa.concat_tables(tables, promote_options="permissive"), now) if tables else None
    return FeedbackRecord(pipeline=pipeline.name, path=name and f"{folder.uri}/{name}", marks=marks)


def standing(pipeline: Pipeline) -> FeedbackRecord:
    """The last word on each row, oldest first.

    Raises:
        StoreError: a file of feedback cannot be read.
    """
    last: dict[tuple[Any, ...], FeedbackMark] = {}
    for mark in sorted(_stored(pipeline), key=lambda mark: mark.when):
        # The keys are the row's name; its place is one when there are none, and tells twins apart.
        name = (mark.partition, *sorted(mark.keys.items()), mark.row)
        last.pop(name, None)
        last[name] = mark
    return FeedbackRecord(pipeline=pipeline.name, path=None, marks=list(last.values()))


def _stored(pipeline: Pipeline) -> Iterable[FeedbackMark]:
    own = feedback_schema([]).names
    for where, table in store.read(Folder(pipeline.output)):
        try:
            keys = {name: key_texts(table.column(name)) for name in table.column_names if name not in own}
            for index, row in enumerate(table.select(own).to_pylist()):
                yield FeedbackMark(**row, keys={name: texts[index] for name, texts in keys.items()})
        except ValidationError as error:
            wrong = error.errors()[0]
            what = f"row {index}, {wrong['loc'][0]}: {wrong['msg']}"
            raise StoreError(f"is not a file of feedback ({what})", where=where, mend="Remove it") from error
        except KeyError as error:  # a column that is not there, or there twice
            raise StoreError(f"is not a file of feedback ({error.args[0]})", where=where, mend="Remove it") from error


@dataclass(frozen=True)
class Honoured:
    """Verdicts as training uses them: which rows of which partition, and how many there were."""

    marks: dict[str, Marked]
    use: FeedbackUse


def honoured(pipeline: Pipeline, groups: Mapping[str, list[SourceFile]]) -> Honoured:
    """Find the rows that people judged in the partitions to train on.

    Args:
        pipeline: from `config.load`.
        groups: the partitions to train on, and their files.
    """
    by_partition: dict[str, list[FeedbackMark]] = defaultdict(list)
    marked = standing(pipeline).marks
    for mark in marked:
        if mark.partition in groups:
            by_partition[mark.partition].append(mark)
    marks, lost = {}, 0
    for partition, own in by_partition.items():
        reader = open_partition(pipeline.source, groups[partition])
        fields = key_fields(pipeline, reader.schema)
        found = look_up(reader, fields, {mark.row for mark in own}, {values_of(mark.keys, fields) for mark in own})
        last: dict[int, str] = {}
        for mark in own:
            row = found.row_of(mark.row, values_of(mark.keys, fields) if mark.keys else None)
            if row is None:
                lost += 1
            else:
                last[row] = mark.verdict
        marks[partition] = Marked(*(frozenset(r for r, v in last.items() if v == verdict) for verdict in VERDICTS))
    confirmed = sum(len(marked.wrong) for marked in marks.values())
    false_alarms = sum(len(marked.normal) for marked in marks.values())
    elsewhere = len(marked) - sum(map(len, by_partition.values()))
    use = FeedbackUse(confirmed=confirmed, false_alarms=false_alarms, not_found=lost, elsewhere=elsewhere)
    return Honoured(marks, use)


def _partition(pipeline: Pipeline, one: Said, groups: Mapping[str, object]) -> str:
    keys = pipeline.source.partition_by
    if one.verdict not in VERDICTS:
        what = f"verdict {one.verdict!r} is none" if one.verdict else "no verdict given"
        raise ConfigError(what, where=one.origin, mend=f"Say {' or '.join(VERDICTS)}")
    if one.partition is None and keys:
        raise ConfigError("no partition given", where=one.origin, mend=f"The newest is {list(groups)[-1]}")
    partition = partition_id(one.partition or "", keys)
    if partition not in groups:
        raise ConfigError(f"no partition {partition}", where=one.origin, mend=f"The newest is {list(groups)[-1]}")
    return partition


def _mark(
    one: Said, fields: Sequence[pa.Field], partition: str, found: Found, schema: pa.Schema, now: datetime
) -> FeedbackMark:
    check_words(one.note, one.who, where=one.origin)
    if one.column is not None and one.column not in schema.names:
        raise ConfigError(f"no column {one.column!r} in the source", where=one.origin, mend="Check the spelling")
    row = place_of(one, fields, partition or "the source", found)
    return FeedbackMark(
        partition=partition,
        row=row,
        keys=dict(zip((key.name for key in fields), found.keys[row], strict=True)),
        verdict=cast("RowVerdict", one.verdict),
        column=one.column,
        note=one.note,
        when=one.when or now,
        who=one.who or this_user(),
    )


def _table(mark: FeedbackMark, keys: pa.Table, schema: pa.Schema) -> pa.Table:
    own = feedback_schema([])
    columns = [pa.array([getattr(mark, name)], own.field(name).type) for name in own.names]
    return pa.Table.from_arrays([*(column.combine_chunks() for column in keys.columns), *columns], schema=schema)


def keys_of(texts: Sequence[str]) -> dict[str, str | None]:
    """Keys from `NAME=VALUE` texts.

    Raises:
        ConfigError: one is not of that form, or there twice.
    """
    keys: dict[str, str | None] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r} is not NAME=VALUE", where="--key")
        if name in keys:
            raise ConfigError(f"{name!r} is there twice", where="--key", mend="Name one row at a time")
        keys[name] = value
    return keys


def said_in(path: str, keys: Sequence[str]) -> list[Said]:
    """Read verdicts from a Parquet or CSV file with the columns of `feedback/`; all but the verdict may be missing.

    Raises:
        DataError: it cannot be read.
        ConfigError: it holds a column that is none of feedback's.
    """
    texts = _texts_in(path, keys)
    said = []
    for index, row in enumerate(zip(*texts.values(), strict=True)):
        values = {name: value for name, value in zip(texts, row, strict=True) if value not in (None, "")}
        origin = f"{path}, row {index}"
        own_keys = {name: values.pop(name, None) for name in keys if name in texts}
        try:
            place, when = values.pop("row", None), values.pop("when", None)
            at = None if when is None else datetime.fromisoformat(when.replace("Z", "+00:00"))
            number = None if place is None else int(place.removesuffix(".0"))
        except ValueError as error:
            raise ConfigError(str(error), where=origin) from error
        named = own_keys if any(key is not None for key in own_keys.values()) else {}
        said.append(Said(**{"verdict": "", **values}, row=number, keys=named, when=at, origin=origin))
    return said


def _texts_in(path: str, keys: Sequence[str]) -> dict[str, list[str | None]]:
    """The columns of a file of verdicts, as texts."""
    names = [*feedback_schema([]).names, *keys]
    # Of a CSV file each letter counts: the key 007 is no number.
    reader = open_file(path, pa.schema([(name, pa.string()) for name in names]), where="--from")
    for name in reader.schema.names:
        if name not in names:
            known = ", ".join(feedback_schema([]).names)
            raise ConfigError(f"{name!r} is no column of feedback", where=path, mend=f"Known: {known}, keys")
    if "verdict" not in reader.schema.names:
        raise DataError("column 'verdict' is missing", where=path)
    table = pa.Table.from_batches(reader.batches(), reader.schema)
    return {name: key_texts(table.column(name)) for name in table.column_names}
