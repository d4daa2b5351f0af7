"""Operators: train on the first of a month and promote, then score what is due, all in one DAG of one's own."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, TriggerRule, XComArg

from ae_plugin.provider.assets import model_asset, scores_asset
from ae_plugin.provider.operators import (
    OUTCOMES,
    DiscoverPartitionsOperator,
    PromoteModelOperator,
    ScorePartitionOperator,
    SummarizeRunsOperator,
    TrainAutoencoderOperator,
)

PIPELINE = "flights"

with DAG("flights_with_operators", schedule="@monthly", start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)) as dag:
    train = TrainAutoencoderOperator(task_id="train", pipeline=PIPELINE)
    promote = PromoteModelOperator(task_id="promote", pipeline=PIPELINE, outlets=[model_asset(PIPELINE)])
    # A version that was not promoted is no reason not to score.
    discover = DiscoverPartitionsOperator(task_id="discover", pipeline=PIPELINE, trigger_rule=TriggerRule.ALL_DONE)
    score = ScorePartitionOperator.partial(
        task_id="score", pipeline=PIPELINE, outlets=[scores_asset(PIPELINE)], max_active_tis_per_dag=2
    ).expand(partition=discover.output)
    summary = SummarizeRunsOperator(
        task_id="summary",
        pipeline=PIPELINE,
        groups=discover.output,
        outcomes=XComArg(score, key=OUTCOMES),
        trigger_rule=TriggerRule.ALL_DONE,
    )
    train >> promote >> discover >> score >> summary
