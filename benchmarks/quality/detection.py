"""Detection on 22 tables of ADBench beside the peers: `python -m benchmarks.quality.detection --data FOLDER`.

Every detector sees the same splits, by the protocol of DTE (see `protocol`); one configuration for all tables, no
labels but in the metric. Results are kept in `.bench/detection.csv` as they come, so that a stopped run goes on.
Rewrites its section of `docs/quality.md` with `--write`. The peers need the extra `bench`.
"""

from __future__ import annotations

import argparse
import csv
import logging
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.quality.detectors import DETECTORS
from benchmarks.quality.page import ROOT, rewrite
from benchmarks.quality.protocol import Setting, split, tables

FOUND = ROOT / ".bench/detection.csv"
SETTINGS: tuple[Setting, ...] = ("semi", "unsup")
FIELDS = ["setting", "table", "detector", "seed", "auroc", "ap", "f1", "bootstrapped"]
DRAWS = 2000


def measure(folder: Path, setting: Setting, table: str, detector: str, seed: int) -> dict[str, object]:
    """One detector on one table: AUROC, average precision, and F1 at as many alarms as there are anomalies, in %."""
    part = split(tables(folder)[table], setting, seed)
    score = DETECTORS[detector](part, setting, seed)
    flagged = np.zeros(len(score), bool)
    flagged[np.argsort(-score, kind="stable")[: part.label.sum()]] = True
    return {
        "setting": setting,
        "table": table,
        "detector": detector,
        "seed": seed,
        "auroc": round(100 * float(roc_auc_score(part.label, score)), 3),
        "ap": round(100 * float(average_precision_score(part.label, score)), 3),
        "f1": round(100 * float((flagged & (part.label == 1)).sum() / part.label.sum()), 3),
        "bootstrapped": int(part.bootstrapped),
    }


def collect(folder: Path, detectors: list[str], seeds: int) -> pd.DataFrame:
    """Measure what is not measured yet."""
    FOUND.parent.mkdir(exist_ok=True)
    fresh = not FOUND.exists()
    done = set() if fresh else {tuple(row) for row in pd.read_csv(FOUND)[FIELDS[:4]].itertuples(index=False)}
    with FOUND.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        turns = [
            (setting, table, detector, seed)
            for seed in range(seeds)
            for detector in detectors
            for setting in SETTINGS
            for table in tables(folder)
        ]
        for turn in turns:
            if turn not in done:
                writer.writerow(measure(folder, *turn))
                file.flush()
    return pd.read_csv(FOUND)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Bootstrap over tables: 95% interval of a mean."""
    rng = np.random.default_rng(0)
    draws = rng.choice(values, (DRAWS, len(values)), replace=True).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def published(data: Path, setting: str) -> pd.DataFrame:
    """Published AUROC in percent: a row a table, a column a method (the README of DTE, ICLR 2024)."""
    found = pd.read_csv(data / f"published/dte_auroc_{setting}.csv")
    found.index = pd.Index(found.pop("Dataset").str.lower())
    return found


def reproduced(found: pd.DataFrame, figures: pd.DataFrame) -> str:
    """How far the kNN that ran here is from the published one, where the protocol leaves nothing to chance."""
    exact = found[(found["detector"] == "kNN k=5") & (found["setting"] == "semi") & (found["bootstrapped"] == 0)]
    ours = exact.groupby("table")["auroc"].mean()
    if ours.empty:
        return "kNN was not run."
    apart = (ours - figures["KNN"].loc[ours.index]).abs()
    return (
        f"kNN (k=5) here against the published one, trained on normal rows, the {len(ours)} tables that are not "
        f"bootstrapped: {apart.mean():.2f} apart on average, at most {apart.max():.2f} ({apart.idxmax()})."
    )


def table_of(found: pd.DataFrame, setting: str, figures: pd.DataFrame) -> list[str]:
    """One setting's table, Markdown: mean over tables of each detector's mean over seeds, ours first."""
    everything = found[found["setting"] == setting]
    counts = everything.groupby("detector")["table"].nunique()
    partly = list(counts[counts < counts.max()].index)
    own = everything[~everything["detector"].isin(partly)]
    by = own.groupby(["detector", "table"])[["auroc", "ap", "f1"]].mean()
    whole = own[own["bootstrapped"] == 0]["table"].unique()
    ranks = by["auroc"].unstack("table").rank(ascending=False).mean(axis=1)
    lines = [
        "| detector | seeds | AUROC | without bootstrapped tables | AP | F1 | mean rank | less ours, 95% interval |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    first = by.loc["ae_plugin"]
    for name in ["ae_plugin", *sorted(set(own["detector"]) - {"ae_plugin"}, key=lambda n: -by.loc[n]["auroc"].mean())]:
        rows = by.loc[name]
        low, high = interval(_paired(own, name).to_numpy())
        part = rows.loc[rows.index.intersection(whole)]["auroc"].mean()
        seeds = own[own["detector"] == name]["seed"].nunique()
        apart = "" if name == "ae_plugin" else f"{low:+.1f} to {high:+.1f}"
        lines.append(
            f"| {name} | {seeds} | {rows['auroc'].mean():.2f} | {part:.2f} | {rows['ap'].mean():.2f} | "
            f"{rows['f1'].mean():.2f} | {ranks[name]:.1f} | {apart} |"
        )
    means = figures.loc[first.index].mean().sort_values(ascending=False)
    best = ", ".join(f"{name} {mean:.2f}" for name, mean in means.head(3).items())
    low, high = interval(first["auroc"].to_numpy())
    return [
        *lines,
        "",
        *_partly(everything, partly),
        f"ae_plugin's mean AUROC: {first['auroc'].mean():.2f}, {low:.1f} to {high:.1f} by bootstrap over tables. "
        f"Published over these tables, best of {len(means)}: {best}.",
    ]


def _partly(found: pd.DataFrame, names: list[str]) -> list[str]:
    """What is known of detectors that did not run on all tables, beside ours on the tables that they ran on."""
    if not names:
        return []
    lines = [
        "| not run on all tables | tables | seeds | AUROC | ours there | less ours, 95% interval |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in sorted(names):
        rows = found[found["detector"] == name]
        apart = _paired(found, name)
        ours = found[
            (found["detector"] == "ae_plugin") & found["table"].isin(apart.index) & found["seed"].isin(rows["seed"])
        ]
        theirs, us = (part.groupby("table")["auroc"].mean().mean() for part in (rows, ours))
        low, high = interval(apart.to_numpy())
        seeds = rows["seed"].nunique()
        lines.append(f"| {name} | {len(apart)} | {seeds} | {theirs:.2f} | {us:.2f} | {low:+.1f} to {high:+.1f} |")
    return [*lines, ""]


def _paired(own: pd.DataFrame, name: str) -> pd.Series:
    """A detector's AUROC less ours, by table: on the seeds that both ran, since a seed is a split."""
    by = own.set_index(["table", "seed"])
    theirs, ours = (by[by["detector"] == one]["auroc"] for one in (name, "ae_plugin"))
    return (theirs - ours).dropna().groupby("table").mean()


def main() -> None:
    """Measure what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that adbench/ and published/ lie in")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    found = collect(args.data / "adbench", args.detectors, args.seeds)
    lines = []
    for setting, title in (("semi", "Trained on normal rows"), ("unsup", "Trained on everything")):
        lines += [f"### {title}", "", *table_of(found, setting, published(args.data, setting)), ""]
    lines.append(reproduced(found, published(args.data, "semi")))
    print("\n".join(lines))
    if args.write:
        rewrite("detection", "python -m benchmarks.quality.detection --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
