"""Airflow's task runs as a table: a run that is unlike its history is flagged, and said to be slow."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import train
from ae_plugin.provider.health import SCHEMA, row_of
from tests.running import ROOT
from tests.shop import Shop

FIRST = dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc)
TASKS = {
    ("orders", "extract"): (30, 0.1),
    ("orders", "load"): (300, 0.15),
    ("orders", "check"): (4, 0.2),
    ("billing", "export"): (900, 0.1),
    ("billing", "mail"): (2, 0.3),
    ("ml", "features"): (1_500, 0.2),
}


def runs_of(day: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """A day's task runs as the API tells them: each task hourly, at its own pace."""
    out = []
    for hour in range(24):
        for (dag, task), (seconds, spread) in TASKS.items():
            began = FIRST + dt.timedelta(days=day, hours=hour, seconds=float(rng.gamma(2, 4)))
            took = float(seconds * rng.lognormal(0, spread))
            out.append(
                {
                    "dag_id": dag,
                    "task_id": task,
                    "dag_run_id": f"scheduled__{day}-{hour}",
                    "map_index": -1,
                    "queue": "default",
                    "pool": "default_pool",
                    "state": "success",
                    "try_number": 1,
                    "operator": "PythonOperator",
                    "operator_name": "@task",
                    "scheduled_when": (FIRST + dt.timedelta(days=day, hours=hour)).isoformat(),
                    "queued_when": None,
                    "start_date": began.isoformat().replace("+00:00", "Z"),
                    "end_date": (began + dt.timedelta(seconds=took)).isoformat(),
                    "duration": took,
                }
            )
    return out


def test_a_row_says_what_the_api_said() -> None:
    (run, *_) = runs_of(0, np.random.default_rng(0))
    row = row_of(run)
    assert list(row) and set(row) == set(SCHEMA.names)
    assert (row["task"], row["hour"], row["weekday"]) == ("orders.extract", 0, "Sunday")
    assert row["seconds"] == run["duration"] and 0 < row["waited_seconds"] < 60
    assert 10 ** row["log10_seconds"] == pytest.approx(run["duration"])
    never = row_of({**run, "start_date": None, "scheduled_when": None, "duration": None, "queue": None})
    assert [never[name] for name in ("hour", "seconds", "waited_seconds", "log10_seconds", "queue")] == [None] * 5


def test_a_slow_run_is_flagged_by_the_shipped_pipeline(tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "dags/pipelines/airflow_health.yaml").read_text())
    shop = Shop(tmp_path, {**settings, "train": {"partitions": 28}}).write()
    rng = np.random.default_rng(7)
    for day in range(15):
        runs = runs_of(day, rng)
        if day == 14:
            slow = next(n for n, run in enumerate(runs) if run["task_id"] == "check" and n > 60)
            runs[slow]["duration"] *= 10
            stuck = next(n for n, run in enumerate(runs) if run["task_id"] == "export" and n > 100)
            runs[stuck]["scheduled_when"] = (FIRST + dt.timedelta(days=13)).isoformat()
        path = shop.source / f"date={(FIRST + dt.timedelta(days=day)).date()}/part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row_of(run) for run in runs], SCHEMA), path)
        if day == 13:
            train(shop.pipeline)
            promote(shop.pipeline, force=True)
    record = score(shop.pipeline, "2026-11-15")
    scores = pq.ParquetFile(shop.output / "scores/date=2026-11-15/part-0.parquet").read().to_pylist()
    flagged = {row["row"]: row["top_column"] for row in scores if row["is_anomaly"]}
    assert flagged.keys() >= {slow, stuck}, json.dumps(flagged)
    assert flagged[slow] in ("log10_seconds", "task") and flagged[stuck] == "log10_waited", json.dumps(flagged)
    assert record.rows == 144 and len(flagged) <= 8
    assert scores[slow]["task_id"] == "check", "keys name the run"
