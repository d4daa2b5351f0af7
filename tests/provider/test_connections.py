"""Airflow's connections: a pipeline whose source and output are on a real S3 server, run by Airflow's own `dag.test()`.

No credentials are in the environment: whatever reaches the server came from a connection. Airflow reads its home when
it is imported, so it runs in processes of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ae_plugin.jobs.score import score
from tests.conftest import Trained
from tests.running import ROOT
from tests.shop import FRESH, Shop, day
from tests.stores import KEYS, Asked, Bucket, Proxy

PARTITION = f"date={day(FRESH)}"
DATASETS = [f"{name}/{PARTITION}/part-0.parquet" for name in ("scores", "cells", "denoised")]
# Airflow looks only into files that have its name in them.
DAGS = """
# The DAGs of this test, for Airflow.
import datetime, json, os

from ae_plugin import config
from ae_plugin.provider import dag_factory

for path in json.loads(os.environ["PLAN"]):
    dag = dag_factory.score_dag(config.load(path), path)
    for task in dag.tasks:
        getattr(task, "partial_kwargs", {})["retry_delay"] = datetime.timedelta(0)
        if not task.is_mapped:
            task.retry_delay = datetime.timedelta(0)
    globals()[dag.dag_id] = dag
"""
RUNNER = """
import json

from airflow import settings
from airflow.utils.db import initdb

settings.initialize()
initdb()

import dags

found = {}
for name in ("lake", "nobody"):
    print(f"RUN {name}", flush=True)
    run = getattr(dags, f"{name}__score").test()
    found[name] = {t.task_id: (str(t.state), t.try_number) for t in run.get_task_instances()}
print("\\n" + json.dumps(found))
"""
# As the API server runs: it looks connections up in its own database.
SERVER = """
import json, os, sys, time

os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
from airflow import settings
from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models import Connection
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ae_plugin.web.plugin import AnomaliesPlugin

settings.initialize()
with settings.get_session()() as session:
    session.add(Connection(**json.loads(os.environ["CONNECTION"])))
    session.commit()
host = FastAPI()
for mounted in AnomaliesPlugin.fastapi_apps:
    host.mount(mounted["url_prefix"], mounted["app"])
token = init_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ann", role="ADMIN"))
client = TestClient(host, headers={"Authorization": f"Bearer {token}"})
for _ in range(100):  # a store is read beside the requests
    if client.get("/ae/api/pipelines").json()["left"] == 0:
        break
    time.sleep(0.2)
