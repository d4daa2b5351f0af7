"""Label-fit: a handful of labels trains a head on the champion's encoder; a new champion gets its own from the same.

_heads/labels.json           the labels that were given last
_heads/v0001.safetensors     the head for a version: arrays, its record, and the sha256 of both
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ae_plugin.config import Pipeline
from ae_plugin.core.head import Head, Space, fit_head
from ae_plugin.core.values import Floats
from ae_plugin.engines.threads import BLAS
from ae_plugin.errors import ConfigError, DataError, StoreError
from ae_plugin.jobs.latent.features import Seen, featured, history_features, joined
from ae_plugin.jobs.latent.labels import LABELS, Groups, check_classes, find_again, find_rows, labels_in, read_labels
from ae_plugin.jobs.latent.labels import name_of as name_of_labels
from ae_plugin.jobs.score import champion_of
from ae_plugin.latent_schemas import KeptLabels, LabelFitRecord
from ae_plugin.store.commit import HEADS, Commit, recover
from ae_plugin.store.files import Folder, list_source, partitions_of
from ae_plugin.store.staging import sweep
from ae_plugin.versions import Shapes, check_shapes

if TYPE_CHECKING:
    from ae_plugin.jobs.latent.features import Version

log = logging.getLogger(__name__)
HISTORY = 5_000
"""Rows without labels that a head is shown at most."""
_FORMAT = "ae head 1"
RELABEL = "Give the labels anew by `ae label-fit`"


@BLAS.single()
def label_fit(pipeline: Pipeline, labels: str, label: str | None = None) -> LabelFitRecord:
    """Keep the labels of a file instead of those that were kept before, and fit the champion's head to them.

    Args:
        pipeline: from `config.load`.
        labels: a Parquet or CSV file that names rows and says what they are.
        label: its column of labels; absent: `label`, or the only one that names no row.

    Raises:
        ConfigError: rows are not there, or it is not said which are meant.
        DataError: the file or the source cannot be read, or there are not two classes.
        NoChampionError: there is no encoder.
    """
    version, groups = champion_of(pipeline), partitions_of(list_source(pipeline.source))
    said = labels_in(labels, label, pipeline)
    check_classes([one.label for one in said], labels)
    kept = find_rows(pipeline, said, groups)
    if _known(Folder(pipeline.output), kept):
        return head_for(pipeline, version)[1]
    content = kept.model_dump_json(indent=1).encode()
    head, record = _fit(pipeline, version, groups, kept, name_of_labels(content), labels)
    _commit(Folder(pipeline.output), {LABELS: content, file_of(version.version): pack_head(head, record)})
    return record


def _known(folder: Folder, given: KeptLabels) -> bool:
    """Whether these very labels are kept already: what was classified by them is not due again."""
    try:
        kept, _ = read_labels(folder)
    except (ConfigError, StoreError):
        return False
    return kept.model_copy(update={"given_at": given.given_at}) == given


def head_for(pipeline: Pipeline, version: Version) -> tuple[Head, LabelFitRecord]:
    """The head of a version: as it is kept, or, for a new champion or newer labels, fitted to the labels kept.

    Raises:
        ConfigError: no labels were given.
        DataError: too few of the labelled rows are left.
        StoreError: the labels or the head were changed.
    """
    folder = Folder(pipeline.output)
    kept, name = read_labels(folder)
    try:
        head, record = unpack_head(folder.read(file_of(version.version)), file_of(version.version), folder.uri)
        if (record.labels, record.model) == (name, _model_of(version)):
            return head, record
    except FileNotFoundError:
        pass
    log.info("fitting %d kept labels to %s, which has no head for them yet", len(kept.labels), version.version)
    groups = partitions_of(list_source(pipeline.source))
    head, record = _fit(pipeline, version, groups, kept, name, f"{folder.uri}/{LABELS}")
    _commit(folder, {file_of(version.version): pack_head(head, record)})
    return head, record


def _commit(folder: Folder, files: dict[str, bytes]) -> None:
    recover(folder)
    sweep(folder)
    commit = Commit(folder, "head")
    try:
        for name, content in files.items():
            folder.write(commit.staged(name), content)
        commit.apply()
    except BaseException:
        commit.abandon()
        raise


def _fit(
    pipeline: Pipeline, version: Version, groups: Groups, kept: KeptLabels, name: str, where: str
) -> tuple[Head, LabelFitRecord]:
    clock = time.perf_counter()
    seen, said = _labelled(pipeline, version, groups, kept)
    lost = len(kept.labels) - len(said)
    if gone := sorted({one.label for one in kept.labels} - set(said)):
        what = f"no labelled row of class {gone[0]!r} is left that can be read"
        raise DataError(what, where=where, mend="Label others by `ae label-fit`")
    classes = check_classes(said, where)
    labels = np.searchsorted(classes, said).astype(np.int64)
    history, blocks = history_features(pipeline, version, groups, HISTORY)
    head, judged = fit_head(history, seen.features, labels, len(classes), blocks, version.card.seed)
    record = LabelFitRecord(
        pipeline=pipeline.name,
        model_version=version.version,
        labels=name,
        model=_model_of(version),
        classes=dict(zip(classes, np.bincount(labels).tolist(), strict=True)),
        lost=lost,
        history_rows=len(history),
        least_p=float(seen.p_values.min()),
        sure=(1 + 1 / len(classes)) / 2,
        counts=(float(head.counts[0]), float(head.counts[1])),
        held_out=judged,
        seconds=round(time.perf_counter() - clock, 3),
    )
    log.info(
        "a head for %s: %d classes, %d labels, among %d rows of history",
        version.version,
        len(classes),
        *seen_of(record),
    )
    return head, record


def _model_of(version: Version) -> str:
    """What tells a version's files from any others, though they be called the same."""
    files = json.dumps(sorted(version.card.files.items()))
    return hashlib.sha256(files.encode()).hexdigest()[:16]


