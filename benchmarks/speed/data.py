"""The benchmark's table: 30 correlated float32 columns, an id and a string, as Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

FLOATS, FACTORS, SITES = 30, 8, 1000
BLOCK = 125_000
"""Rows of a row group."""

COLUMNS = [f"f{index:02d}" for index in range(FLOATS)]


def block(rows: int, first: int, seed: int) -> pa.Table:
    """Rows of the table; one in two hundred holds a value of another scale."""
    rng = np.random.default_rng([seed, first])
    mix = np.random.default_rng(7).normal(size=(FACTORS, FLOATS)).astype(np.float32)
    values = np.tanh(rng.normal(size=(rows, FACTORS)).astype(np.float32)) @ mix
    values += rng.normal(scale=0.2, size=values.shape).astype(np.float32)
    wrong = np.flatnonzero(rng.random(rows) < 0.005)
    values[wrong, rng.integers(0, FLOATS, len(wrong))] *= 12
    names = np.char.add("site-", rng.integers(0, SITES, rows).astype(str))
    columns = {name: pa.array(values[:, index]) for index, name in enumerate(COLUMNS)}
    return pa.table({"id": pa.array(np.arange(first, first + rows)), "site": pa.array(names), **columns})


def write_table(path: Path, rows: int, seed: int = 0) -> Path:
    """Write (once) a table of that many rows, row group by row group."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with pq.ParquetWriter(part, block(1, 0, seed).schema, compression="snappy", use_dictionary=["site"]) as writer:
        for first in range(0, rows, BLOCK):
            writer.write_table(block(min(BLOCK, rows - first), first, seed))
    part.rename(path)
    return path


def write_pipeline(folder: Path, name: str, source: Path, **score: object) -> Path:
    """Write a pipeline YAML over one file, its keys the id and the string."""
    settings = {
        "name": name,
        "source": {"uri": str(source), "keys": ["id", "site"]},
        "score": {"on_unfamiliar": "score", **score},
        "output": str(folder / "out"),
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path
