"""Airflow's REST API, as far as the demo and the end-to-end tests use it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import httpx

USER = "admin"


class AirflowError(RuntimeError):
    """Airflow did not start, or did not do what it was asked."""


class AirflowApi(ABC):
    """A running Airflow, spoken to as its admin."""

    _token: str = ""

    @property
    @abstractmethod
    def url(self) -> str:
        """Address of the UI."""

    @property
    @abstractmethod
    def password(self) -> str:
        """The admin's password."""

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call Airflow's REST API as admin.

        Raises:
            AirflowError: it answered with an error.
        """
        answer = self.request(method, f"/api/v2{path}", **kwargs)
        if answer.status_code >= 400:
            raise AirflowError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else {}

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request with the admin's token; a busy server gets three tries."""
        for attempt in range(3):
            try:
                if not self._token:
                    body = {"username": USER, "password": self.password}
                    self._token = self._send("POST", "/auth/token", json=body).json()["access_token"]
                return self._send(method, path, headers={"Authorization": f"Bearer {self._token}"}, **kwargs)
            except httpx.TransportError:
                if attempt == 2:
                    raise
                time.sleep(2)
        raise AssertionError("unreachable")

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=60, **kwargs)

    def wait_for_dag(self, dag_id: str, seconds: float = 120) -> None:
        """Wait until the DAG processor has seen a DAG, then unpause it."""
        deadline = time.monotonic() + seconds
        while self.request("GET", f"/api/v2/dags/{dag_id}").status_code != 200:
            if time.monotonic() > deadline:
                errors = self.call("GET", "/importErrors")["import_errors"]
                raise AirflowError(f"no DAG {dag_id}; import errors: {errors}")
            time.sleep(2)
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str) -> str:
        """Start a run by hand; returns its id."""
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None})["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The newest runs of a DAG, newest first."""
        return list(self.call("GET", f"/dags/{dag_id}/dagRuns?order_by=-run_after&limit=20")["dag_runs"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run, mapped ones included."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=1000"
        return list(self.call("GET", path)["task_instances"])

    def links(self, dag_id: str, run_id: str, task: dict[str, Any]) -> dict[str, str]:
        """A task's links to elsewhere, by name."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/links"
        return dict(self.call("GET", f"{path}?map_index={task['map_index']}")["extra_links"])

    def task_log(self, dag_id: str, run_id: str, task: dict[str, Any]) -> list[str]:
        """Lines of a task's newest log."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{max(task['try_number'], 1)}"
        content = self.call("GET", f"{path}?map_index={task['map_index']}&full_content=true").get("content", [])
        return [str(line.get("event", "")) if isinstance(line, dict) else str(line) for line in content]

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        seconds: float = 1800,
        watch: Callable[[list[dict[str, Any]]], None] | None = None,
    ) -> str:
        """Wait until a run ended; returns `success` or `failed`. `watch` is shown its tasks now and then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = str(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])
            if watch is not None:
                watch(self.tasks(dag_id, run_id))
            if state in ("success", "failed"):
                return state
            time.sleep(3)
        raise AirflowError(f"{dag_id} {run_id} did not end within {seconds:.0f} s")
