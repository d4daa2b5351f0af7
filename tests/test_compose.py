"""docker-compose.yml, Dockerfile and `make up`, as far as they can be looked at without an engine."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.running import ROOT
from tools.compose_env import SECRETS
from tools.requirements import TRAINING, requirements

needs_compose = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
FILE = ROOT / "docker-compose.yml"


def make_env(folder: Path, **environment: str) -> dict[str, str]:
    """The secrets that tools/compose_env.py leaves in a folder's .env."""
    command = [sys.executable, ROOT / "tools/compose_env.py", folder / ".env"]
    subprocess.run(command, check=True, env={"PATH": os.environ["PATH"], **environment}, capture_output=True)
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def config(env_file: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What docker-compose makes of the file."""
    words = ["docker-compose", "--file", str(FILE), "--env-file", str(env_file), "config"]
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    return make_env(tmp_path)


@pytest.fixture
def services(secrets: dict[str, str], tmp_path: Path) -> dict[str, dict[str, Any]]:
    told = config(tmp_path / ".env")
    assert told.returncode == 0, told.stderr
    found: dict[str, dict[str, Any]] = yaml.safe_load(told.stdout)["services"]
    return found


@needs_compose
def test_every_service_says_how_it_is_and_none_is_root(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["user"].split(":")[0] not in ("", "0", "root"), name
        assert name == "init" or service["healthcheck"]["test"], name
    assert services["worker"]["deploy"]["replicas"] == 2
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8080:8080/tcp"]


@needs_compose
@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_secret_has_a_default(tmp_path: Path, name: str) -> None:
    make_env(tmp_path)
    kept = [line for line in (tmp_path / ".env").read_text().splitlines() if not line.startswith(f"{name}=")]
    (tmp_path / ".env").write_text("\n".join(kept) + "\n")
    told = config(tmp_path / ".env")
    assert told.returncode == 1 and "see make up" in told.stderr


@needs_compose
def test_workers_know_no_more_than_they_need(services: dict[str, dict[str, Any]], secrets: dict[str, str]) -> None:
    def held_by(service: dict[str, Any]) -> set[str]:
        told = " ".join(map(str, service["environment"].values()))
        return {name for name, value in secrets.items() if value in told}

    held = {name: held_by(service) for name, service in services.items()}
    assert held["worker"] == held["trainer"] == {"REDIS_PASSWORD", "AIRFLOW_SECRET"}
    assert held["scheduler"] == set(SECRETS) - {"AIRFLOW_ADMIN_PASSWORD"}
    assert (held["postgres"], held["redis"]) == ({"POSTGRES_PASSWORD"}, {"REDIS_PASSWORD"})
    mounts = {name: {line.split(":")[1] for line in service["volumes"]} for name, service in services.items()}
    assert {name for name, places in mounts.items() if "/opt/airflow/auth" in places} == {"init", "api-server"}


@needs_compose
def test_what_env_says_besides(tmp_path: Path) -> None:
    make_env(tmp_path)
    with (tmp_path / ".env").open("a") as file:
        file.write(f"AE_WORKERS=7\nAE_WORKER_SLOTS=5\nAE_TRAINERS=2\nAE_PORT=9090\nAE_OUT={tmp_path}/lake\n")
    services = yaml.safe_load(config(tmp_path / ".env").stdout)["services"]
    assert (services["worker"]["deploy"]["replicas"], services["trainer"]["deploy"]["replicas"]) == (7, 2)
    assert services["worker"]["command"][-1] == "5" and services["trainer"]["command"][-1] == "1"
    assert services["api-server"]["ports"] == ["127.0.0.1:9090:8080/tcp"]
    assert f"{tmp_path}/lake:/project/out:rw" in services["worker"]["volumes"]


def test_secrets_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    first = make_env(tmp_path)
    assert first.keys() == SECRETS.keys() and len({*first.values()}) == len(SECRETS)
    assert all(len(value) >= 16 for value in first.values())
    file = tmp_path / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(file.read_text().replace(f"REDIS_PASSWORD={first['REDIS_PASSWORD']}", "AE_WORKERS=3"))
    file.chmod(0o644)
    again = make_env(tmp_path, POSTGRES_PASSWORD="another")
    assert again.keys() == {*SECRETS, "AE_WORKERS"} and again["AE_WORKERS"] == "3"
    assert again | {"REDIS_PASSWORD": first["REDIS_PASSWORD"]} == first | {"AE_WORKERS": "3"}
    assert again["REDIS_PASSWORD"] != first["REDIS_PASSWORD"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_secret_that_is_there_already_can_be_handed_in(tmp_path: Path) -> None:
    assert make_env(tmp_path, POSTGRES_PASSWORD="of-the-volume")["POSTGRES_PASSWORD"] == "of-the-volume"


def test_git_and_docker_leave_secrets_alone() -> None:
    ignored = subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT)
    assert ignored.returncode == 0 or not (ROOT / ".git").exists()
    assert not passes(".env") and not passes("sample_data")


def passes(name: str) -> bool:
    """Whether .dockerignore lets a path into the build."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    return any(line[:1] == "!" and (fnmatch(name, line[1:]) or name.startswith(f"{line[1:]}/")) for line in lines)


def test_what_the_images_are_built_of_is_there() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert len(copied) >= 7
    for name in copied:
        assert (ROOT / name).exists() and passes(name), name
    stages = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    services = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"].values()
    targets = {service["build"]["target"] for service in services if "build" in service}
    assert targets <= set(stages)
    for stage in targets:  # what is last said of a user in it
        block = re.split(r"^FROM ", text, flags=re.MULTILINE)[1 + stages.index(stage)]
        assert re.findall(r"^USER (\S+)$", block, re.MULTILINE)[-1:] == ["airflow"]


def test_the_light_image_leaves_out_what_only_trainings_need() -> None:
    project = ROOT / "pyproject.toml"
    everything = requirements(project, ["celery", "postgres"], training=True)
    light = requirements(project, ["celery", "postgres"], training=False)
    assert {re.split(r"[^\w-]", line)[0] for line in {*everything} - {*light}} == set(TRAINING)
    assert any(line.startswith("celery") for line in light)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make up needs of a checkout, and a docker that only says how it was called."""
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "tools/compose_env.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin/docker"
    docker.write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/called\n')
    docker.chmod(0o755)
    return tmp_path


def make(checkout: Path, target: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{checkout}/bin:{os.environ['PATH']}", "HOME": str(checkout)}
    words = ["make", target, f"PYTHON={sys.executable}"]
    return subprocess.run(words, cwd=checkout, env=env, capture_output=True, text=True, timeout=60)


def test_up_makes_the_secrets_and_starts_everything(checkout: Path) -> None:
    ran = make(checkout, "up")
    assert ran.returncode == 0, ran.stderr
    secrets = (checkout / ".env").read_text()
    assert all(f"{name}=" in secrets for name in SECRETS)
    assert not any(line.split("=", 1)[1] in ran.stdout + ran.stderr for line in secrets.splitlines())
    assert "compose up --build --detach --remove-orphans" in (checkout / "called").read_text().splitlines()
    assert make(checkout, "down").returncode == 0 and make(checkout, "up").returncode == 0
    assert (checkout / ".env").read_text() == secrets
    assert "compose down" in (checkout / "called").read_text().splitlines()


def test_up_says_in_a_line_that_docker_has_no_compose(checkout: Path) -> None:
    (checkout / "bin/docker").write_text("#!/bin/bash\nexit 1\n")
    ran = make(checkout, "up")
    assert ran.returncode == 2 and "docker compose is missing" in ran.stdout
    assert not (checkout / ".env").exists()
