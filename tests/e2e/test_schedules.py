"""Runs of one partition each, backfills, shards, late runs, drift and approval, on a real scheduler.

The model is trained beforehand, and small: what counts here is what Airflow does with it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import Trained
from tests.e2e.conftest import House, until
from tests.running import ROOT
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, write_day

pytestmark = pytest.mark.e2e
TOLD = '''
from airflow.sdk import BaseNotifier


class Told(BaseNotifier):
    """Writes what it is told to a file."""

    template_fields = ("text",)

    def __init__(self, path, text):
        super().__init__()
        self.path, self.text = path, text

    def notify(self, context):
        with open(self.path, "a") as file:
            file.write(self.text + chr(10))
'''
LARGE, SMALL, STRANGE, MISSING = (f"date={day(FRESH + n)}" for n in (0, 1, 2, 4))


@dataclass
class Shops:
    """Pipelines of orders in the running Airflow, by name."""

    house: House
    keyed: Shop
    dated: Shop
    asked: Shop

    @property
    def told(self) -> Path:
        return self.house.root / "told"


def add(house: House, trained: Trained, name: str, **sections: Any) -> Shop:
    """A pipeline of its own, with the trained model; its YAML is among those of the DAG file."""
    shop = trained.shop.copy(house.root / name).set(name=name, **sections)
    uris = {
        "source": {**shop.settings["source"], "uri": f"{name}/orders"},
        "output": f"{name}/out",
    }
    path = house.root / f"dags/pipelines/{name}.yaml"
    path.write_text(yaml.safe_dump({**shop.settings, **uris}), encoding="utf-8")
    return shop


@pytest.fixture(scope="module")
def shops(house: House, trained: Trained) -> Iterator[Shops]:
    (house.root / "dags/told.py").write_text(TOLD, encoding="utf-8")
    text = "{{ alert.event }} of {{ alert.pipeline }}: {{ alert.says }}"
    late = {"when": ["late"], "after": "1m", "notifier": "told.Told"}
    keyed = add(
        house,
        trained,
        "keyed",
        score={"schedule": "partition", "shard_rows": 1_000},
        train={"until": None, "on_drift": 1},
        alerts=[{**late, "args": {"path": str(house.root / "told"), "text": text}}],
    )
    write_day(keyed.source, FRESH, make_orders(4_000, day(FRESH)), row_group_size=500)
    strange = make_orders(300, day(FRESH + 2))
    for name in ("quantity", "weight", "rating"):
        column = pc.add(strange[name].cast("float64"), 1e6).cast(strange.schema.field(name).type, safe=False)
        strange = strange.set_column(strange.schema.get_field_index(name), strange.schema.field(name), column)
    write_day(keyed.source, FRESH + 2, strange)
    dated = add(house, trained, "dated", score={"schedule": "0 5 * * *", "partition_key": "%Y-%m-%d"})
    asked = add(house, trained, "asked", promote="approval", train={"until": day(LAST_TRAINED), "steps": 30})
    for name in ("keyed__score", "dated__score", "asked__train"):
        house.airflow.wait_for_dag(name)
    yield Shops(house, keyed, dated, asked)
    for name in ("keyed", "dated", "asked"):
        (house.root / f"dags/pipelines/{name}.yaml").unlink()


def announce(shops: Shops, partition: str) -> str:
    """Say that a partition of the source is there, as the DAG that wrote it would; returns the run's id."""
    airflow = shops.house.airflow
    assets = airflow.call("GET", "/assets?name_pattern=keyed.source")["assets"]
    (asset,) = (one["id"] for one in assets if one["name"] == "keyed.source")
    airflow.call("POST", "/assets/events", json={"asset_id": asset, "partition_key": partition})

    def run() -> str:
        return next((r["dag_run_id"] for r in airflow.runs("keyed__score") if r["partition_key"] == partition), "")

    assert until(lambda: bool(run())), "the event started no run"
    return run()


