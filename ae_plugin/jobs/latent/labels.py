"""Labels: what a file says of rows, which rows those are, and what is kept of it for the next champion's head."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from ae_plugin.config import Pipeline
from ae_plugin.core.values import Longs
from ae_plugin.errors import ConfigError, DataError, StoreError
from ae_plugin.jobs.inputs import open_file, open_partition
from ae_plugin.jobs.pointed import Found, check_key, key_fields, key_texts, keys_named, look_up, place_of, values_of
from ae_plugin.latent_schemas import KeptLabel, KeptLabels
from ae_plugin.store.commit import HEADS
from ae_plugin.store.files import Folder, SourceFile, fingerprint
from ae_plugin.store.partitions import partition_id

LABELS = f"{HEADS}/labels.json"
MOST = 1_000
"""Classes that are told apart at most."""
Groups = dict[str, list[SourceFile]]


@dataclass(frozen=True)
class Labelled:
    """A row that a file labels; see `jobs.pointed.Pointed`."""

    label: str
    partition: str | None = None
    row: int | None = None
    keys: Mapping[str, str | None] = field(default_factory=dict)
    origin: str = "--labels"


def labels_in(path: str, label: str | None, pipeline: Pipeline) -> list[Labelled]:
    """Read a Parquet or CSV file that names rows and says what they are; rows without a label are passed over.

    Args:
        path: or URI.
        label: its column of labels; absent: `label`, or the only one that names no row.
        pipeline: whose rows they are.

    Raises:
        ConfigError: there is no such column, or it is not said which rows are meant.
        DataError: the file cannot be read.
    """
    by, keys = pipeline.source.partition_by, pipeline.source.row_keys
    names = ["partition", "row", *by, *keys]
    # Of a CSV file each letter counts: the key 007 is no number.
    reader = open_file(path, pa.schema([(name, pa.string()) for name in names]), where="--labels")
    _check_rows(reader.schema, keys, path)
    column = _column_of(label, reader.schema, names, path)
    table = pa.Table.from_batches(reader.batches(), reader.schema)
    texts = {name: key_texts(table.column(name)) for name in names if name in table.column_names}
    found = []
    for index, said in enumerate(_label_texts(table.column(column))):
        if said in (None, ""):
            continue
        own = {name: column[index] for name, column in texts.items()}
        origin = f"{path}, row {index}"
        place = own.get("row") or None
        if place is not None and not place.removesuffix(".0").isdecimal():
            raise ConfigError(f"row {place!r} is no whole number from 0", where=origin)
        row = None if place is None else int(place.removesuffix(".0"))
        named = {name: own[name] for name in keys if own.get(name) is not None}
        found.append(Labelled(str(said), _partition_in(own, by), row, named, origin))
    return found


def _check_rows(schema: pa.Schema, keys: Sequence[str], path: str) -> None:
    """See that a file says which rows it is about."""
    if "row" not in schema.names and not any(key in schema.names for key in keys):
        wanted = f"row, or {', '.join(keys)}" if keys else "row"
        what = f"it does not say which rows (its columns are {', '.join(schema.names)})"
        raise ConfigError(what, where=path, mend=f"Wanted: {wanted}")


def _column_of(label: str | None, schema: pa.Schema, names: Sequence[str], path: str) -> str:
    """The column of labels."""
    others = [name for name in schema.names if name not in names]
    if label is None and ("label" in others or len(others) == 1):
        return "label" if "label" in others else others[0]
    if label is None:
        told = f"its columns are {', '.join(schema.names)}"
        raise ConfigError(f"it is not said which column holds the labels ({told})", where=path, mend="Give --label")
    if label not in schema.names:
        raise ConfigError(f"no column {label!r} in {path}", where="--label", mend=f"It has {', '.join(schema.names)}")
    return label


def _label_texts(column: pa.ChunkedArray) -> list[str | None]:
    """Labels as text; of whole numbers that pandas made floats of without their point."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if pc.all(pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))).as_py():
            column = column.cast(pa.int64())
    return key_texts(column)


def _partition_in(own: Mapping[str, str | None], by: Sequence[str]) -> str | None:
    if own.get("partition"):
        return own["partition"]
    parts = [own.get(name) for name in by]
    return "/".join(f"{name}={part}" for name, part in zip(by, parts, strict=True)) if by and all(parts) else None


def find_rows(pipeline: Pipeline, said: Sequence[Labelled], groups: Groups) -> KeptLabels:
    """Find the rows that are labelled.

    Args:
        pipeline: from `config.load`.
        said: labelled rows; those that name no partition are looked for in all.
        groups: the source's partitions.

    Raises:
        ConfigError: a row is not there, keys do not tell one row from another, or one has two labels.
    """
    looked = _look(pipeline, said, groups)
    rows: dict[tuple[str, int], KeptLabel] = {}
    for one in said:
        partition, place, keys = _resolve(pipeline, one, groups, looked)
        kept = rows.setdefault(
            (partition, place), KeptLabel(partition=partition, row=place, keys=keys, label=one.label)
        )
        if kept.label != one.label:
            what = f"row {place} of {partition or 'the source'} is both {kept.label!r} and {one.label!r}"
            raise ConfigError(what, where=one.origin, mend="Leave one of the two out")
    return KeptLabels(
        pipeline=pipeline.name,
        given_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        fingerprints={name: fingerprint(groups[name]) for name in sorted({place for place, _ in rows})},
        labels=[rows[place] for place in sorted(rows)],
    )


