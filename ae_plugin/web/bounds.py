"""How much of the API server's threads and memory the page may take: Airflow's own requests share them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

AT_ONCE, PATIENCE_SECONDS = 3, 20.0
_turns = threading.Semaphore(AT_ONCE)


@contextmanager
def heavy() -> Iterator[None]:
    """One of the few turns to decode pictures, look single rows up, or make a file; HTTP 503 when none gets free."""
    if not _turns.acquire(timeout=PATIENCE_SECONDS):
        raise HTTPException(503, "busy with others' requests: try again", headers={"Retry-After": "5"})
    try:
        yield
    finally:
        _turns.release()
