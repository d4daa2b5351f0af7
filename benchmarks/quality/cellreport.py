"""The tables of the section on cells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.quality.celltables import KINDS, NUMERIC

DRAWS = 2000


def lines_of(found: pd.DataFrame, ours: str, clean: str) -> list[str]:
    """All tables, Markdown."""
    names = [ours, *sorted(set(found["method"]) - {ours, clean})]
    usual = found[found["rate"] == 0.05]
    lines = ["### Wrong cells found, 5% of cells wrong", ""]
    for title, own in (
        ("six numeric tables", usual[usual["table"].isin(NUMERIC)]),
        ("five mixed tables", usual[~usual["table"].isin(NUMERIC)]),
    ):
        kinds = [kind for kind in KINDS if kind != "null" and kind in set(own["kind"])]
        lines += [f"AUROC / F1, {title}:", "", "| | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
        for name in names:
            cells = [_pair(own[(own["method"] == name) & (own["kind"] == kind)]) for kind in kinds]
            if any(cells):
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += [""]
    lines += ["F1 less ours, all tables on which both were run, 95% interval by bootstrap over tables:", ""]
    lines += _apart(usual, names, ours, "f1", [kind for kind in KINDS if kind != "null"])
    lines += ["", "### By the share of wrong cells, F1 (nulls: RMSE by the median's)", "", *_by_rate(found, names)]
    lines += ["", "### Repair and filling", "", *_repair(usual, names), ""]
    lines += ["RMSE of filled nulls less ours, 95% interval:", "", *_apart(usual, names, ours, "rmse", ["null"])]
    return [*lines, "", "### What `cells/` names at the default `alert_rate`", "", *_named(usual, ours, clean)]


def _mean(own: pd.DataFrame, field: str) -> float:
    """Mean over tables of the mean over seeds."""
    return float(own.groupby("table")[field].mean().mean()) if own[field].notna().any() else float("nan")


def _pair(own: pd.DataFrame) -> str:
    return f"{_mean(own, 'auroc'):.3f} / {_mean(own, 'f1'):.3f}" if own["f1"].notna().any() else ""


def _figure(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _apart(found: pd.DataFrame, names: list[str], ours: str, field: str, kinds: list[str]) -> list[str]:
    lines = ["| | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
    rng = np.random.default_rng(0)
    for name in names[1:]:
        cells = []
        for kind in kinds:
            own = found[found["kind"] == kind]
            shared = own[own["method"].isin([ours, name])].pivot_table(
                index=["table", "seed"], columns="method", values=field
            )
            if not {ours, name} <= set(shared):
                cells.append("")
                continue
            apart = (shared[name] - shared[ours]).dropna().groupby("table").mean().to_numpy()
            draws = rng.choice(apart, (DRAWS, len(apart)), replace=True).mean(axis=1)
            low, high = np.quantile(draws, [0.025, 0.975])
            cells.append(f"{low:+.3f} to {high:+.3f}")
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _by_rate(found: pd.DataFrame, names: list[str]) -> list[str]:
    first = found[found["seed"] == 0]
    places = [(kind, rate) for kind in ("extreme", "swap", "null") for rate in (0.01, 0.05, 0.1)]
    lines = ["| | " + " | ".join(f"{kind} {rate:.0%}" for kind, rate in places) + " |", "|---|" + "---:|" * len(places)]
    for name in names:
        own = first[first["method"] == name]
        cells = [
            _figure(_mean(own[(own["kind"] == kind) & (own["rate"] == rate)], "rmse" if kind == "null" else "f1"))
            for kind, rate in places
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _repair(found: pd.DataFrame, names: list[str]) -> list[str]:
    kinds = [kind for kind in KINDS if kind in set(found["kind"])]
    lines = [
        "RMSE of numbers by the median's / share of words right; last, columns whose nulls the median fills better.",
        "",
        "| | " + " | ".join(kinds) + " | columns worse than the median |",
        "|---|" + "---:|" * (len(kinds) + 1),
    ]
    for name in names:
        cells = []
        for kind in kinds:
            own = found[(found["method"] == name) & (found["kind"] == kind)]
            figures = [_figure(_mean(own, field)) for field in ("rmse", "accuracy")]
            cells.append(" / ".join(part for part in figures if part))
        worse = found[(found["method"] == name) & (found["kind"] == "null")]["worse"]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {int(worse.sum())} |")
    return lines


def _named(found: pd.DataFrame, ours: str, clean: str) -> list[str]:
    lines = ["| trained on | fault | precision | recall | AUROC | F1 |", "|---|---|---:|---:|---:|---:|"]
    for name, title in ((ours, "the same rows"), (clean, "other rows, without faults")):
        for kind in KINDS:
            part = found[(found["method"] == name) & (found["kind"] == kind) & found["recall"].notna()]
            if len(part):
                figures = [_figure(_mean(part, field)) for field in ("precision", "recall", "auroc", "f1")]
                lines.append(f"| {title} | {kind} | " + " | ".join(figures) + " |")
    return lines
