"""Synthetic rows: a thousand of each new champion's, to develop and test on without the real ones."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from ae_plugin.provider.assets import model_asset
from ae_plugin.provider.latent import GenerateOperator

PIPELINE = "flights"
START = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG("flights_synthetic", schedule=[model_asset(PIPELINE)], start_date=START, catchup=False) as dag:
    GenerateOperator(task_id="generate", pipeline=PIPELINE, rows=1_000, where={"carrier": "UA"})
