"""Score a pipeline's partitions on Spark: a task takes one or some, does what `ae score` does, and commits each whole.

    spark-submit --master spark://host:7077 ae_plugin/jobs/spark.py PIPELINE
    python -m ae_plugin.jobs.spark PIPELINE

Each partition's output is the same, to the byte, as that of `ae score`: the guard, `row` and all or nothing too. Spark
may run a task again, or twice at once: partitions are replaced whole.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.engines.executors import Shipped
from ae_plugin.engines.memory import settle
from ae_plugin.engines.spark import ship
from ae_plugin.errors import AeError, ConfigError, UnfamiliarError, UserError
from ae_plugin.jobs.due import chosen_files, due_files
from ae_plugin.jobs.score import score, version_of
from ae_plugin.jobs.several import Several
from ae_plugin.jobs.summary import many
from ae_plugin.logs import tell_on_stderr
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import SourceFile
from ae_plugin.store.registry import Registry
from ae_plugin.versions import SCORING, ModelVersion

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from ae_plugin.jobs.pictures.versions import PictureVersion

log = logging.getLogger(__name__)
_TASKS = 50
"""Tasks for each core of the cluster: partitions beyond this many share them, since a task has its price too."""
Work = list[tuple[str, list[SourceFile]]]
Found = tuple[str, RunRecord | UnfamiliarError | UserError]


@dataclass(frozen=True)
class _Task:
    """What each task needs to know beside its partition."""

    pipeline: Pipeline
    model: Shipped
    output: str | None

    def score_all(self, work: Work) -> list[Found]:
        """Score partitions on an executor."""
        return [self._score(*item) for item in work]

    def _score(self, partition: str, files: list[SourceFile]) -> Found:
        """Score one; what is wrong with it does not stop the others."""
        version = _opened(self)
        try:
            return partition, score(self.pipeline, partition, output=self.output, version=version, files=files)
        except (UnfamiliarError, UserError) as error:
            return partition, error
        finally:
            settle()

    def __hash__(self) -> int:
        return hash(self.model)


@lru_cache(maxsize=4)
def _opened(task: _Task) -> ModelVersion | PictureVersion:
    """The model, opened once in each Python worker."""
    version = version_of(task.pipeline, task.model.sent.value)
    log.info("opened model %s", version.version)
    return version


def score_on(
    spark: SparkSession,
    pipeline: Pipeline,
    partitions: Iterable[str] | None = None,
    *,
    output: str | None = None,
    tell: Callable[[AeError], None] | None = None,
) -> Several:
    """Score partitions of a pipeline, tables or pictures, each by itself.

    Source and output must have the same URI on every executor. The champion of this moment scores all of them.

    Args:
        spark: a session.
        pipeline: from `config.load`.
        partitions: hive paths or values; absent: all that are due.
        output: where to write instead of the pipeline's output; the model still comes from there.
        tell: called with the line of each partition that was not scored.

    Raises:
        NoChampionError: there is nothing to score with.
        UserError: the source, the model or a partition's name is not what it should be, or Spark gave up.
    """
    registry = Registry(pipeline.output)
    stored = registry.fetch(registry.champion())
    version_of(pipeline, stored)  # what is wrong with it is said here, in one line
    listed = due_files(pipeline) if partitions is None else chosen_files(pipeline, list(partitions))
    work = list(listed.items())
    done = Several()
    if not work:
        return done
    log.info("scoring %s of %s on Spark", many(len(work), "partition"), pipeline.name)
    lean = stored.only(_needed(pipeline))
    task = _Task(pipeline, ship(spark, lean, pipeline.score.alert_rate, pipeline.score.method), output)
    results = dict(_collected(spark, task, work))
    for name in (name for name in listed if name in results):
        found = results[name]
        if isinstance(found, RunRecord):
            done.scored[name] = found
            continue
        (tell or (lambda error: log.warning("%s", error)))(found)
        if isinstance(found, UnfamiliarError):
            done.refused[name] = found
        else:
            done.failed[name] = found
    return done


def _needed(pipeline: Pipeline) -> tuple[str, ...]:
    """The files of a version that scoring needs: executors get no others."""
    if pipeline.source.format != "images":
        return SCORING
    from ae_plugin.jobs.pictures.versions import PICTURE_SCORING

    return PICTURE_SCORING


def _shares(work: Work, most: int) -> list[Work]:
    """Deal work out into at most so many tasks of about equal size, the largest partitions first in each.

    The tasks with the largest run first: one of them begun last would keep everybody waiting.
    """
    dealt = sorted(work, key=lambda item: -sum(file.size for file in item[1]))
    tasks = min(len(dealt), most)
    return [dealt[first::tasks] for first in range(tasks)]


def _collected(spark: SparkSession, task: _Task, work: Work) -> list[Found]:
    """Run the tasks; what Spark says when it gives up is made one line."""
    context = spark.sparkContext
    shares = _shares(work, _TASKS * context.defaultParallelism)
    try:
        return context.parallelize(shares, len(shares)).flatMap(task.score_all).collect()
    except Exception as error:
        if not type(error).__module__.startswith(("py4j", "pyspark")):
            raise
        what, mend = f"Spark gave up ({_reason(error)})", "See its log, and try again"
        raise UserError(what, mend=mend, transient=True) from error


def _reason(error: Exception) -> str:
    """What a task died of: the last line of Python's traceback, or the first of what Spark says."""
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage() if java is not None else error)
    python = text.split("\n\tat ", 1)[0].strip().splitlines()
    return " ".join((python[-1] if "Traceback" in text else text.splitlines()[0]).split())[:300]


