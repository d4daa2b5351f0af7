"""The worst rows, explained: what scoring does not store is asked of the model again, from the rows as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.bands import Lane, explain_rows
from ae_plugin.core.features import partition_time
from ae_plugin.core.values import Floats, take
from ae_plugin.engines.local import Reader, batch_rows
from ae_plugin.errors import UserError
from ae_plugin.jobs.report.stored import WorstRow
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import SourceFile, fingerprint, list_source, partitions_of
from ae_plugin.store.registry import Registry
from ae_plugin.versions import ModelVersion, load_version

SOURCE_ROWS = 2_000_000


@dataclass(frozen=True)
class ExplainedRow:
    """An anomalous row with its lanes; none when the model or the source cannot be asked any more."""

    row: WorstRow
    lanes: list[Lane]


@dataclass(frozen=True)
class ExplainedPartition:
    """The worst rows of one partition; `problem` says why there are no lanes."""

    run: RunRecord
    rows: list[ExplainedRow]
    problem: str


class Explainer:
    """Explains rows by the version that scored them and the source that they came from.

    Args:
        pipeline: whose source it is.
        registry: holds the versions; each is loaded once.
    """

    def __init__(self, pipeline: Pipeline, registry: Registry) -> None:
        self._pipeline, self._registry = pipeline, registry
        self._versions: dict[tuple[str, float, str], ModelVersion | str] = {}
        self._source: dict[str, list[SourceFile]] | str | None = None

    def version(self, name: str, alert_rate: float, method: str) -> ModelVersion | str:
        """A version ready to score with, or why there is none, in words."""
        wanted = (name, alert_rate, method)
        if wanted not in self._versions:
            try:
                how = "reconstruction" if method == "reconstruction" else "combined"
                self._versions[wanted] = load_version(self._registry, name, alert_rate, how)  # type: ignore[arg-type]
            except (UserError, OSError) as error:
                self._versions[wanted] = str(error)
        return self._versions[wanted]

    def calibration(self, name: str) -> Floats | str:
        """The calibration scores of a version as the pipeline scores; or why there are none, in words."""
        version = self.version(name, self._pipeline.score.alert_rate, self._pipeline.score.method)
        return version if isinstance(version, str) else version.scorer.calibration

    def explain(self, worst: Sequence[WorstRow], runs: Sequence[RunRecord]) -> list[ExplainedPartition]:
        """Explain rows, those of one partition together and in the order given."""
        by_name = {run.partition: run for run in runs}
        out = []
        for partition, rows in groupby(worst, key=lambda row: row.partition):
            run, group = by_name[partition], list(rows)
            found = self._lanes(run, group)
            lanes = found if isinstance(found, list) else [[] for _ in group]
            told = [[_as_stored(lane, row) for lane in own] for row, own in zip(group, lanes, strict=True)]
            explained = [ExplainedRow(row, own) for row, own in zip(group, told, strict=True)]
            out.append(ExplainedPartition(run, explained, found if isinstance(found, str) else ""))
        return out

    def _lanes(self, run: RunRecord, rows: Sequence[WorstRow]) -> list[list[Lane]] | str:
        version = self.version(run.model_version, run.alert_rate, run.method)
        if isinstance(version, str):
            return f"the model that scored it is gone ({version})"
        try:
            batch = self._read(run, rows, version)
            if isinstance(batch, str):
                return batch
            wrong = [[cell.column for cell in row.cells] for row in rows]
            return explain_rows(version.scorer, batch, wrong, partition_time(run.partition))
        except (UserError, OSError) as error:
            return f"its source cannot be read ({error})"

    def _read(self, run: RunRecord, rows: Sequence[WorstRow], version: ModelVersion) -> pa.RecordBatch | str:
        """The rows as they stand in the source, in the order given; or why they cannot be had."""
        if self._source is None:
            try:
                self._source = partitions_of(list_source(self._pipeline.source))
            except (UserError, OSError) as error:
                self._source = f"the source cannot be read ({error})"
        if isinstance(self._source, str):
            return self._source
        files = self._source.get(run.partition)
        if files is None:
            return "it is no longer in the source"
        if fingerprint(files) != run.input_fingerprint:
            return "its source changed since it was scored"
        places = np.array([row.row for row in rows])
        if places.max() >= SOURCE_ROWS:
            return f"its rows lie beyond the first {SOURCE_ROWS:,}, which is as far as a report reads"
        source = self._pipeline.source
        reader = Reader(files, source.format, version.schema, batch_rows(version.scorer.encoder.features))
        return _take(reader, places)


def _as_stored(lane: Lane, row: WorstRow) -> Lane:
    """A lane with the word that `cells/` holds where a rule gave it: how rare it is for the model says nothing then."""
    stored = next((cell.expected for cell in row.cells if cell.column == lane.column), None)
    if stored is None or stored == lane.expected or lane.kind not in ("category", "text"):
        return lane
    return replace(lane, expected=stored, share=None, rows=0)


def _take(reader: Reader, places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.RecordBatch | str:
    """Rows at places of a stream, which is read no further than the last of them."""
    order, first = np.argsort(places), 0
    parts: list[pa.RecordBatch] = []
    for batch in reader.batches():
        here = places[order]
        own = here[(here >= first) & (here < first + batch.num_rows)] - first
        if len(own):
            columns = [take(column, pa.array(own)) for column in batch.columns]
            parts.append(pa.RecordBatch.from_arrays(columns, schema=batch.schema))
        first += batch.num_rows
        if first > places.max():
            break
    if sum(part.num_rows for part in parts) < len(places):
        return "its source holds fewer rows than were scored"
    whole = pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
    back = np.argsort(order)
    return pa.RecordBatch.from_arrays([take(column, pa.array(back)) for column in whole.columns], schema=whole.schema)
