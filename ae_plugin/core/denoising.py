"""Noise out of a whole picture: estimate it, make it even, shrink it, and let a network correct what is left.

1. impulses (salt and pepper) are missing pixels, and completed from the others
2. noise that grows with brightness is made even; colours become one brightness and two differences of it
3. sliding DCT shrinkage, for the level that the picture itself shows: nothing is learned, nothing can go wrong
4. a network, where it proved better on held-out pictures, says in noise levels what shrinkage left or took
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ae_plugin.core.completion import FEW_ROUNDS, fill
from ae_plugin.core.noise import Noise, estimate, impulses, level_of, uncut
from ae_plugin.core.pictures import Picture, from_float, to_float
from ae_plugin.core.shrinkage import shrink
from ae_plugin.core.tiles import Cut, Joined, lay
from ae_plugin.core.values import Bools, Floats

SEEN = 5
"""Numbers a pixel that the network sees: see `features`."""
LEAST = 1.5 / 255
"""The level below which a picture has no noise to speak of, and is left alone."""
BLOCK = 4
"""Tiles the network sees at a time."""
PIXELS = 2**22
"""Pixels that noise is taken out of at a time, a little more or less: all of it takes many times a picture's memory."""
_EVERY = 4
"""Windows of the draft start at every fourth pixel."""
_BESIDE, _COMPLETED_BESIDE = 24, 128
"""Rows on either side that say something about a row, when it is shrunk, and when it is completed."""
_WIDEST = 64
"""Pixels around an impulse, as a standard deviation, that its first guess is the mean of at most."""
_REACH = 1.3
"""How near an octave's lower end it must have been tried, as a factor: what holds for more noise need not for less."""
_CERTAIN = 4.0
"""Standard errors that a gain must be above nothing."""
_MIX = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32) / np.sqrt(np.array([[3], [2], [6]], np.float32))

Residual = Callable[[Floats], tuple[Floats]]
"""features [n, h, w, SEEN] -> what to add to the shrunk planes, in noise levels, [n, h, w, 1]."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture made ready to be shrunk.

    Attributes:
        channels: float32 [C, H, W], completed.
        levels: of the noise in each of its planes.
        noise: of the picture.
        lost: whether some of its pixels were impulses, and are completed.
        cut: whether the range from 0 to 1 cut its noise off.
    """

    channels: Floats
    levels: list[float]
    noise: Noise
    lost: bool
    cut: bool

    def planes(self, rows: slice = slice(None)) -> Floats:
        """Some rows as planes of even noise, float32 [P, h, W]: brightness, and for colour two differences."""
        return _planes(self.channels[:, rows], self.noise, slice(None))


def prepare(channels: Floats, noise: Noise | None = None) -> Prepared:
    """Complete a picture's impulses, and find out how noisy it is.

    Args:
        channels: float32 [C, H, W], grey or colour, in 0..1.
        noise: what is known of it; None: to be estimated.
    """
    cut, lost = bool(channels.min() >= 0 and channels.max() <= 1), impulses(channels)
    if lost.any():
        channels = _completed(channels, lost)
    told, noise = noise is not None, estimate(channels) if noise is None else noise
    levels = [noise.level / float(np.sqrt(len(channels)))] * len(channels)
    if not told and len(channels) > 1:  # what differs between channels may be more or less noisy than what they share
        levels = [level_of(_plane(channels, noise, which)) for which in range(len(channels))]
    return Prepared(channels, levels, noise, bool(lost.any()), cut and noise.slope == 0)


