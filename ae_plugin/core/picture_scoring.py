"""One picture, one score: its oddest tile, by how far that is from history or by what the network would undo in it.

Two views of a tile, each turned into nats of surprise (minus log upper-tail probability); the larger one counts:

    near      distance from tiles of history, in histograms of oriented gradients
    wrong     its hottest pixel: heat is the likelihood that a pixel is a defect, times how much the network would
              change it, smoothed

Where history's pictures have a right way up, as shirts have, the first view counts up to three times; where they have
none, as pieces of circuit boards, down to a third. A pixel is called wrong beyond the heat that all but `alert_rate` of
good pictures stay within everywhere, and so is what hangs together with it and is half as hot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from PIL import Image

from ae_plugin.core.calibration import PValues, Tail, is_anomaly, threshold, whole_levels
from ae_plugin.core.descriptors import hog
from ae_plugin.core.laid import Laid
from ae_plugin.core.neighbours import SEED, Indices, Neighbours
from ae_plugin.core.picture_guard import Kind, limits_of
from ae_plugin.core.pictures import Picture, resized, scaled
from ae_plugin.core.repair import wrong_pixels
from ae_plugin.core.tiles import Joined, grey
from ae_plugin.core.values import Bools, Floats, Longs

BLOCK, ASKED = 8, 64
"""Tiles seen by the network, and measured, at a time: always as many, since how they round may depend on it."""
TOGETHER = 128
"""Tiles of small pictures that are looked at together."""
PIECE = 512
"""Tiles of one picture that are looked at together at most: of a huge one all of them would not fit memory."""
SMOOTH = 0.5
VIEWS = "near", "wrong"
POINTS, FEWEST, SHARE = 4_096, 4, 50
"""Tiles that distance is measured from; it is the mean to the nearest 4, or, where history may hold anomalies, 2%."""

Repairer = Callable[[Floats], tuple[Floats, Floats]]
"""tiles [n, h, w, C] -> (maps [n, h, w, C + 1]: the tile repaired and how likely each pixel is wrong, code [n, L])."""


@dataclass(frozen=True)
class PictureReference:
    """What good pictures look like to the score; every array is saved beside the weights.

    Attributes:
        near: the tiles that distance is measured from.
        views: upper tails on tiles of history: near, wrong.
        upright: what `near` counts, 1/3 to 3: more, the better it tells history's tiles from the same ones turned.
        calibration: float32 [m], scores of the calibration pictures, increasing.
        hottest: float32 [m], the largest heat in each of them, increasing.
        far: the distances that the calibration pictures' middle tiles stay within, see `limits_of`; for the guard.
        kind: where history's pictures lie; for the guard.
    """

    near: Neighbours
    views: dict[str, Tail]
    upright: float
    calibration: Floats
    hottest: Floats
    far: tuple[float, ...]
    kind: Kind


@dataclass(frozen=True)
class Looked:
    """What is said of n tiles.

    Attributes:
        views: float32 [n] each.
        repaired, heat, codes, described: float32 [n, h, w, C], [n, h, w, 1], [n, L] and [n, F].
    """

    views: dict[str, Floats]
    repaired: Floats
    heat: Floats
    codes: Floats
    described: Floats


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is kept of a calibration picture.

    Attributes:
        score, distance, code, described: as in `ScoredPicture`.
        hottest: the largest heat in it.
    """

    score: np.float32
    distance: np.float32
    code: Floats
    described: Floats
    hottest: np.float32


@dataclass(frozen=True, eq=False)
class ScoredPicture:
    """One picture's verdict.

    Attributes:
        score: higher = more anomalous.
        distance: of its middle tile from history; for the guard.
        heat: float32 [H, W], 0..1.
        repaired: float32 [H, W, C], the whole reconstruction.
        code: float32 [L], mean of its tiles' latent codes.
        described: float32 [F], mean of its tiles' descriptors; for the guard.
    """

    score: np.float32
    distance: np.float32
    heat: Floats
    repaired: Floats
    code: Floats
    described: Floats


