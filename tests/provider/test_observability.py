"""What tasks tell to others: metrics in StatsD, lineage over HTTP, a log in a dozen lines. Real listeners, real tasks.

Airflow reads its home when it is imported, so all runs are made in one process of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import latest
from ae_plugin.versions import read_report
from tests.conftest import Trained
from tests.listening import Heard, listening
from tests.provider.test_dags import strange
from tests.running import ROOT
from tests.shop import FRESH, ORDERS, Shop, day, make_orders, spoil, write_day

RUNNER = """
import json
import os
import sys

import ae_plugin.provider.dag_factory

told = {"needs openlineage": "openlineage" in sys.modules}

from airflow import settings
from airflow.providers_manager import ProvidersManager
from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from airflow.utils.db import initdb

from ae_plugin import config
from ae_plugin.versions import read_report
from ae_plugin.provider import lineage
from ae_plugin.store.registry import Registry

settings.initialize()
initdb()
# As Airflow's task runner does, which `dag.test()` does without.
names = conf.getboolean("metrics", "legacy_names_on")
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=names)

import dags

dags.score.test()
dags.train.test()
pipeline = config.load(os.environ["LEARNER"])
report = read_report(Registry(pipeline.output), "v0001")
told["links"] = [name for name in ProvidersManager().extra_links_class_names if "ae_plugin" in name]
told["listening"] = lineage.trace_training(pipeline, report) is not None
sys.modules["airflow.providers.openlineage"] = None
told["without the package"] = lineage.trace_training(pipeline, report) is not None
with open("answers.json", "w") as file:
    json.dump(told, file)
"""
DAGS = """
# Airflow reads files that speak of airflow and of a dag.
import os

from ae_plugin import config
from ae_plugin.provider import dag_factory

path, learner = os.environ["PIPELINE"], os.environ["LEARNER"]
score = dag_factory.score_dag(config.load(path), path)
train = dag_factory.train_dag(config.load(learner), learner)
"""
SPOILT, STRANGE, BROKEN = (f"date={day(FRESH + number)}" for number in range(3))


@dataclass(frozen=True)
class Told:
    """What the listeners heard, the log, and what was scored."""

    heard: Heard
    log: str
    shop: Shop

    @property
    def records(self) -> dict[str, RunRecord]:
        return latest(Folder(str(self.shop.output)))

    @property
    def answers(self) -> dict[str, Any]:
        """What the process found."""
        return json.loads((self.shop.root.parent / "answers.json").read_text())

    def event(self, partition: str) -> dict[str, Any]:
        """The last event of a partition's task."""
        found = [e for e in self.heard.of("shop__score.score", "COMPLETE") if partition in json.dumps(e["inputs"])]
        assert len(found) == 1
        return found[0]

    def dataset(self, partition: str, name: str) -> dict[str, Any]:
        """One of the datasets that a partition's event names."""
        event = self.event(partition)
        return next(one for one in [*event["inputs"], *event["outputs"]] if one["name"].endswith(f"/{name}"))


