"""What this process used."""

from __future__ import annotations

import contextlib
import resource
import sys


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    # Linux' ru_maxrss begins with the peak of the process that forked this one; VmHWM is its own.
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20) if sys.platform == "darwin" else peak / 1024, 1)
