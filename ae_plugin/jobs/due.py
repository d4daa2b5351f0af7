"""Which partitions are due to be scored, and what the newest run said of each."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ae_plugin.config import Pipeline
from ae_plugin.errors import ConfigError, StoreError
from ae_plugin.schemas import RunRecord
from ae_plugin.store.commit import recover
from ae_plugin.store.decisions import decided_on_files
from ae_plugin.store.files import Folder, SourceFile, fingerprint, list_source, partitions_of
from ae_plugin.store.partitions import in_order, partition_id
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import latest


def runs(pipeline: Pipeline) -> list[RunRecord]:
    """The newest run of each partition, in partition order."""
    folder = Folder(pipeline.output)
    recover(folder)
    return list(latest(folder).values())


def due(pipeline: Pipeline) -> list[str]:
    """Partitions that are new or changed since they were last scored, in order; see `due_files`."""
    return list(due_files(pipeline))


def due_files(pipeline: Pipeline) -> dict[str, list[SourceFile]]:
    """Partitions that are new or changed since they were last scored, in order, and their files.

    A partition is due when it was never scored, its files changed, or it was refused and then released, or refused by
    another champion. What was discarded is not, until its files change. Partitions that the first champion of all was
    trained on, or that are older than those, are due only when they changed since.

    Raises:
        NoChampionError: there is nothing to score with.
        DataError: the source cannot be listed.
    """
    registry = Registry(pipeline.output)
    champion = registry.champion()
    recover(registry.folder)
    first = _first_history(registry)
    oldest = in_order(min(first, key=in_order, default=""))
    done = latest(registry.folder)
    groups = partitions_of(list_source(pipeline.source))
    decided = {name: one.decision for name, one in decided_on_files(registry.folder, groups).items()}
    out = {}
    for partition, files in groups.items():
        decision = decided.get(partition)
        if decision == "discard":
            continue
        now = fingerprint(files)
        run = done.get(partition)
        if run is not None:
            fresh = run.input_fingerprint == now
            again = run.outcome != "scored" and (decision == "release" or run.model_version != champion)
            if not fresh or again:
                out[partition] = files
        elif partition in first:
            if first[partition] != now or not pipeline.source.partition_by:
                out[partition] = files
        elif in_order(partition) >= oldest:
            out[partition] = files
    return out


def idle(pipeline: Pipeline) -> str:
    """Why no partition is due, for people."""
    registry = Registry(pipeline.output)
    there = partitions_of(list_source(pipeline.source))
    if pipeline.source.partition_by and there and not latest(registry.folder):
        trained = len(there.keys() & _first_history(registry).keys())
        older = f", {len(there) - trained:,} are older" if trained < len(there) else ""
        said = f"of {len(there):,} partitions {trained:,} were trained on{older}, and none came since"
        return f"nothing to do: {said}. Hold some back by train.until, or name one: --partition"
    return "nothing to do: no partition is new or changed"


def named_files(pipeline: Pipeline, names: Sequence[str]) -> dict[str, list[SourceFile]]:
    """Partitions that somebody names, in order, and their files; none where there is no such partition.

    Args:
        pipeline: from `config.load`.
        names: hive paths (`date=2013-01-29`) or values.

    Raises:
        ConfigError: a name cannot be a partition's.
        DataError: the source cannot be listed.
    """
    return _named(pipeline, names, partitions_of(list_source(pipeline.source)))


def chosen_files(pipeline: Pipeline, names: Sequence[str]) -> dict[str, list[SourceFile]]:
    """As `named_files`, of partitions that must be there; ConfigError when one is not."""
    groups = partitions_of(list_source(pipeline.source))
    found = _named(pipeline, names, groups)
    if missing := [name for name, files in found.items() if not files]:
        mend = f"The newest is {list(groups)[-1] or 'the whole'}"
        raise ConfigError(f"no partition {', '.join(missing)}", where=pipeline.source.uri, mend=mend)
    return found


def _named(
    pipeline: Pipeline, names: Sequence[str], groups: dict[str, list[SourceFile]]
) -> dict[str, list[SourceFile]]:
    wanted = {partition_id(name, pipeline.source.partition_by) for name in names}
    return {name: groups.get(name, []) for name in sorted(wanted, key=in_order)}


def _first_history(registry: Registry) -> dict[str, str]:
    """The partitions that the first champion of all was trained on, and their fingerprints then.

    Not today's champion: what is new would be trained on before it is scored, and never be due.
    """
    pointer = registry.pointer("champion")
    for move in pointer.history if pointer else []:
        # A version that somebody removed, or that was harmed since, says nothing: the next one does.
        with contextlib.suppress(ConfigError, StoreError):
            return dict(registry.read(move.version)[0].get("partitions", {}))
    return {}
