"""The demo: a real Airflow trains on the shipped flights and scores the days that follow; then what was found."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ae_plugin import config
from ae_plugin.errors import AeError, NoChampionError
from ae_plugin.jobs.due import due, runs
from ae_plugin.jobs.models import report_of
from ae_plugin.jobs.summary import train_lines
from ae_plugin.schemas import RunRecord
from tools.local_airflow import AirflowError, LocalAirflow
from tools.truth import compare, read_dataset

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = "flights"
ASSET_SECONDS = 60.0
SCHEDULE_SECONDS = 15.0
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main() -> None:
    """Run the demo; exit 0 only when everything succeeded."""
    os.chdir(ROOT)
    os.environ["AE_ROOT"] = str(ROOT)
    began = time.monotonic()
    try:
        pipeline = config.load(PIPELINE)
        work = _work(pipeline)
        if work:
            _run_airflow(work)
        else:
            say("a champion is there and no partition is new or changed: nothing to do; this is what was found")
        left = due(pipeline)
        if left:
            raise AirflowError(f"not scored: {', '.join(left)}")
        show(pipeline)
    except (AirflowError, AeError) as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)
    say(f"done in {time.monotonic() - began:.0f} s")


def say(text: str) -> None:
    """Print one line of progress."""
    console.print(text, markup=False, soft_wrap=True)


def _work(pipeline: config.Pipeline) -> str:
    """What Airflow has to do: `train` (and then score), `score`, or nothing."""
    try:
        return "score" if due(pipeline) else ""
    except NoChampionError:
        return "train"


def _run_airflow(work: str) -> None:
    score = f"{PIPELINE}__score"
    with LocalAirflow(ROOT, say) as airflow:
        airflow.wait_for_dag(score)
        before = {run["dag_run_id"] for run in airflow.runs(score)}
        if work == "train":
            train = f"{PIPELINE}__train"
            airflow.wait_for_dag(train)
            run_id = _first_run(airflow, train)
            state = airflow.wait_for_run(train, run_id, watch=_Watch(airflow, train, run_id))
            if state != "success":
                _fail(airflow, train, run_id)
            run_id = _by_asset(airflow, score, before)
        else:
            run_id = airflow.trigger(score)
            say(f"{score}: started")
        if airflow.wait_for_run(score, run_id, watch=_Watch(airflow, score, run_id)) != "success":
            _fail(airflow, score, run_id)


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


def _by_asset(airflow: LocalAirflow, dag_id: str, before: set[str]) -> str:
    """Wait for the run that the new champion's asset starts; start one by hand when none comes."""
    say(f"{dag_id}: waiting for the new champion to start it")
    deadline = time.monotonic() + ASSET_SECONDS
    while time.monotonic() < deadline:
        new = [run["dag_run_id"] for run in airflow.runs(dag_id) if run["dag_run_id"] not in before]
        if new:
            say(f"{dag_id}: started by the asset {PIPELINE}.model")
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


def show(pipeline: config.Pipeline) -> None:
    """Print the report, the partitions, the most surprising cells, and what was found of what was planted."""
    output = Path(pipeline.output)
    records = runs(pipeline)
    console.rule("the model")
    for line in train_lines(report_of(pipeline)):
        say(line)
    console.rule("the partitions")
    console.print(_partitions(records))
    for record in records:
        if record.outcome != "scored":
            why = "; ".join(record.guard.reasons[:2])
            say(f"{record.partition} was set aside, not scored: {why}")
    console.rule("the ten most surprising cells")
    _cells(output)
    console.rule("found of what was planted (sample_data/flights_truth.parquet)")
    console.print(_planted(ROOT / "sample_data/flights_truth.parquet", output))
    shown = output.relative_to(ROOT) if output.is_relative_to(ROOT) else output
    say(f"Parquet: {shown}/scores, {shown}/cells, {shown}/denoised, {shown}/quarantine; runs: {shown}/_runs")
    say("look at it in Airflow: make ui     as one page: .venv/bin/ae report flights")


def _partitions(records: list[RunRecord]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in (
        "partition",
        "rows",
        "anomalies",
        "alarm rate",
        "cells repaired",
        "nulls filled",
        "verdict",
        "seconds",
    ):
        table.add_column(name, justify="left" if name in ("partition", "verdict") else "right")
    for record in records:
        scored = record.outcome == "scored"
        rate = f"{record.observed_alert_rate:.2%}" if scored and record.observed_alert_rate is not None else "-"
        counts = (record.anomalies, record.cells_repaired, record.cells_imputed)
        anomalies, repaired, imputed = (str(count) if scored else "-" for count in counts)
        verdict = record.guard.verdict if scored else f"{record.guard.verdict}, {record.outcome}"
        table.add_row(
            record.partition, str(record.rows), anomalies, rate, repaired, imputed, verdict, f"{record.seconds:.2f}"
        )
    return table


def _cells(output: Path) -> None:
    cells = read_dataset(output / "cells")
    worst = cells.sort_values(["p_value", "cell_error", "date", "row"], ascending=[True, False, True, True])
    for _, cell in worst.drop_duplicates(["date", "column"]).head(10).iterrows():
        key = f"{cell['date']} {cell['tailnum'] or '-'} row {cell['row']}"
        change = f"{_shown(cell['observed'])} -> {_shown(cell['expected'])}"
        say(f"{key} · {cell['column']} · {change} · p {cell['p_value']:.5f}")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else "null"


def _planted(truth: Path, output: Path) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("fault", "cells planted", "in flagged rows", "named", "repaired within 5%"):
        table.add_column(name, justify="left" if name == "fault" else "right")
    for found in compare(truth, output):
        shares = [f"{n} ({n / found.planted:.0%})" for n in (found.flagged, found.named, found.repaired)]
        table.add_row(found.fault, str(found.planted), *shares)
    return table


if __name__ == "__main__":
    main()
