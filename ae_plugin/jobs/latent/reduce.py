"""Learn to put a row in a few numbers: how many it takes, what each stands for, and whether a network is needed."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.latents import bits, moves
from ae_plugin.core.reduction import Reducer, errors_left, knee
from ae_plugin.core.values import Doubles, Floats, evenly_spaced
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.history import History
from ae_plugin.latent_schemas import Latent, Moved, Rate, Reduction

log = logging.getLogger(__name__)
MOST, ROWS, ANCHORS, FITTED = 64, 5_000, 500, 20_000
STEPS = (0.1, 0.3, 1.0)
"""Codes are rounded to multiples of these, in scaled units, to see what bits buy."""
WORTH, ERRORS = 0.02, 2.0
"""A network is worth it where it leaves so much less than PCA does, and so many standard errors less."""
Part = tuple[Floats, Floats]
"""Rows float32 [n, F], hidden cells 0, and 0 for features that have no true value, float32 [n, F]."""


def reduce(
    pipeline: Pipeline, history: History, checkpoint: Path, on_progress: Callable[[int, int], None] | None = None
) -> tuple[Reducer, Reduction]:
    """Train the network of nested codes, and keep it where it is better than PCA.

    Args:
        pipeline: whose `model.latent_dim` is `auto` or a number.
        history: of its training.
        checkpoint: folder to keep progress in.
        on_progress: called with (step, steps).

    Raises:
        ConfigError: more numbers were asked for than a row has features.
    """
    from ae_plugin.models import nested, training
    from ae_plugin.models.budget import Budget
    from ae_plugin.models.catalog import size_of

    started, encoder, split = time.perf_counter(), history.encoder, history.split
    asked = pipeline.model.latent_dim
    most = most_numbers(encoder.features, asked)
    train, validation, calibration = (
        _part(encoder, history.encoded.take(rows)) for rows in (split.train, split.validation, split.calibration)
    )
    start = nested.start_of(train[0][evenly_spaced(len(train[0]), FITTED)], most)
    seed, budget = pipeline.model.seed, Budget.auto(len(train[0])).second
    if pipeline.train.steps != "auto":
        budget = Budget(min(int(pipeline.train.steps), budget.steps), budget.rows)
    model = nested.build(start, 2 * size_of(encoder.features)[0], seed)
    lesson = nested.Dimensions(*train, validation, start)
    training.train(model, lesson, budget, seed, checkpoint, on_progress)
    bent = nested.reducer_of(model, start)
    dimensions = list(range(1, most + 1))
    better = np.minimum(*(errors_left(one, *validation, dimensions).mean(axis=1) for one in (bent, start)))
    kept = knee([_whole(start, validation), *better]) if asked == "auto" else int(asked or most)
    linear = _linear(start, bent, validation, kept)
    found = Reducer(**{**vars(start if linear else bent), "kept": kept})
    report = _describe(history, found, (start, bent), (train, calibration), dimensions)
    report = report.model_copy(
        update={
            "chosen": "knee" if asked == "auto" else "asked",
            "linear": linear,
            "seconds": round(time.perf_counter() - started, 2),
        }
    )
    log.info("%s", said(report))
    return found, report


def said(report: Reduction) -> str:
    """One line: how many numbers, what they leave, and whether a network was needed."""
    ours, pca = report.network_left[report.latent_dim], report.pca_left[report.latent_dim]
    left = f"{report.latent_dim} numbers for {report.features} features leave {ours:.1%} of the variance"
    if report.linear:
        return f"{left}; linear is enough here (PCA: {pca:.1%})"
    return f"{left}, PCA {pca:.1%}"


def most_numbers(features: int, asked: object) -> int:
    """How many numbers a code may hold: half of the features, or as many as are asked for.

    Raises:
        ConfigError: more are asked for than a row has features.
    """
    if isinstance(asked, int):
        if asked > features:
            mend = f"Ask for at most {features}, or say auto"
            raise ConfigError(f"{asked} numbers for {features} encoded features", where="model.latent_dim", mend=mend)
        return max(asked, min(MOST, -(-features // 2)))
    return max(min(2, features), min(MOST, -(-features // 2)))


def _part(encoder: TableEncoder, encoded: Encoded) -> Part:
    return np.ascontiguousarray(encoder.inputs(encoded)[0]), np.ascontiguousarray(encoder.weights(encoded))


def _whole(start: Reducer, part: Part) -> float:
    """Variance of rows about the mean, in scaled units²."""
    x, weights = part
    return float((np.square(x - start.mean) * weights).sum(axis=1, dtype=np.float64).mean())


def _linear(start: Reducer, bent: Reducer, validation: Part, kept: int) -> bool:
    """Whether PCA is as good on rows that neither was fitted to."""
    pca, network = (errors_left(one, *validation, [kept])[0] for one in (start, bent))
    gain = pca - network
    worth = gain.mean() > WORTH * pca.mean()
    return not (worth and gain.mean() > ERRORS * gain.std() / max(len(gain), 1) ** 0.5)


def _describe(
    history: History, found: Reducer, both: tuple[Reducer, Reducer], parts: tuple[Part, Part], dimensions: list[int]
) -> Reduction:
    start, bent = both
    train, calibration = parts
    some = evenly_spaced(len(calibration[0]), ROWS)
    held_out = calibration[0][some], calibration[1][some]
    whole = max(_whole(start, held_out), 1e-12)
    left = {one: errors_left(one, *held_out, dimensions).mean(axis=1) / whole for one in (start, bent)}
    own = left[start] if found.linear else left[bent]
    anchors = held_out[0][evenly_spaced(len(some), ANCHORS)]
    return Reduction(
        features=history.encoder.features,
        rows=len(some),
        latent_dim=found.kept,
        chosen="",
        linear=found.linear,
        network_left=_rounded(left[bent]),
        pca_left=_rounded(left[start]),
        latents=_latents(found, history.encoder, anchors, own),
        rates=_rates(history, found, start, (train[0], held_out), some, whole),
        seconds=0,
    )


def _rounded(left: Doubles) -> list[float]:
    return [1.0, *(round(float(one), 5) for one in left)]


def _latents(found: Reducer, encoder: TableEncoder, anchors: Floats, left: Doubles) -> list[Latent]:
    steps = -np.diff([1.0, *left])
    out = []
    for share, moved in zip(steps, moves(found, encoder, anchors), strict=False):
        told = [
            Moved(
                column=move.column,
                by=round(move.by, 3),
                words=None if move.up is None or move.down is None else (move.down, move.up),
            )
            for move in moved
        ]
        title = ", ".join(str(move) for move in moved) or "nothing by itself"
        out.append(Latent(share=round(float(share), 5), title=title, moves=told))
    return out


def _rates(
    history: History,
    found: Reducer,
    start: Reducer,
    parts: tuple[Floats, Part],
    rows: np.ndarray,
    whole: float,
) -> list[Rate]:
    train, (x, weights) = parts
    train = train[evenly_spaced(len(train), FITTED)]
    rng = np.random.default_rng(0)
    encoder = history.encoder
    order = np.stack([rng.permutation(len(x)) for _ in encoder.specs], axis=1)[:, encoder.column_of]
    elsewhere = np.take_along_axis(x, order, axis=0), np.take_along_axis(weights, order, axis=0)
    out = []
    methods = [("pca", start)] if found.linear else [("network", found), ("pca", start)]
    for method, reducer in methods:
        for step in STEPS:
            known = reducer.encode(train)[:, : found.kept]
            lost, cost = zip(
                *(_written(reducer, part, known, found.kept, step) for part in ((x, weights), elsewhere)), strict=True
            )
            out.append(
                Rate(
                    method=method,
                    dimension=found.kept,
                    step=step,
                    bits=round(cost[0], 2),
                    lost=round(lost[0] / whole, 5),
                    lost_elsewhere=round(lost[1] / whole, 5),
                    bits_elsewhere=round(cost[1], 2),
                )
            )
    table = history.sample.table.select(encoder.names).take(pa.array(history.split.calibration[rows]))
    shuffled = pa.table({name: table.column(name).take(pa.array(rng.permutation(len(x)))) for name in encoder.names})
    packed = [round(8 * _zstd(one) / max(len(x), 1), 2) for one in (table, shuffled)]
    zstd = Rate(method="zstd", dimension=0, step=0, bits=packed[0], lost=0, lost_elsewhere=0, bits_elsewhere=packed[1])
    return [*out, zstd]


def _written(reducer: Reducer, part: Part, known: Floats, kept: int, step: float) -> tuple[float, float]:
    """Mean squared error, in scaled units², and bits a row, when codes are rounded to multiples of a step."""
    x, weights = part
    codes = reducer.encode(x)
    codes[:, :kept] = np.rint(codes[:, :kept] / step) * step
    error = (np.square(reducer.decode(codes, kept) - x) * weights).sum(axis=1, dtype=np.float64).mean()
    return float(error), bits(known, codes[:, :kept], step)


def _zstd(table: pa.Table) -> int:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=19)
    return len(sink.getvalue())
