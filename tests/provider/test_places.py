"""Where in Airflow a pipeline's tasks run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.running import ROOT
from tests.shop import ORDERS, Shop

PLACES = """
import json, sys
from ae_plugin import config
from ae_plugin.provider.dag_factory import pipeline_dags

dags = pipeline_dags(config.load(sys.argv[1]), sys.argv[1])
tasks = [task for dag in dags.values() for task in dag.tasks]
print(json.dumps({task.task_id: [task.queue, task.pool] for task in tasks}))
"""


def places(shop: Shop, root: Path) -> dict[str, list[str]]:
    env = {**os.environ, "AIRFLOW_HOME": str(root / "airflow"), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", PLACES, str(shop.yaml)]
    ran = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found: dict[str, list[str]] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_long_tasks_run_where_the_pipeline_says_and_short_ones_anywhere(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", ORDERS).write()
    usual = places(shop, tmp_path)
    assert len({tuple(place) for place in usual.values()}) == 1
    shop.set(train={"queue": "large", "pool": "few"}, score={"queue": "small", "pool": "many"})
    wanted = usual | {"train": ["large", "few"], "score": ["small", "many"]}
    assert places(shop, tmp_path) == wanted
