"""Links from a task in Airflow's UI to the page that shows what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.configuration import conf

from ae_plugin import config
from ae_plugin.errors import AeError

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


def _page(place: str) -> str:
    base = conf.get("api", "base_url", fallback="") or ""
    return f"{base.rstrip('/')}/ae/{place}"


class RunsLink(BaseOperatorLink):
    """From a task that scores to the partitions that it scored."""

    name = "Scored partitions"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The page of what the task scored; asked for when it has ended, whatever became of it."""
        asked = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id, "task_id": ti_key.task_id}
        return _page(f"?{urlencode({**asked, 'map_index': ti_key.map_index})}")


class ModelsLink(BaseOperatorLink):
    """From a task that trains or promotes to the model versions."""

    name = "Model versions"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The page of the pipeline's model versions."""
        try:
            name = config.load(operator.pipeline).name  # type: ignore[attr-defined]
        except AeError:  # the task has failed with that line already
            return ""
        return _page(f"#/p/{quote(name)}/models")
