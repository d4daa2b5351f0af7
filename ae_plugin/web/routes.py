"""What can be looked at. Each route needs Airflow's authentication, and the right to read the pipeline's score DAG."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from typing import IO, Annotated, Any, Literal, TypeVar

from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from ae_plugin.config import Pipeline
from ae_plugin.jobs.models import models
from ae_plugin.jobs.promote import former_champions
from ae_plugin.masks import shown
from ae_plugin.schemas import AirflowTask, RunRecord
from ae_plugin.store.decisions import read_decision
from ae_plugin.store.files import Folder
from ae_plugin.store.runs import latest, read_latest, read_profile, slug_of
from ae_plugin.store.staging import moving
from ae_plugin.web.access import ReadablePipeline, may_decide, readable_of, score_dag
from ae_plugin.web.bounds import heavy
from ae_plugin.web.catalog import broken, pipelines
from ae_plugin.web.downloads import TYPES, Dataset, Format, chunks, download, file_name
from ae_plugin.web.ordering import Sort, in_order_of
from ae_plugin.web.overview import Brief, briefs, expected_of, forget, summary, timeline
from ae_plugin.web.refresh import summaries
from ae_plugin.web.responses import (
    Context,
    DecisionMade,
    ModelList,
    PartitionDetail,
    Picture,
    PipelineDetail,
    PipelineList,
    PipelineSummary,
    RowPage,
    RowValuesList,
    RunList,
    State,
    Timeline,
    TraversalView,
    VersionComparison,
    VersionDetail,
)
from ae_plugin.web.rows import row_page
from ae_plugin.web.traversal import traversal_picture, traversal_view
from ae_plugin.web.values import picture, row_values, source_columns
from ae_plugin.web.versions import compare_versions, trained_by, version_detail

router = APIRouter(tags=["look"])
Partition = Annotated[str, Query(description="Hive path, as `date=2013-01-29`; empty for a whole source.")]
Place = Annotated[int, Query(ge=0, lt=2**62, description="Of a row in its partition, from 0.")]
Rows = Annotated[list[Place], Query(max_length=1000)]
T = TypeVar("T")
_LAST = 365


@router.get("/pipelines")
def list_pipelines(
    user: GetUserDep,
    *,
    search: Annotated[str, Query(max_length=200)] = "",
    state: State | None = None,
    sort: Sort = "state",
    descending: bool = False,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> PipelineList:
    """The pipelines that the caller may read, those that need a look first."""
    known = pipelines()
    wrong = broken()
    wanted = {name for name in {*known, *wrong} if search.lower() in name.lower()}
    read, allowed = summaries(known), readable_of(wanted, user)
    read |= {name: PipelineSummary(name=name, state="unreadable", problem=why) for name, why in wrong.items()}
    found = [read[name] for name in sorted(allowed & read.keys())]
    counts = Counter(one.state for one in found)
    shown = in_order_of([one for one in found if state in (None, one.state)], sort, descending=descending)
    left = len(allowed) - len(found)
    return PipelineList(total=len(shown), counts=dict(counts), left=left, pipelines=shown[offset : offset + limit])


@router.get("/pipelines/{name}")
def pipeline_detail(pipeline: ReadablePipeline, request: Request, user: GetUserDep) -> PipelineDetail:
    """One pipeline."""
    return PipelineDetail(
        summary=summary(pipeline),
        may_decide=may_decide(pipeline.name, request, user),
        source=shown(pipeline.source.uri),
        output=shown(pipeline.output),
        partition_by=pipeline.source.partition_by,
        keys=pipeline.source.row_keys,
        train_dag=f"{pipeline.name}__train",
        score_dag=score_dag(pipeline.name),
        train_schedule=pipeline.train.schedule,
        score_schedule=pipeline.score.schedule,
        promote=pipeline.promote,
        on_unfamiliar=pipeline.score.on_unfamiliar,
        denoise=pipeline.score.denoise,
    )


@router.get("/pipelines/{name}/runs")
def list_runs(pipeline: ReadablePipeline, last: Annotated[int, Query(ge=1, le=1000)] = 1000) -> RunList:
    """The newest run of each partition, whole; of the last so many partitions."""
    return RunList(runs=list(latest(Folder(pipeline.output), last).values()))


@router.get("/pipelines/{name}/timeline")
def pipeline_timeline(pipeline: ReadablePipeline, last: Annotated[int, Query(ge=1, le=5000)] = _LAST) -> Timeline:
    """The newest runs, in partition order."""
    total, points = timeline(pipeline, last)
    return Timeline(total=total, alert_rate=pipeline.score.alert_rate, points=points)


@router.get("/pipelines/{name}/partition")
def partition_detail(
    pipeline: ReadablePipeline, request: Request, user: GetUserDep, partition: Partition = ""
) -> PartitionDetail:
    """One partition's newest run, and what the partition looked like."""
    folder, run = Folder(pipeline.output), _run(pipeline, partition)
    known = _briefs_with(pipeline, partition)
    place = next((index for index, one in enumerate(known) if one.partition == partition), len(known))
    decision = read_decision(folder, partition) if run.outcome != "scored" else None
    holds = decision is not None and decision.fingerprint == run.input_fingerprint
    made = DecisionMade.model_validate(decision.model_dump(mode="json")) if decision and holds else None
    return PartitionDetail(
        run=run,
        expected=expected_of(run.rows, run.alert_rate, run.alert_rate_of, run.calibration_rows),
        profile=read_profile(folder, run),
        previous=known[place - 1].partition if place else None,
        next=known[place + 1].partition if place + 1 < len(known) else None,
        may_decide=may_decide(pipeline.name, request, user),
        decision=made,
        columns=source_columns(pipeline, run),
        keys=pipeline.source.row_keys,
    )


