"""The peers on cells: each says how odd every cell of a table is, and what every cell should be.

What a peer is told is what the product is told: the dirty table alone. Words are told to regressions as indicators.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
FOLDS = 5
RARE = 20
LEAST = 1e-4


@dataclass(frozen=True)
class Opinion:
    """Odd float [n, C], higher = odder (None: no opinion), and what each cell should be, in the table's own types."""

    odd: Floats | None
    expected: pd.DataFrame


Peer = Callable[[pd.DataFrame, int], Opinion]


def encode(table: pd.DataFrame) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Numbers robustly scaled, words as indicators of values that are not rare; nulls NaN. Column of each feature."""
    parts, owner = [], []
    for index, name in enumerate(table):
        column = table[name]
        if pd.api.types.is_numeric_dtype(column):
            values = column.to_numpy(np.float64)
            middle, scale = robust(values)
            parts.append(bent((values - middle) / scale)[:, None])
        else:
            counts = column.value_counts()
            kept = counts.index[:RARE]
            hot = np.stack([(column == value).to_numpy(np.float64) for value in kept], axis=1)
            hot[column.isna().to_numpy()] = np.nan
            parts.append(hot)
        owner += [index] * parts[-1].shape[1]
    return np.concatenate(parts, axis=1), np.array(owner)


def bent(z: Floats) -> Floats:
    """Scaled numbers, those beyond 3 bent to a logarithm, as the product does: no single one rules a regression."""
    return np.where(np.abs(z) > 3, np.sign(z) * (3 + np.log1p(np.maximum(np.abs(z) - 3, 0))), z)


def unbent(z: Floats) -> Floats:
    """Undo `bent`."""
    return np.where(np.abs(z) > 3, np.sign(z) * (3 + np.expm1(np.clip(np.abs(z) - 3, 0, 14))), z)


def robust(values: Floats) -> tuple[float, float]:
    """The median, and a scale that few values rule."""
    known = values[np.isfinite(values)]
    middle = float(np.median(known))
    scale = 1.4826 * float(np.median(np.abs(known - middle)))
    if scale == 0:
        low, high = np.quantile(known, [0.05, 0.95])
        inner = known[(known >= low) & (known <= high)]
        scale = float(inner.std()) or float(known.std()) or 1.0
    return middle, scale


def middle(table: pd.DataFrame, seed: int) -> Opinion:
    """Robust z of a number, rarity of a word; median and most frequent word."""
    odd, expected = np.zeros(table.shape), {}
    for index, name in enumerate(table):
        column = table[name]
        if pd.api.types.is_numeric_dtype(column):
            values = column.to_numpy(np.float64)
            at, scale = robust(values)
            odd[:, index] = np.abs(values - at) / scale
            expected[name] = np.full(len(table), at)
        else:
            share = column.map(column.value_counts(normalize=True)).astype(np.float64)
            odd[:, index] = -np.log(share.fillna(1))
            expected[name] = np.full(len(table), column.mode()[0], object)
    return Opinion(np.nan_to_num(odd), pd.DataFrame(expected))


Models = dict[bool, Callable[[], Any]]
"""How to make a regression (True) and a classification (False)."""


def _by_column(models: Models, *, gaps: bool) -> Peer:
    """One model a column, from all others, out of fold.

    A number is as odd as its residual by the column's own mean square (by its robust spread all peers did worse), a
    word as it is improbable.
    """

    def peer(table: pd.DataFrame, seed: int) -> Opinion:
        x, owner = encode(table)
        rest_of = x if gaps else np.where(np.isnan(x), np.nanmedian(x, axis=0), x)
        fold = np.random.default_rng([seed, 7]).permutation(len(table)) % FOLDS
        odd, expected = np.zeros(table.shape), dict[Hashable, npt.NDArray[Any]]()
        for index, name in enumerate(table):
            column, rest = table[name], rest_of[:, owner != index]
            if pd.api.types.is_numeric_dtype(column):
                own = x[:, owner == index][:, 0]
                guess = _numbers(models[True], rest, own, fold)
                apart = np.nan_to_num(own - guess)
                odd[:, index] = np.abs(apart) / max(float(np.sqrt((apart**2).mean())), 1e-6)
                at, scale = robust(column.to_numpy(np.float64))
                expected[name] = unbent(guess) * scale + at
            else:
                expected[name], odd[:, index] = _words(models[False], rest, column, fold)
            odd[column.isna().to_numpy(), index] = 0
        return Opinion(odd, pd.DataFrame(expected))

    return peer


def _numbers(make: Callable[[], Any], rest: Floats, own: Floats, fold: npt.NDArray[np.intp]) -> Floats:
    guess = np.zeros(len(own))
    for turn in range(FOLDS):
        seen = ~np.isnan(own) & (fold != turn)
        guess[fold == turn] = make().fit(rest[seen], own[seen]).predict(rest[fold == turn])
    return guess


def _words(
    make: Callable[[], Any], rest: Floats, column: pd.Series, fold: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.object_], Floats]:
    words, odd = np.empty(len(column), object), np.zeros(len(column))
    for turn in range(FOLDS):
        seen, asked = column.notna().to_numpy() & (fold != turn), fold == turn
        counts = column[seen].value_counts()
        often = column[seen].where(column[seen].map(counts) > 2, counts.index[0]).to_numpy(object).astype(str)
        if len(set(often)) < 2:
            words[asked] = often[0]
            odd[asked] = np.where(column[asked] == often[0], 0, -np.log(LEAST))
            continue
        model = make().fit(rest[seen], often)
        chance = model.predict_proba(rest[asked])
        words[asked] = model.classes_[chance.argmax(axis=1)]
        own = column[asked].to_numpy(object).astype(str)
        held = np.where(model.classes_[None] == own[:, None], chance, 0).sum(axis=1)
        odd[asked] = -np.log(np.maximum(held, LEAST))
    return words, odd


def ridge() -> Peer:
    """Ridge and logistic regression a column."""
    from sklearn.linear_model import LogisticRegression, Ridge

    return _by_column({True: lambda: Ridge(1.0), False: lambda: LogisticRegression(max_iter=200)}, gaps=False)


def boosting() -> Peer:
    """Gradient-boosted trees a column."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    numbers = partial(HistGradientBoostingRegressor, random_state=0)
    words = partial(HistGradientBoostingClassifier, random_state=0, max_iter=30)
    return _by_column({True: numbers, False: words}, gaps=True)


