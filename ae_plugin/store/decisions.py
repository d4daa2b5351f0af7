"""What people decided on refused partitions: `decisions/<partition>.json`, the last word on each.

A decision holds for the files that were looked at: where they changed since, it is as if it had not been made.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from ae_plugin.errors import StoreError
from ae_plugin.schemas import DecisionRecord, RunRecord
from ae_plugin.store.files import Folder, SourceFile, fingerprint
from ae_plugin.store.partitions import in_order
from ae_plugin.store.runs import slug_of

DECISIONS = "decisions"


def name_of(partition: str) -> str:
    """Where the decision on a partition is, relative to the output."""
    return f"{DECISIONS}/{slug_of(partition)}.json"


def read_decision(folder: Folder, partition: str) -> DecisionRecord | None:
    """The last word on a partition, whether it still holds or not; None when nobody decided anything.

    Raises:
        StoreError: it cannot be read.
    """
    found = _read(folder, name_of(partition))
    return found if found is not None and found.partition == partition else None


def decided_on_files(folder: Folder, groups: Mapping[str, list[SourceFile]]) -> dict[str, DecisionRecord]:
    """The decisions on these very files, by partition, in order.

    Raises:
        StoreError: a decision cannot be read.
    """
    known = _read_all(folder)
    return {name: one for name, one in known.items() if name in groups and one.fingerprint == fingerprint(groups[name])}


def decided_on_runs(folder: Folder, runs: Mapping[str, RunRecord]) -> dict[str, DecisionRecord]:
    """The decisions on the files that these runs were of, by partition, in order; no source is listed for that.

    Raises:
        StoreError: a decision cannot be read.
    """
    known = _read_all(folder)
    return {
        name: one for name, one in known.items() if name in runs and one.fingerprint == runs[name].input_fingerprint
    }


def _read_all(folder: Folder) -> dict[str, DecisionRecord]:
    names = [name for name in folder.names(DECISIONS) if name.endswith(".json")]
    found = [one for one in (_read(folder, f"{DECISIONS}/{name}") for name in names) if one is not None]
    return {one.partition: one for one in sorted(found, key=lambda one: in_order(one.partition))}


def _read(folder: Folder, name: str) -> DecisionRecord | None:
    try:
        return DecisionRecord.model_validate_json(folder.read(name))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        # Not passed over: what somebody discarded would be scored, and trained on, again.
        raise StoreError(
            "is not a decision", where=f"{folder.uri}/{name}", mend="Remove it, and decide anew"
        ) from error
