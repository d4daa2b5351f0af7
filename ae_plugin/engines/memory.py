"""What the C library does with freed memory while record batches stream by, and Python with what stays."""

from __future__ import annotations

import ctypes
import gc
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 256 * 2**20


@cache
def keep_freed_memory() -> None:
    """Let the process reuse freed arrays rather than give them back to the kernel, which must zero each page anew.

    Every record batch allocates arrays of the same sizes: handing them back and forth took a fifth of the time.
    Once a process; nothing happens where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _KEPT)


@cache
def settle() -> None:
    """Let the process look for garbage only among what comes from now on: modules and a model stay.

    Once a process. A Python worker of Spark's looks for garbage after each task, which took longer than a small task.
    """
    gc.collect()
    gc.freeze()
