"""How noisy a picture is, told from the picture alone.

Noise fills every direction that small windows of a picture can vary in, and the picture itself only some: the smallest
eigenvalues of the windows' covariance are the noise's variance (Chen, Zhu and Heng 2015). Where it grows with
brightness, as counted light does, a transform makes it even (Anscombe 1948; Foi 2013 for what a range cuts off).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter
from scipy.stats import norm

from ae_plugin.core.pictures import bands
from ae_plugin.core.values import Bools, Doubles, Floats

_WINDOW, _SMALL, _BINNED = 8, 5, 6
_BINS = 6
_FEWEST, _MANY, _MOST = 100, 4_000, 40_000
"""Windows that any estimate needs, that the better one needs, and that are taken."""
_FLAT = 0.3
"""Share of the windows that noise is told from."""
_UNEVEN = 0.08
"""Mean deviation of the bins' variances, in logs, from which on noise may grow with brightness."""
_CUT_OFF = 2.0
"""Noise levels from the ends of the range within which noise is cut off."""
_RARE, _TOGETHER, _APART, _SPREADS = 0.002, 2.0, 0.1, 3.0
"""Impulses: least share of pixels at each end; how much more often than by chance they touch; how far they stand out,
of the range and of the spread of other pixels."""
_AROUND = 5
"""Side of the window around a pixel that it may stand out from."""


@dataclass(frozen=True)
class Noise:
    """Noise whose variance at brightness v is `constant + slope * v`."""

    constant: float
    slope: float

    @property
    def level(self) -> float:
        """Its standard deviation in a picture made even, in which brightness is still from 0 to 1."""
        if self.slope == 0:
            return float(np.sqrt(self.constant))
        low, high = self._even(np.array([0.0, 1.0]))
        return float(1 / (high - low))

    def even(self, pixels: Floats) -> Floats:
        """Pixels in which the noise has the same level everywhere."""
        if self.slope == 0:
            return pixels
        low, _ = self._even(np.array([0.0, 1.0]))
        return np.asarray((self._even(pixels) - low) * self.level, np.float32)

    def uneven(self, pixels: Floats) -> Floats:
        """Undo `even` for pixels without noise: the mean of the noisy pixels that they would give."""
        if self.slope == 0:
            return pixels
        low, _ = self._even(np.array([0.0, 1.0]))
        root = np.maximum(pixels / np.float32(self.level) + np.float32(low), 0)
        back = self.slope / 4 * np.square(root) - self.constant / self.slope - self.slope / 8
        return np.asarray(back, np.float32)

    def _even(self, pixels: Floats | Doubles) -> Floats | Doubles:
        inside = self.slope * pixels + (0.375 * self.slope**2 + self.constant)
        return np.asarray(2 / self.slope * np.sqrt(np.maximum(inside, 0)))


def estimate(channels: Floats) -> Noise:
    """Noise of a picture, from its channels float32 [C, H, W] in 0..1; none where it is too small to tell."""
    variance = _even(channels)
    if variance == 0:
        return Noise(0.0, 0.0)
    means, variances = _by_brightness(_inside(_windows(channels, _BINNED), np.sqrt(variance)))
    if len(means) < _BINS or variances.min() <= 0:
        return Noise(variance, 0.0)
    weights = 1 / variances
    line = np.stack([np.ones(_BINS), means], axis=1) * weights[:, None]
    (constant, slope), *_ = np.linalg.lstsq(line, np.ones(_BINS), rcond=None)
    off_line = np.abs(line @ (constant, slope) - 1).mean()
    off_mean = np.abs(np.log(variances) - np.log(variances).mean()).mean()
    if slope <= 0 or off_mean < _UNEVEN or off_line > off_mean / 3:
        return Noise(variance, 0.0)
    return Noise(max(float(constant), 0.0), float(slope))


def level_of(plane: Floats) -> float:
    """The level of even noise in a plane float32 [H, W]."""
    return float(np.sqrt(_even(plane[None])))


def _even(channels: Floats) -> float:
    """The variance of even noise; 0 where there are too few pixels to tell."""
    small = _windows(channels, _SMALL)
    if len(small) < _FEWEST:
        return 0.0
    windows = _windows(channels, _WINDOW)
    if len(windows) < _MANY:  # smaller windows are more, and have fewer directions to tell apart
        return _least(_spectrum(small))
    return _of_flat(_inside(windows, np.sqrt(_least(_spectrum(windows)))))


