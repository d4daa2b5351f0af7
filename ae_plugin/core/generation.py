"""New rows like those of history, cell after cell: each is drawn given the cells of its row that were drawn before it.

A row's joint distribution is a product of conditional ones, one a column (Uria, Murray & Larochelle, 2014). The network
fills hidden cells, so it says what to expect of a column given any others; a tree for each column then parts the rows
of history by that expectation and by the cells themselves, and a cell is drawn from the rows of one leaf (synthesis by
trees: Reiter, 2005). So a cell holds what cells of that column hold, of whatever type, nulls included; and a row's
cells come from as many rows of history.

Shapes: n rows of history, m rows drawn, C learned columns, F encoded features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ae_plugin.core.columns import CategorySpec, TextSpec
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.scoring import Network, reconstruct
from ae_plugin.core.values import Doubles, Floats

Indices = npt.NDArray[np.intp]
LEAST, MOST, PER_LEAF = 5, 20, 500
"""Rows of history that a cell is drawn from, at least: history's rows over the last, from the first to the second; but
for columns that follow from others."""
FOLLOWS, EIGHTHS, PAIR = 0.1, 8, 2
"""Share of a column's variance that is left when a tree tells it, up to which it follows from those before it; in how
many parts history is judged; and rows that such a column's cell is drawn from, at least."""
NARROW, SHADOW, TRAITS = 8, 8, 5
"""Columns of more features than this are seen by so many random projections, and by so many traits of their values."""
SHRINK = 10.0
GRAIN = np.float32(2**-10)
"""What is expected is told apart by this: how a network's last bit is rounded hangs on which rows come together."""


@dataclass(frozen=True)
class Past:
    """What rows are drawn from.

    Attributes:
        encoded: n rows of history.
        words: column index -> which of its values each row holds, [n], of columns of words.
        places: column index -> each row's value, float64 [n], NaN for none, of columns in which new values may lie
            between those of history.
        moments: float32 [n], what tells partitions apart; None where there is one.
    """

    encoded: Encoded
    words: Mapping[int, npt.NDArray[np.int64]]
    places: Mapping[int, Doubles]
    moments: Floats | None


@dataclass(frozen=True)
class Drawn:
    """Rows drawn: each cell by the row of history that it is taken from.

    Attributes:
        base: [m], the row of history whose partition a row counts as part of.
        first: [m, C], rows of history.
        second: [m, C], the same, or other rows: the cell then lies between the two.
        share: float64 [m, C], how far from the first to the second.
    """

    base: Indices
    first: Indices
    second: Indices
    share: Doubles

    def take(self, rows: Indices) -> Drawn:
        """Some of the rows."""
        return Drawn(self.base[rows], self.first[rows], self.second[rows], self.share[rows])

    def put(self, rows: Indices, others: Drawn) -> Drawn:
        """The same with other rows in the place of some."""
        parts = [(getattr(self, name).copy(), getattr(others, name)) for name in ("base", "first", "second", "share")]
        for mine, theirs in parts:
            mine[rows] = theirs
        return Drawn(*(mine for mine, _ in parts))


