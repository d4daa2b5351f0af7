"""In which order pipelines are listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ae_plugin.web.responses import PipelineSummary, State

Sort = Literal["state", "name", "rate", "age", "last"]
ORDER: tuple[State, ...] = (
    "unreadable",
    "refused",
    "alarm",
    "waiting",
    "drifted",
    "cannot_alarm",
    "no_model",
    "nothing_scored",
    "quiet",
)
"""What needs a look first, comes first."""


def in_order_of(found: list[PipelineSummary], sort: Sort, *, descending: bool) -> list[PipelineSummary]:
    """Pipelines in an order; those of which it is not known come last either way."""
    key = _KEYS[sort]
    known = sorted((one for one in found if key(one) is not None), key=key, reverse=descending)
    return [*known, *(one for one in found if key(one) is None)]


def _excess(one: PipelineSummary) -> float:
    """How many times the promised rate was observed."""
    return (one.observed_alert_rate or 0.0) / one.alert_rate if one.alert_rate else 0.0


_KEYS: dict[Sort, Callable[[PipelineSummary], Any]] = {
    "state": lambda one: (ORDER.index(one.state), -_excess(one), one.name),
    "name": lambda one: one.name,
    "rate": lambda one: one.observed_alert_rate,
    "age": lambda one: one.champion_trained_at,
    "last": lambda one: one.last_scored_at,
}
