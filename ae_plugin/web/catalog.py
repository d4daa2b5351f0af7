"""Which pipelines there are: the YAMLs beside the DAGs, each read again only when its file changes."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from airflow.configuration import conf

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.errors import ConfigError

FRESH_SECONDS = 2.0
"""So long a listing of the folders holds."""
Stamp = tuple[int, int]


@dataclass
class _Catalog:
    known: dict[Path, tuple[Stamp, Pipeline | str]] = field(default_factory=dict)
    named: dict[str, Pipeline] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    listed: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


_catalog = _Catalog()


def pipelines() -> dict[str, Pipeline]:
    """The YAMLs beside the DAGs and under $AE_ROOT, by name; the only place that names and paths come from."""
    with _catalog.lock:
        if time.monotonic() - _catalog.listed > FRESH_SECONDS or not _catalog.named:
            _look()
            _catalog.listed = time.monotonic()
        return _catalog.named


def broken() -> dict[str, str]:
    """YAMLs that do not load, by file name without its ending: why, in one line."""
    pipelines()
    return _catalog.broken


def _look() -> None:
    folders = [conf.get("core", "dags_folder"), *(f"{root}/dags" for root in [os.environ.get("AE_ROOT")] if root)]
    found: dict[Path, tuple[Stamp, Pipeline | str]] = {}
    for path in [path for folder in folders for path in sorted(Path(folder, "pipelines").glob("*.y*ml"))]:
        stamp = _stamp(path)
        before = _catalog.known.get(path)
        found[path] = before if before is not None and before[0] == stamp else (stamp, _load(path))
    _catalog.known = found
    loaded = {path: one for path, (_, one) in found.items()}
    _catalog.named = {one.name: one for one in loaded.values() if isinstance(one, Pipeline)}
    wrong = {path.stem: one for path, one in loaded.items() if isinstance(one, str)}
    _catalog.broken = {name: why for name, why in wrong.items() if name not in _catalog.named}


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _load(path: Path) -> Pipeline | str:
    try:
        return config.load(path)
    except ConfigError as error:
        return str(error)