class PictureScorer:
    """Scores pictures with one model version. Holds no state of what it scored.

    Args:
        network: trained.
        reference: learned from training and calibration pictures.
        side: (height, width) of a tile.
        channels: 1 or 3, of what the network sees.
        alert_rate: share of good pictures that may be flagged.
        contaminated: whether history may have held anomalies.
        image_size: pixels of a picture's longer side as the network sees it; None: at its own resolution.
    """

    def __init__(
        self,
        network: Repairer,
        reference: PictureReference,
        side: tuple[int, int],
        channels: int,
        alert_rate: float,
        contaminated: bool,
        image_size: int | None = None,
    ) -> None:
        self.network, self.reference, self.side, self.channels = network, reference, side, channels
        self.alert_rate, self.contaminated, self.image_size = alert_rate, contaminated, image_size

    @cached_property
    def p_values(self) -> PValues:
        """P-values of scores."""
        return PValues(self.reference.calibration)

    @cached_property
    def limit(self) -> float:
        """The heat beyond which a pixel is wrong; infinite, so that none is, when calibration pictures are too few."""
        limit = threshold(self.reference.hottest, self.alert_rate)
        return np.inf if limit is None else limit

    def score(self, pictures: Iterable[Picture]) -> Iterator[ScoredPicture]:
        """Score pictures of any size and mode, in order."""
        waiting: list[tuple[_Open, Floats]] = []
        for picture in pictures:
            one = _Open(picture, self.side, self.channels, self.image_size)
            for tiles in one.pieces():
                waiting.append((one, tiles))
                if sum(len(tiles) for _, tiles in waiting) >= TOGETHER:
                    yield from self._score(waiting)
                    waiting = []
        if waiting:
            yield from self._score(waiting)

    def _score(self, pieces: list[tuple[_Open, Floats]]) -> Iterator[ScoredPicture]:
        """Look at pieces; yields the pictures that are complete with them."""
        looked = look(self.network, self.reference.near, np.concatenate([tiles for _, tiles in pieces]))
        nats = surprise(looked.views, self.reference)
        start = 0
        for one, tiles in pieces:
            own = slice(start, start + len(tiles))
            start = own.stop
            one.add(looked, nats, own)
            if one.complete:
                yield one.scored()

    def flag(self, scores: Floats) -> tuple[Floats, Bools]:
        """P-values float32 [n] of scores float32 [n], and which are anomalies, bool [n]."""
        p = self.p_values(scores)
        return p, is_anomaly(p, self.alert_rate)

    def mask(self, heat: Floats) -> Bools:
        """Which pixels are wrong, bool [H, W]."""
        return wrong_pixels(heat, self.limit)


class _Open:
    """A picture that is being scored, piece by piece.

    Args:
        picture: of any size.
        side: (height, width) of a tile.
        channels: of what the network sees.
        image_size: pixels of its longer side as the network sees it; None: as it is.
    """

    def __init__(self, picture: Picture, side: tuple[int, int], channels: int, image_size: int | None) -> None:
        self._size = picture.pixels.shape[0], picture.pixels.shape[1]
        self._laid, self._channels = Laid.of(scaled(picture, image_size) if image_size else picture, side), channels
        self._joined = Joined(self._laid.where, channels + 1)
        self._nats: list[Floats] = []
        self._near: list[Floats] = []
        self._codes: list[Floats] = []
        self._described = np.float32(0)  # as a sum: of all tiles of a huge picture they would be as large as it is

    def pieces(self) -> Iterator[Floats]:
        """Its tiles as the network sees them, some at a time."""
        for start in range(0, len(self._laid.where.corners), PIECE):
            yield self._laid.tiles(self._channels, slice(start, start + PIECE))

    def add(self, looked: Looked, nats: Floats, own: slice) -> None:
        """Take what was said of its next tiles, among others."""
        self._joined.add(np.concatenate([looked.repaired[own], looked.heat[own]], axis=3))
        self._nats.append(nats[own])
        self._near.append(looked.views["near"][own])
        self._codes.append(looked.codes[own])
        for tile in looked.described[own]:  # one by one: how a sum rounds depends on how it is cut
            self._described = self._described + tile

    @property
    def complete(self) -> bool:
        """Whether all of its tiles were added."""
        return sum(map(len, self._nats)) == len(self._laid.where.corners)

    def scored(self) -> ScoredPicture:
        """What came of it."""
        maps = _at_size(self._joined.whole, self._size)
        return ScoredPicture(
            score=whole_levels(np.concatenate(self._nats).max(keepdims=True))[0],
            distance=np.float32(np.median(np.concatenate(self._near))),
            heat=maps[..., -1],
            repaired=maps[..., :-1],
            code=np.concatenate(self._codes).mean(axis=0),
            described=np.asarray(self._described / np.float32(len(self._laid.where.corners)), np.float32),
        )


def _at_size(maps: Floats, size: tuple[int, int]) -> Floats:
    """Maps float32 [h, w, C + 1] at a picture's own (height, width).

    The last, heat, keeps its values, since the limit beyond which a pixel is wrong is one of the smaller picture's.
    """
    if maps.shape[:2] == size:
        return maps
    out = np.empty((*size, maps.shape[2]), np.float32)
    for channel in range(maps.shape[2]):
        heat = channel == maps.shape[2] - 1
        how = Image.Resampling.NEAREST if heat else Image.Resampling.BILINEAR
        out[..., channel] = resized(maps[..., channel], size, how)
    return out


def look(network: Repairer, near: Neighbours, tiles: Floats) -> Looked:
    """Look at tiles float32 [n, h, w, C]."""
    maps, codes = run(network, tiles)
    heat, described = heat_of(maps, tiles), hog(tiles)
    views = {"near": distance(near, described), "wrong": heat.max(axis=(1, 2))}
    return Looked(views, maps[..., :-1], heat[..., None], codes, described)


def distance(near: Neighbours, described: Floats, own: Indices | None = None) -> Floats:
    """How far tiles, by their descriptors, are from those of history, float32 [n]; `own`: which of those they are."""
    return near.distance(described, described[:, :0], own, ASKED)


