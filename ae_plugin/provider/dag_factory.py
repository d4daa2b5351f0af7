"""Pipeline YAMLs to DAGs: `<name>__train` trains and promotes, `<name>__score` scores what is new or changed."""

from __future__ import annotations

import contextlib
import logging
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.configuration import conf
from airflow.sdk import DAG, Asset, TriggerRule, XComArg, get_parsing_context

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.errors import ConfigError
from ae_plugin.masks import shown
from ae_plugin.places import local_path
from ae_plugin.provider.alerts import check_alerts, deadlines
from ae_plugin.provider.approval import TASK as APPROVE
from ae_plugin.provider.approval import approval
from ae_plugin.provider.assets import alerts_asset, denoised_asset, model_asset, scores_asset
from ae_plugin.provider.followups import AnnounceAlertsOperator, RetrainOperator
from ae_plugin.provider.operators import (
    OUTCOMES,
    PLANS,
    BrokenPipelineOperator,
    CommitShardsOperator,
    CutPartitionsOperator,
    DiscoverPartitionsOperator,
    PromoteModelOperator,
    ScorePartitionOperator,
    ScoreShardsOperator,
    SummarizeRunsOperator,
    TrainAutoencoderOperator,
)
from ae_plugin.provider.schedules import score_params, score_schedule
from ae_plugin.provider.sensors import PartitionSensor

log = logging.getLogger(__name__)
WAIT, PATIENCE = timedelta(minutes=5), timedelta(hours=24)
"""How often a run looks for the partition that it is of, and for how long."""
KEYED_RUNS = 16
"""Runs of one partition each may go side by side: one that waits for its data holds up no other.

But two may be of the same partition, and an object store has no locks to keep their commits apart: one at a time there.
"""
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
TRAIN_TIMEOUT = timedelta(hours=24)
"""A training that hangs would keep all later ones waiting: one run is active at a time."""


def build_dags(folder: str | Path) -> dict[str, DAG]:
    """Build the DAGs of every YAML in a folder; a task that only needs its own DAG gets no others.

    Returns:
        dag_id -> DAG; a broken YAML becomes `<file name>__broken`, which says what is wrong with it.
    """
    if (wanted := get_parsing_context().dag_id) and (own := _own_dags(Path(folder), wanted)):
        return own
    dags: dict[str, DAG] = {}
    for path in sorted(Path(folder).glob("*.y*ml")):
        try:
            found = pipeline_dags(config.load(path), str(path))
            if twice := found.keys() & dags.keys():
                raise ConfigError(f"{sorted(twice)[0]} exists already: another YAML has the same name", where=str(path))
        except ConfigError as error:
            log.error("%s", error)
            found = broken_dag(path, error)
        dags |= found
    return dags


def _own_dags(folder: Path, wanted: str) -> dict[str, DAG]:
    """The DAGs of the YAML that is named like the pipeline of a DAG; none where that is not how it is named."""
    name = wanted.rpartition("__")[0]
    for path in (folder / f"{name}.yaml", folder / f"{name}.yml"):
        with contextlib.suppress(ConfigError):
            found = pipeline_dags(config.load(path), str(path)) if path.is_file() else {}
            if wanted in found:
                return found
    return {}


def pipeline_dags(pipeline: Pipeline, path: str) -> dict[str, DAG]:
    """Build one pipeline's DAGs.

    Args:
        pipeline: from `config.load`.
        path: of its YAML; tasks read it anew when they run.

    Raises:
        ConfigError: an alert names no notifier.
    """
    check_alerts(pipeline)
    built = (train_dag(pipeline, path), score_dag(pipeline, path))
    return {dag.dag_id: dag for dag in built}


def broken_dag(path: Path, error: ConfigError) -> dict[str, DAG]:
    """Stand in for a YAML that does not load: a DAG whose one task fails with what is wrong.

    An error raised while the file is parsed would take all its DAGs off the schedule, the sound ones too.
    """
    dag_id = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', path.stem)[:200]}__broken"
    with DAG(
        dag_id=dag_id,
        schedule=None,
        start_date=START,
        tags=["autoencoder", "broken"],
        description=str(error)[:500],
        doc_md=str(error),
    ) as dag:
        BrokenPipelineOperator(task_id="mend_the_yaml", pipeline=str(path))
    return {dag_id: dag}


def _dag(pipeline: Pipeline, verb: str, schedule: Any, doc: str, **more: Any) -> DAG:
    return DAG(
        dag_id=f"{pipeline.name}__{verb}",
        schedule=schedule,
        start_date=START,
        catchup=False,
        **{"max_active_runs": 1, **more},
        default_args={"retries": 1, "retry_delay": timedelta(minutes=1)},
        tags=["autoencoder", pipeline.name],
        doc_md=doc,
    )