def main() -> None:
    """Score what is due, or some partitions; exit codes as those of `ae score`.

    Under spark-submit all that Python says goes to stdout; the last line is the JSON object, or one on all partitions.
    """
    parser = argparse.ArgumentParser(prog="ae_plugin.jobs.spark", description="Score a pipeline's partitions on Spark.")
    parser.add_argument("pipeline", metavar="PIPELINE", help="a YAML's path, or its name in dags/pipelines/")
    parser.add_argument("--partition", action="append", help="one partition; may be said often; absent: what is due")
    parser.add_argument("--output", help="write there instead")
    parser.add_argument("--master", help="of the cluster; absent: as spark-submit says, else this machine's cores")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    chosen = parser.parse_args()
    logging.captureWarnings(True)
    tell_on_stderr()
    try:
        pipeline = config.load(chosen.pipeline)
        spark = _session(f"score {pipeline.name}", chosen.master)
        try:
            done = score_on(spark, pipeline, chosen.partition, output=chosen.output)
        finally:
            spark.stop()
    except AeError as error:
        print(f"ae: {error}", file=sys.stderr, flush=True)  # noqa: T201
        if chosen.json:
            _print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
        sys.exit(error.exit_code)
    lines = [*done.lines, *_total(done)] or ["nothing to do: no partition is new or changed"]
    _print(json.dumps(done.as_json(pipeline.name)) if chosen.json else "\n".join(lines))
    sys.exit(done.exit_code)


def _total(done: Several) -> list[str]:
    """One line on all: the last line is what Airflow's BashOperator keeps."""
    if not (done.scored or done.refused or done.failed):
        return []
    runs = done.scored.values()
    rows, anomalies = sum(run.rows for run in runs), sum(run.anomalies for run in runs)
    counts = f"{many(rows, 'row')}, {many(anomalies, 'anomaly', 'anomalies')}"
    return [f"{len(runs)} scored ({counts}), {len(done.refused)} refused, {len(done.failed)} failed"]


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _session(name: str, master: str | None) -> SparkSession:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError(
            "PySpark is not installed", mend="Install the extra: airflow-provider-autoencoder[spark]"
        ) from error
    builder = SparkSession.builder.appName(name)
    return (builder.master(master) if master else builder).getOrCreate()


if __name__ == "__main__":
    # Not this copy, which is called __main__: executors find what they run by its module's name.
    from ae_plugin.jobs.spark import main as entry

    entry()
