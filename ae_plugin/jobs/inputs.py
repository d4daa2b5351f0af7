"""Which files a run reads, and which folder it writes to."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.engines.local import Reader
from ae_plugin.errors import ConfigError
from ae_plugin.places import check_apart, check_uri
from ae_plugin.sections import Format, Source
from ae_plugin.store.files import SUFFIXES, Folder, SourceFile, list_source, open_fs, partitions_of
from ae_plugin.store.partitions import partition_id

if TYPE_CHECKING:
    from ae_plugin.engines.pictures import PictureReader


def find_files(
    pipeline: Pipeline, partition: str | None, source: str | None, kind: Format
) -> tuple[str, list[SourceFile]]:
    """The partition to score and its files: of the pipeline's source, or of a source of one's own.

    Raises:
        ConfigError: there is no such partition, or it is not said which.
        DataError: the source cannot be listed.
    """
    if source is not None:
        try:
            check_uri(source)
        except ValueError as error:
            raise ConfigError(str(error), where="--input") from error
        keys = pipeline.source.partition_by
        where = partition_id(partition, keys) if partition is not None else ""
        return where, list_source(Source(uri=source, format=kind))
    groups = partitions_of(list_source(pipeline.source))
    if partition is None:
        if pipeline.source.partition_by:
            raise ConfigError("no partition given", where="--partition", mend=f"The newest is {list(groups)[-1]}")
        return "", groups[""]
    where = partition_id(partition, pipeline.source.partition_by)
    if where not in groups:
        raise ConfigError(
            f"no partition {where}", where=pipeline.source.uri, mend=f"The newest is {list(groups)[-1] or 'the whole'}"
        )
    return where, groups[where]


def find_target(pipeline: Pipeline, files: list[SourceFile], source: str | None, output: str | None) -> Folder:
    """The folder to write to, which lies apart from all that is read: the source, the input, and where links lead."""
    where = "output"
    if output is not None:
        where = "--output"
        try:
            check_uri(output)
        except ValueError as error:
            raise ConfigError(str(error), where=where) from error
    elif source is not None:
        output = f"{pipeline.output}/inputs/{_input_name(source)}"
    target = Folder(output if output is not None else pipeline.output)
    for read in {pipeline.source.uri, source or pipeline.source.uri, *(file.uri for file in files)}:
        check_apart(read, target.uri, where=where)
    return target


def _input_name(source: str) -> str:
    """A folder's name for an input of one's own: readable, and unlike that of `part-0.parquet` elsewhere."""
    fs, path = open_fs(source)
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", "/".join(path.strip("/").split("/")[-2:]))[-100:].strip("_.")
    return f"{plain}-{hashlib.sha256(str(fs.unstrip_protocol(path)).encode()).hexdigest()[:8]}"


def open_partition(source: Source, files: list[SourceFile]) -> Reader | PictureReader:
    """What reads a partition's files, whether they hold rows or pictures.

    Raises:
        DataError: a file cannot be read, or they do not fit together.
    """
    if source.format != "images":
        return Reader(files, source.format)
    # Only now: what reads pictures is slow to import.
    from ae_plugin.engines.pictures import PictureReader

    return PictureReader(files)


def open_file(path: str, schema: pa.Schema | None = None, *, where: str) -> Reader:
    """What reads one Parquet or CSV file of one's own.

    Args:
        path: or URI.
        schema: a CSV file's columns, where their types are known.
        where: what to name when it is no path.

    Raises:
        ConfigError: it is none.
        DataError: it cannot be read.
    """
    try:
        check_uri(path)
    except ValueError as error:
        raise ConfigError(str(error), where=where) from error
    kind: Format = "csv" if path.lower().endswith(SUFFIXES["csv"]) else "parquet"
    return Reader([SourceFile(path, "", 0, "", path)], kind, schema)
