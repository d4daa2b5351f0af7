"""What may follow a score run: an event of the asset `alerts`, and a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from ae_plugin import config
from ae_plugin.provider.base import COLOR, announce, one_line
from ae_plugin.provider.operators import outcomes_of, verdict_of


class AnnounceAlertsOperator(BaseOperator):
    """Succeed when a partition drifted or is unfamiliar, so that the asset `alerts` has an event; else be skipped.

    Put it beside the summary, not after it: a run is what its last tasks are, and this one never fails.

    Args:
        outcomes: `.output["outcomes"]` of the `ScorePartitionOperator`, mapped or not.
        commit: task id of the `CommitShardsOperator`.
    """

    template_fields: Sequence[str] = ("outcomes",)
    ui_color = COLOR

    def __init__(self, *, outcomes: Any, commit: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outcomes, self.commit = outcomes, commit

    def execute(self, context: Any) -> dict[str, str]:  # noqa: D102
        ended = outcomes_of(context, self.outcomes, self.commit)
        verdicts = {name or "the source": verdict_of(one) for name, one in ended.items()}
        found = {name: verdict for name, verdict in verdicts.items() if verdict != "familiar"}
        if not found:
            raise AirflowSkipException("every partition is familiar")
        for name, verdict in found.items():
            self.log.info("%s: %s", name, verdict)
        announce(context, self, {"partitions": found})
        return found


class RetrainOperator(TriggerDagRunOperator):
    """Start the train DAG when `train.on_drift` or `train.on_feedback` is reached; else be skipped.

    Once for each version: what a training did not mend, another one on the same history would not mend either.

    Args:
        pipeline: a YAML's path, or its name in dags/pipelines/.
    """

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "pipeline")

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:
        super().__init__(skip_when_already_exists=True, **kwargs)
        self.pipeline = pipeline

    def execute(self, context: Any) -> None:  # noqa: D102
        from ae_plugin.jobs.retrain import retrain_reasons

        with one_line():
            found = retrain_reasons(config.load(self.pipeline))
        if not found.reasons:
            raise AirflowSkipException("no reason to train anew")
        for reason in found.reasons:
            self.log.info("training anew: %s", reason)
        self.trigger_run_id = f"retrain_after_{found.newest}"
        self.conf = {"reasons": found.reasons}
        super().execute(context)
