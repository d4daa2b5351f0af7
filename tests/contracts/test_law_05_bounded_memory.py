"""Law 5: peak memory of scoring and of training does not grow with the rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.store.registry import Registry
from ae_plugin.versions import read_report
from tests.boards import as_table, good, put_day
from tests.conftest import Trained
from tests.running import ROOT, run_ae
from tests.shop import FRESH, LAST_TRAINED, Shop, day

COLUMNS = 12
BLOCK = 20_000
FEW, MANY = 300_000, 1_200_000
"""The few fill every buffer there is (at 100 000 rows they do not yet)."""
SLACK_MB = 10

SETTINGS: dict[str, Any] = {
    "name": "shop",
    "source": {"uri": "numbers", "partition_by": "date", "keys": ["row_id"]},
    "train": {"contamination": 0, "steps": 40, "until": day(0)},
    "score": {"alert_rate": 0.05, "on_unfamiliar": "score"},
    "output": "out",
}


def block(rows: int = BLOCK, seed: int = 0) -> pa.Table:
    """Twelve numbers that depend on three, a few words, and gaps: cheap to make, and to learn."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 3))
    values = hidden @ np.random.default_rng(99).normal(size=(3, COLUMNS)) + rng.normal(0, 0.1, (rows, COLUMNS))
    columns: dict[str, pa.Array] = {"row_id": pa.array(np.arange(rows))}
    columns |= {f"x{i}": pa.array(values[:, i], mask=rng.random(rows) < 0.01) for i in range(COLUMNS)}
    columns["word"] = pa.array(np.array(["red", "green", "blue"])[(hidden[:, 0] > 0).astype(int)])
    return pa.table(columns)


def write(path: Path, rows: int, group: int) -> None:
    """The same rows over and over, uncompressed, so that a file is as large as its rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    some = block()
    with pq.ParquetWriter(path, some.schema, compression="none", use_dictionary=False) as writer:
        if group <= BLOCK:
            for _ in range(rows // BLOCK):
                writer.write_table(some, row_group_size=group)
        else:
            writer.write_table(pa.concat_tables([some] * (rows // BLOCK)), row_group_size=group)


# A process starts with the peak of the one that forked it, and pytest's is large: a small one goes between.
MEASURE = """
import os, subprocess, sys
process = subprocess.Popen([sys.executable, "-c", "from ae_plugin.cli import main; main()", *sys.argv[1:]])
_, status, usage = os.wait4(process.pid, 0)
print("peak", usage.ru_maxrss, flush=True)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_mb(*words: object) -> float:
    """Peak resident memory of a process that runs `ae WORDS`, as the kernel counted it."""
    command = [sys.executable, "-c", MEASURE, "--quiet", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1].removeprefix("peak ")) / 1024


def grows_not(few: float, many: float) -> None:
    """Ten percent, and a little for what the allocator happens to do."""
    assert many < few * 1.1 + SLACK_MB, f"{few:.0f} MB for few rows, {many:.0f} MB for many"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("memory"), SETTINGS).write()
    write(shop.source / f"date={day(0)}/part-0.parquet", BLOCK, BLOCK)
    assert run_ae("train", shop.yaml).code == 0
    run_ae("promote", shop.yaml, "--force")
    return shop


@pytest.mark.parametrize(
    "denoise, group", [("repair", BLOCK), ("full", MANY)], ids=["repair, small row groups", "full, one row group"]
)
def test_scoring_four_times_the_rows(shop: Shop, tmp_path: Path, denoise: str, group: int) -> None:
    shop = shop.copy(tmp_path / "shop").set(score={"denoise": denoise})
    peaks = []
    for number, rows in ((1, FEW), (2, MANY)):
        write(shop.source / f"date={day(number)}/part-0.parquet", rows, group)
        peaks.append(peak_mb("score", shop.yaml, "--partition", day(number)))
        assert pq.ParquetFile(shop.output / f"denoised/date={day(number)}/part-0.parquet").metadata.num_rows == rows
    grows_not(*peaks)


def test_training_on_four_times_the_rows(tmp_path: Path) -> None:
    """History is sampled down to train.max_rows, whatever its length."""
    peaks, seen = [], []
    for rows in (FEW, MANY):
        shop = Shop(tmp_path / str(rows), SETTINGS).write().set(train={"max_rows": BLOCK})
        write(shop.source / f"date={day(0)}/part-0.parquet", rows, BLOCK)
        peaks.append(peak_mb("train", shop.yaml))
        report = read_report(Registry(str(shop.output)), "v0001")
        assert report.rows_total == rows
        seen.append(report.rows_seen)
    grows_not(*peaks)
    assert all(0.9 * BLOCK < held <= BLOCK for held in seen), "train.max_rows is what is held in memory"


# Pictures.

FEW_PICTURES, MANY_PICTURES = 1_000, 8_000


def many_boards(count: int) -> dict[str, bytes]:
    """The same boards over and over."""
    some = list(good(50, 1).values())
    return {f"{number:05d}.png": some[number % 50] for number in range(count)}


def test_scoring_eight_times_the_pictures(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "shop").set(score={"denoise": "full"})
    peaks = []
    for number, count in ((FRESH, FEW_PICTURES), (FRESH + 1, MANY_PICTURES)):
        put_day(shop.source, number, many_boards(count))
        peaks.append(peak_mb("score", shop.yaml, "--partition", day(number)))
        assert shop.read("scores", number).num_rows == count
    grows_not(*peaks)


def test_training_on_eight_times_the_pictures(boards: Trained, tmp_path: Path) -> None:
    """History is sampled down to train.max_rows pictures, whatever its length."""
    peaks = []
    for count in (FEW_PICTURES, MANY_PICTURES):
        shop = Shop(tmp_path / str(count), boards.shop.settings).write().set(train={"max_rows": 300, "steps": 20})
        put_day(shop.source, LAST_TRAINED, {})
        pq.write_table(as_table(many_boards(count)), shop.source / f"date={day(LAST_TRAINED)}/part-0.parquet")
        peaks.append(peak_mb("train", shop.yaml))
        report = read_report(Registry(str(shop.output)), "v0001")
        assert (report.rows_total, report.rows_seen) == (count, 300)
    grows_not(*peaks)
