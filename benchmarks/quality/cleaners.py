"""Baselines for dirty tables, none of which sees a label: who is odd in its column, or given the rest of its row.

Each gives a surprise for every cell, in nats, and what the cell should have been. Numbers are standardised robustly,
words are one-hot (trees take them as they are); the models are asked out of fold, so that no cell is judged by a model
that was fitted to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold

Doubles = npt.NDArray[np.float64]

FOLDS = 3
WORDS = 60
"""So many of a column's most frequent words are told apart; the rest are one."""
SURPRISED = float(-norm.logsf(3.5) - np.log(2))
"""Surprise from which on a cell is called wrong: that of 3.5 robust standard deviations; of a word, at 1 in 2150."""
RARE = float(-np.log(0.01))
"""For the frequency of words alone, where 1 in 2150 would be never in a table of 1000 rows: below 1%."""


@dataclass(frozen=True)
class Table:
    """A table as the baselines see it.

    Attributes:
        frame: its columns.
        numeric: names of columns of numbers.
        words: of each other column that can be learned, the words that are told apart, the most frequent first.
    """

    frame: pd.DataFrame
    numeric: list[str]
    words: dict[str, list[str]]

    @staticmethod
    def of(table: pa.Table) -> Table:
        """Learn what columns there are; running numbers and texts that never repeat are left out, as by the product."""
        frame = table.to_pandas()
        numeric, words = [], {}
        for name in table.schema.names:
            column = frame[name].dropna()
            if pd.api.types.is_numeric_dtype(column):
                if column.nunique() > 1 and not column.is_monotonic_increasing:
                    numeric.append(name)
            elif 1 < column.nunique() <= len(column) / 2:
                words[name] = column.astype(str).value_counts().index[:WORDS].tolist()
        return Table(frame, numeric, words)

    @property
    def columns(self) -> list[str]:
        """Columns that are judged."""
        return [*self.numeric, *self.words]

    def codes(self, name: str) -> npt.NDArray[np.intp]:
        """Place of each row's word among the column's, their number for any other, -1 for null; [n]."""
        known = {word: place for place, word in enumerate(self.words[name])}
        there = self.frame[name].notna()
        values = self.frame[name].astype(str).map(known).fillna(len(known)).to_numpy()
        return np.where(there, values, -1).astype(np.intp)

    def features(self, name: str) -> Doubles:
        """One column as features [n, k]: a robust z-score, or one-hot; NaN for null."""
        if name in self.numeric:
            return robust(self.frame[name].to_numpy(float))[:, None]
        codes = self.codes(name)
        hot = np.eye(len(self.words[name]) + 1)[codes]
        hot[codes < 0] = np.nan
        return np.asarray(hot)

    def value(self, name: str, features: Doubles) -> npt.NDArray[np.object_]:
        """Features [n, k] back to values of a column, [n]."""
        if name in self.numeric:
            center, spread = location(self.frame[name].to_numpy(float))
            return np.asarray(features[:, 0] * spread + center, object)
        known = np.asarray(self.words[name], object)
        return np.asarray(known[features[:, : len(known)].argmax(axis=1)])


def location(values: Doubles) -> tuple[float, float]:
    """Median and robust spread of numbers: the scaled MAD, or, where half are equal, the standard deviation."""
    there = values[np.isfinite(values)]
    center = float(np.median(there))
    spread = 1.4826 * float(np.median(np.abs(there - center)))
    return center, spread if spread > 0 else float(there.std()) or 1.0


def robust(values: Doubles) -> Doubles:
    """Robust z-scores."""
    center, spread = location(values)
    return np.asarray((values - center) / spread)


def nats(z: Doubles) -> Doubles:
    """Two-sided surprise of z-scores under a normal distribution; 0 for NaN."""
    return np.asarray(np.nan_to_num(-(norm.logsf(np.abs(z)) + np.log(2))))


Judgement = tuple[dict[str, Doubles], dict[str, npt.NDArray[np.object_]]]
"""Column -> surprise of its cells [n], and column -> what they should have been [n]."""