class _Looked(NamedTuple):
    fields: list[pa.Field]
    found: Found


def _look(pipeline: Pipeline, said: Sequence[Labelled], groups: Groups) -> dict[str, _Looked]:
    """What partitions hold of the rows that are labelled: those that are named, or all if one is not said."""
    named = {_partition(pipeline, one, groups) for one in said}
    looked = {}
    for partition in groups if None in named else sorted(name for name in named if name is not None):
        own = [one for one in said if _partition(pipeline, one, groups) in (partition, None)]
        reader = open_partition(pipeline.source, groups[partition])
        for key in pipeline.source.keys:
            check_key(key, reader.schema)
        fields = key_fields(pipeline, reader.schema)
        rows = {one.row for one in own if one.row is not None}
        looked[partition] = _Looked(fields, look_up(reader, fields, rows, keys_named(own, fields)))
    return looked


def _partition(pipeline: Pipeline, one: Labelled, groups: Groups) -> str | None:
    """The partition that is meant; None: it is not said."""
    keys = pipeline.source.partition_by
    if one.partition is None and keys:
        if not one.keys:
            mend = "Add a column `partition` or the row keys"
            raise ConfigError("neither the partition nor keys are given", where=one.origin, mend=mend)
        return None
    partition = partition_id(one.partition or "", keys)
    if partition not in groups:
        raise ConfigError(f"no partition {partition}", where=one.origin, mend=f"The newest is {list(groups)[-1]}")
    return partition


def _resolve(
    pipeline: Pipeline, one: Labelled, groups: Groups, looked: Mapping[str, _Looked]
) -> tuple[str, int, dict[str, str | None]]:
    """A row's partition, place and keys."""
    partition = _partition(pipeline, one, groups)
    if partition is None:
        have = [name for name, (fields, found) in looked.items() if found.places.get(values_of(one.keys, fields))]
        if len(have) != 1:
            what, mend = ("several partitions", "Add a column `partition`") if have else ("no row", "Check the keys")
            named = ", ".join(f"{name}={value}" for name, value in one.keys.items())
            raise ConfigError(f"{what} with {named}", where=one.origin, mend=mend)
        partition = have[0]
    fields, found = looked[partition]
    place = place_of(one, fields, partition or "the source", found)
    return partition, place, dict(zip((key.name for key in fields), found.keys[place], strict=True))


def find_again(pipeline: Pipeline, kept: KeptLabels, groups: Groups) -> dict[str, tuple[Longs, list[str]]]:
    """Where kept labels' rows are today: partition -> its rows, increasing, and their labels; what is gone is left out.

    Rows without keys are found in partitions whose files are as they were.
    """
    out = {}
    for partition in sorted({one.partition for one in kept.labels} & groups.keys()):
        own = [one for one in kept.labels if one.partition == partition]
        if fingerprint(groups[partition]) == kept.fingerprints.get(partition):
            places = {one.row: one.label for one in own}
        else:
            reader = open_partition(pipeline.source, groups[partition])
            fields = key_fields(pipeline, reader.schema)
            wanted = [(one, values_of(one.keys, fields)) for one in own if one.keys]
            found = look_up(reader, fields, {one.row for one, _ in wanted}, {keys for _, keys in wanted if keys})
            now = [(found.row_of(one.row, keys) if keys else None, one.label) for one, keys in wanted]
            places = {row: label for row, label in now if row is not None}
        rows = np.array(sorted(places), np.int64)
        if len(rows):
            out[partition] = rows, [places[row] for row in rows.tolist()]
    return out


def read_labels(folder: Folder) -> tuple[KeptLabels, str]:
    """The labels that were given last, and what names them: the first 16 digits of their file's sha256.

    Raises:
        ConfigError: none were given.
        StoreError: they cannot be read.
    """
    try:
        content = folder.read(LABELS)
        return KeptLabels.model_validate_json(content), name_of(content)
    except FileNotFoundError:
        mend = "Give some by `ae label-fit` first"
        raise ConfigError("no rows are labelled yet", where=folder.uri, mend=mend) from None
    except ValidationError as error:
        where = f"{folder.uri}/{LABELS}"
        raise StoreError("is no file of labels", where=where, mend="Give them anew by `ae label-fit`") from error


def name_of(content: bytes) -> str:
    """What names labels: the first 16 digits of their file's sha256."""
    return hashlib.sha256(content).hexdigest()[:16]


def check_classes(labels: Sequence[str], where: str) -> list[str]:
    """The classes, in order.

    Raises:
        DataError: there are fewer than two, or too many.
    """
    classes = sorted(set(labels))
    if len(classes) < 2:
        said = f"all labels are {classes[0]!r}" if classes else "it labels no row"
        raise DataError(f"{said}; two classes at least are wanted", where=where, mend="Label rows of another one")
    if len(classes) > MOST:
        what = f"{len(classes)} classes, more than {MOST}"
        raise DataError(what, where=where, mend="Is it the right column? See --label")
    return classes
