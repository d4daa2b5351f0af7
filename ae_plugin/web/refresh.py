"""All pipelines' summaries, read by threads of their own: whoever asks gets what there is, and waits for no store.

The reading goes on while somebody looks, and stops a minute after the last one did.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ae_plugin.config import Pipeline
from ae_plugin.places import local_path
from ae_plugin.web.overview import forget, summary
from ae_plugin.web.responses import PipelineSummary

ROUND_SECONDS, LOOKED_SECONDS, FIRST_SECONDS = 1.0, 60.0, 0.25
"""How often all are looked at, how long after the last request, and how long a first request waits for them."""
_REMOTE_THREADS = 8


@dataclass
class _Board:
    """What is known.

    Attributes:
        found: pipeline -> its summary.
        known: pipelines that are to be read.
        asked: when somebody last asked (`time.monotonic`).
        reading: whether the threads run.
        whole: set once all have been read.
    """

    found: dict[str, PipelineSummary] = field(default_factory=dict)
    known: Mapping[str, Pipeline] = field(default_factory=dict)
    asked: float = 0.0
    reading: bool = False
    whole: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


_board = _Board()


def summaries(known: Mapping[str, Pipeline]) -> dict[str, PipelineSummary]:
    """The summaries that there are, by name: of all pipelines but just after a server's start."""
    with _board.lock:
        if known is not _board.known:
            _board.known = known
            if known.keys() - _board.found.keys():
                _board.whole.clear()
        _board.asked = time.monotonic()
        if not _board.reading:
            _board.reading = True
            threading.Thread(target=_read, name="ae_plugin-summaries", daemon=True).start()
    _board.whole.wait(FIRST_SECONDS)
    return {name: one for name, one in list(_board.found.items()) if name in known}


def _read() -> None:
    with ThreadPoolExecutor(_REMOTE_THREADS, thread_name_prefix="ae_plugin-store") as pool:
        waiting: set[str] = set()
        try:
            while time.monotonic() - _board.asked < LOOKED_SECONDS:
                _round(pool, waiting)
                time.sleep(ROUND_SECONDS)
        finally:
            with _board.lock:
                _board.reading = False
                _board.whole.clear()


def _round(pool: ThreadPoolExecutor, waiting: set[str]) -> None:
    """Look at all once: at disks here, at object stores in the pool, where a slow one keeps only itself."""
    for name, pipeline in _board.known.items():
        if local_path(pipeline.output) is not None:
            _board.found[name] = summary(pipeline)
        elif name not in waiting:
            waiting.add(name)
            pool.submit(_remote, name, pipeline, waiting)
    if _board.known.keys() <= _board.found.keys():
        _board.whole.set()


def _remote(name: str, pipeline: Pipeline, waiting: set[str]) -> None:
    try:
        _board.found[name] = summary(pipeline)
    finally:
        waiting.discard(name)


@contextlib.contextmanager
def seen_at_once(pipeline: Pipeline) -> Iterator[None]:
    """Let who looks after an order see what it changed; other API servers see it within their own round."""
    yield
    forget(pipeline)
    _board.found[pipeline.name] = summary(pipeline)