def frequency(table: Table) -> Judgement:
    """Robust z-score, or how rare a word is; the median or the most frequent word instead."""
    surprise: dict[str, Doubles] = {}
    for name in table.numeric:
        surprise[name] = nats(robust(table.frame[name].to_numpy(float)))
    for name in table.words:
        share = table.frame[name].map(table.frame[name].value_counts(normalize=True))
        # A word below 1% is as surprising as 3.5 standard deviations are.
        surprise[name] = np.nan_to_num(-np.log(share.to_numpy(float))) / RARE * SURPRISED
    return surprise, middle(table)


def middle(table: Table) -> dict[str, npt.NDArray[np.object_]]:
    """The median, or the most frequent word, of every column."""
    found: dict[str, Any] = {name: table.frame[name].median() for name in table.numeric}
    found |= {name: table.words[name][0] for name in table.words}
    return {name: np.full(len(table.frame), value, object) for name, value in found.items()}


def out_of_fold(
    table: Table, whole: dict[str, Doubles], numbers: Callable[[], Any], words: Callable[[], Any] | None
) -> Judgement:
    """Ask a model of each column, out of fold.

    Args:
        table: to judge.
        whole: what the models see of each column, [n, k].
        numbers: makes a regression.
        words: makes a classifier; without one, words are regressed on, one-hot.
    """
    surprise, expected = {}, {}
    for name in table.columns:
        x = np.concatenate([part for other, part in whole.items() if other != name], axis=1)
        y, there = table.features(name), table.frame[name].notna().to_numpy()
        found = np.zeros_like(y)
        for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(x):
            train = train[there[train]]
            if name in table.words and words is not None:
                model = words().fit(x[train], table.codes(name)[train])
                found[np.ix_(test, model.classes_)] = model.predict_proba(x[test])
            else:
                target = y[train][:, 0] if name in table.numeric else y[train]
                found[test] = numbers().fit(x[train], target).predict(x[test]).reshape(len(test), -1)
        expected[name] = table.value(name, found)
        if name in table.numeric:
            surprise[name] = nats(robust(y[:, 0] - found[:, 0]))
            continue
        chance = np.clip(found, 1e-4, 1)[np.arange(len(y)), table.codes(name)] / np.clip(found, 1e-4, 1).sum(axis=1)
        surprise[name] = np.where(there, -np.log(chance), 0)
    return surprise, expected


def ridge(table: Table) -> Judgement:
    """Ridge regression a column, its strength by generalised cross-validation."""
    whole = {name: np.nan_to_num(table.features(name)) for name in table.columns}
    return out_of_fold(table, whole, lambda: RidgeCV(np.logspace(-1, 4, 11)), None)


def boosted(table: Table) -> Judgement:
    """Gradient-boosted trees a column."""
    options = {"max_leaf_nodes": 15, "min_samples_leaf": 5, "l2_regularization": 1.0, "random_state": 0}
    whole = {name: table.features(name) for name in table.numeric}
    whole |= {name: table.codes(name)[:, None].astype(float) for name in table.words}
    return out_of_fold(
        table,
        whole,
        lambda: HistGradientBoostingRegressor(max_iter=60, **options),
        lambda: HistGradientBoostingClassifier(max_iter=8, learning_rate=0.2, **options),
    )


def imputed(table: Table, asked: dict[str, npt.NDArray[np.bool_]], imputer: Any) -> dict[str, npt.NDArray[np.object_]]:
    """Fill cells by an imputer over all columns: column -> values [n].

    Args:
        table: whose nulls are to be filled too.
        asked: column -> bool [n], further cells to empty first.
        imputer: of scikit-learn.
    """
    parts = {name: table.features(name) for name in table.columns}
    for name, part in parts.items():
        part[asked.get(name, np.zeros(len(part), bool))] = np.nan
    edges = np.cumsum([part.shape[1] for part in parts.values()])[:-1]
    filled = np.split(imputer.fit_transform(np.concatenate(list(parts.values()), axis=1)), edges, axis=1)
    return {name: table.value(name, part) for name, part in zip(parts, filled, strict=True)}


def knn() -> Any:
    """Mean of the five nearest rows."""
    return KNNImputer(keep_empty_features=True)


def iterative() -> Any:
    """Bayesian ridge regressions in turn, each on the ten nearest features; three rounds."""
    return IterativeImputer(max_iter=3, n_nearest_features=10, random_state=0, keep_empty_features=True)
