"""Where a writer keeps what is not finished: a folder of its own, which others leave alone while it lives.

On a disk it lives as long as it holds its lock: the kernel takes that back from a killed process, on whichever host or
in whichever container. Object stores have no locks: there a stage is left behind when it is older than a day. What
several processes write one after the other, or at once, is in a shared stage: it outlives each of them, and is left
behind when none has come to it for a day.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ae_plugin.store.files import Folder, writing
from ae_plugin.store.owner import age_of, hold, mark

STAGING, JOURNALS, LOCK = "_staging", "_runs/_journal", ".lock"
LEFT_SECONDS = 86400.0
_SHARED, _SINCE = ".shared", ".since"
_THREADS = 8


@contextlib.contextmanager
def alone(folder: Folder) -> Iterator[None]:
    """Keep other commits, recoveries and registrations of this output waiting; object stores cannot.

    Raises:
        StoreError: it cannot be locked, or what is done meanwhile cannot be written.
    """
    with writing(folder.uri):
        folder.makedirs()
        if not folder.local:
            yield
            return
        path = folder.at(LOCK)
        handle = hold(path)
        try:
            yield
        finally:
            Path(path).unlink(missing_ok=True)
            os.close(handle)


class Stage:
    """A folder for one writer's unfinished files.

    Args:
        folder: the pipeline's output.
        label: what is being written.
    """

    def __init__(self, folder: Folder, label: str) -> None:
        self.folder = folder
        self.id = f"{label}.{mark()}"
        self.name = f"{STAGING}/{self.id}"
        self._handle: int | None = None

    def open(self) -> None:
        """Make it, and hold it until `close`."""
        with alone(self.folder):
            self.folder.makedirs(self.name)
            if self.folder.local:
                try:
                    self._handle = hold(self.folder.at(f"{self.name}{LOCK}"))
                except BaseException:
                    discard(self.folder, self.name)
                    raise

    def close(self) -> None:
        """Throw away what is in it, unless a journal says where it goes."""
        with alone(self.folder):
            if not self.folder.exists(journal_of(self.id)):
                discard(self.folder, self.name)
        self.release()

    def release(self) -> None:
        """Let go of it as it is."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class SharedStage(Stage):
    """A stage that every process finds again that gives the same label; it is kept until it is committed.

    Args:
        folder: the pipeline's output.
        label: what is being written.
        what: tells it from others of this label; without dots.
    """

    def __init__(self, folder: Folder, label: str, what: str) -> None:
        super().__init__(folder, label)
        self.id = f"{label}.{what}{_SHARED}"
        self.name = f"{STAGING}/{self.id}"

    def open(self) -> None:
        """Make it, or say that it is still wanted."""
        with alone(self.folder):  # else a sweep could see it before that is said
            self.folder.write(f"{self.name}/{_SINCE}", b"")

    def close(self) -> None:
        """Leave it to those who come next."""


def journal_of(stage_id: str) -> str:
    """Where the journal of a stage is, or would be."""
    return f"{JOURNALS}/{stage_id}.json"


def begin(folder: Folder, stage_id: str, steps: bytes) -> None:
    """Write a stage's journal: from now on its commit will be finished, by whomever.

    On an object store a file named after the partition says which it is, so that the partition's next run need not
    trust a listing: one that is late would let this commit undo that run's.
    """
    if folder.local:
        folder.write(f"{STAGING}/{stage_id}/journal", steps)
        folder.move(f"{STAGING}/{stage_id}/journal", journal_of(stage_id))
    else:
        folder.write(_begun(_label(stage_id)), stage_id.encode())
        folder.write(journal_of(stage_id), steps)


def begun(folder: Folder, label: str) -> list[str]:
    """The stage whose journal was written last of those with a label, if it may not be finished; see `begin`."""
    if folder.local:
        return []
    try:
        found = folder.read(_begun(label)).decode(errors="replace")
    except FileNotFoundError:
        return []
    return [found] if found and "/" not in found and _label(found) == label else []


def _begun(label: str) -> str:
    return f"{JOURNALS}/{label}.begun"


def _label(stage_id: str) -> str:
    """What is being written, of a stage's id, which has a mark or the like after it."""
    return stage_id.rsplit(".", 2)[0]


def journalled(folder: Folder) -> list[str]:
    """Stages whose files are being moved into place, or were when their writer was stopped; oldest journal first."""
    return [name.removesuffix(".json") for name in folder.names(JOURNALS) if name.endswith(".json")]


def moving(folder: Folder, label: str) -> bool:
    """Whether files with a label are being moved into place, or were when their writer was stopped."""
    return any(_label(stage) == label for stage in journalled(folder))


def discard(folder: Folder, stage: str) -> None:
    """Remove a stage, and leave no empty folder behind."""
    if folder.local:
        _empty(folder.at(stage))
    folder.remove(stage)
    name = stage.removeprefix(f"{STAGING}/")
    if begun(folder, _label(name)) == [name]:
        folder.remove_file(_begun(_label(name)))
    if folder.local:
        Path(folder.at(f"{stage}{LOCK}")).unlink(missing_ok=True)
        for name in (STAGING, JOURNALS):
            with contextlib.suppress(OSError):  # one that fills up meanwhile stays
                Path(folder.at(name)).rmdir()


def _empty(path: str) -> None:
    """Remove the files below a folder, several at a time: that takes a disk hardly longer than one."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for here, _, names in os.walk(path):
            list(pool.map(os.unlink, (f"{here}/{name}" for name in names)))


def sweep(folder: Folder) -> None:
    """Remove what killed writers left unfinished."""
    if not folder.names(STAGING):
        return
    with alone(folder):
        stages = {name.removesuffix(LOCK) for name in folder.names(STAGING)}
        for name in sorted(stages - set(journalled(folder))):
            if _is_left(folder, name) and not folder.exists(journal_of(name)):
                discard(folder, f"{STAGING}/{name}")


def _is_left(folder: Folder, name: str) -> bool:
    if name.endswith(_SHARED):
        try:
            return folder.age(f"{STAGING}/{name}/{_SINCE}") > LEFT_SECONDS
        except FileNotFoundError:
            return True
    if not folder.local:
        return age_of(name) > LEFT_SECONDS
    try:
        # Nobody can take it up between this and its removal: stages are made by those who are alone.
        os.close(hold(folder.at(f"{STAGING}/{name}{LOCK}"), wait=False))
    except BlockingIOError:
        return False
    return True
