"""What the API answers."""

from __future__ import annotations

from pydantic import BaseModel

from ae_plugin.schemas import ModelEntry, RunRecord


class PipelineSummary(BaseModel):
    """One pipeline at a glance."""

    name: str
    champion: str | None
    partitions_scored: int
    last_partition: str | None
    last_verdict: str | None
    observed_alert_rate: float | None
    alert_rate: float


class PipelineList(BaseModel):
    """The pipelines that the caller may read."""

    pipelines: list[PipelineSummary]


class RunList(BaseModel):
    """The newest run of each partition."""

    runs: list[RunRecord]


class ModelList(BaseModel):
    """A pipeline's model versions."""

    models: list[ModelEntry]
