"""Wide and odd tables: each trains and scores through the product, and says what it cannot promise.

The tables are made here, since what is measured is whether the product copes, not how well it does: what follows from
what is known, and fresh rows come from what made the history.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ae_plugin.errors import UserError
from benchmarks.quality.page import rewrite
from benchmarks.quality.plant import plant
from benchmarks.quality.product import fit, run

FRESH = 4_000


@dataclass(frozen=True)
class Case:
    """One odd table: how its rows are made, how many of them are history, and what is special about it."""

    rows: int
    make: Callable[[int, np.random.Generator], pd.DataFrame]
    alert_rate: float = 0.01


@dataclass(frozen=True)
class Outcome:
    """What became of one table.

    Attributes:
        case: its name.
        refused: what training said when it refused the table, else empty.
        train_seconds: of training.
        score_seconds: of scoring the fresh rows.
        peak_mb: of the whole process, TensorFlow included.
        alert_rate: promised.
        alarms: observed on fresh rows.
        planted: wrong cells planted in fresh rows.
        flagged: how many of them are in a row that was flagged.
        named: how many of them were named.
        wrongly: cells named in fresh rows, nothing planted, for each row flagged.
        notes: of the training report.
    """

    case: str
    refused: str = ""
    train_seconds: float = 0
    score_seconds: float = 0
    peak_mb: float = 0
    alert_rate: float = 0
    alarms: float = 0
    planted: int = 0
    flagged: int = 0
    named: int = 0
    wrongly: float = 0
    notes: tuple[str, ...] = ()


def factors(columns: int) -> Callable[[int, np.random.Generator], pd.DataFrame]:
    """Numbers that follow from eight hidden ones, but for noise."""
    weights = np.random.default_rng(7).normal(size=(8, columns))

    def make(rows: int, rng: np.random.Generator) -> pd.DataFrame:
        values = rng.normal(size=(rows, 8)) @ weights / 3 + 0.3 * rng.normal(size=(rows, columns))
        return pd.DataFrame(values, columns=[f"c{i}" for i in range(columns)])

    return make


def _copies(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Nine rows of ten are copies of a row that was there before: the same 800 rows come again and again."""
    known = factors(8)(800, np.random.default_rng(11))
    fresh = factors(8)(rows, rng)
    again = rng.random(rows) < 0.9
    fresh[again] = known.iloc[rng.integers(0, len(known), int(again.sum()))].to_numpy()
    return fresh


