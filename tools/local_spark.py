"""A real Spark cluster on this machine: a standalone master and its workers on loopback, started and stopped together.

python -m tools.local_spark              serve one with two workers until Ctrl-C, and print its address
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

START_SECONDS = 120.0
_HOST = "127.0.0.1"


class SparkError(RuntimeError):
    """Spark did not start."""


@dataclass
class LocalSpark:
    """A cluster whose logs and scratch space are in a folder of its own.

    Args:
        root: of logs and scratch space.
        workers: how many; each runs an executor of each application, as long as it has cores.
        cores: of each worker.
        memory: of each worker.
        env: variables of the workers, and of the Python processes of their executors.
    """

    root: Path
    workers: int = 2
    cores: int = 1
    memory: str = "2g"
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Environment of the cluster, and of whoever submits to it: Python and Spark are those of this process."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
        import pyspark

        return {
            **kept,
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "SPARK_LOCAL_IP": _HOST,
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_LOCAL_DIRS": str(self.root / "scratch"),
            "PYSPARK_PYTHON": sys.executable,
            **self.env,
        }

    def start(self) -> None:
        """Start the master and the workers, and wait until all are there.

        Raises:
            SparkError: they did not come up.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        master = self._spawn("master", "master.Master", "--port", "0", "--webui-port", "0")
        self.url = self._wait_for(master, r"Starting Spark master at (spark://\S+)", 1)
        size = ("--cores", str(self.cores), "--memory", self.memory)
        for number in range(self.workers):
            scratch = ("--work-dir", str(self.root / f"work-{number}"), "--webui-port", "0")
            self._spawn(f"worker-{number}", "worker.Worker", *size, *scratch, self.url)
        self._wait_for(master, r"(Registering worker)", self.workers)

    def _spawn(self, name: str, main: str, *words: str) -> Path:
        env, log = self.environment(), self.root / f"{name}.log"
        command = [f"{env['SPARK_HOME']}/bin/spark-class", f"org.apache.spark.deploy.{main}", "--host", _HOST, *words]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, env=env, stdout=out, stderr=out, start_new_session=True, preexec_fn=_end_with_parent
            )
        self._processes.append(process)
        return log

    def _wait_for(self, log: Path, pattern: str, times: int) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = re.findall(pattern, log.read_text(encoding="utf-8", errors="replace"))
            if len(found) >= times:
                return str(found[0])
            if any(process.poll() is not None for process in self._processes):
                break
            time.sleep(0.2)
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        self.stop()
        raise SparkError(f"Spark did not start; the end of {log}:\n{tail}")

    def executors(self) -> list[int]:
        """Process ids of the executors that run now."""
        groups, found = {process.pid for process in self._processes}, []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                pid, command = int(path.parent.name), path.read_bytes()
                if b"CoarseGrainedExecutorBackend" in command and os.getpgid(pid) in groups:
                    found.append(pid)
        return sorted(found)

    def stop(self) -> None:
        """Stop everything, executors and their Python workers included."""
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        self._processes = []

    def __enter__(self) -> LocalSpark:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _end_with_parent() -> None:
    """Let the kernel end this process when the one that started it is gone, killed or not. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def main() -> None:
    """Serve a cluster until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    with LocalSpark(Path(".spark").absolute(), workers=chosen.workers) as spark, contextlib.suppress(KeyboardInterrupt):
        print(f"Spark at {spark.url}, logs in .spark/; Ctrl-C stops it", flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
