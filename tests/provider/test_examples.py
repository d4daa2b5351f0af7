"""The DAGs of docs/examples, run by Airflow's own `dag.test()` over real flights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import FLIGHTS, Trained
from tests.running import ROOT

LANDED = ["date=2013-01-11", "date=2013-01-12"]
RUNNER = """
import json
import shutil

from airflow import settings
from airflow.utils.db import initdb

settings.initialize()
initdb()

import embeddings
import operators
import partitions
import synthetic
import taskflow

from airflow.sdk import DAG

found = {}
for name, dag in {
    "taskflow": taskflow.flights_in_taskflow, "embeddings": embeddings.dag, "synthetic": synthetic.dag,
    "operators": operators.dag,
}.items():
    dag = dag() if callable(dag) else dag
    run = dag.test()
    found[name] = {f"{t.task_id} {t.map_index}": str(t.state) for t in run.get_task_instances()}
    if name == "taskflow":
        again = dag.test()
        found["nothing landed"] = {t.task_id: str(t.state) for t in again.get_task_instances()}
print("\\n" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def ran(flights: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    root = tmp_path_factory.mktemp("examples")
    shutil.copytree(flights.shop.source, root / "sample_data/flights")
    shutil.copytree(flights.shop.output / "_models", root / "out/flights/_models")
    for name in LANDED:
        shutil.copytree(FLIGHTS / name, root / "landing/flights" / name)
        shutil.rmtree(root / "sample_data/flights" / name)
    settings = {
        **flights.shop.settings,
        "source": {**flights.shop.settings["source"], "uri": "sample_data/flights"},
        "output": "out/flights",
    }
    (root / "dags/pipelines").mkdir(parents=True)
    (root / "dags/pipelines/flights.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for path in (ROOT / "docs/examples").glob("*.py"):
        shutil.copy(path, root / "dags")
    env = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW") and k != "PYTHONDONTWRITEBYTECODE"}
    env |= {
        "PYTHONPATH": f"{ROOT}:{root / 'dags'}",
        "AE_ROOT": str(root),
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
    }
    command = [sys.executable, "-c", RUNNER]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), root


def test_a_decorated_function_lands_a_day_and_scores_it(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    assert states["taskflow"] == {"land -1": "success", "check -1": "success", "load -1": "success"}
    for name in LANDED:
        assert (root / "out/flights/denoised" / name / "part-0.parquet").is_file()
        assert (root / "sample_data/flights" / name).is_dir() and not (root / "landing/flights" / name).exists()


def test_a_decorated_function_that_names_nothing_is_skipped(ran: tuple[dict[str, Any], Path]) -> None:
    assert set(ran[0]["nothing landed"].values()) == {"skipped"}


def test_operators_train_promote_and_score_in_one_dag(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    wanted = {"train -1": "success", "discover -1": "success", "score -1": "skipped", "summary -1": "success"}
    found = {name: state for name, state in states["operators"].items() if not name.startswith("promote")}
    assert found == wanted, "all was scored by the other DAG"
    assert states["operators"]["promote -1"] in ("success", "skipped"), "the gate has the word"
    assert (root / "out/flights/_models/v0002").is_dir()


def test_what_was_scored_is_embedded(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    assert states["embeddings"] == {"embed -1": "success"}
    for name in LANDED:
        assert (root / "out/flights/embeddings" / name / "part-0.parquet").is_file()


def test_rows_are_generated(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    assert states["synthetic"] == {"generate -1": "success"}
    (made,) = (root / "out/flights/generated").iterdir()
    table = pq.read_table(made)
    assert table.num_rows == 1_000 and set(table.column("carrier").to_pylist()) == {"UA"}


def test_every_example_is_in_the_guide() -> None:
    guide = (ROOT / "docs/guide/airflow.md").read_text(encoding="utf-8")
    examples = sorted(path.name for path in (ROOT / "docs/examples").glob("*.py"))
    assert len(examples) >= 3 and all(f"(../examples/{name})" in guide for name in examples)
