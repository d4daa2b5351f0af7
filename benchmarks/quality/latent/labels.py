"""Few labels beside peers: `python -m benchmarks.quality.latent.labels --data FOLDER`.

Of each set the product's own train job makes an encoder from rows without labels. Then one to fifty labelled rows a
class are drawn, five times, and every method learns from them and judges rows that nothing has seen. What the product
does is chosen on other sets and draws. Results are kept in `.bench/labels.csv` as they come, so that a stopped run goes
on. Rewrites its section of `docs/latent.md` with `--write`.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from ae_plugin.core.head import fit_head
from ae_plugin.jobs.latent.features import Seen, featured, history_features
from ae_plugin.jobs.latent.heads import HISTORY
from ae_plugin.jobs.score import champion_of
from ae_plugin.sections import Format, Source
from ae_plugin.store.files import list_source
from ae_plugin.versions import ModelVersion
from benchmarks.quality import page
from benchmarks.quality.latent.labelsets import NAMES, WORK, load, trained

FOUND = page.ROOT / ".bench/labels.csv"
FIELDS = ["set", "each", "seed", "method", "accuracy", "told", "right", "seconds"]
EACH, SEEDS = (1, 5, 10, 50), range(5)
OURS, RAW, ON_PCA, SCRATCH = (
    "ae_plugin",
    "logistic regression",
    "logistic regression on PCA",
    "same network from scratch",
)
Matrix = npt.NDArray[np.float32]


class Ready:
    """A set with all that does not depend on the draw.

    Args:
        data: the folder of data sets.
        name: of the set.
    """

    def __init__(self, data: Path, name: str) -> None:
        self.set, self.name = load(data, name), name
        self.pipeline = trained(self.set, name)
        self.version = champion_of(self.pipeline)
        groups = {"": list_source(self.pipeline.source)}
        self.history, self.blocks = history_features(self.pipeline, self.version, groups, HISTORY)
        kind: Format = "images" if self.set.kind == "images" else "parquet"
        test = list_source(Source(uri=str(WORK / name / "test.parquet"), format=kind))
        rows = featured(self.version, "", groups[""], kind)
        self.all = partial(rows.at)
        seen = [one for _, one in featured(self.version, "", test, kind).batches()]
        self.test = Seen(*(np.concatenate(parts) for parts in zip(*seen, strict=True)))
        self.raw = self.set.raw or self._encoded()

    def _encoded(self) -> tuple[Matrix, Matrix]:
        """A table's rows as the network sees them: numbers scaled, words one-hot, gaps flagged."""
        assert isinstance(self.version, ModelVersion)
        encoder = self.version.scorer.encoder
        parts = [encoder.inputs(encoder.encode(table))[0] for table in (self.set.history, self.set.test)]
        return np.ascontiguousarray(parts[0]), np.ascontiguousarray(parts[1])

    def scaled(self) -> tuple[Matrix, Matrix]:
        """The same; of a table each feature of variance 1 in history, of pictures pixels, which serve peers better."""
        if self.set.raw:
            return self.raw
        mean, spread = self.raw[0].mean(axis=0), self.raw[0].std(axis=0)
        wide = np.where(spread > 1e-6, spread, np.inf)
        return (self.raw[0] - mean) / wide, (self.raw[1] - mean) / wide


def draw(known: npt.NDArray[Any], each: int, seed: int) -> npt.NDArray[np.int64]:
    """So many rows of each class, increasing."""
    rng = np.random.default_rng([seed, each, 2026])
    chosen = [rng.choice(np.flatnonzero(known == one), each, replace=False) for one in np.unique(known)]
    return np.sort(np.concatenate(chosen))


Told = tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]
"""The likeliest class of each test row, and of which the method says that it knows; None: it always does."""


def ours(ready: Ready, rows: npt.NDArray[np.int64], seed: int) -> Told:
    """What `ae label-fit` and `ae classify` do, with history's and the test rows' features made once."""
    classes, labels = np.unique(ready.set.known[rows], return_inverse=True)
    shown = ready.all(rows)
    head, _ = fit_head(ready.history, shown.features, labels.astype(np.int64), len(classes), ready.blocks, seed)
    odds = head.probabilities(ready.test.features)
    limit = min(ready.pipeline.score.alert_rate, float(np.nextafter(shown.p_values.min(), 0)))
    known = (odds.max(axis=1) >= (1 + 1 / len(classes)) / 2) & (ready.test.p_values > limit)
    return classes[odds.argmax(axis=1)], known


def on_raw(ready: Ready, rows: npt.NDArray[np.int64], seed: int) -> Told:
    """Logistic regression, scikit-learn's defaults, on scaled raw features."""
    history, test = ready.scaled()
    model = LogisticRegression(max_iter=1000).fit(history[rows], ready.set.known[rows])
    return model.predict(test), None


