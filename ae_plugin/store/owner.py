"""Who a half-finished file belongs to: its name carries the host and the process that write it."""

from __future__ import annotations

import os
import socket
import uuid


def mark() -> str:
    """Name for something this process is about to write: unlike any other, without slashes."""
    return f"{_host()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"


def is_dead(name: str) -> bool:
    """Whether `name`, which ends in a mark, was left behind by a process of this host that is gone."""
    *_, host, pid, _tail = ["", "", "", *name.rsplit(".", 3)][-4:]
    return host == _host() and pid.isdigit() and not _alive(int(pid))


def _host() -> str:
    return socket.gethostname().replace(".", "-").replace("/", "-")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
