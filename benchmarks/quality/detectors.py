"""What is compared on the tables: the product, through its own jobs, and its peers from their own packages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.quality.protocol import Floats, Setting, Split

Detect = Callable[[Split, Setting, int], Floats]
"""(split, setting, seed) -> anomaly scores of the test rows, float [m], higher = more anomalous."""


def ours(split: Split, setting: Setting, seed: int, kind: str = "auto") -> Floats:
    """Train and score through the product's jobs at the defaults; `train.contamination` alone tells the setting."""
    from benchmarks.quality.product import fit, run

    contamination = 0 if setting == "semi" else "auto"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        settings = {"model": {"seed": seed, "kind": kind}, "train": {"contamination": contamination}}
        pipeline, _ = fit(_table(split.train), work, **settings)
        return np.asarray(run(pipeline, _table(split.test), work / "test").scores["anomaly_score"], np.float64)


def _table(values: Floats) -> pa.Table:
    return pa.table({f"f{index:03d}": column for index, column in enumerate(values.T)})


def knn(neighbours: int | None) -> Detect:
    """Distance to the k-th neighbour; without k, to a tenth of the training rows."""

    def detect(split: Split, setting: Setting, seed: int) -> Floats:
        from pyod.models.knn import KNN

        k = neighbours or max(5, len(split.train) // 10)
        return _fit(KNN(n_neighbors=k), split)

    return detect


def pyod(module: str, name: str, **settings: object) -> Detect:
    """A detector of PyOD at its defaults."""

    def detect(split: Split, setting: Setting, seed: int) -> Floats:
        from importlib import import_module
        from inspect import signature

        kind = getattr(import_module(f"pyod.models.{module}"), name)
        seeded = {"random_state": seed} if "random_state" in signature(kind).parameters else {}
        return _fit(kind(**settings, **seeded), split)

    return detect


def network(module: str, name: str, steps: bool) -> Detect:
    """A network of PyOD: at its defaults, or for as many mini-batches of the same size as the product trains."""

    def detect(split: Split, setting: Setting, seed: int) -> Floats:
        from ae_plugin.models.budget import Budget

        ours = Budget.auto(len(split.train))
        epochs = max(1, round(ours.steps * ours.rows / len(split.train)))
        settings = {"epoch_num": epochs, "batch_size": ours.rows} if steps else {}
        return pyod(module, name, verbose=0, **settings)(split, setting, seed)

    return detect


def _fit(model: object, split: Split) -> Floats:
    mean, std = split.train.mean(axis=0), split.train.std(axis=0)
    std[std == 0] = 1
    model.fit((split.train - mean) / std)  # type: ignore[attr-defined]
    scores = np.asarray(model.decision_function((split.test - mean) / std), np.float64)  # type: ignore[attr-defined]
    # PyOD's PCA divides by variances that can be 0.
    return np.nan_to_num(scores, nan=0.0, posinf=1e300, neginf=-1e300)


DETECTORS: dict[str, Detect] = {
    "ae_plugin": ours,
    "ae_plugin, variational": partial(ours, kind="variational"),
    "kNN k=5": knn(5),
    "kNN k=10%": knn(None),
    "IForest": pyod("iforest", "IForest"),
    "ECOD": pyod("ecod", "ECOD"),
    "PCA": pyod("pca", "PCA"),
    "LOF": pyod("lof", "LOF"),
    "OCSVM": pyod("ocsvm", "OCSVM"),
    "AutoEncoder, defaults": network("auto_encoder", "AutoEncoder", steps=False),
    "AutoEncoder, our steps": network("auto_encoder", "AutoEncoder", steps=True),
    "VAE, defaults": network("vae", "VAE", steps=False),
    "VAE, our steps": network("vae", "VAE", steps=True),
}
