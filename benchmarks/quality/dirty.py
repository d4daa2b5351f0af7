"""Dirty tables beside their clean versions: `python -m benchmarks.quality.dirty --data FOLDER`.

Every method sees the dirty table alone, no label, no hint. Of some sets cells are wrong: which does a method find, and
how many of them are right afterwards? Of the others cells are missing: how near to the truth are they filled? Results
are kept in `.bench/dirty.csv` as they come, so that a stopped run goes on. Rewrites its section of `docs/quality.md`
with `--write`.
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from benchmarks.quality import cleaners
from benchmarks.quality.page import ROOT, rewrite
from benchmarks.quality.pairs import ERRORS, SEEN, Pair, names, read, same
from benchmarks.quality.product import Outputs, fit, run

FOUND = ROOT / ".bench/dirty.csv"
FIELDS = ["set", "method", "precision", "recall", "f1", "as_many", "repaired", "rmse", "accuracy", "cells"]
JUDGES: dict[str, Callable[[cleaners.Table], cleaners.Judgement]] = {
    "robust z, rare words": cleaners.frequency,
    "ridge a column": cleaners.ridge,
    "boosted trees a column": cleaners.boosted,
}
IMPUTERS: dict[str, Callable[[], Any]] = {"KNNImputer": cleaners.knn, "IterativeImputer": cleaners.iterative}
OURS, DEFAULTS, CLEAN = "ae_plugin, cells: all", "ae_plugin, defaults", "ae_plugin on the clean table"
PUBLISHED = {"hospital": 0.966, "beers": 0.978}

Bools = npt.NDArray[np.bool_]
Values = dict[str, npt.NDArray[np.object_]]
Row = dict[str, object]


def products(pair: Pair, table: pa.Table) -> tuple[dict[str, Outputs], int]:
    """Train the product on a table and let it clean that table: both settings of `score.cells`; and its cells."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline, _ = fit(table, Path(folder))
        every = pipeline.model_copy(update={"score": pipeline.score.model_copy(update={"cells": "all"})})
        found = {
            DEFAULTS: run(pipeline, table, Path(folder) / "flagged"),
            OURS: run(every, table, Path(folder) / "all"),
        }
    return found, table.num_rows * table.num_columns


def marked(pair: Pair, found: Outputs) -> Bools:
    """Cells that the product calls wrong, bool [n, C], gaps included: it fills them."""
    out = pair.gaps.copy()
    place = {name: index for index, name in enumerate(pair.dirty.schema.names)}
    out[found.cells["row"].to_numpy(int), found.cells["column"].map(place).to_numpy(int)] = True
    return out


def values_of(table: pa.Table) -> Values:
    """A table's columns as arrays."""
    return {name: np.asarray(table.column(name).to_pylist(), object) for name in table.schema.names}


def judged(pair: Pair, method: str, flagged: Bools, values: Values, as_many: float = float("nan")) -> Row:
    """Precision, recall and F1 of what was found, and the share of wrong cells that are right afterwards."""
    hits = flagged & pair.wrong
    columns = pair.dirty.schema.names
    right = sum(
        same(values[columns[c]][r], pair.clean.iloc[r, c])
        for r, c in zip(*np.nonzero(hits), strict=True)
        if columns[c] in values
    )
    return {
        "set": pair.name,
        "method": method,
        "precision": hits.sum() / max(flagged.sum(), 1),
        "recall": hits.sum() / pair.wrong.sum(),
        "f1": f1(pair, flagged),
        "as_many": as_many,
        "repaired": right / pair.wrong.sum(),
        "cells": int(flagged.sum()),
    }


def f1(pair: Pair, flagged: Bools) -> float:
    """F1 of cells."""
    return float(2 * (flagged & pair.wrong).sum() / max(flagged.sum() + pair.wrong.sum(), 1))


