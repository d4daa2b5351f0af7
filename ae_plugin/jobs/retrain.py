"""Is it time to train anew? When partitions moved away from what the newest version knows, or people said enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ae_plugin.config import Pipeline
from ae_plugin.jobs.feedback import standing
from ae_plugin.jobs.summary import many
from ae_plugin.store.decisions import decided_on_runs
from ae_plugin.store.partitions import in_order
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import latest
from ae_plugin.versions import read_report


@dataclass(frozen=True)
class Retrain:
    """Why to train anew.

    Attributes:
        newest: the newest version there is; None: nothing was trained yet.
        reasons: in words; empty: there is no reason.
    """

    newest: str | None
    reasons: list[str]


def retrain_reasons(pipeline: Pipeline) -> Retrain:
    """See what happened since the newest training: only what it cannot have seen counts.

    So a partition that stays strange to a version that has seen it asks for no other training; nor does one that was
    discarded, while one that was released says that the world has changed.

    Raises:
        StoreError: the newest version, a decision or a file of feedback cannot be read.
    """
    registry, chosen = Registry(pipeline.output), pipeline.train
    versions = registry.versions()
    if not versions:
        return Retrain(None, [])
    report = read_report(registry, versions[-1])
    reasons = []
    if chosen.on_drift is not None:
        newest = max(map(in_order, [*report.partitions, *report.incidents]), default=())
        runs = latest(registry.folder)
        decided = decided_on_runs(registry.folder, runs).items()
        bad = {name for name, one in decided if one.decision == "discard"}
        moved = [
            name
            for name, run in runs.items()
            if run.guard.verdict != "familiar" and in_order(name) > newest and name not in bad
        ]
        if len(moved) >= chosen.on_drift:
            named = ", ".join(moved[-5:])
            reasons.append(f"{many(len(moved), 'partition')} moved since {versions[-1]} was trained, at last {named}")
    if chosen.on_feedback is not None:
        since = datetime.fromisoformat(report.created_at)
        said = sum(mark.when > since for mark in standing(pipeline).marks)
        if said >= chosen.on_feedback:
            reasons.append(f"{many(said, 'verdict')} on rows since {versions[-1]} was trained")
    return Retrain(versions[-1], reasons)
