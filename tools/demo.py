"""The demo: a real Airflow trains on the shipped samples and scores the days that follow; then what was found."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from ae_plugin import config
from ae_plugin.errors import AeError, NoChampionError
from ae_plugin.jobs.due import due
from tools.airflow_api import AirflowError
from tools.found import console, say, show
from tools.local_airflow import LocalAirflow

ROOT = Path(__file__).resolve().parent.parent
PIPELINES = ("flights", "boards")
ASSET_SECONDS = 60.0
SCHEDULE_SECONDS = 15.0


def main() -> None:
    """Run the demo; exit 0 only when everything succeeded."""
    os.chdir(ROOT)
    os.environ["AE_ROOT"] = str(ROOT)
    began = time.monotonic()
    try:
        pipelines = [config.load(name) for name in PIPELINES]
        work = {pipeline.name: what for pipeline in pipelines if (what := _work(pipeline))}
        if work:
            _run_airflow(work)
        else:
            say("champions are there and no partition is new or changed: nothing to do; this is what was found")
        for pipeline in pipelines:
            if left := due(pipeline):
                raise AirflowError(f"{pipeline.name}: not scored: {', '.join(left)}")
        for pipeline in pipelines:
            show(pipeline, ROOT)
        say("\nlook at both in Airflow: make ui")
    except (AirflowError, AeError) as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)
    say(f"done in {time.monotonic() - began:.0f} s")


def _work(pipeline: config.Pipeline) -> str:
    """What Airflow has to do: `train` (and then score), `score`, or nothing."""
    try:
        return "score" if due(pipeline) else ""
    except NoChampionError:
        return "train"


def _run_airflow(work: dict[str, str]) -> None:
    with LocalAirflow(ROOT, say) as airflow:
        for name, what in work.items():  # one after the other: two trainings at once would share the cores
            _run_pipeline(airflow, name, what)


def _run_pipeline(airflow: LocalAirflow, name: str, what: str) -> None:
    train, score = f"{name}__train", f"{name}__score"
    airflow.wait_for_dag(score)
    before = {run["dag_run_id"] for run in airflow.runs(score)}
    if what == "train":
        airflow.wait_for_dag(train)
        _finish(airflow, train, _first_run(airflow, train))
        run_id = _by_asset(airflow, score, before, f"{name}.model")
    else:
        run_id = airflow.trigger(score)
        say(f"{score}: started")
    _finish(airflow, score, run_id)


def _finish(airflow: LocalAirflow, dag_id: str, run_id: str) -> None:
    if airflow.wait_for_run(dag_id, run_id, watch=_Watch(airflow, dag_id, run_id)) != "success":
        _fail(airflow, dag_id, run_id)


def _first_run(airflow: LocalAirflow, dag_id: str) -> str:
    """The run that a DAG's schedule starts when it is switched on; one started by hand when none comes."""
    deadline = time.monotonic() + SCHEDULE_SECONDS
    while time.monotonic() < deadline:
        if found := airflow.runs(dag_id):
            say(f"{dag_id}: started by its schedule")
            return str(found[0]["dag_run_id"])
        time.sleep(1)
    say(f"{dag_id}: started by hand")
    return airflow.trigger(dag_id)


def _by_asset(airflow: LocalAirflow, dag_id: str, before: set[str], asset: str) -> str:
    """Wait for the run that the new champion's asset starts; start one by hand when none comes."""
    say(f"{dag_id}: waiting for the new champion to start it")
    deadline = time.monotonic() + ASSET_SECONDS
    while time.monotonic() < deadline:
        new = [run["dag_run_id"] for run in airflow.runs(dag_id) if run["dag_run_id"] not in before]
        if new:
            say(f"{dag_id}: started by the asset {asset}")
            return str(new[0])
        time.sleep(2)
    say(f"{dag_id}: no run by asset within {ASSET_SECONDS:.0f} s; starting it by hand")
    return airflow.trigger(dag_id)


class _Watch:
    """Prints task states when they change, and a training's newest log line every few seconds."""

    def __init__(self, airflow: LocalAirflow, dag_id: str, run_id: str) -> None:
        self.airflow, self.dag_id, self.run_id = airflow, dag_id, run_id
        self.seen, self.spoke, self.began = "", time.monotonic(), time.monotonic()

    def __call__(self, tasks: list[dict[str, Any]]) -> None:
        states: dict[str, dict[str, int]] = {}
        for task in tasks:
            own = states.setdefault(task["task_id"], {})
            own[str(task["state"])] = own.get(str(task["state"]), 0) + 1
        line = ", ".join(f"{name} {_counts(own)}" for name, own in sorted(states.items()))
        quiet = time.monotonic() - self.spoke
        if line != self.seen or quiet > 8:
            say(f"{time.monotonic() - self.began:5.0f} s  {self.dag_id}: {line}{self._last_word(tasks)}")
            self.seen, self.spoke = line, time.monotonic()

    def _last_word(self, tasks: list[dict[str, Any]]) -> str:
        running = [task for task in tasks if task["state"] == "running" and task["task_id"] == "train"]
        if not running:
            return ""
        try:
            lines = [line for line in self.airflow.task_log(self.dag_id, self.run_id, running[0]) if line.strip()]
        except (AirflowError, KeyError):
            return ""
        steps = [line for line in lines if line.startswith("step ")]
        return f" | {steps[-1][:90]}" if steps else ""


def _counts(states: dict[str, int]) -> str:
    return " + ".join(f"{n} {state}" if n > 1 else state for state, n in sorted(states.items())).replace(
        "None", "waits"
    )


def _fail(airflow: LocalAirflow, dag_id: str, run_id: str) -> None:
    for task in airflow.tasks(dag_id, run_id):
        if task["state"] == "failed":
            say(f"--- log of {dag_id}.{task['task_id']}")
            for line in airflow.task_log(dag_id, run_id, task)[-25:]:
                say(line)
    raise AirflowError(f"{dag_id} failed; Airflow's own log: {airflow.log}")


if __name__ == "__main__":
    main()
