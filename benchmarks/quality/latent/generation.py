"""Generated rows beside SDV's: `python -m benchmarks.quality.latent.generation --data FOLDER --write`.

Each method learns the same real rows and makes as many new ones. Measured against real rows that no method saw: column
shapes and pair trends by the package `sdmetrics` at its defaults, a classifier trained on the new rows and tested on
the real ones, and how near the new rows are to those learned. What was made and measured is kept in
`.bench/generation/`, so that a stopped run goes on.

SDV wants an older pandas than we do, so this runs in an environment of its own, in which ours is seen second.
`python -m benchmarks.quality --data FOLDER --only latent.generation` makes it, in `.bench/sdv`, and runs this there.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from benchmarks.quality.latent import page

KEPT = page.ROOT / ".bench/generation"
ROWS, NEAR = 10_000, 2_000
AI4I_PASSED = ["udi", "product_id", "twf", "hdf", "pwf", "osf", "rnf", "label"]
WIDE = {"waveform": "41_waveform", "spambase": "35_spambase"}
LATE = ["month", "day", "sched_dep_time", "dep_delay", "carrier", "origin", "dest", "distance", "hour"]


@dataclass(frozen=True)
class Task:
    """A real table: rows to learn, rows that nobody sees, and what a classifier is asked.

    Attributes:
        label: makes the truth of rows, bool, NaN where there is none.
        features: columns that a classifier sees; empty: all but the label's.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    label: Callable[[pd.DataFrame], pd.Series]
    features: list[str]


