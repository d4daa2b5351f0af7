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


class TraverseOperator(PipelineOperator):
    """Write the traversal of the champion's latent variables: decoded rows or pictures, and a contact sheet.

    Returns the record. The events of its outlets have `model_version` and `latents`, the titles of each.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        partition: hive path or value that the held row is in; absent: the newest that the champion was trained on.
        latents: how many, those that carry most first.
        steps: values that each takes.
    """

    template_fields: Sequence[str] = ("pipeline", "partition")

    def __init__(
        self, *, pipeline: str, partition: str | None = None, latents: int = 8, steps: int = 7, **kwargs: Any
    ) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.partition, self.latents, self.steps = partition, latents, steps

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: D102
        from ae_plugin.jobs.latent.traverse import traverse

        with one_line():
            record = traverse(self.loaded(), self.partition or None, latents=self.latents, steps=self.steps)
        titles = [note.title for note in record.latents]
        announce(context, self, {"model_version": record.model_version, "latents": titles})
        return record.model_dump(mode="json", exclude={"outputs"})