class Denoiser:
    """Takes noise out of pictures. Holds no state of what it saw.

    Args:
        network: trained, or None to shrink alone.
        side: (h, w) of the tiles that it sees.
        octaves: of noise levels (see `octave`) in which it proved better than shrinking alone.
    """

    def __init__(
        self,
        network: Residual | None = None,
        side: tuple[int, int] = (8, 8),
        octaves: frozenset[int] = frozenset(),
    ) -> None:
        self.network, self.side, self.octaves = network, side, octaves

    def __call__(self, pixels: Floats, noise: Noise | None = None) -> Floats:
        """Take noise out of a picture.

        Args:
            pixels: float32 [H, W, C] in 0..1; C is 1 or 3.
            noise: what is known of it; None: to be estimated.

        Returns:
            float32 [H, W, C] in 0..1; the pixels themselves where there is no noise to speak of.
        """
        quiet = pixels
        for rows, some in self.bands(prepare(np.moveaxis(pixels, 2, 0), noise)):
            quiet = np.empty_like(pixels) if quiet is pixels else quiet
            quiet[rows] = some
        return quiet

    def bands(self, ready: Prepared) -> Iterator[tuple[slice, Floats]]:
        """Take noise out, some rows at a time: those, and float32 [h, W, C] in 0..1. None if there is none."""
        level, channels = ready.noise.level, len(ready.channels)
        if level < LEAST and not ready.lost:
            return
        asked = level >= LEAST and any(self._network(one) for one in ready.levels)
        for band in _bands(ready.channels.shape[1:], self.side if asked else None):
            planes = ready.planes(band.seen)
            if level < LEAST:
                quiet = planes[:, band.within(band.rows)]
            else:
                quiet = np.stack([self._quiet(*one, band) for one in zip(planes, ready.levels, strict=True)])
            even = np.tensordot(_mix(channels).T * channels, quiet, 1)  # rows of the mix have length 1 / sqrt(C)
            back = ready.noise.uneven(even)
            back = uncut(back, level) if ready.cut else back
            yield band.rows, np.asarray(np.clip(np.moveaxis(back, 0, 2), 0, 1), np.float32)

    def _network(self, level: float) -> Residual | None:
        return self.network if octave(level) in self.octaves else None

    def _quiet(self, plane: Floats, level: float, band: _Band) -> Floats:
        """The rows of a band that are wanted, of all of a plane's that it sees."""
        wanted, network = band.within(band.rows), self._network(level)
        if level == 0:
            return plane[wanted]
        draft, shrunk = shrink(plane[None], np.array([level], np.float32))
        if network is None or band.where is None:
            return np.asarray(shrunk[0, wanted])
        tiled = band.within(band.tiled)
        seen = np.stack([plane[tiled], draft[0, tiled], shrunk[0, tiled]], axis=2)
        own = slice(band.rows.start - band.tiled.start, band.rows.stop - band.tiled.start)
        return np.asarray(shrunk[0, wanted] + np.float32(level) * _added(network, seen, level, band.where)[own])


def _added(network: Residual, seen: Floats, level: float, where: Cut) -> Floats:
    """What is to be added to a shrunk plane, in noise levels, [h, w]; `seen` is what it was, its draft and it."""
    (height, width), last = where.side, where.corners[-1]
    beyond = [max(start + side - length, 0) for start, side, length in zip(last, where.side, seen.shape, strict=False)]
    filled = np.pad(seen, (*((0, more) for more in beyond), (0, 0)), mode="symmetric") if any(beyond) else seen
    joined, levels = Joined(where, 1), np.full(BLOCK, level, np.float32)
    for start in range(0, len(where.corners), BLOCK):  # always as many, since how they round may depend on it
        corners = where.corners[start : start + BLOCK]
        tiles = np.zeros((BLOCK, height, width, 3), np.float32)
        for tile, (top, left) in zip(tiles, corners, strict=False):
            tile[:] = filled[top : top + height, left : left + width]
        noisy, draft, shrunk = np.moveaxis(tiles, 3, 0)
        (added,) = network(features(noisy, draft, shrunk, levels))
        joined.add(added[: len(corners)])
    return joined.whole[..., 0]


def quieted(picture: Picture, denoiser: Denoiser) -> Picture:
    """A picture without its noise; the picture itself where there is none. Alpha is kept."""
    colours = to_float(replace(picture, pixels=picture.pixels[..., :3]))
    pixels = picture.pixels
    for rows, quiet in denoiser.bands(prepare(np.moveaxis(colours, 2, 0))):
        pixels = pixels.copy() if pixels is picture.pixels else pixels
        pixels[rows, :, :3] = from_float(quiet, picture)
    return picture if pixels is picture.pixels else replace(picture, pixels=pixels)


@dataclass(frozen=True)
class _Band:
    """Some rows of a picture, and which are needed to take noise out of them as out of the whole.

    Attributes:
        rows: that are wanted.
        tiled: that the network's tiles over those fill.
        seen: that shrinkage must see.
        where: those tiles lie, counted from the first of the rows that they fill; None: it is not asked.
    """

    rows: slice
    tiled: slice
    seen: slice
    where: Cut | None

    def within(self, rows: slice) -> slice:
        """Rows of the picture as rows of those that are seen."""
        return slice(rows.start - self.seen.start, rows.stop - self.seen.start)