@cache
def load(data: Path, name: str, seed: int) -> Task:
    """One of the tables, split at random."""
    rng = np.random.default_rng([seed, 17])
    if name == "adult":
        parts = [pd.read_parquet(data / f"adult/{part}.parquet").drop(columns="label") for part in ("train", "test")]
        train, test = (part.iloc[rng.permutation(len(part))[:ROWS]].reset_index(drop=True) for part in parts)
        features = [column for column in train.columns.astype(str) if column != "income"]
        return Task(train, test, lambda rows: rows["income"] == ">50K", features)
    if name == "ai4i2020":
        whole = pd.read_parquet(data / "ai4i2020/ai4i2020.parquet").drop(columns=AI4I_PASSED)
        features = [column for column in whole.columns.astype(str) if column != "machine_failure"]
        cut, label = 7_000, "machine_failure"
        order = rng.permutation(len(whole))
        train, test = (whole.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
        return Task(train, test, lambda rows: rows[label].astype(float) > 0.5, features)
    if name in WIDE:
        whole = pd.read_parquet(data / f"adbench/{WIDE[name]}.parquet").astype({"label": int})
        order, cut = rng.permutation(len(whole)), len(whole) * 6 // 10
        train, test = (whole.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
        return Task(train, test, lambda rows: rows["label"].astype(float) > 0.5, [*whole.columns[:-1]])
    whole = pd.read_parquet(data / "nycflights13/flights.parquet").drop(columns=["year", "tailnum"])  # constant; a name
    order = rng.permutation(len(whole))
    train, test = (whole.iloc[part].reset_index(drop=True) for part in (order[:ROWS], order[ROWS : 3 * ROWS]))
    return Task(train, test, lambda rows: (rows["arr_delay"] > 15).where(rows["arr_delay"].notna()), LATE)


TABLES = ("adult", "ai4i2020", "nycflights13", "waveform", "spambase")


def described(rows: pd.DataFrame) -> dict[str, Any]:
    """The columns as SDV and sdmetrics want them described; numbers of two values are classes to both."""
    kinds = {}
    for name in rows:
        column = rows[name]
        if pd.api.types.is_datetime64_any_dtype(column):
            kinds[name] = {"sdtype": "datetime"}
        elif pd.api.types.is_numeric_dtype(column) and column.nunique() > 2:
            kinds[name] = {"sdtype": "numerical"}
        else:
            kinds[name] = {"sdtype": "categorical"}
    return {"columns": kinds}


def trained(rows: pd.DataFrame, seed: int, kind: str) -> tuple[Pipeline, pa.Table]:
    """A pipeline with a champion that learned these rows, once; and the rows as it learned them."""
    from benchmarks.quality.product import fit, pipeline_of

    digest = int(pd.util.hash_pandas_object(rows, index=False).sum() % 2**32)
    work = KEPT / "models" / f"{kind}-{seed}-{digest:08x}"
    table = pa.Table.from_pandas(rows, preserve_index=False)
    if not (work / "out/_models/champion.json").exists():
        fit(table, work, model={"seed": seed, "kind": kind})
    return pipeline_of(work, model={"seed": seed, "kind": kind}), table


def ours(rows: pd.DataFrame, seed: int, kind: str, *, blind: bool = False) -> pd.DataFrame:
    """The product, through its own train and generate jobs at the defaults; blind: without its network."""
    from ae_plugin.jobs.latent.generate import generate
    from ae_plugin.jobs.score import load_champion

    pipeline, _ = trained(rows, seed, kind)
    version = load_champion(pipeline)
    if blind:
        scorer = version.scorer
        parts = scorer.encoder, scorer.network, _silent, scorer.reference, scorer.alert_rate, scorer.contaminated
        version = replace(version, scorer=type(scorer)(*parts))
    with tempfile.TemporaryDirectory() as folder:
        record = generate(pipeline, len(rows), seed=seed, output=folder, version=version)
        made = pq.read_table(Path(folder) / next(iter(record.outputs))).drop_columns(["synthetic"])
    return pd.DataFrame(made.to_pandas())


def decoded(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The variational champion's decoder alone: codes from the prior, each cell the decoder's mean or likeliest word.

    Nulls are drawn at the rate that the decoder says.
    """
    from safetensors.numpy import load as load_arrays

    from ae_plugin.core.decode import decode_all
    from ae_plugin.jobs.score import load_champion
    from ae_plugin.store.registry import Registry
    from ae_plugin.versions import WEIGHTS

    pipeline, table = trained(rows, seed, "variational")
    version = load_champion(pipeline)
    arrays = load_arrays(Registry(pipeline.output).fetch(version.version).files[WEIGHTS])
    *_, (k1, b1), (k2, b2), (k3, b3) = zip(*[iter(arrays[name] for name in sorted(arrays))] * 2, strict=True)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((len(rows), version.card.latent_dim)).astype(np.float32)
    for kernel, bias in ((k1, b1), (k2, b2)):
        x = x @ kernel + bias
        x = x / (1 + np.exp(-x))
    x = (x @ k3 + b3).astype(np.float32)
    encoder, batch = version.scorer.encoder, table.combine_chunks().to_batches()[0]
    found = decode_all(encoder, batch, x)
    for index, (spec, where) in enumerate(zip(encoder.specs, encoder.slices, strict=True)):
        place = batch.schema.get_field_index(spec.name)
        values = found[index] if found[index].null_count < len(x) else batch.column(place)  # moments it cannot say
        if spec.nullable:
            spread = max(0.1, (spec.null_rate * (1 - spec.null_rate)) ** 0.5)
            lost = rng.random(len(x)) < x[:, where.stop - 1] * spread + spec.null_rate
            values = pc.if_else(pa.array(lost), pa.scalar(None, values.type), values)
        table = table.set_column(place, spec.name, values)
    return pd.DataFrame(table.to_pandas())


def _silent(x: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(x), np.zeros((len(visible), 1), np.float32)


def sdv(rows: pd.DataFrame, seed: int, kind: str) -> pd.DataFrame:
    """A synthesizer of SDV at its defaults."""
    import sdv.single_table
    import torch
    from sdv.metadata import Metadata

    torch.manual_seed(seed)
    np.random.seed(seed)
    metadata = Metadata.load_from_dict({"tables": {"rows": described(rows)}})
    made = getattr(sdv.single_table, kind)(metadata)
    made.fit({"rows": rows})
    found = made.sample(len(rows))
    return pd.DataFrame(found["rows"] if isinstance(found, dict) else found)


def real(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows themselves: what sampling alone leaves apart."""
    return rows


METHODS: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "ae_plugin, auto": partial(ours, kind="auto"),
    "ae_plugin, variational": partial(ours, kind="variational"),
    "the same trees without a network": partial(ours, kind="auto", blind=True),
    "a variational decoder alone": decoded,
    "SDV GaussianCopula": partial(sdv, kind="GaussianCopulaSynthesizer"),
    "SDV TVAE": partial(sdv, kind="TVAESynthesizer"),
    "real rows": real,
}


def quality(task: Task, made: pd.DataFrame) -> dict[str, float]:
    """Column shapes and pair trends in %, against real rows that nobody learned.

    The report leaves pairs out that hardly hang together in the real rows; `all_pairs` counts them too.
    """
    from sdmetrics.reports.single_table import QualityReport

    scores = {}
    for name in ("pairs", "all_pairs"):
        report = QualityReport()
        if name == "all_pairs":
            report.real_association_threshold = report.real_correlation_threshold = 0
        report.generate(task.test, made, described(task.train), verbose=False)
        found = report.get_properties().set_index("Property")["Score"]
        scores[name] = 100 * float(found["Column Pair Trends"])
    return {"shapes": 100 * float(found["Column Shapes"]), **scores}


def classified(task: Task, made: pd.DataFrame) -> float:
    """AUROC in % of a classifier that learned made rows, on real ones that nobody learned."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    sides = []
    for rows in (made, task.test):
        truth = task.label(rows)
        known = truth.notna().to_numpy()
        sides.append((_numbers(task, rows)[known], truth[known].astype(bool).to_numpy()))
    (x, y), (tx, ty) = sides
    words = [place for place, name in enumerate(task.features) if not _is_number(task.train[name])]
    if len(np.unique(y)) < 2:
        return 50.0
    found = HistGradientBoostingClassifier(random_state=0, categorical_features=words).fit(x, y)
    return 100 * float(roc_auc_score(ty, found.predict_proba(tx)[:, 1]))


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _numbers(task: Task, rows: pd.DataFrame) -> np.ndarray:
    """Features as numbers: words by their place among those of the training rows, the 200 most frequent."""
    columns = []
    for name in task.features:
        if _is_number(task.train[name]):
            columns.append(rows[name].astype(float).to_numpy())
        else:
            known = task.train[name].value_counts().index[:200]
            codes = known.get_indexer(pd.Index(rows[name])).astype(float)
            columns.append(np.where(codes < 0, np.nan, codes))
    return np.stack(columns, axis=1)


def near(task: Task, made: pd.DataFrame) -> dict[str, float]:
    """How near made rows are to learned ones: copies, and how many are as near as the nearest 5% of real rows, in %.

    Distance over all columns: numbers by their rank among the learned ones, 1 for other words; a mean.
    """
    some = np.random.default_rng(0).permutation(len(made))[:NEAR]
    kinds = described(task.train)["columns"]
    apart = []
    for rows in (made.iloc[some], task.test.iloc[:NEAR]):
        least = np.zeros((len(rows), len(task.train)), np.float32)
        for name, kind in kinds.items():
            if kind["sdtype"] == "categorical":
                known = pd.Index(pd.unique(task.train[name]))
                a, b = (known.get_indexer(pd.Index(part[name])) for part in (rows, task.train))
                least += a[:, None] != b[None, :]
            else:
                a, b = (_ranks(part[name], task.train[name]) for part in (rows, task.train))
                least += np.abs(a[:, None] - b[None, :])
        apart.append(least.min(axis=1) / len(kinds))
    limit = np.quantile(apart[1], 0.05)
    return {"copies": 100 * float((apart[0] < 1e-6).mean()), "near": 100 * float((apart[0] <= limit).mean())}


def _ranks(values: pd.Series, known: pd.Series) -> np.ndarray:
    there = np.sort(known.dropna().astype("int64" if known.dtype.kind == "M" else float).to_numpy())
    numbers = values.astype("int64").astype(float) if values.dtype.kind == "M" else values.astype(float)
    ranks = np.searchsorted(there, numbers.to_numpy()) / len(there)
    return np.where(values.isna(), 2, ranks).astype(np.float32)


def measure(data: Path, table: str, method: str, seed: int) -> dict[str, Any]:
    """Make rows, unless they are kept, and measure them."""
    task = load(data, table, seed)
    name = f"{table}-{method}-{seed}".replace(" ", "_").replace(",", "")
    path, found = KEPT / f"{name}.parquet", KEPT / f"{name}.json"
    if found.exists():
        return dict(json.loads(found.read_text()))
    if not path.exists():
        clock = time.perf_counter()
        made = METHODS[method](task.train, seed)
        made.to_parquet(path)
        path.with_suffix(".seconds").write_text(str(time.perf_counter() - clock))
    made = pd.read_parquet(path)
    for column in made.select_dtypes("datetimetz").columns.astype(str):
        made[column] = made[column].dt.tz_localize(None)
        task = replace(task, train=_plain(task.train, column), test=_plain(task.test, column))
    row = {"table": table, "method": method, "seed": seed, **quality(task, made), "auroc": classified(task, made)}
    row |= {**near(task, made), "seconds": float(path.with_suffix(".seconds").read_text())}
    found.write_text(json.dumps(row))
    return row


def _plain(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    return rows.assign(**{column: rows[column].dt.tz_localize(None)})


def lines_of(found: pd.DataFrame) -> list[str]:
    """One table, Markdown: means over the seeds that were run."""
    lines = [
        "| table | method | seeds | shapes | pair trends | all pairs | AUROC | copies | near copies | seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    groups = found.groupby(["table", "method"])
    means, seeds = groups.mean(numeric_only=True).to_dict("index"), groups.size().to_dict()
    for table in TABLES:
        for method in METHODS:
            if (table, method) in means:
                row = means[(table, method)]
                cells = [f"{row[name]:.1f}" for name in ("shapes", "pairs", "all_pairs", "auroc", "copies", "near")]
                lines.append(
                    f"| {table} | {method} | {seeds[(table, method)]} | {' | '.join(cells)} | {row['seconds']:.0f} |"
                )
    return lines


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that adult/, ai4i2020/ ... lie in")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--write", action="store_true", help="rewrite docs/latent.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    KEPT.mkdir(parents=True, exist_ok=True)
    turns = [(t, m, s) for s in range(args.seeds) for t in args.tables for m in args.methods]
    for turn in turns:
        measure(args.data, *turn)
    lines = lines_of(pd.DataFrame([json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))]))
    print("\n".join(lines))
    if args.write:
        page.rewrite("generation", "python -m benchmarks.quality.latent.generation --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
