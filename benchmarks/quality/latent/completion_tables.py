"""Completion of tables: hidden cells of fresh rows, by `ae complete` and by peers; and whether intervals cover.

History is 6,000 rows, 1,500 others are fresh. Of those a tenth, then half, of all cells is hidden at random. The
product trains at its defaults and completes through its own job. Peers are fitted on the same history, and told words
as indicators of the 20 most frequent; they have no intervals. Versions and results are kept in `.bench/completion`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.jobs.latent.complete import complete
from benchmarks.quality.cellpeers import RARE, encode, robust, unbent
from benchmarks.quality.page import ROOT
from benchmarks.quality.product import fit, pipeline_of

KEPT = ROOT / ".bench/completion"
HISTORY, FRESH = 6_000, 1_500
NEAREST = 20
"""Features that IterativeImputer regresses each on: with all of them it takes a quarter of an hour a table."""
SHARES, COVERAGES = (0.1, 0.5), (0.5, 0.8, 0.9, 0.95)
OURS = "ae complete"
TABLES = {
    "adult": ("adult/train", "adult/test"),
    "ai4i2020": ("ai4i2020/ai4i2020", None),
    "beijing_pm25": ("beijing_pm25/beijing_pm25", None),
    "nycflights13": ("nycflights13/flights", None),
    "weather": ("nycflights13/weather", None),
}
DEVELOPMENT = ("weather",)
"""What the intervals were developed on; no figure is reported of it."""
_LEFT_OUT = {
    "adult": ["label"],
    "ai4i2020": ["udi", "product_id", "label"],
    "beijing_pm25": ["No", "year", "timestamp"],
    "nycflights13": ["year", "flight", "tailnum", "time_hour", "minute"],
    "weather": ["year", "time_hour", "wind_gust"],
}
Frame = pd.DataFrame
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """Fresh rows as they are, and which of their cells are hidden, bool [n, C]: those that hold something."""

    history: Frame
    fresh: Frame
    hidden: Bools

    @property
    def numbers(self) -> Bools:
        """Which columns hold numbers, bool [C]."""
        return np.array([pd.api.types.is_numeric_dtype(kind) for kind in self.fresh.dtypes])


def load(data: Path, name: str) -> tuple[Frame, Frame]:
    """A table's history and fresh rows."""
    past, new = TABLES[name]
    frame = pd.read_parquet(data / f"{past}.parquet").drop(columns=_LEFT_OUT[name]).sample(frac=1, random_state=0)
    history, rest = frame.iloc[:HISTORY], frame.iloc[HISTORY:]
    if new is not None:
        rest = pd.read_parquet(data / f"{new}.parquet").drop(columns=_LEFT_OUT[name]).sample(frac=1, random_state=0)
    return history.reset_index(drop=True), rest.iloc[:FRESH].reset_index(drop=True)


def hide(history: Frame, fresh: Frame, share: float) -> Case:
    """Hide a share of all cells at random."""
    chosen = np.random.default_rng([5, round(100 * share)]).random(fresh.shape) < share
    return Case(history, fresh, chosen & fresh.notna().to_numpy())


def gaps(case: Case, schema: pa.Schema) -> pa.Table:
    """Fresh rows with hidden cells null."""
    columns = []
    for index, field in enumerate(schema):
        column = pa.array(case.fresh[field.name], field.type, from_pandas=True)
        kept = pa.array(np.where(case.hidden[:, index], -1, np.arange(len(column))))
        columns.append(column.take(pa.compute.if_else(pa.compute.less(kept, 0), None, kept)))
    return pa.Table.from_arrays(columns, schema=schema)


