"""The score DAG, run by Airflow's own `dag.test()`: what fails alone, what is tried again, what the summary goes by.

Airflow reads its home when it is imported, so all runs are made in one process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ae_plugin.errors import UnfamiliarError
from ae_plugin.jobs.decide import decide
from ae_plugin.jobs.due import due
from ae_plugin.jobs.score import score
from tests.conftest import Trained
from tests.running import ROOT
from tests.shop import FRESH, Shop, day, make_orders, spoil, write_day

DAGS = '''
import datetime
import json
import os

import fsspec
from airflow.sdk import BaseNotifier, task
from fsspec.implementations.local import LocalFileSystem

from ae_plugin import config
from ae_plugin.provider import dag_factory
from ae_plugin.provider.operators import ScorePartitionOperator


class Flaky(LocalFileSystem):
    """A store that does not answer the first time it is asked for bytes."""

    protocol = ("flaky",)
    asked = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("flaky://"))

    def unstrip_protocol(self, name):
        return f"flaky://{name}"

    def open(self, *args, **kwargs):
        Flaky.asked += 1
        if Flaky.asked == 1:
            raise TimeoutError("no answer within 60 s")
        return super().open(*args, **kwargs)


fsspec.register_implementation("flaky", Flaky, clobber=True)


class Told(BaseNotifier):
    """Writes what it is told to a file."""

    template_fields = ("text",)

    def __init__(self, path, text):
        super().__init__()
        self.path, self.text = path, text

    def notify(self, context):
        if self.path == "nowhere":
            raise OSError("nobody listens")
        with open(self.path, "a") as file:
            file.write(self.text + chr(10))



@task(trigger_rule="all_done")
def touch(paths):
    """The source changes while the run goes on."""
    for path in paths:
        os.utime(path, (0, 0))


pipelines = {}
for path, touched, together in json.loads(os.environ["PLAN"]):
    pipeline = config.load(path)
    dag = dag_factory.score_dag(pipeline, path)
    dag.get_task("score").partial_kwargs["retry_delay"] = datetime.timedelta(0)
    with dag:
        dag.get_task("score") >> touch(touched) >> dag.get_task("summary")
        if together:
            dag.get_task("summary") >> ScorePartitionOperator(
                task_id="together", pipeline=path, partition=together, trigger_rule="all_done"
            )
    train = dag_factory.train_dag(pipeline, path)
    globals().update({dag.dag_id: dag, train.dag_id: train})
    pipelines[pipeline.name] = pipeline
'''
RUNNER = """
import json

from airflow import settings
from airflow.utils.db import initdb

settings.initialize()
initdb()

import types

import dags
from ae_plugin.provider.schedules import wanted

found = {}
for name in ("broken", "changing", "flaky", "alerted", "sharded", "decided"):
    print(f"RUN {name}", flush=True)
    run = getattr(dags, f"{name}__score").test()
    tasks = {(t.task_id, t.map_index): (str(t.state), t.try_number) for t in run.get_task_instances()}
    found[name] = {f"{task} {at}" if at >= 0 else task: state for (task, at), state in tasks.items()}
    found[name]["run"] = str(run.state)
of_key = types.SimpleNamespace(partition_key="KEY", run_type="scheduled")
by_hand = types.SimpleNamespace(partition_key=None, run_type="manual")
for how, run in {"by its key": of_key, "by hand": by_hand}.items():
    context = {"dag_run": run, "params": {"partitions": ["KEY"]}}
    found[f"discarded, {how}"] = list(wanted(dags.pipelines["decided"], context))
found["hours to train"] = dags.broken__train.get_task("train").execution_timeout.total_seconds() / 3600
print("\\n" + json.dumps(found))
"""
BOTH = [f"date={day(number)}" for number in (FRESH, FRESH + 1)]


@dataclass(frozen=True)
class Ran:
    """State and number of tries of each task, the run's state, everything that was logged, and the pipeline."""

    tasks: dict[str, list[object]]
    log: str
    shop: Shop


def file_of(shop: Shop, number: int) -> Path:
    return next((shop.source / f"date={day(number)}").iterdir())


def strange(orders: pa.Table) -> pa.Table:
    """Orders of another kind: three columns a million higher."""
    for name in ("quantity", "weight", "rating"):
        place = orders.schema.get_field_index(name)
        column = pc.add(orders[name].cast("float64"), 1e6).cast(orders.schema.field(name).type, safe=False)
        orders = orders.set_column(place, orders.schema.field(name), column)
    return orders


