"""Registration with Airflow, and nothing else."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from ae_plugin.web.app import create_app


class AnomaliesPlugin(AirflowPlugin):
    """Mounts the read-only API at /ae."""

    name = "ae_plugin"
    fastapi_apps: list[Any] = [{"app": create_app(), "url_prefix": "/ae", "name": "ae_plugin"}]
