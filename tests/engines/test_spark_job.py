"""`jobs.spark` on a real cluster: every partition's files are, to the byte, those of the local run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ae_plugin.errors import ConfigError, NoChampionError
from ae_plugin.jobs.decide import decide
from ae_plugin.jobs.due import due, runs
from ae_plugin.jobs.score import score
from ae_plugin.jobs.spark import __file__ as job
from ae_plugin.jobs.spark import score_on
from tests.clusters import Cluster
from tests.conftest import Trained
from tests.jobs.test_score import alien
from tests.running import run_ae
from tests.shop import FRESH, Shop, day, make_orders, spoil, write_day

MANY = 1000
DATASETS = ("scores", "cells", "denoised", "heatmaps", "quarantine")


def written(output: Path, *partitions: str) -> dict[str, bytes]:
    """Every file of the outputs, or of those of some partitions."""
    files = {str(path.relative_to(output)): path for name in DATASETS for path in (output / name).rglob("*")}
    wanted = [f"/{name}/" for name in partitions] or ["/"]
    return {
        name: path.read_bytes() for name, path in files.items() if path.is_file() and any(w in name for w in wanted)
    }


@dataclass(frozen=True)
class Submitted:
    """What spark-submit did. It sends all that Python says to stdout, and what Java says to stderr."""

    code: int
    lines: list[str]
    log: str


def submit(cluster: Cluster, *words: object, **env: str) -> Submitted:
    settings = [word for name, value in cluster.conf.items() for word in ("--conf", f"{name}={value}")]
    environment = cluster.spark.environment() | env
    command = [f"{environment['SPARK_HOME']}/bin/spark-submit", "--master", cluster.url, *settings, job]
    done = subprocess.run([*command, *map(str, words)], env=environment, capture_output=True, text=True, timeout=300)
    return Submitted(done.returncode, done.stdout.splitlines(), done.stderr)


@pytest.fixture
def shop(trained: Trained, tmp_path: Path) -> Shop:
    """Four days are due: two ordinary ones, one of quite another kind, and one that cannot be read."""
    shop = trained.shop.copy(tmp_path / "shop")
    write_day(shop.source, FRESH, spoil(make_orders(700, day(FRESH), seed=5), seed=5), row_group_size=100)
    write_day(shop.source, FRESH + 2, alien(number=FRESH + 2))
    write_day(shop.source, FRESH + 3, make_orders(50, day(FRESH + 3))).write_bytes(b"no Parquet")
    return shop


def test_spark_submit_scores_what_is_due_as_ae_score_does(shop: Shop, cluster: Cluster, tmp_path: Path) -> None:
    local = run_ae("score", shop.yaml, "--output", tmp_path / "local", "--json")
    ran = submit(cluster, shop.yaml)
    assert ran.code == local.code == 2, ran.log
    *_, one, other, last = ran.lines
    assert [line.split(":")[0] for line in (one, other)] == [f"date={day(n)}" for n in (FRESH, FRESH + 1)]
    assert last.startswith("2 scored (1,000 rows, ") and last.endswith("anomalies), 1 refused, 1 failed")
    assert "Traceback" not in "".join(ran.lines) and local.json["failed"][0] in ran.lines
    files = written(shop.output)
    assert files == written(tmp_path / "local") and len(files) == 7
    records = {run.partition: run.model_dump(mode="json") for run in runs(shop.pipeline)}
    for wanted in local.json["runs"]:
        found = records[wanted["partition"]]
        assert all(found[name] == wanted[name] for name in ("outputs", "guard", "rows", "anomalies", "notes"))
    # What cannot be read stays due; the rest does not.
    assert due(shop.pipeline) == [f"date={day(FRESH + 3)}"]


def test_what_stops_it_is_one_line(shop: Shop, cluster: Cluster, tmp_path: Path) -> None:
    command = [cluster.python, "-m", "ae_plugin.jobs.spark", tmp_path / "none.yaml", "--json"]
    nowhere = subprocess.run(command, env=cluster.spark.environment(), capture_output=True, text=True)
    assert nowhere.returncode == 2 and "no such pipeline" in json.loads(nowhere.stdout)["error"]
    assert nowhere.stderr.startswith("ae: ") and nowhere.stderr.count("\n") == 1
    no_python = submit(cluster, shop.yaml, "--json", PYSPARK_PYTHON="/bin/false", PYSPARK_DRIVER_PYTHON=cluster.python)
    said = json.loads(no_python.lines[-1])
    assert (no_python.code, said["exit_code"]) == (2, 2)
    assert said["error"].startswith("Spark gave up (")
    assert "Traceback" not in "".join(no_python.lines)


def test_mistakes_are_told_before_anything_runs(shop: Shop, session: Any) -> None:
    with pytest.raises(ConfigError, match="no partition date=2020-01-01"):
        score_on(session, shop.pipeline, ["2020-01-01"])
    with pytest.raises(ConfigError, match="names no partition"):
        score_on(session, shop.pipeline, ["a/b"])
    (shop.output / "_models/champion.json").unlink()
    with pytest.raises(NoChampionError):
        score_on(session, shop.pipeline)


def test_partitions_by_the_thousand(trained: Trained, session: Any, cluster: Cluster, tmp_path: Path) -> None:
    shop = trained.shop.copy(tmp_path / "shop")
    for number in range(FRESH, FRESH + MANY):
        write_day(shop.source, number, make_orders(5, day(number), first_id=number * 10))
    before = len(cluster.opened())
    done = score_on(session, shop.pipeline)
    assert len(done.scored) == MANY and not done.failed and not done.refused
    assert [*done.scored] == [f"date={day(number)}" for number in range(FRESH, FRESH + MANY)]
    opened = cluster.opened()[before:]
    assert 1 <= len(opened) == len(set(opened)) <= 2
    assert due(shop.pipeline) == []
    some = [f"date={day(number)}" for number in range(FRESH, FRESH + MANY, MANY // 5)]
    for name in some:
        score(shop.pipeline, name, output=str(tmp_path / "local"))
    assert written(shop.output, *some) == written(tmp_path / "local") and len(written(shop.output)) == 3 * MANY


@pytest.mark.parametrize("setting", [{"alert_rate_of": "alarms", "alert_rate": 0.2}, {"denoise": "full"}], ids=str)
def test_a_pipeline_s_settings_hold(shop: Shop, session: Any, tmp_path: Path, setting: dict[str, Any]) -> None:
    shop = shop.set(score=setting)
    done = score_on(session, shop.pipeline, [day(FRESH)])
    local = score(shop.pipeline, day(FRESH), output=str(tmp_path / "local"))
    (ours,) = done.scored.values()
    assert ours.outputs == local.outputs and ours.flagged_up_to == local.flagged_up_to
    assert written(shop.output) == written(tmp_path / "local")


def test_what_was_released_is_scored_and_what_was_discarded_is_not(shop: Shop, session: Any) -> None:
    names = [f"date={day(FRESH + number)}" for number in (2, 4)]
    for number in (2, 4):
        write_day(shop.source, FRESH + number, alien(number=FRESH + number))
    assert list(score_on(session, shop.pipeline, names).refused) == names
    decide(shop.pipeline, names[0], "release", who="ann")
    decide(shop.pipeline, names[1], "discard", who="ann")
    done = score_on(session, shop.pipeline)
    assert names[0] in done.scored and names[1] not in done.refused
    run = done.scored[names[0]]
    assert (run.outcome, run.guard.verdict) == ("scored", "unfamiliar") and "released by ann" in run.notes[0]
    assert "discarded by ann" in str(score_on(session, shop.pipeline, names[1:]).refused[names[1]])


def test_pictures_too(boards: Trained, session: Any, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "shop")
    done = score_on(session, shop.pipeline, [day(FRESH)])
    local = score(shop.pipeline, day(FRESH), output=str(tmp_path / "local"))
    assert [run.outputs for run in done.scored.values()] == [local.outputs]
    assert written(shop.output) == written(tmp_path / "local")


def test_a_lost_executor_changes_nothing(trained: Trained, session: Any, cluster: Cluster, tmp_path: Path) -> None:
    """SIGKILL in mid-run: Spark runs its tasks again elsewhere, and every partition is there once, whole."""
    shop = trained.shop.copy(tmp_path / "shop")
    days = range(FRESH, FRESH + 60)
    for number in days:
        write_day(shop.source, number, make_orders(300, day(number), first_id=number * 1000))
    killed: list[int] = []

    def kill() -> None:
        while not list((shop.output / "_runs/_latest").glob("*.json")):
            time.sleep(0.05)
        killed.append(cluster.spark.executors()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    done = score_on(session, shop.pipeline)
    killer.join(5)
    assert killed and killed[0] not in cluster.spark.executors()
    assert len(done.scored) == len(days) and not done.failed
    for number in days:
        score(shop.pipeline, day(number), output=str(tmp_path / "local"))
    assert written(shop.output) == written(tmp_path / "local")
    assert not list((shop.output / "_staging").glob("*")), "what the killed one had begun was not swept"
    assert not list((shop.output / "_runs/_journal").glob("*"))
