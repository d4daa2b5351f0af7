"""`@task.autoencoder_score`: a function lands a partition and returns its name, and the same task scores it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from airflow.sdk.bases.decorator import (
    DecoratedOperator,
    TaskDecorator,
    determine_kwargs,
    task_decorator_factory,
)
from airflow.sdk.definitions.context import context_merge
from airflow.sdk.exceptions import AirflowFailException

from ae_plugin.provider.operators import ScorePartitionOperator


class _ScoreDecoratedOperator(DecoratedOperator, ScorePartitionOperator):
    """Calls a function, and scores the partition, or partitions, that it names."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *ScorePartitionOperator.template_fields)
    template_fields_renderers = DecoratedOperator.template_fields_renderers
    custom_operator_name = "@task.autoencoder_score"
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def execute(self, context: Any) -> list[dict[str, Any]]:
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        named = self.python_callable(*self.op_args, **arguments)
        names = named if isinstance(named, list) else [named]
        if not all(isinstance(name, str) or name is None for name in names):
            raise AirflowFailException(f"the function is to return a partition, or a list of them, not {named!r:.100}")
        self.partition = named
        return ScorePartitionOperator.execute(self, context)


def autoencoder_score(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a function a task that scores the partition that it returns.

    Args:
        python_callable: lands data; returns a partition (`date=2013-01-29`, or its value), a list of them, or None for
            a source without partitions. An empty list: the task is skipped.
        **kwargs: `pipeline`, a YAML's path or its name in dags/pipelines/, and whatever an operator takes.

    Returns:
        A decorator; the task returns what `ScorePartitionOperator` does.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_ScoreDecoratedOperator, **kwargs
    )