def train_dag(pipeline: Pipeline, path: str) -> DAG:
    """Train -> (approve ->) promote; see `approval`."""
    doc = f"Trains on `{shown(pipeline.source.uri)}`, then promotes the new version when it passes the gate."
    with _dag(pipeline, "train", pipeline.train.schedule, doc) as dag:
        last: Any = TrainAutoencoderOperator(
            task_id="train", pipeline=path, execution_timeout=TRAIN_TIMEOUT, **_where_to_train(pipeline)
        )
        if pipeline.promote == "approval":
            last = last >> approval(pipeline)
        if pipeline.promote != "never":
            # Days may pass, and other trainings: what was trained (and approved) here, whatever is challenger by then.
            trained = "{{ ti.xcom_pull(task_ids='train').model_version }}"
            outlets = [model_asset(pipeline.name)]
            asked = APPROVE if pipeline.promote == "approval" else None
            last >> PromoteModelOperator(
                task_id="promote", pipeline=path, version=trained, approval=asked, outlets=outlets
            )
    return dag


def _where_to_train(pipeline: Pipeline) -> dict[str, str]:
    """Queue and pool; the queue of this Airflow's trainings where the pipeline names none."""
    queue = conf.get("ae_plugin", "train_queue", fallback="")
    return ({"queue": queue} if queue else {}) | pipeline.train.where


def score_dag(pipeline: Pipeline, path: str) -> DAG:
    """Discover -> score (one mapped task a partition) -> summary -> alert; of large ones: cut -> shard -> commit."""
    source, output = shown(pipeline.source.uri), shown(pipeline.output)
    doc = f"Scores the partitions of `{source}` that are new or changed; writes to `{output}`."
    keyed = pipeline.score.keyed
    side_by_side = KEYED_RUNS if local_path(pipeline.output) else 1
    more: dict[str, Any] = {"max_active_runs": side_by_side} if keyed else {"params": score_params()}
    with _dag(pipeline, "score", score_schedule(pipeline), doc, deadline=deadlines(pipeline), **more) as dag:
        discover = DiscoverPartitionsOperator(task_id="discover", pipeline=path)
        if keyed:
            PartitionSensor(task_id="wait", pipeline=path, poke_interval=WAIT, timeout=PATIENCE) >> discover
        plans = XComArg(discover, key=PLANS)
        score = ScorePartitionOperator.partial(
            task_id="score",
            map_index_template="{{ task.partition | join(', ') | truncate(60) }}",
            outlets=_told(pipeline),
            **_mapped(pipeline, path),
        ).expand(partition=discover.output)
        commit = _shards(pipeline, path, plans)
        summary = SummarizeRunsOperator(
            task_id="summary",
            pipeline=path,
            groups=discover.output,
            plans=plans,
            commit=commit.task_id,
            outcomes=XComArg(score, key=OUTCOMES),
            trigger_rule=TriggerRule.ALL_DONE,
            retries=0,
        )
        # What one hands on to another by XCom, Airflow knows already; each arrow more costs time when DAGs are parsed.
        commit >> summary
        _follow(pipeline, path, score, commit)
    return dag


def _told(pipeline: Pipeline) -> list[Asset]:
    return [scores_asset(pipeline.name), denoised_asset(pipeline.name)]


def _mapped(pipeline: Pipeline, path: str) -> dict[str, Any]:
    return {"pipeline": path, "max_active_tis_per_dag": pipeline.score.at_once, **pipeline.score.where}


def _shards(pipeline: Pipeline, path: str, plans: XComArg) -> CommitShardsOperator:
    """Cut -> shard (one mapped task a shard) -> commit, of large partitions."""
    cut = CutPartitionsOperator(task_id="cut", plans=plans)
    shard = ScoreShardsOperator.partial(
        task_id="shard",
        plans=plans,
        map_index_template="{{ task.names | join(', ') | truncate(60) }}",
        **_mapped(pipeline, path),
    ).expand(shards=cut.output)
    commit = CommitShardsOperator(
        task_id="commit",
        pipeline=path,
        plans=plans,
        outlets=_told(pipeline),
        trigger_rule=TriggerRule.ALL_DONE,  # a shard that failed is of one partition only
    )
    shard >> commit
    return commit


def _follow(pipeline: Pipeline, path: str, score: Any, commit: CommitShardsOperator) -> None:
    """Alert, and retrain where the pipeline wants that; beside the summary, which fails the run when it is to fail."""
    alert = AnnounceAlertsOperator(
        task_id="alert",
        outcomes=XComArg(score, key=OUTCOMES),
        commit=commit.task_id,
        outlets=[alerts_asset(pipeline.name)],
        trigger_rule=TriggerRule.ALL_DONE,
    )
    commit >> alert
    if pipeline.train.on_drift or pipeline.train.on_feedback:
        alert >> RetrainOperator(
            task_id="retrain",
            pipeline=path,
            trigger_dag_id=f"{pipeline.name}__train",
            trigger_rule=TriggerRule.ALL_DONE,
        )
