"""Lineage in OpenLineage's words: names by its naming rules, and events of a size that an endpoint takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openlineage.client.naming.dataset import ABFSS, GCS, S3, DatasetNaming, LocalFileSystem
from openlineage.client.serde import Serde

from ae_plugin.config import Pipeline
from ae_plugin.provider.facets import inputs, name_of, outputs
from ae_plugin.provider.lineage import Trace
from ae_plugin.schemas import ColumnNote
from tests.store.test_runs import record

DAY = "date=2024-01-01"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/orders", LocalFileSystem(path="/data/orders")),
        ("file:///data/orders/", LocalFileSystem(path="/data/orders")),
        ("/data/orders/*/part-*.parquet", LocalFileSystem(path="/data/orders")),
        ("s3://lake/raw/orders", S3(bucket_name="lake", object_key="raw/orders")),
        ("s3a://lake/raw/orders/", S3(bucket_name="lake", object_key="raw/orders")),
        ("gs://lake/raw/orders/year=*/*.parquet", GCS(bucket_name="lake", object_key="raw/orders")),
        ("abfs://lake@corp.dfs.core.windows.net/raw", ABFSS(container="lake", service="corp", path="raw")),
    ],
)
def test_names_are_those_of_openlineages_own_library(uri: str, name: DatasetNaming) -> None:
    assert name_of(uri) == (name.get_namespace(), name.get_name())


def trace(columns: list[ColumnNote], **changes: Any) -> Trace:
    pipeline = Pipeline.model_validate({"name": "shop", "source": {"uri": "s3://lake/in"}, "output": "s3://lake/out"})
    return Trace(pipeline, "v0001", columns, [record(DAY, **changes)])


def test_a_wide_table_makes_no_event_that_an_endpoint_refuses() -> None:
    columns = [ColumnNote(column=f"column_{n}", type="double", role="learned") for n in range(1500)]
    written = {f"{dataset}/{DAY}/part-0.parquet": "" for dataset in ("scores", "cells", "denoised")}
    found = trace(columns, outputs=written)
    assert sum(len(Serde.to_json(dataset)) for dataset in (*inputs(found), *outputs(found))) < 2_000_000


def test_a_folder_of_pictures_has_no_columns() -> None:
    columns = [ColumnNote(column=name, type="binary", role="learned") for name in ("file", "image", "error")]
    found = trace(columns, pictures_repaired=1, outputs={f"denoised/{DAY}/": ""})
    (denoised,) = outputs(found)
    assert denoised.facets == {}
    assert denoised.outputFacets is not None
    assert denoised.outputFacets["outputStatistics"].rowCount == 10
    assert denoised.outputFacets["outputStatistics"].fileCount is None
    assert inputs(found)[0].facets == {}


def test_heatmaps_are_counted_by_anomalies(tmp_path: Path) -> None:
    columns = [
        ColumnNote(column="id", type="int64", role="key"),
        ColumnNote(column="image", type="binary", role="learned"),
    ]
    (heatmaps,) = outputs(trace(columns, outputs={f"heatmaps/{DAY}/part-0.parquet": ""}))
    assert heatmaps.outputFacets is not None and heatmaps.facets is not None
    assert heatmaps.outputFacets["outputStatistics"].rowCount == 1
    assert [field.name for field in heatmaps.facets["schema"].fields] == ["id", "row", "heatmap", "mask"]
    assert heatmaps.facets["columnLineage"].fields.keys() == {"id"}


def test_a_source_without_partitions_names_none() -> None:
    found = Trace(trace([]).pipeline, "v0001", [], [record("", outputs={"denoised/part-0.parquet": ""})])
    assert "subset" not in (inputs(found)[0].inputFacets or {})
    assert outputs(found)[0].facets == {}, "the version's report could not be read"
