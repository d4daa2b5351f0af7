"""When the DAGs of a pipeline run, and which partition a run is of."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAny, CronPartitionTimetable, Param, PartitionedAssetTimetable

from ae_plugin.config import Pipeline
from ae_plugin.provider.assets import model_asset, source_asset

if TYPE_CHECKING:
    from ae_plugin.store.files import SourceFile

log = logging.getLogger(__name__)
PARTITIONS = "partitions"
"""Name of the parameter of a run by hand."""


def score_schedule(pipeline: Pipeline) -> Any:
    """The schedule of the score DAG, in Airflow's terms."""
    chosen = pipeline.score
    if chosen.schedule == "asset":
        return AssetAny(source_asset(pipeline.name), model_asset(pipeline.name))
    if chosen.schedule == "partition":
        return PartitionedAssetTimetable(assets=source_asset(pipeline.name))
    if chosen.schedule is None or chosen.partition_key is None:
        return chosen.schedule
    return CronPartitionTimetable(
        chosen.schedule, timezone="UTC", run_offset=chosen.partition_offset, key_format=chosen.partition_key
    )


def score_params() -> dict[str, Param]:
    """What a person may ask for who starts the score DAG by hand."""
    return {
        PARTITIONS: Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            title="Partitions",
            description="Score these, one a line, whether they changed or not: `2013-01-29` or `date=2013-01-29`. "
            "Empty: what is new or changed.",
        )
    }


def wanted(pipeline: Pipeline, context: Any) -> dict[str, list[SourceFile]]:
    """The partitions that a run is to score, and their files: its key's, those asked for, or those that are due.

    Of a backfill a partition that is not there is left out: a range of days may hold some without data. A key's that
    was discarded is too: nobody asks for it by name.

    Raises:
        ConfigError: a name is no partition's.
        NoChampionError: there is nothing to score with.
    """
    from ae_plugin.jobs.decide import discarded
    from ae_plugin.jobs.due import chosen_files, due_files, named_files
    from ae_plugin.jobs.summary import decision_words

    key = key_of(context)
    asked = [key] if key else context["params"].get(PARTITIONS)
    if not asked:
        return due_files(pipeline)
    found = named_files(pipeline, asked) if is_backfill(context) else chosen_files(pipeline, asked)
    for name in (name for name, files in found.items() if not files):
        log.warning("no partition %s: nothing to score", name)
    gone = discarded(pipeline, found) if key else {}
    for name, one in gone.items():
        log.warning("%s was %s: nothing to score", name or "the source", decision_words(one))
    return {name: files for name, files in found.items() if files and name not in gone}


def key_of(context: Any) -> str | None:
    """The key of the partition that a run is of; None of a run that looks itself for what is due."""
    return getattr(context["dag_run"], "partition_key", None) or None


def is_backfill(context: Any) -> bool:
    """Whether a run is part of a backfill."""
    return str(getattr(context["dag_run"].run_type, "value", context["dag_run"].run_type)) == "backfill"
