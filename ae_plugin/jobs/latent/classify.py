"""Classify: each row of a partition gets the class that a handful of labels says, or none, where they cannot tell."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.head import Head
from ae_plugin.engines.local import Writer
from ae_plugin.engines.threads import BLAS
from ae_plugin.jobs.latent.features import Featured, Seen, featured
from ae_plugin.jobs.latent.heads import head_for
from ae_plugin.jobs.latent.labels import read_labels
from ae_plugin.jobs.latent.output import Inputs, committed, due, find_inputs, keep, spent, without_twins
from ae_plugin.jobs.score import champion_of
from ae_plugin.jobs.staged import let_go
from ae_plugin.latent_schemas import ClassifyRecord, LabelFitRecord, classes_schema
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import CLASSES

if TYPE_CHECKING:
    from ae_plugin.jobs.latent.features import Version

log = logging.getLogger(__name__)


@BLAS.single()
def classify(
    pipeline: Pipeline,
    partition: str | None = None,
    *,
    source: str | None = None,
    output: str | None = None,
    version: Version | None = None,
) -> ClassifyRecord:
    """Write one partition's classes with the champion's head; where it has none yet, it is fitted to the labels kept.

    Args:
        pipeline: from `config.load`.
        partition: its hive path (`date=2013-01-29`) or value; absent for a source without partitions.
        source: a file or folder instead of the pipeline's source.
        output: where to write instead of the pipeline's output; the model still comes from there.
        version: the champion, when it is loaded already.

    Raises:
        UnfamiliarError: the guard refused the partition as it is, and nobody released it.
        NoChampionError: there is no champion.
        ConfigError: no labels were given yet.
        UserError: the source, the output or the model is not what it should be.
    """
    clock = time.perf_counter()
    version = version or champion_of(pipeline)
    inputs = find_inputs(pipeline, partition, source, output)
    head, fitted = head_for(pipeline, version)
    stream = featured(version, inputs.where, inputs.files, inputs.kind)
    limit = min(pipeline.score.alert_rate, np.nextafter(fitted.least_p, 0))
    with committed(inputs, "classes") as commit:
        rows, counted, unread, target = _write(inputs, _Judge(head, fitted, limit, stream), commit)
        record = ClassifyRecord(
            pipeline=pipeline.name,
            model_version=version.version,
            partition=inputs.where,
            rows=rows,
            input_fingerprint=inputs.digest,
            outputs=target,
            **spent(clock, rows),
            labels=fitted.labels,
            classes={name: counted[name] for name in fitted.classes},
            unknown_rows=rows - unread - sum(counted.values()),
            unreadable_rows=unread,
        )
        keep(commit, CLASSES, record)
    log.info("%s", inputs.wrote(f"{record.rows} rows classified, {record.unknown_rows} of them unknown"))
    return record


def due_classes(pipeline: Pipeline, output: str | None = None) -> list[str]:
    """Partitions that were scored, and have no classes by the champion, the labels kept and their files; in order.

    Args:
        pipeline: from `config.load`.
        output: where classes are, instead of the pipeline's output.

    Raises:
        NoChampionError: there is no champion.
        ConfigError: no labels were given yet.
        DataError: the source cannot be listed.
    """
    Registry(pipeline.output).champion()
    _, labels = read_labels(Folder(pipeline.output))
    return due(pipeline, CLASSES, ClassifyRecord, lambda done: done.labels == labels, output)


class _Judge:
    """Judges record batches.

    Args:
        head: the champion's.
        fitted: its record.
        limit: p-value up to which a row is too odd to be told what it is.
        stream: the rows.
    """

    def __init__(self, head: Head, fitted: LabelFitRecord, limit: float, stream: Featured) -> None:
        self._head, self._fitted, self._limit, self.stream = head, fitted, limit, stream
        self._names = np.array([*fitted.classes], object)
        self.schema = without_twins(classes_schema(stream.keys), "classes")

    def of(self, batch: pa.RecordBatch, seen: Seen, first: int) -> pa.RecordBatch:
        """The classes of a record batch whose first row has this position."""
        odds = self._head.probabilities(seen.features)
        place = odds.argmax(axis=1)
        share = odds[np.arange(len(place)), place]
        known = seen.known & (share >= self._fitted.sure) & (seen.p_values > self._limit)
        likeliest = pa.array(self._names[place], pa.string(), mask=~seen.known)
        columns = [
            *(batch.column(batch.schema.get_field_index(field.name)) for field in self.stream.keys),
            pa.array(np.arange(first, first + len(place), dtype=np.int64)),
            pa.array(self._names[place], pa.string(), mask=~known),
            pa.array(share, pa.float32(), mask=~seen.known),
            likeliest,
            pa.repeat(self._fitted.model_version, len(place)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _write(inputs: Inputs, judge: _Judge, commit: Commit) -> tuple[int, Counter[str], int, dict[str, str]]:
    """Stage the file, counting what goes by: rows, those of each class, those that cannot be read; and the file."""
    target, counted = inputs.target("classes"), Counter[str]()
    rows = unread = 0
    writer = Writer(commit.folder, commit.staged(target), judge.schema)
    with let_go(writer):
        for batch, seen in judge.stream.batches():
            found = judge.of(batch, seen, rows)
            writer.write(found)
            rows += found.num_rows
            unread += int((~seen.known).sum())
            counted.update(name for name in found.column("class").to_pylist() if name is not None)
        return rows, counted, unread, {target: writer.close()}
