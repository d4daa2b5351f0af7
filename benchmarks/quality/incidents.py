"""History with incidents: `python -m benchmarks.quality.incidents --data ../shared/data [--write]`.

A fifth of the partitions of history carry one fault, always in the same column. Three models: trained on history
without the fault, on history with it, and on that without the step that leaves partitions out. Then newer partitions
are scored, as they are and with the same fault. Also: what share of good partitions is left out of real histories, and
what feedback does to rows that it is about.

Results are kept in `.bench/incidents.csv` as they come, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import csv
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from ae_plugin.jobs.feedback import Said, feedback
from ae_plugin.jobs.history import learn_history
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import load_champion, score
from ae_plugin.jobs.train import train
from benchmarks.quality.page import ROOT, rewrite

FOUND, WORK = ROOT / ".bench/incidents.csv", ROOT / ".bench/incidents"
FIELDS = ["source", "fault", "model", "found", "wrongly", "good_rows", "bad_rows", "good_refused", "bad_seen"]
MODELS = ("clean", "incidents", "without the step")
STEPS, SHARE, NEWER = 400, 0.2, 12
Frames = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Case:
    """A source by partition, oldest first, the column that goes wrong, and its other unit."""

    history: Frames
    newer: Frames
    column: str
    unit: Callable[[pd.Series], pd.Series]


def cases(data: Path) -> dict[str, Case]:
    """Beijing by month (newer: the next year) and New York's weather by day (newer: days in between)."""
    air = pd.read_parquet(data / "beijing_pm25/beijing_pm25.parquet").drop(columns=["label"], errors="ignore")
    months = _parts(air, "month_of=" + air["timestamp"].dt.strftime("%Y-%m"))
    days = weather(data)
    between = {name: days[name] for name in list(days)[15::30]}
    return {
        "beijing": Case(
            {name: frame for name, frame in months.items() if name < "month_of=2014"},
            {name: frame for name, frame in months.items() if name >= "month_of=2014"},
            "TEMP",
            lambda celsius: 1.8 * celsius + 32,
        ),
        "weather": Case(
            {name: frame for name, frame in days.items() if name not in between},
            between,
            "temp",
            lambda fahrenheit: (fahrenheit - 32) / 1.8,
        ),
    }


def weather(data: Path) -> Frames:
    """Hourly weather of New York's three airports, by day."""
    return _by_day(pd.read_parquet(data / "nycflights13/weather.parquet"))