@pytest.fixture(scope="module")
def told(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A score run over a day with errors in it, one of another kind, and one that cannot be read; and a training."""
    root = tmp_path_factory.mktemp("told")
    shop = trained.shop.copy(root / "shop")
    write_day(shop.source, FRESH, spoil(make_orders(300, day(FRESH))))
    write_day(shop.source, FRESH + 1, strange(make_orders(300, day(FRESH + 1))))
    write_day(shop.source, FRESH + 2, make_orders(10)).write_bytes(b"PAR1 this is no Parquet file PAR1")
    learner = Shop(root, {**shop.settings, "name": "learner", "source": {**ORDERS["source"], "uri": "shop/orders"}})
    learner = learner.set(train={"steps": 20}, output="learner").write()
    (root / "dags").mkdir()
    (root / "dags/dags.py").write_text(DAGS)
    env = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW") and k != "PYTHONDONTWRITEBYTECODE"}
    env |= {
        "PYTHONPATH": f"{ROOT}:{root / 'dags'}",
        "PIPELINE": str(shop.yaml),
        "LEARNER": str(learner.yaml),
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
    }
    with listening() as heard:
        command = [sys.executable, "-c", RUNNER]
        done = subprocess.run(
            command,
            env=env | heard.statsd | heard.lineage,
            cwd=root,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield Told(heard, done.stdout, shop)


# Metrics.


def test_partitions_are_counted_by_what_became_of_them(told: Told) -> None:
    for outcome in ("scored", "quarantined", "failed"):
        assert told.heard.values(f"ae.partitions,pipeline=shop,outcome={outcome}") == [1]
        assert told.heard.values(f"ae.shop.partitions.{outcome}") == [1], "where tags are off"
    assert told.heard.values("ae.guard,pipeline=shop,verdict=unfamiliar") == [1]
    assert told.heard.values("ae.partitions_due,pipeline=shop") == [3]


@pytest.mark.parametrize("name", ["ae.{},pipeline=shop", "ae.shop.{}"])
def test_figures_are_those_of_the_run_records(told: Told, name: str) -> None:
    spoilt, strange = told.records[SPOILT], told.records[STRANGE]
    for figure in ("rows", "anomalies", "cells_flagged", "cells_repaired", "cells_imputed"):
        assert told.heard.values(name.format(figure)) == [getattr(spoilt, figure)], "what was refused is not counted"
    for figure in ("p_value_drift", "peak_memory_mb", "rows_per_second"):
        both = {getattr(spoilt, figure), getattr(strange, figure)}
        assert set(told.heard.values(name.format(figure))) == both
    assert set(told.heard.values(name.format("alert_rate"))) == {spoilt.observed_alert_rate, 1}
    assert sorted(told.heard.values(name.format("score_duration"))) == pytest.approx(
        sorted(1000 * one.seconds for one in (spoilt, strange))
    )


def test_p_values_of_another_kind_of_data_drift_far(told: Told) -> None:
    spoilt, strange = told.records[SPOILT].p_value_drift, told.records[STRANGE].p_value_drift
    assert spoilt is not None and strange is not None
    assert 0.05 < spoilt < 0.25, "a tenth of its rows hold errors"
    assert strange > 0.9


def test_no_tag_takes_many_values(told: Told) -> None:
    """Each value of a tag is a series that somebody pays for."""
    ours = [packet for packet in told.heard.packets if packet.startswith("airflow.ae.")]
    tags = [tag.partition("=") for packet in ours for tag in packet.rpartition(":")[0].split(",")[1:]]
    assert {key for key, _, _ in tags} == {"pipeline", "outcome", "verdict", "gate"}
    assert "2024" not in "".join(ours)


def test_each_metric_is_in_the_guide(told: Told) -> None:
    text = (ROOT / "docs/guide/airflow.md").read_text(encoding="utf-8").partition("## Observability")[2]
    named = set(re.findall(r"^\| `(ae\.\w+)`", text, re.MULTILINE))
    heard = {
        packet.partition(",")[0].removeprefix("airflow.") for packet in told.heard.packets if ",pipeline=" in packet
    }
    assert named == heard


def test_a_training_is_counted(told: Told) -> None:
    report = read_report(Registry(f"{told.shop.root.parent}/learner"), "v0001")
    assert told.heard.values("ae.train_steps,pipeline=learner") == [20]
    assert told.heard.values("ae.train_rows,pipeline=learner") == [report.rows_train]
    assert told.heard.values("ae.learner.train_duration") == pytest.approx([1000 * report.seconds])
    gate = "passed" if report.gate.passed else "failed"
    assert told.heard.values(f"ae.trainings,pipeline=learner,gate={gate}") == [1]
    outcome = "promoted" if report.gate.passed else "kept"
    assert told.heard.values(f"ae.learner.promotions.{outcome}") == [1]


# Lineage.


def test_an_event_names_what_was_read_and_written(told: Told) -> None:
    event = told.event(SPOILT)
    root = str(told.shop.root)
    assert {(one["namespace"], one["name"]) for one in event["inputs"]} == {
        ("file", f"{root}/orders"),
        ("file", f"{root}/out/_models"),
    }
    outputs = {one["name"]: one for one in event["outputs"]}
    assert outputs.keys() == {f"{root}/out/{name}" for name in ("scores", "cells", "denoised")}
    rows = {name: one["outputFacets"]["outputStatistics"]["rowCount"] for name, one in outputs.items()}
    for name, count in rows.items():
        assert count == pq.ParquetFile(Path(name) / SPOILT / "part-0.parquet").metadata.num_rows
    read = told.dataset(SPOILT, "orders")["inputFacets"]
    size = next((told.shop.source / SPOILT).iterdir()).stat().st_size
    assert (read["inputStatistics"]["rowCount"], read["inputStatistics"]["size"]) == (300, size)
    assert told.dataset(SPOILT, "_models")["facets"]["version"]["datasetVersion"] == "v0001"
    (part,) = told.dataset(SPOILT, "denoised")["outputFacets"]["subset"]["outputCondition"]["partitions"]
    assert (part["identifier"], part["dimensions"]) == (SPOILT, {"date": day(FRESH)})


@pytest.mark.parametrize("dataset", ["orders", "scores", "cells", "denoised"])
def test_schemas_are_those_of_the_files(told: Told, dataset: str) -> None:
    folder = told.shop.source if dataset == "orders" else told.shop.output / dataset
    written = pq.read_schema(next((folder / SPOILT).iterdir()))
    fields = told.dataset(SPOILT, dataset)["facets"]["schema"]["fields"]
    assert [(field["name"], field["type"]) for field in fields] == [(f.name, str(f.type)) for f in written]


def test_each_denoised_column_comes_from_its_source_column(told: Told) -> None:
    lineage = told.dataset(SPOILT, "denoised")["facets"]["columnLineage"]
    source = pq.read_schema(next((told.shop.source / SPOILT).iterdir()))
    assert lineage["fields"].keys() == set(source.names)
    learned = {one["field"] for one in lineage["dataset"]}
    assert {"product", "quantity", "price"} <= learned
    assert not {"order_id", "lines", "receipt"} & learned
    for name, made in lineage["fields"].items():
        (came,) = made["inputFields"]
        assert (came["namespace"], came["name"], came["field"]) == ("file", str(told.shop.source), name)
        how = [(one["type"], one["subtype"]) for one in came["transformations"]]
        assert how == [("DIRECT", "TRANSFORMATION" if name in learned else "IDENTITY")]


def test_a_repaired_cell_hangs_on_the_rest_of_its_row(told: Told) -> None:
    """No column of the source is left out that denoised really depends on: those with roles of the report."""
    report = read_report(Registry(str(told.shop.output)), "v0001")
    others = told.dataset(SPOILT, "denoised")["facets"]["columnLineage"]["dataset"]
    assert [one["field"] for one in others] == [one.column for one in report.columns if one.role == "learned"]
    assert {(how["type"], how["subtype"]) for one in others for how in one["transformations"]} == {
        ("INDIRECT", "CONDITIONAL")
    }


def test_a_refused_partition_says_so_of_its_source(told: Told) -> None:
    event = told.event(STRANGE)
    (kept,) = event["outputs"]
    assert kept["name"] == f"{told.shop.output}/quarantine"
    assert kept["outputFacets"]["outputStatistics"]["rowCount"] == 300
    asserted = told.dataset(STRANGE, "orders")["inputFacets"]["dataQualityAssertions"]["assertions"]
    whole, *columns = asserted
    assert (whole["assertion"], whole["success"], whole["actual"]) == ("familiar", False, "unfamiliar")
    moved = {one["column"]: one for one in columns}
    assert {"quantity", "weight", "rating"} <= moved.keys()
    assert not any(one["success"] for one in columns) and "in training" in moved["quantity"]["description"]


def test_a_training_leads_from_the_source_to_the_model(told: Told) -> None:
    (event,) = told.heard.of("learner__train.train", "COMPLETE")
    (source,), (model,) = event["inputs"], event["outputs"]
    assert (source["namespace"], source["name"]) == ("file", str(told.shop.source))
    assert (model["namespace"], model["name"]) == ("file", f"{told.shop.root.parent}/learner/_models")
    assert model["facets"]["version"]["datasetVersion"] == "v0001"
    assert len(source["facets"]["schema"]["fields"]) == 17


def test_a_task_that_fails_names_what_it_read(told: Told) -> None:
    (event,) = told.heard.of("shop__score.score", "FAIL")
    assert [one["name"] for one in event["inputs"]] == [str(told.shop.source)]
    assert event["outputs"] == []
    started = told.heard.of("shop__score.score", "START")
    assert [[one["name"] for one in event["inputs"]] for event in started] == 3 * [[str(told.shop.source)]]


def test_nothing_needs_the_openlineage_package(told: Told) -> None:
    found = {name: told.answers[name] for name in ("needs openlineage", "listening", "without the package")}
    assert found == {"needs openlineage": False, "listening": True, "without the package": False}


# Logs and links.


def test_airflow_knows_the_links(told: Told) -> None:
    assert told.answers["links"] == ["ae_plugin.provider.links.ModelsLink", "ae_plugin.provider.links.RunsLink"]
    assert "Failed to push an xcom for task operator extra link" not in told.log


def test_a_log_tells_the_story_in_a_dozen_lines(told: Told) -> None:
    said = [line for line in told.log.splitlines() if "[ae_plugin." in line or "ae_plugin.provider.operators" in line]
    start = next(place for place, line in enumerate(said) if f"scoring {SPOILT} of shop" in line)
    ends = next(place for place in range(start, len(said)) if " rows/s, peak " in said[place])
    story = said[start : ends + 1]
    assert len(story) <= 12
    run = told.records[SPOILT]
    for part in (
        "with v0001: 1 file, ",
        f"300 rows, {run.anomalies} anomalies (",
        f"worst in: {next(iter(run.top_columns))} (",
        f"{run.cells_flagged} wrong cells, {run.cells_repaired} cells repaired, {run.cells_imputed} nulls filled",
        f"drifted by {run.p_value_drift:.3f}",
        f"guard: {run.guard.verdict}",
        f"wrote scores/{SPOILT}/, cells/{SPOILT}/, denoised/{SPOILT}/, _runs/{run.run_id}.json in {told.shop.output}",
    ):
        assert sum(part in line for line in story) == 1, part