class Generator:
    """Draws rows; fitted to history when it is made.

    Args:
        encoder: of the model version.
        network: fills hidden cells.
        past: rows of history.
        given: column index -> the rows of history that a cell of it may be taken from; these columns come first.
        base: rows of history whose partition a row may be part of; None: all.
        seed: of the trees.
    """

    def __init__(
        self,
        encoder: TableEncoder,
        network: Network,
        past: Past,
        given: Mapping[int, Indices] | None = None,
        base: Indices | None = None,
        seed: int = 0,
    ) -> None:
        self.encoder, self.network, self.past, self.given = encoder, network, past, dict(given or {})
        self.base = np.arange(len(past.encoded)) if base is None else base
        self._x, self._visible = past.encoded.x, encoder.visible(past.encoded)
        self._views = [_View.fit(self, index) for index in range(len(encoder.specs))]
        self.order = [*self.given, *(index for index in self._by_size() if index not in self.given)]
        rows = np.arange(len(self._x))
        state = _State(self, rows)
        self._leaves: dict[int, _Leaves] = {}
        for index in self.order:
            if index not in self.given:
                seen, target = self._seen(state, index), self._views[index].target
                self._leaves[index] = _Leaves.fit(seen, target, past.places.get(index), seed)
            state.reveal(index, rows, rows, np.zeros(len(rows)))

    def _by_size(self) -> list[int]:
        """Columns in the order in which they are drawn: those of few values first."""
        return sorted(range(len(self.encoder.specs)), key=lambda index: (self._views[index].distinct, index))

    def _seen(self, state: _State, index: int) -> Floats:
        """What a column's tree parts rows by: the cells before it, and what the network makes of them."""
        expected = reconstruct(self.network, state.x, state.visible)[:, self.encoder.slices[index]]
        expected = np.rint(self._views[index].shadow(expected) / GRAIN) * GRAIN
        return np.concatenate([*state.parts, expected], axis=1, dtype=np.float32)

    def draw(self, rows: int, rng: np.random.Generator) -> Drawn:
        """Draw rows.

        Args:
            rows: how many.
            rng: what chance comes from.
        """
        common = self.base
        for places in self.given.values():
            both = np.intersect1d(common, places)
            common = both if len(both) else common
        base = common[(_evenly(np.zeros(rows, np.intp), rng) * len(common)).astype(np.intp)]
        columns = len(self.encoder.specs)
        first, second = np.empty((rows, columns), np.intp), np.empty((rows, columns), np.intp)
        share, state = np.zeros((rows, columns)), _State(self, base)
        for index in self.order:
            if index in self.given:
                places = self.given[index]
                chance = _evenly(np.zeros(rows, np.intp), rng)
                first[:, index] = second[:, index] = places[(chance * len(places)).astype(np.intp)]
            else:
                found = self._leaves[index].draw(self._seen(state, index), rng)
                first[:, index], second[:, index], share[:, index] = found
            state.reveal(index, first[:, index], second[:, index], share[:, index])
        return Drawn(base, first, second, share)

    def encoded(self, drawn: Drawn) -> Floats:
        """Rows as the network sees them, float32 [m, F]."""
        x = np.empty((len(drawn.base), self.encoder.features), np.float32)
        for index, where in enumerate(self.encoder.slices):
            x[:, where] = _between(
                self._x[:, where], drawn.first[:, index], drawn.second[:, index], drawn.share[:, index]
            )
        return x


class _State:
    """Rows that are being drawn: what the network sees of them so far, and what trees do."""

    def __init__(self, generator: Generator, base: Indices) -> None:
        self._of = generator
        self.x = np.zeros((len(base), generator.encoder.features), np.float32)
        self.visible = np.zeros((len(base), len(generator.encoder.specs)), np.float32)
        moments = generator.past.moments
        self.parts = [np.zeros((len(base), 1), np.float32) if moments is None else moments[base, None]]

    def reveal(self, index: int, first: Indices, second: Indices, share: Doubles) -> None:
        """Add a column's cells."""
        of, where = self._of, self._of.encoder.slices[index]
        seen = of._visible[first, index]
        self.x[:, where] = _between(of._x[:, where], first, second, share) * seen[:, None]
        self.visible[:, index] = seen
        self.parts.append(_between(of._views[index].traits, first, second, share))


def _evenly(groups: Indices, rng: np.random.Generator) -> Doubles:
    """A number in [0, 1) for each row, float64 [m], spread evenly over those of its group: less is left to chance."""
    order = np.lexsort((rng.random(len(groups)), groups))
    _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    out = np.empty(len(groups))
    rank = np.arange(len(groups)) - np.repeat(starts, counts)
    out[order] = (rank + rng.random(len(groups))) / np.repeat(counts, counts)
    return np.minimum(out, np.nextafter(1.0, 0.0))


def _between(values: Floats, first: Indices, second: Indices, share: Doubles) -> Floats:
    """Rows of values, or points between two rows each, float32 [m, ...]."""
    out = values[first]
    apart = np.flatnonzero(share)
    if len(apart):
        out[apart] += share[apart, None].astype(np.float32) * (values[second[apart]] - out[apart])
    return out


@dataclass(frozen=True)
class _View:
    """How trees see a column.

    Attributes:
        traits: float32 [n, t], of the cells that were drawn before.
        target: float32 [n, s], of the cell that is to be drawn.
        distinct: how many values it has.
        projection: float32 [width, s], features to what a tree sees of an expectation; None: as they are.
    """

    traits: Floats
    target: Floats
    distinct: int
    projection: Floats | None

    @staticmethod
    def fit(of: Generator, index: int) -> _View:
        spec, where = of.encoder.specs[index], of.encoder.slices[index]
        own = np.ascontiguousarray(of._x[:, where])
        words = of.past.words.get(index)
        if words is None:
            return _View(own, own, len(np.unique(own, axis=0)), None)
        if spec.width <= NARROW and isinstance(spec, CategorySpec):
            return _View(own, own, int(words.max()) + 1, None)
        rng = np.random.default_rng([index, spec.width])
        projection = rng.standard_normal((spec.width, SHADOW)).astype(np.float32) / np.float32(SHADOW**0.5)
        traits = _traits(of, index, words)
        return _View(traits, np.concatenate([own @ projection, traits], axis=1), int(words.max()) + 1, projection)

    def shadow(self, features: Floats) -> Floats:
        """What a tree sees of a column's expected features."""
        return features if self.projection is None else np.asarray(features @ self.projection, np.float32)


