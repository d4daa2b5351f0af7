"""Traversal: what a new champion knows of a row, for the page and the report."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from ae_plugin.provider.assets import model_asset
from ae_plugin.provider.latent import TraverseOperator

PIPELINE = "flights"
START = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG("flights_traversal", schedule=[model_asset(PIPELINE)], start_date=START, catchup=False) as dag:
    TraverseOperator(task_id="traverse", pipeline=PIPELINE, latents=5)
