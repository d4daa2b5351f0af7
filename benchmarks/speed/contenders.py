"""One contender, one process: does its work, then prints one JSON line with its seconds and its peak memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed.data import COLUMNS


def copy(source: Path, target: Path) -> None:
    """Read and write the same columns with pyarrow, one thread, one record batch at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(source, pre_buffer=False)
    with pq.ParquetWriter(target, file.schema_arrow, compression="snappy", use_dictionary=["site"]) as writer:
        for batch in file.iter_batches(batch_size=62_500, use_threads=False):
            writer.write_table(pa.Table.from_batches([batch]))


def keras_peer(source: Path, target: Path) -> None:
    """What people write: pandas, `model.predict`, `to_parquet`; a network of the width of ours."""
    import keras
    import numpy as np
    import pandas as pd

    layers = [keras.layers.Dense(64, activation="silu") for _ in range(4)]
    model = keras.Sequential([keras.Input((len(COLUMNS),)), *layers, keras.layers.Dense(len(COLUMNS))])
    model.predict(np.zeros((8192, len(COLUMNS)), np.float32), batch_size=8192, verbose=0)
    began = time.perf_counter()
    frame = pd.read_parquet(source)
    values = frame[COLUMNS].to_numpy()
    mean, std = values[:100_000].mean(axis=0), values[:100_000].std(axis=0)
    scaled = (values - mean) / std
    found = model.predict(scaled, batch_size=8192, verbose=0)
    score = ((found - scaled) ** 2).mean(axis=1)
    pd.DataFrame({"id": frame["id"], "anomaly_score": score}).to_parquet(target.with_suffix(".scores"))
    frame[COLUMNS] = found * std + mean
    frame.to_parquet(target)
    _print(time.perf_counter() - began)


def ours(source: Path, target: Path, pipeline: Path) -> None:
    """Score one file: `scores/`, `cells/` and the whole `denoised/`."""
    from ae_plugin import config
    from ae_plugin.jobs.score import score

    score(config.load(pipeline), source=str(source), output=str(target))


def dags(folder: Path) -> None:
    """Turn a folder of pipeline YAMLs into DAGs; Airflow itself is imported before."""
    import airflow.providers.standard
    import airflow.sdk  # noqa: F401

    began = time.perf_counter()
    from ae_plugin.provider.dag_factory import build_dags

    built = build_dags(folder)
    _print(time.perf_counter() - began, dags=len(built))


def _print(seconds: float, **more: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak, **more}))
    sys.exit(0)


def main() -> None:
    """`python -m benchmarks.speed.contenders NAME PATH...`."""
    name, *paths = sys.argv[1:]
    began = time.perf_counter()
    contenders: dict[str, Callable[..., None]] = {"copy": copy, "keras": keras_peer, "ours": ours, "dags": dags}
    contenders[name](*map(Path, paths))
    _print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
