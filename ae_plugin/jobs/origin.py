"""Which task of Airflow's this process runs; the operators say so, and what a job records tells it."""

from __future__ import annotations

from ae_plugin.schemas import AirflowTask

_task: AirflowTask | None = None


def runs_for(task: AirflowTask | None) -> None:
    """Say which task is being run; None: none is."""
    global _task
    _task = task


def airflow_task() -> AirflowTask | None:
    """The task that is being run; None outside Airflow."""
    return _task