def tell_all(shop: Shop, path: Path) -> None:
    """One day with many anomalies and one of another kind; a file is told of both, and nobody of more than 90%."""
    write_day(shop.source, FRESH, spoil(make_orders(300, day(FRESH))))
    write_day(shop.source, FRESH + 1, strange(make_orders(300, day(FRESH + 1))))
    text = "{{ alert.event }} of {{ alert.pipeline }} in {{ ti.task_id }}: {{ alert.says }} {{ alert.about }}"
    alerts: list[dict[str, Any]] = [
        {"when": ["unfamiliar"], "notifier": "dags.Told", "args": {"path": "nowhere", "text": "x"}},
        {"when": ["unfamiliar"], "notifier": "dags.Told", "args": {"path": str(path), "text": text}},
    ]
    for above in (0.05, 0.9):
        args = {"path": str(path), "text": f"{above}: {text}"}
        alerts.append({"when": ["anomalies_above"], "above": above, "notifier": "dags.Told", "args": args})
    shop.set(alerts=alerts)


def cut(shop: Shop) -> Shop:
    """Two more days that are cut into shards; the data of the second one's last row groups is broken."""
    for number in (FRESH + 2, FRESH + 3):
        write_day(shop.source, number, make_orders(4_000, day(number)), row_group_size=500)
    path = file_of(shop, FRESH + 3)
    raw = bytearray(path.read_bytes())
    middle = pq.ParquetFile(path).metadata.row_group(6).column(0).data_page_offset
    raw[middle : middle + 4_000] = b"\xff" * 4_000
    path.write_bytes(raw)
    return shop.set(score={"shard_rows": 1_000})


def decide_on_both(shop: Shop) -> None:
    """Two days of another kind were refused; then one was released, and the other discarded."""
    for number, decision in ((FRESH, "release"), (FRESH + 1, "discard")):
        write_day(shop.source, number, strange(make_orders(300, day(number))))
        with pytest.raises(UnfamiliarError):
            score(shop.pipeline, day(number))
        decide(shop.pipeline, day(number), decision, who="ann")


