"""Several files appear as one: staged first, journalled, then moved into place.

A reader sees each file old or new, never half. A writer killed while it stages leaves the old partition; killed while
it moves, it leaves a journal that the next writer (or reader through this package) finishes. So a partition is old or
new, whole. On a file system, writers that move and readers that finish journals wait for one another (flock on the
output folder, which a killed process gives back); on an object store, a young journal is left to its owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ae_plugin.errors import StoreError
from ae_plugin.store.files import Folder, writing
from ae_plugin.store.owner import is_dead, mark

log = logging.getLogger(__name__)
STAGING, JOURNALS = "_staging", "_runs/_journal"
TARGETS = frozenset({"scores", "cells", "denoised", "embeddings", "heatmaps", "quarantine", "_runs"})
YOUNG_SECONDS = 900.0
_STAGE = re.compile(rf"{STAGING}/[^/]*[^/.][^/]*")


class Commit:
    """Stages files for one partition and moves them into place together.

    Args:
        folder: the pipeline's output.
        slug: names the partition; when two runs commit the same one, the last wins.
    """

    def __init__(self, folder: Folder, slug: str) -> None:
        self.folder, self.slug = folder, slug
        self.id = f"{slug}.{mark()}"
        self.stage = f"{STAGING}/{self.id}"
        self.moves: dict[str, str] = {}
        self.removals: list[str] = []

    def staged(self, target: str) -> str:
        """Name to write a file under until the commit; `target` is where it will be."""
        if not self.moves:
            with _alone(self.folder):
                self.folder.makedirs(self.stage)
        name = f"{self.stage}/{len(self.moves):03d}"
        self.moves[target] = name
        return name

    def apply(self) -> None:
        """Move everything into place.

        Raises:
            StoreError: something stands in the way of a target; nothing was moved.
        """
        journal = f"{JOURNALS}/{self.id}.json"
        steps = {"moves": self.moves, "removals": self.removals, "stage": self.stage}
        with writing(self.folder.uri), _alone(self.folder):
            for target in self.moves:
                _free(self.folder, target)
            for name in self.moves.values():
                _sync(self.folder, name)
            self.folder.write(f"{self.stage}/journal", json.dumps(steps).encode())
            self.folder.move(f"{self.stage}/journal", journal)
            _finish(self.folder, journal)

    def abandon(self) -> None:
        """Throw the staged files away."""
        with writing(self.folder.uri), _alone(self.folder):
            self.folder.remove(self.stage)
            _tidy(self.folder)


@contextlib.contextmanager
def _alone(folder: Folder) -> Iterator[None]:
    """Keep other commits and recoveries of this output waiting; nobody has to clean up after a killed process."""
    folder.makedirs()
    if not folder.local:
        yield
        return
    handle = os.open(folder.at(""), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _free(folder: Folder, target: str) -> None:
    parts = target.split("/")
    above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    blocked = next((name for name in above if folder.fs.isfile(folder.at(name))), None)
    if blocked is None and folder.fs.isdir(folder.at(target)):
        blocked = target
    if blocked is not None:
        kind = "folder" if blocked == target else "file"
        raise StoreError(f"is a {kind} in the way of {target}", where=f"{folder.uri}/{blocked}", mend="Remove it")


def _sync(folder: Folder, name: str) -> None:
    if folder.local:
        handle = os.open(folder.at(name), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _finish(folder: Folder, journal: str) -> None:
    where = f"{folder.uri}/{journal}"
    try:
        steps = json.loads(folder.read(journal))
        pairs = [(str(new), str(old)) for new, old in steps["moves"].items()]
        removals, stage = [str(name) for name in steps["removals"]], str(steps["stage"])
    except FileNotFoundError:
        return  # another process finished it first
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError("is not a journal", where=where, mend="Remove it and score again") from error
    inside = _STAGE.fullmatch(stage) and all(old.startswith(f"{stage}/") and _plain(old) for _, old in pairs)
    if not inside or not all(_is_output(name) for name in [*(new for new, _ in pairs), *removals]):
        raise StoreError("names files that no run writes", where=where, mend="Remove it and score again")
    for new, old in pairs:
        if folder.exists(old):
            with contextlib.suppress(FileNotFoundError):  # another process moved it first
                folder.move(old, new)
    for name in removals:
        folder.remove(name)
    folder.remove(stage)
    folder.remove(journal)
    _tidy(folder)


def _is_output(name: str) -> bool:
    return name.split("/")[0] in TARGETS and "/" in name and _plain(name)


def _plain(name: str) -> bool:
    return not {"", ".", ".."} & set(name.split("/"))


def _tidy(folder: Folder) -> None:
    """Leave no empty folder behind; one that fills up meanwhile stays."""
    if folder.local:
        for name in (STAGING, JOURNALS):
            with contextlib.suppress(OSError):
                Path(folder.at(name)).rmdir()


def recover(folder: Folder) -> None:
    """Finish what a killed writer had begun to move into place."""
    if not _journals(folder):
        return
    with writing(folder.uri), _alone(folder):
        for name in _journals(folder):
            journal = f"{JOURNALS}/{name}"
            if folder.local or is_dead(name.removesuffix(".json")) or folder.age(journal) > YOUNG_SECONDS:
                log.warning("finishing the commit of a killed run: %s", name)
                _finish(folder, journal)


def _journals(folder: Folder) -> list[str]:
    return [name for name in folder.names(JOURNALS) if name.endswith(".json")]


def sweep(folder: Folder) -> None:
    """Remove what killed writers of this machine had staged."""
    for name in folder.names(STAGING):
        if is_dead(name):
            with writing(folder.uri), _alone(folder):
                folder.remove(f"{STAGING}/{name}")
                _tidy(folder)
