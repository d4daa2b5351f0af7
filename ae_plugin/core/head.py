"""A head: a handful of labelled rows, and what history says of where rows lie, become classes with probabilities.

Two opinions on a row, both from its features, which the encoder makes:

    near     labels spread over a graph of history's rows, each linked to its nearest, so that a label counts for the
             whole cluster that it is in; a new row takes what its nearest have (Zhou, Bousquet, Lal, Weston and
             Schoelkopf, "Learning with Local and Global Consistency", NIPS 2003)
    linear   logistic regression on the labelled rows alone

How much each counts, and how sure the head may be, is what fits labelled rows best that are judged without
themselves, drawn towards a prior; with one label a class there are none, and that decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ae_plugin.core.values import Doubles, Floats, Longs

BLOCK = 256
"""Rows that are judged at a time: always as many, since how a product rounds may depend on it."""
GRAIN = np.float32(2**-12)
"""Probabilities are whole multiples of this."""
NEIGHBOURS, AXES = 10, 64
STRETCH = 0.5
"""For the linear opinion, directions of variance v get the variance v to the power of 1 + this: weak ones are noise."""
KEPT, ROUNDS = 0.95, 100
"""What a row takes of its nearest in each round of spreading, and how many rounds there are."""
FLOOR = 0.02
FOLDS = 10
FEW = 4
"""Labels in all with which opinions count half."""
STRENGTH = 4.0
"""How firmly what the two opinions count is held to the prior."""


@dataclass(frozen=True)
class Space:
    """Features as the head sees them: scaled, each block as wide as the others, along history's main directions.

    Attributes:
        mean: float32 [F], of history.
        basis: float32 [F, A].
    """

    mean: Floats
    basis: Floats

    @staticmethod
    def fit(history: Floats, blocks: Sequence[int]) -> Space:
        """Learn it from history's features float32 [n, F], which are blocks of these widths side by side."""
        wide = history.astype(np.float64)
        mean, spread = wide.mean(axis=0), wide.std(axis=0)
        used = spread > 1e-6 * max(float(spread.max(initial=0)), 1e-30)
        scale = np.where(used, 1 / np.sqrt(np.where(used, spread, 1)), 0)  # halfway: a rare word is no whole column
        start = 0
        for width in blocks:
            own = slice(start, start + width)
            scale[own] /= max(float(np.sqrt(np.square(scale[own] * spread[own]).sum())), 1e-30)
            start += width
        scaled = (wide - mean) * scale
        variances, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        kept = min(AXES, int((variances > 1e-9).sum()) or 1)
        axes = axes[:, ::-1][:, :kept]
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(kept)])
        axes /= np.sqrt(variances[::-1][:kept].sum())
        return Space(mean.astype(np.float32), (scale[:, None] * axes).astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        """Features float32 [n, F] in this space, float32 [n, A]."""
        return np.asarray((features - self.mean) @ self.basis, np.float32)


@dataclass(frozen=True)
class Head:
    """What turns features into classes.

    Attributes:
        space: where rows lie.
        points: float32 [N, A], rows of history and labelled rows.
        opinion: float32 [N, C], how likely each of them is of each class, as labels spread.
        weights: float32 [A + 1, C], of the linear opinion; its last row is the intercept.
        counts: float32 [2], what the near and the linear opinion count.
        prior: float32 [C], how frequent each class is.
    """

    space: Space
    points: Floats
    opinion: Floats
    weights: Floats
    counts: Floats
    prior: Floats

    def probabilities(self, features: Floats) -> Floats:
        """How likely rows are of each class, float32 [n, C], from their features float32 [n, F]."""
        out = np.empty((len(features), len(self.prior)), np.float32)
        for start in range(0, len(features), BLOCK):
            part = features[start : start + BLOCK]
            block = np.zeros((BLOCK, features.shape[1]), np.float32)
            block[: len(part)] = part
            out[start : start + len(part)] = self._judge(self.space(block))[: len(part)]
        return np.asarray(np.rint(out / GRAIN) * GRAIN, np.float32)

    def _judge(self, rows: Floats) -> Doubles:
        near = near_opinion(self.points, self.opinion, rows)
        return pooled(near, linear_opinion(self.weights, rows), self.prior, self.counts)


def pooled(near: Doubles, linear: Doubles, prior: npt.NDArray[np.floating], counts: npt.ArrayLike) -> Doubles:
    """Two opinions, each on classes that are equally frequent, as one on such as are not, float64 [n, C]."""
    a, b = np.asarray(counts, np.float64)
    logits = a * np.log(near + FLOOR) + b * np.log(linear + FLOOR) + np.log(prior.astype(np.float64))
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def linear_opinion(weights: Floats, rows: Floats) -> Doubles:
    """What a linear model says of rows float32 [n, A], float64 [n, C]."""
    logits = rows.astype(np.float64) @ weights[:-1].astype(np.float64) + weights[-1]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def nearest(points: Floats, rows: Floats, count: int) -> tuple[Longs, Doubles]:
    """The nearest points of each row float32 [n, A], int64 [n, k], and how far they are, squared, float64 [n, k]."""
    places, apart = [], []
    lengths = np.square(points).sum(axis=1)
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        squares = np.maximum(lengths - 2 * (part @ points.T) + np.square(part).sum(axis=1)[:, None], 0)
        found = np.argpartition(squares, count - 1, axis=1)[:, :count]
        found.sort(axis=1)
        places.append(found)
        apart.append(np.take_along_axis(squares, found, axis=1).astype(np.float64))
    return np.concatenate(places), np.concatenate(apart)


def near_opinion(points: Floats, opinion: Floats, rows: Floats) -> Doubles:
    """What the nearest points say of rows float32 [n, A], float64 [n, C]."""
    places, apart = nearest(points, rows, min(NEIGHBOURS, len(points)))
    weights = np.exp(-apart / (apart.mean(axis=1, keepdims=True) + 1e-12))
    said = np.einsum("nk,nkc->nc", weights / weights.sum(axis=1, keepdims=True), opinion[places].astype(np.float64))
    return np.asarray(said)


class Graph:
    """Points linked to their nearest, to spread labels over.

    Args:
        points: float32 [N, A].
    """

    def __init__(self, points: Floats) -> None:
        from scipy.sparse import csr_matrix, diags

        many, count = len(points), min(NEIGHBOURS + 1, len(points))
        places, apart = nearest(points, points, count)
        reach = np.sqrt(apart.max(axis=1)) + 1e-9
        weights = np.exp(-apart / (reach[:, None] * reach[places]))
        own = np.repeat(np.arange(many), count)
        weights[places == np.arange(many)[:, None]] = 0
        links = csr_matrix((weights.ravel(), (own, places.ravel())), (many, many))
        links = links.maximum(links.T)
        self._root = np.sqrt(np.asarray(links.sum(axis=1)).ravel() + 1e-12)
        halves = diags(1 / self._root)
        self._links = (halves @ links @ halves).tocsr()

    def spread(self, at: Longs, labels: Longs, classes: int) -> Doubles:
        """How likely each point is of each class, float64 [N, C], when the points `at` have these labels, int64 [m]."""
        said = np.zeros((len(self._root), classes))
        said[at, labels] = 1 / np.maximum(np.bincount(labels, minlength=classes), 1)[labels]
        now = said.copy()
        for _ in range(ROUNDS):
            now = KEPT * (self._links @ now) + (1 - KEPT) * said
        now /= self._root[:, None]
        now /= now.sum(axis=0) + 1e-300
        total = now.sum(axis=1, keepdims=True)
        return np.where(total > 0, now / np.where(total > 0, total, 1), 1 / classes)


def stretches(points: Floats) -> Doubles:
    """How much each axis of points float32 [N, A] is stretched for the linear opinion, float64 [A]."""
    spans = points.astype(np.float64).var(axis=0)
    return np.asarray(np.sqrt(len(spans) * spans**STRETCH / max(float((spans ** (1 + STRETCH)).sum()), 1e-30)))


def linear_weights(rows: Floats, labels: Longs, classes: int, scale: Doubles) -> Floats:
    """Logistic regression in which all classes count alike, float32 [A + 1, C].

    Args:
        rows: float32 [m, A].
        labels: int64 [m]; a class without any is one that it never says.
        classes: C.
        scale: float64 [A], how much each axis is stretched.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=500, class_weight="balanced").fit(rows.astype(np.float64) * scale, labels)
    weights = np.zeros((rows.shape[1] + 1, classes), np.float32)
    weights[-1] = -30
    slopes, starts = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        slopes, starts = np.concatenate([-slopes, slopes]) / 2, np.concatenate([-starts, starts]) / 2
    weights[:-1, model.classes_], weights[-1, model.classes_] = slopes.T * scale[:, None], starts
    return weights


def fit_head(
    history: Floats, rows: Floats, labels: Longs, classes: int, blocks: Sequence[int], seed: int = 0
) -> tuple[Head, float | None]:
    """Fit a head.

    Args:
        history: float32 [n, F], features of rows without labels.
        rows: float32 [m, F], of labelled ones.
        labels: int64 [m], their classes, from 0; each class has one at least.
        classes: C, 2 or more.
        blocks: widths of the features' blocks, side by side.
        seed: deals labelled rows into folds.

    Returns:
        The head, and the share of labelled rows that it gets right without themselves; None where each is alone.
    """
    space = Space.fit(np.concatenate([history, rows]), blocks)
    known = space(rows)
    points = np.concatenate([space(history), known])
    at = np.arange(len(history), len(points))
    graph = Graph(points)
    opinion, scale = graph.spread(at, labels, classes), stretches(points)
    opinion[at] = np.eye(classes)[labels]
    prior = (np.bincount(labels, minlength=classes) + 1) / (len(labels) + classes)
    counts, right = prior_counts(len(labels), classes), None
    held = _held_out(graph, at, known, labels, classes, scale, seed)
    if held is None:  # nothing to calibrate by: two labels in all make no class certain
        counts = counts * (len(labels) + FEW) / (len(labels) + 2 * FEW)
    else:
        counts = fit_counts(*held, prior, counts)
        right = float((pooled(held[0], held[1], prior, counts).argmax(axis=1) == held[2]).mean())
    weights = linear_weights(known, labels, classes, scale)
    parts = (opinion, weights, counts, prior)
    return Head(space, points, *(np.ascontiguousarray(part, np.float32) for part in parts)), right


def _held_out(
    graph: Graph, at: Longs, rows: Floats, labels: Longs, classes: int, scale: Doubles, seed: int
) -> tuple[Doubles, Doubles, Longs] | None:
    """Both opinions on labelled rows whose class has others, without themselves, and their labels; None without any."""
    have = np.bincount(labels, minlength=classes)
    folds = min(int(have.max()), FOLDS)
    if folds < 2:
        return None
    fold = np.empty(len(labels), np.int64)
    rng = np.random.default_rng([seed, 11])
    for label in range(classes):
        own = rng.permutation(np.flatnonzero(labels == label))
        fold[own] = np.arange(len(own)) % folds
    near, linear = np.zeros((2, len(labels), classes))
    judged = np.zeros(len(labels), bool)
    for number in range(folds):
        out = fold == number
        if len(np.unique(labels[~out])) < 2:
            continue
        judged |= out & (have[labels] > 1)
        opinion = graph.spread(at[~out], labels[~out], classes)
        near[out] = opinion[at[out]]
        linear[out] = linear_opinion(linear_weights(rows[~out], labels[~out], classes, scale), rows[out])
    return near[judged], linear[judged], labels[judged]


def prior_counts(labels: int, classes: int) -> Doubles:
    """What the two opinions count before any label is held out, float64 [2], with so many labels of so many classes.

    A line through one label a class says little, and the cluster that it lies in more; with many it is the other way.
    From a few labels in all, nothing is sure.
    """
    alone = classes / labels
    return np.array([0.5 + 0.5 * alone, 1 - 0.5 * alone]) * labels / (labels + FEW)


def fit_counts(near: Doubles, linear: Doubles, labels: Longs, prior: Doubles, start: Doubles) -> Doubles:
    """What each opinion counts: what makes held-out labels likely, drawn towards `start`, float64 [2]."""
    from scipy.optimize import minimize

    def loss(counts: Doubles) -> float:
        right = pooled(near, linear, prior, counts)[np.arange(len(labels)), labels]
        pull = STRENGTH * np.square(counts - start).sum()
        return float(-np.log(right + 1e-12).sum() + pull)

    found = minimize(loss, start, method="L-BFGS-B", bounds=[(0, 3), (0, 3)])
    return np.round(np.asarray(found.x), 4)
