"""Containers without an engine: bubblewrap's namespaces over this machine's own files, wired to one bridge.

Each has an address, a host name and processes of its own, runs as a user that is not root and has no capabilities, and
can write only to its volumes and to temporary folders. It needs no rights: all of it lies in one user namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.running import ROOT

NETWORK = "10.77.0"
USERS = {"root": 0, "postgres": 999, "redis": 999, "airflow": 50000}
NEEDED = (
    "unshare",
    "nsenter",
    "setpriv",
    "ip",
    "bwrap",
    "socat",
    "docker-compose",
    "redis-server",
    "pg_isready",
    "curl",
)
_TO_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def missing() -> str:
    """What this machine lacks to run containers; empty when it lacks nothing."""
    if lacking := [name for name in NEEDED if shutil.which(name) is None]:
        return f"not installed: {', '.join(lacking)}"
    tried = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True, text=True)
    return tried.stderr.strip()


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine at a place in a container."""

    source: Path
    target: str
    read_only: bool = False

    @property
    def words(self) -> list[str]:
        return ["--ro-bind" if self.read_only else "--bind", str(self.source), self.target]


@dataclass
class Network:
    """A bridge in a network namespace of its own, from which no other machine can be reached."""

    _holder: subprocess.Popen[bytes] | None = None
    _wired: int = 0

    def start(self) -> None:
        """Make the namespace and the bridge."""
        words = ["unshare", "--user", "--map-root-user", "--net", *_TO_DIE_WITH_US, "sleep", "infinity"]
        self._holder = subprocess.Popen(words)
        while "sleep" not in Path(f"/proc/{self._holder.pid}/comm").read_text():
            assert self._holder.poll() is None
        bridge = ("link add br0 type bridge", f"addr add {NETWORK}.1/24 dev br0", "link set br0 up", "link set lo up")
        for line in bridge:
            self.run("ip", *line.split())

    def stop(self) -> None:
        """End it; what is wired to it goes on without it."""
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()

    def inside(self, *words: str) -> list[str]:
        """A command that runs other words in this network."""
        assert self._holder is not None
        return ["nsenter", "--user", "--net", "--preserve-credentials", "--target", str(self._holder.pid), *words]

    def run(self, *words: str) -> None:
        """Run a command in this network."""
        subprocess.run(self.inside(*words), check=True, timeout=30)

    def wire(self, process: int, address: str) -> None:
        """Wire the network namespace of a process to the bridge."""
        self._wired += 1
        end = f"veth{self._wired}"
        self.run("ip", *f"link add {end} type veth peer name eth0 netns {process}".split())
        self.run("ip", *f"link set {end} master br0 up".split())
        for line in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            self.run("nsenter", f"--net=/proc/{process}/ns/net", "ip", *line.split())

    def publish(self, address: str, port: int, socket: Path) -> subprocess.Popen[bytes]:
        """Make a port of a container a Unix socket on this machine."""
        ends = [f"UNIX-LISTEN:{socket},fork", f"TCP:{address}:{port}"]
        return subprocess.Popen(self.inside(*_TO_DIE_WITH_US, "socat", *ends))


