"""Real tables with wrong cells of one kind: numeric ones of ADBench, and mixed ones; a thousand rows each.

- extreme: a number 3 to 6 standard deviations of its column away from what it was;
- swap: a value of another row of the same column;
- unit: a number times 10, times 1000, or from Celsius to Fahrenheit;
- sentinel: -999, 999, 9999 or -1 for a number;
- misspelt: a word with two letters exchanged, one left out or one doubled;
- null: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.quality.protocol import tables as numeric_tables

Bools = npt.NDArray[np.bool_]
ROWS = 1_000
KINDS = ("extreme", "swap", "unit", "sentinel", "misspelt", "null")
NUMERIC = ("annthyroid", "cardio", "letter", "pendigits", "waveform", "yeast")
MIXED = ("adult", "ai4i2020", "beijing_pm25", "flights", "weather")
DEVELOPMENT = ("cardiotocography", "mammography", "optdigits", "shuttle", "vowels")
"""What the judgement of cells was developed on; no figure is reported of them."""

_LEFT_OUT = {
    "adult": ["label"],
    "ai4i2020": ["udi", "product_id", "machine_failure", "twf", "hdf", "pwf", "osf", "rnf", "label"],
    "beijing_pm25": ["No", "year", "timestamp"],
    "flights": ["year", "flight", "tailnum", "dest", "time_hour", "minute"],
    "weather": ["year", "time_hour", "wind_gust"],
}


@dataclass(frozen=True)
class Case:
    """A table as it was, the same with wrong cells, and which those are, bool [n, C]."""

    true: pd.DataFrame
    dirty: pd.DataFrame
    wrong: Bools

    @property
    def numbers(self) -> Bools:
        """Which columns hold numbers, bool [C]."""
        return np.array([pd.api.types.is_numeric_dtype(kind) for kind in self.true.dtypes])


def load(data: Path, name: str, seed: int, *, rest: bool = False) -> pd.DataFrame:
    """A sample of a table's rows; numbers are float64, everything else is text; constant columns are left out.

    Args:
        data: the folder of all data.
        name: of the table.
        seed: of the sample.
        rest: twice as many other rows instead, as far as there are any.
    """
    if name in MIXED:
        path = {"adult": "adult/train", "flights": "nycflights13/flights", "weather": "nycflights13/weather"}
        frame = pd.read_parquet(data / f"{path.get(name, f'{name}/{name}')}.parquet").drop(columns=_LEFT_OUT[name])
    else:
        frame = pd.read_parquet(numeric_tables(data / "adbench")[name]).drop(columns="label")
    sample = frame.sample(min(ROWS, len(frame)), random_state=seed)
    others = frame.drop(sample.index)
    parts, chosen = {}, others.sample(min(2 * ROWS, len(others)), random_state=seed) if rest else sample
    for column in chosen:
        own = chosen[column].reset_index(drop=True)
        number = pd.api.types.is_numeric_dtype(own)
        if sample[column].nunique() > 1:
            parts[str(column)] = own.astype(np.float64) if number else own.astype(object).where(own.notna(), None)
    return pd.DataFrame(parts)


def spoil(true: pd.DataFrame, kind: str, rate: float, seed: int) -> Case:
    """Make a share of all cells that a kind of fault can befall wrong."""
    rng = np.random.default_rng([seed, KINDS.index(kind), round(1000 * rate)])
    wrong = np.zeros(true.shape, bool)
    dirty = true.copy()
    for index, name in enumerate(true.columns):
        column = true[name]
        number = pd.api.types.is_numeric_dtype(column)
        if number if kind == "misspelt" else not number and kind in ("extreme", "unit", "sentinel"):
            continue
        hit = np.flatnonzero((rng.random(len(true)) < rate) & column.notna().to_numpy())
        values = column.to_numpy(copy=True)
        values[hit] = _faulty(kind, values, hit, rng)
        changed = pd.Series(values, dtype=column.dtype)
        wrong[:, index] = (changed.isna() & column.notna()) | (changed.notna() & (changed != column))
        dirty[name] = changed
    return Case(true, dirty, wrong)


def _faulty(kind: str, values: npt.NDArray[Any], hit: npt.NDArray[np.intp], rng: np.random.Generator) -> object:
    own = values[hit]
    if kind == "extreme":
        away = rng.uniform(3, 6, len(hit)) * rng.choice([-1.0, 1.0], len(hit))
        return own + away * np.nanstd(values.astype(np.float64))
    if kind == "swap":
        return np.roll(own, 1)
    if kind == "unit":
        which = rng.integers(0, 3, len(hit))
        return np.choose(which, [own * 10, own * 1000, own * 1.8 + 32])
    if kind == "sentinel":
        return rng.choice([-999.0, 999.0, 9999.0, -1.0], len(hit))
    if kind == "misspelt":
        return [_misspelt(str(word), rng) for word in own]
    return np.nan if values.dtype.kind == "f" else None


def _misspelt(word: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(0, max(len(word) - 1, 1)))
    pair = word[at : at + 2]
    return word[:at] + str(rng.choice([pair[::-1], pair[1:], pair[:1] + pair])) + word[at + 2 :]