def states(shops: Shops, dag: str, run: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for task in shops.house.airflow.tasks(dag, run):
        found.setdefault(task["task_id"], set()).add(str(task["state"]))
    return found


@pytest.fixture(scope="module")
def waiting(shops: Shops) -> str:
    """A run whose partition is not there yet."""
    return announce(shops, MISSING)


def test_an_event_of_a_partition_scores_that_partition(shops: Shops, waiting: str) -> None:
    run = announce(shops, SMALL)
    assert shops.house.airflow.wait_for_run("keyed__score", run, seconds=200) == "success"
    assert [path.name for path in (shops.keyed.output / "scores").iterdir()] == [SMALL]
    events = shops.house.airflow.call("GET", "/assets/events?limit=100")["asset_events"]
    told = [event for event in events if event["name"] == "keyed.denoised"]
    assert [event["partition_key"] for event in told] == [SMALL], "keys carry through"


def test_a_large_partition_is_scored_by_many_tasks(shops: Shops) -> None:
    run = announce(shops, LARGE)
    assert shops.house.airflow.wait_for_run("keyed__score", run, seconds=200) == "success"
    tasks = shops.house.airflow.tasks("keyed__score", run)
    names = [task["rendered_map_index"] for task in tasks if task["task_id"] == "shard"]
    assert sorted(names) == [f"{LARGE} {number}/4" for number in (1, 2, 3, 4)]
    parts = sorted((shops.keyed.output / "scores" / LARGE).iterdir())
    rows = [row for part in parts for row in pq.ParquetFile(part).read()["row"].to_pylist()]
    assert len(parts) == 4 and rows == list(range(4_000))


def test_drift_is_an_event_and_asks_for_one_training(shops: Shops) -> None:
    run = announce(shops, STRANGE)
    assert shops.house.airflow.wait_for_run("keyed__score", run, seconds=200) == "success"
    assert states(shops, "keyed__score", run)["alert"] == {"success"}
    assert states(shops, "keyed__score", run)["retrain"] == {"success"}
    events = shops.house.airflow.call("GET", "/assets/events?limit=100")["asset_events"]
    (told,) = (event for event in events if event["name"] == "keyed.alerts")
    assert told["extra"]["partitions"] == {STRANGE: "unfamiliar"} and told["partition_key"] == STRANGE
    (training,) = shops.house.airflow.runs("keyed__train")
    assert training["dag_run_id"] == "retrain_after_v0001"
    (reason,) = training["conf"]["reasons"]
    assert reason == f"1 partition moved since v0001 was trained, at last {STRANGE}"


def test_a_partition_that_does_not_come_is_late(shops: Shops, waiting: str) -> None:
    assert until(shops.told.exists, 150)
    assert shops.told.read_text().splitlines() == [f"late of keyed: {MISSING}: not done 1m after it was queued"]
    assert states(shops, "keyed__score", waiting)["wait"] == {"up_for_reschedule"}, "it holds no worker"


def backfill(shops: Shops) -> list[str]:
    """Score three days, one of which has no data; returns the runs, oldest first."""
    airflow = shops.house.airflow
    before = {run["dag_run_id"] for run in airflow.runs("dated__score")}
    command = "-m airflow backfill create --dag-id dated__score --reprocess-behavior completed".split()
    # The days' ticks of the cron expression count, at five in the morning.
    span = ["--from-date", day(FRESH), "--to-date", f"{day(FRESH + 2)}T23:59"]

    def created() -> bool:
        # Airflow takes a moment to see that an earlier backfill is done, and refuses a second one meanwhile.
        done = subprocess.run([sys.executable, *command, *span], env=airflow.environment(), capture_output=True)
        return done.returncode == 0

    assert until(created, 120)

    def fresh() -> list[dict[str, Any]]:
        return [
            r for r in airflow.runs("dated__score") if r["dag_run_id"] not in before and "backfill" in r["run_type"]
        ]

    assert until(lambda: len(fresh()) == 3 and all(run["state"] in ("success", "failed") for run in fresh()), 240)
    assert [run["state"] for run in fresh()] == ["success"] * 3
    return sorted(run["partition_key"] for run in fresh())


def test_a_backfill_scores_its_days_and_again_to_the_same_bytes(shops: Shops) -> None:
    assert backfill(shops) == [day(FRESH + n) for n in range(3)]
    scored = shops.dated.output / "scores"
    assert sorted(path.name for path in scored.iterdir()) == [LARGE, SMALL], "and no others"
    first = {path.relative_to(scored): path.read_bytes() for path in scored.rglob("*.parquet")}
    written = {path: path.stat().st_mtime_ns for path in scored.rglob("*.parquet")}
    backfill(shops)
    assert {path.relative_to(scored): path.read_bytes() for path in scored.rglob("*.parquet")} == first
    assert all(path.stat().st_mtime_ns > at for path, at in written.items()), "they were written anew"


def test_a_person_sees_the_figures_and_may_insist(shops: Shops) -> None:
    airflow = shops.house.airflow
    shutil.rmtree(shops.asked.output / "scores", ignore_errors=True)
    run = airflow.trigger("asked__train")
    path = f"/dags/asked__train/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    assert until(lambda: "awaiting_input" in states(shops, "asked__train", run).get("approve", ()), 240)
    asked = airflow.call("GET", path)
    assert "Version **v0002**" in asked["body"] and "| untrained |" in asked["body"]
    assert "did not pass" in asked["body"], "so short a training does not beat the champion"
    (force,) = asked["params"]
    airflow.call("PATCH", path, json={"chosen_options": ["Approve"], "params_input": {force: True}})
    assert airflow.wait_for_run("asked__train", run, seconds=300) == "success"
    events = airflow.call("GET", "/assets/events?limit=100")["asset_events"]
    (moved,) = (event["extra"] for event in events if event["name"] == "asked.model")
    assert moved == {"model_version": "v0002", "previous": "v0001", "forced": True}
    pointer = yaml.safe_load((shops.asked.output / "_models/champion.json").read_text())
    assert pointer["history"][-1]["by"] == "admin" and pointer["history"][-1]["why"].startswith("forced: ")


def test_task_runs_of_this_airflow_become_a_partition(shops: Shops) -> None:
    house, airflow = shops.house, shops.house.airflow
    shutil.copy(ROOT / "dags/airflow_health.py", house.root / "dags")
    shutil.copy(ROOT / "dags/pipelines/airflow_health.yaml", house.root / "dags/pipelines")
    airflow.wait_for_dag("airflow_health__land")
    today = datetime.now(timezone.utc).date().isoformat()
    body = {"logical_date": None, "partition_key": today}
    run = airflow.call("POST", "/dags/airflow_health__land/dagRuns", json=body)["dag_run_id"]
    assert airflow.wait_for_run("airflow_health__land", run, seconds=120) == "success"
    table = pq.ParquetFile(house.root / f"landing/airflow_health/date={today}/part-0.parquet").read()
    landed = {(row["dag_id"], row["task_id"], row["run_id"], row["map_index"]): row for row in table.to_pylist()}
    assert len(landed) == table.num_rows, "each run once"
    (done,) = (run for run in airflow.runs("asked__train") if run["state"] == "success")
    for task in airflow.tasks("asked__train", done["dag_run_id"]):
        row = landed["asked__train", task["task_id"], done["dag_run_id"], -1]
        assert row["seconds"] == pytest.approx(task["duration"]) and row["state"] == "success"
    assert not any(name.startswith("airflow_health") for name, *_ in landed)
    events = airflow.call("GET", "/assets/events?limit=100")["asset_events"]
    assert [one["partition_key"] for one in events if one["name"] == "airflow_health.source"] == [today]
