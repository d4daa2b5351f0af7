"""What was found of what is really wrong: the samples' truth tables beside the outputs."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image


@dataclass(frozen=True)
class Found:
    """One kind of fault: cells planted, in flagged rows, named, and repaired (equal, or numbers within 5%)."""

    fault: str
    planted: int
    flagged: int
    named: int
    repaired: int


@dataclass(frozen=True)
class FoundDefect:
    """One kind of defect: how many there are, in flagged pictures, and marked (the mask meets its box)."""

    defect: str
    there: int
    flagged: int
    marked: int


@dataclass(frozen=True)
class FoundPictures:
    """Each kind of defect and a last entry for all; and how many defective and good pictures were flagged."""

    defects: list[FoundDefect]
    bad: int
    bad_flagged: int
    good: int
    good_flagged: int


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


def compare_pictures(truth: pd.DataFrame, output: Path) -> FoundPictures:
    """Compare real defects (`date`, `file`, a box and its `defect`) with `scores/` and `heatmaps/`.

    Pictures of partitions that were set aside count as not flagged.
    """
    scores, heatmaps = read_dataset(output / "scores"), read_dataset(output / "heatmaps")
    flagged = _pictures(scores[scores["is_anomaly"].eq(True)])
    masks = dict(zip(_pictures(heatmaps), heatmaps["mask"], strict=True))
    bad, good = set(_pictures(truth)), set(_pictures(scores)) - set(_pictures(truth))
    boxes = zip(_pictures(truth), *(truth[side] for side in ("left", "top", "right", "bottom")), strict=True)
    whole = truth.assign(
        flagged=[picture in flagged for picture in _pictures(truth)],
        marked=[picture in masks and _meets(masks[picture], *box) for picture, *box in boxes],
    )
    kinds = [*whole.groupby("defect", sort=True), ("all", whole)]
    return FoundPictures(
        [FoundDefect(str(kind), len(own), int(own["flagged"].sum()), int(own["marked"].sum())) for kind, own in kinds],
        bad=len(bad),
        bad_flagged=len(bad.intersection(flagged)),
        good=len(good),
        good_flagged=len(good.intersection(flagged)),
    )


def _pictures(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """(date, file) of each row."""
    return list(zip(frame["date"], frame["file"], strict=True))


def _meets(mask: bytes, left: int, top: int, right: int, bottom: int) -> bool:
    with Image.open(BytesIO(mask)) as image:
        return bool(np.asarray(image)[top:bottom, left:right].any())


def _count(fault: str, part: pd.DataFrame) -> Found:
    counts = [int(part[name].sum()) for name in ("flagged", "named", "repaired")]
    return Found(fault, len(part), *counts)


def _same(expected: object, original: object) -> bool:
    try:
        wanted = float(str(original))
        return abs(float(str(expected)) - wanted) <= 0.05 * abs(wanted)
    except ValueError:
        return expected == original
