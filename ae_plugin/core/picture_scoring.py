"""One picture, one score: its oddest tile, by how far that is from history and by what the network would undo in it.

Three views of a tile, each turned into nats of surprise (minus log upper-tail probability), then added up:

    near      distance from tiles of history, in descriptor and latent code together; counts twice
    wrong     the most that any smoothed pixel looks like a defect; counts twice
    clean     mean change that the network would make; counts half

Where a picture is wrong comes from the same map: heat is the smoothed likelihood that a pixel is a defect, and a pixel
is called wrong beyond the heat that all but `alert_rate` of good pictures stay below everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter

from ae_plugin.core.calibration import PValues, Tail, is_anomaly, whole_levels
from ae_plugin.core.descriptors import hog
from ae_plugin.core.neighbours import FEW, SEED, Indices, Neighbours
from ae_plugin.core.pictures import Picture, Pixels, from_float, to_float
from ae_plugin.core.tiles import Cut, cut, join
from ae_plugin.core.values import Bools, Floats

BLOCK = 16
"""Tiles the network sees at a time: always as many, since how a runtime rounds may depend on it."""
TOGETHER = 64
"""Tiles of small pictures that are looked at together."""
SMOOTH = 1.5
WEIGHTS = {"near": np.float32(2), "wrong": np.float32(2), "clean": np.float32(0.5)}

Repairer = Callable[[Floats], tuple[Floats, Floats]]
"""tiles [n, h, w, C] -> (maps [n, h, w, C + 1]: the tile repaired and how likely each pixel is wrong, code [n, L])."""


@dataclass(frozen=True)
class PictureReference:
    """What good pictures look like to the score; every array is saved beside the weights.

    Attributes:
        near: the tiles that distance is measured from.
        views: upper tails on tiles of history: near, wrong, clean.
        calibration: float32 [m], scores of the calibration pictures, increasing.
        hottest: float32 [m], the largest heat in each of them, increasing.
        far: the distance that 95% of the calibration pictures' middle tiles stay within; the guard's measure.
    """

    near: Neighbours
    views: dict[str, Tail]
    calibration: Floats
    hottest: Floats
    far: float


@dataclass(frozen=True)
class Looked:
    """What is said of n tiles: views float32 [n] each, the network's maps [n, h, w, C + 1] and codes [n, L]."""

    views: dict[str, Floats]
    maps: Floats
    codes: Floats


@dataclass(frozen=True, eq=False)
class ScoredPicture:
    """One picture's verdict.

    Attributes:
        score: higher = more anomalous.
        distance: of its middle tile from history; for the guard.
        heat: float32 [H, W], 0..1.
        repaired: float32 [H, W, C], the whole reconstruction.
        code: float32 [L], mean of its tiles' latent codes.
    """

    score: np.float32
    distance: np.float32
    heat: Floats
    repaired: Floats
    code: Floats


class PictureScorer:
    """Scores pictures with one model version. Holds no state of what it scored.

    Args:
        network: trained.
        reference: learned from training and calibration pictures.
        side: (height, width) of a tile.
        channels: 1 or 3, of what the network sees.
        alert_rate: share of good pictures that may be flagged.
        contaminated: whether history may have held anomalies.
    """

    def __init__(
        self,
        network: Repairer,
        reference: PictureReference,
        side: tuple[int, int],
        channels: int,
        alert_rate: float,
        contaminated: bool,
    ) -> None:
        self.network, self.reference, self.side, self.channels = network, reference, side, channels
        self.alert_rate, self.contaminated = alert_rate, contaminated

    @cached_property
    def p_values(self) -> PValues:
        """P-values of scores."""
        return PValues(self.reference.calibration)

    @cached_property
    def limit(self) -> float:
        """The heat from which on a pixel is wrong; more than 1, so none is, when calibration pictures are too few."""
        hottest = self.reference.hottest
        beyond = int(self.alert_rate * (len(hottest) + 1))
        return float(hottest[len(hottest) - beyond]) if beyond else 2.0

    def score(self, pictures: Sequence[Picture]) -> Iterator[ScoredPicture]:
        """Score pictures of any size and mode, in order."""
        waiting: list[tuple[Floats, Cut]] = []
        for picture in pictures:
            waiting.append(cut(seen(picture, self.channels), self.side))
            if sum(len(tiles) for tiles, _ in waiting) >= TOGETHER:
                yield from self._score(waiting)
                waiting = []
        if waiting:
            yield from self._score(waiting)

    def _score(self, cuts: list[tuple[Floats, Cut]]) -> Iterator[ScoredPicture]:
        looked = look(self.network, self.reference.near, np.concatenate([tiles for tiles, _ in cuts]))
        nats = surprise(looked.views, self.reference.views)
        start = 0
        for tiles, where in cuts:
            own = slice(start, start + len(tiles))
            start = own.stop
            maps = join(looked.maps[own], where)
            yield ScoredPicture(
                score=whole_levels(nats[own].max(keepdims=True))[0],
                distance=np.float32(np.median(looked.views["near"][own])),
                heat=smoothed(maps[..., -1]),
                repaired=maps[..., :-1],
                code=looked.codes[own].mean(axis=0),
            )

    def flag(self, scores: Floats) -> tuple[Floats, Bools]:
        """P-values float32 [n] of scores float32 [n], and which are anomalies, bool [n]."""
        p = self.p_values(scores)
        return p, is_anomaly(p, self.alert_rate)

    def mask(self, heat: Floats) -> Bools:
        """Which pixels are wrong, bool [H, W]."""
        return np.asarray(heat >= self.limit)


