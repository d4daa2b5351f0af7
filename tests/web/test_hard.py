"""What is hard: rows that moved since, runs in between, CSV, pictures of odd kinds, stores that do not answer."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ae_plugin.errors import ConfigError, DataError, UnfamiliarError
from ae_plugin.jobs import run as running
from ae_plugin.jobs.decide import decide
from ae_plugin.jobs.feedback import standing
from ae_plugin.jobs.score import score
from ae_plugin.store.files import Folder
from ae_plugin.store.runs import read_latest
from ae_plugin.store.staging import JOURNALS
from ae_plugin.web import overview, refresh
from ae_plugin.web.overview import Brief, briefs, state_of
from ae_plugin.web.responses import PipelineSummary
from ae_plugin.web.rows import row_page
from ae_plugin.web.values import SIDE, _shown, row_values
from tests.boards import bomb, png
from tests.shop import FRESH, Shop, day, make_orders, spoil, write_day
from tests.web.conftest import REFUSED, Served, foreign

DAY = f"date={day(FRESH)}"


@pytest.fixture
def scored(shop: Shop) -> Shop:
    write_day(shop.source, FRESH, spoil(make_orders(240, day(FRESH), first_id=FRESH * 100_000)))
    score(shop.pipeline, DAY)
    return shop


def page(shop: Shop):  # type: ignore[no-untyped-def]
    run = read_latest(Folder(str(shop.output)), DAY)
    assert run is not None
    return row_page(shop.pipeline, run, limit=200)


# Rows that moved since.


def test_nobody_judges_a_row_that_took_another_s_place(web: Served) -> None:
    path = web.shop.source / f"{DAY}/part-0.parquet"
    kept = path.with_name(".kept")
    shutil.copy2(path, kept)
    shown = web.site.get("pipelines/shop/rows", partition=DAY)
    row = shown["rows"][0]["row"]
    try:
        table = pq.read_table(kept)
        pq.write_table(table.take(np.arange(table.num_rows)[::-1]), path)
        order = {"partition": DAY, "rows": [row], "verdict": "false_alarm", "seen": shown["seen"]}
        answer = web.site.order("pipelines/shop/feedback", **order)
        assert answer.status_code == 409 and "changed since its rows were looked at" in answer.json()["detail"]
        assert row not in {mark.row for mark in standing(web.shop.pipeline).marks}
    finally:
        kept.replace(path)
    assert web.site.order("pipelines/shop/feedback", **order).status_code == 200


def test_a_verdict_is_not_shown_on_the_row_that_stands_there_now(scored: Shop) -> None:
    from ae_plugin.jobs.feedback import Said, feedback

    marked = page(scored).rows[0]
    feedback(scored.pipeline, [Said("false_alarm", DAY, marked.row)])
    assert page(scored).rows[0].feedback is not None
    table = pq.read_table(scored.source / f"{DAY}/part-0.parquet", partitioning=None)
    write_day(scored.source, FRESH, table.take(np.roll(np.arange(table.num_rows), 1)))
    score(scored.pipeline, DAY)
    for row in page(scored).rows:
        assert row.feedback is None or row.keys == marked.keys


# Runs in between.


def test_while_a_run_takes_its_place_nothing_is_mixed(web: Served) -> None:
    journal = web.shop.output / JOURNALS / f"{DAY}.mark.1.json"
    journal.write_text("{}")
    try:
        for what in ("rows", "values", "download"):
            answer = web.site.ask("viewer", f"/ae/api/pipelines/shop/{what}", params={"partition": DAY, "row": 0})
            assert answer.status_code == 409 and "is being written just now" in answer.json()["detail"]
    finally:
        journal.unlink()
    assert web.site.get("pipelines/shop/rows", partition=DAY)["rows"]


def test_what_is_discarded_while_it_goes_into_quarantine_does_not_stay_there(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"date={day(REFUSED)}"
    write_day(shop.source, REFUSED, foreign(make_orders(200, day(REFUSED))))
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, where)
    kept = shop.output / f"quarantine/{where}/part-0.parquet"
    assert kept.exists()
    refuse = running.Run._refuse

    def meanwhile(self, verdict):  # type: ignore[no-untyped-def]
        decide(shop.pipeline, where, "discard")
        assert not kept.exists()
        return refuse(self, verdict)

    monkeypatch.setattr(running.Run, "_refuse", meanwhile)
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, where)
    assert not kept.exists()


def test_what_is_set_aside_is_what_was_judged(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"date={day(REFUSED)}"
    write_day(shop.source, REFUSED, foreign(make_orders(200, day(REFUSED))))
    refuse = running.Run._refuse

    def meanwhile(self, verdict):  # type: ignore[no-untyped-def]
        write_day(shop.source, REFUSED, foreign(make_orders(77, day(REFUSED))))
        return refuse(self, verdict)

    monkeypatch.setattr(running.Run, "_refuse", meanwhile)
    with pytest.raises(DataError, match="held 200 rows, and 77 when they were set aside"):
        score(shop.pipeline, where)
    assert not (shop.output / "quarantine").exists()


def test_what_left_the_source_can_be_discarded(shop: Shop) -> None:
    where = f"date={day(REFUSED)}"
    write_day(shop.source, REFUSED, foreign(make_orders(200, day(REFUSED))))
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, where)
    shutil.rmtree(shop.source / where)
    with pytest.raises(ConfigError, match="no partition"):
        decide(shop.pipeline, where, "release")
    assert decide(shop.pipeline, where, "discard").decision == "discard"
    assert not (shop.output / f"quarantine/{where}/part-0.parquet").exists()


# CSV.


def test_whole_rows_of_csv_are_read_in_the_types_of_training(scored: Shop) -> None:
    table = pq.read_table(scored.source / f"{DAY}/part-0.parquet", partitioning=None)
    table = table.drop_columns(["lines", "receipt"]).set_column(3, "customer", [["00007"] * table.num_rows])
    csv = Path(f"{scored.root}-csv")
    pipeline = scored.pipeline
    (csv / DAY).mkdir(parents=True)
    pcsv.write_csv(table, csv / DAY / "part-0.csv")
    source = pipeline.source.model_copy(update={"uri": str(csv), "format": "csv"})
    pipeline = pipeline.model_copy(update={"source": source})
    denoised = scored.output / f"denoised/{DAY}/part-0.parquet"
    pq.write_table(table, denoised)
    from ae_plugin.store.files import fingerprint, list_source

    run = read_latest(Folder(str(scored.output)), DAY)
    assert run is not None
    run = run.model_copy(update={"input_fingerprint": fingerprint(list_source(source))})
    values = {cell.column: cell for cell in row_values(pipeline, run, [5])[0].values}
    assert (values["customer"].observed, values["customer"].changed) == ("00007", False)


# Pictures of odd kinds.


def test_pictures_of_16_bits_are_not_all_white() -> None:
    ramp = np.linspace(0, 65_535, 4_096, dtype=np.uint16).reshape(64, 64)
    shown = _shown(png(ramp, "TIFF"))
    assert shown is not None and shown.kind == "image/png"
    pixels = np.asarray(Image.open(io.BytesIO(shown.content)))
    assert pixels.min() < 3 and pixels.max() > 252 and 100 < pixels.mean() < 155


def test_large_pictures_are_thinned_out() -> None:
    shown = _shown(png(np.zeros((10, 5 * SIDE), np.uint8), "BMP"))
    assert shown is not None and Image.open(io.BytesIO(shown.content)).size == (SIDE, 2)


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html><script>alert(1)</script></html>",
        b"II*\x00\xff\xff\xff\x7f",
        b"",
    ],
)
def test_what_is_no_picture_is_not_shown(content: bytes) -> None:
    assert _shown(content) is None


def test_a_bomb_is_not_passed_on() -> None:
    assert _shown(bomb()) is None


# Parameters.


@pytest.mark.parametrize(
    "path",
    [
        "rows?row=100000000000000000000",
        "rows?offset=99999999999999999999",
        "rows?row=-1",
        "values?row=-5",
        "values?row=100000000000000000000",
        "picture?what=heatmap&row=100000000000000000000",
        "rows?limit=0",
        "timeline?last=0",
        "values?" + "&".join(["row=1"] * 51),
    ],
)
def test_parameters_out_of_bounds_are_one_line(web: Served, path: str) -> None:
    name = "boards" if path.startswith("picture") else "shop"
    answer = web.site.ask("viewer", f"/ae/api/pipelines/{name}/{path}")
    assert answer.status_code == 422, answer.text
    assert isinstance(answer.json()["detail"], str) and "\n" not in answer.json()["detail"]


def test_text_that_is_none_is_not_said_again(web: Served) -> None:
    content = b'{"partition": "date=x", "rows": [1], "verdict": "confirmed", "note": "\\ud800"}'
    headers = {"X-Requested-By": "ae_plugin", "Content-Type": "application/json"}
    answer = web.site.ask("admin", "/ae/api/pipelines/shop/feedback", "POST", content=content, headers=headers)
    assert answer.status_code in (409, 422) and "detail" in answer.json()


# Stores that do not answer, and one pipeline's trouble.


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[refresh._Board]:
    fresh = refresh._Board()
    monkeypatch.setattr(refresh, "_board", fresh)
    monkeypatch.setattr(refresh, "LOOKED_SECONDS", 2.0)
    monkeypatch.setattr(refresh, "ROUND_SECONDS", 0.1)
    yield fresh
    fresh.asked = 0.0


def test_a_slow_store_keeps_only_itself(shop: Shop, board: refresh._Board, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = shop.pipeline.model_copy(update={"name": "slow", "output": "memory://slow/out"})
    known = {"slow": slow, "shop": shop.pipeline}
    answered = threading.Event()

    def read(pipeline):  # type: ignore[no-untyped-def]
        if pipeline.name == "slow":
            answered.wait(20)
        return PipelineSummary(name=pipeline.name)

    monkeypatch.setattr(refresh, "summary", read)
    began = time.monotonic()
    callers = [threading.Thread(target=refresh.summaries, args=(known,)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert set(refresh.summaries(known)) == {"shop"}
    assert time.monotonic() - began < 5
    answered.set()
    for _ in range(50):
        if set(refresh.summaries(known)) == {"shop", "slow"}:
            return
        time.sleep(0.1)
    pytest.fail("what answered late was never shown")


def test_one_pipeline_s_trouble_is_its_own(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(overview, "_summary", fail)
    found = overview.summary(shop.pipeline.model_copy(update={"name": "odd"}))
    assert found.state == "unreadable" and found.problem is not None and "log" in found.problem


@pytest.mark.parametrize("wrong", ['"alert_rate": -1', '"rows": -5', '"calibration_rows": 1e30', '"alert_rate": 1e7'])
def test_a_record_that_cannot_be_is_none(scored: Shop, wrong: str) -> None:
    path = scored.output / f"_runs/_latest/{DAY}.json"
    name = wrong.partition(":")[0]
    kept = [line for line in path.read_text().splitlines() if not line.strip().startswith(name)]
    path.write_text("\n".join(["{", wrong + ",", *kept[1:]]))
    assert briefs(scored.pipeline) == [] and overview.summary(scored.pipeline).last_partition is None


def test_an_object_store_s_partitions_have_their_own_band(scored: Shop) -> None:
    (run,) = briefs(scored.pipeline)
    assert run.expected is not None and run.expected[0] <= 0.01 <= run.expected[1]


def test_where_nothing_can_be_flagged_all_is_not_said_to_be_fine(scored: Shop) -> None:
    (run,) = briefs(scored.pipeline)
    few = Brief.model_validate({**run.model_dump(), "calibration_rows": 20, "anomalies": 0, "observed_alert_rate": 0.0})
    assert few.expected is None and state_of(few) == "cannot_alarm"
    alarms = Brief.model_validate({**run.model_dump(), "alert_rate_of": "alarms"})
    assert alarms.anomalies > 0 and state_of(alarms) == "alarm"
