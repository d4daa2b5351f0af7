"""A real Airflow for one checkout: SQLite, LocalExecutor, its own AIRFLOW_HOME, started and stopped as a group.

python -m tools.local_airflow            serve it for a browser (`make ui`)
python -m tools.local_airflow --stop     stop one that was left behind
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tools.airflow_api import USER, AirflowApi, AirflowError

START_SECONDS = 240.0


@dataclass
class LocalAirflow(AirflowApi):
    """One Airflow under `root/.airflow`, with `root/dags` as its DAGs.

    Args:
        root: a checkout, or a copy of one.
        say: told what is going on, one line at a time.
        settings: more of the environment, as `AIRFLOW__SECTION__KEY`.
    """

    root: Path
    say: Callable[[str], None] = print
    settings: dict[str, str] = field(default_factory=dict)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / ".airflow"

    @property
    def log(self) -> Path:
        """Everything that Airflow's processes print."""
        return self.home / "standalone.log"

    @property
    def url(self) -> str:
        """Address of the UI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """The admin's password: made once, kept in AIRFLOW_HOME."""
        kept = self.home / "passwords.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.touch(mode=0o600)
            kept.write_text(json.dumps({USER: secrets.token_urlsafe(12)}), encoding="utf-8")
        return str(json.loads(kept.read_text(encoding="utf-8"))[USER])

    def environment(self) -> dict[str, str]:
        """Environment of every Airflow process and command."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW") and k != "PYTHONDONTWRITEBYTECODE"}
        secret = self.home / "secret"
        if not secret.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_hex(32), encoding="utf-8")
        key = secret.read_text(encoding="utf-8")
        return env | {
            "AIRFLOW_HOME": str(self.home),
            "AE_ROOT": str(self.root),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.root / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": key,
            "AIRFLOW__API_AUTH__JWT_SECRET": key,
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
            # For dags/airflow_health.py, which reads this Airflow's task runs.
            "AIRFLOW_CONN_AIRFLOW_API": json.dumps(
                {
                    "conn_type": "http",
                    "host": "http://127.0.0.1",
                    "port": self.port,
                    "login": USER,
                    "password": self.password,
                }
            ),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
            **self.settings,
        }

    def start(self) -> None:
        """Start Airflow and wait until it answers.

        Raises:
            AirflowError: it did not come up.
        """
        self.stop()
        self.port = _free_port()
        _ = self.password
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=self.environment(),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (self.home / "group").write_text(str(self._process.pid), encoding="utf-8")
        began = time.monotonic()
        while not self._healthy():
            waited = time.monotonic() - began
            if self._process.poll() is not None or waited > START_SECONDS:
                tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
                self.stop()
                raise AirflowError("Airflow did not start:\n" + "\n".join(tail))
            if int(waited) % 10 == 0:
                self.say(f"starting Airflow ... {waited:.0f} s")
            time.sleep(1)
        self.say(f"Airflow answers at {self.url} after {time.monotonic() - began:.0f} s")

    def _healthy(self) -> bool:
        try:
            health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
        except (httpx.HTTPError, ValueError):
            return False
        return all(health.get(part, {}).get("status") == "healthy" for part in ("scheduler", "dag_processor"))

    def stop(self) -> None:
        """Stop every process of the group, also one that an earlier run left behind."""
        mark = self.home / "group"
        if mark.exists():
            group = int(mark.read_text(encoding="utf-8") or 0)
            if group and _is_ours(group, self.home):
                _end_group(group)
            mark.unlink(missing_ok=True)
        if self._process is not None:
            _end_group(self._process.pid)
            self._process.wait(timeout=30)
            self._process = None

    def __enter__(self) -> LocalAirflow:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ours(group: int, home: Path) -> bool:
    """Whether a process group still belongs to this AIRFLOW_HOME: numbers are used again."""
    try:
        environ = Path(f"/proc/{group}/environ").read_bytes()
    except OSError:
        return False
    return f"AIRFLOW_HOME={home}".encode() in environ


def _end_group(group: int) -> None:
    for ending, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(group, ending)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-group, os.WNOHANG)
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.2)


def main() -> None:
    """Serve the checkout's Airflow until Ctrl-C, or stop one that was left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stop", action="store_true", help="stop one that was left behind")
    airflow = LocalAirflow(Path(__file__).resolve().parent.parent)
    if parser.parse_args().stop:
        airflow.stop()
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        airflow.start()
        print(f"\n  {airflow.url}\n  user {USER}\n  password {airflow.password}\n\nCtrl-C stops it.", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print("stopping Airflow")
    except AirflowError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):  # make passes a second one on: what is being stopped must stop
            signal.signal(name, signal.SIG_IGN)
        airflow.stop()


if __name__ == "__main__":
    main()
