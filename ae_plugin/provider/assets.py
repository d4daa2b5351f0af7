"""Each pipeline's assets. An upstream DAG announces new data with `outlets=[source_asset("flights")]`."""

from __future__ import annotations

from airflow.sdk import Asset


def source_asset(name: str) -> Asset:
    """The table a pipeline reads; whoever writes it names this as an outlet."""
    return _asset(name, "source")


def model_asset(name: str) -> Asset:
    """The champion; changes when a version is promoted."""
    return _asset(name, "model")


def scores_asset(name: str) -> Asset:
    """`scores/` and `cells/`; change when partitions were scored."""
    return _asset(name, "scores")


def denoised_asset(name: str) -> Asset:
    """`denoised/`; downstream DAGs are scheduled on it."""
    return _asset(name, "denoised")


def alerts_asset(name: str) -> Asset:
    """Changes when partitions were scored, or refused, that drifted or are unfamiliar."""
    return _asset(name, "alerts")


def _asset(pipeline: str, what: str) -> Asset:
    # Schemes that begin with x- are the user's own: Airflow takes them as they are.
    return Asset(name=f"{pipeline}.{what}", uri=f"x-ae://{pipeline}/{what}", group="ae_plugin")