@dataclass
class Container:
    """One container.

    Args:
        network: that it is wired to.
        name: its host name.
        address: its own.
        user: `50000:0`, or a name of `USERS`.
        environment: all of it, but for PATH, HOME and HOSTNAME.
        mounts: over this machine's files.
        folder: for its log.
        path: folders of commands, before this machine's own.
        workdir: where its command starts.
    """

    network: Network
    name: str
    address: str
    user: str
    environment: Mapping[str, str]
    mounts: Sequence[Mount]
    folder: Path
    path: Sequence[str] = ()
    workdir: str = "/"
    process: subprocess.Popen[bytes] | None = None
    _first: int = 0
    _environment: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """Everything that it prints."""
        return self.folder / f"{self.name}.log"

    def start(self, command: Sequence[str]) -> None:
        """Start its command, once it is wired."""
        user, _, group = self.user.partition(":")
        uid = USERS[user] if user in USERS else int(user)
        self._environment = {
            "PATH": os.pathsep.join([*self.path, "/usr/local/bin:/usr/bin:/bin"]),
            "HOME": "/home/user",
            "HOSTNAME": self.name,
            **{name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")},
            **self.environment,
        }
        info, told = os.pipe()
        wait, go = os.pipe()
        words = [
            *("bwrap", "--unshare-user", "--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-net"),
            *("--die-with-parent", "--uid", str(uid), "--gid", group or str(uid), "--hostname", self.name),
            *("--info-fd", str(told), "--block-fd", str(wait), "--clearenv"),
            *(word for pair in self._environment.items() for word in ("--setenv", *pair)),
            *_files(self.mounts),
            *("--dir", self.workdir, "--chdir", self.workdir),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.network.inside(*words, "--", *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(told, wait),
                start_new_session=True,
            )
        os.close(told)
        os.close(wait)
        with os.fdopen(info) as answer, os.fdopen(go, "w") as signal_to_go:
            said = answer.read()
            assert said, self.tail()
            self._first = int(json.loads(said)["child-pid"])
            try:
                self.network.wire(self._first, self.address)
            except subprocess.CalledProcessError:
                pytest.fail(self.tail())
            signal_to_go.write("go\n")

    def run(self, *words: str, seconds: float = 60) -> tuple[int, str]:
        """Run a command inside, as `docker exec` does; returns its exit code, and what it said."""
        spaces = ("--user", "--mount", "--uts", "--ipc", "--net", "--pid", "--preserve-credentials")
        enter = ["nsenter", *spaces, f"--target={self._first}"]
        setting = ["env", f"--chdir={self.workdir}", "--ignore-environment"]
        setting += [f"{name}={value}" for name, value in self._environment.items()]
        done = subprocess.run(
            [*enter, *setting, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
        )
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def tail(self, lines: int = 25) -> str:
        """The end of its log."""
        return f"{self.name}:\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def running(self) -> bool:
        """Whether its command has not ended."""
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to each of its processes."""
        for process in self._processes():
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue

    def kill(self) -> None:
        """SIGKILL for its first process: the kernel then ends all others with it."""
        if self.process is not None:
            if self.running:
                os.kill(self._first, signal.SIGKILL)
            self.process.wait(timeout=60)

    def _processes(self) -> Iterator[int]:
        own = os.readlink(f"/proc/{self._first}/ns/pid")
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    if os.readlink(entry / "ns/pid") == own:
                        yield int(entry.name)
                except OSError:
                    continue


def _files(mounts: Sequence[Mount]) -> Iterator[str]:
    """bwrap's words: this machine's files read-only, room for what a container has besides, and its mounts."""
    for entry in sorted(Path("/").iterdir()):
        if entry.is_symlink():
            yield from ("--symlink", str(entry.readlink()), str(entry))
        elif entry.is_dir() and entry.name not in ("proc", "dev", "sys", "tmp", "run", "home"):
            yield from ("--ro-bind", str(entry), str(entry))
    yield from ("--proc", "/proc", "--dev", "/dev", "--dir", "/home/user", "--dir", "/run/postgresql")
    yield from ("--tmpfs", "/tmp", "--tmpfs", "/var/tmp")
    # A place that this machine does not have gets an empty folder around it.
    new = [mount for mount in mounts if not Path(mount.target).exists()]
    around = {next(above for above in Path(mount.target).parents if above.exists()) for mount in new} - {Path("/")}
    yield from (word for folder in sorted(around) for word in ("--tmpfs", str(folder)))
    for mount in sorted(mounts, key=lambda mount: mount.target):
        yield from mount.words
    # What the interpreter needs may lie in a folder that is empty now.
    hidden = tuple(f"{folder}/" for folder in ("/tmp", "/home", *around))
    for place in sorted({sys.prefix, sys.base_prefix, str(ROOT)}):
        if place.startswith(hidden):
            yield from ("--ro-bind", place, place)
