"""The recipe of docs/guide/spark.md, as it stands there: a real scheduler submits to a real cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ae_plugin.jobs.due import runs
from ae_plugin.jobs.score import score
from tests.clusters import Cluster, running
from tests.conftest import Trained
from tests.e2e.conftest import House
from tests.running import ROOT
from tests.shop import FRESH, Shop, day

pytestmark = pytest.mark.e2e
DAG = "flights__spark"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def shop(trained: Trained, house: House) -> Shop:
    """A pipeline of its own, which Airflow makes no DAGs of; two days are due."""
    shop = trained.shop.copy(house.root / "shop")
    return shop.set(source={"uri": str(shop.source)}, output=str(shop.output))


def recipe(shop: Shop, cluster: Cluster) -> str:
    """The guide's DAG file, with this cluster's and this pipeline's names in the place of the guide's."""
    page = (ROOT / "docs/guide/spark.md").read_text(encoding="utf-8")
    (text,) = [block for block in re.findall(r"(?ms)^```python\n(.*?)^```$", page) if "BashOperator" in block]
    settings = " ".join(f"--conf {name}={value}" for name, value in cluster.conf.items())
    names = {
        "spark://host:7077": f"{cluster.url} {settings}",
        "{JOB} flights": f"{{JOB}} {shop.yaml}",
        "/opt/ae/bin/python": cluster.python,
        'schedule="0 5 * * *"': "schedule=None",
    }
    for name, own in names.items():
        assert text.count(name) == 1, name
        text = text.replace(name, own)
    return text


def test_the_recipe_scores_on_spark(house: House, shop: Shop, cluster: Cluster) -> None:
    (house.root / "dags/spark.py").write_text(recipe(shop, cluster), encoding="utf-8")
    house.airflow.wait_for_dag(DAG)
    state, (task,), run = house.run(DAG)
    assert state == "success", "\n".join(house.log(DAG, run, task)[-30:])
    said = house.airflow.call("GET", f"/dags/{DAG}/dagRuns/{run}/taskInstances/score/xcomEntries/return_value")["value"]
    assert said.startswith("2 scored (600 rows, ") and said.endswith("0 refused, 0 failed")
    events = house.airflow.call("GET", "/assets/events?limit=100")["asset_events"]
    assert {event["name"] for event in events if event["source_dag_id"] == DAG} == {
        "flights.scores",
        "flights.denoised",
    }
    ours = {record.partition: record.outputs for record in runs(shop.pipeline)}
    for number in (FRESH, FRESH + 1):
        local = score(shop.pipeline, day(number), output=str(house.root / "local"))
        assert ours[f"date={day(number)}"] == local.outputs
