"""A night's work besides scoring: embed and complete what was scored, and write new rows to test with."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from ae_plugin.provider.assets import completed_asset, embeddings_asset
from ae_plugin.provider.latent import CompletePartitionOperator, EmbedPartitionOperator, GenerateOperator

PIPELINE = "flights"
START = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG("flights_bottleneck", schedule="0 4 * * *", start_date=START, catchup=False) as dag:
    EmbedPartitionOperator(task_id="embed", pipeline=PIPELINE, outlets=[embeddings_asset(PIPELINE)])
    CompletePartitionOperator(task_id="complete", pipeline=PIPELINE, outlets=[completed_asset(PIPELINE)])
    # Each day's rows from another seed: the same one would give the same rows again.
    day = "{{ dag_run.run_after.strftime('%Y%m%d') }}"
    GenerateOperator(task_id="generate", pipeline=PIPELINE, rows=1_000, where={"carrier": "UA"}, seed=day)
