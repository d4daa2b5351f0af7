"""docker-compose.yml on this machine: each service's own command, environment, user, volumes and health check."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e.containers import NETWORK, USERS, Container, Mount, Network
from tests.running import ROOT
from tools.airflow_api import AirflowApi

TRAINING = ("keras", "tensorflow")
HEALTHY_SECONDS = 180.0
# What the image's entry point does before it starts the server.
POSTGRES = """
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" > /tmp/password
    initdb --username "$POSTGRES_USER" --pwfile /tmp/password --auth scram-sha-256 --encoding UTF8 --no-sync
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single postgres
fi
exec postgres -c listen_addresses='*'
"""


def read_config(project: Path, env_file: Path) -> dict[str, Any]:
    """The compose file as docker-compose understands it, with `project` as the checkout that it lies in."""
    words = ["docker-compose", "--file", str(ROOT / "docker-compose.yml"), "--project-directory", str(project)]
    told = subprocess.run([*words, "--env-file", str(env_file), "config"], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = yaml.safe_load(told.stdout.replace("$$", "$"))
    return found


@dataclass
class Stack(AirflowApi):
    """The services of the compose file, each in containers of its own.

    Args:
        folder: for volumes and logs.
        project: a checkout as far as services mount it: dags/ and sample_data/.
        env_file: its .env.
        besides: what the environment of all Airflow's services is to hold besides.
    """

    folder: Path
    project: Path
    env_file: Path
    besides: Mapping[str, str]
    containers: dict[str, list[Container]] = field(default_factory=dict)
    _network: Network = field(default_factory=Network)
    _published: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _client: httpx.Client | None = None

    def __post_init__(self) -> None:
        self.config = read_config(self.project, self.env_file)
        self.services: dict[str, dict[str, Any]] = self.config["services"]

    @property
    def url(self) -> str:
        return "http://localhost"

    @property
    def password(self) -> str:
        return str(self.services["init"]["environment"]["ADMIN_PASSWORD"])

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        assert self._client is not None
        return self._client.request(method, self.url + path, timeout=60, **kwargs)

    def volume(self, name: str) -> Path:
        """Where a named volume lies."""
        assert name in self.config["volumes"]
        return self.folder / "volumes" / name

    def up(self) -> None:
        """Start every service, each when those that it depends on are as it asks."""
        for part in ("logs", *(f"volumes/{name}" for name in self.config["volumes"])):
            (self.folder / part).mkdir(parents=True)
        self._network.start()
        self._place()
        left = dict(self.services)
        while left:
            ready = [name for name, service in left.items() if not service.get("depends_on", {}).keys() & left.keys()]
            assert ready, f"they depend on one another: {sorted(left)}"
            for name in ready:
                for other, asked in left.pop(name).get("depends_on", {}).items():
                    self.wait_for(other, asked["condition"])
                for container in self.containers[name]:
                    container.start(self._command(name))
        for name in self.services:
            condition = "service_healthy" if "healthcheck" in self.services[name] else "service_completed_successfully"
            self.wait_for(name, condition)

    def down(self) -> None:
        """Kill everything."""
        for containers in self.containers.values():
            for container in containers:
                container.kill()
        for process in self._published:
            process.kill()
            process.wait()
        self._network.stop()

    def wait_for(self, name: str, condition: str, seconds: float = HEALTHY_SECONDS) -> None:
        """Wait until each container of a service is healthy, or has done its work."""
        deadline = time.monotonic() + seconds
        for container in self.containers[name]:
            while not self._is(container, name, condition):
                in_time = time.monotonic() < deadline
                assert in_time and (container.running or condition.endswith("successfully")), container.tail()
                time.sleep(0.5)

    def _is(self, container: Container, name: str, condition: str) -> bool:
        assert container.process is not None
        if condition == "service_completed_successfully":
            assert container.process.poll() in (None, 0), container.tail()
            return not container.running
        assert condition == "service_healthy"
        how, *words = self.services[name]["healthcheck"]["test"]
        done = container.run(*({"CMD": [], "CMD-SHELL": ["/bin/sh", "-c"]}[how]), *words)[0] == 0
        if done and name == "api-server" and self._client is None:
            self._publish(container)
        return done

    def _publish(self, container: Container) -> None:
        socket = self.folder / "api"
        self._published.append(self._network.publish(container.address, 8080, socket))
        while not socket.exists():
            time.sleep(0.05)
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)))

    def _place(self) -> None:
        """Give each container its name and address, and tell all of them."""
        hosts = ["127.0.0.1 localhost"]
        for name, service in self.services.items():
            self.containers[name] = []
            for number in range(1, service.get("deploy", {}).get("replicas", 1) + 1):
                address = f"{NETWORK}.{len(hosts) + 1}"
                first = [name] if number == 1 else []
                hosts.append(" ".join([address, f"{name}-{number}", *first]))
                self.containers[name].append(self._container(name, f"{name}-{number}", address))
        (self.folder / "hosts").write_text("\n".join(hosts) + "\n")
        users = [f"{name}:x:{number}:0::/home/user:/bin/sh" for name, number in USERS.items()]
        (self.folder / "passwd").write_text("\n".join(users) + "\n")

    def _container(self, name: str, hostname: str, address: str) -> Container:
        service = self.services[name]
        mounts = [self._mount(line) for line in service["volumes"]]
        mounts += [Mount(self.folder / part, f"/etc/{part}", read_only=True) for part in ("hosts", "passwd")]
        environment = {key: value for key, value in service["environment"].items() if value is not None}
        if "build" in service:
            environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self.besides}
            path, workdir = [str(Path(sys.executable).parent)], "/project"
            if service["build"]["target"] == "airflow":
                mounts += self._without_training()
        else:
            found = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name))
            path, workdir = [str(found)], "/"
            if name == "postgres":
                environment["PGDATA"] = "/var/lib/postgresql/data"
        logs = self.folder / "logs"
        return Container(self._network, hostname, address, service["user"], environment, mounts, logs, path, workdir)

    def _mount(self, line: str) -> Mount:
        source, target, *mode = line.split(":")
        place = Path(source) if source.startswith("/") else self.volume(source)
        return Mount(place, target, read_only=mode == ["ro"])

    def _without_training(self) -> list[Mount]:
        """This environment's packages without those that the image has not: links to all others."""
        packages, all_of_them = Path(sysconfig.get_path("purelib")).resolve(), "/packages"
        links = self.folder / "packages"
        if not links.exists():
            links.mkdir()
            for entry in packages.iterdir():
                if entry.name.split("-")[0] not in TRAINING:
                    (links / entry.name).symlink_to(f"{all_of_them}/{entry.name}")
        return [Mount(packages, all_of_them, read_only=True), Mount(links, str(packages), read_only=True)]

    def _command(self, name: str) -> list[str]:
        if name == "postgres":
            return ["bash", "-euc", POSTGRES]
        command: list[str] = self.services[name]["command"]
        return command
