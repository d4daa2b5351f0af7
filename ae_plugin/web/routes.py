"""Read-only routes. Each needs Airflow's authentication, and the right to read the pipeline's score DAG."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.configuration import conf
from fastapi import APIRouter, Depends, HTTPException, Request

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.errors import AeError, ConfigError
from ae_plugin.jobs.models import models
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import latest
from ae_plugin.web.responses import ModelList, PipelineList, PipelineSummary, RunList

router = APIRouter(tags=["pipelines"])


def pipelines() -> dict[str, Pipeline]:
    """The YAMLs beside the DAGs and under $AE_ROOT, by name; the only place that names and paths come from."""
    found = {}
    folders = [conf.get("core", "dags_folder"), *(f"{root}/dags" for root in [os.environ.get("AE_ROOT")] if root)]
    for path in [path for folder in folders for path in sorted(Path(folder, "pipelines").glob("*.y*ml"))]:
        try:
            pipeline = config.load(path)
        except ConfigError:
            continue  # shown as an import error by the DAG factory
        found[pipeline.name] = pipeline
    return found


def _may_read(name: str, request: Request, user: GetUserDep) -> bool:
    try:
        requires_access_dag("GET", param_dag_id=f"{name}__score")(request, user)
    except HTTPException:
        return False
    return True


def readable(name: str, request: Request, user: GetUserDep) -> Pipeline:
    """The named pipeline, when there is one and the caller may read its DAG."""
    requires_access_dag("GET", param_dag_id=f"{name}__score")(request, user)
    known = pipelines()
    if name not in known:
        raise HTTPException(404, "no such pipeline")
    return known[name]


ReadablePipeline = Annotated[Pipeline, Depends(readable)]


@router.get("/pipelines")
def list_pipelines(request: Request, user: GetUserDep) -> PipelineList:
    """The pipelines that the caller may read, with their newest runs."""
    allowed = [pipeline for name, pipeline in pipelines().items() if _may_read(name, request, user)]
    found = []
    for pipeline in allowed:
        with contextlib.suppress(AeError):  # its own routes say what is wrong
            found.append(_summary(pipeline))
    return PipelineList(pipelines=found)


@router.get("/pipelines/{name}/runs")
def list_runs(pipeline: ReadablePipeline) -> RunList:
    """The newest run of each partition."""
    return RunList(runs=_runs(pipeline))


@router.get("/pipelines/{name}/models")
def list_models(pipeline: ReadablePipeline) -> ModelList:
    """The model versions."""
    return ModelList(models=models(pipeline))


def _runs(pipeline: Pipeline) -> list[RunRecord]:
    """What is committed: whoever only looks finishes nobody's commit."""
    return list(latest(Folder(pipeline.output)).values())


def _summary(pipeline: Pipeline) -> PipelineSummary:
    champion = Registry(pipeline.output).pointer("champion")
    done = _runs(pipeline)
    last = done[-1] if done else None
    return PipelineSummary(
        name=pipeline.name,
        champion=champion.version if champion else None,
        partitions_scored=len(done),
        last_partition=last.partition if last else None,
        last_verdict=last.guard.verdict if last else None,
        observed_alert_rate=last.observed_alert_rate if last else None,
        alert_rate=pipeline.score.alert_rate,
    )
