"""Traversal: one latent variable changed, the others held. What each carries, how far it goes, and what it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ae_plugin.core.values import Bools, Doubles, Floats

EDGES = 0.02, 0.98
"""Shares of codes that lie below the first and the last step."""
MOVES, MOST_MOVES = 0.4, 4
"""What changes less than this share of what changes most is not named, nor more things than so many."""
HARDLY = 0.25
"""Standard deviations below which a change is none to speak of."""
Decode = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Move:
    """What one latent variable does to one thing.

    Attributes:
        what: a column, or a measure of pictures.
        change: its range over the steps, in standard deviations of it.
        course: where it is at each step, in standard deviations from where it is at the first, float64 [S].
        first, last: what it is at the first and the last step, in words.
    """

    what: str
    change: float
    course: Doubles
    first: str
    last: str


@dataclass(frozen=True)
class Axes:
    """The principal axes of codes, as latent variables instead of the codes' own.

    Nothing in the training of an autoencoder that is not variational makes a single number of its code mean anything:
    turned, the code is as good. Along its principal axes numbers are at least uncorrelated, and the first carry most.

    Attributes:
        mean: float32 [L].
        basis: float32 [L, L], an axis a column, that of most variance first.
    """

    mean: Floats
    basis: Floats

    @staticmethod
    def of(codes: Floats) -> Axes:
        """Those of codes float32 [n, L]; the largest part of each points upwards. A single code has its own numbers."""
        mean = codes.mean(axis=0)
        if len(codes) < 2:
            return Axes(mean, np.eye(codes.shape[1], dtype=np.float32))
        _, basis = np.linalg.eigh(np.cov((codes - mean).astype(np.float64).T).reshape(codes.shape[1], -1))
        basis = basis[:, ::-1]
        largest = basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])]
        return Axes(mean, np.asarray(basis * np.sign(largest), np.float32))

    def turn(self, codes: Floats) -> Floats:
        """Where codes float32 [n, L] lie along the axes."""
        return np.asarray((codes - self.mean) @ self.basis, np.float32)

    def back(self, places: Floats) -> Floats:
        """The codes at places along the axes float32 [n, L]."""
        return np.asarray(places @ self.basis.T + self.mean, np.float32)


def reach(codes: Floats) -> tuple[Floats, Floats]:
    """Where each latent variable starts and ends, float32 [L] each, so that it stays where codes [n, L] lie."""
    low, high = np.quantile(codes, EDGES, axis=0).astype(np.float32)
    return low, high


def middle(codes: Floats) -> int:
    """The row whose code is nearest to the mean, each latent variable in its own standard deviations."""
    apart = (codes - codes.mean(axis=0)) / np.maximum(codes.std(axis=0), 1e-6)
    return int(np.square(apart).sum(axis=1).argmin())


def explained(decode: Decode, codes: Floats) -> Floats:
    """The share of the reconstruction's variance that is lost when a latent variable is held at its mean, float32 [L].

    Shares of several need not add up to one: what two say together is lost with either.

    Args:
        decode: codes -> reconstruction [n, ...].
        codes: float32 [n, L].
    """
    whole = decode(codes).astype(np.float64)
    variance = max(float(np.square(whole - whole.mean(axis=0)).sum()), 1e-12)
    mean, shares = codes.mean(axis=0), []
    for latent in range(codes.shape[1]):
        held = codes.copy()
        held[:, latent] = mean[latent]
        shares.append(np.square(decode(held) - whole).sum() / variance)
    return np.array(shares, np.float32)


def steps_of(base: Floats, latent: int, low: float, high: float, steps: int) -> Floats:
    """Codes float32 [S, L]: that of a row, with one latent variable at evenly spaced values."""
    codes = np.repeat(base[None], steps, axis=0)
    codes[:, latent] = np.linspace(low, high, steps)
    return codes


def named(moves: Sequence[Move]) -> list[Move]:
    """What a latent variable changes most, the most first; none where it hardly changes anything."""
    by_size = sorted(moves, key=lambda move: -move.change)
    most = by_size[0].change if by_size else 0.0
    return [move for move in by_size if move.change >= max(HARDLY, MOVES * most)][:MOST_MOVES]


def course_of(features: Floats, *, signed: bool = False) -> tuple[float, Doubles]:
    """How much features float32 [S, k] of one thing change over the steps, and its way from where it is at the first.

    The way of its first feature if that is one to say up or down of, else towards where it is at the last.
    """
    change = float(np.sqrt(np.square(np.ptp(features.astype(np.float64), axis=0)).sum()))
    if signed:
        return change, (features[:, 0] - features[0, 0]).astype(np.float64)
    way = (features[-1] - features[0]).astype(np.float64)
    length = float(np.linalg.norm(way))
    if length < 1e-9:
        return change, np.zeros(len(features))
    return change, (features - features[0]).astype(np.float64) @ (way / length)


MEASURES = {"x": "position", "y": "position", "area": "size", "brightness": "brightness"}
"""What is measured of a picture, and what it tells."""


def measures(pictures: Floats) -> dict[str, Doubles]:
    """What can be measured of any picture, float64 [n] each.

    Args:
        pictures: float32 [n, H, W, C] in 0..1.

    Returns:
        `x` and `y`, the centre of all that stands out from the picture's edge, in shares of its width and height;
        `area`, the share of pixels that stand out by half as much as the most; `brightness`, the mean of those.
    """
    grey = pictures.mean(axis=3).astype(np.float64)
    edge = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    out = np.abs(grey - np.median(edge, axis=1)[:, None, None])
    most = np.maximum(np.quantile(out, 0.99, axis=(1, 2)), 1e-6)[:, None, None]
    inside: Bools = out > most / 2
    weight = np.where(inside, out, 0) + 1e-9
    total = weight.sum(axis=(1, 2))
    across, down = ((np.arange(length) + 0.5) / length for length in (grey.shape[2], grey.shape[1]))
    return {
        "x": (weight.sum(axis=1) * across).sum(axis=1) / total,
        "y": (weight.sum(axis=2) * down).sum(axis=1) / total,
        "area": inside.mean(axis=(1, 2)),
        "brightness": (grey * weight).sum(axis=(1, 2)) / total,
    }
