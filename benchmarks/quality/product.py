"""The product as the benchmarks use it: its own train and score jobs at the defaults, on Parquet in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import train
from ae_plugin.schemas import TrainReport


@dataclass(frozen=True)
class Outputs:
    """What scoring one table left: `scores/`, `cells/` and `denoised/`, the last in the table's own schema."""

    scores: pd.DataFrame
    cells: pd.DataFrame
    denoised: pa.Table


def fit(history: pa.Table, work: Path, **sections: Any) -> tuple[Pipeline, TrainReport]:
    """Train on a table at the defaults and promote what comes out, whatever the gate says.

    Args:
        history: training rows.
        work: an empty folder.
        sections: overrides of the pipeline's sections, as `train={"contamination": 0}`.
    """
    work.mkdir(parents=True, exist_ok=True)
    pq.write_table(history, work / "history.parquet")
    pipeline = pipeline_of(work, **sections)
    report = train(pipeline)
    promote(pipeline, report.model_version, force=True)
    return pipeline, report


def pipeline_of(work: Path, **sections: Any) -> Pipeline:
    """The pipeline that `fit` trains in a folder."""
    base: dict[str, Any] = {
        "name": "bench",
        "source": {"uri": str(work / "history.parquet")},
        "score": {"on_unfamiliar": "score"},
        "output": str(work / "out"),
    }
    return Pipeline.model_validate({name: _merged(base, sections, name) for name in {*base, *sections}})


def _merged(base: dict[str, Any], sections: dict[str, Any], name: str) -> Any:
    if isinstance(base.get(name), dict):
        return {**base[name], **sections.get(name, {})}
    return sections.get(name, base.get(name))


def run(pipeline: Pipeline, table: pa.Table, work: Path) -> Outputs:
    """Score a table with the champion; `work` is a folder of this run's own."""
    work.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, work / "table.parquet")
    score(pipeline, source=str(work / "table.parquet"), output=str(work / "found"))
    found = {name: pq.read_table(work / f"found/{name}/part-0.parquet") for name in ("scores", "cells", "denoised")}
    return Outputs(found["scores"].to_pandas(), found["cells"].to_pandas(), found["denoised"])
