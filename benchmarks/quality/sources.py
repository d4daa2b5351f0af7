"""Real sources that share a schema after renaming, and versions trained on them: what the guard and the gate judge.

    own     all numbers of a source, named c000, c001 ...
    five    five of its numbers, drawn by the seed, in the source's order
    mixed   its first three numbers and a category

Versions are trained by the product's job at its defaults, on at most 3,000 rows, and kept in `.bench/versions`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from ae_plugin.config import Pipeline
from benchmarks.quality.page import ROOT
from benchmarks.quality.product import fit, pipeline_of
from benchmarks.quality.protocol import tables

KEPT = ROOT / ".bench/versions"
ROWS, TRAINED, SHARE = 6_000, 3_000, 0.7
Kind = Literal["own", "five", "mixed"]
NUMBERS = {
    "adult": ["age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"],
    "ai4i": ["air_temperature", "process_temperature", "rotational_speed", "torque", "tool_wear"],
    "beijing": ["DEWP", "TEMP", "PRES", "Iws", "pm2_5", "Is", "Ir", "hour", "month"],
    "flights": ["dep_delay", "arr_delay", "air_time", "distance", "hour", "minute", "sched_arr_time"],
    "weather": ["dewp", "temp", "pressure", "wind_speed", "humid", "wind_dir", "precip", "visib", "hour"],
}
CATEGORY = {"adult": "occupation", "ai4i": "type", "beijing": "cbwd", "flights": "carrier", "weather": "origin"}
FILES = {
    "adult": "adult/train",
    "ai4i": "ai4i2020/ai4i2020",
    "beijing": "beijing_pm25/beijing_pm25",
    "flights": "nycflights13/flights",
    "weather": "nycflights13/weather",
}
SAME = ({"annthyroid", "thyroid"}, {"breastw", "wbc"}, {"cardio", "cardiotocography"})
"""Tables that ADBench made from one source: neither is foreign to the other."""


@cache
def load(data: Path, name: str) -> pd.DataFrame:
    """A source's rows in random order, at most `ROWS`; tables of ADBench without their label."""
    path = data / f"{FILES[name]}.parquet" if name in FILES else tables(data / "adbench")[name]
    frame = pd.read_parquet(path)
    frame = frame if name in FILES else frame.drop(columns="label")
    return frame.sample(frac=1, random_state=0).head(ROWS).reset_index(drop=True)


def numbers(data: Path, name: str, width: int | None = None, drawn: int | None = None) -> pd.DataFrame:
    """The first `width` numbers of a source (all, when absent), or as many drawn by a seed."""
    frame = load(data, name)
    chosen = NUMBERS.get(name, list(frame.columns))
    if drawn is not None:
        rng = np.random.default_rng([drawn, len(name), len(chosen)])
        chosen = [chosen[i] for i in np.sort(rng.permutation(len(chosen))[:width])]
    chosen = chosen[:width]
    return frame[chosen].astype(np.float64).set_axis([f"c{i:03d}" for i in range(len(chosen))], axis=1)


def names(data: Path, kind: Kind) -> list[str]:
    """The sources of a kind."""
    every = [*tables(data / "adbench"), *FILES]
    if kind == "mixed":
        return list(FILES)
    return every if kind == "own" else [name for name in every if numbers(data, name).shape[1] > 5]


def frame_of(data: Path, kind: Kind, name: str, seed: int, width: int | None = None) -> pd.DataFrame:
    """A source as a kind shows it; `width` cuts its own numbers."""
    if kind == "own":
        return numbers(data, name, width)
    if kind == "five":
        return numbers(data, name, 5, seed)
    return numbers(data, name, 3).assign(word=load(data, name)[CATEGORY[name]].astype("string"))


def arrow(frame: pd.DataFrame) -> pa.Table:
    """A frame as Arrow, NaN as null."""
    return pa.Table.from_pandas(frame, preserve_index=False)


def trained(data: Path, kind: Kind, name: str, seed: int) -> tuple[Pipeline, pd.DataFrame]:
    """A pipeline with a version trained on some of a source's rows, and the rows that it was not trained on."""
    frame, work = frame_of(data, kind, name, seed), KEPT / f"{kind}-{name}-{seed}"
    used = np.random.default_rng([seed, len(frame)]).permutation(len(frame))[: min(TRAINED, int(SHARE * len(frame)))]
    if not (work / "done").exists():
        fit(arrow(frame.iloc[np.sort(used)].reset_index(drop=True)), work, model={"seed": seed})
        (work / "done").touch()
    fresh = frame.drop(index=frame.index[used]).reset_index(drop=True)
    return pipeline_of(work, model={"seed": seed}), fresh