asked = {path: client.get(f"/ae/api/pipelines{path}") for path in ("", "/lake/runs", "/lake/models", "/nobody/runs")}
print("\\n" + json.dumps({path: [answer.status_code, answer.json()] for path, answer in asked.items()}))
"""


@dataclass(frozen=True)
class Ran:
    """State and tries of each task, what was logged, what the API answered, and whose credentials the server saw."""

    tasks: dict[str, dict[str, list[object]]]
    logs: dict[str, str]
    answers: dict[str, Any]
    of_tasks: set[str]
    of_the_api: set[str]
    bucket: Bucket
    wanted: dict[str, bytes]


def spoken(code: str, root: Path, **env: str) -> str:
    """What code prints, inside Airflow."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "AWS")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    nowhere = {name: KEYS[name] for name in KEYS if "KEY" not in name}
    env = (
        kept
        | nowhere
        | {
            "PYTHONPATH": f"{ROOT}:{root / 'dags'}",
            "AIRFLOW_HOME": str(root / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
            **env,
        }
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def ran(trained: Trained, s3: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A score run with a connection, one with a connection that there is not, and what the API says of both."""
    root = tmp_path_factory.mktemp("connections")
    s3.anew()
    bucket = Bucket("lake", s3)
    bucket.make()
    local = trained.shop.copy(root / "local")
    # Only the day that is scored, so that nothing else is due.
    bucket.put(local.source / PARTITION, f"orders/{PARTITION}")
    bucket.put(local.output, "out")
    score(local.pipeline, PARTITION)
    wanted = {name: (local.output / name).read_bytes() for name in DATASETS}
    pipelines = root / "dags/pipelines"
    pipelines.mkdir(parents=True)
    (root / "dags/dags.py").write_text(DAGS)
    yamls = []
    for name, connection in (("lake", "lake_s3"), ("nobody", "not_there")):
        places = {"source": {"uri": f"s3://{connection}@lake/orders"}, "output": f"s3://{connection}@lake/out"}
        shop = Shop(pipelines, {**trained.shop.settings, "name": name}).write().set(**places)
        yamls.append(shop.yaml.rename(pipelines / f"{name}.yaml"))
    tries = {"retries": {"total_max_attempts": 2}}
    extra = {"endpoint_url": s3.url, "region_name": "us-east-1", "config_kwargs": tries}
    connection = {"conn_type": "aws", "login": "key-of-tasks", "password": "s3-secret", "extra": extra}
    s3.asked = []
    # The first thing that a task writes fails as often as the connection allows: Airflow tries the task again.
    refused: list[Asked] = []

    def fate(asked: Asked) -> int | None:
        if asked.method == "PUT" and len(refused) < 2:
            refused.append(asked)
            return 503
        return None

    s3.fate = fate
    out = spoken(
        RUNNER, root, PLAN=json.dumps([str(path) for path in yamls]), AIRFLOW_CONN_LAKE_S3=json.dumps(connection)
    )
    of_tasks = {one.who for one in s3.asked}
    s3.anew()
    stored = {**connection, "conn_id": "lake_s3", "login": "key-of-the-api", "extra": json.dumps(extra)}
    answers = spoken(SERVER, root, CONNECTION=json.dumps(stored))
    of_the_api = {one.who for one in s3.asked}
    logs = dict(part.split("\n", 1) for part in out.split("RUN ")[1:])
    tasks, told = json.loads(out.splitlines()[-1]), json.loads(answers.splitlines()[-1])
    return Ran(tasks, logs, told, of_tasks, of_the_api, bucket, wanted)


def test_tasks_read_and_write_with_the_connection_s_credentials(ran: Ran) -> None:
    assert {state for state, _ in ran.tasks["lake"].values()} <= {"success", "skipped"}, ran.logs["lake"][-3000:]
    held = ran.bucket.contents("out")
    assert {name: held[name] for name in DATASETS} == ran.wanted, "as on this machine"
    assert ran.of_tasks == {"key-of-tasks"}
    assert "s3-secret" not in ran.logs["lake"] + ran.logs["nobody"]


def test_a_store_that_is_down_makes_airflow_try_the_task_again(ran: Ran) -> None:
    assert ran.tasks["lake"]["score"] == ["success", 2]
    assert "cannot be written (" in ran.logs["lake"] and "Make room, or try again" in ran.logs["lake"]


def test_a_connection_that_there_is_not_is_one_line_and_not_tried_again(ran: Ran) -> None:
    """The Amazon provider would take whatever credentials it finds."""
    assert ran.tasks["nobody"]["discover"] == ["failed", 1]
    line = "s3://not_there@lake/out: cannot be opened (The conn_id `not_there` isn't defined). Check the connection"
    assert line in ran.logs["nobody"]


def test_the_api_reads_the_output_with_the_connection(ran: Ran) -> None:
    status, runs = ran.answers["/lake/runs"]
    assert status == 200 and [run["partition"] for run in runs["runs"]] == [PARTITION]
    assert ran.answers["/lake/models"][0] == 200
    status, listed = ran.answers[""]
    assert status == 200 and [one["name"] for one in listed["pipelines"]] == ["nobody", "lake"]
    nobody, lake = listed["pipelines"]
    assert nobody["state"] == "unreadable" and "Check the connection" in nobody["problem"]
    assert lake["last_partition"] == PARTITION and lake["state"] != "unreadable"
    status, said = ran.answers["/nobody/runs"]
    assert status == 409 and "Check the connection" in said["detail"]
    assert ran.of_the_api == {"key-of-the-api"}
