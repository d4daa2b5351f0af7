"""Classes: each day that was scored, by the labels that somebody keeps in a file; they are read anew each Monday."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from ae_plugin.provider.assets import classes_asset, scores_asset
from ae_plugin.provider.latent import ClassifyPartitionOperator, LabelFitOperator

PIPELINE, LABELS = "flights", "labels/flights.csv"
START = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG("flights_labels", schedule="0 5 * * 1", start_date=START, catchup=False) as labels:
    LabelFitOperator(task_id="label_fit", pipeline=PIPELINE, labels=LABELS)

with DAG("flights_classes", schedule=[scores_asset(PIPELINE)], start_date=START, catchup=False) as dag:
    ClassifyPartitionOperator(task_id="classify", pipeline=PIPELINE, outlets=[classes_asset(PIPELINE)])
