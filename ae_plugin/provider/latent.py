"""Operators of what the bottleneck is good for besides scoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from ae_plugin.provider.base import PipelineOperator, announce, one_line


class EmbedPartitionOperator(PipelineOperator):
    """Write the embeddings of one partition, of several, or of all that were scored and have none yet.

    Returns what was written, a record each; skipped when there is nothing to do. The events of its outlets have
    `model_version`, `latent_dim` and, in `partitions`, the `rows` of each partition.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        partition: hive path or value (`date=2013-01-29`), or a list; absent: all that are due.
    """

    template_fields: Sequence[str] = ("pipeline", "partition")

    def __init__(self, *, pipeline: str, partition: str | list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.partition = partition

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: D102
        from ae_plugin.jobs.latent.embed import due_embeddings, embed
        from ae_plugin.jobs.score import champion_of

        with one_line():
            pipeline = self.loaded()
            named = [self.partition] if isinstance(self.partition, str) else self.partition
            named = due_embeddings(pipeline) if named is None else named
            if not named:
                raise AirflowSkipException("all that was scored has embeddings")
            version = champion_of(pipeline)
            done = [embed(pipeline, name or None, version=version) for name in named]
        partitions = {record.partition: {"rows": record.rows} for record in done}
        first = done[0]
        told = {"model_version": first.model_version, "latent_dim": first.latent_dim, "partitions": partitions}
        announce(context, self, told)
        return [record.model_dump(mode="json", exclude={"outputs"}) for record in done]


class LabelFitOperator(PipelineOperator):
    """Fit the champion's head to the labels of a file, which are kept for the champions to come.

    Returns the head's record.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        labels: path or URI of a Parquet or CSV file that names rows and says what they are.
        column: its column of labels; absent: `label`, or the only one that names no row.
    """

    template_fields: Sequence[str] = ("pipeline", "labels", "column")

    def __init__(self, *, pipeline: str, labels: str, column: str | None = None, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.labels, self.column = labels, column

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: ARG002, D102
        from ae_plugin.jobs.latent.heads import label_fit

        with one_line():
            return label_fit(self.loaded(), self.labels, self.column).model_dump(mode="json")


class ClassifyPartitionOperator(PipelineOperator):
    """Write the classes of one partition, of several, or of all that were scored and have none yet.

    Returns what was written, a record each; skipped when there is nothing to do. The events of its outlets have
    `model_version` and, in `partitions`, the `rows` of each partition and how many are of each of the `classes`.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        partition: hive path or value (`date=2013-01-29`), or a list; absent: all that are due.
    """

    template_fields: Sequence[str] = ("pipeline", "partition")

    def __init__(self, *, pipeline: str, partition: str | list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.partition = partition

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: D102
        from ae_plugin.jobs.latent.classify import classify, due_classes
        from ae_plugin.jobs.score import champion_of

        with one_line():
            pipeline = self.loaded()
            named = [self.partition] if isinstance(self.partition, str) else self.partition
            named = due_classes(pipeline) if named is None else named
            if not named:
                raise AirflowSkipException("all that was scored has classes")
            version = champion_of(pipeline)
            done = [classify(pipeline, name or None, version=version) for name in named]
        partitions = {record.partition: {"rows": record.rows, "classes": record.classes} for record in done}
        announce(context, self, {"model_version": done[0].model_version, "partitions": partitions})
        return [record.model_dump(mode="json", exclude={"outputs"}) for record in done]