def run(network: Repairer, tiles: Floats) -> tuple[Floats, Floats]:
    """Run the network over any number of tiles, in whole blocks; the last is filled up with zeros."""
    parts = []
    for start in range(0, max(len(tiles), 1), BLOCK):
        part = block = tiles[start : start + BLOCK]
        if len(part) < BLOCK:
            block = np.zeros((BLOCK, *tiles.shape[1:]), np.float32)
            block[: len(part)] = part
        parts.append([array[: len(part)] for array in network(block)])
    maps, codes = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return maps, codes


def surprise(views: dict[str, Floats], reference: PictureReference) -> Floats:
    """The surprise of the more surprising view, float32 [n]."""
    nats = {name: tail(views[name]) for name, tail in reference.views.items()}
    return np.asarray(np.maximum(np.float32(reference.upright) * nats["near"], nats["wrong"]))


def heat_of(maps: Floats, tiles: Floats) -> Floats:
    """How likely each pixel is wrong and how much would be changed, 0..1, smoothed, float32 [n, h, w]."""
    changed = grey(np.abs(maps[..., :-1] - tiles))
    odd = np.sqrt(np.minimum(changed, 1) * maps[..., -1])
    _, height, width = odd.shape
    return np.asarray(_smoothing(height) @ odd @ _smoothing(width).T)


@cache
def _smoothing(length: int) -> Floats:
    """The matrix that smooths along a side: a product with it, tile by tile, is many times as fast as a filter."""
    reach = round(4 * SMOOTH)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTH) ** 2)
    wide = np.pad(np.eye(length), ((reach, reach), (0, 0)), mode="symmetric")
    total = sum(tap * wide[start : start + length] for start, tap in enumerate(taps / taps.sum()))
    return np.asarray(total, np.float32)


def fit_and_judge(
    network: Repairer,
    train: Floats,
    validation: Floats,
    calibration: Sequence[Picture],
    partitions: Longs,
    channels: int,
    *,
    contaminated: bool,
) -> tuple[PictureReference, list[Verdict]]:
    """Learn the score from tiles and pictures that are held out from one another, and say what each of those is.

    Args:
        network: trained.
        train: float32 [n, h, w, C], tiles it was trained on; distance is measured from them.
        validation: float32 [k, h, w, C], tiles it was not trained on.
        calibration: pictures that nothing was learned from.
        partitions: int64, the number of the partition that each of them is from.
        channels: C.
        contaminated: whether history may hold anomalies.

    Returns:
        The reference, and a verdict on each calibration picture, in order.
    """
    points = train[np.sort(np.random.default_rng(SEED).permutation(len(train))[:POINTS])]
    described = hog(points)
    near = Neighbours.of(described, max(FEWEST, len(points) // SHARE) if contaminated else FEWEST)
    measured = distance(near, described, np.arange(len(points)))
    views = {"near": measured, "wrong": _hottest(network, validation)}
    tails = {name: Tail.fit(views[name]) for name in VIEWS}
    upright = 3 ** (2 * _upright(near, validation) - 1)
    none = np.zeros(1, np.float32)
    blank = PictureReference(near, tails, upright, none, none, (), Kind(none, none[:, None], ()))
    side = train.shape[1], train.shape[2]
    scorer = PictureScorer(network, blank, side, channels, 0.5, contaminated)
    # One by one: maps of all of them would be many times their pixels.
    told = [
        Verdict(one.score, one.distance, one.code, one.described, one.heat.max()) for one in scorer.score(calibration)
    ]
    distances = np.array([one.distance for one in told], np.float32)
    reference = replace(
        blank,
        calibration=np.sort(np.array([one.score for one in told], np.float32)),
        hottest=np.sort(np.array([one.hottest for one in told], np.float32)),
        far=limits_of(distances),
        kind=Kind.fit(described, np.stack([one.described for one in told]), distances, partitions),
    )
    return reference, told


def _hottest(network: Repairer, tiles: Floats) -> Floats:
    """Each tile's hottest pixel, float32 [n]; some at a time, since their maps are as large as they are."""
    pieces = [tiles[start : start + PIECE] for start in range(0, len(tiles), PIECE)]
    return np.concatenate([heat_of(run(network, piece)[0], piece).max(axis=(1, 2)) for piece in pieces])


def _upright(near: Neighbours, tiles: Floats) -> float:
    """How well distance tells tiles from the same ones upside down or mirrored, 0 (not at all) to 1 (always)."""
    from sklearn.metrics import roc_auc_score

    truth, usual = np.repeat([0, 1], len(tiles)), distance(near, hog(tiles))
    turned = (tiles[:, ::-1], tiles[:, :, ::-1], tiles[:, ::-1, ::-1])
    told = [roc_auc_score(truth, np.r_[usual, distance(near, hog(np.ascontiguousarray(other)))]) for other in turned]
    return float(np.clip(2 * max(told) - 1, 0, 1))
