"""How long a large partition takes to open on the page, after the demo: `python -m benchmarks.scale.partition`.

A day of the flights over and over is scored by the demo's champion; then its rows are asked for as the page asks.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.jobs.score import score
from benchmarks.quality.page import ROOT

DAY = "date=2013-02-13"


def prepare(root: Path, rows: int) -> Pipeline:
    """A pipeline with the demo's champion, and one large day."""
    (root / "dags/pipelines").mkdir(parents=True)
    shutil.copy(ROOT / "dags/pipelines/flights.yaml", root / "dags/pipelines")
    shutil.copytree(ROOT / "out/flights/_models", root / "out/flights/_models")
    day = pq.ParquetFile(ROOT / f"sample_data/flights/{DAY}/part-0.parquet").read()
    target = root / f"sample_data/flights/{DAY}/part-0.parquet"
    target.parent.mkdir(parents=True)
    group = pa.concat_tables([day] * 1_000).combine_chunks()
    with pq.ParquetWriter(target, day.schema) as writer:
        for start in range(0, rows, group.num_rows):
            writer.write_table(group.slice(0, min(rows - start, group.num_rows)))
    return config.load(root / "dags/pipelines/flights.yaml").resolved(root)


def timed(what: str, ask: Callable[[], Any]) -> Any:
    """Ask, and print how long it took."""
    began = time.perf_counter()
    found = ask()
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)
    return found


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT.parent) as folder:
        pipeline = prepare(Path(folder), args.rows)
        run = timed(f"scoring {args.rows:,} rows", lambda: score(pipeline, DAY))
        from ae_plugin.store.files import Folder
        from ae_plugin.store.runs import read_latest, read_profile
        from ae_plugin.web.rows import row_page
        from ae_plugin.web.values import row_values

        stored = Folder(pipeline.output)
        timed("the partition's record and profile", lambda: (read_latest(stored, DAY), read_profile(stored, run)))
        page = timed("its worst rows, the first time", lambda: row_page(pipeline, run))
        timed("its worst rows, again", lambda: row_page(pipeline, run))
        timed("the thousandth page", lambda: row_page(pipeline, run, offset=50_000))
        timed("rows worst in a column", lambda: row_page(pipeline, run, column="air_time"))
        timed("rows with a wrong value", lambda: row_page(pipeline, run, value="-9999"))
        rows = [row.row for row in page.rows]
        timed(f"{len(rows)} whole rows", lambda: row_values(pipeline, run, rows))
        print(f"{page.flagged:,} rows are flagged")


if __name__ == "__main__":
    main()
