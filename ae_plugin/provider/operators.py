"""Operators: thin, since the jobs do the work. What cannot succeed by trying again is not tried again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ae_plugin.errors import NoChampionError, UnfamiliarError, UserError

log = logging.getLogger(__name__)
GROUPS = 500
"""Partitions beyond this many share mapped tasks: Airflow maps at most 1024."""


@contextmanager
def one_line() -> Iterator[None]:
    """Turn errors that only a person can mend into one line in the task's log, without retries."""
    try:
        yield
    except (UserError, UnfamiliarError, NoChampionError) as error:
        log.error("%s", error)
        raise AirflowFailException(str(error)) from None


class _PipelineOperator(BaseOperator):
    """An operator of one pipeline.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
    """

    template_fields: Sequence[str] = ("pipeline",)
    ui_color = "#e8f0fb"

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def _loaded(self) -> Any:
        from ae_plugin import config

        return config.load(self.pipeline)


class BrokenPipelineOperator(_PipelineOperator):
    """Stand in for a pipeline whose YAML does not load: fails with the line that says why."""

    def execute(self, context: Any) -> None:  # noqa: ARG002, D102
        with one_line():
            self._loaded()
        self.log.info("the YAML loads now; its own DAGs appear when Airflow parses the file again")


class TrainAutoencoderOperator(_PipelineOperator):
    """Train a new version of a pipeline's model and register it as challenger; returns its report's figures."""

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ARG002, D102
        from ae_plugin.jobs.summary import train_lines
        from ae_plugin.jobs.train import train

        with one_line():
            report = train(self._loaded())
        for line in train_lines(report):
            self.log.info("%s", line)
        return report.model_dump(mode="json", exclude={"columns", "loss_curve", "partitions"})


class PromoteModelOperator(_PipelineOperator):
    """Make the challenger (or `version`) champion when its gate passed; skipped, with the reasons, when it did not.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        version: a version instead of the challenger.
        force: whatever the gate says; recorded as forced.
    """

    template_fields: Sequence[str] = ("pipeline", "version")

    def __init__(self, *, pipeline: str, version: str | None = None, force: bool = False, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.version, self.force = version, force

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ARG002, D102
        from ae_plugin.jobs.promote import promote

        with one_line():
            record = promote(self._loaded(), self.version, force=self.force, by="airflow")
        for reason in record.reasons:
            self.log.info("%s", reason)
        if not record.promoted:
            # Skipped, so that no asset event wakes the score DAG.
            raise AirflowSkipException(f"not promoted (champion: {record.champion or 'none'})")
        return record.model_dump(mode="json")


class DiscoverPartitionsOperator(_PipelineOperator):
    """List what is new or changed since it was last scored, in groups for mapped tasks."""

    def execute(self, context: Any) -> list[list[str]]:  # noqa: ARG002, D102
        from ae_plugin.jobs.score import due

        with one_line():
            found = due(self._loaded())
        if not found:
            self.log.info("nothing to do: no partition is new or changed")
            return []
        self.log.info("%d partitions are new or changed: %s", len(found), ", ".join(found[:20]))
        size = -(-len(found) // GROUPS)
        return [found[start : start + size] for start in range(0, len(found), size)]


class ScorePartitionOperator(_PipelineOperator):
    """Score one partition, or several one after the other; returns their runs' figures.

    What the guard refuses does not succeed: the task is skipped when all of its rows went into quarantine/ (so nothing
    downstream is told of new scores), and fails under `on_unfamiliar: fail`.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        partition: hive path or value (`date=2013-01-29`), or a list; absent for a source without partitions.
    """

    template_fields: Sequence[str] = ("pipeline", "partition")

    def __init__(self, *, pipeline: str, partition: str | list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.partition = partition

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: ARG002, D102
        from ae_plugin.jobs.score import score

        with one_line():
            pipeline = self._loaded()
            named = self.partition if isinstance(self.partition, list) else [self.partition]
            scored, refused = [], []
            for partition in named:
                try:
                    record = score(pipeline, partition or None)
                    scored.append(record.model_dump(mode="json", exclude={"outputs"}))
                except UnfamiliarError as error:
                    self.log.warning("%s", error)
                    refused.append(error)
            if refused and pipeline.score.on_unfamiliar == "fail":
                raise refused[0]
        if not scored:
            raise AirflowSkipException(str(refused[0]))
        return scored


class SummarizeRunsOperator(_PipelineOperator):
    """Say what became of the partitions that were due; fails when one was not scored, unless it was set aside."""

    template_fields: Sequence[str] = ("pipeline", "groups")

    def __init__(self, *, pipeline: str, groups: Any, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.groups = groups

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ARG002, D102
        from ae_plugin.jobs.score import due, runs

        wanted = [partition for group in self.groups or [] for partition in group]
        if self.groups is None:
            raise AirflowFailException("the partitions could not be listed: see the task discover")
        if not wanted:
            self.log.info("nothing to do")
            return {"partitions": 0, "quarantined": 0, "rows": 0, "anomalies": 0}
        with one_line():
            pipeline = self._loaded()
            records = [run for run in runs(pipeline) if run.partition in set(wanted)]
            left = set(due(pipeline)) & set(wanted)
        for run in records:
            self.log.info(
                "%s: %s, %d rows, %d anomalies, %d cells repaired, %s",
                *(run.partition or pipeline.name, run.outcome, run.rows, run.anomalies, run.cells_repaired),
                run.guard.verdict,
            )
        refused = [run.partition or pipeline.name for run in records if run.outcome == "refused"]
        if left:
            raise AirflowFailException(f"not scored: {', '.join(sorted(left))}")
        if refused:
            raise AirflowFailException(f"refused as unfamiliar: {', '.join(refused)}; the rest was scored")
        scored = [run for run in records if run.outcome == "scored"]
        counts = {"rows": sum(run.rows for run in scored), "anomalies": sum(run.anomalies for run in scored)}
        return {"partitions": len(scored), "quarantined": len(records) - len(scored), **counts}