def measure(data: Path, name: str) -> dict[str, Any]:
    """All that is measured of the product on one table."""
    history, fresh = load(data, name)
    schema = pa.Schema.from_pandas(history, preserve_index=False).remove_metadata()
    work = KEPT / name
    if (work / "out/_models").is_dir():
        pipeline = pipeline_of(work)
    else:
        pipeline, _ = fit(pa.Table.from_pandas(history, schema=schema, preserve_index=False), work)
    out: dict[str, Any] = {}
    for share in SHARES:
        case, told = hide(history, fresh, share), {}
        pq.write_table(gaps(case, schema), work / "fresh.parquet")
        for coverage in COVERAGES:
            source, output = str(work / "fresh.parquet"), str(work / "completed")
            complete(pipeline, source=source, output=output, coverage=coverage)
            told[coverage] = pq.read_table(work / "completed/completions/part-0.parquet").to_pandas()
        filled = pq.read_table(work / "completed/completed/part-0.parquet").to_pandas()
        intervals = {f"{coverage}": _covered(case, cells, coverage) for coverage, cells in told.items()}
        out[f"{share}"] = {"intervals": intervals, "repair": {OURS: _repaired(case, filled)}}
    return out


def measure_peers(data: Path, name: str) -> dict[str, Any]:
    """What peers fill in, by the same measure."""
    history, fresh = load(data, name)
    return {
        f"{share}": {peer: _repaired(case, filled) for peer, filled in _peers(case)}
        for share in SHARES
        for case in [hide(history, fresh, share)]
    }


def _covered(case: Case, cells: Frame, coverage: float) -> dict[str, Any]:
    """Shares of hidden cells within their interval, or set; widths by what the column's own middle would need."""
    found: dict[str, Any] = {"columns": {}}
    sums = {"numbers": [0, 0], "words": [0, 0]}
    widths, sizes = [], []
    for index, name in enumerate(case.fresh):
        asked = cells[(cells["column"] == name) & case.hidden[cells["row"], index]]
        asked = asked[asked["value"].notna()]
        if not len(asked):
            continue
        true = case.fresh[name].iloc[asked["row"]]
        if case.numbers[index]:
            low, high = asked["low"].astype(np.float64).to_numpy(), asked["high"].astype(np.float64).to_numpy()
            within = (low <= true.to_numpy(np.float64) + 1e-6) & (true.to_numpy(np.float64) <= high + 1e-6)
            known = case.history[name].dropna().to_numpy(np.float64)
            own = np.diff(np.quantile(known, [(1 - coverage) / 2, (1 + coverage) / 2]))[0]
            if own > 0:
                widths.append(float((high - low).mean() / own))
        else:
            pairs = zip(true, asked["words"], strict=True)
            within = np.array([words is None or value in words for value, words in pairs])
            sizes += [case.history[name].nunique() if words is None else len(words) for words in asked["words"]]
        kind = sums["numbers" if case.numbers[index] else "words"]
        kind[0], kind[1] = kind[0] + int(within.sum()), kind[1] + len(within)
        found["columns"][name] = [float(within.mean()), len(within)]
    found |= {kind: held / max(count, 1) for kind, (held, count) in sums.items() if count}
    found["width"] = float(np.mean(widths)) if widths else None
    found["size"] = float(np.mean(sizes)) if sizes else None
    return found


def _repaired(case: Case, filled: Frame) -> dict[str, float]:
    """RMSE over the median's, in standard deviations of each column, and the share of words that are right."""
    ours, medians, right, words = [], [], 0, 0
    for index, name in enumerate(case.fresh):
        rows = np.flatnonzero(case.hidden[:, index])
        true, told = case.fresh[name].iloc[rows], filled[name].iloc[rows]
        if not case.numbers[index]:
            right, words = right + int((true.to_numpy(object) == told.to_numpy(object)).sum()), words + len(rows)
            continue
        known = case.history[name].to_numpy(np.float64)
        middle, spread = np.nanmedian(known), max(np.nanstd(known), 1e-9)
        numbers = told.astype(np.float64).fillna(middle).to_numpy()
        ours.append(((numbers - true.to_numpy(np.float64)) / spread) ** 2)
        medians.append(((middle - true.to_numpy(np.float64)) / spread) ** 2)
    out = {"rmse": float(np.sqrt(np.concatenate(ours).sum() / np.concatenate(medians).sum()))}
    return out | ({"accuracy": right / words} if words else {})


