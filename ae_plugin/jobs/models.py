"""What versions there are."""

from __future__ import annotations

from ae_plugin.config import Pipeline
from ae_plugin.errors import AeError
from ae_plugin.schemas import ModelEntry, TrainReport
from ae_plugin.store.registry import PointerName, Registry
from ae_plugin.versions import read_report


def models(pipeline: Pipeline) -> list[ModelEntry]:
    """List a pipeline's versions, oldest first, with the pointers that point at them, or with what is wrong."""
    registry = Registry(pipeline.output)
    names: tuple[PointerName, ...] = ("champion", "challenger")
    pointers = {name: registry.pointer(name) for name in names}
    entries = []
    for version in registry.versions():
        here: list[str] = [name for name, pointer in pointers.items() if pointer and pointer.version == version]
        try:
            entries.append(_entry(version, here, read_report(registry, version)))
        except AeError as error:
            entries.append(ModelEntry(version=version, pointers=here, problem=str(error)))
    return entries


def _entry(version: str, pointers: list[str], report: TrainReport) -> ModelEntry:
    return ModelEntry(
        version=version,
        pointers=pointers,
        created_at=report.created_at,
        rows_train=report.rows_train,
        partitions=report.partitions,
        gate_passed=report.gate.passed,
        validation_loss=report.validation_loss,
    )


def report_of(pipeline: Pipeline, version: str | None = None) -> TrainReport:
    """Read a version's training report; the champion's when no version is given."""
    registry = Registry(pipeline.output)
    return read_report(registry, version or registry.champion())