def principal(table: pd.DataFrame, seed: int) -> Opinion:
    """PCA (90% of the variance): the residual of a cell, and the reconstruction."""
    from sklearn.decomposition import PCA

    x, _ = encode(table)
    x = np.where(np.isnan(x), np.nanmedian(x, axis=0), x)
    model = PCA(0.9, random_state=seed).fit(x)
    return _from_features(table, x, model.inverse_transform(model.transform(x)))


def _from_features(table: pd.DataFrame, x: Floats, found: Floats) -> Opinion:
    _, owner = encode(table)
    odd, expected = np.zeros(table.shape), {}
    for index, name in enumerate(table):
        own, column = owner == index, table[name]
        odd[:, index] = ((x[:, own] - found[:, own]) ** 2).sum(axis=1)
        if pd.api.types.is_numeric_dtype(column):
            at, scale = robust(column.to_numpy(np.float64))
            expected[name] = unbent(found[:, own][:, 0]) * scale + at
        else:
            kept = column.value_counts().index[:RARE].to_numpy(object)
            expected[name] = kept[found[:, own].argmax(axis=1)]
    return Opinion(odd, pd.DataFrame(expected))


def _imputer(make: Callable[[int], Any]) -> Peer:
    def peer(table: pd.DataFrame, seed: int) -> Opinion:
        x, _ = encode(table)
        found = make(seed).fit_transform(x)
        return Opinion(None, _from_features(table, found, found).expected)

    return peer


def neighbours() -> Peer:
    """scikit-learn's KNNImputer; it fills gaps, and judges nothing."""
    from sklearn.impute import KNNImputer

    return _imputer(lambda _: KNNImputer(n_neighbors=5))


def iterative() -> Peer:
    """scikit-learn's IterativeImputer, Bayesian ridge in turns; it fills gaps, and judges nothing."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return _imputer(lambda seed: IterativeImputer(max_iter=10, random_state=seed))


PEERS: dict[str, Callable[[], Peer]] = {
    "median and mode, robust z": lambda: middle,
    "PCA residual": lambda: principal,
    "ridge per column": ridge,
    "boosted trees per column": boosting,
    "KNNImputer": neighbours,
    "IterativeImputer": iterative,
}
