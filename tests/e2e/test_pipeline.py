"""Two files in dags/ are all a user needs: a real scheduler trains, promotes, scores; then data changes.

The tests run in the order they stand in, and share one Airflow.
"""

from __future__ import annotations

import shutil

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import BLIZZARD, FOG, QUIET, SCORED, House, by_task, until
from tests.running import ROOT, tree
from tools.truth import compare

pytestmark = pytest.mark.e2e
TRAIN, SCORE = "flights__train", "flights__score"
STEPS_OF = "train", "promote"


@pytest.fixture(scope="module")
def first(house: House) -> House:
    """The pipeline trained once, and scored by the asset that promotion updates."""
    assert house.first_training("flights") == {"train": ["success"], "promote": ["success"]}
    assert until(lambda: bool(house.airflow.runs(SCORE))), "the new champion's asset started no score run"
    scored = house.airflow.runs(SCORE)[-1]
    assert scored["run_type"] == "asset_triggered"
    assert house.airflow.wait_for_run(SCORE, scored["dag_run_id"], seconds=420) == "success"
    house.first_tasks = house.airflow.tasks(SCORE, scored["dag_run_id"])
    return house


def test_each_partition_is_a_mapped_task_named_after_it(first: House) -> None:
    tasks = [task for task in first.first_tasks if task["task_id"] == "score"]
    states = {task["rendered_map_index"]: task["state"] for task in tasks}
    assert states == {name: "skipped" if name == BLIZZARD else "success" for name in SCORED}


def test_outputs_hold_every_row_in_the_sources_schema(first: House) -> None:
    for name in SCORED:
        if name == BLIZZARD:
            continue
        source = pq.ParquetFile(first.source / name / "part-0.parquet").read()
        scores = pq.ParquetFile(first.output / "scores" / name / "part-0.parquet").read()
        denoised = pq.ParquetFile(first.output / "denoised" / name / "part-0.parquet").read()
        assert scores["row"].to_pylist() == list(range(source.num_rows))
        assert scores["tailnum"].equals(source["tailnum"])
        assert denoised.schema.equals(source.schema)
        assert denoised["tailnum"].equals(source["tailnum"])


def test_the_blizzard_is_set_aside_with_its_rows(first: House) -> None:
    kept = pq.ParquetFile(first.output / "quarantine" / BLIZZARD / "part-0.parquet").read()
    source = pq.ParquetFile(first.source / BLIZZARD / "part-0.parquet").read()
    assert kept.equals(source)
    assert not (first.output / "scores" / BLIZZARD).exists()
    assert not (first.output / "denoised" / BLIZZARD).exists()


def test_the_events_of_assets_say_what_became_of_each_partition(first: House) -> None:
    events = first.airflow.call("GET", "/assets/events?limit=100")["asset_events"]
    (promoted,) = (event["extra"] for event in events if event["name"] == "flights.model")
    assert promoted["model_version"] == "v0001" and not promoted["forced"]
    for asset in ("flights.scores", "flights.denoised"):
        told = [event["extra"] for event in events if event["name"] == asset]
        assert {one["model_version"] for one in told} == {"v0001"}
        partitions = {name: said for one in told for name, said in one["partitions"].items()}
        assert partitions.keys() == set(SCORED) - {BLIZZARD}, "what was set aside is no event"
        for name, said in partitions.items():
            flagged = pd.read_parquet(first.output / f"scores/{name}/part-0.parquet")["is_anomaly"]
            assert (said["rows"], said["anomalies"]) == (len(flagged), flagged.sum())
            assert said["verdict"] in ("familiar", "drifted")


def test_a_task_links_to_what_it_made(first: House) -> None:
    """Through serialization, the worker that ran it and a real API server, mapped tasks too."""
    score = next(task for task in first.first_tasks if task["rendered_map_index"] == QUIET[0])
    run = first.airflow.runs(TRAIN)[-1]["dag_run_id"]
    train, promote = (next(t for t in first.airflow.tasks(TRAIN, run) if t["task_id"] == name) for name in STEPS_OF)
    links = first.airflow.links(SCORE, score["dag_run_id"], score)
    links |= first.airflow.links(TRAIN, run, train)
    assert first.airflow.links(TRAIN, run, promote) == first.airflow.links(TRAIN, run, train)
    assert links.keys() == {"Scored partitions", "Model versions"}
    assert links["Model versions"] == f"{first.airflow.url}/ae/#/p/flights/models"
    scored = links["Scored partitions"].removeprefix(f"{first.airflow.url}/ae/?")
    answer = first.airflow.request("GET", f"/ae/api/context?{scored}")
    assert [point["partition"] for point in answer.json()["points"]] == [QUIET[0]]
    for page in links.values():
        answer = first.airflow.request("GET", page.removeprefix(first.airflow.url).partition("#")[0])
        assert answer.status_code == 200 and "<div id=" in answer.text


