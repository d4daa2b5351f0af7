"""Several files appear as one: staged first, journalled, then moved into place, the run's record last.

A target that ends in `/` is a folder of files, which takes the place of the older one as a whole (see `store.tree`).
A reader sees each file old or new, never half. A writer stopped while it stages leaves the old partition; stopped
while it moves, it leaves a journal that the next writer (or `recover`) finishes. The record names the sha256 of every
file and folder, and is moved last: where it fits the files, they are one partition, whole. On a disk, all who move
files of one output wait for one another; on an object store, a young journal is left to its owner.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable

from ae_plugin.errors import StoreError
from ae_plugin.places import is_below
from ae_plugin.store import tree
from ae_plugin.store.decisions import DECISIONS
from ae_plugin.store.files import Folder
from ae_plugin.store.staging import STAGING, Stage, alone, begin, begun, discard, journal_of, journalled

log = logging.getLogger(__name__)
RECORDS, HEADS = "_runs", "_heads"
LATENT = frozenset({"embeddings", "classes", "completed", "completions", "generated", "traversal", HEADS})
TARGETS = LATENT | {"scores", "cells", "denoised", "heatmaps", "quarantine", DECISIONS, RECORDS}
FOLDERS = frozenset({"denoised", "quarantine", "completed"})
YOUNG_SECONDS = 900.0
_STAGE = re.compile(rf"{STAGING}/[^/]*[^/.][^/]*")


class Commit:
    """Stages files for one partition and moves them into place together.

    Args:
        folder: the pipeline's output.
        slug: names the partition.
        stage: where to stage them; absent: in a stage of its own.
        below: folder of the stage to stage them in.

    Attributes:
        moves: target -> where it is staged.
        removals: targets to remove.
        stale: names more of these; asked when nobody else moves files of this output.
    """

    def __init__(self, folder: Folder, slug: str, stage: Stage | None = None, below: str = "") -> None:
        self.folder, self.slug = folder, slug
        self.stage = stage or Stage(folder, slug)
        self._at = f"{self.stage.name}/{below}".rstrip("/")
        self.moves: dict[str, str] = {}
        self.removals: list[str] = []
        self.stale: Callable[[], list[str]] = list

    def staged(self, target: str) -> str:
        """Name to write a file or folder under until the commit; `target` is where it will be."""
        if not self.moves:
            self.stage.open()
        name = f"{self._at}/{len(self.moves):03d}"
        self.moves[target] = name
        return name

    def sync(self) -> None:
        """See that what was staged outlives a loss of power; StoreError when it is gone."""
        for target, name in self.moves.items():
            _sync(self.folder, target, name)

    def apply(self) -> None:
        """Move everything into place.

        Raises:
            StoreError: something stands in the way of a target, or what was staged is gone; nothing was moved.
        """
        with alone(self.folder):
            # Finished later, an older journal would undo a part of this one.
            _finish_due(self.folder, self.slug)
            steps = {"moves": self.moves, "removals": [*self.removals, *self.stale()], "stage": self.stage.name}
            for target in self.moves:
                _free(self.folder, target)
            for target, name in self.moves.items():
                _sync(self.folder, target, name)
            begin(self.folder, self.stage.id, json.dumps(steps).encode())
            _finish(self.folder, journal_of(self.stage.id))
        self.stage.release()

    def abandon(self) -> None:
        """Throw the staged files away; once they are journalled, leave them to whoever comes next to finish."""
        if self.moves:
            self.stage.close()


def _free(folder: Folder, target: str) -> None:
    if folder.flat:
        return  # a file and a folder may have the same name there
    parts = target.split("/")
    above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    blocked = next((name for name in above if folder.fs.isfile(folder.at(name))), None)
    if blocked is None and not target.endswith("/") and folder.fs.isdir(folder.at(target)):
        blocked = target
    if blocked is not None:
        kind = "folder" if blocked == target else "file"
        raise StoreError(f"is a {kind} in the way of {target}", where=f"{folder.uri}/{blocked}", mend="Remove it")


def _sync(folder: Folder, target: str, name: str) -> None:
    whole = target.endswith("/")
    if not (tree.is_whole(folder, name) if whole else folder.exists(name)):
        raise StoreError("was removed while the run went on", where=f"{folder.uri}/{name}", mend="Score again")
    if folder.local and not whole:  # each file of a folder was synced as it was written
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
        raise _broken(folder, journal, "is not a journal") from error
    inside = _STAGE.fullmatch(stage) and all(old.startswith(f"{stage}/") and is_below(old) for _, old in pairs)
    if not inside or not all(_is_output(name) for name in [*(new for new, _ in pairs), *removals]):
        raise _broken(folder, journal, "names files that no run writes")
    records = [pair for pair in pairs if pair[0].startswith(f"{RECORDS}/")]
    for new, old in pairs:
        if (new, old) not in records:
            _place(folder, journal, old, new)
    for number, name in enumerate(removals):
        if name.endswith("/"):
            tree.withdraw(folder, name.rstrip("/"), f"{stage}/gone-{number}")
        else:
            folder.remove_file(name)
    for new, old in records:
        _place(folder, journal, old, new)
    folder.remove_file(journal)
    discard(folder, stage)


def _place(folder: Folder, journal: str, old: str, new: str) -> None:
    whole = new.endswith("/")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        if whole:
            tree.place(folder, old, new.rstrip("/"))
            return
        if folder.flat or folder.exists(old):
            folder.move(old, new)
            return
    if (whole or not folder.exists(new)) and folder.exists(journal):
        raise _broken(folder, journal, f"is half done, and what it has for {new} is gone")


def _broken(folder: Folder, journal: str, what: str) -> StoreError:
    return StoreError(what, where=f"{folder.uri}/{journal}", mend="Remove it and score again")


def _is_output(name: str) -> bool:
    allowed = FOLDERS if name.endswith("/") else TARGETS
    return name.split("/")[0] in allowed and "/" in name and is_below(name.removesuffix("/"))


def recover(folder: Folder, slug: str | None = None) -> None:
    """Finish what stopped writers had begun to move into place.

    Args:
        folder: the pipeline's output.
        slug: of the partition that is worked on here, whose journals need not be old.
    """
    if slug is not None or journalled(folder):
        with alone(folder):
            _finish_due(folder, slug)


def _finish_due(folder: Folder, slug: str | None = None) -> None:
    """Finish the journals that nobody works on: on an object store, the old ones and those of one's own partition."""
    names = journalled(folder)
    for name in [*names, *(name for name in (begun(folder, slug) if slug else ()) if name not in names)]:
        journal = journal_of(name)
        if folder.local or name.rsplit(".", 2)[0] == slug or not _is_young(folder, journal):
            log.warning("finishing the commit of a killed run: %s", name)
            _finish(folder, journal)


def _is_young(folder: Folder, journal: str) -> bool:
    try:
        return folder.age(journal) <= YOUNG_SECONDS
    except FileNotFoundError:
        return True  # another process has just finished it
