"""Files that Parquet is written to, which know the sha256 of what went into them."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from typing import IO

import pyarrow as pa


class _Digest:
    """sha256 of a local file, taken in a thread of its own while the file grows."""

    def __init__(self, path: str) -> None:
        self._path, self._sha256 = path, hashlib.sha256()
        self._error: OSError | None = None
        self._sizes: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            with open(self._path, "rb") as file:
                while (size := self._sizes.get()) is not None:
                    while (left := size - file.tell()) > 0 and (piece := file.read(min(left, 1 << 20))):
                        self._sha256.update(piece)
        except OSError as error:
            self._error = error

    def grown(self, size: int) -> None:
        """Take note that the file holds `size` bytes now."""
        self._sizes.put(size)

    def finish(self) -> str:
        """Wait for the rest; returns the sha256."""
        self._sizes.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._sha256.hexdigest()


class LocalFile:
    """A local file that Arrow writes by itself: a file of Python's would take the interpreter's lock at every page."""

    def __init__(self, path: str) -> None:
        self.sink = pa.OSFile(path, "wb")
        self._digest = _Digest(path)

    def grown(self) -> None:
        """Let the digest follow."""
        self._digest.grown(self.sink.tell())

    def close(self) -> str:
        """Finish; returns the sha256."""
        size = self.sink.tell()
        self.sink.close()
        self._digest.grown(size)
        return self._digest.finish()

    def abort(self) -> None:
        """Let go of it as it is."""
        self.close()


class RemoteFile:
    """A file elsewhere, written through fsspec and hashed on the way."""

    closed = False

    def __init__(self, handle: IO[bytes]) -> None:
        self.sink, self._handle, self._sha256, self._size = self, handle, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        """Pass bytes on."""
        self._sha256.update(data)
        self._size += len(data)
        return self._handle.write(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def flush(self) -> None:
        """Nothing is held back here."""

    def grown(self) -> None:
        """Nothing to follow."""

    def close(self) -> str:
        """Finish; returns the sha256."""
        self._handle.close()
        return self._sha256.hexdigest()

    def abort(self) -> None:
        """Let go of it: what is not sent yet never is, where the filesystem can do so."""
        discard = getattr(self._handle, "discard", self._handle.close)
        try:
            discard()
        finally:
            with contextlib.suppress(AttributeError):  # else it would be sent when the handle is collected
                self._handle.closed = True  # type: ignore[misc]