def measure_errors(pair: Pair) -> Iterator[Row]:
    """All methods on a set with wrong cells."""
    found, _ = products(pair, pair.dirty)
    for method, outputs in found.items():
        yield judged(pair, method, marked(pair, outputs), values_of(outputs.denoised))
    ours = marked(pair, found[OURS])
    table, columns = cleaners.Table.of(pair.dirty), pair.dirty.schema.names
    for method, judge in JUDGES.items():
        surprise, expected = judge(table)
        nats = np.zeros(pair.wrong.shape)
        for name, own in surprise.items():
            nats[:, columns.index(name)] = own
        nats[pair.gaps] = np.inf
        many = np.zeros(nats.size, bool)
        many[np.argsort(-nats, axis=None, kind="stable")[: ours.sum()]] = True
        yield judged(pair, method, nats > cleaners.SURPRISED, expected, f1(pair, many.reshape(nats.shape)))
    asked = {name: ours[:, index] for index, name in enumerate(columns)}
    yield {**judged(pair, "median, most frequent", ours, cleaners.middle(table)), "f1": float("nan")}
    for method, imputer in IMPUTERS.items():
        yield {**judged(pair, method, ours, cleaners.imputed(table, asked, imputer())), "f1": float("nan")}
    calm, cells = products(pair, pair.tidy)
    nulls = sum(column.null_count for column in pair.tidy.columns)
    for suffix, outputs in (("defaults", calm[DEFAULTS]), ("cells: all", calm[OURS])):
        share = len(outputs.cells) / max(cells - nulls, 1)
        yield {"set": pair.name, "method": f"{CLEAN}, {suffix}", "precision": share, "cells": len(outputs.cells)}


def measure_gaps(pair: Pair) -> Iterator[Row]:
    """All methods on a set with missing cells."""
    table = cleaners.Table.of(pair.dirty)
    middle = cleaners.middle(table)
    filled: dict[str, Callable[[], Values]] = {
        OURS: lambda: values_of(products(pair, pair.dirty)[0][DEFAULTS].denoised),
        "median, most frequent": lambda: middle,
        "ridge a column": lambda: cleaners.ridge(table)[1],
        "boosted trees a column": lambda: cleaners.boosted(table)[1],
    }
    filled |= {name: partial(_by, imputer, table) for name, imputer in IMPUTERS.items()}
    for method, fill in filled.items():
        yield {"set": pair.name, "method": method, **gap_errors(pair, table, fill(), middle)}


def _by(imputer: Callable[[], Any], table: cleaners.Table) -> Values:
    return cleaners.imputed(table, {}, imputer())


def gap_errors(pair: Pair, table: cleaners.Table, values: Values, middle: Values) -> Row:
    """Mean over number columns of the RMSE as a share of the median's; share of other cells that are right."""
    ratios, right = [], []
    for index, name in enumerate(pair.dirty.schema.names):
        rows = np.flatnonzero(pair.wrong[:, index] & pair.gaps[:, index])
        if not len(rows) or name not in table.columns:
            continue
        truth = pair.clean[name].iloc[rows]
        if name in table.words:
            right += [same(value, true) for value, true in zip(values[name][rows], truth, strict=True)]
            continue
        wanted = truth.astype(float).to_numpy()
        given, plain = (part[name][rows].astype(float) for part in (values, middle))
        worst = float(np.sqrt(np.mean((plain - wanted) ** 2)))
        if worst > 0:
            ratios.append(float(np.sqrt(np.mean((given - wanted) ** 2))) / worst)
    return {
        "rmse": float(np.mean(ratios)) if ratios else float("nan"),
        "accuracy": float(np.mean(right)) if right else float("nan"),
        "cells": int(pair.wrong.sum()),
    }


def collect(folder: Path, sets: list[str]) -> pd.DataFrame:
    """Measure the sets that are not measured yet."""
    FOUND.parent.mkdir(exist_ok=True)
    done = set(pd.read_csv(FOUND)["set"]) if FOUND.exists() else set()
    for name in sets:
        if name in done:
            continue
        pair = read(folder, name)
        rows = list((measure_errors if name in ERRORS else measure_gaps)(pair))
        fresh = not FOUND.exists()
        with FOUND.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerows(rows)
    return pd.read_csv(FOUND)


def lines_of(found: pd.DataFrame) -> list[str]:
    """The tables, Markdown."""
    return [*_detection(found), "", *_repair(found), "", *_calm(found), "", *_gaps(found)]