def test_metrics_of_all_tasks_reach_statsd(first: House) -> None:
    """Sent by the processes that Airflow's own supervisors started."""
    heard, scored = first.heard, [name for name in SCORED if name != BLIZZARD]
    rows = sum(pq.ParquetFile(first.output / f"scores/{name}/part-0.parquet").metadata.num_rows for name in scored)
    assert sum(heard.values("ae.rows,pipeline=flights")) == rows == sum(heard.values("ae.flights.rows"))
    assert sum(heard.values("ae.partitions,pipeline=flights,outcome=quarantined")) == 1
    assert len(heard.values("ae.p_value_drift,pipeline=flights")) == len(SCORED)
    assert sum(heard.values("ae.trainings,pipeline=flights,gate=passed")) == 1
    assert heard.values("ae.train_steps,pipeline=flights") == [1000]
    assert heard.values("ae.promotions,pipeline=flights,outcome=promoted") == [1]
    assert min(heard.values("ae.score_duration,pipeline=flights")) > 0


def alarms(house: House, names: list[str]) -> float:
    """Share of flagged rows on some days."""
    flagged = [pd.read_parquet(house.output / f"scores/{name}/part-0.parquet")["is_anomaly"] for name in names]
    return float(pd.concat(flagged).mean())


def test_quiet_days_raise_about_as_many_alarms_as_were_promised(first: House) -> None:
    """One in a hundred; of 2,717 rows like those of history, chance alone moves that by 0.2 points."""
    assert 0.004 <= alarms(first, QUIET) <= 0.02


def test_a_day_of_fog_raises_more_and_is_no_flood(first: House) -> None:
    assert alarms(first, QUIET) < alarms(first, [FOG]) < 0.08


def test_most_of_what_was_planted_is_found(first: House, capsys: pytest.CaptureFixture[str]) -> None:
    found = {one.fault: one for one in compare(ROOT / "sample_data/flights_truth.parquet", first.output)}
    with capsys.disabled():
        print("\nfault: planted, in flagged rows, named, repaired within 5%")
        for one in found.values():
            print(f"{one.fault}: {one.planted}, {one.flagged}, {one.named}, {one.repaired}")
    shares = {fault: (one.flagged / one.planted, one.named / one.planted) for fault, one in found.items()}
    for fault in ("misspelt", "null", "sentinel"):
        assert min(shares[fault]) >= 0.9, fault
    assert min(shares["swap"]) >= 0.2
    assert shares["all"][0] >= 0.6 and shares["all"][1] >= 0.55
    assert found["misspelt"].repaired / found["misspelt"].planted >= 0.5
    assert found["all"].repaired / found["all"].planted >= 0.1


def test_alarms_name_a_column_and_nothing_else_does(first: House) -> None:
    for name in SCORED:
        if name != BLIZZARD:
            scores = pd.read_parquet(first.output / f"scores/{name}/part-0.parquet")
            assert np.isfinite(scores["p_value"]).all()
            assert scores["top_column"].notna().equals(scores["is_anomaly"])


def test_nothing_new_means_success_and_nothing_to_do(first: House) -> None:
    before = tree(first.output)
    state, tasks, run_id = first.run(SCORE)
    assert state == "success"
    skipped = {name: ["skipped"] for name in ("score", "cut", "shard", "commit", "alert")}
    assert by_task(tasks) == {"discover": ["success"], "summary": ["success"], **skipped}
    discover = next(task for task in tasks if task["task_id"] == "discover")
    assert "nothing to do: no partition is new or changed" in first.log(SCORE, run_id, discover)
    assert tree(first.output) == before


