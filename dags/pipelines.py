"""Every YAML in dags/pipelines/ becomes two DAGs: <name>__train and <name>__score."""

from __future__ import annotations

from pathlib import Path

from ae_plugin.provider.dag_factory import build_dags

# Airflow reads this file for the words "airflow" and "dag" before it bothers to import it.
globals().update(build_dags(Path(__file__).parent / "pipelines"))