def _traits(of: Generator, index: int, words: npt.NDArray[np.int64]) -> Floats:
    """What tells the values of a column of words apart, float32 [n, TRAITS]: how the row's other cells are with each.

    Means of the other columns' features by value, drawn towards the mean of all where a value is rare, in their main
    directions; and how frequent the value is.
    """
    others = [
        of._x[:, where]
        for other, (spec, where) in enumerate(zip(of.encoder.specs, of.encoder.slices, strict=True))
        if other != index and not isinstance(spec, TextSpec) and spec.width <= 4 * NARROW
    ]
    counts = np.bincount(words).astype(np.float64)
    often = np.log(counts)[words]
    often = ((often - often.mean()) / (often.std() or 1.0))[:, None]
    if not others:
        return np.asarray(often, np.float32)
    table = np.concatenate(others, axis=1).astype(np.float64)
    table -= table.mean(axis=0)
    sums = np.stack([np.bincount(words, column, len(counts)) for column in table.T], axis=1)
    means = sums / (counts + SHRINK)[:, None]
    weighted = means * np.sqrt(counts)[:, None]
    _, sizes, axes = np.linalg.svd(weighted, full_matrices=False)
    found = (means @ axes[: TRAITS - 1].T) / (max(float(sizes[0]), 1e-9) / len(words) ** 0.5)
    return np.concatenate([found[words], often], axis=1, dtype=np.float32)


def _follows(seen: Floats, target: Floats, seed: int) -> bool:
    """Whether a column follows from what is drawn before it: then a leaf of several rows would only blur that.

    Told on every other eighth of history, by a tree that saw the rest: rows that lie side by side in time are too much
    alike to judge one by the other.
    """
    from sklearn.tree import DecisionTreeRegressor

    if len(seen) < 4 * MOST:
        return False
    judged = np.arange(len(seen)) * EIGHTHS // len(seen) % 2 == 1
    tree = DecisionTreeRegressor(random_state=seed).fit(seen[~judged], target[~judged])
    rest = target[judged].astype(np.float64)
    wrong = np.square(tree.predict(seen[judged]).reshape(rest.shape) - rest).sum()
    return bool(wrong <= FOLLOWS * np.square(rest - rest.mean(axis=0)).sum())


@dataclass(frozen=True)
class _Leaves:
    """A column's tree, and the rows of history in each of its leaves, by their value where values have an order."""

    tree: Any
    rows: Indices
    starts: Indices
    counts: Indices
    places: Doubles | None

    @staticmethod
    def fit(seen: Floats, target: Floats, places: Doubles | None, seed: int) -> _Leaves:
        from sklearn.tree import DecisionTreeRegressor

        least = PAIR if _follows(seen, target, seed) else min(max(len(seen) // PER_LEAF, LEAST), MOST)
        tree = DecisionTreeRegressor(min_samples_leaf=least, random_state=seed).fit(seen, target)
        leaf = tree.apply(seen)
        rows = np.lexsort((np.arange(len(leaf)) if places is None else places, leaf))
        counts = np.bincount(leaf, minlength=tree.tree_.node_count)
        return _Leaves(tree.tree_, rows, np.cumsum(counts) - counts, counts, places)

    def draw(self, seen: Floats, rng: np.random.Generator) -> tuple[Indices, Indices, Doubles]:
        """A cell for each row: two rows of history, and how far it lies from the first to the second."""
        leaf = self.tree.apply(seen)
        chance = _evenly(leaf, rng)
        start, count = self.starts[leaf], self.counts[leaf]
        if self.places is None:
            found = self.rows[start + (chance * count).astype(np.intp)]
            return found, found, np.zeros(len(found))
        at = chance * (count - 1)
        below = np.maximum(np.minimum(at.astype(np.intp), count - 2), 0)
        first, second = self.rows[start + below], self.rows[start + np.minimum(below + 1, count - 1)]
        whole = np.isnan(self.places[first]) | np.isnan(self.places[second])
        nearer = whole & (at - below > 0.5)
        first = np.where(nearer, second, first)
        return first, np.where(whole, first, second), np.where(whole, 0.0, at - below)
