"""The tables of ADBench, split as DTE splits them, so that published figures are comparable.

Livernoche et al., *On Diffusion Modeling for Anomaly Detection*, ICLR 2024, `data_generator.py`: tables under 1,000
rows are bootstrapped to 1,000 before the split (so train and test share rows), tables over 50,000 are sampled.

    semi    trains on the first half of the normal rows, in file order; tests on the other half and all anomalies
    unsup   trains on a bootstrap of all rows; tests on all rows
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Setting = Literal["semi", "unsup"]
FEW, MANY = 1_000, 50_000


@dataclass(frozen=True)
class Split:
    """One table, split: float64 [n, D] to train on and [m, D] to test on, and which of those are anomalies, int [m]."""

    train: Floats
    test: Floats
    label: npt.NDArray[np.int64]
    bootstrapped: bool


def tables(folder: Path) -> dict[str, Path]:
    """The tables by the names that the published figures use: `02_annthyroid.parquet` is `annthyroid`."""
    return {path.stem.split("_", 1)[1].lower(): path for path in sorted(folder.glob("[0-9]*_*.parquet"))}


def split(path: Path, setting: Setting, seed: int) -> Split:
    """Split a table by the protocol."""
    frame = pd.read_parquet(path)
    label = frame.pop("label").to_numpy().astype(np.int64)
    values = frame.to_numpy(np.float64)
    rng = np.random.RandomState(seed)
    few = len(values) < FEW
    if few:
        rows = rng.choice(len(values), FEW, replace=True)
        values, label = values[rows], label[rows]
    elif len(values) > MANY:
        rows = rng.choice(len(values), MANY, replace=False)
        values, label = values[rows], label[rows]
    if setting == "unsup":
        return Split(values[rng.choice(len(values), len(values), replace=True)], values, label, few)
    normal = np.flatnonzero(label == 0)
    half = len(normal) // 2
    kept = np.r_[normal[half:], np.flatnonzero(label == 1)]
    return Split(values[normal[:half]], values[kept], label[kept], few)
