"""Files of this machine, with links followed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsspec.utils import glob_translate


def walk(top: str, glob: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Files of this machine below a folder (those that match a glob), links followed unless they lead back up."""

    def fail(error: OSError) -> None:
        raise error

    wanted = re.compile(glob_translate(glob)) if glob else None
    depth = glob.count("/") if glob and "**" not in glob else None
    for folder, folders, names in os.walk(top, onerror=fail if os.path.exists(top) else None, followlinks=True):
        at = folder.rstrip("/")
        here = f"{os.path.realpath(folder)}/"
        deep = depth is not None and at.count("/") + 1 >= depth
        folders[:] = [] if deep else [name for name in folders if _leads_down(f"{at}/{name}", here)]
        for name in names:
            path = f"{at}/{name}"
            if wanted is None or wanted.match(path):
                yield path, _info(path)


def _leads_down(path: str, here: str) -> bool:
    """Whether a folder in `here` is to be looked into: not when hidden, nor when a link to where one is already."""
    if hidden(path.rpartition("/")[2]):
        return False
    return not (Path(path).is_symlink() and here.startswith(f"{os.path.realpath(path).rstrip('/')}/"))


def _info(path: str) -> dict[str, Any]:
    try:
        found = Path(path).stat()
    except OSError:  # a link to nowhere: whoever reads it will say so
        found = Path(path).lstat()
    return {"type": "file", "size": found.st_size, "mtime": found.st_mtime}


def hidden(name: str) -> bool:
    """Whether a path is to be passed over: a part of it starts with `_` or `.`, as Hive and Spark see it."""
    return any(part.startswith(("_", ".")) for part in name.split("/") if part)