def seen(picture: Picture, channels: int) -> Floats:
    """A picture as the network sees it, float32 [H, W, channels] in 0..1: grey or colour, without alpha."""
    pixels = to_float(picture)[..., :3]
    if channels == 1 and pixels.shape[2] == 3:
        return np.asarray(pixels.mean(axis=2, keepdims=True))
    return np.repeat(pixels, 3, axis=2) if channels == 3 and pixels.shape[2] == 1 else pixels


def mend(picture: Picture, scored: ScoredPicture, where: Bools | None) -> Pixels:
    """A picture's pixels with some of them replaced by what the network says; None: all of them. Alpha is kept.

    Args:
        picture: as it came.
        scored: what came of it.
        where: bool [H, W].
    """
    pixels, colours = to_float(picture), min(picture.pixels.shape[2], 3)
    new = scored.repaired
    if new.shape[2] != colours:  # a colour picture that the network sees in grey keeps its colours' differences
        before = pixels[..., :colours].mean(axis=2, keepdims=True)
        new = pixels[..., :colours] + (new.mean(axis=2, keepdims=True) - before)
    pixels[..., :colours] = new if where is None else np.where(where[..., None], new, pixels[..., :colours])
    mended = from_float(pixels, picture)
    return mended if where is None else np.where(where[..., None], mended, picture.pixels)


def look(network: Repairer, near: Neighbours | None, tiles: Floats, own: Indices | None = None) -> Looked:
    """Look at tiles float32 [n, h, w, C]; `own`: which points of `near` they are, [n], -1 for none."""
    maps, codes = run(network, tiles)
    views = {
        "wrong": smoothed(maps[..., -1]).max(axis=(1, 2)),
        "clean": np.abs(maps[..., :-1] - tiles).mean(axis=(1, 2, 3)),
    }
    if near is not None:
        views["near"] = near.distance(hog(tiles), codes, own)
    return Looked(views, maps, codes)


def run(network: Repairer, tiles: Floats) -> tuple[Floats, Floats]:
    """Run the network over any number of tiles, in whole blocks; the last is filled up with zeros."""
    parts = []
    for start in range(0, max(len(tiles), 1), BLOCK):
        part = tiles[start : start + BLOCK]
        filled = np.zeros((BLOCK, *tiles.shape[1:]), np.float32)
        filled[: len(part)] = part
        parts.append([array[: len(part)] for array in network(filled)])
    maps, codes = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return maps, codes


def surprise(views: dict[str, Floats], tails: dict[str, Tail]) -> Floats:
    """Add up the surprise of the views, each by its weight, float32 [n]."""
    out = np.zeros(len(views["clean"]), np.float32)
    for name, tail in tails.items():
        out += WEIGHTS[name] * tail(views[name])
    return out


def smoothed(wrong: Floats) -> Floats:
    """Heat: likelihoods that pixels are wrong, smoothed over the last two axes."""
    sigma = [0.0] * (wrong.ndim - 2) + [SMOOTH, SMOOTH]
    return np.asarray(gaussian_filter(wrong, sigma), np.float32)


def fit_picture_reference(
    network: Repairer,
    train: Floats,
    validation: Floats,
    calibration: Sequence[Picture],
    channels: int,
    *,
    contaminated: bool,
) -> PictureReference:
    """Learn the score from tiles and pictures that are held out from one another.

    Args:
        network: trained.
        train: float32 [n, h, w, C], tiles it was trained on; distance is measured from them.
        validation: float32 [k, h, w, C], tiles it was not trained on.
        calibration: pictures that nothing was learned from.
        channels: C.
        contaminated: whether history may hold anomalies.
    """
    asked = train[np.sort(np.random.default_rng(SEED).permutation(len(train))[:FEW])]
    described, (_, codes) = hog(asked), run(network, asked)
    none = described[:0], codes[:0]
    near, own = Neighbours.fit((described, codes), none, contaminated=contaminated)
    views = look(network, None, validation).views
    views["near"] = near.distance(described, codes, own)
    tails = {name: Tail.fit(views[name]) for name in WEIGHTS}
    blank = PictureReference(near, tails, np.zeros(1, np.float32), np.zeros(1, np.float32), 0.0)
    side = train.shape[1], train.shape[2]
    scored = list(PictureScorer(network, blank, side, channels, 0.5, contaminated).score(calibration))
    return PictureReference(
        near,
        tails,
        np.sort(np.array([one.score for one in scored], np.float32)),
        np.sort(np.array([one.heat.max() for one in scored], np.float32)),
        float(np.quantile([one.distance for one in scored], 0.95)),
    )
