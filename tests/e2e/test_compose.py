"""The compose file's own services on this machine: two workers share a run, one of them dies, the run ends whole.

Each service is a container of namespaces (see `containers.py`), since there is no Docker engine where tests run. The
tests run in the order they stand in, and share one stack.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.e2e.compose import Stack
from tests.e2e.conftest import by_task, until
from tests.e2e.containers import Container, missing
from tests.running import ROOT, run_ae, tree

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(lacking := missing()), reason=f"no namespaces: {lacking}")]
TRAIN, SCORE = "flights__train", "flights__score"
TRAINED = [f"date=2013-01-{day:02d}" for day in range(8, 22)]
SMALL = ["date=2013-01-29", "date=2013-02-01", "date=2013-02-06"]
LARGE, COPIES, SHARD_ROWS = "date=2013-02-11", 8, 1000
STEPS = 500
# What the compose file leaves to minutes. With the retry's own minute, a lost task is at work again after 90 seconds.
SOONER = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
}
DATASETS = ("scores", "cells", "denoised")


@dataclass
class Fleet:
    """The running stack, and what became of its one score run."""

    stack: Stack
    project: Path
    score_run: str = ""
    lost: list[dict[str, Any]] = field(default_factory=list)
    dead: str = ""

    @property
    def output(self) -> Path:
        return self.stack.volume("out") / "flights"

    def tasks(self) -> list[dict[str, Any]]:
        return self.stack.tasks(SCORE, self.score_run)

    def on(self, worker: Container, state: str = "running") -> list[dict[str, Any]]:
        """Mapped tasks that a worker has in hand."""
        asked = ("score", "shard")
        return [
            task
            for task in self.tasks()
            if task["task_id"] in asked and task["state"] == state and task["hostname"] == worker.name
        ]


def large_partition(folder: Path) -> None:
    """A day's rows over and over, in row groups that shards are cut between."""
    day = pq.ParquetFile(ROOT / "sample_data/flights" / LARGE / "part-0.parquet").read()
    folder.mkdir(parents=True)
    pq.write_table(pa.concat_tables([day] * COPIES), folder / "part-0.parquet", row_group_size=SHARD_ROWS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as far as services mount it, with few days and few steps."""
    root = tmp_path_factory.mktemp("project")
    (root / "dags/pipelines").mkdir(parents=True)
    shutil.copy(ROOT / "dags/pipelines.py", root / "dags")
    settings = yaml.safe_load((ROOT / "dags/pipelines/flights.yaml").read_text(encoding="utf-8"))
    settings["train"] |= {"steps": STEPS, "until": TRAINED[-1].partition("=")[2]}
    settings["score"]["shard_rows"] = SHARD_ROWS
    (root / "dags/pipelines/flights.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name in [*TRAINED, *SMALL]:
        shutil.copytree(ROOT / "sample_data/flights" / name, root / "sample_data/flights" / name)
    large_partition(root / "sample_data/flights" / LARGE)
    subprocess.run([sys.executable, ROOT / "tools/compose_env.py", root / ".env"], check=True)
    return root


@pytest.fixture(scope="module")
def fleet(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    stack = Stack(tmp_path_factory.mktemp("stack"), project, project / ".env", SOONER)
    try:
        stack.up()
        yield Fleet(stack, project)
    finally:
        stack.down()


def test_nothing_runs_as_root_and_workers_do_not_know_the_database(fleet: Fleet) -> None:
    for containers in fleet.stack.containers.values():
        for container in filter(lambda one: one.running, containers):
            code, said = container.run("sh", "-c", "id --user; id --groups; grep CapBnd /proc/self/status")
            assert code == 0 and said.split()[0] != "0", container.name
    for name in ("worker", "trainer"):
        (container, *_) = fleet.stack.containers[name]
        _, said = container.run("env")
        assert "REDIS" not in said and "postgresql" not in said and "JWT" not in said and "FERNET" not in said
    password = fleet.stack.volume("auth") / "passwords.json"
    assert password.stat().st_mode & 0o077 == 0


def test_only_the_trainer_has_what_trainings_need(fleet: Fleet) -> None:
    (trainer,) = fleet.stack.containers["trainer"]
    assert trainer.run("python", "-c", "import importlib.util as u; assert u.find_spec('keras')")[0] == 0
    worker = fleet.stack.containers["worker"][0]
    assert worker.run("python", "-c", "import keras")[0] == 1
    code, said = worker.run("ae", "--quiet", "train", "dags/pipelines/flights.yaml")
    assert code == 2 and said.count("\n") == 1, said
    assert "keras and tensorflow not installed here" in said and "train.queue" in said


def test_a_training_goes_to_the_trainer_and_wakes_the_scoring(fleet: Fleet) -> None:
    for dag_id in (SCORE, TRAIN):
        fleet.stack.wait_for_dag(dag_id)
    if not until(lambda: bool(fleet.stack.runs(TRAIN)), 20):
        fleet.stack.trigger(TRAIN)
    run_id = fleet.stack.runs(TRAIN)[-1]["dag_run_id"]
    assert fleet.stack.wait_for_run(TRAIN, run_id, seconds=420) == "success"
    tasks = {task["task_id"]: task for task in fleet.stack.tasks(TRAIN, run_id)}
    assert by_task(list(tasks.values())) == {"train": ["success"], "promote": ["success"]}
    assert (tasks["train"]["queue"], tasks["train"]["hostname"]) == ("train", "trainer-1")
    assert tasks["promote"]["queue"] == "default" and tasks["promote"]["hostname"].startswith("worker-")
    assert until(lambda: bool(fleet.stack.runs(SCORE)), 60), "the new champion's asset started no score run"
    fleet.score_run = fleet.stack.runs(SCORE)[-1]["dag_run_id"]


def test_a_worker_dies_with_shards_in_hand(fleet: Fleet) -> None:
    """SIGKILL for all of its processes at once, as when its machine is gone."""
    workers = fleet.stack.containers["worker"]
    assert len(workers) == 2
    busy: set[str] = set()
    deadline = time.monotonic() + 240
    while not fleet.dead:
        assert time.monotonic() < deadline, by_task(fleet.tasks())
        busy |= {worker.name for worker in workers if fleet.on(worker) or fleet.on(worker, "success")}
        victim = next((worker for worker in workers if any(t["task_id"] == "shard" for t in fleet.on(worker))), None)
        if victim is None or len(busy) < len(workers):
            time.sleep(0.2)
            continue
        victim.send(signal.SIGSTOP)  # so that what it has in hand now is what it dies with
        fleet.lost = [task for task in fleet.on(victim) if task["task_id"] == "shard"]
        if fleet.lost:
            victim.kill()
            fleet.dead = victim.name
        else:
            victim.send(signal.SIGCONT)


def test_the_run_ends_whole_all_the_same(fleet: Fleet) -> None:
    assert fleet.lost
    assert fleet.stack.wait_for_run(SCORE, fleet.score_run, seconds=420) == "success"
    tasks = fleet.tasks()
    states = by_task(tasks)
    assert states["score"] == ["success"] * len(SMALL) and states["commit"] == states["summary"] == ["success"]
    assert len(states["shard"]) > 2 and set(states["shard"]) == {"success"}
    ends = {task["map_index"]: task for task in tasks if task["task_id"] == "shard"}
    for lost in fleet.lost:
        ended = ends[lost["map_index"]]
        assert ended["try_number"] == lost["try_number"] + 1
        assert ended["hostname"] != fleet.dead == lost["hostname"]


def test_its_outputs_are_the_bytes_of_a_local_run(fleet: Fleet, tmp_path: Path) -> None:
    shutil.copytree(fleet.project, tmp_path / "local")
    alone = tmp_path / "local/out/flights"
    shutil.copytree(fleet.output / "_models", alone / "_models")
    for name in [*SMALL, LARGE]:
        done = run_ae("--quiet", "score", tmp_path / "local/dags/pipelines/flights.yaml", "--partition", name)
        assert done.code == 0, done.err
    wrong = [pq.read_metadata(path).num_rows for path in (alone / "cells" / LARGE).iterdir()]
    assert len(wrong) > 2 and any(wrong), "nothing to compare"
    for dataset in DATASETS:
        assert tree(fleet.output / dataset) == tree(alone / dataset)
    assert {path.name for path in (fleet.output / "scores").iterdir()} == {*SMALL, LARGE}
    assert not (fleet.output / "_staging").exists()