def _bands(size: tuple[int, ...], side: tuple[int, int] | None) -> Iterator[_Band]:
    """A picture of (height, width) in bands; with the network's tiles of a side where those of the whole lie."""
    height, width = size
    if side is None:
        for rows in _some_rows(height, width):
            yield _Band(rows, rows, _around(rows, _BESIDE, height), None)
        return
    _, whole = lay(np.empty((height, width, 0), np.float32), side)
    starts = [0]
    for top, _ in whole.corners:
        if (top - starts[-1]) * width >= PIXELS:
            starts.append(top)
    for start, stop in pairwise([*starts, height]):
        over = [(top, left) for top, left in whole.corners if top < stop and top + side[0] > start]
        tiled = slice(over[0][0], min(over[-1][0] + side[0], height))
        corners = [(top - tiled.start, left) for top, left in over]
        where = Cut(tiled.stop - tiled.start, width, side, corners)
        yield _Band(slice(start, stop), tiled, _around(tiled, _BESIDE, height), where)


def _some_rows(height: int, width: int) -> Iterator[slice]:
    count = max(PIXELS // width, _EVERY)
    return (slice(start, min(start + count, height)) for start in range(0, height, count))


def _around(rows: slice, beyond: int, height: int) -> slice:
    """Rows and as many beyond, from where a window of the draft starts."""
    return slice(max(rows.start - beyond, 0) // _EVERY * _EVERY, min(rows.stop + beyond, height))


def _completed(channels: Floats, lost: Bools) -> Floats:
    """Channels float32 [C, H, W] with impulses, bool [C, H, W], completed: there are known pixels near each."""
    _, height, width = channels.shape
    widest = max(height, width) / 2
    while widest > _WIDEST:
        widest /= 2
    done = np.empty(channels.shape, np.float32)
    for rows in _some_rows(height, width):
        seen = _around(rows, _COMPLETED_BESIDE, height)
        own = slice(rows.start - seen.start, rows.stop - seen.start)
        for channel, gone, out in zip(channels, lost, done, strict=True):
            out[rows] = fill(channel[seen], ~gone[seen], FEW_ROUNDS, widest)[own]
    return done


def _plane(channels: Floats, noise: Noise, which: int) -> Floats:
    """One plane of even noise, float32 [H, W]."""
    _, height, width = channels.shape
    plane = np.empty((height, width), np.float32)
    for rows in _some_rows(height, width):
        plane[rows] = _planes(channels[:, rows], noise, slice(which, which + 1))[0]
    return plane


def _planes(channels: Floats, noise: Noise, which: slice) -> Floats:
    return np.asarray(np.tensordot(_mix(len(channels))[which], noise.even(channels), 1), np.float32)


def features(noisy: Floats, draft: Floats, shrunk: Floats, levels: Floats) -> Floats:
    """What the network sees, float32 [n, h, w, SEEN], of tiles [n, h, w] with noise of levels [n].

    In noise levels: what shrinking took, how the draft differs, and brightness; then brightness and the level as such.
    """
    level = levels[:, None, None]
    middle = shrunk - np.float32(0.5)
    parts = (
        (noisy - shrunk) / level,
        (draft - shrunk) / level,
        middle / (10 * level),
        2 * middle,
        np.broadcast_to(4 * level, noisy.shape),
    )
    return np.stack(parts, axis=3).astype(np.float32)


def octave(level: float) -> int:
    """Which doubling of the noise level it is in, from 1/255; the ends are open."""
    return int(np.clip(np.floor(np.log2(max(level, 1e-9) * 255)), 0, 6))


def gains(network: Residual, seen: Floats, wanted: Floats) -> dict[int, float]:
    """How much better than shrinking alone a network is: octave -> gain in dB, only where it is beyond doubt.

    Args:
        network: trained.
        seen: features [n, h, w, SEEN] of held-out tiles.
        wanted: what should be added, [n, h, w, 1]; it may be noisy itself, if of noise that `seen` knows nothing of.
    """
    added = np.concatenate([network(seen[start : start + BLOCK])[0] for start in range(0, len(seen), BLOCK)])
    before = np.square(wanted).mean(axis=(1, 2, 3), dtype=np.float64)
    after = np.square(wanted - added).mean(axis=(1, 2, 3), dtype=np.float64)
    levels = seen[:, 0, 0, 4] / 4
    octaves = np.array([octave(level) for level in levels])
    found: dict[int, float] = {}
    for one in np.unique(octaves):
        gain, least = (before - after)[octaves == one], levels[octaves == one].min()
        if (
            len(gain) > 1
            and least * 255 <= _REACH * 2.0**one
            and gain.mean() > _CERTAIN * gain.std(ddof=1) / np.sqrt(len(gain))
        ):
            found[int(one)] = float(10 * np.log10(before[octaves == one].mean() / after[octaves == one].mean()))
    return found


def _mix(channels: int) -> Floats:
    """How planes are made of channels: orthogonal, so that noise stays even, and brightness is their mean."""
    return np.asarray(_MIX / np.float32(np.sqrt(3))) if channels == 3 else np.ones((1, 1), np.float32)
