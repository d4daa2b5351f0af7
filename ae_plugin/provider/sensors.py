"""What a run waits for before it scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseSensorOperator

from ae_plugin import config
from ae_plugin.errors import EmptySourceError
from ae_plugin.provider.base import COLOR, one_line
from ae_plugin.provider.schedules import is_backfill, key_of


class PartitionSensor(BaseSensorOperator):
    """Wait until the partition that the run is of is there, holding no worker meanwhile; a backfill does not wait.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
    """

    template_fields: Sequence[str] = ("pipeline",)
    ui_color = COLOR

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", **kwargs)
        self.pipeline = pipeline

    def poke(self, context: Any) -> bool:  # noqa: D102
        from ae_plugin.jobs.due import named_files

        key = key_of(context)
        if key is None or is_backfill(context):
            return True
        with one_line():
            pipeline = config.load(self.pipeline)
            try:
                found = named_files(pipeline, [key])
            except EmptySourceError as error:  # its first partition is still to come
                self.log.info("%s", error)
                return False
        return all(found.values())
