"""What can be decided: each order needs the right to edit the pipeline's DAG, and comes from the page itself."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter

from ae_plugin.jobs.decide import decide
from ae_plugin.jobs.feedback import Said, feedback
from ae_plugin.jobs.promote import promote, rollback
from ae_plugin.schemas import PromoteRecord
from ae_plugin.web.access import EditablePipeline, name_of
from ae_plugin.web.refresh import seen_at_once
from ae_plugin.web.responses import (
    DecisionMade,
    DecisionOrder,
    FeedbackKept,
    FeedbackOrder,
    PromoteOrder,
    RollbackOrder,
)

router = APIRouter(tags=["decide"])


@router.post("/pipelines/{name}/feedback")
def keep_feedback(pipeline: EditablePipeline, order: FeedbackOrder, user: GetUserDep) -> FeedbackKept:
    """Keep verdicts on rows, all of them or none; the next training honours them."""
    who = name_of(user)
    said = [
        Said(order.verdict, order.partition, row, column=order.column, note=order.note, who=who, origin="the page")
        for row in order.rows
    ]
    return FeedbackKept(marks=feedback(pipeline, said, seen=order.seen).marks)


@router.post("/pipelines/{name}/promote")
def promote_version(pipeline: EditablePipeline, order: PromoteOrder, user: GetUserDep) -> PromoteRecord:
    """Make a version champion when its gate passed, or when the caller insists."""
    with seen_at_once(pipeline):
        return promote(pipeline, order.version, force=order.force, by=name_of(user))


@router.post("/pipelines/{name}/rollback")
def rollback_version(pipeline: EditablePipeline, order: RollbackOrder, user: GetUserDep) -> PromoteRecord:
    """Go back to the champion before, or to a version."""
    with seen_at_once(pipeline):
        return rollback(pipeline, order.version, by=name_of(user))


@router.post("/pipelines/{name}/decide")
def decide_on_partition(pipeline: EditablePipeline, order: DecisionOrder, user: GetUserDep) -> DecisionMade:
    """Release a refused partition to the next score run, or leave it out for good."""
    with seen_at_once(pipeline):
        made = decide(pipeline, order.partition, order.decision, note=order.note, who=name_of(user), seen=order.seen)
    return DecisionMade.model_validate(made.model_dump(mode="json"))
