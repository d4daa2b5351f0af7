"""What this process used, and whether it can train."""

from __future__ import annotations

import contextlib
import resource
import sys
from importlib.util import find_spec

from ae_plugin.errors import UserError

_TRAINING = ("keras", "tensorflow")


def check_can_train() -> None:
    """See that what trainings need is there: workers that only score do without.

    Raises:
        UserError: it is not.
    """
    if missing := [name for name in _TRAINING if find_spec(name) is None]:
        raise UserError(
            f"cannot train: {' and '.join(missing)} not installed here",
            mend="Install them, or in Airflow name the queue of workers that have them: train.queue in the YAML",
        )


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    # Linux' ru_maxrss begins with the peak of the process that forked this one; VmHWM is its own.
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20) if sys.platform == "darwin" else peak / 1024, 1)
