"""What the jobs of few labels did, for people."""

from __future__ import annotations

from ae_plugin.jobs.summary import many
from ae_plugin.latent_schemas import ClassifyRecord, LabelFitRecord


def label_fit_lines(record: LabelFitRecord) -> list[str]:
    """What a head was made of."""
    labels = sum(record.classes.values())
    told = ", ".join(f"{name} {rows}" for name, rows in record.classes.items())
    lost = f"; {many(record.lost, 'row')} not readable or gone" if record.lost else ""
    right = "" if record.held_out is None else f"; {record.held_out:.0%} right when each is judged by the others"
    return [
        f"{record.pipeline}: {many(labels, 'label')} ({told}){lost}{right}; {record.model_version}, "
        f"{record.seconds:.2f} s",
        "next: ae classify. The labels are kept: a new champion gets a head of its own from them",
    ]


def classify_line(record: ClassifyRecord) -> str:
    """What was classified."""
    told = ", ".join(f"{name} {rows}" for name, rows in record.classes.items())
    lost = f", {many(record.unreadable_rows, 'picture')} not readable" if record.unreadable_rows else ""
    where = record.partition or "the source"
    rows = many(record.rows, "row")
    return (
        f"{where}: {rows}, {told}, don't know {record.unknown_rows}{lost}, {record.model_version}, "
        f"{record.seconds:.2f} s"
    )
