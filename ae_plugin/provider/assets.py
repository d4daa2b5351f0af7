"""Each pipeline's assets. An upstream DAG announces new data with `outlets=[source_asset("flights")]`."""

from __future__ import annotations

from urllib.parse import SplitResult

from airflow.sdk import Asset

from ae_plugin.sections import check_name

SCHEME = "ae"
WHAT = ("source", "model", "scores", "denoised", "embeddings", "classes", "completed", "alerts")


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


def embeddings_asset(name: str) -> Asset:
    """`embeddings/`; whoever writes them names this as an outlet."""
    return _asset(name, "embeddings")


def classes_asset(name: str) -> Asset:
    """`classes/`; whoever writes them names this as an outlet."""
    return _asset(name, "classes")


def completed_asset(name: str) -> Asset:
    """`completed/` and `completions/`; whoever writes them names this as an outlet."""
    return _asset(name, "completed")


def alerts_asset(name: str) -> Asset:
    """Changes when partitions were scored, or refused, that drifted or are unfamiliar."""
    return _asset(name, "alerts")


def _asset(pipeline: str, what: str) -> Asset:
    return Asset(name=f"{pipeline}.{what}", uri=f"{SCHEME}://{pipeline}/{what}", group="ae_plugin")


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check a URI of the scheme `ae`, for Airflow, which asks whoever registered a scheme.

    Raises:
        ValueError: it names no pipeline, or nothing that one has.
    """
    check_name(uri.netloc)
    what = uri.path.strip("/")
    if what not in WHAT or uri.query:
        raise ValueError(f"{uri.geturl()!r}: wanted {SCHEME}://PIPELINE/WHAT, WHAT one of {', '.join(WHAT)}")
    return uri._replace(path=f"/{what}", fragment="")
