"""What a second Celery worker brings: `python -m benchmarks.scale.workers [--rows N] [--turns N]`.

The services of the compose file run here as in the end-to-end test (`tests/e2e/compose.py`), each worker held to one of
two cores, with one slot. Both score a partition of 16 shards; then one of them is killed, and the other one scores it
again. The time is from the first shard's start to the last one's end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.scale.overhead import ROOT, prepare
from tests.e2e.compose import Stack
from tests.e2e.containers import Container

DAY, SHARDS = "date=2013-02-14", 16
SCORE = "flights__score"


def write_day(root: Path, rows: int) -> None:
    """One large day: a day's rows over and over."""
    day = pq.ParquetFile(ROOT / "sample_data/flights" / DAY / "part-0.parquet").read()
    shard = pa.concat_tables([day] * -(-rows // day.num_rows)).slice(0, rows)
    target = root / "sample_data/flights" / DAY / "part-0.parquet"
    target.parent.mkdir()
    with pq.ParquetWriter(target, shard.schema) as writer:
        for _ in range(SHARDS):
            writer.write_table(shard, row_group_size=rows)


def hold(worker: Container, core: int) -> None:
    """Hold all processes of a worker, and those that they start, to one core."""
    assert worker.process is not None
    whole = psutil.Process(worker.process.pid)
    for process in [whole, *whole.children(recursive=True)]:
        process.cpu_affinity([core])


def score(stack: Stack) -> float:
    """Score the large day; seconds from its first shard's start to its last one's end."""
    body = {"logical_date": None, "conf": {"partitions": [DAY]}}
    run = str(stack.call("POST", f"/dags/{SCORE}/dagRuns", json=body)["dag_run_id"])
    if stack.wait_for_run(SCORE, run, seconds=1800) != "success":
        raise SystemExit("the run failed")
    shards: list[dict[str, Any]] = [task for task in stack.tasks(SCORE, run) if task["task_id"] == "shard"]
    times = [[datetime.fromisoformat(task[end]) for end in ("start_date", "end_date")] for task in shards]
    own = sum((end - start).total_seconds() for start, end in times)
    took = (max(end for _, end in times) - min(start for start, _ in times)).total_seconds()
    hosts = sorted({str(task["hostname"]) for task in shards})
    print(f"{len(shards)} shards on {', '.join(hosts)}: {took:.1f} s; {own / len(shards):.1f} s a shard", flush=True)
    return took


def main() -> None:
    """Print the times of both and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000, help="of a shard")
    parser.add_argument("--turns", type=int, default=3, help="how often both score it, and then one")
    args = parser.parse_args()
    os.environ |= {"AE_WORKERS": "2", "AE_WORKER_SLOTS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        prepare(project, shard_rows=args.rows, schedule=None, on_unfamiliar="score", at_once=SHARDS)
        write_day(project, args.rows)
        subprocess.run([sys.executable, ROOT / "tools/compose_env.py", project / ".env"], check=True)
        stack = Stack(Path(folder, "stack"), project, project / ".env", {})
        try:
            stack.up()
            shutil.copytree(project / "out/flights", stack.volume("out") / "flights", dirs_exist_ok=True)
            stack.wait_for_dag(SCORE)
            first, second = stack.containers["worker"]
            hold(first, 0)
            hold(second, 1)
            together = [score(stack) for _ in range(args.turns)]
            second.kill()
            alone = [score(stack) for _ in range(args.turns)]
        finally:
            stack.down()
    ratio = statistics.median(alone) / statistics.median(together)
    print(f"medians: {ratio:.2f} times as fast with a second worker; 2 would be ideal")


if __name__ == "__main__":
    main()
