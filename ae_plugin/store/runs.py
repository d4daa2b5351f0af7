"""What was scored when.

_runs/<run_id>.json                each run
_runs/_latest/<partition>.json     the newest run of each partition
_runs/_profiles/<partition>.json   what the partition looked like then
_runs/_embeddings/<partition>.json the newest embeddings of each partition
_runs/_completed/<partition>.json  how each partition was completed last
_runs/_generated/<name>.json       each file of generated rows
_runs/_classes/<partition>.json    the newest classes of each partition
_runs/_traversal/newest.json       the newest traversal
"""

from __future__ import annotations

import re
import zlib
from contextlib import suppress

from pydantic import ValidationError

from ae_plugin.schemas import Profile, RunRecord
from ae_plugin.store.files import Folder
from ae_plugin.store.partitions import in_order

TRAVERSAL = "_runs/_traversal/newest.json"
RUNS, LATEST, PROFILES, EMBEDDINGS = "_runs", "_runs/_latest", "_runs/_profiles", "_runs/_embeddings"
COMPLETED, GENERATED, CLASSES = "_runs/_completed", "_runs/_generated", "_runs/_classes"


def slug_of(partition: str) -> str:
    """A file name for a partition: readable, and unlike any other's."""
    if not partition:
        return "whole"
    plain = re.sub(r"[^A-Za-z0-9=.-]+", "_", partition)[:100]
    raw = partition.encode("utf-8", "surrogateescape")  # a folder's name may be bytes that are no text
    return plain if plain == partition else f"{plain}-{zlib.crc32(raw):08x}"


def read_latest(folder: Folder, partition: str) -> RunRecord | None:
    """A partition's newest run; None when it has none, or one of another version of this package."""
    try:
        return RunRecord.model_validate_json(folder.read(f"{LATEST}/{slug_of(partition)}.json"))
    except (ValidationError, FileNotFoundError):
        return None


def read_profile(folder: Folder, record: RunRecord) -> Profile | None:
    """What the partition looked like in a run; None when that was not kept, or another run's was."""
    try:
        found = Profile.model_validate_json(folder.read(f"{PROFILES}/{slug_of(record.partition)}.json"))
    except (ValidationError, FileNotFoundError):
        return None
    return found if found.run_id == record.run_id else None


def latest(folder: Folder, last: int | None = None) -> dict[str, RunRecord]:
    """The newest run of each partition, in partition order; of the last so many, or of all."""
    records = {}
    names = sorted((name for name in folder.names(LATEST) if name.endswith(".json")), key=in_order)
    for content in folder.read_all([f"{LATEST}/{name}" for name in (names if last is None else names[-last:])]):
        # One that another version of this package wrote counts as never scored.
        with suppress(ValidationError):
            record = RunRecord.model_validate_json(content)
            records[record.partition] = record
    return {name: records[name] for name in sorted(records, key=in_order)}
