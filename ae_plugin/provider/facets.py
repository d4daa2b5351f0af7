"""A trace in OpenLineage's words: datasets and their facets. Needs the package `openlineage-python`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import base_subset_dataset as subset
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    data_quality_assertions_dataset,
    data_quality_metrics_input_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
)

from ae_plugin.config import Pipeline
from ae_plugin.places import fixed_part, local_path, split_connection
from ae_plugin.provider.lineage import Trace
from ae_plugin.schemas import ColumnNote, RunRecord, cells_schema, heatmaps_schema, scores_schema
from ae_plugin.store.registry import MODELS

_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss", "az": "abfss"}
"""What other names of a scheme are called in OpenLineage."""
_OWN = {"scores": scores_schema, "cells": cells_schema, "heatmaps": heatmaps_schema}
_ROWS = {"cells": "cells_flagged", "heatmaps": "anomalies"}
"""What a row of a dataset is counted by, where it is no row of the source."""
Assertion = data_quality_assertions_dataset.Assertion
Transformation = column_lineage_dataset.Transformation
SAME = Transformation("DIRECT", "IDENTITY")
CHANGED = Transformation("DIRECT", "TRANSFORMATION", "kept, or replaced by what the model expects")
JUDGED = Transformation(
    "INDIRECT", "CONDITIONAL", "says which cells of a row are wrong, and what they should have been"
)
SCORED = Transformation("DIRECT", "TRANSFORMATION", "every learned cell of a row counts in what is said of it")


def name_of(uri: str) -> tuple[str, str]:
    """OpenLineage's namespace and name of a folder, by its naming rules; of a glob, of the folder it begins in."""
    if (path := local_path(uri)) is not None:
        return "file", fixed_part(path) or "/"
    # Neither a connection nor who logs in is part of a place's name.
    parts = urlsplit(fixed_part(split_connection(uri)[1]))
    place = parts.netloc.rpartition("@")[2] if parts.scheme not in ("abfs", "abfss") else parts.netloc
    return f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{place}", parts.path.strip("/") or "/"


def source_of(pipeline: Pipeline) -> InputDataset:
    """A pipeline's source, before anything is known of it."""
    return InputDataset(*name_of(pipeline.source.uri), facets={}, inputFacets={})


def inputs(trace: Trace) -> list[InputDataset]:
    """The source, and the model that it was scored with."""
    source = source_of(trace.pipeline)
    source.facets = _schema([(column.column, column.type) for column in _table(trace)])
    if not trace.runs:
        return [source]
    source.inputFacets = _read(trace.runs)
    return [source, InputDataset(*name_of(f"{trace.pipeline.output}/{MODELS}"), facets=_model(trace), inputFacets={})]


def outputs(trace: Trace) -> list[OutputDataset]:
    """What was written: a model, or datasets of the partitions."""
    if not trace.runs:
        return [OutputDataset(*name_of(f"{trace.pipeline.output}/{MODELS}"), facets=_model(trace), outputFacets={})]
    found = []
    for dataset in ("scores", "cells", "denoised", "heatmaps", "quarantine"):
        if runs := [run for run in trace.runs if _files(run, dataset)]:
            name = name_of(f"{trace.pipeline.output}/{dataset}")
            found.append(OutputDataset(*name, facets=_columns(trace, dataset), outputFacets=_written(dataset, runs)))
    return found


def _files(run: RunRecord, dataset: str) -> list[str]:
    return [name for name in run.outputs if name.startswith(f"{dataset}/")]


def _table(trace: Trace) -> Sequence[ColumnNote]:
    """The source's columns; none of a folder of pictures, which are files."""
    names = {column.column for column in trace.columns}
    return [] if names == {"file", "image", "error"} else trace.columns


def _model(trace: Trace) -> dict[str, Any]:
    return {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=trace.version),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(datasetType="MODEL"),
    }