def test_a_corrected_file_is_scored_again_and_the_others_are_not(first: House) -> None:
    name = SCORED[0]
    others = {path: at for path, at in tree(first.output / "scores").items() if name not in path}
    path = first.source / name / "part-0.parquet"
    table = pq.ParquetFile(path).read()
    distance = table["distance"].to_numpy().copy()
    distance[7] = -9999
    place = table.schema.get_field_index("distance")
    field = table.schema.field(place)
    pq.write_table(table.set_column(place, field, pa.array(distance, field.type)), path)
    state, tasks, _ = first.run(SCORE)
    assert state == "success"
    assert [t["rendered_map_index"] for t in tasks if t["task_id"] == "score"] == [name]
    assert others.items() <= tree(first.output / "scores").items()
    cells = pd.read_parquet(first.output / "cells" / name / "part-0.parquet")
    found = cells[(cells["row"] == 7) & (cells["column"] == "distance")]
    assert found["observed"].tolist() == ["-9999"]
    assert float(found["expected"].iloc[0]) > 0


def test_a_late_partition_is_found(first: House) -> None:
    late = "date=2013-02-02"
    shutil.copytree(ROOT / "sample_data/flights" / late, first.source / late)
    state, tasks, _ = first.run(SCORE)
    assert state == "success"
    assert [t["rendered_map_index"] for t in tasks if t["task_id"] == "score"] == [late]
    assert (first.output / "scores" / late / "part-0.parquet").exists()


def test_a_broken_file_fails_its_task_in_one_line_without_a_retry(first: House) -> None:
    broken = first.source / "date=2013-02-04"
    broken.mkdir()
    (broken / "part-0.parquet").write_bytes(b"PAR1 this is no Parquet file PAR1")
    before = tree(first.output)
    try:
        state, tasks, run_id = first.run(SCORE)
        assert state == "failed"
        task = next(task for task in tasks if task["task_id"] == "score")
        assert (task["state"], task["try_number"]) == ("failed", 1)
        log = first.log(SCORE, run_id, task)
        assert "date=2013-02-04/part-0.parquet" in log
        assert "cannot be read" in log
        assert {k: v for k, v in tree(first.output).items() if v != "folder"} == {
            k: v for k, v in before.items() if v != "folder"
        }
    finally:
        shutil.rmtree(broken)


def test_a_broken_yaml_says_so_in_a_dag_of_its_own_and_leaves_the_rest_alone(first: House) -> None:
    bad = first.root / "dags/pipelines/bad.yaml"
    bad.write_text("name: bad\nsource: {uri: x}\noutput: out/bad\nsorce: typo\n", encoding="utf-8")
    try:
        first.airflow.wait_for_dag("bad__broken")
        state, tasks, run_id = first.run("bad__broken")
        assert (state, tasks[0]["state"], tasks[0]["try_number"]) == ("failed", "failed", 1)
        assert "sorce: unknown key" in first.log("bad__broken", run_id, tasks[0])
        assert first.airflow.call("GET", "/importErrors")["import_errors"] == []
        assert first.airflow.call("GET", f"/dags/{SCORE}")["is_stale"] is False
        assert first.airflow.call("GET", f"/dags/{TRAIN}")["is_stale"] is False
    finally:
        bad.unlink()


def champions(answer: httpx.Response) -> dict[str, str]:
    return {pipeline["name"]: pipeline["champion"] for pipeline in answer.json()["pipelines"]}


def test_the_api_asks_for_a_token_and_answers_json(first: House) -> None:
    url = f"{first.airflow.url}/ae/api/pipelines"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": "Bearer nonsense"}).status_code in (401, 403)
    answer = first.airflow.request("GET", "/ae/api/pipelines")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert champions(answer)["flights"] == "v0001"
    runs = first.airflow.request("GET", "/ae/api/pipelines/flights/runs").json()["runs"]
    assert {run["partition"]: run["outcome"] for run in runs}[BLIZZARD] == "quarantined"
    assert first.airflow.request("GET", "/ae/api/pipelines/nonesuch/runs").status_code == 404


def test_retraining_on_the_same_days_promotes_nothing(first: House) -> None:
    state, tasks, run_id = first.run(TRAIN)
    assert state == "success"
    assert by_task(tasks) == {"train": ["success"], "promote": ["skipped"]}
    promote = next(task for task in tasks if task["task_id"] == "promote")
    assert "does not beat the champion v0001" in first.log(TRAIN, run_id, promote)
    assert champions(first.airflow.request("GET", "/ae/api/pipelines"))["flights"] == "v0001"
