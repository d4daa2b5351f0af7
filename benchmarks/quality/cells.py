"""Wrong cells in real tables beside the peers: `python -m benchmarks.quality.cells --data FOLDER`.

Every method is given the table with its wrong cells, and nothing else (see `celltables` for the faults). The product
trains on it through its own job. Results are kept in `.bench/cells.csv` as they come, so that a stopped run goes on.
Rewrites its section of `docs/quality.md` with `--write`. The peers need the extra `bench`.
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from sklearn.metrics import roc_auc_score

from ae_plugin.core.cells import fill, hidden_cell_errors, judge_cells
from ae_plugin.core.decode import expected_values
from ae_plugin.core.features import Encoded
from ae_plugin.core.scoring import Scorer
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version
from benchmarks.quality.cellpeers import PEERS, Floats, Opinion
from benchmarks.quality.cellreport import lines_of
from benchmarks.quality.celltables import DEVELOPMENT, KINDS, MIXED, NUMERIC, Bools, Case, load, spoil
from benchmarks.quality.page import ROOT, rewrite
from benchmarks.quality.product import fit, run

FOUND = ROOT / ".bench/cells.csv"
OURS, CLEAN = "ae_plugin", "ae_plugin, trained on other rows without faults"
FIELDS = ["table", "kind", "rate", "method", "seed", "auroc", "f1", "precision", "recall", "rmse", "accuracy", "worse"]
Named = tuple[Bools, pd.DataFrame]
"""Which cells `cells/` names, bool [n, C], and the denoised table."""


def ours(case: Case, history: pd.DataFrame, seed: int) -> tuple[Opinion, Named]:
    """Train and score through the product's jobs at the defaults; judge every cell as it judges those of odd rows."""
    table = pa.Table.from_pandas(case.dirty, preserve_index=False)
    with tempfile.TemporaryDirectory() as folder:
        pipeline, report = fit(pa.Table.from_pandas(history, preserve_index=False), Path(folder), model={"seed": seed})
        outputs = run(pipeline, table, Path(folder) / "run")
        registry = Registry(pipeline.output)
        scorer = load_version(registry, report.model_version, pipeline.score.alert_rate).scorer
    named = np.zeros(case.wrong.shape, bool)
    named[outputs.cells["row"], case.true.columns.get_indexer(pd.Index(outputs.cells["column"]))] = True
    return _opinion(case, scorer, table), (named, outputs.denoised.to_pandas())


def _opinion(case: Case, scorer: Scorer, table: pa.Table) -> Opinion:
    encoded = scorer.encode(table)
    wrong = judge_cells(scorer, encoded, scorer.alert_rate).wrong
    everything = np.ones(wrong.shape, bool)
    errors = hidden_cell_errors(scorer, encoded, wrong, everything) / scorer.reference.typical_errors
    odd, expected = np.zeros(case.wrong.shape), case.dirty.copy()
    for index, name in enumerate(scorer.encoder.names):
        place = case.true.columns.get_loc(name)
        odd[:, place] = errors[:, index]
        expected[name] = _expected(scorer, encoded, wrong, index, table.column(name).combine_chunks())
    for name, broken in scorer.rules.find(table).items():  # named whatever the network says of them, so first
        place = case.true.columns.get_loc(name)
        odd[broken.rows, place] += odd.max()
        told = broken.expected.to_pylist()
        column = list(expected[name])
        for row, word in zip(broken.rows, told, strict=True):
            column[row] = word if word is not None else column[row]
        expected[name] = column
    return Opinion(odd, expected)


def _expected(scorer: Scorer, encoded: Encoded, wrong: Bools, column: int, observed: pa.Array) -> list[Any]:
    """What each cell of a column should be, itself and the wrong cells of its row hidden."""
    gone = wrong.copy()
    gone[:, column] = True
    features = fill(scorer, encoded, gone)[:, scorer.encoder.slices[column]]
    return list(expected_values(scorer.encoder.specs[column], features, observed).to_pylist())


def measure(data: Path, table: str, kind: str, rate: float, method: str, seed: int) -> dict[str, object]:
    """One method on one table with one kind of fault."""
    case = spoil(load(data, table, seed), kind, rate, seed)
    row: dict[str, object] = {"table": table, "kind": kind, "rate": rate, "method": method, "seed": seed}
    if method in (OURS, CLEAN):
        history = case.dirty if method == OURS else load(data, table, seed, rest=True)[list(case.true)]
        opinion, (named, denoised) = ours(case, history, seed)
        hits = int((named & case.wrong).sum())
        if kind != "null":
            row |= {"precision": _share(hits, int(named.sum())), "recall": _share(hits, int(case.wrong.sum()))}
        else:
            opinion = Opinion(None, denoised)
    else:
        opinion = PEERS[method]()(case.dirty, seed)
    if opinion.odd is not None and kind != "null":
        row |= found(opinion.odd, case)
    return row | repaired(opinion.expected, case)