def on_pca(ready: Ready, rows: npt.NDArray[np.int64], seed: int) -> Told:
    """The same on 64 principal components (all, where there are fewer) of all of history."""
    history, test = ready.scaled()
    pca = PCA(min(64, history.shape[1]), random_state=0).fit(history)
    known = pca.transform(history[rows])
    model = LogisticRegression(max_iter=1000).fit(known, ready.set.known[rows])
    return model.predict(pca.transform(test)), None


def from_scratch(ready: Ready, rows: npt.NDArray[np.int64], seed: int) -> Told:
    """The product's network from random weights, a softmax on its code: Adam, 200 steps on all labelled rows."""
    import keras

    import ae_plugin

    keras.utils.set_random_seed(seed)
    body = keras.models.clone_model(ae_plugin.encoder(ready.pipeline.output))  # new weights
    classes, labels = np.unique(ready.set.known[rows], return_inverse=True)
    model = keras.Model(body.inputs, keras.layers.Dense(len(classes), activation="softmax")(body.outputs[0]))
    model.compile("adam", "sparse_categorical_crossentropy")
    history, test = ready.raw
    if isinstance(ready.version, ModelVersion):
        columns = len(ready.version.card.columns)
        given = [history[rows], np.ones((len(rows), columns), np.float32)]
        asked: Any = [test, np.ones((len(test), columns), np.float32)]
    else:
        side = (-1, *ready.version.card.side, ready.version.card.channels)
        given, asked = [history[rows].reshape(side)], test.reshape(side)
    size = min(len(rows), 64)
    rng, passes = np.random.default_rng(seed), -(-200 * size // len(rows))
    again = np.concatenate([rng.permutation(len(rows)) for _ in range(passes)])
    fed = [array[again[: 200 * size]] for array in given]
    model.fit(fed if len(fed) > 1 else fed[0], labels[again[: 200 * size]], batch_size=size, shuffle=False, verbose=0)
    return classes[model.predict(asked, batch_size=512, verbose=0).argmax(axis=1)], None


METHODS: dict[str, Callable[[Ready, npt.NDArray[np.int64], int], Told]] = {
    OURS: ours,
    RAW: on_raw,
    ON_PCA: on_pca,
    SCRATCH: from_scratch,
}


def measure(ready: Ready, each: int, seed: int, method: str) -> dict[str, object]:
    """One method on one draw."""
    started = time.perf_counter()
    said, known = METHODS[method](ready, draw(ready.set.known, each, seed), seed)
    truth = ready.set.truth
    row: dict[str, object] = {"set": ready.name, "each": each, "seed": seed, "method": method}
    row |= {"accuracy": round(float(balanced_accuracy_score(truth, said)), 4)}
    if known is not None:
        row |= {"told": round(float(known.mean()), 4)}
        row |= {"right": round(float((said[known] == truth[known]).mean()), 4) if known.any() else ""}
    return row | {"seconds": round(time.perf_counter() - started, 1)}


def lines(found: pd.DataFrame) -> list[str]:
    """The table: means of all draws."""
    out = [
        "| set | labels a class | " + " | ".join(METHODS) + " | told | of those right |",
        "|---|---|" + "---|" * (len(METHODS) + 2),
    ]
    for name in NAMES:
        for each in EACH:
            own = found[(found["set"] == name) & (found["each"] == each)]
            if own.empty:
                continue
            means = own.groupby("method")["accuracy"].mean() * 100
            best = means.idxmax()
            cells = [f"**{means[one]:.1f}**" if one == best else f"{means[one]:.1f}" for one in METHODS if one in means]
            rest = own[own["method"] == OURS][["told", "right"]].mean() * 100
            out.append(
                f"| {name} | {each} | "
                + " | ".join(cells)
                + f" | {rest['told']:.0f} | {rest['right']:.0f} |".replace("nan", "")
            )
    return out


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=NAMES)
    parser.add_argument("--methods", nargs="*", default=[*METHODS])
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    FOUND.parent.mkdir(exist_ok=True)
    if not FOUND.exists():
        FOUND.write_text(",".join(FIELDS) + "\n")
    for name in args.sets:
        done = {(r["set"], int(r["each"]), int(r["seed"]), r["method"]) for r in csv.DictReader(FOUND.open())}
        todo = [(each, seed, m) for m in args.methods for each in EACH for seed in SEEDS]
        todo = [one for one in todo if (name, *one) not in done]
        ready = Ready(args.data, name) if todo else None
        for each, seed, method in todo:
            assert ready is not None
            row = measure(ready, each, seed, method)
            with FOUND.open("a", newline="") as file:
                csv.DictWriter(file, FIELDS).writerow(row)
            print(row, flush=True)
    table = lines(pd.read_csv(FOUND))
    print("\n".join(table))
    if args.write:
        page.rewrite(
            "labels", "python -m benchmarks.quality.latent.labels --data FOLDER", table, page.ROOT / "docs/latent.md"
        )


if __name__ == "__main__":
    main()
