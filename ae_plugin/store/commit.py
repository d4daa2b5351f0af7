"""Several files appear as one: staged first, journalled, then moved into place.

A reader sees each file old or new, never half. A writer killed while it stages leaves the old partition; killed while
it moves, it leaves a journal that the next writer (or reader through this package) finishes. So a partition is old or
new, whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import uuid
from pathlib import Path

from ae_plugin.errors import StoreError
from ae_plugin.store.files import Folder, writing

log = logging.getLogger(__name__)
STAGING, JOURNALS = "_staging", "_runs/_journal"


class Commit:
    """Stages files for one partition and moves them into place together.

    Args:
        folder: the pipeline's output.
        slug: names the partition; one commit a partition at a time, the last one wins.
    """

    def __init__(self, folder: Folder, slug: str) -> None:
        self.folder, self.slug = folder, slug
        self.id = f"{slug}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"
        self.stage = f"{STAGING}/{self.id}"
        self.moves: dict[str, str] = {}
        self.removals: list[str] = []

    def staged(self, target: str) -> str:
        """Name to write a file under until the commit; `target` is where it will be."""
        name = f"{self.stage}/{len(self.moves):03d}"
        self.moves[target] = name
        return name

    def apply(self) -> None:
        """Move everything into place."""
        journal = f"{JOURNALS}/{self.id}.json"
        steps = {"moves": self.moves, "removals": self.removals, "stage": self.stage}
        with writing(self.folder.uri):
            for name in self.moves.values():
                _sync(self.folder, name)
            self.folder.write(journal, json.dumps(steps).encode())
            _finish(self.folder, journal)

    def abandon(self) -> None:
        """Throw the staged files away."""
        with writing(self.folder.uri):
            self.folder.remove(self.stage)
            _tidy(self.folder)


def _sync(folder: Folder, name: str) -> None:
    if folder.local:
        handle = os.open(folder.at(name), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _finish(folder: Folder, journal: str) -> None:
    try:
        steps = json.loads(folder.read(journal))
        pairs = [(str(new), str(old)) for new, old in steps["moves"].items()]
        removals, stage = [str(name) for name in steps["removals"]], str(steps["stage"])
    except FileNotFoundError:
        return  # another process finished it first
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(
            "is not a journal", where=f"{folder.uri}/{journal}", mend="Remove it and score again"
        ) from error
    if any(".." in name.split("/") or name.startswith("/") for name in [*sum(pairs, ()), *removals, stage]):
        raise StoreError("names files outside the output", where=f"{folder.uri}/{journal}", mend="Remove it")
    for new, old in pairs:
        if folder.exists(old):
            try:
                folder.move(old, new)
            except FileNotFoundError:
                continue  # another process moved it first
    for name in removals:
        folder.remove(name)
    folder.remove(stage)
    folder.remove(journal)
    _tidy(folder)


def _tidy(folder: Folder) -> None:
    """Leave no empty folder behind; one that fills up meanwhile stays."""
    if folder.local:
        for name in (STAGING, JOURNALS):
            with contextlib.suppress(OSError):
                Path(folder.at(name)).rmdir()


def recover(folder: Folder) -> None:
    """Finish what a killed writer had begun to move into place."""
    for name in folder.names(JOURNALS):
        if name.endswith(".json"):
            log.warning("finishing the commit of a killed run: %s", name)
            with writing(folder.uri):
                _finish(folder, f"{JOURNALS}/{name}")


def sweep(folder: Folder) -> None:
    """Remove what killed writers of this machine had staged."""
    with writing(folder.uri):
        for name in folder.names(STAGING):
            *_, host, pid, _tail = ["", "", *name.rsplit(".", 3)][-4:]
            if host == socket.gethostname() and pid.isdigit() and not _alive(int(pid)):
                folder.remove(f"{STAGING}/{name}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
