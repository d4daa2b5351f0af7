"""Who a half-finished file belongs to: on a disk its writer holds a lock on it, which ends with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from pathlib import Path


def mark() -> str:
    """Name for something that is about to be written: unlike any other, without slashes; it says when."""
    return f"{int(time.time())}.{uuid.uuid4().hex[:12]}"


def age_of(name: str) -> float:
    """Seconds since `name`, which ends in a mark, was made; 0 when it has none."""
    stamp = ["", "", *name.rsplit(".", 2)][-2]
    return time.time() - int(stamp) if stamp.isdecimal() else 0.0


def hold(path: str, *, wait: bool = True) -> int:
    """Lock a file, which is made when it is not there, until the handle is closed or this process ends.

    A holder may remove the file: whoever waited for it meanwhile locks the next one of that name.

    Raises:
        BlockingIOError: another one holds it, and this one was not to wait.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # NFS locks only what is open for writing
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), Path(path).stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
