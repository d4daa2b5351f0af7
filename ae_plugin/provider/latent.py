"""Operators of what the bottleneck is good for besides scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from ae_plugin.provider.base import PipelineOperator, announce, one_line

if TYPE_CHECKING:
    from ae_plugin.config import Pipeline
    from ae_plugin.latent_schemas import PartitionRecord


class _PartitionsOperator(PipelineOperator):
    """Does a job of the bottleneck with one partition, with several, or with all that are due."""

    template_fields: Sequence[str] = ("pipeline", "partition")

    def __init__(self, *, pipeline: str, partition: str | list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.partition = partition

    def _done(
        self, due: Callable[[Pipeline], Iterable[str]], job: Callable[..., PartitionRecord], all_are: str
    ) -> list[Any]:
        """The records of what was done, at least one; skipped when nothing is due.

        A partition that is refused or fails does not stop the others; the task fails after them, and then tells the
        outlets nothing.
        """
        from ae_plugin.jobs.latent.output import nothing_due
        from ae_plugin.jobs.score import champion_of
        from ae_plugin.jobs.several import Several

        several = Several()
        done: list[PartitionRecord] = []
        with one_line():
            pipeline = self.loaded()
            named = [self.partition] if isinstance(self.partition, str) else self.partition
            named = [*due(pipeline)] if named is None else named
            if not named:
                raise AirflowSkipException(nothing_due(pipeline, all_are))
            version = champion_of(pipeline)
            for name in named:
                with several.noted(name, lambda error: self.log.warning("%s", error)):
                    done.append(job(pipeline, name or None, version=version))
            if several.exit_code:
                raise several.error or next(iter(several.refused.values()))
        return done

    def _told(self, context: Any, done: list[Any], **extra: Any) -> list[dict[str, Any]]:
        """Announce what was done, and return it."""
        announce(context, self, {"model_version": done[0].model_version, **extra})
        return [record.model_dump(mode="json", exclude={"outputs"}) for record in done]


class EmbedPartitionOperator(_PartitionsOperator):
    """Write the embeddings of one partition, of several, or of all that were scored and have none yet.

    Returns what was written, a record each; skipped when there is nothing to do. The events of its outlets have
    `model_version`, `latent_dim` and, in `partitions`, the `rows` of each partition.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        partition: hive path or value (`date=2013-01-29`), or a list; absent: all that are due.
    """

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: D102
        from ae_plugin.jobs.latent.embed import due_embeddings, embed

        done = self._done(due_embeddings, embed, "has embeddings")
        partitions = {record.partition: {"rows": record.rows} for record in done}
        return self._told(context, done, latent_dim=done[0].latent_dim, partitions=partitions)


class CompletePartitionOperator(_PartitionsOperator):
    """Complete one partition, several, or all that were scored and are not yet.

    Returns a record each; skipped when there is nothing to do. The events of its outlets have `model_version`,
    `coverage` and, in `partitions`, how many cells (pixels) of each were `filled` and `left`.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        partition: hive path or value (`date=2013-01-29`), or a list; absent: all that are due.
        mask: file (of pictures also a folder) that names what to fill beside what is empty.
        coverage: share of cells that are to lie within their interval.
    """

    template_fields: Sequence[str] = ("pipeline", "partition", "mask", "coverage")

    def __init__(self, *, mask: str | None = None, coverage: float = 0.9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask, self.coverage = mask, coverage

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: D102
        from ae_plugin.jobs.latent.complete import complete, due_completions

        masks: dict[str, str | None] = {}

        def due(pipeline: Pipeline) -> dict[str, str | None]:
            masks.update(due_completions(pipeline, self.mask, float(self.coverage)))
            return masks

        def job(pipeline: Pipeline, name: str | None, **ways: Any) -> PartitionRecord:
            return complete(
                pipeline, name, mask=masks.get(name or "", self.mask), coverage=float(self.coverage), **ways
            )

        done = self._done(due, job, "is completed")
        partitions = {record.partition: {"filled": record.filled, "left": record.left} for record in done}
        return self._told(context, done, coverage=float(self.coverage), partitions=partitions)


class GenerateOperator(PipelineOperator):
    """Write new rows like those of the history that the champion was trained on, marked as synthetic.

    Returns the record of what was written. The events of its outlets have `model_version`, `name`, `rows` and `seed`.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        rows: how many.
        where: column -> the value that all rows are to hold, as text; an empty text is null.
        seed: what chance comes from; the same one gives the same rows.
    """

    template_fields: Sequence[str] = ("pipeline", "rows", "where", "seed")

    def __init__(
        self,
        *,
        pipeline: str,
        rows: int | str,
        where: Mapping[str, str] | None = None,
        seed: int | str = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(pipeline=pipeline, **kwargs)
        self.rows, self.where, self.seed = rows, where, seed

    def execute(self, context: Any) -> dict[str, Any]:  # noqa: D102
        from ae_plugin.jobs.latent.generate import generate

        with one_line():
            record = generate(self.loaded(), int(self.rows), where=self.where, seed=int(self.seed))
        announce(context, self, record.model_dump(include={"model_version", "name", "rows", "seed"}))
        return record.model_dump(mode="json", exclude={"outputs"})


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


class ClassifyPartitionOperator(_PartitionsOperator):
    """Write the classes of one partition, of several, or of all that were scored and have none yet.

    Returns what was written, a record each; skipped when there is nothing to do. The events of its outlets have
    `model_version` and, in `partitions`, the `rows` of each partition and how many are of each of the `classes`.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
        partition: hive path or value (`date=2013-01-29`), or a list; absent: all that are due.
    """

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: D102
        from ae_plugin.jobs.latent.classify import classify, due_classes

        done = self._done(due_classes, classify, "has classes")
        partitions = {record.partition: {"rows": record.rows, "classes": record.classes} for record in done}
        return self._told(context, done, partitions=partitions)


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
