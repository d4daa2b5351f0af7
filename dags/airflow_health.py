"""Airflow's own health: every night yesterday's task runs become a partition of the pipeline airflow_health."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, CronPartitionTimetable

from ae_plugin.provider.assets import source_asset
from ae_plugin.provider.health import LandTaskRunsOperator

NIGHTLY = CronPartitionTimetable("30 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")

with DAG(
    "airflow_health__land",
    schedule=NIGHTLY,
    start_date=datetime(2024, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["autoencoder", "airflow_health"],
) as dag:
    LandTaskRunsOperator(task_id="land", pipeline="airflow_health", outlets=[source_asset("airflow_health")])
