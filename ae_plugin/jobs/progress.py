"""Where a training keeps its progress until it is done."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ae_plugin.config import Pipeline
from ae_plugin.errors import StoreError
from ae_plugin.store.files import Folder, writing
from ae_plugin.store.registry import MODELS


def training_folder(pipeline: Pipeline, digest: str) -> Path:
    """Where a training keeps its progress; the digest is of exactly this network on exactly these rows."""
    folder = Folder(pipeline.output)
    base = Path(folder.path) / MODELS if folder.local else _own_folder()
    return base / f".training-{digest[:16]}"


def _own_folder() -> Path:
    """A folder for temporary files that this user alone can write to."""
    folder = Path(tempfile.gettempdir()) / f"ae_plugin-{os.getuid()}"
    with writing(str(folder)):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StoreError("others can write to it", where=str(folder), mend="Remove it, or set TMPDIR to another folder")
    return folder
