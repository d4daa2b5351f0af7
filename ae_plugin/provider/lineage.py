"""Lineage for Airflow's OpenLineage provider: what a task read and wrote, and which column came from which.

The provider asks an operator in a process forked off the task, where connections to stores don't live on. So the task
gathers what there is to tell while it runs, a `Trace`, and only where somebody listens; telling it reads no data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.errors import AeError

if TYPE_CHECKING:  # the package `apache-airflow-providers-openlineage` need not be there
    from airflow.providers.openlineage.extractors import OperatorLineage

    from ae_plugin.schemas import ColumnNote, RunRecord, TrainReport

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trace:
    """What a task did, for its lineage.

    Attributes:
        pipeline: whose task it was.
        version: of the model that it trained or scored with.
        columns: of the source, as that version knows them; empty when they are not known.
        runs: partitions that were scored, quarantined or refused; of a training none.
    """

    pipeline: Pipeline
    version: str
    columns: Sequence[ColumnNote]
    runs: Sequence[RunRecord]


def trace_training(pipeline: Pipeline, report: TrainReport) -> Trace | None:
    """What there is to tell of a training; None when nobody listens."""
    return Trace(pipeline, report.model_version, report.columns, []) if _listening() else None


def trace_runs(pipeline: Pipeline, runs: Sequence[RunRecord]) -> Trace | None:
    """What there is to tell of partitions that were scored or refused; None when nobody listens, or there are none."""
    if not runs or not _listening():
        return None
    from ae_plugin.store.registry import Registry
    from ae_plugin.versions import read_report

    version = runs[0].model_version
    columns: Sequence[ColumnNote] = []
    try:
        columns = read_report(Registry(pipeline.output), version).columns
    except AeError as error:
        log.warning("lineage without columns: %s", error)
    return Trace(pipeline, version, columns, runs)


def _listening() -> bool:
    try:
        from airflow.providers.openlineage import conf

        return not conf.is_disabled()
    except ImportError:
        return False
    except Exception as error:  # noqa: BLE001 - its configuration is wrong: that stops no scoring
        log.warning("no lineage: %s", error)
        return False


class Traced:
    """An operator whose lineage the OpenLineage provider may ask for; `trace` is set as it runs."""

    pipeline: str
    trace: Trace | None = None

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """What will be read."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        from ae_plugin.provider.facets import source_of

        return OperatorLineage(inputs=[source_of(config.load(self.pipeline))])

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:  # noqa: ARG002
        """What was read and written; as far as it came, when the task was skipped or failed."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        from ae_plugin.provider.facets import inputs, outputs

        if self.trace is None:
            return self.get_openlineage_facets_on_start()
        return OperatorLineage(inputs=inputs(self.trace), outputs=outputs(self.trace))