def _by_day(frame: pd.DataFrame) -> Frames:
    names = "date=" + pd.to_datetime(frame[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    return _parts(frame.drop(columns=["year", "month", "day", "time_hour"]), names)


def _parts(frame: pd.DataFrame, names: pd.Series) -> Frames:
    return {str(name): own.reset_index(drop=True) for name, own in frame.groupby(names)}


def spoil(frame: pd.DataFrame, case: Case, fault: str, seed: int) -> pd.DataFrame:
    """The frame with one fault in all of its column."""
    rng, column = np.random.default_rng(seed), frame[case.column].astype(float)
    wrong: dict[str, Callable[[], pd.Series]] = {
        "other unit": lambda: case.unit(column),
        "sentinel": lambda: column * 0 - 999.0,
        "shuffled": lambda: pd.Series(rng.permutation(column.to_numpy()), frame.index),
        "half nulls": lambda: column.mask(rng.random(len(frame)) < 0.5),
    }
    return frame.assign(**{case.column: wrong[fault]()})


FAULTS = ("other unit", "sentinel", "shuffled", "half nulls")


def write(frames: Frames, source: Path) -> None:
    """Write partitions, every column in one type."""
    schema = pa.Schema.from_pandas(pd.concat(frames.values()), preserve_index=False).remove_metadata()
    for name, frame in frames.items():
        (source / name).mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        pq.write_table(table, source / name / "part-0.parquet")


def pipeline_of(work: Path, key: str, **train_keys: object) -> Pipeline:
    """The product at its defaults, on the partitions in `work`."""
    return Pipeline.model_validate(
        {
            "name": "bench",
            "source": {"uri": str(work / "source"), "partition_by": key},
            "train": train_keys,
            "score": {"on_unfamiliar": "score"},
            "output": str(work / "out"),
        }
    )


def measure(case: Case, source: str, fault: str, model: str) -> dict[str, object]:
    """Train one model, score newer partitions as they are and with the fault."""
    shutil.rmtree(WORK, ignore_errors=True)
    history = dict(case.history)
    bad = sorted(np.random.default_rng(0).choice(list(history), round(SHARE * len(history)), replace=False))
    if model != "clean":
        history |= {name: spoil(history[name], case, fault, index) for index, name in enumerate(bad)}
    write(history, WORK / "source")
    pipeline = pipeline_of(WORK, next(iter(history)).split("=")[0], steps=STEPS)
    if model == "without the step":
        with patch("ae_plugin.jobs.history.find_incidents", return_value=[]):
            report = train(pipeline)
    else:
        report = train(pipeline)
    promote(pipeline, report.model_version, force=True)
    known = set() if model == "clean" else set(map(str, bad))
    names = list(case.newer)[:NEWER]
    good = [judge(pipeline, name, case.newer[name]) for name in names]
    wrong = [judge(pipeline, name, spoil(case.newer[name], case, fault, 99)) for name in names]
    left = set(report.incidents)
    return {
        "source": source,
        "fault": fault,
        "model": model,
        "found": len(left & known) / len(known) if known else "",
        "wrongly": len(left - known) / (len(history) - len(known)),
        "good_rows": np.mean([rate for rate, _ in good]),
        "bad_rows": np.mean([rate for rate, _ in wrong]),
        "good_refused": np.mean([verdict == "unfamiliar" for _, verdict in good]),
        "bad_seen": np.mean([verdict != "familiar" for _, verdict in wrong]),
    }


def judge(pipeline: Pipeline, partition: str, frame: pd.DataFrame) -> tuple[float, str]:
    """Share of rows flagged, and the guard's verdict, of one new partition."""
    write({partition: frame}, WORK / "new")
    record = score(pipeline, partition, source=str(WORK / "new" / partition), output=str(WORK / "found"))
    return record.observed_alert_rate or 0.0, record.guard.verdict


def collect(data: Path) -> pd.DataFrame:
    """Measure what is not measured yet; a model on clean history is one for all faults, but measured with each."""
    FOUND.parent.mkdir(exist_ok=True)
    fresh = not FOUND.exists()
    done = set() if fresh else {tuple(row) for row in pd.read_csv(FOUND)[FIELDS[:3]].itertuples(index=False)}
    with FOUND.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        for source, case in cases(data).items():
            for fault in FAULTS:
                for model in MODELS:
                    if (source, fault, model) not in done:
                        writer.writerow(measure(case, source, fault, model))
                        file.flush()
    return pd.read_csv(FOUND)


def incident_lines(found: pd.DataFrame) -> list[str]:
    """The table of faults, Markdown."""
    lines = [
        "| source | fault | history | bad partitions left out | good ones left out "
        "| rows flagged in new good partitions "
        "| in new partitions with the fault | good partitions unfamiliar | bad ones not familiar |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found.itertuples(index=False):
        left = "" if row.model == "clean" else f"{row.found:.0%}"
        lines.append(
            f"| {row.source} | {row.fault} | {row.model} | {left} | {row.wrongly:.1%} | {row.good_rows:.2%} "
            f"| {row.bad_rows:.1%} | {row.good_refused:.0%} | {row.bad_seen:.0%} |"
        )
    return lines


def clean_lines(data: Path) -> list[str]:
    """Which good partitions of real histories are left out."""
    air = pd.read_parquet(data / "beijing_pm25/beijing_pm25.parquet").drop(columns=["label"], errors="ignore")
    flights = pd.read_parquet(data / "nycflights13/flights.parquet")
    histories = {
        "beijing, by month": _parts(air, "month_of=" + air["timestamp"].dt.strftime("%Y-%m")),
        "beijing, by day": _parts(air, "date=" + air["timestamp"].dt.strftime("%Y-%m-%d")),
        "weather, by day": weather(data),
        "flights, by day": _by_day(flights),
    }
    lines = ["| history | partitions | left out | which |", "|---|---:|---:|---|"]
    for name, frames in histories.items():
        shutil.rmtree(WORK, ignore_errors=True)
        write(frames, WORK / "source")
        left = learn_history(pipeline_of(WORK, next(iter(frames)).split("=")[0], max_rows=40_000)).incidents
        told = "; ".join(f"{partition} ({reason})" for partition, reason in list(left.items())[:6])
        lines.append(f"| {name} | {len(frames)} | {len(left)} ({len(left) / len(frames):.1%}) | {told} |")
    return lines


def feedback_lines(data: Path, seeds: int) -> list[str]:
    """Rows of history that were flagged, some of them marked as false alarms: are they flagged after training anew?"""
    flights = pd.read_parquet(data / "nycflights13/flights.parquet").drop(columns=["year", "time_hour"])
    lines = [
        "| marked as false alarms | flagged again | other rows flagged before, flagged again "
        "| rows of fresh partitions flagged before | after |",
        "|---|---:|---:|---:|---:|",
    ]
    for marked in (10, 1000):
        rows = np.array([_feedback(flights, marked, seed) for seed in range(seeds)])
        again, others, before, after = np.nanmean(rows[:, 1:], axis=0) if marked == 10 else rows[:, 1:].mean(axis=0)
        rest = "" if np.isnan(others) else f"{others:.0%}"
        name = "10" if marked == 10 else f"all, {rows[:, 0].mean():.0f}"
        lines.append(f"| {name} | {again:.0%} | {rest} | {before:.2%} | {after:.2%} |")
    return lines


def _feedback(flights: pd.DataFrame, marked: int, seed: int) -> tuple[float, float, float, float, float]:
    shutil.rmtree(WORK, ignore_errors=True)
    rows = flights.sample(12_000, random_state=seed).reset_index(drop=True)
    frames = {f"part={index:02d}": rows[index * 600 : (index + 1) * 600] for index in range(20)}
    write(frames, WORK / "source")
    pipeline, old, new = pipeline_of(WORK, "part", until="09", steps=STEPS), list(frames)[:10], list(frames)[10:]

    def flagged() -> dict[str, np.ndarray]:
        report = train(pipeline)
        promote(pipeline, report.model_version, force=True)
        scorer = load_champion(pipeline).scorer
        tables = {name: pq.ParquetFile(WORK / "source" / name / "part-0.parquet").read() for name in frames}
        return {name: scorer.score(scorer.encode(table))[0].is_anomaly for name, table in tables.items()}

    before = flagged()
    found = [(name, int(row)) for name in old for row in np.flatnonzero(before[name])]
    order = np.random.default_rng(seed).permutation(len(found))
    chosen, rest = [found[i] for i in order[:marked]], [found[i] for i in order[marked:]]
    feedback(pipeline, [Said("false_alarm", name, row) for name, row in chosen])
    after = flagged()

    def share(marks: list[tuple[str, int]]) -> float:
        return float(np.mean([after[name][row] for name, row in marks])) if marks else np.nan

    rates = [float(np.mean([one[name].mean() for name in new])) for one in (before, after)]
    return len(chosen), share(chosen), share(rest), rates[0], rates[1]


def main() -> None:
    """Measure what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that beijing_pm25/ and nycflights13/ lie in"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of the feedback table")
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    lines = ["### Faults in a fifth of history", "", *incident_lines(collect(args.data)), ""]
    lines += ["### Good partitions left out", "", *clean_lines(args.data), ""]
    lines += ["### Feedback", "", *feedback_lines(args.data, args.seeds)]
    shutil.rmtree(WORK, ignore_errors=True)
    print("\n".join(lines))
    if args.write:
        rewrite("incidents", "python -m benchmarks.quality.incidents --data ../shared/data --write", lines)


if __name__ == "__main__":
    main()
