"""Registration with Airflow, and nothing else."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from ae_plugin.web.app import create_app

PREFIX, NAME = "/ae", "Anomalies"  # a longer label is cut
_DAG, _RUN = "dag_id={DAG_ID}", "run_id={RUN_ID}"
_TASK = "task_id={TASK_ID}&map_index={MAP_INDEX}"


def _view(destination: str, route: str, *query: str) -> dict[str, str]:
    """An entry or a tab; each wants a route of its own. Airflow may be mounted below a path."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    href = f"{base}{PREFIX}/{'?' if query else ''}{'&'.join(query)}"
    return {"name": NAME, "href": href, "destination": destination, "url_route": route}


class AnomaliesPlugin(AirflowPlugin):
    """Mounts page and API at /ae; an entry in the menu, and a tab on DAGs, their runs and task instances."""

    name = "ae_plugin"
    fastapi_apps: list[Any] = [{"app": create_app(), "url_prefix": PREFIX, "name": "ae_plugin"}]
    external_views: list[Any] = [
        _view("nav", "ae"),
        _view("dag", "ae_dag", _DAG),
        _view("dag_run", "ae_run", _DAG, _RUN),
        _view("task_instance", "ae_task", _DAG, _RUN, _TASK),
    ]
