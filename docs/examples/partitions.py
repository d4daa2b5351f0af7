"""Partition keys: a DAG lands days and names them; another runs once for each day that was scored."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.sdk import PartitionedAssetTimetable, PartitionedAtRuntime, dag, task

from ae_plugin.provider.assets import denoised_asset, source_asset

START = datetime(2024, 1, 1, tzinfo=timezone.utc)


@dag(schedule=PartitionedAtRuntime(), start_date=START, catchup=False)
def flights_land() -> None:
    """With `score.schedule: partition`, each key starts a run of flights__score."""

    @task(outlets=[source_asset("flights")])
    def land(outlet_events: Any = None) -> None:
        """Write sample_data/flights/date=.../part-0.parquet here, then say which days they are."""
        outlet_events[source_asset("flights")].add_partitions(["2013-02-12", "2013-02-13"])

    land()


@dag(schedule=PartitionedAssetTimetable(assets=denoised_asset("flights")), start_date=START, catchup=False)
def flights_use_a_day() -> None:
    """One run for each day that was scored, under the key that the landing DAG gave it."""

    @task
    def use(dag_run: Any = None) -> None:
        """Read that day's repaired table."""
        print("loading", f"out/flights/denoised/date={dag_run.partition_key}")

    use()


flights_land()
flights_use_a_day()