def _detection(found: pd.DataFrame) -> list[str]:
    errors = found[found["set"].isin(ERRORS) & found["f1"].notna()]
    whole = errors.pivot(index="method", columns="set", values="f1")
    sets = [name for name in ERRORS if name in whole]
    unseen = [name for name in sets if name not in SEEN]
    lines = [
        "Wrong cells: F1 (precision / recall). In brackets: F1 with as many cells called wrong as ae_plugin does.",
        "",
        f"| method | {' | '.join(f'{s}*' if s in SEEN else s for s in sets)} | mean | mean of unseen |",
        f"|---|{'---:|' * (len(sets) + 2)}",
    ]
    for method in [OURS, DEFAULTS, *JUDGES]:
        own = errors[errors["method"] == method].set_index("set")
        cells = []
        for name in sets:
            row = own.loc[name]
            many = f" [{row['as_many']:.2f}]" if row["as_many"] == row["as_many"] else ""
            cells.append(f"{row['f1']:.3f} ({row['precision']:.2f} / {row['recall']:.2f}){many}")
        means = f"{whole.loc[method, sets].mean():.3f} | {whole.loc[method, unseen].mean():.3f}"
        lines.append(f"| {method} | {' | '.join(cells)} | {means} |")
    given = [f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else "" for name in sets]
    lines.append(f"| published, 20 labelled rows | {' | '.join(given)} | | |")
    return [*lines, "", "\\* the rules were developed on these."]


def _repair(found: pd.DataFrame) -> list[str]:
    errors = found[found["set"].isin(ERRORS) & found["repaired"].notna()]
    whole = errors.pivot(index="method", columns="set", values="repaired")
    sets = [name for name in ERRORS if name in whole]
    lines = [
        "Of all wrong cells, the share that is right afterwards. The last three fill what ae_plugin called wrong.",
        "",
        f"| method | {' | '.join(sets)} | mean |",
        f"|---|{'---:|' * (len(sets) + 1)}",
    ]
    for method in [OURS, DEFAULTS, *JUDGES, "median, most frequent", *IMPUTERS]:
        row = whole.loc[method, sets]
        lines.append(f"| {method} | {' | '.join(f'{value:.3f}' for value in row)} | {row.mean():.3f} |")
    return lines


def _calm(found: pd.DataFrame) -> list[str]:
    calm = found[found["method"].str.startswith(CLEAN)]
    whole = calm.pivot(index="method", columns="set", values="precision")
    sets = [name for name in ERRORS if name in whole]
    lines = [
        "Trained on the clean table, cells of the clean table that are called wrong, in % of cells that hold a value.",
        "",
        f"| setting | {' | '.join(sets)} |",
        f"|---|{'---:|' * len(sets)}",
    ]
    for method, row in whole[sets].iterrows():
        setting = str(method).removeprefix(f"{CLEAN}, ")
        lines.append(f"| {setting} | {' | '.join(f'{100 * value:.2f}' for value in row)} |")
    return lines


def _gaps(found: pd.DataFrame) -> list[str]:
    gaps = found[~found["set"].isin(ERRORS)]
    if gaps.empty:
        return []
    methods = [m for m in (OURS, "median, most frequent", *JUDGES, *IMPUTERS) if m in set(gaps["method"])]
    lines = [
        "Missing cells: RMSE of numbers as a share of the median's, mean over columns; share of words that are right.",
        "",
        f"| set | {' | '.join(methods).replace(OURS, 'ae_plugin')} |",
        f"|---|{'---:|' * len(methods)}",
    ]
    for name, own in gaps.groupby("set", sort=True):
        rows = own.set_index("method").loc[methods, ["rmse", "accuracy"]].to_numpy()
        lines.append(f"| {name} | {' | '.join(_both(*row) for row in rows)} |")
    # A mean would be that of one set, whose median is nearly always right.
    middle = [gaps[gaps["method"] == method][["rmse", "accuracy"]].median().to_numpy() for method in methods]
    return [*lines, f"| median | {' | '.join(_both(*row) for row in middle)} |"]


def _both(rmse: float, accuracy: float) -> str:
    return "; ".join(f"{value:.2f}{kind}" for value, kind in ((rmse, ""), (accuracy, " right")) if value == value)


def main() -> None:
    """Measure what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds dirty_clean/")
    parser.add_argument("--sets", nargs="+", help="only these")
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    found = collect(args.data, args.sets or names(args.data))
    lines = lines_of(found)
    print("\n".join(lines))
    if args.write:
        rewrite("dirty", "python -m benchmarks.quality.dirty --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
