"""Links from a task in Airflow's UI to what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.configuration import conf

from ae_plugin import config
from ae_plugin.errors import AeError

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


def page_of(pipeline: str, what: str) -> str:
    """Address of a pipeline's `runs` or `models`, as the plugin serves them."""
    base = conf.get("api", "base_url", fallback="") or ""
    return f"{base.rstrip('/')}/ae/api/pipelines/{pipeline}/{what}"


class _PipelineLink(BaseOperatorLink):
    what: ClassVar[str]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The page of the task's pipeline; asked for when the task has ended, whatever became of it."""
        try:
            return page_of(config.load(operator.pipeline).name, self.what)  # type: ignore[attr-defined]
        except AeError:  # the task has failed with that line already
            return ""


class RunsLink(_PipelineLink):
    """From a task that scores to the newest run of each partition."""

    name = "Scored partitions"
    what = "runs"


class ModelsLink(_PipelineLink):
    """From a task that trains or promotes to the model versions."""

    name = "Model versions"
    what = "models"
