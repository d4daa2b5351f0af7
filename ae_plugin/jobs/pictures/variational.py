"""The variational part of a pictures' version: whole pictures, small, for embeddings, traversal and generation.

It lives beside the tiles' network, which scores as ever: see docs/decisions/0036.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ae_plugin.config import Pipeline
from ae_plugin.core.pictures import Picture
from ae_plugin.core.values import Floats, evenly_spaced
from ae_plugin.core.variational import Bytes, Variational, closest, shrunk, side_and_shape
from ae_plugin.errors import StoreError
from ae_plugin.runtime.litert import LiteHalf, Shape
from ae_plugin.store.registry import Registry
from ae_plugin.versions import DECODER, check_shapes

log = logging.getLogger(__name__)
ENCODER, KNOWN, WEIGHTS = "encoder.tflite", "known.safetensors", "variational.safetensors"
HALVES = ENCODER, DECODER
KNOWN_BYTES, MOST = 32 * 2**20, 20_000
"""Pictures it is trained on; all of them are kept, so that what is generated can be compared with all of them."""
HELD_OUT = 0.05, 0.5, 0.95
IDLE = 0.5
"""Nats below which a latent variable says so little that it would only blur the others."""


class VariationalCard(BaseModel):
    """What there is to know of the model of whole pictures."""

    model_config = ConfigDict(extra="forbid")

    side: Literal[32, 64] = Field(description="Pixels a side that pictures are brought to.")
    shape: tuple[Annotated[int, Field(ge=1, le=64)], Annotated[int, Field(ge=1, le=64)]] = Field(
        description="Height and width that pictures are given back in."
    )
    latent_dim: int = Field(ge=1, le=256)
    beta: float = Field(description="Weight of the latent variables' total correlation.")
    kl: list[float] = Field(description="What each latent variable tells of a picture, in nats, on held-out pictures.")
    pictures: int = Field(description="How many it was trained on.")
    held_out: tuple[float, float, float] = Field(
        description="Distance that 5%, 50% and 95% of held-out pictures have at most to the closest trained on."
    )
    steps: int
    validation_loss: float


@dataclass(frozen=True)
class SmallHistory:
    """Whole pictures to learn from, as the network sees them: uint8 [n, side, side, C], and the same held out."""

    train: Bytes
    validation: Bytes
    side: int
    shape: tuple[int, int]


@dataclass(frozen=True)
class TrainedVariational:
    """What its training left: a card, and files by name."""

    card: VariationalCard
    files: dict[str, bytes]
    gap: float


def learn_small(train: Sequence[Picture], validation: Sequence[Picture], channels: int) -> SmallHistory:
    """Bring pictures to one size, as many as fit the budget, evenly from history.

    Args:
        train: to train on.
        validation: others, to stop by.
        channels: 1 or 3.
    """
    side, shape = side_and_shape([picture.pixels.shape[:2] for picture in train])
    most = min(KNOWN_BYTES // (side * side * channels), MOST)
    parts = []
    for pictures in (train, validation):
        chosen = evenly_spaced(len(pictures), most)
        parts.append(np.stack([shrunk(pictures[i], side, channels) for i in chosen]))
    return SmallHistory(parts[0], parts[1], side, shape)


def fit_variational(
    small: SmallHistory,
    seed: int,
    steps: int | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> TrainedVariational:
    """Train the model of whole pictures, export its halves, and measure it on held-out pictures.

    Args:
        small: to learn from.
        seed: of everything random.
        steps: mini-batches; None: as many as the pictures ask for.
        checkpoint: folder.
        on_progress: called with (step, steps).
        options: of `models.whole.Causes`, for benchmarks.
    """
    from ae_plugin.models import whole
    from ae_plugin.models.budget import Budget
    from ae_plugin.models.export import export
    from ae_plugin.models.training import train

    channels, dims = small.train.shape[3], int(options.get("latent_dim", whole.LATENT))
    model = whole.build(small.side, channels, seed, dims)
    lesson = whole.Causes(small.train, small.validation, **options)
    budget = Budget.of_whole_pictures(len(small.train), steps)
    log.info("training on %d whole pictures, %d pixels a side, %d steps", *small.train.shape[:2], budget.steps)
    done = train(model, lesson, budget, seed, checkpoint, on_progress)
    shape = small.side, small.side, channels
    shown = small.validation[evenly_spaced(len(small.validation), 64)].astype(np.float32) / np.float32(255)
    parts = (small.validation[at : at + 256] for at in range(0, len(small.validation), 256))
    plain = whole.halves(model)[0]
    told = np.concatenate([np.asarray(plain(part.astype(np.float32) / 255)) for part in parts])
    turn = independent(told, seed)
    halves, files, gaps = whole.halves(model, turn), {}, []
    sizes: list[tuple[Shape, Shape]] = [(shape, (2 * dims,)), ((dims,), shape)]
    some: list[Floats] = [shown, np.random.default_rng([seed, 5]).standard_normal((len(shown), dims), np.float32)]
    for name, half, (given, found), rows in zip(HALVES, halves, sizes, some, strict=True):
        files[name], gap, _ = export(half, _loader(given, found), rows)
        gaps.append(gap)
    apart = closest(small.validation, small.train)
    card = VariationalCard.model_validate(
        {
            "side": small.side,
            "shape": small.shape,
            "latent_dim": dims,
            "beta": lesson.beta,
            "kl": [round(float(nats), 4) for nats in kl_of(_turned(told, turn))],
            "pictures": len(small.train),
            "held_out": [round(float(at), 6) for at in np.quantile(apart, HELD_OUT)],
            "steps": done.steps,
            "validation_loss": done.validation_loss,
        }
    )
    weights = {f"{index:04d}": np.ascontiguousarray(array) for index, array in enumerate(model.get_weights())}
    files |= {WEIGHTS: save_arrays(weights), KNOWN: save_arrays({"pictures": np.ascontiguousarray(small.train)})}
    return TrainedVariational(card, files, max(gaps))


def open_variational(
    card: VariationalCard, channels: int, longest: int | None, files: dict[str, bytes]
) -> Variational | None:
    """The model of whole pictures among a version's files; None where they were left out, as scoring may.

    Raises:
        StoreError: the files are no such networks.
    """
    if not set(HALVES) <= files.keys():
        return None
    shape, dims = (card.side, card.side, channels), card.latent_dim
    encoder = LiteHalf(files[ENCODER], given=shape, found=(2 * dims,))
    decoder = LiteHalf(files[DECODER], given=(dims,), found=shape)
    return Variational(encoder, decoder, card.side, channels, card.shape, longest)


def known_pictures(registry: Registry, version: str, card: VariationalCard, channels: int) -> Bytes:
    """The pictures that it was trained on, as the network sees them, uint8 [n, side, side, C].

    Raises:
        StoreError: the version was tampered with, or this is no such file.
    """
    content = registry.read_file(version, KNOWN)
    try:
        arrays = load_arrays(content)
        check_shapes(arrays, {"pictures": (card.pictures, card.side, card.side, channels)})
        return arrays["pictures"]
    except Exception as error:
        where = f"{registry.folder.uri}/_models/{version}/{KNOWN}"
        raise StoreError("holds no pictures", where=where, mend="Train anew") from error


def train_variational(
    pipeline: Pipeline, small: SmallHistory, checkpoint: Path, on_progress: Callable[[int, int], None] | None
) -> TrainedVariational:
    """Train it as a pipeline says."""
    steps = None if pipeline.train.steps == "auto" else int(pipeline.train.steps)
    return fit_variational(small, pipeline.model.seed, steps, checkpoint, on_progress)


def independent(told: Floats, seed: int) -> Floats:
    """Turns codes so that their numbers know least of one another, float32 [L, L], orthogonal.

    The prior and the reconstruction are the same however codes are turned, so that training hardly cares, and leaves
    x and y mixed. FastICA (Hyvärinen, 1999) finds the turn; what carries nothing is left alone.

    Args:
        told: means and log variances of codes, float32 [n, 2 L].
        seed: where it starts from.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    means, turn = told[:, : told.shape[1] // 2].astype(np.float64), np.eye(told.shape[1] // 2)
    active = np.flatnonzero(kl_of(told) > IDLE)
    if len(active) > 1 and len(means) > 10 * len(active):
        model = FastICA(fun="cube", whiten="unit-variance", random_state=seed, max_iter=1_000, tol=1e-4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is good enough
            model.fit(means[:, active])
        left, _, right = np.linalg.svd(model.components_)  # the orthogonal matrix that is nearest
        turn[np.ix_(active, active)] = (left @ right).T
    return turn.astype(np.float32)


def _turned(told: Floats, turn: Floats) -> Floats:
    means, log_variances = np.split(told, 2, axis=1)
    return np.concatenate([means @ turn, np.log(np.exp(log_variances) @ np.square(turn))], axis=1)


def kl_of(told: Floats) -> np.ndarray[Any, Any]:
    """Nats that each latent variable tells of a picture, float64 [L], from means and log variances float32 [n, 2 L]."""
    mean, log_variance = np.split(told.astype(np.float64), 2, axis=1)
    return np.asarray(0.5 * (np.square(mean) + np.exp(log_variance) - 1 - log_variance).mean(axis=0))


def _loader(given: tuple[int, ...], found: tuple[int, ...]) -> Callable[[bytes], LiteHalf]:
    return lambda flat: LiteHalf(flat, given=given, found=found, threads=2)
