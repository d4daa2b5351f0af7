"""The pairs of `dirty_clean`: a table as it was found, and as it should have been."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from ae_plugin.engines.local import read_file, schema_of

ERRORS = ("hospital", "beers", "renuver_restaurant", "adult", "letter")
"""Sets with values that are wrong; in all others cells are missing, under a marker."""
SEEN = ("hospital", "beers")
"""Sets that the rules of the product were developed on."""
MARKERS = ("ERRORABC123!?", "-9999999")
ROWS = 4000


@dataclass(frozen=True)
class Pair:
    """One set.

    Attributes:
        name: of its folder.
        dirty: the table, in the types that the product reads from CSV.
        clean: the same rows as text, as they should have been.
        tidy: the clean table, in the types that the product reads from CSV.
        wrong: bool [n, C], where they differ.
    """

    name: str
    dirty: pa.Table
    clean: pd.DataFrame
    tidy: pa.Table
    wrong: npt.NDArray[np.bool_]

    @property
    def gaps(self) -> npt.NDArray[np.bool_]:
        """Cells that are null as read, bool [n, C]."""
        columns = [column.is_null().to_numpy() for column in self.dirty.columns]
        return np.stack(columns, axis=1)


def names(folder: Path) -> list[str]:
    """All sets, those with errors first."""
    found = sorted(path.parent.name for path in folder.glob("dirty_clean/*/dirty.parquet"))
    return [*ERRORS, *(name for name in found if name not in ERRORS)]


def read(folder: Path, name: str) -> Pair:
    """Read a set; of one with more than 4000 rows, that many, drawn once."""
    where = folder / "dirty_clean" / name
    dirty, clean, mask = (pq.read_table(where / f"{kind}.parquet") for kind in ("dirty", "clean", "error_mask"))
    rows = np.arange(dirty.num_rows)
    if len(rows) > ROWS:
        rows = np.sort(np.random.default_rng(0).permutation(len(rows))[:ROWS])
    dirty, clean, mask = (table.take(pa.array(rows)) for table in (dirty, clean, mask))
    frame = dirty.to_pandas()
    if name not in ERRORS:
        frame = frame.where(~frame.isin(MARKERS), "")
    wrong = mask.to_pandas().to_numpy().astype(bool)
    return Pair(name, _as_read(frame), clean.to_pandas().fillna(""), _as_read(clean.to_pandas()), wrong)


def _as_read(frame: pd.DataFrame) -> pa.Table:
    """A table of strings as the product reads it from a CSV file."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/table.csv"
        csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), path)
        return pa.Table.from_batches(list(read_file(path, "csv", schema_of(path, "csv"))))


def same(found: object, truth: str) -> bool:
    """Whether a repaired value is the true one: the same text, or the same number to a thousandth."""
    if found is None or found != found:
        return truth.strip() == ""
    try:
        number = float(truth)
        return abs(float(str(found)) - number) <= 1e-3 * abs(number)
    except ValueError:
        return str(found).strip() == truth.strip()
