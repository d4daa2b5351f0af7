"""A folder of files that takes an older one's place as a whole, however many files there are.

On a disk it is staged on its own and moved into place by a rename. Object stores have no folders to rename: there each
file is copied, and what the older one had besides is removed. What is staged stays until the commit is done, so that
whoever finishes a commit begins anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ae_plugin.errors import DataError, StoreError
from ae_plugin.places import is_below
from ae_plugin.store.files import Folder, writing

_LISTING = ".json"


class Tree:
    """A folder being staged; several threads may write to it.

    Args:
        folder: the output.
        name: of the staged folder, from `Commit.staged`.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name
        self._digests: dict[str, str] = {}
        folder.makedirs(name)

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Write a file, in parts.

        Args:
            name: its path below the folder, see `places.is_below`.
            parts: of its content, one after the other.

        Raises:
            DataError: its name is another file's, for this store.
            StoreError: it cannot be written.
        """
        digest, path = hashlib.sha256(), self.folder.prepare(f"{self.name}/{name}")
        with writing(f"{self.folder.uri}/{self.name}"):
            try:
                handle = self.folder.fs.open(path, "xb" if self.folder.local else "wb")
            except FileExistsError as error:  # a disk that takes upper and lower case for the same
                raise DataError("is named like another file", where=name, mend="Rename one of them") from error
            with handle:
                for part in parts:
                    handle.write(part)
                    digest.update(part)
                if self.folder.local:
                    handle.flush()
                    os.fsync(handle.fileno())
        self._digests[name] = digest.hexdigest()

    def close(self) -> str:
        """Finish; returns the sha256 of what `sha256sum` prints of all files, in the order of their names' bytes."""
        self.folder.write(f"{self.name}{_LISTING}", json.dumps(list(self._digests)).encode())
        lines = (f"{self._digests[name]}  {name}\n" for name in sorted(self._digests))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_whole(folder: Folder, staged: str) -> bool:
    """Whether all that was written is still there."""
    try:
        names = _listing(folder, staged)
    except FileNotFoundError:
        return False
    # What was written a moment ago may not be listed yet; asked for by its name, it is there.
    listed = set(folder.below(staged))
    return all(folder.exists(name) for name in (f"{staged}/{name}" for name in names) if folder.at(name) not in listed)


def place(folder: Folder, staged: str, target: str) -> None:
    """Put a staged folder where it belongs, in the place of an older one; FileNotFoundError when it is not there."""
    if not folder.local:
        names = _listing(folder, staged)
        folder.copy({f"{staged}/{name}": f"{target}/{name}" for name in names})
        kept = {folder.at(f"{target}/{name}") for name in names}
        folder.drop([path for path in folder.below(target) if path not in kept])
    elif folder.exists(staged):
        withdraw(folder, target, f"{staged}.old")
        folder.move(staged, target)
    elif not folder.exists(target):
        raise FileNotFoundError(staged)


def withdraw(folder: Folder, target: str, aside: str) -> None:
    """Take a folder away: on a disk at once, to where it is thrown away later."""
    if not folder.local:
        folder.remove(target)
    elif Path(folder.at(target)).is_dir():
        folder.move(target, aside)


def _listing(folder: Folder, staged: str) -> list[str]:
    name = f"{staged}{_LISTING}"
    try:
        names = [str(name) for name in json.loads(folder.read(name))]
    except (ValueError, TypeError):
        names = [""]
    if not all(map(is_below, names)):
        raise StoreError("is no listing of files", where=f"{folder.uri}/{name}", mend="Remove it and score again")
    return names
