"""The question whether a version becomes champion, with the figures that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import Param

from ae_plugin.config import Pipeline

TASK = "approve"
TIMEOUT = timedelta(days=3)
_FORCE = "promote_although_the_gate_says_no"
_KINDS = "{% for kind in report.gate.results[0].auroc %}"
_BODY = (
    "{% set report = ti.xcom_pull(task_ids='train') %}"
    "Version **{{ report.model_version }}**: trained on {{ report.rows_train }} rows, "
    "calibrated on {{ report.rows_calibration }} that it never saw.\n\n"
    "The gate **{{ 'passed' if report.gate.passed else 'did not pass' }}**: {{ report.gate.reasons | join('; ') }}.\n\n"
    "{% if report.gate.results %}"
    "| faults told from normal rows | mean |" + _KINDS + " {{ kind }} |{% endfor %}\n"
    "|---|---|" + _KINDS + "---|{% endfor %}\n"
    "{% for row in report.gate.results %}"
    "| {{ row.scorer }}{{ ' ' ~ report.gate.champion if row.scorer == 'champion' }} | {{ '%.3f' | format(row.mean) }} |"
    "{% for value in row.auroc.values() %} {{ '%.3f' | format(value) }} |{% endfor %}\n"
    "{% endfor %}\n"
    "AUROC: 1 tells all, 0.5 is chance.\n"
    "{% endif %}"
    "{% for note in report.notes %}\n- {{ note }}{% endfor %}"
)


def approval(pipeline: Pipeline) -> Any:
    """Airflow's own operator that asks a person; no answer within three days means no."""
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    force = Param(
        False,
        type="boolean",
        title="Promote although the gate says no",
        description="Recorded as forced, with your name.",
    )
    return ApprovalOperator(
        task_id=TASK,
        subject=f"Promote the new model of {pipeline.name}?",
        body=_BODY,
        defaults="Reject",
        response_timeout=TIMEOUT,
        params={_FORCE: force},
    )


def answered(context: Any, task: str | None) -> tuple[bool, str | None]:
    """Whether the person who approved wants to force the promotion, and who it is; (False, None): none was asked."""
    answer = context["ti"].xcom_pull(task_ids=task) if task else None
    if not isinstance(answer, Mapping):
        return False, None
    who = answer.get("responded_by_user") or {}
    return bool(answer.get("params_input", {}).get(_FORCE)), who.get("name") or who.get("id")
