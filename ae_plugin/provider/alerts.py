"""Alerts of a pipeline: which of Airflow's notifiers hears of what. One that cannot be reached undoes no work."""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from ae_plugin.config import Pipeline
from ae_plugin.errors import ConfigError
from ae_plugin.sections import Alert, AlertEvent

log = logging.getLogger(__name__)


def check_alerts(pipeline: Pipeline) -> None:
    """Make each notifier once, so that a slip shows when the DAG is read and not when something is wrong.

    Raises:
        ConfigError: there is no such notifier, or it does not take these arguments.
    """
    for place, alert in enumerate(pipeline.alerts):
        try:
            _made(alert)
        except Exception as error:  # a notifier of any provider raises what it likes
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"{alert.notifier} cannot be made ({reason})",
                where=f"{pipeline.name}, alerts[{place}]",
                mend="Check its path and its args",
            ) from error


def tell(
    pipeline: Pipeline, context: Any, event: AlertEvent, says: Mapping[str, str], above: float | None = None
) -> None:
    """Call the notifiers that want to hear of an event; templates find it as `alert`.

    Args:
        pipeline: whose alerts they are.
        context: Airflow's, of the task.
        event: what happened.
        says: what it happened to, partitions or a version -> the rest of a sentence on it; empty: nobody is told.
        above: the share of anomalies, of `anomalies_above`; alerts with another one do not hear of it.
    """
    text = "; ".join(f"{name}: {rest}" for name, rest in says.items())
    found = {"pipeline": pipeline.name, "event": event, "about": list(says), "says": text}
    for alert in pipeline.alerts:
        if says and event in alert.when and above in (None, alert.above):
            try:
                _made(alert)({**context, "alert": found})
            except Exception as error:  # noqa: BLE001 - whatever it is, the scores are written
                log.error("%s could not tell of %s (%s): %s", alert.notifier, event, error, text)
            else:
                log.info("%s was told of %s: %s", alert.notifier, event, text)


def deadlines(pipeline: Pipeline) -> list[DeadlineAlert]:
    """Airflow's deadlines of the score DAG: of each alert that wants to hear of late runs."""
    return [
        DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=alert.patience,
            callback=SyncCallback(tell_late, {"pipeline": pipeline.name, "alert": alert.model_dump(mode="json")}),
            name=f"late after {alert.after}",
        )
        for alert in pipeline.alerts
        if alert.patience is not None
    ]


def tell_late(pipeline: str, alert: dict[str, Any], context: Any) -> None:
    """Call a notifier because a run is late; Airflow does, on a worker, with the run in its context.

    Args:
        pipeline: name of the one whose run it is.
        alert: the alert, as in the YAML.
        context: Airflow's, with `dag_run` as a dict.
    """
    chosen = Alert.model_validate(alert)
    run = context["dag_run"]
    of = run.get("partition_key") or run["dag_run_id"]
    text = f"{of}: not done {chosen.after} after it was queued"
    found = {"pipeline": pipeline, "event": "late", "about": [of], "says": text}
    _made(chosen)({**context, "alert": found})
    log.info("%s was told of late: %s", chosen.notifier, text)


def _made(alert: Alert) -> Any:
    """Make the notifier; nothing but one is ever called: a YAML is data."""
    kind = pkgutil.resolve_name(alert.notifier)
    if not (isinstance(kind, type) and issubclass(kind, BaseNotifier)):
        raise TypeError(f"{alert.notifier} is no notifier of Airflow's")
    return kind(**alert.args)
