"""What the operators of this provider have in common."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from ae_plugin.airflow_stores import use_connections
from ae_plugin.errors import NoChampionError, UnfamiliarError, UserError
from ae_plugin.jobs.origin import runs_for
from ae_plugin.schemas import AirflowTask

if TYPE_CHECKING:
    from ae_plugin.config import Pipeline

log = logging.getLogger(__name__)
COLOR = "#e8f0fb"

# Whatever process imports an operator runs inside Airflow.
use_connections()


@contextmanager
def one_line() -> Iterator[None]:
    """Turn errors into one line in the task's log; only what may succeed later is tried again."""
    try:
        yield
    except (UserError, UnfamiliarError, NoChampionError) as error:
        log.error("%s", error)
        raise (AirflowException if error.transient else AirflowFailException)(str(error)) from None


def announce(context: Any, operator: BaseOperator, extra: dict[str, Any]) -> None:
    """Say in the events of an operator's outlets what happened, for whoever is scheduled on them."""
    for outlet in operator.outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(extra)


class PipelineOperator(BaseOperator):
    """An operator of one pipeline.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
    """

    template_fields: Sequence[str] = ("pipeline",)
    ui_color = COLOR

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def pre_execute(self, context: Any) -> None:
        """Let what is recorded tell which task did it."""
        super().pre_execute(context)
        ti = context["ti"]
        index = ti.map_index if ti.map_index is not None else -1
        runs_for(AirflowTask(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=index))

    def post_execute(self, context: Any, result: Any = None) -> None:
        """Forget it again: in `dag.test()` other tasks follow in this process."""
        runs_for(None)
        super().post_execute(context, result)

    def loaded(self) -> Pipeline:
        """Read the YAML as it is now."""
        from ae_plugin import config

        return config.load(self.pipeline)