def _share(part: int, whole: int) -> float | str:
    return round(part / whole, 4) if whole else ""


def found(odd: Floats, case: Case) -> dict[str, float]:
    """AUROC, and F1 where as many cells are flagged as there are wrong ones; columns that may be wrong only."""
    columns = case.wrong.any(axis=0)
    odd, wrong = odd[:, columns].ravel(), case.wrong[:, columns].ravel()
    top = np.argsort(-odd, kind="stable")[: wrong.sum()]
    return {"auroc": round(float(roc_auc_score(wrong, odd)), 4), "f1": round(float(wrong[top].mean()), 4)}


def repaired(expected: pd.DataFrame, case: Case) -> dict[str, object]:
    """RMSE of what wrong cells should be by the median's, in standard deviations; share of words that are right.

    `worse` counts columns of 20 wrong cells and more in which the median is better by more than chance (two standard
    errors of the squared errors' difference).
    """
    squares, medians, worse, right, words = [], [], 0, 0, 0
    for index, name in enumerate(case.true.columns):
        rows = np.flatnonzero(case.wrong[:, index])
        truth, told = case.true[name].iloc[rows], expected[name].iloc[rows]
        if not case.numbers[index]:
            right, words = right + int((truth.to_numpy(object) == told.to_numpy(object)).sum()), words + len(rows)
            continue
        known = case.true[name].to_numpy(np.float64)
        middle, spread = np.nanmedian(case.dirty[name].to_numpy(np.float64)), np.nanstd(known)
        told_numbers = told.astype(np.float64).fillna(middle).to_numpy()
        ours_apart = ((told_numbers - truth.to_numpy(np.float64)) / spread) ** 2
        median_apart = ((middle - truth.to_numpy(np.float64)) / spread) ** 2
        squares.append(ours_apart)
        medians.append(median_apart)
        worse += _is_worse(ours_apart - median_apart)
    out: dict[str, object] = {"worse": worse}
    if squares and np.concatenate(medians).sum():
        out["rmse"] = round(float(np.sqrt(np.concatenate(squares).sum() / np.concatenate(medians).sum())), 4)
    return out | ({"accuracy": round(right / words, 4)} if words else {})


def _is_worse(more: npt.NDArray[np.float64]) -> bool:
    return len(more) >= 20 and bool(more.mean() > 2 * more.std() / len(more) ** 0.5)


def turns(args: argparse.Namespace) -> Iterator[tuple[str, str, float, str, int]]:
    """What there is to measure: 5% of cells, and with the first seed 1% and 10% too for the first two and gaps."""
    for seed in range(args.seeds):
        for rate in (0.05, 0.01, 0.1):
            for table in args.tables:
                for kind in args.kinds:
                    few = rate != 0.05 and (seed or kind not in ("extreme", "swap", "null"))
                    if few or (kind == "misspelt" and table not in ("adult", "ai4i2020", "beijing_pm25", "flights")):
                        continue
                    for method in args.methods:
                        if method in ("KNNImputer", "IterativeImputer") and kind != "null":
                            continue
                        if method != CLEAN or (rate == 0.05 and kind != "null"):
                            yield table, kind, rate, method, seed


def _read() -> pd.DataFrame:
    """What is measured so far; pandas would take the kind `null` for nothing."""
    return pd.read_csv(FOUND, keep_default_na=False, na_values=[""])


def collect(args: argparse.Namespace) -> pd.DataFrame:
    """Measure what is not measured yet."""
    FOUND.parent.mkdir(exist_ok=True)
    fresh = not FOUND.exists()
    done = set() if fresh else {tuple(row) for row in _read()[FIELDS[:5]].itertuples(index=False)}
    with FOUND.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
            file.flush()
        for turn in turns(args):
            if turn not in done:
                writer.writerow(measure(args.data, *turn))
                file.flush()
    return _read()


def main() -> None:
    """Measure what is missing, print the tables."""
    every = [OURS, *PEERS, CLEAN]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder that holds adbench/, adult/ and the others"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=every, choices=every)
    parser.add_argument("--tables", nargs="+", default=[*NUMERIC, *MIXED], choices=[*NUMERIC, *MIXED, *DEVELOPMENT])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    found_all = collect(args)
    lines = lines_of(found_all[found_all["table"].isin([*NUMERIC, *MIXED])], OURS, CLEAN)
    print("\n".join(lines))
    if args.write:
        rewrite("cells", "python -m benchmarks.quality.cells --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