def _peers(case: Case) -> list[tuple[str, Frame]]:
    """What peers fill in."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer

    dirty = case.fresh.astype(object).mask(pd.DataFrame(case.hidden, columns=case.fresh.columns))
    both = pd.concat([case.history, dirty], ignore_index=True)
    for name, kind in case.history.dtypes.items():
        if pd.api.types.is_numeric_dtype(kind):
            both[name] = both[name].astype(np.float64)
    x, owner = encode(both)
    n = len(case.history)
    makers = {
        "KNNImputer": KNNImputer(n_neighbors=5),
        "IterativeImputer": IterativeImputer(max_iter=10, n_nearest_features=NEAREST, random_state=0),
    }
    found = [(name, _decoded(both, maker.fit(x[:n]).transform(x[n:]), owner)) for name, maker in makers.items()]
    middles = {
        name: both[name][:n].median() if case.numbers[index] else both[name][:n].mode()[0]
        for index, name in enumerate(both)
    }
    return [*found, ("median and mode", pd.DataFrame({name: [value] * len(dirty) for name, value in middles.items()}))]


def _decoded(both: Frame, found: npt.NDArray[np.float64], owner: npt.NDArray[np.intp]) -> Frame:
    """Features of peers as values, in the way that `cellpeers` does."""
    out = {}
    for index, name in enumerate(both):
        own = found[:, owner == index]
        if pd.api.types.is_numeric_dtype(both[name]):
            at, scale = robust(both[name].to_numpy(np.float64))
            out[name] = unbent(own[:, 0]) * scale + at
        else:
            out[name] = both[name].value_counts().index[:RARE].to_numpy(object)[own.argmax(axis=1)]
    return pd.DataFrame(out)


def results(data: Path, names: list[str]) -> dict[str, Any]:
    """Results of tables; what was measured before is read."""
    KEPT.mkdir(parents=True, exist_ok=True)
    found = {name: _kept(name, partial(measure, data, name)) for name in names}
    for name, own in found.items():
        peers = _kept(f"{name}-peers", partial(measure_peers, data, name))
        for share, filled in peers.items():
            own[share]["repair"] |= filled
    return found


def _kept(name: str, made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    kept = KEPT / f"{name}.json"
    if not kept.exists():
        kept.write_text(json.dumps(made(), indent=1), encoding="utf-8")
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def lines_of(found: dict[str, Any]) -> list[str]:
    """Both tables of the page."""
    lines = ["Share of hidden cells that lie within their interval (numbers) or set (words), in percent:", ""]
    head = [f"{coverage:.0%}" for coverage in COVERAGES]
    lines.append("| table | hidden | " + " | ".join(f"numbers, {c}" for c in head) + " | worst column at 90% | width |")
    lines[-1] += " " + " | ".join(f"words, {c}" for c in head) + " | words a set |"
    lines.append("|---|---:|" + "---:|" * (2 * len(head) + 3))
    for name, own in found.items():
        for share in SHARES:
            told = own[f"{share}"]["intervals"]
            at90 = told["0.9"]
            worst = min(value for value, count in at90["columns"].values() if count >= 50)
            cells = [_share(told[f"{c}"].get("numbers")) for c in COVERAGES]
            words = [_share(told[f"{c}"].get("words")) for c in COVERAGES]
            width, size = (f"{v:.2f}" if v is not None else "" for v in (at90["width"], at90["size"]))
            row = [name, f"{share:.0%}", *cells, _share(worst), width, *words, size]
            lines.append("| " + " | ".join(row) + " |")
    methods = list(next(iter(found.values()))[f"{SHARES[0]}"]["repair"])
    lines += [
        "",
        "What hidden cells are filled with: RMSE of numbers by the median's, and share of words that are right:",
        "",
    ]
    lines += ["| table | hidden | " + " | ".join(methods) + " |", "|---|---:|" + "---:|" * len(methods)]
    for name, own in found.items():
        for share in SHARES:
            told = own[f"{share}"]["repair"]
            cells = [
                f"{told[m]['rmse']:.3f}" + (f", {told[m]['accuracy']:.0%}" if "accuracy" in told[m] else "")
                for m in methods
            ]
            lines.append(f"| {name} | {share:.0%} | " + " | ".join(cells) + " |")
    return lines


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
