"""One real Airflow for all end-to-end tests: the shipped DAG file and pipeline, over fewer days of flights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ae_plugin import config
from ae_plugin.config import Pipeline
from tests.running import ROOT
from tools.local_airflow import LocalAirflow

TRAINED = [f"date=2013-01-{day:02d}" for day in range(8, 29)]
QUIET = ["date=2013-01-29", "date=2013-02-01", "date=2013-02-06"]
FOG, BLIZZARD = "date=2013-01-30", "date=2013-02-08"
SPOILT = [f"date=2013-02-{day:02d}" for day in (3, 5, 7, 10, 11, 13)]
SCORED = sorted([*QUIET, FOG, BLIZZARD, *SPOILT])


@dataclass
class House:
    """A running Airflow, its checkout and what has run in it."""

    airflow: LocalAirflow
    root: Path
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
    settings = yaml.safe_load((ROOT / "dags/pipelines/flights.yaml").read_text(encoding="utf-8"))
    settings["train"]["steps"] = 1000
    (root / "dags/pipelines/flights.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name in [*TRAINED, *SCORED]:
        shutil.copytree(ROOT / "sample_data/flights" / name, root / "sample_data/flights" / name)
    with LocalAirflow(root) as airflow:
        yield House(airflow, root)
