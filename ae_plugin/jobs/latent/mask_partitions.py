"""Which partitions a mask is about: it is for those alone that others are completed anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.inputs import open_file
from ae_plugin.jobs.latent.masks import worth
from ae_plugin.jobs.pointed import key_texts
from ae_plugin.store.files import PICTURES, Folder, list_source, open_fs, partitions_of
from ae_plugin.store.partitions import partition_id
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import latest


def partitions_in(path: str, pipeline: Pipeline) -> set[str] | None:
    """The partitions that a mask is about; None: all that there are.

    Args:
        path: of the mask, a table, a picture, or a folder of pictures, maybe in folders called as the partitions.
        pipeline: whose source it is of.

    Raises:
        ConfigError: it does not say, and the source has partitions; or it names one that never was.
        DataError: it cannot be read, or the source cannot be listed.
    """
    by = pipeline.source.partition_by
    fs, place = open_fs(path)
    if not by or place.lower().endswith(PICTURES):
        return None
    there = _there(pipeline)
    if fs.isdir(place):
        return _below(fs, place, there)
    names = ["partition"] if "partition" in open_file(path, where="--mask").schema.names else by
    reader = open_file(path, pa.schema([(name, pa.string()) for name in names]), where="--mask")
    if not set(names) <= set(reader.schema.names):
        what = "it does not say which partition"
        raise ConfigError(what, where=path, mend="Give --partition, or add a column `partition`")
    lines: dict[tuple[str | None, ...], int] = {}
    first = 0
    for batch in reader.batches(names):
        for line, said in enumerate(zip(*(key_texts(batch.column(name)) for name in names), strict=True)):
            lines.setdefault(said, first + line)
        first += batch.num_rows
    if names == ["partition"] and pipeline.source.format == "images" and {(None,), ("",)} & lines.keys():
        return None  # such a line is about every partition
    return _resolved(lines, names, by, there, path)


def _resolved(
    lines: dict[tuple[str | None, ...], int], names: Sequence[str], by: list[str], there: Sequence[str], path: str
) -> set[str]:
    """Partitions by what lines say of them; ConfigError for the first that says nothing, or what never was."""
    known = {worth(piece.partition("=")[2] for piece in name.split("/")): name for name in there}
    found = set()
    for said, line in lines.items():
        if names == ["partition"]:
            if not said[0]:
                what = f"line {line + 1} does not say which partition"
                raise ConfigError(what, where=path, mend="Give its partition")
            told = partition_id(said[0], by)
        else:
            told = "/".join(f"{name}={value}" for name, value in zip(by, said, strict=True))
            told = known.get(worth(value or "" for value in said), told)
        if told not in there:
            mend = f"The newest is {there[-1]}" if there else ""
            raise ConfigError(f"no partition {told}, in line {line + 1}", where=path, mend=mend)
        found.add(told)
    return found


def _there(pipeline: Pipeline) -> list[str]:
    """All partitions that are, or were scored or trained on once: the newest of the source comes last."""
    registry = Registry(pipeline.output)
    learned: Iterable[str] = registry.read(registry.champion())[0].get("partitions", {})
    gone = dict.fromkeys([*learned, *latest(Folder(pipeline.output))])
    now = partitions_of(list_source(pipeline.source))
    return [*(name for name in gone if name not in now), *now]


def _below(fs: Any, place: str, there: Sequence[str]) -> set[str] | None:
    """Partitions that have a folder of their own; None where a picture lies in none of those."""
    root = place.rstrip("/")
    paths = [path[len(root) + 1 :] for path in fs.find(place) if path.lower().endswith(PICTURES)]
    own = {path: next((name for name in there if path.startswith(f"{name}/")), None) for path in paths}
    return None if None in own.values() else {name for name in own.values() if name is not None}