@router.get("/pipelines/{name}/rows")
def partition_rows(
    pipeline: ReadablePipeline,
    *,
    partition: Partition = "",
    offset: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    column: str | None = None,
    value: Annotated[str | None, Query(max_length=1000)] = None,
    row: Rows = [],  # noqa: B006
) -> RowPage:
    """A partition's flagged rows, worst first, each with its wrong cells."""

    def read(run: RunRecord) -> RowPage:
        if run.outcome != "scored":
            return RowPage(total=0, flagged=0, seen=run.input_fingerprint, columns={}, rows=[])
        return row_page(pipeline, run, offset=offset, limit=limit, column=column, value=value, only=row)

    return _steady(pipeline, partition, read)


@router.get("/pipelines/{name}/values")
def partition_values(
    pipeline: ReadablePipeline, row: Annotated[list[Place], Query(max_length=50)], partition: Partition = ""
) -> RowValuesList:
    """Whole rows, as the source has them, and as `denoised/` has them."""

    def read(run: RunRecord) -> RowValuesList:
        if run.outcome != "scored" or pipeline.source.format == "images":
            return RowValuesList(rows=[])
        return RowValuesList(rows=row_values(pipeline, run, row))

    with heavy():
        return _steady(pipeline, partition, read)


@router.get("/pipelines/{name}/download", response_class=StreamingResponse)
def partition_download(
    pipeline: ReadablePipeline, dataset: Dataset = "rows", format: Format = "parquet", partition: Partition = ""
) -> StreamingResponse:
    """The flagged rows, or the wrong cells, as a file."""

    def read(run: RunRecord) -> tuple[str, IO[bytes]]:
        return file_name(run, dataset, format), download(pipeline, run, dataset, format)

    with heavy():
        name, file = _steady(pipeline, partition, read)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(chunks(file), media_type=TYPES[format], headers=headers)