def seen_of(record: LabelFitRecord) -> tuple[int, int]:
    """How many labelled rows a head saw, and how many others."""
    return sum(record.classes.values()), record.history_rows


def _labelled(pipeline: Pipeline, version: Version, groups: Groups, kept: KeptLabels) -> tuple[Seen, list[str]]:
    """The labelled rows that are there and can be read, and their labels."""
    parts, said = [], list[str]()
    for partition, (rows, labels) in find_again(pipeline, kept, groups).items():
        seen = featured(version, partition, groups[partition], pipeline.source.format).at(rows)
        if len(seen.known) != len(labels):
            where = f"{pipeline.output}/{LABELS}"
            raise StoreError(f"names rows that {partition or 'the source'} does not have", where=where, mend=RELABEL)
        parts.append(seen.readable())
        said += [label for label, known in zip(labels, seen.known, strict=True) if known]
    return joined(parts, 0), said


def file_of(version: str) -> str:
    """Where the head of a version is, relative to the output."""
    return f"{HEADS}/{version}.safetensors"


def pack_head(head: Head, record: LabelFitRecord) -> bytes:
    """A head and its record as one file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in _arrays(head).items()}
    card = record.model_dump_json()
    return save_arrays(arrays, {"format": _FORMAT, "record": card, "sha256": _digest(card, arrays)})


def _arrays(head: Head) -> dict[str, Floats]:
    parts = {name: getattr(head, name) for name in ("points", "opinion", "weights", "counts", "prior")}
    return {"space.mean": head.space.mean, "space.basis": head.space.basis, **parts}


def _digest(card: str, arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256(card.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def unpack_head(content: bytes, name: str, where: str) -> tuple[Head, LabelFitRecord]:
    """A head from its file.

    Raises:
        StoreError: it was changed since it was fitted, or is none that this release can read.
    """
    try:
        arrays = load_arrays(content)
        size = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + size])["__metadata__"]
        if about["format"] != _FORMAT or about["sha256"] != _digest(about["record"], arrays):
            raise ValueError("sha256 differs")
        record = LabelFitRecord.model_validate_json(about["record"])
        (points, axes), classes = arrays["points"].shape, len(record.classes)
        wanted: Shapes = {"points": (points, axes), "opinion": (points, classes), "weights": (axes + 1, classes)}
        wanted |= {"counts": (2,), "prior": (classes,), "space.mean": (None,)}
        wanted["space.basis"] = (arrays["space.mean"].size, axes)
        check_shapes(arrays, wanted)
    except (SafetensorError, ValidationError, KeyError, ValueError, TypeError) as error:
        what, mend = "was changed since it was fitted (sha256 differs)", "Remove it: it is fitted anew"
        raise StoreError(what, where=f"{where}/{name}", mend=mend) from error
    space = Space(arrays["space.mean"], arrays["space.basis"])
    return Head(space, *(arrays[part] for part in ("points", "opinion", "weights", "counts", "prior"))), record