def _schema(columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The facet of names and types, where there are columns."""
    fields = [schema_dataset.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in columns]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)} if fields else {}


def _columns(trace: Trace, dataset: str) -> dict[str, Any]:
    """An output's columns, and what they come from.

    A repaired cell hangs on every other learned cell of its row. That is said once for the dataset, and not for each
    pair of columns: those of a wide table are millions.
    """
    known = _table(trace)
    if not known:
        return {}
    whole = dataset not in _OWN
    kept = [column for column in known if whole or column.role == "key"]
    added = [] if whole else [(field.name, str(field.type)) for field in _OWN[dataset]([])]
    namespace, name = name_of(trace.pipeline.source.uri)

    def comes(column: ColumnNote, how: Transformation) -> Any:
        return column_lineage_dataset.InputField(namespace, name, column.column, [how])

    learned = [column for column in known if column.role == "learned"]
    mended = learned if dataset == "denoised" else []
    fields = {
        column.column: column_lineage_dataset.Fields([comes(column, CHANGED if column in mended else SAME)])
        for column in kept
    }
    others = [] if dataset == "quarantine" else [comes(column, JUDGED if whole else SCORED) for column in learned]
    lineage = column_lineage_dataset.ColumnLineageDatasetFacet(fields=fields, dataset=others)
    return {**_schema([*((column.column, column.type) for column in kept), *added]), "columnLineage": lineage}


def _read(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """How much was read of the source, of which partitions, and what the guard made of them."""
    figures = [[getattr(run, name) or 0 for run in runs] for name in ("rows", "input_bytes", "input_files")]
    rows, size, files = (sum(figure) for figure in figures)
    statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(rows, size, files)
    metrics = data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet({}, rows, size, files)
    found = [one for run in runs for one in (_familiar(run), *_like_history(run))]
    quality = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(found)
    facets: dict[str, Any] = {
        "inputStatistics": statistics,
        "dataQualityMetrics": metrics,
        "dataQualityAssertions": quality,
    }
    if some := _partitions(runs):
        facets["subset"] = subset.InputSubsetInputDatasetFacet(some)
    return facets


def _familiar(run: RunRecord) -> Assertion:
    """Whether the guard took a partition for the kind of data that the model knows."""
    return Assertion(
        assertion="familiar",
        success=run.guard.verdict != "unfamiliar",
        name=run.partition or None,
        description="; ".join(run.guard.reasons[:3]) or None,
        actual=run.guard.verdict,
    )


def _like_history(run: RunRecord) -> list[Assertion]:
    """The columns of a partition that are not as history's are."""
    return [
        Assertion(
            assertion="like_history",
            success=False,
            column=moved.column,
            severity="warn",
            name=run.partition or None,
            description=moved.reason,
            expected=f"at most {moved.limit:.3f}",
            actual=f"{moved.effect:.3f}",
        )
        for moved in run.guard.columns
    ]


def _written(dataset: str, runs: Sequence[RunRecord]) -> dict[str, Any]:
    """How much was written, and of which partitions."""
    rows = sum(getattr(run, _ROWS.get(dataset, "rows")) for run in runs)
    names = [name for run in runs for name in _files(run, dataset)]
    # Nobody counted the files of a folder of pictures.
    files = None if any(name.endswith("/") for name in names) else len(names)
    facet = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows, fileCount=files)
    facets: dict[str, Any] = {"outputStatistics": facet}
    if some := _partitions(runs):
        facets["subset"] = subset.OutputSubsetOutputDatasetFacet(some)
    return facets


def _partitions(runs: Sequence[RunRecord]) -> subset.PartitionSubsetCondition | None:
    """Which partitions, by key and value."""
    found = []
    for run in runs:
        pairs = [part.partition("=") for part in run.partition.split("/") if part]
        if pairs:
            found.append(subset.Partition({key: value for key, _, value in pairs}, run.partition))
    return subset.PartitionSubsetCondition(found) if found else None
