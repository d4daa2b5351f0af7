"""Init: look at a source, and write the pipeline YAML that fits it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from ae_plugin.config import OUTPUT_COLUMNS, PIPELINES_DIR, root_of
from ae_plugin.engines.local import Reader
from ae_plugin.errors import ConfigError, DataError, StoreError
from ae_plugin.places import check_apart, check_uri, fixed_part, has_scheme
from ae_plugin.sections import Format, Source, check_name
from ae_plugin.store.files import PICTURES, SUFFIXES, Folder, SourceFile, is_there, list_files, list_source, writing

LABELS = {"label", "is_anomaly", "anomaly", "is_fraud", "fraud", "target"}
_HEADER = "# Written by `ae init`. Every field and its default: docs/configuration.md\n"


def init(source: str, *, name: str | None = None, path: Path | None = None, force: bool = False) -> Path:
    """Write a pipeline YAML for a source.

    Hive keys come from the names of folders below the source; row keys are columns of unique integers or strings named
    like one; columns named like labels are excluded.

    Args:
        source: folder, file or glob.
        name: of the pipeline; made from the source's name when absent.
        path: of the YAML; `dags/pipelines/<name>.yaml` (or `./<name>.yaml`) when absent.
        force: overwrite.

    Raises:
        DataError: there is nothing to read.
        ConfigError: the YAML exists already.
        StoreError: the YAML cannot be written.
    """
    try:
        check_uri(source)
    except ValueError as error:
        raise ConfigError(str(error), where="SOURCE") from error
    base, found = list_files(source)
    every = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    if not any(name.lower().endswith(every) for name in found):
        what = "holds no Parquet, CSV or picture files" if is_there(source) else "does not exist"
        raise DataError(what, where=source, mend="Check the path")
    kind = _format_of(found)
    files = list_source(Source(uri=source, format=kind))
    keys, exclude = ([], []) if kind == "images" else _named(files, kind)
    try:
        slug = check_name(name if name is not None else _slug(source))
    except ValueError as error:
        raise ConfigError(str(error), where="--name") from error
    target = path or (PIPELINES_DIR if PIPELINES_DIR.is_dir() else Path()) / f"{slug}.yaml"
    here = root_of(target) == Path().absolute()
    uri = source if has_scheme(source) or here else os.path.abspath(source)
    output, hive = _output(source, slug), _hive(base, found, kind)
    text = _yaml(slug, uri, kind, hive, keys, exclude, output if here else os.path.abspath(output))
    _write(target, text, force)
    return target


def _output(source: str, slug: str) -> str:
    """A folder that lies apart from the source: below `out/`, or beside a source that holds even that."""
    for output in (f"out/{slug}", f"out/{slug}_scored"):
        with contextlib.suppress(ConfigError):
            check_apart(source, output, where="SOURCE")
            return output
    return f"{os.path.dirname(os.path.abspath(fixed_part(source)))}/{slug}_scored"


def _write(target: Path, text: str, force: bool) -> None:
    folder = Folder(str(target.parent.absolute()))
    fresh = folder.missing()
    try:
        with writing(str(target)):
            if target.exists() and not force:
                raise ConfigError("exists already", where=str(target), mend="Give --force, or another --name")
            folder.write(target.name, text.encode())
    except StoreError:
        folder.remove_empty(fresh)
        raise


def _format_of(found: Iterable[str]) -> Format:
    names = [name.lower() for name in found]
    if sum(name.endswith(PICTURES) for name in names) > len(names) / 2:
        return "images"
    csv = sum(name.endswith(SUFFIXES["csv"]) for name in names)
    return "csv" if csv > len(names) / 2 else "parquet"


def _hive(base: str, found: Iterable[str], kind: str) -> list[str]:
    """Keys of the folders below the source: those above it say the same of every row."""
    first = min(name for name in found if name.lower().endswith(SUFFIXES[kind]))
    return [part.split("=", 1)[0] for part in first[len(base) :].split("/")[:-1] if re.match(r"[A-Za-z_]\w*=", part)]


def _slug(source: str) -> str:
    parts = [p for p in re.split(r"[/\\]", source.split("://")[-1]) if p and not any(mark in p for mark in "*?[=")]
    words = re.sub(r"[^a-z0-9]+", "_", (parts[-1] if parts else "table").split(".")[0].lower()).strip("_")
    return (words if words and words[0].isalpha() else f"table_{words}")[:63].rstrip("_")


def _named(files: Sequence[SourceFile], kind: str) -> tuple[list[str], list[str]]:
    """Row keys and labels, by the first rows of the first file and of the last: a short one may hold an hour once."""
    ends = [files[:1], files[-1:]] if len(files) > 1 else [files]
    batches = [next(Reader(end, kind).batches(), None) for end in ends]
    found = [_keys(batch) for batch in batches if batch is not None]
    if not found:
        return [], []
    keys, exclude = found[0]
    return [key for key in keys if all(key in other for other, _ in found)], exclude


def _keys(batch: pa.RecordBatch) -> tuple[list[str], list[str]]:
    keys, exclude = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if field.name.lower() in LABELS:
            exclude.append(field.name)
            continue
        if field.name in OUTPUT_COLUMNS:
            continue
        plain = (
            pa.types.is_integer(field.type) or pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        )
        if not plain or column.null_count or len(column) < 2:
            continue
        unique = len(column.unique()) == len(column)
        running = pa.types.is_integer(field.type) and bool((np.diff(column.to_numpy()) == 1).all())
        named = re.search(r"(^|_)(id|key|uuid|uid|no|index)$", field.name.lower()) is not None
        if unique and (named or running):
            keys.append(field.name)
    return keys, exclude


def _yaml(slug: str, uri: str, format: str, hive: list[str], keys: list[str], exclude: list[str], output: str) -> str:
    source: dict[str, object] = {"uri": uri, "format": format}
    if hive:
        source["partition_by"] = hive[0] if len(hive) == 1 else hive
    if keys:
        source["keys"] = keys
    if exclude:
        source["exclude"] = exclude
    train: dict[str, object] = {"schedule": "0 3 * * 1", "contamination": "auto"}
    if hive:
        train["partitions"] = 28
    whole = {
        "name": slug,
        "source": source,
        "model": {"kind": "auto", "seed": 0},
        "train": train,
        "score": {"schedule": "asset", "alert_rate": 0.01, "on_unfamiliar": "quarantine", "denoise": "repair"},
        "promote": "auto",
        "output": output,
    }
    return _HEADER + yaml.safe_dump(whole, sort_keys=False)