@router.get("/pipelines/{name}/picture", response_class=Response)
def partition_picture(
    pipeline: ReadablePipeline,
    request: Request,
    row: Place,
    what: Picture = "original",
    partition: Partition = "",
) -> Response:
    """One picture, as it came, repaired, or where it is odd; PNG, or what a browser can show of the source's."""
    if pipeline.source.format != "images":
        raise HTTPException(404, "not a pipeline of pictures")
    run = _run(pipeline, partition)
    # Another run's pictures are others, at the same address.
    tag = f'"{zlib.crc32(f"{run.run_id} {row} {what}".encode()):08x}"'
    headers = {"Cache-Control": "private, no-cache", "ETag": tag, "X-Content-Type-Options": "nosniff"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    with heavy():
        found = _steady(pipeline, partition, lambda run: picture(pipeline, run, row, what))
    if found is None:
        raise HTTPException(404, "no such picture")
    return Response(found.content, media_type=found.kind, headers=headers)


@router.get("/pipelines/{name}/traversal")
def pipeline_traversal(pipeline: ReadablePipeline) -> TraversalView:
    """What the decoder makes of a row as one latent variable changes: frames that `ae traverse` wrote."""
    with heavy():
        return traversal_view(pipeline)


@router.get("/pipelines/{name}/traversal/picture", response_class=Response)
def pipeline_traversal_picture(
    pipeline: ReadablePipeline,
    latent: Annotated[int, Query(ge=0, lt=2**31)],
    step: Annotated[int, Query(ge=0, lt=2**31)],
) -> Response:
    """One decoded picture of it, a PNG."""
    with heavy():
        content = traversal_picture(pipeline, latent, step)
    if content is None:
        raise HTTPException(404, "no such picture")
    headers = {"Cache-Control": "private, max-age=60", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type="image/png", headers=headers)


@router.get("/pipelines/{name}/models")
def list_models(pipeline: ReadablePipeline, request: Request, user: GetUserDep) -> ModelList:
    """The model versions, oldest first."""
    return ModelList(
        models=models(pipeline), may_decide=may_decide(pipeline.name, request, user), former=former_champions(pipeline)
    )


@router.get("/pipelines/{name}/models/{version}")
def model_detail(pipeline: ReadablePipeline, version: str) -> VersionDetail:
    """One model version."""
    found = version_detail(pipeline, version)
    if found is None:
        raise HTTPException(404, "no such version")
    return found


@router.get("/pipelines/{name}/compare")
def model_comparison(pipeline: ReadablePipeline, one: str, other: str) -> VersionComparison:
    """What changed from one version to another."""
    return compare_versions(pipeline, one, other)


@router.get("/context")
def airflow_context(
    request: Request,
    user: GetUserDep,
    dag_id: Annotated[str, Query(max_length=250)],
    run_id: Annotated[str, Query(max_length=250)] = "",
    task_id: Annotated[str, Query(max_length=250)] = "",
    map_index: int | None = None,
) -> Context:
    """What belongs to a DAG, to one of its runs, or to a task instance."""
    requires_access_dag("GET", param_dag_id=dag_id)(request, user)
    name, _, verb = dag_id.rpartition("__")
    pipeline = pipelines().get(name)
    if verb == "broken" and name in broken() and readable_of({name}, user):
        return Context(pipeline=None, verb=None, points=[], problem=broken()[name])
    if pipeline is None or verb not in ("train", "score") or not readable_of({name}, user):
        return Context(pipeline=None, verb=None, points=[])
    wanted = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    known = {what: value for what, value in wanted.items() if value not in ("", None)}
    kind: Literal["train", "score"] = "train" if verb == "train" else "score"
    if kind == "train":
        return Context(pipeline=name, verb=kind, points=[], version=trained_by(pipeline, known) if run_id else None)
    runs = [run for run in briefs(pipeline) if _is_of(run.airflow, known)] if run_id else []
    return Context(pipeline=name, verb=kind, points=[run.point for run in runs])


def _is_of(task: AirflowTask | None, wanted: dict[str, Any]) -> bool:
    """Whether a task is the one that is meant; one that is not mapped may be asked for with any index."""
    if task is None:
        return False
    known = task.model_dump(exclude=set() if task.map_index != -1 else {"map_index"})
    return all(known.get(what, value) == value for what, value in wanted.items())


def _briefs_with(pipeline: Pipeline, partition: str) -> list[Brief]:
    """The newest runs; read again if one is not among them that is there, as an object store's may not be."""
    known = briefs(pipeline)
    if partition not in {run.partition for run in known}:
        forget(pipeline)
        known = briefs(pipeline)
    return known


def _steady(pipeline: Pipeline, partition: str, read: Callable[[RunRecord], T]) -> T:
    """Read what a run wrote, of one run from beginning to end; HTTP 409 while another one takes its place."""
    for _ in range(2):
        run = _run(pipeline, partition)
        found = read(run)
        if not moving(Folder(pipeline.output), slug_of(partition)) and _run(pipeline, partition).run_id == run.run_id:
            return found
    raise HTTPException(409, f"{partition or 'the source'}: is being written just now: try again")


def _run(pipeline: Pipeline, partition: str) -> RunRecord:
    run = read_latest(Folder(pipeline.output), partition)
    if run is None or run.partition != partition:
        raise HTTPException(404, "no such partition, or nothing of it was scored yet")
    return run
