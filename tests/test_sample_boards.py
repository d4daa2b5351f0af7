"""The shipped pictures: what they are, and that the list of their defects is true."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from ae_plugin import config
from ae_plugin.core.calibration import rows_needed
from ae_plugin.jobs.history import training_partitions
from tests.running import ROOT, run_ae
from tools.make_boards import deal, read_pieces
from tools.truth import FoundDefect, compare_pictures

SAMPLE = ROOT / "sample_data"
SOURCE = ROOT.parent / "shared/data/deeppcb"
DAYS = [(dt.date(2026, 5, 1) + dt.timedelta(days=n)).isoformat() for n in range(25)]
HISTORY, LATE = DAYS[:20], DAYS[20:]
needs_source = pytest.mark.skipif(
    not SOURCE.exists(), reason="needs the patches of DeepPCB, which are not in the repository"
)


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """The pixels of each file below a folder."""
    return {str(path.relative_to(folder)): np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.png"))}


def truth() -> list[dict[str, str]]:
    with (SAMPLE / "boards_truth.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_there_are_25_consecutive_days_of_small_pictures() -> None:
    found = pictures(SAMPLE / "boards")
    assert Counter(name.split("/")[0] for name in found) == {
        f"date={day}": 48 if day in HISTORY else 40 for day in DAYS
    }
    assert {(pixels.shape, pixels.dtype) for pixels in found.values()} == {((64, 64), np.dtype(np.uint8))}
    assert all(set(np.unique(pixels)) == {0, 255} for pixels in found.values())
    assert len({name.split("/")[1] for name in found}) == len(found)
    assert len({pixels.tobytes() for pixels in found.values()}) == len(found), "a picture is there twice"


def test_defects_lie_in_eight_pictures_of_each_late_day_and_in_no_other() -> None:
    rows = truth()
    defective = {(row["date"], row["file"]) for row in rows}
    assert Counter(date for date, _ in defective) == dict.fromkeys(LATE, 8)
    for row in rows:
        assert (SAMPLE / "boards" / f"date={row['date']}" / row["file"]).exists()
        left, top, right, bottom = (int(row[side]) for side in ("left", "top", "right", "bottom"))
        assert 0 <= left < right <= 64 and 0 <= top < bottom <= 64
    assert {row["defect"] for row in rows} <= {"open", "short", "mousebite", "spur", "copper", "pin-hole"}


def test_the_readme_says_how_many_of_each_defect_there_are() -> None:
    text = (SAMPLE / "README.md").read_text(encoding="utf-8")
    listed = {name: int(count) for name, count in re.findall(r"(?m)^\| ([a-z-]+) \| (\d+) \|$", text)}
    assert listed == Counter(row["defect"] for row in truth())


@needs_source
def test_no_board_is_both_in_history_and_later() -> None:
    days = dict(deal(read_pieces(SOURCE)))
    early, late = ({p.board for day in part for p in days[dt.date.fromisoformat(day)]} for part in (HISTORY, LATE))
    assert not early & late
    assert len(early) > 300 and len(late) > 100


@needs_source
def test_making_it_again_gives_the_same_pixels(tmp_path: Path) -> None:
    script = ROOT / "tools/make_boards.py"
    subprocess.run([sys.executable, script, "--source", SOURCE, "--output", tmp_path], check=True, timeout=300)
    made, shipped = pictures(tmp_path / "boards"), pictures(SAMPLE / "boards")
    assert made.keys() == shipped.keys()
    assert all(np.array_equal(made[name], shipped[name]) for name in made)
    assert (tmp_path / "boards_truth.csv").read_bytes() == (SAMPLE / "boards_truth.csv").read_bytes()


def mask(at: int) -> bytes:
    """A PNG with two wrong pixels each way from (at, at) on."""
    pixels, stream = np.zeros((8, 8), np.uint8), io.BytesIO()
    pixels[at : at + 2, at : at + 2] = 255
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_what_was_found_is_counted_by_picture_and_by_box(tmp_path: Path) -> None:
    """Four pictures: one flagged and marked, one flagged and marked elsewhere, one missed, one good but flagged."""
    there, elsewhere = mask(1), mask(6)
    flagged = [True, True, False, True]
    scores = pa.table({"file": list("abcd"), "is_anomaly": flagged})
    heatmaps = pa.table({"file": list("abd"), "mask": [there, elsewhere, elsewhere]})
    for name, table in {"scores": scores, "heatmaps": heatmaps}.items():
        (tmp_path / name / "date=1").mkdir(parents=True)
        pq.write_table(table, tmp_path / name / "date=1/part-0.parquet")
    box = {"date": "1", "left": 0, "top": 0, "right": 4, "bottom": 4}
    defects = pd.DataFrame([box | {"file": name, "defect": "spur" if name == "a" else "open"} for name in "abc"])
    found = compare_pictures(defects, tmp_path)
    assert found.defects == [
        FoundDefect("open", 2, 1, 0),
        FoundDefect("spur", 1, 1, 1),
        FoundDefect("all", 3, 2, 1),
    ]
    assert (found.bad, found.bad_flagged, found.good, found.good_flagged) == (3, 2, 1, 1)


def test_init_and_check_find_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_ae("init", SAMPLE / "boards", "--name", "mine").code == 0
    source = yaml.safe_load(Path("mine.yaml").read_text(encoding="utf-8"))["source"]
    assert source == {"uri": str(SAMPLE / "boards"), "format": "images", "partition_by": "date"}
    checked = run_ae("check", "mine.yaml", "--json").json
    assert (checked["partitions"], checked["files"]) == (25, 1160)


def test_the_shipped_pipeline_trains_on_history_alone() -> None:
    pipeline = config.load(ROOT / "dags/pipelines/boards.yaml").resolved(ROOT)
    assert list(training_partitions(pipeline)) == [f"date={day}" for day in HISTORY]
    needed = rows_needed(pipeline.score.alert_rate)
    assert needed <= 0.2 * 48 * len(HISTORY), "too few pictures to calibrate with"
