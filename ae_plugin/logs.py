"""Where the package's log goes when a command runs it; a library leaves that to its caller."""

from __future__ import annotations

import logging
import sys


def tell_on_stderr(level: int = logging.INFO) -> None:
    """Send what the package says to stderr, bare, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger("ae_plugin")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
