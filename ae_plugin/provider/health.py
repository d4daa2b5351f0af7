"""Airflow's own task runs as a table: a day of them, read through the REST API, is a partition like any other."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from ae_plugin.errors import ConfigError
from ae_plugin.provider.base import PipelineOperator, one_line
from ae_plugin.provider.schedules import key_of
from ae_plugin.store.files import Folder

PAGE = 100
SECONDS = 60.0
SCHEMA = pa.schema(
    [
        pa.field("dag_id", pa.string()),
        pa.field("run_id", pa.string()),
        pa.field("task_id", pa.string()),
        pa.field("map_index", pa.int32()),
        pa.field("task", pa.string()),
        pa.field("operator", pa.string()),
        pa.field("queue", pa.string()),
        pa.field("pool", pa.string()),
        pa.field("state", pa.string()),
        pa.field("tries", pa.int32()),
        pa.field("hour", pa.int32()),
        pa.field("weekday", pa.string()),
        pa.field("seconds", pa.float64()),
        pa.field("waited_seconds", pa.float64()),
        pa.field("log10_seconds", pa.float64()),
        pa.field("log10_waited", pa.float64()),
    ]
)
"""One row a task run that ended; the first four name it. `waited_seconds` is from scheduled to started.

The logarithms are what a model learns: four seconds that become forty are as odd as minutes that become hours.
"""
LEAST = 0.1
"""Seconds; what is shorter is not told apart."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class LandTaskRunsOperator(PipelineOperator):
    """Write the task runs that ended on a day, UTC, to the source of a pipeline; returns its partition.

    The day is the run's partition key, else yesterday. Runs of the pipeline's own DAGs are left out.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/; its source has one date as key.
        conn_id: connection of type http with host, port, login and password of Airflow's API server.
    """

    template_fields: Sequence[str] = ("pipeline", "conn_id")

    def __init__(self, *, pipeline: str, conn_id: str = "airflow_api", **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.conn_id = conn_id

    def execute(self, context: Any) -> str:  # noqa: D102
        with one_line():
            day = _day(key_of(context))
            pipeline = self.loaded()
            if len(pipeline.source.partition_by) != 1:
                raise ConfigError("wants one key, a date", where="source.partition_by")
            own = f"{pipeline.name}__"
            rows = [row_of(one) for one in self._ended(day) if not one["dag_id"].startswith(own)]
            if not rows:
                raise AirflowFailException(f"no task run ended on {day}: nothing to write")
            partition = f"{pipeline.source.partition_by[0]}={day}"
            stream = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), stream)
            Folder(pipeline.source.uri).write(f"{partition}/part-0.parquet", stream.getvalue())
        self.log.info("%d task runs of %s", len(rows), day)
        return partition

    def _ended(self, day: date) -> Iterator[dict[str, Any]]:
        """Task runs that ended on a day, in the order in which they did."""
        import httpx

        try:
            conn = BaseHook.get_connection(self.conn_id)
        except Exception:  # noqa: BLE001 - each secrets backend raises what it likes
            raise AirflowFailException(
                f"no connection {self.conn_id!r}. airflow connections add {self.conn_id} --conn-type http "
                "--conn-host http://HOST --conn-port 8080 --conn-login USER --conn-password PASSWORD"
            ) from None
        host = str(conn.host or "")
        base = (host if "://" in host else f"{conn.schema or 'http'}://{host}") + (f":{conn.port}" if conn.port else "")
        begin = datetime.combine(day, datetime.min.time(), timezone.utc)
        wanted: dict[str, str | int] = {
            "end_date_gte": begin.isoformat(),
            "end_date_lt": (begin + timedelta(days=1)).isoformat(),
            "order_by": "end_date",
            "limit": PAGE,
        }
        try:
            with httpx.Client(base_url=base, timeout=SECONDS) as client:
                asked = client.post("/auth/token", json={"username": conn.login, "password": conn.password})
                token = asked.raise_for_status().json()["access_token"]
                client.headers["Authorization"] = f"Bearer {token}"
                seen, total = 0, 1
                while seen < total:
                    path = "/api/v2/dags/~/dagRuns/~/taskInstances"
                    page = client.get(path, params={**wanted, "offset": seen}).raise_for_status().json()
                    yield from page["task_instances"]
                    seen, total = seen + max(len(page["task_instances"]), 1), page["total_entries"]
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            kind = AirflowException if code >= 500 else AirflowFailException
            raise kind(f"{base}: the API answered {code}. Check the connection {self.conn_id!r}") from None
        except (ValueError, KeyError, TypeError):
            raise AirflowFailException(
                f"{base}: this is not Airflow's API. Check the connection {self.conn_id!r}"
            ) from None
        except httpx.TransportError as error:
            raise AirflowException(f"{base}: no answer ({error}). Check the connection {self.conn_id!r}") from None


def _day(key: str | None) -> date:
    """The day of a partition key, a date or `date=` and one; yesterday when there is none."""
    if not key:
        return datetime.now(timezone.utc).date() - timedelta(days=1)
    try:
        return date.fromisoformat(key.rpartition("=")[2])
    except ValueError:
        raise ConfigError(f"{key!r} is no date", where="partition key", mend="Wanted: 2026-11-30") from None


def row_of(run: dict[str, Any]) -> dict[str, Any]:
    """One task run, as the API tells it, as a row of the table."""
    started, scheduled = _moment(run["start_date"]), _moment(run["scheduled_when"] or run["queued_when"])
    named: dict[str, Any] = {name: run[name] for name in ("dag_id", "task_id", "map_index", "queue", "pool", "state")}
    waited = (started - scheduled).total_seconds() if started and scheduled else None
    return {
        **named,
        "run_id": run["dag_run_id"],
        "task": f"{run['dag_id']}.{run['task_id']}",
        "operator": run["operator_name"] or run["operator"],
        "tries": run["try_number"],
        "hour": None if started is None else started.hour,
        "weekday": None if started is None else WEEKDAYS[started.weekday()],
        "seconds": run["duration"],
        "waited_seconds": waited,
        "log10_seconds": _log(run["duration"]),
        "log10_waited": _log(waited),
    }


def _log(seconds: float | None) -> float | None:
    return None if seconds is None else math.log10(max(seconds, LEAST))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
