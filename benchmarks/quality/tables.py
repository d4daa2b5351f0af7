"""Three real tables with nothing but `ae init` and the defaults: `python -m benchmarks.quality.tables --data FOLDER`.

Each table's history is trained on; newer rows are scored as they are, and once more with wrong cells planted in 2% of
their rows. Everything goes through the command line. Writes `docs/benchmarks/tables.md` with `--write`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.quality.plant import Found, compare, plant, write_like

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/benchmarks/tables.md"


@dataclass(frozen=True)
class Case:
    """A table as it would be kept: history and newer rows, one folder each."""

    name: str
    key: str
    history: dict[str, pd.DataFrame]
    newer: dict[str, pd.DataFrame]
    schema: pa.Schema
    label: str | None
    fault_columns: list[str]


def adult(data: Path) -> Case:
    """UCI adult: the train file is history, the test file is newer."""
    train = pq.read_table(data / "adult/train.parquet")
    frames = [pq.read_table(data / f"adult/{part}.parquet").to_pandas() for part in ("train", "test")]
    columns = [name for name in train.column_names if name != "label"]
    return Case("adult", "part", {"1": frames[0]}, {"2": frames[1]}, train.schema, None, columns)


def beijing(data: Path) -> Case:
    """Hourly air of Beijing, one folder a month: 2010 to 2013 are history."""
    table = pq.read_table(data / "beijing_pm25/beijing_pm25.parquet")
    frame = table.to_pandas()
    months = frame["timestamp"].dt.strftime("%Y-%m")
    split = {month: frame[months == month] for month in sorted(set(months))}
    columns = ["pm2_5", "DEWP", "TEMP", "PRES", "cbwd", "Iws", "hour"]
    old = {month: part for month, part in split.items() if month < "2014"}
    new = {month: part for month, part in split.items() if month >= "2014"}
    return Case("beijing", "month_of", old, new, table.schema, None, columns)


def machines(data: Path, *, shuffled: bool = True) -> Case:
    """AI4I 2020: 7,000 parts are history; the columns that spell out the label are left out of the table."""
    table = pq.read_table(data / "ai4i2020/ai4i2020.parquet")
    table = table.drop_columns(["machine_failure", "twf", "hdf", "pwf", "osf", "rnf"])
    frame = table.to_pandas()
    if shuffled:
        frame = frame.sample(frac=1, random_state=0)
    columns = ["type", "air_temperature", "process_temperature", "rotational_speed", "torque", "tool_wear"]
    name = "ai4i2020" if shuffled else "ai4i2020_in_time_order"
    return Case(name, "lot", {"1": frame[:7000]}, {"2": frame[7000:]}, table.schema, "label", columns)


def machines_in_time_order(data: Path) -> Case:
    """The same, where the newer 3,000 parts were made in other air than the first 7,000."""
    return machines(data, shuffled=False)


def ae(work: Path, *words: str, allowed: tuple[int, ...] = (0,)) -> Any:
    """Run `ae WORDS --json` in `work`."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "AE_ROOT")}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ae"), "-q", *words, "--json"],
        cwd=work,
        env=env | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if done.returncode not in allowed:
        raise SystemExit(f"ae {' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def run(case: Case, work: Path) -> list[str]:
    """Init, train, score; returns the case's lines, Markdown."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    source = work / case.name
    for part, frame in case.history.items():
        write_like(frame, case.schema, source / f"{case.key}={part}" / "part-0.parquet")
    ae(work, "init", case.name)
    pipeline = f"{case.name}.yaml"
    report = ae(work, "train", pipeline)
    for part, frame in case.newer.items():
        write_like(frame, case.schema, source / f"{case.key}={part}" / "part-0.parquet")
    clean = ae(work, "score", pipeline, allowed=(0, 3))["runs"]
    labels = ae(work, "evaluate", pipeline, "--label", case.label) if case.label else None
    output = work / "out" / case.name
    lines = [f"## {case.name}", "", *_story(report, clean, labels), "", *_columns(output), ""]
    found = _faults(case, work, pipeline, source, output)
    lines += ["| planted fault | cells | in flagged rows | named | repaired within 10% |", "|---|---:|---:|---:|---:|"]
    for kind in found:
        shares = " | ".join(f"{n} ({n / kind.planted:.0%})" for n in (kind.flagged, kind.named, kind.repaired))
        lines.append(f"| {kind.kind} | {kind.planted} | {shares} |")
    return [*lines, ""]


def _faults(case: Case, work: Path, pipeline: str, source: Path, output: Path) -> list[Found]:
    """Score the newer rows again, with wrong cells in them."""
    wrong, truth = plant(pd.concat(case.newer.values(), ignore_index=True), case.fault_columns)
    start, found = 0, []
    for part, rows in case.newer.items():
        where = f"{case.key}={part}"
        write_like(wrong.iloc[start : start + len(rows)], case.schema, source / where / "part-0.parquet")
        ae(work, "score", pipeline, "--partition", part, allowed=(0, 3))
        own = truth[truth["row"].between(start, start + len(rows) - 1)]
        if (output / "scores" / where).exists():
            found.append(compare(own.assign(row=own["row"] - start), output, where))
        start += len(rows)
    return _added(found)


def _added(parts: list[list[Found]]) -> list[Found]:
    sums: dict[str, list[int]] = {}
    for part in parts:
        for one in part:
            own = sums.setdefault(one.kind, [0, 0, 0, 0])
            for place, count in enumerate((one.planted, one.flagged, one.named, one.repaired)):
                own[place] += count
    order = ["unit", "sentinel", "misspelt", "other row", "null", "all"]
    return [Found(kind, *sums[kind]) for kind in order if kind in sums]


def _story(report: dict[str, Any], runs: list[dict[str, Any]], labels: dict[str, Any] | None) -> list[str]:
    gate = {result["scorer"]: result["mean"] for result in report["gate"]["results"]}
    rows = sum(run["rows"] for run in runs)
    alarms = sum(run["anomalies"] for run in runs)
    refused = [run["partition"] for run in runs if run["outcome"] != "scored"]
    verdicts = sorted({run["guard"]["verdict"] for run in runs})
    lines = [
        f"- trained on {report['rows_train']} of {report['rows_total']} rows, {report['steps']} steps, "
        f"{report['seconds']:.0f} s; gate AUROC {gate['challenger']:.3f}, PCA {gate['pca']:.3f}, "
        f"untrained {gate['untrained']:.3f}",
        f"- newer rows as they are: {rows} in {len(runs)} partition{'s' if len(runs) > 1 else ''}, "
        f"{alarms} flagged ({alarms / max(rows, 1):.2%}; promised 1% of normal rows); verdicts: {', '.join(verdicts)}",
    ]
    if refused:
        lines.append(f"- refused: {', '.join(refused)}")
    if labels:
        lines.append(
            f"- against its label, which the model never saw: AUROC {labels['auroc']:.3f}, average precision "
            f"{labels['average_precision']:.3f}, false alarms on rows labelled normal {labels['false_alarm_rate']:.2%}"
        )
    return lines


def _columns(output: Path) -> list[str]:
    parts = [pq.ParquetFile(path).read().to_pandas() for path in sorted((output / "cells").glob("*/part-0.parquet"))]
    cells = pd.concat(parts) if parts else pd.DataFrame()
    if cells.empty:
        return ["- no cell was called wrong"]
    worst = cells.sort_values(["p_value", "cell_error"], ascending=[True, False]).drop_duplicates("column").head(4)
    shown = [f"`{_value(c.column)}` {_value(c.observed)} -> {_value(c.expected)}" for c in worst.itertuples()]
    return [f"- {len(cells)} cells called wrong in them; among the most surprising: {'; '.join(shown)}"]


def _value(value: object) -> str:
    return str(value) if isinstance(value, str) else "null"


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with adult/, beijing_pm25/ and ai4i2020/")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    lines = []
    for make in (adult, beijing, machines, machines_in_time_order):
        case = make(args.data)
        found = run(case, ROOT / ".bench/tables" / case.name)
        print("\n".join(found), flush=True)
        lines += found
    if args.write:
        doc = (__doc__ or "").replace("`python -m benchmarks.quality.tables --data FOLDER`", "").split("\n\n", 1)[1]
        head = [
            "# Three real tables, `ae init` and the defaults",
            "",
            f"`python -m benchmarks.quality.tables --data FOLDER --write`, {date.today()}.",
            doc.split("Writes")[0].strip(),
            "",
        ]
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text("\n".join([*head, *lines]), encoding="utf-8")


if __name__ == "__main__":
    main()
