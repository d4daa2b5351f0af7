"""One real Airflow for all end-to-end tests: the shipped DAG file and pipelines, over fewer days of the samples."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ae_plugin import config
from ae_plugin.config import Pipeline
from tests.listening import Heard, listening
from tests.running import ROOT
from tools.local_airflow import LocalAirflow

TRAINED = [f"date=2013-01-{day:02d}" for day in range(8, 29)]
QUIET = ["date=2013-01-29", "date=2013-02-01", "date=2013-02-06"]
FOG, BLIZZARD = "date=2013-01-30", "date=2013-02-08"
SPOILT = [f"date=2013-02-{day:02d}" for day in (3, 5, 7, 10, 11, 13)]
SCORED = sorted([*QUIET, FOG, BLIZZARD, *SPOILT])
BOARDS_TRAINED = [f"date=2026-05-{day:02d}" for day in range(9, 21)]
BOARDS_SCORED = ["date=2026-05-21", "date=2026-05-22"]
STEPS = {"flights": 1000, "boards": 40}
PROMOTE = {"flights": "auto", "boards": "never"}  # no gate lets so short a training of pictures pass


def until(true: Callable[[], bool], seconds: float = 120) -> bool:
    """Wait until something is true; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(2)
    return False


def by_task(tasks: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The states of each task, mapped ones together."""
    states: dict[str, list[str]] = {}
    for task in tasks:
        states.setdefault(str(task["task_id"]), []).append(str(task["state"]))
    return {name: sorted(found) for name, found in states.items()}


@dataclass
class House:
    """A running Airflow, its checkout and what has run in it."""

    airflow: LocalAirflow
    root: Path
    heard: Heard
    first_tasks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def pipeline(self) -> Pipeline:
        return config.load(self.root / "dags/pipelines/flights.yaml").resolved(self.root)

    @property
    def output(self) -> Path:
        return self.root / "out/flights"

    @property
    def source(self) -> Path:
        return self.root / "sample_data/flights"

    def first_training(self, name: str) -> dict[str, list[str]]:
        """Switch a pipeline's DAGs on and let it train; returns the states of the training's tasks."""
        train = f"{name}__train"
        self.airflow.wait_for_dag(f"{name}__score")
        self.airflow.wait_for_dag(train)
        if not until(lambda: bool(self.airflow.runs(train)), 20):
            self.airflow.trigger(train)
        run = self.airflow.runs(train)[-1]["dag_run_id"]
        assert self.airflow.wait_for_run(train, run, seconds=420) == "success"
        return by_task(self.airflow.tasks(train, run))

    def run(self, dag_id: str) -> tuple[str, list[dict[str, Any]], str]:
        """Start a DAG by hand and wait; returns its state, its task instances and its run id."""
        run_id = self.airflow.trigger(dag_id)
        state = self.airflow.wait_for_run(dag_id, run_id, seconds=420)
        return state, self.airflow.tasks(dag_id, run_id), run_id

    def log(self, dag_id: str, run_id: str, task: dict[str, Any]) -> str:
        return "\n".join(self.airflow.task_log(dag_id, run_id, task))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp("house")
    (root / "dags/pipelines").mkdir(parents=True)
    shutil.copy(ROOT / "dags/pipelines.py", root / "dags")
    for name, steps in STEPS.items():
        settings = yaml.safe_load((ROOT / f"dags/pipelines/{name}.yaml").read_text(encoding="utf-8"))
        settings["train"]["steps"] = steps
        settings["promote"] = PROMOTE[name]
        (root / f"dags/pipelines/{name}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    days = {"flights": [*TRAINED, *SCORED], "boards": [*BOARDS_TRAINED, *BOARDS_SCORED]}
    for name, partitions in days.items():
        for partition in partitions:
            shutil.copytree(ROOT / "sample_data" / name / partition, root / "sample_data" / name / partition)
    with listening() as heard, LocalAirflow(root, settings=heard.statsd) as airflow:
        yield House(airflow, root, heard)
