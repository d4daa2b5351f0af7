"""What is compared on the tables: the product, through its own jobs, and its peers from their own packages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.quality.protocol import Floats, Setting, Split

CODES, MOST = 16, 4_000
"""Codes drawn of a row, and rows that this is done with at a time."""
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


def reconstruction_probability(split: Split, setting: Setting, seed: int) -> Floats:
    """How unlikely decoders of codes drawn from a row's cloud make it (An and Cho, 2015), of the product's own network.

    The noise that decoders allow for is each feature's, measured on the training rows.
    """
    import numpy as np
    from safetensors.numpy import load

    from ae_plugin.jobs.score import champion_of
    from ae_plugin.models.catalog import builder
    from ae_plugin.models.variational import WIDEST
    from ae_plugin.store.registry import Registry
    from ae_plugin.versions import WEIGHTS, ModelVersion
    from benchmarks.quality.product import fit

    contamination = 0 if setting == "semi" else "auto"
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model": {"seed": seed, "kind": "variational"}, "train": {"contamination": contamination}}
        pipeline, _ = fit(_table(split.train), Path(folder), **settings)
        version = champion_of(pipeline)
        assert isinstance(version, ModelVersion)
        layers = load(Registry(pipeline.output).read_file(version.version, WEIGHTS))
    encoder, card = version.scorer.encoder, version.card
    model = builder("variational")(encoder.features, len(encoder.specs), card.width, card.latent_dim, 0)
    model.set_weights([layers[name] for name in sorted(layers)])
    rng = np.random.default_rng(seed)

    def squares(values: Floats) -> Floats:
        """Squared errors of each feature in each draw, float64 [draws, n, F]."""
        x, visible = encoder.inputs(encoder.encode(_table(values)))
        cloud = model.get_layer("encoder").predict([x, visible], batch_size=1024, verbose=0)
        mean, spread = np.split(cloud, 2, axis=1)
        drawn = mean + np.exp(np.clip(spread, -WIDEST, WIDEST) / 2) * rng.standard_normal(
            (CODES, *mean.shape), np.float32
        )
        drawn = drawn.reshape(-1, mean.shape[1])
        told = model.get_layer("decoder").predict(drawn, batch_size=8192, verbose=0)
        return np.asarray(np.square(told.reshape(CODES, *x.shape) - x), np.float64)

    some = np.random.default_rng(seed).permutation(len(split.train))[:MOST]
    noise = squares(split.train[some]).mean(axis=(0, 1)) + 1e-6
    parts = np.array_split(split.test, -(-len(split.test) // MOST))
    return np.concatenate([(squares(part) / noise).sum(axis=2).mean(axis=0) / 2 for part in parts])


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
    "its reconstruction probability": reconstruction_probability,
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
