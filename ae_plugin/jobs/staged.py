"""What the files of a dataset are written to, record batch by record batch, and how they are let go of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import pyarrow as pa


class Sink(Protocol):
    """A staged file or folder of a dataset, written by record batches."""

    def write(self, batch: pa.RecordBatch, /) -> None:
        """Add rows."""

    def close(self) -> str:
        """Finish; returns the sha256."""

    def abort(self) -> None:
        """Let go of what will be thrown away."""


@contextmanager
def let_go(*sinks: Sink) -> Iterator[None]:
    """Let go of sinks, which hold files open, when anything is raised before all of them are finished."""
    try:
        yield
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
