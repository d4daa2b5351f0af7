"""The second lesson of a pictures' training: a network that takes noise out after shrinkage, kept if it is better."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

import numpy as np

from ae_plugin.config import Pipeline
from ae_plugin.core.denoising import BLOCK, SEEN, gains, prepare
from ae_plugin.core.laid import seen
from ae_plugin.core.pictures import Picture
from ae_plugin.core.tiles import cut, side_for
from ae_plugin.core.values import Floats

log = logging.getLogger(__name__)
MOST_PICTURES = 512
"""To learn from, and as many to validate with."""
PIXELS, PIECE = 2**26, 1_024
"""Pixels of all of them, and of a piece's side."""
TILE_BYTES = 128 * 2**20
EVEN, FEWEST = 8, 16
"""Sides of its tiles are multiples of the first, and no less than the second."""
LARGE = 128
"""Side of the tiles it sees when scoring pictures that are not one tile each: the overlap costs less."""


@dataclass(frozen=True)
class Planes:
    """Tiles of planes to learn denoising from, of history's pictures as they are: with noise or without.

    Attributes:
        train: float32 [n, h, w], and the level of the noise in each, [n].
        validation: the same of other pictures.
        spread: what noise of a picture is multiplied by in its planes.
        whole: whether each is one of a whole picture.
    """

    train: tuple[Floats, Floats]
    validation: tuple[Floats, Floats]
    spread: float
    whole: bool

    @property
    def side(self) -> tuple[int, int]:
        """(h, w) of the tiles."""
        _, height, width = self.train[0].shape
        return height, width


@dataclass(frozen=True)
class TrainedDenoiser:
    """What the lesson left: the exported network, its tiles' side, and octave of noise level -> gain in dB."""

    flat: bytes
    side: tuple[int, int]
    gains: dict[int, float]

    @property
    def notes(self) -> list[str]:
        """For the training report."""
        if not self.gains:
            return ["denoising: the network is no better than shrinkage, and was left out"]
        each = ", ".join(f"{gain:.2f} dB from {2**octave}/255" for octave, gain in sorted(self.gains.items()))
        return [f"denoising: on held-out tiles the network is better than shrinkage, by noise level: {each}"]


def learn_planes(pictures: Iterable[tuple[Picture, bool]], count: int, channels: int) -> Planes:
    """Make planes of pictures, as many tiles of each as fit the budget together.

    Args:
        pictures: as they came, and whether each is held out to validate with.
        count: how many they are at most; of large ones a piece is enough.
        channels: 1 or 3.
    """
    rng, longest = np.random.default_rng(13), min(isqrt(PIXELS // count), PIECE)
    parts: tuple[list[Picture], list[Picture]] = [], []
    for picture, held_out in pictures:
        parts[held_out].append(_piece(picture, longest, rng))
    sizes = {(picture.pixels.shape[0], picture.pixels.shape[1]) for part in parts for picture in part}
    side = side_for(sizes)
    learn, held = (_planes(part, _own(side), channels, rng) for part in parts)
    return Planes(learn, held, float(1 / np.sqrt(channels)), whole=sizes == {side})


def fit_denoiser(
    pipeline: Pipeline,
    planes: Planes,
    checkpoint: Path,
    on_progress: Callable[[int, int], None] | None,
) -> TrainedDenoiser:
    """Train the network, export it, and find out where it is better than shrinkage alone.

    Args:
        pipeline: its seed and steps.
        planes: to learn from.
        checkpoint: folder.
        on_progress: called with (step, steps).
    """
    from ae_plugin.models import denoising
    from ae_plugin.models.export import export
    from ae_plugin.models.training import train
    from ae_plugin.runtime.litert import LiteDenoiser

    seed = pipeline.model.seed
    own = planes.side
    model, lesson = denoising.build(own, seed), denoising.Denoising(planes.train, planes.validation, planes.spread)
    budget = denoising.budget(own, pipeline.train.steps)
    log.info("training to denoise on %d tiles, %d steps", len(planes.train[0]), budget.steps)
    train(model, lesson, budget, seed, checkpoint, on_progress)
    large = own if planes.whole else (LARGE, LARGE)
    whole = denoising.build(large, seed)
    whole.set_weights(model.get_weights())

    def load(flat: bytes) -> LiteDenoiser:
        return LiteDenoiser(flat, side=large, seen=SEEN, threads=2)

    tried = list(lesson.trials(np.random.default_rng([seed, 17])))
    shown, wanted = (np.concatenate(parts) for parts in zip(*tried, strict=True))
    times = (1, large[0] // own[0], large[1] // own[1], 1)
    flat, _, _ = export(whole, load, np.tile(shown[:BLOCK], times))
    better = gains(lambda some: (np.asarray(model(some, training=False)),), shown, wanted)
    log.info("denoising: better than shrinkage by %s dB, at octaves of noise", better)
    return TrainedDenoiser(flat, large, better)


def _piece(picture: Picture, longest: int, rng: np.random.Generator) -> Picture:
    """A piece from anywhere in a picture, of so many pixels a side; the picture itself where it is not larger."""
    height, width, _ = picture.pixels.shape
    if height <= longest and width <= longest:
        return picture
    top, left = (int(rng.integers(0, max(length - longest, 0) + 1)) for length in (height, width))
    return replace(picture, pixels=picture.pixels[top : top + longest, left : left + longest].copy())


def _own(side: tuple[int, int]) -> tuple[int, int]:
    """The (h, w) of its tiles: the network halves them twice, and its lesson leaves out what is near their edges.

    Args:
        side: (h, w) of the tiles that such pictures are cut into by other networks.
    """
    height, width = (max(-(-length // EVEN) * EVEN, FEWEST) for length in side)
    return height, width


def _planes(
    chosen: Sequence[Picture], side: tuple[int, int], channels: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    most = max(TILE_BYTES // (side[0] * side[1] * 4), 1)
    each = max(most // len(chosen), 1)
    parts, levels = [], []
    for picture in chosen:
        ready = prepare(np.moveaxis(seen(picture, channels), 2, 0))
        planes = np.moveaxis(ready.planes(), 0, 2)
        shifted = planes[side[0] // 3 :, side[1] // 3 :]
        fits = shifted.shape[0] >= side[0] and shifted.shape[1] >= side[1]
        tiles = np.concatenate([cut(part, side)[0] for part in ([planes, shifted] if fits else [planes])])
        # Of colours, brightness is half of what is learned.
        own = [tiles[..., 0], *(tiles[plane - 1 :: 2, ..., plane] for plane in range(1, channels))]
        noise = np.repeat(np.array(ready.levels, np.float32), [len(part) for part in own])
        some = np.sort(rng.permutation(len(noise))[:each])
        parts.append(np.concatenate(own)[some])
        levels.append(noise[some])
    return np.concatenate(parts), np.concatenate(levels)
