"""Plants one wrong cell in some rows of a real table, and says afterwards what was found of them.

These faults are not those of the promotion gate: one cell a row, in a few rows, of kinds that people make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SHARE = 0.02
KINDS = ("unit", "sentinel", "misspelt", "other row", "null")


@dataclass(frozen=True)
class Found:
    """One kind of fault: cells planted, in flagged rows, named, and repaired (equal, or numbers within 10%)."""

    kind: str
    planted: int
    flagged: int
    named: int
    repaired: int


def plant(table: pd.DataFrame, columns: Sequence[str], seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table with wrong cells, and the truth: row, column, kind and original of each."""
    rng = np.random.default_rng(seed)
    cells, truth = {name: table[name].astype(object).tolist() for name in columns}, []
    rows = np.sort(rng.permutation(len(table))[: round(SHARE * len(table))])
    for row in rows:
        column = str(rng.choice(list(columns)))
        original = table[column].iloc[row]
        if pd.isna(original):
            continue
        number = pd.api.types.is_numeric_dtype(table[column])
        kind = str(rng.choice(["unit", "sentinel", "other row", "null"] if number else ["misspelt", "other row"]))
        wrong = _wrong(kind, original, table[column], rng)
        if wrong is not None and wrong == original:
            continue
        cells[column][row] = wrong
        truth.append({"row": int(row), "column": column, "kind": kind, "original": original})
    changed = {name: pd.Series(values, table.index, object) for name, values in cells.items()}
    return table.assign(**changed), pd.DataFrame(truth)


def _wrong(kind: str, original: object, column: pd.Series, rng: np.random.Generator) -> object:
    if kind == "null":
        return None
    if kind == "sentinel":
        return -9999
    if kind == "unit":
        scaled = float(str(original)) * 2.54
        return round(scaled) if pd.api.types.is_integer_dtype(column) else scaled
    if kind == "misspelt":
        text = str(original)
        at = int(rng.integers(0, max(len(text) - 1, 1)))
        return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
    return column.dropna().iloc[int(rng.integers(0, column.notna().sum()))]


def write_like(frame: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    """Write a frame in a schema, nulls allowed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    loose = pa.schema([field.with_nullable(True) for field in schema])
    pq.write_table(pa.Table.from_pandas(frame, schema=loose, preserve_index=False), path)


def compare(truth: pd.DataFrame, output: Path, partition: str) -> list[Found]:
    """Compare the truth with one partition's `scores/` and `cells/`; the last entry is for all kinds."""
    scores, cells = (
        pq.ParquetFile(output / name / partition / "part-0.parquet").read().to_pandas() for name in ("scores", "cells")
    )
    whole = truth.merge(scores[["row", "is_anomaly"]], on="row").merge(
        cells[["row", "column", "expected"]].assign(named=True), on=["row", "column"], how="left"
    )
    named = whole["named"].eq(True)
    fixed = [
        bool(there) and _same(expected, original)
        for there, expected, original in zip(named, whole["expected"], whole["original"], strict=True)
    ]
    whole = whole.assign(named=named, fixed=fixed)
    groups = [(kind, whole[whole["kind"] == kind]) for kind in KINDS] + [("all", whole)]
    return [
        Found(kind, len(part), int(part["is_anomaly"].sum()), int(part["named"].sum()), int(part["fixed"].sum()))
        for kind, part in groups
        if len(part)
    ]


def _same(expected: object, original: object) -> bool:
    try:
        wanted = float(str(original))
        return abs(float(str(expected)) - wanted) <= 0.1 * abs(wanted)
    except ValueError:
        return str(expected) == str(original)
