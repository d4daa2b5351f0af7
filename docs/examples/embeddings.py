"""Embeddings: each day that was scored in a few numbers a row, for whoever clusters, searches or classifies."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from ae_plugin.provider.assets import embeddings_asset, scores_asset
from ae_plugin.provider.latent import EmbedPartitionOperator

PIPELINE = "flights"
START = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG("flights_embeddings", schedule=[scores_asset(PIPELINE)], start_date=START, catchup=False) as dag:
    EmbedPartitionOperator(task_id="embed", pipeline=PIPELINE, outlets=[embeddings_asset(PIPELINE)])
