"""Tables and pictures with labels that nobody shows to the encoder, and the product's own training on them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.train import train
from benchmarks.quality.page import ROOT

WORK = ROOT / ".bench/labels"
NAMES = "fashion", "adult", "flights"


@dataclass(frozen=True)
class Set:
    """What there is of one source.

    Attributes:
        history: rows without labels; the encoder is trained on them, and labelled rows are drawn from them.
        test: other rows.
        known: labels of history, [n].
        truth: labels of the test rows, [k].
        kind: `images` or `parquet`.
        raw: arrays [n, F] and [k, F] of pixels 0..1; None of a table.
    """

    history: pa.Table
    test: pa.Table
    known: npt.NDArray[Any]
    truth: npt.NDArray[Any]
    kind: str
    raw: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None


def load(data: Path, name: str) -> Set:
    """One of `NAMES`."""
    return {"fashion": _fashion, "adult": _adult, "flights": _flights}[name](data)


def _fashion(data: Path) -> Set:
    parts = [np.load(data / f"fashion_mnist/fashion_mnist_{part}.npz") for part in ("train", "test")]
    pictures = [part["images"].reshape(-1, 28, 28)[:most] for part, most in zip(parts, (12_000, 5_000), strict=True)]
    labels = [part["labels"][: len(own)].astype(str) for part, own in zip(parts, pictures, strict=True)]
    tables = [pa.table({"image": [_png(picture) for picture in own]}) for own in pictures]
    raw = [own.reshape(len(own), -1).astype(np.float32) / 255 for own in pictures]
    return Set(tables[0], tables[1], labels[0], labels[1], "images", (raw[0], raw[1]))


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _adult(data: Path) -> Set:
    frames = [pd.read_parquet(data / f"adult/{part}.parquet") for part in ("train", "test")]
    labels = [frame["label"].to_numpy().astype(str) for frame in frames]
    tables = [pa.Table.from_pandas(f.drop(columns=["income", "label"]), preserve_index=False) for f in frames]
    return Set(tables[0], tables[1], labels[0], labels[1], "parquet")


def _flights(data: Path) -> Set:
    """Does a flight arrive more than 15 minutes late? Told from what is known when it leaves."""
    frame = pd.read_parquet(data / "nycflights13/flights.parquet")
    frame = frame[frame["arr_delay"].notna()].sample(30_000, random_state=0)
    late = (frame["arr_delay"] > 15).to_numpy().astype(int).astype(str)
    after = ["arr_delay", "arr_time", "air_time"]
    table = pa.Table.from_pandas(frame.drop(columns=[*after, "year", "time_hour", "tailnum"]), preserve_index=False)
    return Set(table.slice(0, 20_000), table.slice(20_000), late[:20_000], late[20_000:], "parquet")


def trained(one: Set, name: str) -> Pipeline:
    """The product's pipeline on a set's history, trained at the defaults and promoted; kept in `.bench/`."""
    work = WORK / name
    work.mkdir(parents=True, exist_ok=True)
    for what, table in (("history", one.history), ("test", one.test)):
        pq.write_table(table, work / f"{what}.parquet")
    pipeline = Pipeline.model_validate(
        {
            "name": name,
            "source": {"uri": str(work / "history.parquet"), "format": one.kind},
            "score": {"on_unfamiliar": "score"},
            "output": str(work / "out"),
        }
    )
    if not (work / "out/_models/champion.json").exists():
        promote(pipeline, train(pipeline).model_version, force=True)
    return pipeline
