"""The DAGs of docs/examples, run by Airflow's own `dag.test()` over real flights."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import ae_plugin
from tests.conftest import FLIGHTS, Trained
from tests.running import ROOT

LANDED = ["date=2013-01-11", "date=2013-01-12"]
LABELS = "date,row,what\n2013-01-02,0,early\n2013-01-02,1,early\n2013-01-02,700,late\n2013-01-02,701,late\n"
RUNNER = """
import json
import shutil

from airflow import settings
from airflow.utils.db import initdb

settings.initialize()
initdb()

import bottleneck
import completion
import classes
import embeddings
import operators
import partitions
import synthetic
import taskflow
import traversal

from airflow.sdk import DAG

found = {}
for name, dag in {
    "taskflow": taskflow.flights_in_taskflow, "embeddings": embeddings.dag, "completion": completion.dag,
    "label-fit": classes.labels, "classes": classes.dag, "bottleneck": bottleneck.dag, "operators": operators.dag,
    "synthetic": synthetic.dag, "traversal": traversal.dag,
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
    (root / "labels").mkdir()
    (root / "labels/flights.csv").write_text(LABELS, encoding="utf-8")
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


def test_the_champion_is_traversed(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    assert states["traversal"] == {"traverse -1": "success"}
    record = json.loads((root / "out/flights/_runs/_traversal/newest.json").read_text())
    assert len(record["latents"]) == 5 and record["airflow"]["task_id"] == "traverse"


def test_what_was_scored_is_embedded(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    assert states["embeddings"] == {"embed -1": "success"}
    for name in LANDED:
        assert (root / "out/flights/embeddings" / name / "part-0.parquet").is_file()


def test_a_night_s_work_skips_what_is_done(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    # Completed once more: the other DAG asked for another coverage.
    assert states["bottleneck"] == {"embed -1": "skipped", "complete -1": "success", "generate -1": "success"}
    (path,) = (root / "out/flights/generated").glob("v0001-1000-seed20*-carrier=UA.parquet")
    rows = pq.read_table(path)
    assert rows.num_rows == 1_000 and set(rows.column("carrier").to_pylist()) == {"UA"}
    assert set(rows.column("synthetic").to_pylist()) == {True}


def test_what_was_scored_is_completed(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    assert states["completion"] == {"complete -1": "success"}
    for name in LANDED:
        for dataset in ("completed", "completions"):
            assert (root / "out/flights" / dataset / name / "part-0.parquet").is_file()


def test_what_was_scored_is_classified_by_labels_in_a_file(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    assert states["label-fit"] == {"label_fit -1": "success"}
    assert states["classes"] == {"classify -1": "success"}
    for name in LANDED:
        assert (root / "out/flights/classes" / name / "part-0.parquet").is_file()


def test_an_encoder_is_fine_tuned(ran: tuple[dict[str, Any], Path]) -> None:
    _, root = ran
    sys.path.insert(0, str(root / "dags"))
    try:
        fine_tuning = importlib.import_module("fine_tuning")
    finally:
        sys.path.pop(0)
    out = str(root / "out/flights")
    flights = pd.read_parquet(FLIGHTS / "date=2013-01-09").dropna(subset=["arr_delay"])
    minutes = flights["arr_delay"].to_numpy(np.float32)
    found = fine_tuning.delay_network(out, flights[:200], minutes[:200], epochs=10)
    guessed = found.predict(ae_plugin.load(out).inputs(flights[200:]), verbose=0)[:, 0]
    assert np.abs(guessed - minutes[200:]).mean() < 0.8 * np.abs(minutes[200:] - np.median(minutes[:200])).mean()
    before, after = ae_plugin.encoder(out).get_weights(), found.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=False)), "the encoder is trained on"


def test_rows_are_generated(ran: tuple[dict[str, Any], Path]) -> None:
    states, root = ran
    assert states["synthetic"] == {"generate -1": "success"}
    (made,) = (root / "out/flights/generated").glob("*-seed0-*")
    table = pq.read_table(made)
    assert table.num_rows == 1_000 and set(table.column("carrier").to_pylist()) == {"UA"}


def test_every_example_is_in_the_guide() -> None:
    guide = (ROOT / "docs/guide/airflow.md").read_text(encoding="utf-8")
    examples = sorted(path.name for path in (ROOT / "docs/examples").glob("*.py"))
    assert len(examples) >= 3 and all(f"(../examples/{name})" in guide for name in examples)
