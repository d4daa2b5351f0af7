"""Operators: thin, since the jobs do the work. What cannot succeed by trying again is not tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ae_plugin.provider import metrics
from ae_plugin.provider.alerts import tell
from ae_plugin.provider.approval import answered
from ae_plugin.provider.base import COLOR, PipelineOperator, announce, one_line
from ae_plugin.provider.lineage import Traced, trace_runs, trace_training
from ae_plugin.provider.links import ModelsLink, RunsLink
from ae_plugin.provider.schedules import wanted

if TYPE_CHECKING:
    from ae_plugin.config import Pipeline
    from ae_plugin.jobs.several import Several

T = TypeVar("T")
GROUPS = 500
"""Partitions beyond this many share mapped tasks: Airflow maps at most 1024."""
OUTCOMES = "outcomes"
"""XCom key of what a score task did with each of its partitions, also when it is skipped or fails then."""
PLANS = "plans"
"""XCom key of how large partitions are cut."""


class BrokenPipelineOperator(PipelineOperator):
    """Stand in for a pipeline whose YAML does not load: fails with the line that says why."""

    def execute(self, context: Any) -> None:  # noqa: ARG002, D102
        with one_line():
            self.loaded()
        self.log.info("the YAML loads now; its own DAGs appear when Airflow parses the file again")


class TrainAutoencoderOperator(Traced, PipelineOperator):
    """Train a new version of a pipeline's model and register it as challenger; returns its report's figures."""

    operator_extra_links = (ModelsLink(),)

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ARG002, D102
        from ae_plugin.jobs.summary import train_lines
        from ae_plugin.jobs.train import train

        with one_line():
            pipeline = self.loaded()
            report = train(pipeline)
        for line in train_lines(report):
            self.log.info("%s", line)
        metrics.train_metrics(report)
        self.trace = trace_training(pipeline, report)
        return report.model_dump(mode="json", exclude={"columns", "loss_curve", "partitions"})


class PromoteModelOperator(PipelineOperator):
    """Make the challenger (or `version`) champion when its gate passed; skipped, with the reasons, when it did not.

    The events of its outlets say `model_version`, `previous` and `forced`.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        version: a version instead of the challenger.
        force: whatever the gate says; recorded as forced.
        approval: task id of the `approve` task whose answer may force it too; None: there is none.
    """

    template_fields: Sequence[str] = ("pipeline", "version")
    operator_extra_links = (ModelsLink(),)

    def __init__(
        self,
        *,
        pipeline: str,
        version: str | None = None,
        force: bool = False,
        approval: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.version, self.force, self.approval = version, force, approval

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: D102
        from ae_plugin.jobs.promote import promote

        with one_line():
            pipeline = self.loaded()
            force, who = answered(context, self.approval)
            record = promote(pipeline, self.version, force=self.force or force, by=who or "airflow")
        metrics.promote_metrics(record)
        for reason in record.reasons:
            self.log.info("%s", reason)
        if not record.promoted:
            tell(pipeline, context, "not_promoted", {self.version or "the challenger": "; ".join(record.reasons)})
            # Skipped, so that no asset event wakes the score DAG.
            raise AirflowSkipException(f"not promoted (champion: {record.champion or 'none'})")
        told = {"model_version": record.champion, "previous": record.previous, "forced": record.forced}
        announce(context, self, told)
        return record.model_dump(mode="json")


class DiscoverPartitionsOperator(PipelineOperator):
    """List the partitions that the run is to score, in groups for mapped tasks.

    A run that has a partition key is of that partition; one that is started by hand may name some in its parameter
    `partitions`; any other is of what is new or changed since it was last scored.

    What is large enough to be cut into shards is not among what it returns: the XCom `plans` has a plan of each.
    """

    def execute(self, context: Any) -> list[list[str]]:  # noqa: D102
        from ae_plugin.jobs.shards import plans

        # First, so that those downstream have it also when this fails: a missing XCom is a traceback for them.
        context["ti"].xcom_push(PLANS, [])
        with one_line():
            pipeline = self.loaded()
            found = wanted(pipeline, context)
            made = plans(pipeline, found)
        metrics.due_metrics(pipeline.name, len(found))
        if not found:
            self.log.info("nothing to do: no partition is new or changed")
        else:
            self.log.info("%d partitions to score: %s", len(found), ", ".join([*found][:20]))
        for plan in made:
            self.log.info("%s is cut into %d shards", plan.partition or "the source", plan.shards)
        context["ti"].xcom_push(PLANS, [plan.model_dump() for plan in made])
        large = {plan.partition for plan in made}
        return _grouped([name for name in found if name not in large])


def _grouped(items: list[T]) -> list[list[T]]:
    size = max(-(-len(items) // GROUPS), 1)
    return [items[start : start + size] for start in range(0, len(items), size)]


class CutPartitionsOperator(BaseOperator):
    """List the shards of large partitions, in groups for mapped tasks; skipped when there are none.

    Args:
        plans: the XCom `plans` of `DiscoverPartitionsOperator`.
    """

    template_fields: Sequence[str] = ("plans",)
    ui_color = COLOR

    def __init__(self, *, plans: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plans = plans

    def execute(self, context: Any) -> list[list[list[int]]]:  # noqa: ARG002, D102
        if not self.plans:
            raise AirflowSkipException("no partition is so large that it is cut")
        return _grouped([[at, number] for at, plan in enumerate(self.plans) for number in range(plan["shards"])])


class _ScoringOperator(Traced, PipelineOperator):
    """An operator that ends partitions: scored, refused or failed, and says so."""

    operator_extra_links = (RunsLink(),)

    def _settle(
        self, context: Any, pipeline: Pipeline, done: Several, *, tolerant: bool = False
    ) -> list[dict[str, Any]]:
        """Push outcomes, fail (unless `tolerant`) or skip, tell metrics and assets; returns what was scored.

        Raises:
            UserError: a partition failed.
            UnfamiliarError: one was refused, under `on_unfamiliar: fail`.
            AirflowSkipException: all were quarantined.
        """
        metrics.score_metrics(pipeline.name, done)
        self.trace = trace_runs(pipeline, done.records)
        refused, failing = list(done.refused.values()), pipeline.score.on_unfamiliar == "fail"
        context["ti"].xcom_push(OUTCOMES, _outcomes(done, "refused" if failing else "quarantined"))
        if done.error and not tolerant:
            raise done.error
        if refused and failing and not tolerant:
            raise refused[0]
        if not done.scored:
            raise AirflowSkipException(str(refused[0]))
        announce(context, self, _told(done))
        return [record.model_dump(mode="json", exclude={"outputs"}) for record in done.scored.values()]


class ScorePartitionOperator(_ScoringOperator):
    """Score one partition, or several one after the other; returns their runs' figures.

    What the guard refuses does not succeed: the task is skipped when all of its rows went into quarantine/ (so nothing
    downstream is told of new scores), and fails under `on_unfamiliar: fail`. A partition that fails does not stop the
    others; the task fails after them. The XCom `outcomes` says what became of each. The events of its outlets have
    `model_version` and, in `partitions`, `rows`, `anomalies` and `verdict` of each partition that was scored.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        partition: hive path or value (`date=2013-01-29`), or a list; absent for a source without partitions.
    """

    template_fields: Sequence[str] = ("pipeline", "partition")

    def __init__(self, *, pipeline: str, partition: str | list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.partition = partition

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: D102
        from ae_plugin.jobs.several import score_several

        with one_line():
            pipeline = self.loaded()
            named = self.partition if isinstance(self.partition, list) else [self.partition]
            if not named:
                raise AirflowSkipException("no partition is named")
            done = score_several(pipeline, named, tell=lambda error: self.log.warning("%s", error))
            return self._settle(context, pipeline, done)


class ScoreShardsOperator(PipelineOperator):
    """Score shards of large partitions; nothing is to be seen of them before `CommitShardsOperator`.

    A shard that is scored is not scored again when its task is tried again.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        plans: the XCom `plans` of `DiscoverPartitionsOperator`.
        shards: one of the groups that `CutPartitionsOperator` returned: pairs of a plan's place and a shard's number.
    """

    template_fields: Sequence[str] = ("pipeline", "plans", "shards")

    def __init__(self, *, pipeline: str, plans: Any, shards: list[list[int]], **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.plans, self.shards = plans, shards

    @property
    def names(self) -> list[str]:
        """Partition and place of each shard, for people."""
        from ae_plugin.jobs.shards import ShardPlan

        return [ShardPlan.model_validate(self.plans[at]).names[number] for at, number in self.shards]

    def execute(self, context: Any) -> None:  # noqa: ARG002, D102
        from ae_plugin.jobs.shards import ShardPlan, score_shard

        with one_line():
            pipeline = self.loaded()
            for at, number in self.shards:
                score_shard(pipeline, ShardPlan.model_validate(self.plans[at]), number)


class CommitShardsOperator(_ScoringOperator):
    """Move all shards of a partition into place at once, or refuse it as a whole, one partition after the other.

    Skipped when there are none. When one cannot be committed, and trying again would not help, the task succeeds all
    the same if another one was, so that its outlets have an event: `SummarizeRunsOperator` fails then, and says which.
    All else is as of `ScorePartitionOperator`.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        plans: the XCom `plans` of `DiscoverPartitionsOperator`.
    """

    template_fields: Sequence[str] = ("pipeline", "plans")

    def __init__(self, *, pipeline: str, plans: Any, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.plans = plans

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: D102
        from ae_plugin.jobs.several import Several
        from ae_plugin.jobs.shards import ShardPlan, commit_shards

        if not self.plans:
            raise AirflowSkipException("no partition was cut")
        done = Several()
        with one_line():
            pipeline = self.loaded()
            for plan in map(ShardPlan.model_validate, self.plans):
                with done.noted(plan.partition, lambda error: self.log.warning("%s", error)):
                    done.scored[plan.partition] = commit_shards(pipeline, plan)
            again = done.error is not None and done.error.transient
            return self._settle(context, pipeline, done, tolerant=bool(done.scored) and not again)


def _told(done: Several) -> dict[str, Any]:
    """What was scored, for the events of assets."""
    scored = {
        name: {"rows": run.rows, "anomalies": run.anomalies, "verdict": run.guard.verdict}
        for name, run in done.scored.items()
    }
    return {"model_version": next(iter(done.scored.values())).model_version, "partitions": scored}


def _outcomes(done: Several, refusal: str) -> dict[str, dict[str, Any]]:
    """Outcome of each partition, in words and figures, for `SummarizeRunsOperator`."""
    from ae_plugin.jobs.summary import mended, unit

    outcomes: dict[str, dict[str, Any]] = {}
    for name, run in done.scored.items():
        says = f"{run.rows} {unit(run)}s, {run.anomalies} anomalies, {mended(run)}, {run.guard.verdict}"
        counts = {"rows": run.rows, "anomalies": run.anomalies, "verdict": run.guard.verdict}
        outcomes[name] = {"outcome": "scored", "says": says, **counts}
    outcomes |= {name: {"outcome": refusal, "says": str(error)} for name, error in done.refused.items()}
    return outcomes | {name: {"outcome": "failed", "says": str(error)} for name, error in done.failed.items()}


def outcomes_of(context: Any, outcomes: Any, commit: str | None) -> dict[str, dict[str, Any]]:
    """What became of each partition, as the score tasks and the commit told.

    Args:
        context: Airflow's.
        outcomes: the XCom `outcomes` of a score task, or of many; None: it has none.
        commit: task id of the `CommitShardsOperator`.
    """
    # A slice, since a mapped task's XComs are fetched one by one else.
    told = [outcomes] if isinstance(outcomes, dict) else (outcomes or [])[:]
    if commit:
        told = [*told, context["ti"].xcom_pull(task_ids=commit, key=OUTCOMES) or {}]
    return {name: outcome for some in told for name, outcome in some.items()}


def verdict_of(outcome: dict[str, Any]) -> str:
    """What the guard said of a partition; `familiar` too when it did not come to that."""
    return "unfamiliar" if outcome["outcome"] in ("quarantined", "refused") else outcome.get("verdict", "familiar")


class SummarizeRunsOperator(BaseOperator):
    """Say what the score tasks of this run did; fails when a partition was not scored, unless it was set aside.

    It goes by what those tasks did, not by what is due now: a partition that changes meanwhile is for the next run. The
    pipeline's alerts are told of partitions that are unfamiliar or hold many anomalies.

    Args:
        groups: lists of partitions, from `DiscoverPartitionsOperator`.
        outcomes: `.output["outcomes"]` of the `ScorePartitionOperator`, mapped or not.
        plans: the XCom `plans` of `DiscoverPartitionsOperator`.
        commit: task id of the `CommitShardsOperator` of these plans.
        pipeline: a YAML's path, or its name in dags/pipelines/; without it nobody is alerted.
    """

    template_fields: Sequence[str] = ("groups", "outcomes", "plans", "pipeline")
    ui_color = COLOR

    def __init__(
        self,
        *,
        groups: Any,
        outcomes: Any,
        plans: Any = (),
        commit: str | None = None,
        pipeline: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups, self.outcomes, self.pipeline = groups, outcomes, pipeline
        self.plans, self.commit = plans, commit

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: D102
        if self.groups is None:
            raise AirflowFailException("the partitions could not be listed: see the task discover")
        names = [partition for group in self.groups for partition in group]
        names += [plan["partition"] for plan in self.plans or ()]
        known = outcomes_of(context, self.outcomes, self.commit)
        lost = {"outcome": "failed", "says": "its task ended early: see its log"}
        by_outcome: dict[str, list[str]] = {name: [] for name in ("scored", "quarantined", "refused", "failed")}
        for name in names:
            found = known.get(name, lost)
            by_outcome[found["outcome"]].append(name or "the source")
            self.log.info("%s: %s, %s", name or "the source", found["outcome"], found["says"])
        self._alert(context, {name or "the source": known.get(name, lost) for name in names})
        for outcome in ("failed", "refused"):
            if some := by_outcome[outcome]:
                raise AirflowFailException(f"{outcome}: {', '.join(some)}; the rest was scored or set aside")
        scored = [known[name] for name in names if known[name]["outcome"] == "scored"]
        counts = {figure: sum(run[figure] for run in scored) for figure in ("rows", "anomalies")}
        return {"partitions": len(scored), "quarantined": len(by_outcome["quarantined"]), **counts}

    def _alert(self, context: Any, found: dict[str, dict[str, Any]]) -> None:
        if self.pipeline is None:
            return
        with one_line():
            from ae_plugin import config

            pipeline = config.load(self.pipeline)
        strange = {name: one["says"] for name, one in found.items() if verdict_of(one) == "unfamiliar"}
        tell(pipeline, context, "unfamiliar", strange)
        for share in {alert.above for alert in pipeline.alerts if alert.above is not None}:
            many = {
                name: one["says"]
                for name, one in found.items()
                if one["outcome"] == "scored" and one["anomalies"] > share * one["rows"]
            }
            tell(pipeline, context, "anomalies_above", many, above=share)
