"""What a pipeline's YAML says of its DAGs: where tasks run, and whom they alert."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


BROKEN = """
import json, sys
from pathlib import Path
from ae_plugin.provider.dag_factory import build_dags

dags = build_dags(Path(sys.argv[1]).parent)
print(json.dumps({name: dag.doc_md for name, dag in dags.items()}))
"""


def told(code: str, shop: Shop, root: Path, **environment: str) -> dict[str, Any]:
    """What code says of a pipeline in a process of its own: Airflow reads its home when it is imported."""
    env = {**os.environ, "AIRFLOW_HOME": str(root / "airflow"), "PYTHONPATH": str(ROOT), **environment}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(shop.yaml)], env=env, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_long_tasks_run_where_the_pipeline_says_and_short_ones_anywhere(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", ORDERS).write()
    usual = told(PLACES, shop, tmp_path)
    assert len({tuple(place) for place in usual.values()}) == 1
    setting = {"AIRFLOW__AE_PLUGIN__TRAIN_QUEUE": "train"}  # of an Airflow whose trainings all go to some workers
    assert told(PLACES, shop, tmp_path, **setting) == usual | {"train": ["train", usual["train"][1]]}
    shop.set(train={"queue": "large", "pool": "few"}, score={"queue": "small", "pool": "many"})
    wanted = usual | {"train": ["large", "few"], "score": ["small", "many"], "shard": ["small", "many"]}
    assert told(PLACES, shop, tmp_path, **setting) == wanted


@pytest.mark.parametrize(
    ("notifier", "args", "says"),
    [
        (
            "os.system",
            {"command": "touch {tmp}"},
            "alerts[0]: os.system cannot be made (TypeError: os.system is no notifier",
        ),
        ("builtins.dict", {}, "alerts[0]: builtins.dict cannot be made (TypeError: builtins.dict is no notifier"),
        ("nowhere.Notifier", {}, "alerts[0]: nowhere.Notifier cannot be made (ModuleNotFoundError"),
        ("airflow.sdk.Nobody", {}, "alerts[0]: airflow.sdk.Nobody cannot be made (AttributeError"),
        ("airflow.sdk.BaseNotifier", {"to": "x"}, "alerts[0]: airflow.sdk.BaseNotifier cannot be made (TypeError"),
        ("airflow.sdk.BaseNotifier", {}, None),
    ],
)
def test_a_notifier_that_cannot_be_made_shows_when_the_dag_is_read(
    tmp_path: Path, notifier: str, args: dict[str, str], says: str | None
) -> None:
    alert = {"when": ["unfamiliar"], "notifier": notifier, "args": args}
    shop = Shop(tmp_path / "shop", ORDERS).write().set(alerts=[alert])
    found = told(BROKEN, shop, tmp_path)
    if says is None:
        assert not any(name.endswith("__broken") for name in found)
    else:
        ((name, doc),) = found.items()
        assert name.endswith("__broken") and says in doc


def test_a_task_gets_the_dags_of_its_own_pipeline_alone(tmp_path: Path) -> None:
    """Each task's process reads the DAG file anew, and there may be a thousand pipelines."""
    shop = Shop(tmp_path / "shop", ORDERS).write()  # its file is called like the pipeline
    for name in ("other", "third"):
        Shop(tmp_path / "shop", {**ORDERS, "name": name, "output": f"out-{name}"}).write()
        shop.yaml.rename(tmp_path / f"shop/{name if name == 'other' else 'elsewhere'}.yaml")
    shop.write()
    everything = {f"{name}__{verb}" for name in ("shop", "other", "third") for verb in ("train", "score")}
    assert told(BROKEN, shop, tmp_path).keys() == everything

    def of(dag_id: str) -> set[str]:
        return set(told(BROKEN, shop, tmp_path, _AIRFLOW_PARSING_CONTEXT_DAG_ID=dag_id))

    assert of("shop__score") == {"shop__train", "shop__score"}
    assert of("third__train") == everything, "its file has another name: it takes longer, and is found"
    (tmp_path / "shop/other.yaml").write_text("name: other\nsorce: x\n")
    assert "other__broken" in of("other__broken")


ASSETS = """
import json
from airflow.sdk import Asset
from ae_plugin.provider import assets

made = [getattr(assets, f"{what}_asset")("flights") for what in assets.WHAT]
slips = []
for uri in ("ae://flights/sorce", "ae://Flights/source", "ae://flights", "ae://flights/source?x=1"):
    try:
        Asset(name=uri, uri=uri)
    except ValueError as error:
        slips.append(uri)
print(json.dumps({"made": [[asset.name, asset.uri] for asset in made], "slips": slips}))
"""


def test_the_scheme_of_assets_is_registered_with_airflow(tmp_path: Path) -> None:
    found = told(ASSETS, Shop(tmp_path / "shop", ORDERS).write(), tmp_path)
    whats = ("source", "model", "scores", "denoised", "embeddings", "classes", "completed", "alerts")
    assert found["made"] == [[f"flights.{what}", f"ae://flights/{what}"] for what in whats]
    assert len(found["slips"]) == 4, "a slip in a URI shows where it is written"