def impulses(channels: Floats) -> Bools:
    """Salt and pepper: pixels that were lost to either end of the range, bool [C, H, W]; none unless they are many.

    They fall anywhere, so that they touch no more often than by chance; what is drawn black on white does.
    """
    lost = np.zeros(channels.shape, bool)
    for channel, out in zip(channels, lost, strict=True):
        if min((channel == side).mean() for side in (0, 1)) < _RARE:
            continue
        end = (channel <= 0) | (channel >= 1)
        apart = _apart(channel, end)
        spread = 1.48 * float(np.median(apart[~end], overwrite_input=True)) if not end.all() else 1.0
        alone = end & (apart > max(_APART, _SPREADS * spread))
        share = [float((alone & (channel == side)).mean()) for side in (0, 1)]
        if min(share) < _RARE:
            continue
        touching = float((alone[:, 1:] & alone[:, :-1]).mean()), float((alone[1:] & alone[:-1]).mean())
        if max(touching) <= _TOGETHER * sum(share) ** 2:
            out[:] = alone
    return lost


def _apart(channel: Floats, end: Bools) -> Floats:
    """How far each pixel is from the middle one of those around it, float32 [H, W]; those at an end count as grey."""
    apart, beside = np.empty(channel.shape, np.float32), _AROUND // 2
    for rows in bands(len(channel)):
        top = max(rows.start - beside, 0)
        seen, own = slice(top, rows.stop + beside), slice(rows.start - top, rows.stop - top)
        grey = np.where(end[seen], np.float32(0.5), channel[seen])
        apart[rows] = np.abs(channel[rows] - median_filter(grey, _AROUND)[own])
    return apart


def uncut(pixels: Floats, level: float) -> Floats:
    """Undo what a range from 0 to 1 took off noise: from the mean of cut pixels to that of uncut ones."""
    if level <= 0:
        return pixels
    true = np.linspace(0, 1, 1025)
    low, high = true / level, (1 - true) / level
    cut = true * (norm.cdf(high) - norm.cdf(-low)) + level * (norm.pdf(low) - norm.pdf(high)) + norm.sf(high)
    return np.asarray(np.interp(pixels, cut, true), np.float32)


def _windows(channels: Floats, side: int) -> Floats:
    """Windows of all channels, at most `_MOST`, evenly spread, float32 [n, side²]."""
    if min(channels.shape[1:]) < side:
        return np.zeros((0, side * side), np.float32)
    found = np.lib.stride_tricks.sliding_window_view(channels, (side, side), axis=(1, 2))
    every = int(np.ceil(np.sqrt(found[..., 0, 0].size / _MOST)))
    return np.asarray(found[:, ::every, ::every]).reshape(-1, side * side)


def _inside(windows: Floats, level: float) -> Floats:
    """The windows whose brightness is far enough from the ends of the range, if there are enough of them."""
    means = windows.mean(axis=1)
    near = np.minimum(means, 1 - means)
    inside = windows[near > _CUT_OFF * level]
    return inside if len(inside) >= max(_FEWEST, len(windows) // 20) else windows


def _spectrum(windows: Floats) -> Doubles:
    """Variances of windows along their principal directions, increasing."""
    return np.asarray(np.maximum(np.linalg.eigvalsh(np.cov(windows.T.astype(np.float64))), 0))


def _least(values: Doubles) -> float:
    """The variance of the directions that hold nothing but noise: as many as have their mean as median."""
    for count in range(len(values), 0, -1):
        if values[:count].mean() <= np.median(values[:count]):
            return float(values[:count].mean())
    return float(values[0])


def _of_flat(windows: Floats) -> float:
    """The same of the flattest windows' finest details, in which there is little else than noise.

    What is flat is told from means of 2 x 2 pixels, of which the differences between those pixels know nothing. The
    least variance is less than the noise's by chance, and by how much is known (Marchenko and Pastur 1967).
    """
    half = _WINDOW // 2
    blocks = windows.reshape(-1, half, 2, half, 2)
    means = blocks.mean(axis=(2, 4), keepdims=True)
    order = np.argsort(means.reshape(-1, half * half).var(axis=1), kind="stable")
    flattest = order[: max(int(_FLAT * len(windows)), _FEWEST)]
    values = _spectrum((blocks - means)[flattest].reshape(-1, _WINDOW**2))[half * half :]
    chance = np.sqrt(len(values) / len(flattest))
    return min(_least(values), float(values[0] / (1 - chance) ** 2))


def _by_brightness(windows: Floats) -> tuple[Doubles, Doubles]:
    """Mean and noise variance of windows of like brightness, [B] each; of none if there are too few windows."""
    means = windows.mean(axis=1)
    parts = np.array_split(np.argsort(means, kind="stable"), _BINS)
    if min(map(len, parts)) < _FEWEST:
        return np.zeros(0), np.zeros(0)
    return np.array([means[part].mean() for part in parts]), np.array(
        [_least(_spectrum(windows[part])) for part in parts]
    )