def _one(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame({"value": np.where(rng.random(rows) < 0.7, rng.normal(0, 1, rows), rng.normal(8, 0.5, rows))})


def _categories(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    kind = rng.integers(0, 4, rows)
    words = {name: [f"{name}-{word}" for word in ("north", "south", "east", "west")] for name in "abcdef"}
    shifts = [np.where(rng.random(rows) < 0.03, rng.integers(0, 4, rows), kind) for _ in words]
    return pd.DataFrame(
        {name: [own[k] for k in shift] for (name, own), shift in zip(words.items(), shifts, strict=True)}
    )


def _constants(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    fixed = {f"fixed{i}": np.full(rows, i) for i in range(9)}
    return pd.DataFrame({**fixed, "value": rng.gamma(3, 2, rows)})


def _equal(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame({"number": np.ones(rows), "word": ["same"] * rows})


def _names(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame({"name": [f"item-{k:08d}" for k in rng.integers(0, 10**8, rows)]})


CASES = {
    "1,500 columns": Case(4_000, factors(1_500)),
    "80 rows": Case(80, factors(8)),
    "80 rows, alert_rate 0.1": Case(80, factors(8), alert_rate=0.1),
    "500,000 rows": Case(500_000, factors(8)),
    "90% duplicate rows": Case(8_000, _copies),
    "one column": Case(4_000, _one),
    "only categories": Case(4_000, _categories),
    "all columns constant but one": Case(4_000, _constants),
    "all rows equal": Case(4_000, _equal),
    "another word in each row": Case(4_000, _names),
}


def measure(name: str, seed: int) -> Outcome:
    """Train and score one case, in this process."""
    case, rng = CASES[name], np.random.default_rng(seed)
    history, fresh = case.make(case.rows, rng), case.make(FRESH, rng)
    schema = pa.Schema.from_pandas(history, preserve_index=False)
    with tempfile.TemporaryDirectory() as folder:
        work, clock = Path(folder), time.perf_counter()
        sections = {"train": {"contamination": 0}, "score": {"alert_rate": case.alert_rate}}
        try:
            pipeline, report = fit(pa.Table.from_pandas(history, schema), work / "model", **sections)
        except UserError as error:
            return Outcome(name, refused=str(error).replace(f"{folder}/model/", ""), peak_mb=_peak_mb())
        trained = time.perf_counter() - clock
        clock = time.perf_counter()
        plain = run(pipeline, pa.Table.from_pandas(fresh, schema), work / "plain")
        scored = time.perf_counter() - clock
        wrong, truth = plant(fresh, [note.column for note in report.columns if note.role == "learned"], seed)
        hit = run(pipeline, pa.Table.from_pandas(wrong, schema), work / "wrong")
        named = truth.merge(hit.cells[["row", "column"]], on=["row", "column"]) if len(truth) else truth
        flagged = hit.scores["is_anomaly"].to_numpy()[truth["row"]] if len(truth) else np.zeros(0)
        alarms = int(plain.scores["is_anomaly"].sum())
        return Outcome(
            case=name,
            train_seconds=trained,
            score_seconds=scored,
            peak_mb=_peak_mb(),
            alert_rate=case.alert_rate,
            alarms=alarms / FRESH,
            planted=len(truth),
            flagged=int(flagged.sum()),
            named=len(named),
            wrongly=len(plain.cells) / max(alarms, 1),
            notes=tuple(report.notes),
        )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_apart(name: str, seed: int, kept: Path | None) -> Outcome:
    """Train and score one case in a process of its own, so that its peak memory is its own; or take what is kept."""
    path = None if kept is None else kept / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{seed}.json"
    if path is not None and path.exists():
        found = json.loads(path.read_text())
        return Outcome(**{**found, "notes": tuple(found["notes"])})
    words = [sys.executable, "-m", "benchmarks.quality.odd", "--case", name, "--seed", str(seed)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return Outcome(**{**found, "notes": tuple(found["notes"])})


def table(found: list[Outcome]) -> list[str]:
    """The outcomes as a Markdown table, with the notes below it."""
    lines = [
        "| table | train s | score s | peak MB | promised | alarms on fresh rows | planted cells in flagged rows |"
        " named | cells named in a flagged fresh row |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for case in found:
        if case.refused:
            lines.append(f"| {case.case} | refused | | {case.peak_mb:.0f} | | | | | |")
            continue
        shares = [f"{part} of {case.planted}" if case.planted else "none" for part in (case.flagged, case.named)]
        lines.append(
            f"| {case.case} | {case.train_seconds:.0f} | {case.score_seconds:.1f} | {case.peak_mb:.0f} "
            f"| {case.alert_rate:.0%} | {case.alarms:.2%} | {shares[0]} | {shares[1]} | {case.wrongly:.1f} |"
        )
    lines += ["", "What each training said of itself:", ""]
    for case in found:
        said = [f"refused: {case.refused}"] if case.refused else case.notes or ["nothing"]
        lines += [f"- **{case.case}**: " + "; ".join(said) + "."]
    return lines


def main() -> None:
    """Measure every case, or one in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, help="not needed: the tables are made here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", choices=CASES, help="measure this one here, and print it as JSON")
    parser.add_argument("--keep", type=Path, help="folder of what was measured, one file a case: a second run goes on")
    parser.add_argument("--write", action="store_true", help="rewrite the section of docs/quality.md")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(asdict(measure(args.case, args.seed))))
        return
    found = [measure_apart(name, args.seed, args.keep) for name in CASES]
    lines = table(found)
    print("\n".join(lines))
    if args.write:
        rewrite("odd", "python -m benchmarks.quality.odd", lines)


if __name__ == "__main__":
    main()
