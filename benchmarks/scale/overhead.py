"""What a score run costs beside Airflow's own tasks: `python -m benchmarks.scale.overhead`.

A real Airflow runs the score DAG with nothing to do, and with one small partition, and between them a DAG of tasks that
do nothing. What a task of ours takes longer than one of those is our own time.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

from ae_plugin import config
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.train import train
from tools.local_airflow import LocalAirflow

ROOT = Path(__file__).resolve().parents[2]
HISTORY = [f"date=2013-01-{day:02d}" for day in range(1, 29)]
FRESH = [f"date=2013-02-{day:02d}" for day in (1, 6, 12, 14)]
TURNS = 4
EMPTY = '''
from airflow.sdk import dag, task


@dag(schedule=None)
def empty():
    @task
    def nothing():
        """Airflow's own overhead, and nothing else."""

    nothing()


empty()
'''


def prepare(root: Path, **score: Any) -> None:
    """A pipeline of flights, trained on a little, in a project of its own; with settings of `score`."""
    (root / "dags/pipelines").mkdir(parents=True)
    shutil.copy(ROOT / "dags/pipelines.py", root / "dags")
    settings = yaml.safe_load((ROOT / "dags/pipelines/flights.yaml").read_text(encoding="utf-8"))
    settings["train"]["steps"] = 300
    settings["score"] |= score
    path = root / "dags/pipelines/flights.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name in HISTORY:
        shutil.copytree(ROOT / "sample_data/flights" / name, root / "sample_data/flights" / name)
    pipeline = config.load(path)
    train(pipeline)
    promote(pipeline, force=True)


def seconds(airflow: LocalAirflow, dag: str) -> dict[str, float]:
    """Run a DAG; how long each of its tasks that ran took."""
    run = airflow.trigger(dag)
    if airflow.wait_for_run(dag, run) != "success":
        raise SystemExit(f"{dag} failed")
    tasks: list[dict[str, Any]] = airflow.tasks(dag, run)
    return {str(task["task_id"]): float(task["duration"]) for task in tasks if task["duration"]}


def main() -> None:
    """Print what each task takes beyond an empty one, the medians of a few turns."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root)
        (root / "dags/empty.py").write_text(EMPTY, encoding="utf-8")
        found: dict[str, list[dict[str, float]]] = {"empty": [], "nothing to do": [], "one partition": []}
        with LocalAirflow(root) as airflow:
            for dag in ("empty", "flights__score"):
                airflow.wait_for_dag(dag)
            for turn in range(-1, TURNS):  # the first is for Airflow to warm up
                some = {"empty": seconds(airflow, "empty"), "nothing to do": seconds(airflow, "flights__score")}
                if turn >= 0:
                    name = FRESH[turn]
                    shutil.copytree(ROOT / "sample_data/flights" / name, root / "sample_data/flights" / name)
                    some["one partition"] = seconds(airflow, "flights__score")
                    for what, took in some.items():
                        found[what].append(took)
    empty = statistics.median(took["nothing"] for took in found["empty"])
    print(f"an empty task: {empty:.2f} s\n\n| run | task | beyond an empty task, s |\n|---|---|---:|")
    for what in ("nothing to do", "one partition"):
        whole = [sum(took.values()) - empty * len(took) for took in found[what]]
        for task in found[what][0]:
            own = statistics.median(took.get(task, 0.0) - empty for took in found[what])
            print(f"| {what} | {task} | {own:.2f} |")
        print(f"| {what} | all of them | {statistics.median(whole):.2f} |")


if __name__ == "__main__":
    main()
