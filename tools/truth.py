"""What was found of what was planted: the sample's truth table beside the outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Found:
    """One kind of fault: cells planted, in flagged rows, named, and repaired (equal, or numbers within 5%)."""

    fault: str
    planted: int
    flagged: int
    named: int
    repaired: int


def read_dataset(folder: Path) -> pd.DataFrame:
    """Read an output dataset partition by partition, with the partition's `date` as a column."""
    parts = []
    for path in sorted(folder.glob("date=*/part-0.parquet")):
        frame = pq.ParquetFile(path).read().to_pandas()
        parts.append(frame.assign(date=path.parent.name.removeprefix("date=")))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def compare(truth: Path, output: Path) -> list[Found]:
    """Compare the planted faults with `scores/` and `cells/`, one entry a fault kind and a last one for all."""
    planted = pd.read_parquet(truth)
    scores, cells = read_dataset(output / "scores"), read_dataset(output / "cells")
    cells = cells[["date", "row", "column", "expected"]].assign(named=True)
    whole = planted.merge(scores[["date", "row", "is_anomaly"]], on=["date", "row"], how="left")
    whole = whole.merge(cells, on=["date", "row", "column"], how="left")
    whole["flagged"] = whole["is_anomaly"].eq(True)
    whole["named"] = whole["named"].eq(True)
    whole["repaired"] = [
        bool(named) and _same(expected, original)
        for named, expected, original in zip(whole["named"], whole["expected"], whole["original"], strict=True)
    ]
    kinds = [(str(kind), part) for kind, part in whole.groupby("fault", sort=True)]
    return [_count(kind, part) for kind, part in [*kinds, ("all", whole)]]


def _count(fault: str, part: pd.DataFrame) -> Found:
    counts = [int(part[name].sum()) for name in ("flagged", "named", "repaired")]
    return Found(fault, len(part), *counts)


def _same(expected: object, original: object) -> bool:
    try:
        wanted = float(str(original))
        return abs(float(str(expected)) - wanted) <= 0.05 * abs(wanted)
    except ValueError:
        return expected == original
