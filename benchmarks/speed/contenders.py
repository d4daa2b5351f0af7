"""One contender, one process: does its work, then prints one JSON line with its seconds and its peak memory.

`core_seconds` are those of the process on all cores: on a machine that is shared, they waver less than the clock does.
"""

from __future__ import annotations

import json
import os
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
    began = _Clock()
    frame = pd.read_parquet(source)
    values = frame[COLUMNS].to_numpy()
    mean, std = values[:100_000].mean(axis=0), values[:100_000].std(axis=0)
    scaled = (values - mean) / std
    found = model.predict(scaled, batch_size=8192, verbose=0)
    score = ((found - scaled) ** 2).mean(axis=1)
    pd.DataFrame({"id": frame["id"], "anomaly_score": score}).to_parquet(target.with_suffix(".scores"))
    frame[COLUMNS] = found * std + mean
    frame.to_parquet(target)
    _print(began)


def ours(source: Path, target: Path, pipeline: Path) -> None:
    """Score one file, or one folder of pictures: everything that the pipeline asks for."""
    from ae_plugin import config
    from ae_plugin.jobs.score import score

    score(config.load(pipeline), source=str(source), output=str(target))


def dags(folder: Path) -> None:
    """Turn a folder of pipeline YAMLs into DAGs; Airflow itself is imported before."""
    import airflow.providers.standard
    import airflow.sdk  # noqa: F401

    began = _Clock()
    from ae_plugin.provider.dag_factory import build_dags

    built = build_dags(folder)
    _print(began, dags=len(built))


def bare(source: Path, pipeline: Path) -> None:
    """The exported network alone, on the tiles of all the pictures as arrays in memory: one thread a core."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from ae_plugin import config
    from ae_plugin.core.laid import seen
    from ae_plugin.core.picture_scoring import BLOCK
    from ae_plugin.core.pictures import decode
    from ae_plugin.core.tiles import cut
    from ae_plugin.jobs.pictures.versions import load_picture_version
    from ae_plugin.store.registry import Registry

    settings = config.load(pipeline)
    registry = Registry(settings.output)
    scorer = load_picture_version(registry, registry.champion(), 0.01).scorer
    pictures = [decode(path.read_bytes()) for path in sorted(source.iterdir())]
    tiles = np.concatenate([cut(seen(picture, scorer.channels), scorer.side)[0] for picture in pictures])
    blocks = tiles[: len(tiles) // BLOCK * BLOCK].reshape(-1, BLOCK, *tiles.shape[1:])
    began = _Clock()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(scorer.network, blocks):
            pass
    _print(began)


def keras_pictures(source: Path, target: Path) -> None:
    """What people write: Pillow, `model.predict`, NumPy and `to_parquet`; our network on whole pictures."""
    import numpy as np
    import pandas as pd
    from PIL import Image

    from ae_plugin.models.conv import build

    paths = sorted(source.iterdir())
    with Image.open(paths[0]) as first:
        model = build((first.height, first.width), 1, 0)
        model.predict(np.zeros((32, first.height, first.width, 1), np.float32), verbose=0)
    began = _Clock()
    images = np.stack([np.asarray(Image.open(path), np.float32)[..., None] / 255 for path in paths])
    maps, _ = model.predict(images, batch_size=32, verbose=0)
    score = ((maps[..., :1] - images) ** 2).mean(axis=(1, 2, 3))
    pd.DataFrame({"file": [path.name for path in paths], "anomaly_score": score}).to_parquet(target)
    _print(began)


class _Clock:
    """Seconds since it was made: by the clock, and of this process on all cores."""

    def __init__(self) -> None:
        self._wall, self._cores = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {"seconds": time.perf_counter() - self._wall, "core_seconds": time.process_time() - self._cores}


def _print(began: _Clock, **more: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**began.read(), "peak_mb": peak, **more}))
    sys.exit(0)


def main() -> None:
    """`python -m benchmarks.speed.contenders NAME PATH...`."""
    name, *paths = sys.argv[1:]
    began = _Clock()
    contenders: dict[str, Callable[..., None]] = {
        "copy": copy,
        "keras": keras_peer,
        "ours": ours,
        "dags": dags,
        "bare": bare,
        "keras_pictures": keras_pictures,
    }
    contenders[name](*map(Path, paths))
    _print(began)


if __name__ == "__main__":
    main()
