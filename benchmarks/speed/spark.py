"""Spark beside the local engine, in one run: `python -m benchmarks.speed.spark`.

A standalone cluster of two workers with a core each, on this machine, against the local engine on the same cores. Both
take turns; each row is the best of its turns. Writes `docs/benchmarks/spark.md` with `--write`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pyarrow.parquet as pq
import yaml

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.engines.spark import score as score_frame
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.several import score_several
from ae_plugin.jobs.spark import score_on
from ae_plugin.jobs.train import train
from benchmarks.speed.data import block
from tools.local_spark import LocalSpark

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".bench/spark"
PAGE = ROOT / "docs/benchmarks/spark.md"
LARGE, LARGE_ROWS, SMALL_ROWS = 8, 250_000, 100
WARM = 2
"""Turns before those that count: Java takes that long to compile what it runs."""


@dataclass
class Took:
    """What one turn took: seconds by the clock, and of all processes on all cores."""

    seconds: float
    core_seconds: float


def write_source(folder: Path, parts: int, rows: int) -> Path:
    """Write (once) a table in hive partitions."""
    for part in range(parts):
        path = folder / f"part={part:05d}/part-0.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(block(rows, part * rows, seed=2), path, use_dictionary=["site"])
    return folder


def pipeline(name: str, source: Path) -> Pipeline:
    """A pipeline over a source; all of them share a model, trained once."""
    settings = {
        "name": name,
        "source": {"uri": str(source), "partition_by": "part", "keys": ["id", "site"]},
        "train": {"partitions": 1, "contamination": 0},
        "score": {"on_unfamiliar": "score"},
        "output": str(WORK / "out"),
    }
    path = WORK / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return config.load(path)


@contextmanager
def session(cluster: LocalSpark) -> Iterator[Any]:
    """A session on the cluster, quiet."""
    from pyspark.sql import SparkSession

    os.environ.update(cluster.environment())
    builder = SparkSession.builder.master(cluster.url).appName("benchmark")
    for name, value in {
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.executor.memory": "1g",
    }.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    try:
        yield spark
    finally:
        spark.stop()


_SEEN: dict[int, float] = {}
"""Core seconds of each process that was ever seen: what has ended still counts."""


def core_seconds() -> float:
    """Core seconds of this process and all that it started."""
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            _SEEN[process.pid] = max(_SEEN.get(process.pid, 0.0), times.user + times.system)
    return sum(_SEEN.values())


def turn(work: Callable[[], Any]) -> Took:
    """One contender's turn."""
    shutil.rmtree(WORK / "target", ignore_errors=True)
    clock, cores = time.perf_counter(), core_seconds()
    work()
    return Took(time.perf_counter() - clock, core_seconds() - cores)


def race(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Took]:
    """Let all take turns; keeps the least of each figure. The first turns, with cold executors, do not count."""
    best: dict[str, Took] = {}
    for number in range(repeats + WARM):
        for name, work in contenders.items():
            took = turn(work)
            said = f"{took.seconds:8.2f} s  {took.core_seconds:8.2f} core s"
            print(f"turn {number + 1 - WARM}  {name:40s} {said}", file=sys.stderr)
            if number >= WARM:
                before = best.get(name, took)
                seconds, cores = min(before.seconds, took.seconds), min(before.core_seconds, took.core_seconds)
                best[name] = Took(seconds, cores)
    return best


def contenders(spark: Any, large: Pipeline, small: Pipeline) -> dict[str, dict[str, Callable[[], Any]]]:
    """By table: who is to score it, the local engine first."""
    target = str(WORK / "target")

    def local(chosen: Pipeline) -> None:
        score_several(chosen, parts(chosen), output=target, tell=print)

    def parts(chosen: Pipeline) -> list[str]:
        return sorted(path.name for path in Path(chosen.source.uri).iterdir())

    def frame() -> Any:
        return spark.read.parquet(large.source.uri)

    def nothing(batches: Any) -> Any:
        for batch in batches:
            yield batch.select(["id"])

    def into_nothing(df: Any) -> None:
        df.write.format("noop").mode("overwrite").save()

    return {
        "large": {
            "`ae score`": lambda: local(large),
            "`jobs.spark`: the same files": lambda: score_on(spark, large, parts(large), output=target),
            "`score(df)`, scores alone": lambda: into_nothing(score_frame(frame(), large.output)),
            "`mapInArrow`, doing nothing": lambda: into_nothing(frame().mapInArrow(nothing, "id long")),
        },
        "small": {
            "`ae score`": lambda: local(small),
            "`jobs.spark`: the same files": lambda: score_on(spark, small, parts(small), output=target),
        },
    }


def table(best: dict[str, Took], head: str, rows: int) -> list[str]:
    """One table, Markdown."""
    base = next(iter(best.values()))
    lines = [
        f"| {head} | s | rows/s | local / this | core s | local / this, core s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, took in best.items():
        clock, cores = base.seconds / took.seconds, base.core_seconds / took.core_seconds
        speed = f"{rows / took.seconds:,.0f}"
        lines.append(f"| {name} | {took.seconds:.1f} | {speed} | {clock:.2f} | {took.core_seconds:.1f} | {cores:.2f} |")
    return [*lines, ""]


def main() -> None:
    """Run all of it and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender")
    parser.add_argument("--small", type=int, default=2_000, help="small partitions")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    large = pipeline("large", write_source(WORK / "large", LARGE, LARGE_ROWS))
    small = pipeline("small", write_source(WORK / f"small-{args.small}", args.small, SMALL_ROWS))
    if not (WORK / "out/_models/champion.json").exists():
        train(large)
        promote(large, force=True)
    with LocalSpark(WORK / "cluster") as cluster, session(cluster) as spark:
        chosen = contenders(spark, large, small)
        best = {name: race(group, args.repeats) for name, group in chosen.items()}
    lines = [
        *table(best["large"], f"{LARGE} partitions of {LARGE_ROWS:,} rows", LARGE * LARGE_ROWS),
        *table(best["small"], f"{args.small:,} partitions of {SMALL_ROWS} rows", args.small * SMALL_ROWS),
    ]
    print("\n".join(lines))
    if args.write:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, PySpark {spark.version}"
        head = f"# Spark\n\n`python -m benchmarks.speed.spark --write`, {date.today()}, {machine}, shared machine.\n"
        how = (
            f"Both have the same cores. They take turns; each figure is the least of {args.repeats} turns, after "
            f"{WARM} that do not count. `ae score` and the job write scores, cells and the denoised table. `score(df)` "
            "gives scores to nobody; the last row is what Spark takes to bring the same rows to Python.\n"
        )
        PAGE.write_text("\n".join([head, how, *lines]).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
