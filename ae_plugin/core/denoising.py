"""Noise out of a whole picture: estimate it, make it even, shrink it, and let a network correct what is left.

1. impulses (salt and pepper) are missing pixels, and completed from the others
2. noise that grows with brightness is made even; colours become one brightness and two differences of it
3. sliding DCT shrinkage, for the level that the picture itself shows: nothing is learned, nothing can go wrong
4. a network, where it proved better on held-out pictures, says in noise levels what shrinkage left or took
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ae_plugin.core.completion import FEW_ROUNDS, fill
from ae_plugin.core.noise import Noise, estimate, impulses, level_of, uncut
from ae_plugin.core.pictures import Picture, from_float, to_float
from ae_plugin.core.shrinkage import shrink
from ae_plugin.core.tiles import through
from ae_plugin.core.values import Floats

SEEN = 5
"""Numbers a pixel that the network sees: see `features`."""
LEAST = 1.5 / 255
"""The level below which a picture has no noise to speak of, and is left alone."""
BLOCK = 4
"""Tiles the network sees at a time."""
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
        planes: float32 [P, H, W]: brightness, and for colour two differences.
        levels: of the noise in each of them.
        noise: of the picture.
        lost: whether some of its pixels were impulses, and are completed.
    """

    planes: Floats
    levels: list[float]
    noise: Noise
    lost: bool


def prepare(channels: Floats, noise: Noise | None = None) -> Prepared:
    """Complete a picture's impulses, and turn its channels float32 [C, H, W] into planes of even noise.

    Args:
        channels: grey or colour, in 0..1.
        noise: what is known of it; None: to be estimated.
    """
    lost = impulses(channels)
    if lost.any():
        channels = np.stack([fill(*both, FEW_ROUNDS) for both in zip(channels, ~lost, strict=True)])
    told, noise = noise is not None, estimate(channels) if noise is None else noise
    planes = np.tensordot(_mix(len(channels)), noise.even(channels), 1)
    levels = [noise.level / float(np.sqrt(len(channels)))] * len(planes)
    if not told and len(planes) > 1:  # what differs between channels may be more or less noisy than what they share
        levels = [level_of(plane) for plane in planes]
    return Prepared(planes, levels, noise, bool(lost.any()))


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
        channels = np.moveaxis(pixels, 2, 0)
        ready = prepare(channels, noise)
        if ready.noise.level < LEAST and not ready.lost:
            return pixels
        mix, quiet = _mix(len(channels)), ready.planes
        if ready.noise.level >= LEAST:
            quiet = np.stack([self._quiet(*both) for both in zip(ready.planes, ready.levels, strict=True)])
        even = np.tensordot(mix.T * len(channels), quiet, 1)  # rows of the mix have length 1 / sqrt(C)
        back = ready.noise.uneven(even)
        if ready.noise.slope == 0 and pixels.min() >= 0 and pixels.max() <= 1:
            back = uncut(back, ready.noise.level)
        return np.asarray(np.clip(np.moveaxis(back, 0, 2), 0, 1), np.float32)

    def _quiet(self, plane: Floats, level: float) -> Floats:
        if level == 0:
            return plane
        draft, shrunk = shrink(plane[None], np.array([level], np.float32))
        network = self.network
        if network is None or octave(level) not in self.octaves:
            return np.asarray(shrunk[0])

        def corrected(tiles: Floats) -> Floats:
            noisy, rough, base = np.moveaxis(tiles, 3, 0)
            levels = np.full(len(tiles), level, np.float32)
            return network(features(noisy, rough, base, levels))[0]

        seen = np.stack([plane, draft[0], shrunk[0]], axis=2)
        added = through(corrected, seen, self.side, BLOCK)[..., 0]
        return np.asarray(shrunk[0] + np.float32(level) * added)


def quieted(picture: Picture, denoiser: Denoiser) -> Picture:
    """A picture without its noise; the picture itself where there is none. Alpha is kept."""
    pixels = to_float(picture)
    colours = pixels[..., :3]
    quiet = denoiser(colours)
    if quiet is colours:
        return picture
    pixels[..., :3] = quiet
    return replace(picture, pixels=from_float(pixels, picture))


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
