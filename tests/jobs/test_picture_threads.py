"""Pictures are scored in threads, but large ones one after another: what is said of one takes many times its memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ae_plugin.jobs.pictures import score as job
from ae_plugin.jobs.score import score
from tests.boards import board, png, put_day
from tests.conftest import Trained
from tests.shop import FRESH, day


@pytest.mark.parametrize(("limit", "most"), [(2**25, 2), (1, 1)])
def test_large_pictures_are_scored_one_after_another(
    boards: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    put_day(tmp_path / "files", FRESH, {f"{number}.png": png(board(number)) for number in range(12)})
    known, lock, running = job.PictureRun._found, threading.Lock(), [0]
    peaks = []

    def watched(self: job.PictureRun, *pictures: Any) -> Any:
        with lock:
            running[0] += 1
            peaks.append(running[0])
        time.sleep(0.05)
        try:
            return known(self, *pictures)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(job.PictureRun, "_found", watched)
    monkeypatch.setattr(job, "_UNIT_BYTES", 1)
    monkeypatch.setattr(job, "PIXEL_BYTES", limit)
    shop = boards.shop.copy(tmp_path / "shop").set(score={"on_unfamiliar": "score"})
    record = score(
        shop.pipeline, day(FRESH), source=str(tmp_path / f"files/date={day(FRESH)}"), output=str(tmp_path / "out")
    )
    assert record.rows == 12 and len(peaks) == 12 and max(peaks) == most
