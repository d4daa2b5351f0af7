"""What the demo found, for people: the model, the partitions, the worst of them, and all that beside the truth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from ae_plugin import config
from ae_plugin.jobs.due import runs
from ae_plugin.jobs.models import report_of
from ae_plugin.jobs.report import report
from ae_plugin.jobs.summary import train_lines
from ae_plugin.schemas import RunRecord
from tools.truth import Found, FoundDefect, compare, compare_pictures, read_dataset

WORST_PICTURES = 6
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def say(text: str) -> None:
    """Print one line."""
    console.print(text, markup=False, soft_wrap=True)


def show(pipeline: config.Pipeline, root: Path) -> None:
    """Print what one pipeline found; a checkout's `sample_data/` holds the truth. Writes its report."""
    output, records = Path(pipeline.output), runs(pipeline)
    shown = _short(output)
    console.rule(f"{pipeline.name}: the model")
    for line in train_lines(report_of(pipeline)):
        say(line)
    console.rule(f"{pipeline.name}: the partitions")
    pictures = pipeline.source.format == "images"
    console.print(_partitions(records, pictures))
    for record in records:
        if record.outcome != "scored":
            why = "; ".join(record.guard.reasons[:2])
            say(f"{record.partition} was set aside, not scored: {why}")
    (_pictures if pictures else _cells)(root / "sample_data", output)
    kinds, outputs = ("pictures and Parquet", "heatmaps") if pictures else ("Parquet", "cells")
    written = [name for name in ("scores", outputs, "denoised", "quarantine") if (output / name).exists()]
    say(f"{kinds}: {', '.join(f'{shown}/{name}' for name in written)}; runs: {shown}/_runs")
    report(pipeline)
    say(f"{'contact sheet' if pictures else 'report'}: {shown}/report.html")


def _partitions(records: list[RunRecord], pictures: bool) -> Table:
    counted = ["anomalies"] if pictures else ["anomalies", "alarm rate", "cells repaired", "nulls filled"]
    rows = "pictures" if pictures else "rows"
    table = _table("partition", [rows, *counted], ["verdict"], ["seconds"])
    for record in records:
        scored = record.outcome == "scored"
        rate = f"{record.observed_alert_rate:.2%}" if record.observed_alert_rate is not None else "-"
        counts = {
            "anomalies": str(record.anomalies),
            "alarm rate": rate,
            "cells repaired": str(record.cells_repaired),
            "nulls filled": str(record.cells_imputed),
        }
        verdict = record.guard.verdict if scored else f"{record.guard.verdict}, {record.outcome}"
        told = [counts[name] if scored else "-" for name in counted]
        table.add_row(record.partition, str(record.rows), *told, verdict, f"{record.seconds:.2f}")
    return table


def _cells(sample: Path, output: Path) -> None:
    """The most surprising cells, and what was found of the planted faults."""
    console.rule("the ten most surprising cells")
    cells = read_dataset(output / "cells")
    worst = cells.sort_values(["p_value", "cell_error", "date", "row"], ascending=[True, False, True, True])
    for _, cell in worst.drop_duplicates(["date", "column"]).head(10).iterrows():
        key = f"{cell['date']} {cell['tailnum'] or '-'} row {cell['row']}"
        change = f"{_shown(cell['observed'])} -> {_shown(cell['expected'])}"
        say(f"{key} · {cell['column']} · {change} · p {cell['p_value']:.5f}")
    console.rule("found of what was planted (sample_data/flights_truth.parquet)")
    names = ["cells planted", "in flagged rows", "named", "repaired within 5%"]
    console.print(_counted(compare(sample / "flights_truth.parquet", output), "fault", names))


def _pictures(sample: Path, output: Path) -> None:
    """The most anomalous pictures with what is really wrong with them, and how many of the defective were flagged."""
    truth = pd.read_csv(sample / "boards_truth.csv")
    kinds = truth.groupby(["date", "file"])["defect"].agg(lambda own: ", ".join(sorted(set(own)))).to_dict()
    scores = read_dataset(output / "scores")
    console.rule("the most anomalous pictures, and what is really there")
    flagged = scores[scores["is_anomaly"].eq(True)].sort_values("anomaly_score", ascending=False)
    for _, one in flagged.head(WORST_PICTURES).iterrows():
        there = kinds.get((one["date"], one["file"]), "no defect")
        say(f"{one['date']} {one['file']} · {there} · p {one['p_value']:.4f}{_repaired(output, one)}")
    console.rule("found of the real defects (sample_data/boards_truth.csv)")
    found = compare_pictures(truth, output)
    names = ["defects", "in flagged pictures", "marked where they are"]
    console.print(_counted(found.defects, "defect", names))
    say(
        f"defective pictures flagged: {found.bad_flagged} of {found.bad}; "
        f"good ones: {found.good_flagged} of {found.good} ({found.good_flagged / max(found.good, 1):.1%})"
    )


def _repaired(output: Path, picture: pd.Series) -> str:
    """Where a picture's repaired file lies, if denoised pictures are files."""
    path = output / f"denoised/date={picture['date']}" / picture["file"]
    return f" · repaired: {_short(path)}" if path.exists() else ""


def _short(path: Path) -> Path:
    """As seen from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _shown(value: object) -> str:
    return value if isinstance(value, str) else "null"


def _counted(found: Sequence[Found | FoundDefect], kind: str, names: list[str]) -> Table:
    """A line for each kind: how many there are, then how many of these were dealt with."""
    table = _table(kind, names)
    for one in found:
        name, there, *counts = astuple(one)
        table.add_row(name, str(there), *(f"{n} ({n / there:.0%})" for n in counts))
    return table


def _table(first: str, right: list[str], left: list[str] | None = None, last: list[str] | None = None) -> Table:
    table = Table(box=None, pad_edge=False)
    for names, justify in (([first], "left"), (right, "right"), (left or [], "left"), (last or [], "right")):
        for name in names:
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
    return table