@pytest.fixture(scope="module")
def answers(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three score runs: one partition is broken; the source changes meanwhile; the store fails once."""
    root = tmp_path_factory.mktemp("dags")
    names = ("broken", "changing", "flaky", "alerted", "sharded", "decided")
    shops = {name: trained.shop.copy(root / name).set(name=name) for name in names}
    file_of(shops["broken"], FRESH).write_bytes(b"PAR1 this is no Parquet file PAR1")
    shops["flaky"].set(source={"uri": f"flaky://{shops['flaky'].source}"}, output=str(shops["flaky"].output))
    tell_all(shops["alerted"], root / "told")
    shops["sharded"] = cut(shops["sharded"])
    decide_on_both(shops["decided"])
    touched = [str(file_of(shops["changing"], number)) for number in (FRESH, FRESH + 1)]
    plan = [
        [str(shops["broken"].yaml), [], BOTH],
        [str(shops["changing"].yaml), touched, None],
        [str(shops["flaky"].yaml), [], None],
        [str(shops["alerted"].yaml), [], None],
        [str(shops["sharded"].yaml), [], None],
        [str(shops["decided"].yaml), [], None],
    ]
    (root / "dags").mkdir()
    (root / "dags/dags.py").write_text(DAGS)
    env = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW") and k != "PYTHONDONTWRITEBYTECODE"}
    env |= {
        "PYTHONPATH": f"{ROOT}:{root / 'dags'}",
        "PLAN": json.dumps(plan),
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
    }
    command = [sys.executable, "-c", RUNNER.replace("KEY", day(FRESH + 1))]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    logs = dict(part.split("\n", 1) for part in done.stdout.split("RUN ")[1:])
    found = json.loads(done.stdout.splitlines()[-1])
    ran = {name: Ran(found.pop(name), logs[name], shop) for name, shop in shops.items()}
    return {**ran, **found}


def test_a_broken_partition_fails_alone_and_is_not_tried_again(answers: dict[str, Any]) -> None:
    ran: Ran = answers["broken"]
    assert ran.tasks["score 0"] == ["failed", 1]
    assert ran.tasks["score 1"] == ["success", 1]
    assert ran.tasks["summary"] == ["failed", 1]
    assert f"failed: {BOTH[0]}; the rest was scored" in ran.log
    assert ran.tasks["run"] == "failed", "a run is what its last tasks are"
    assert (ran.shop.output / f"scores/{BOTH[1]}/part-0.parquet").is_file()


def test_partitions_that_share_a_task_do_not_stop_one_another(answers: dict[str, Any]) -> None:
    ran: Ran = answers["broken"]
    assert ran.tasks["together"] == ["failed", 1]
    assert ran.log.count(f"scoring {BOTH[1]} of broken") == 2, "once by a task of its own, once by the other"


def test_a_source_that_changes_meanwhile_is_for_the_next_run(answers: dict[str, Any]) -> None:
    ran: Ran = answers["changing"]
    uncut = {"cut": ["skipped", 1], "shard": ["skipped", 0], "commit": ["skipped", 1], "alert": ["skipped", 1]}
    assert {name: ran.tasks[name] for name in uncut} == uncut
    assert {tuple(state) for name, state in ran.tasks.items() if name not in (*uncut, "run")} == {("success", 1)}
    assert ran.tasks["run"] == "success"
    assert due(ran.shop.pipeline) == BOTH
    assert ran.log.count("scored, 300 rows") == 2


def test_a_store_that_does_not_answer_is_tried_again(answers: dict[str, Any]) -> None:
    ran: Ran = answers["flaky"]
    tries = [ran.tasks[f"score {at}"] for at in (0, 1)]
    assert sorted(tries) == [["success", 1], ["success", 2]], "which of the two comes first is Airflow's choice"
    assert ran.tasks["summary"] == ["success", 1]
    assert "cannot be read (no answer within 60 s). Try again" in ran.log


def test_notifiers_are_told_once_of_what_they_want_to_hear(answers: dict[str, Any]) -> None:
    ran: Ran = answers["alerted"]
    unfamiliar, many = (ran.shop.root.parent / "told").read_text().splitlines()
    assert unfamiliar.startswith(f"unfamiliar of alerted in summary: {BOTH[1]}: ") and f"['{BOTH[1]}']" in unfamiliar
    assert many.startswith(f"0.05: anomalies_above of alerted in summary: {BOTH[0]}: 300 rows, ")
    assert "dags.Told could not tell of unfamiliar (nobody listens)" in ran.log
    assert ran.tasks["summary"] == ["success", 1], "an alert that nobody hears undoes nothing"


def test_a_large_partition_is_cut_and_committed_as_one(answers: dict[str, Any]) -> None:
    ran: Ran = answers["sharded"]
    good, bad = (f"date={day(FRESH + n)}" for n in (2, 3))
    assert [ran.tasks[f"score {at}"] for at in (0, 1)] == [["success", 1]] * 2, "small ones as ever"
    assert [ran.tasks[f"shard {at}"] for at in range(8)] == [["success", 1]] * 7 + [["failed", 1]]
    assert ran.tasks["cut"] == ran.tasks["commit"] == ["success", 1], "its event is for the one that was committed"
    assert ran.tasks["summary"] == ["failed", 1]
    assert sorted(path.name for path in (ran.shop.output / f"scores/{good}").iterdir())[-1] == "part-0003.parquet"
    assert not (ran.shop.output / f"scores/{bad}").exists()
    assert "1 of 4 shards are not scored (4)" in ran.log
    assert f"failed: {bad}; the rest was scored" in ran.log
    assert ran.tasks["run"] == "failed"
    assert due(ran.shop.pipeline) == [bad]


def test_what_was_released_is_picked_up_and_what_was_discarded_is_not(answers: dict[str, Any]) -> None:
    ran: Ran = answers["decided"]
    assert ran.tasks["score 0"] == ran.tasks["summary"] == ran.tasks["alert"] == ["success", 1]
    assert "score 1" not in ran.tasks and f"1 partitions to score: {BOTH[0]}" in ran.log
    assert f"{BOTH[0]}: scored, 300 rows" in ran.log and "released by ann" in ran.log
    assert due(ran.shop.pipeline) == []
    assert answers["discarded, by its key"] == [], "nobody asked for it by name"
    assert answers["discarded, by hand"] == [BOTH[1]], "its task says who discarded it"


def test_a_training_that_hangs_is_ended(answers: dict[str, Any]) -> None:
    assert answers["hours to train"] == 24
