"""Completion: each day that was scored, its gaps filled, an interval for each cell: for whoever must not guess."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from ae_plugin.provider.assets import completed_asset, scores_asset
from ae_plugin.provider.latent import CompletePartitionOperator

PIPELINE = "flights"
START = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG("flights_completion", schedule=[scores_asset(PIPELINE)], start_date=START, catchup=False) as dag:
    outlets = [completed_asset(PIPELINE)]
    CompletePartitionOperator(task_id="complete", pipeline=PIPELINE, coverage=0.95, outlets=outlets)
