"""Feedback: verdicts on rows are kept, wrong ones are one line, and the next training honours them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from ae_plugin.core.pictures import decode
from ae_plugin.jobs.feedback import Said, feedback, honoured, said_in, standing
from ae_plugin.jobs.history import learn_history, training_partitions
from ae_plugin.jobs.pictures import history as picture_history
from ae_plugin.jobs.pictures.history import PictureHistory, learn_picture_history
from ae_plugin.schemas import feedback_schema
from tests.boards import HISTORY, SIDE, as_table, good, put_day, write_boards
from tests.running import run_ae, unchanged
from tests.shop import FRESH, LAST_TRAINED, ORDERS, Shop, day, make_orders, write_day, write_days

DAYS, ROWS = 6, 60


@pytest.fixture
def orders(tmp_path: Path) -> Shop:
    """Days of orders with keys, nothing trained."""
    shop = Shop(tmp_path, ORDERS).write()
    write_days(shop.source, DAYS, ROWS)
    return shop


@pytest.fixture
def nameless(orders: Shop) -> Shop:
    """The same without keys."""
    return orders.set(source={"keys": [], "exclude": ["order_id"]})


def said(verdict: str, number: int, row: int | None, **rest: object) -> Said:
    return Said(verdict, f"date={day(number)}", row, **rest)


def ids_of(history, rows) -> set[int]:  # noqa: ANN001
    return set(history.sample.table.column("order_id").to_numpy()[rows].tolist())


# --- the dataset ---


def test_a_verdict_is_kept_with_the_row_s_keys(orders: Shop) -> None:
    done = run_ae("feedback", orders.yaml, "--partition", day(2), "--row", 17, "--verdict", "false_alarm", "--note",
                  "a fair", "--who", "ada", "--column", "price", "--json")  # fmt: skip
    assert done.code == 0
    table = pq.read_table(done.json["path"])
    assert table.schema.equals(feedback_schema([pa.field("order_id", pa.int64())]))
    row = table.to_pylist()[0]
    assert datetime.now(timezone.utc) - row.pop("when") < timedelta(minutes=5)
    assert row == {"order_id": 200_017, "partition": f"date={day(2)}", "row": 17, "verdict": "false_alarm",
                   "column": "price", "note": "a fair", "who": "ada"}  # fmt: skip
    mark = done.json["marks"][0]
    assert (mark["row"], mark["keys"], mark["verdict"]) == (17, {"order_id": "200017"}, "false_alarm")
    told = run_ae("feedback", orders.yaml, "--list").out
    assert told == f"date={day(2)}, row 17, price: false_alarm (a fair)\n"


def test_a_key_alone_names_a_row(orders: Shop) -> None:
    done = run_ae("feedback", orders.yaml, "--partition", day(1), "--key", "order_id=100003", "--verdict", "confirmed",
                  "--json")  # fmt: skip
    assert done.json["marks"][0]["row"] == 3


def test_each_call_adds_one_file_and_the_last_word_wins(orders: Shop) -> None:
    for verdict in ("false_alarm", "confirmed", "false_alarm"):
        feedback(orders.pipeline, [said(verdict, 0, 5), said("confirmed", 1, 5)])
    assert len(list((orders.output / "feedback").glob("*.parquet"))) == 3
    marks = run_ae("feedback", orders.yaml, "--list", "--json").json["marks"]
    assert {(m["partition"], m["row"]): m["verdict"] for m in marks} == {
        (f"date={day(0)}", 5): "false_alarm",
        (f"date={day(1)}", 5): "confirmed",
    }


@pytest.mark.parametrize("suffix", ["csv", "CSV", "csv.gz", "parquet"])
def test_many_come_from_a_file(orders: Shop, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"marks.{suffix}"
    table = pa.table({"partition": [day(0), day(1)], "order_id": [4, 100_006], "verdict": ["confirmed", "false_alarm"],
                      "note": ["pump", None]})  # fmt: skip
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        with pa.CompressedOutputStream(path, "gzip") if suffix.endswith("gz") else pa.OSFile(str(path), "wb") as out:
            pa.csv.write_csv(table, out)
    done = run_ae("feedback", orders.yaml, "--from", f"file://{path}", "--json")
    assert [(m["row"], m["verdict"], m["note"]) for m in done.json["marks"]] == [
        (4, "confirmed", "pump"),
        (6, "false_alarm", None),
    ]
    assert len(list((orders.output / "feedback").glob("*.parquet"))) == 1


def test_what_was_written_can_be_read_back_as_a_file(orders: Shop) -> None:
    first = feedback(
        orders.pipeline, [said("confirmed", 0, 5, note="x", when=datetime(2024, 3, 1, tzinfo=timezone.utc))]
    )
    again = said_in(str(first.path), ["order_id"])
    assert again[0].when == datetime(2024, 3, 1, tzinfo=timezone.utc)
    assert feedback(orders.pipeline, again).marks == first.marks


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--partition", "2031-01-01", "--row", 1, "--verdict", "confirmed"], "no partition date=2031-01-01"),
        (["--row", 1, "--verdict", "confirmed"], "no partition given. The newest is"),
        (["--partition", day(0), "--row", ROWS, "--verdict", "confirmed"], f"no row {ROWS}"),
        (["--partition", day(0), "--row", -1, "--verdict", "confirmed"], "no row -1"),
        (["--partition", day(0), "--row", 1, "--verdict", "dunno"], "verdict 'dunno'"),
        (["--partition", day(0), "--row", 1], "no verdict given. Say"),
        (["--partition", day(0), "--verdict", "confirmed"], "no row given. Give"),
        (["--partition", day(0), "--key", "order_id=99", "--verdict", "confirmed"], "no row of"),
        (["--partition", day(0), "--key", "colour=red", "--verdict", "confirmed"], "keys are colour"),
        (["--partition", day(0), "--key", "colour", "--verdict", "confirmed"], "not NAME=VALUE"),
        (
            ["--partition", day(0), "--key", "order_id=1", "--key", "order_id=2", "--verdict", "confirmed"],
            "there twice",
        ),
        (["--partition", day(0), "--row", 1, "--note", "caf\udce9", "--verdict", "confirmed"], "is not UTF-8"),
        (["--partition", day(0), "--row", 1, "--key", "order_id=2", "--verdict", "confirmed"], "has other keys"),
        (["--partition", day(0), "--row", 1, "--verdict", "confirmed", "--column", "colour"], "no column 'colour'"),
        (["--from", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_is_wrong_is_one_line(orders: Shop, words: list[object], complaint: str) -> None:
    with unchanged(orders.root):
        done = run_ae("feedback", orders.yaml, *words)
    assert done.code == 2
    assert complaint in done.complaint
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"verdict": ["confirmed"], "colour": ["red"]}, "'colour' is no column"),
        ({"partition": [day(0)], "row": [1]}, "'verdict' is missing"),
        ({"partition": [day(0)], "row": [99], "verdict": ["confirmed"]}, "row 0: no row 99"),
        ({"partition": [day(0)], "row": ["x"], "verdict": ["confirmed"]}, "row 0"),
        ({"partition": [day(0)], "row": [1], "verdict": ["confirmed"], "when": ["soon"]}, "row 0"),
        ({"partition": [day(0)], "row": [[1]], "verdict": ["confirmed"]}, "row 0"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(
    orders: Shop, tmp_path: Path, columns: dict[str, list[object]], complaint: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "marks.parquet")
    done = run_ae("feedback", orders.yaml, "--from", tmp_path / "marks.parquet")
    assert done.code == 2
    assert complaint in done.complaint
    assert not (orders.output / "feedback").exists()


def test_a_row_that_shares_its_keys_is_told_apart_by_its_place(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ORDERS).set(source={"keys": ["product"]})
    write_days(shop.source, DAYS, ROWS)
    product = make_orders(ROWS, day(0)).column("product")[7].as_py()
    alike = run_ae(
        "feedback", shop.yaml, "--partition", day(0), "--key", f"product={product}", "--verdict", "confirmed"
    )
    assert "several rows" in alike.complaint
    for row in (7, 8):
        feedback(shop.pipeline, [said("confirmed", 0, row)])
    found = honoured(shop.pipeline, training_partitions(shop.pipeline))
    assert found.marks[f"date={day(0)}"].wrong == {7, 8}


# --- keys ---

KEYS = {
    "zeros": (pa.array(["007", "7", "NA0"]), ["007"]),
    "whole": (pa.array([7, 8, 9]), ["7", "007"]),
    "large": (pa.array([123456789.0, 123456790.0, 123456791.0]), ["123456789", "123456789.0"]),
    "moment": (
        pa.array([datetime(2024, 1, 1, hour) for hour in (3, 4, 5)], pa.timestamp("us")),
        ["2024-01-01 03:00:00", "2024-01-01T03:00:00"],
    ),
    "zoned": (
        pa.array([datetime(2024, 1, 1, hour, tzinfo=timezone.utc) for hour in (3, 4, 5)]),
        ["2024-01-01T03:00:00+00:00", "2024-01-01 04:00:00+01:00"],
    ),
    "money": (pa.array([Decimal("1.50"), Decimal("1.51"), None], pa.decimal128(10, 2)), ["1.5", "1.50"]),
    "bytes": (pa.array([b"\xff", b"abc", None]), ["\\xff"]),
    "nested": (pa.array([[1], [2], [1, 2]]), ["[1]"]),
    "flag": (pa.array([True, False, None]), ["True", "true"]),
    "coded": (pa.array(["a", "b", "c"]).dictionary_encode(), ["a"]),
}


def keyed(root: Path, keys: pa.Array) -> Shop:
    """A source without partitions and with three rows, whose first key is named by all texts."""
    shop = Shop(root, ORDERS).set(source={"partition_by": [], "keys": ["k"]})
    shop.source.mkdir()
    pq.write_table(pa.table({"k": keys, "x": [1.0, 2.0, 3.0]}), shop.source / "a.parquet")
    return shop


@pytest.mark.parametrize("name", KEYS)
def test_a_key_may_be_written_as_people_write_it(tmp_path: Path, name: str) -> None:
    keys, texts = KEYS[name]
    shop = keyed(tmp_path, keys)
    for text in texts:
        done = run_ae("feedback", shop.yaml, "--key", f"k={text}", "--verdict", "confirmed", "--json")
        assert done.code == 0, done.complaint
        assert done.json["marks"][0]["row"] == 0
        (tmp_path / "marks.csv").write_text(f'k,verdict\n"{text}",confirmed\n')
        assert run_ae("feedback", shop.yaml, "--from", tmp_path / "marks.csv", "--json").json["marks"][0]["row"] == 0
    pq.write_table(pa.table({"k": keys[::-1], "x": [3.0, 2.0, 1.0]}), shop.source / "a.parquet")
    found = honoured(shop.pipeline, training_partitions(shop.pipeline))
    assert found.marks[""].wrong == {2}, "not the row that moved into its place, however close its key"


def test_a_key_is_found_when_the_source_changed_its_type(tmp_path: Path) -> None:
    shop = keyed(tmp_path, KEYS["moment"][0])
    feedback(shop.pipeline, [Said("confirmed", row=0)])
    table = pa.table({"k": KEYS["moment"][0].cast(pa.timestamp("ns"))[::-1], "x": [3.0, 2.0, 1.0]})
    pq.write_table(table, shop.source / "a.parquet")
    assert honoured(shop.pipeline, training_partitions(shop.pipeline)).marks[""].wrong == {2}


def test_a_key_that_is_null_in_part_can_be_read_back(tmp_path: Path) -> None:
    shop = keyed(tmp_path, pa.array([None, "a", "a"])).set(source={"keys": ["k", "x"]})
    first = feedback(shop.pipeline, [Said("confirmed", row=0)])
    assert run_ae("feedback", shop.yaml, "--from", first.path).code == 0
    assert [mark.row for mark in standing(shop.pipeline).marks] == [0]


# --- feedback/ as others may write it ---

STORED = {
    "partition": [f"date={day(0)}"],
    "row": [2],
    "verdict": ["confirmed"],
    "column": pa.nulls(1, pa.string()),
    "note": pa.nulls(1, pa.string()),
    "when": [datetime(2024, 5, 1, tzinfo=timezone.utc)],
    "who": ["ada"],
    "order_id": [2],
}


def stored(shop: Shop, table: pa.Table) -> None:
    (shop.output / "feedback").mkdir(parents=True)
    pq.write_table(table, shop.output / "feedback" / "by-hand.parquet")


@pytest.mark.parametrize("when", [[datetime(2024, 5, 1)], ["2024-05-01"]])  # noqa: DTZ001
def test_a_time_without_a_zone_is_utc(orders: Shop, when: list[object]) -> None:
    stored(orders, pa.table({**STORED, "when": when}))
    feedback(orders.pipeline, [said("false_alarm", 0, 2)])
    assert [mark.verdict for mark in standing(orders.pipeline).marks] == ["false_alarm"]


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (pa.table({**STORED, "when": pa.nulls(1)}), "row 0, when"),
        (pa.table({**STORED, "row": [-1]}), "row 0, row"),
        (pa.table({**STORED, "verdict": ["x"]}), "row 0, verdict"),
        (pa.table({"verdict": ["confirmed"]}), '"partition" does not exist'),
        (pa.Table.from_arrays([*pa.table(STORED).columns, pa.array([2])], [*STORED, "order_id"]), "exists 2 times"),
    ],
)
def test_what_is_no_feedback_is_named(orders: Shop, table: pa.Table, complaint: str) -> None:
    stored(orders, table)
    for verb in (["feedback", orders.yaml, "--list"], ["train", orders.yaml]):
        done = run_ae(*verb)
        assert done.code == 2
        assert "by-hand.parquet: is not a file of feedback" in done.complaint
        assert complaint in done.complaint
    assert not (orders.output / "_models").exists()


# --- training ---


def test_confirmed_rows_are_in_no_part_of_history(orders: Shop) -> None:
    before = learn_history(orders.pipeline)
    marks = [said("confirmed", number, row) for number in range(DAYS) for row in (3, 30)]
    feedback(orders.pipeline, marks)
    history = learn_history(orders.pipeline)
    gone = {number * 100_000 + row for number in range(DAYS) for row in (3, 30)}
    assert ids_of(before, slice(None)) - ids_of(history, slice(None)) == gone
    assert history.feedback.confirmed == 2 * DAYS


@pytest.mark.parametrize("max_rows", [200, 200_000])
def test_false_alarms_are_always_trained_on_and_repeated(orders: Shop, max_rows: int) -> None:
    shop = orders.set(train={"max_rows": max_rows})
    marks = [said("false_alarm", number, row) for number in range(DAYS) for row in (3, 30)]
    feedback(shop.pipeline, marks)
    history = learn_history(shop.pipeline)
    normal = {number * 100_000 + row for number in range(DAYS) for row in (3, 30)}
    assert normal <= ids_of(history, history.split.train)
    assert not normal & ids_of(history, history.split.calibration)
    ids = history.sample.table.column("order_id").to_numpy()[history.split.weighted]
    copies = {int((ids == row).sum()) for row in normal}
    assert copies == {history.feedback.copies}
    assert history.feedback.copies >= 1
    assert len(ids) == len(history.split.train) + 2 * DAYS * (history.feedback.copies - 1)


@pytest.mark.parametrize("max_rows", [200, 200_000])
def test_more_false_alarms_than_fit_are_not_said_to_be_trained_on(orders: Shop, max_rows: int) -> None:
    shop = orders.set(train={"max_rows": max_rows})
    feedback(shop.pipeline, [said("false_alarm", number, row) for number in range(DAYS) for row in range(ROWS)])
    history = learn_history(shop.pipeline)
    assert history.feedback.false_alarms == len(history.split.train) < DAYS * ROWS
    assert history.feedback.copies == 1
    assert history.notes == [f"feedback: {DAYS * ROWS} false alarms are more than fit: {len(history.split.train)} are "
                             "trained on"]  # fmt: skip


def test_when_confirmed_rows_leave_too_few_the_error_says_so(orders: Shop) -> None:
    feedback(orders.pipeline, [said("confirmed", number, row) for number in range(DAYS) for row in range(ROWS - 1)])
    done = run_ae("train", orders.yaml)
    assert done.code == 2
    assert f"holds {DAYS} rows beside {DAYS * (ROWS - 1)} that were confirmed as wrong" in done.complaint


def test_other_rows_keep_their_use(orders: Shop) -> None:
    before = learn_history(orders.pipeline)
    feedback(orders.pipeline, [said("false_alarm", 0, 3), said("confirmed", 1, 4)])
    after = learn_history(orders.pipeline)
    moved = ids_of(before, before.split.calibration) ^ ids_of(after, after.split.calibration)
    assert len(moved) <= 6, "only the judged rows, and a few at the edges"


def test_a_row_is_found_again_by_its_keys(orders: Shop) -> None:
    feedback(orders.pipeline, [said("confirmed", 0, 3), said("confirmed", 0, 4), said("false_alarm", 1, 0)])
    table = make_orders(ROWS, day(0))
    kept = np.delete(np.arange(ROWS), 4)[::-1]
    write_day(orders.source, 0, table.take(pa.array(kept)))
    found = honoured(orders.pipeline, training_partitions(orders.pipeline))
    assert found.marks[f"date={day(0)}"].wrong == {int(np.flatnonzero(kept == 3)[0])}
    assert (found.use.confirmed, found.use.false_alarms, found.use.not_found) == (1, 1, 1)


def test_without_keys_a_row_is_its_place(nameless: Shop) -> None:
    feedback(nameless.pipeline, [said("confirmed", 0, 3), said("confirmed", 0, ROWS - 1)])
    assert standing(nameless.pipeline).marks[0].keys == {}
    write_day(nameless.source, 0, make_orders(ROWS - 1, day(0)))
    found = honoured(nameless.pipeline, training_partitions(nameless.pipeline))
    assert found.marks[f"date={day(0)}"].wrong == {3}
    assert found.use.not_found == 1


def test_the_last_word_counts_also_when_the_row_has_moved(orders: Shop) -> None:
    feedback(orders.pipeline, [said("confirmed", 0, 3)])
    write_day(orders.source, 0, make_orders(ROWS, day(0)).take(pa.array(np.arange(ROWS)[::-1])))
    feedback(orders.pipeline, [said("false_alarm", 0, ROWS - 1 - 3)])
    marked = honoured(orders.pipeline, training_partitions(orders.pipeline)).marks[f"date={day(0)}"]
    assert (marked.normal, marked.wrong) == ({ROWS - 1 - 3}, set())


def test_the_report_says_what_was_honoured(orders: Shop) -> None:
    feedback(orders.pipeline, [said("confirmed", 0, 3), said("false_alarm", 1, 4), said("confirmed", 2, ROWS - 1)])
    write_day(orders.source, 2, make_orders(ROWS - 1, day(2), first_id=200_000))
    write_day(orders.source, DAYS, make_orders(ROWS, day(DAYS), first_id=900_000))
    feedback(orders.pipeline, [said("confirmed", DAYS, 3), said("confirmed", DAYS, 4)])
    shop = orders.set(train={"steps": 20, "until": day(DAYS - 1)})
    report = run_ae("train", shop.yaml, "--json").json
    use = report["feedback"]
    assert (use["confirmed"], use["false_alarms"], use["not_found"], use["elsewhere"]) == (1, 1, 1, 2)
    assert use["copies"] == 1
    assert [note for note in report["notes"] if note.startswith("feedback")] == [
        "feedback: 1 confirmed row was left out",
        "feedback: 1 false alarm is trained on as normal, 1 time each",
        "feedback: 1 verdict is on a row that is no longer there",
        "feedback: 2 verdicts are on partitions that are not trained on, see train.until and train.partitions",
    ]
    assert report["rows_seen"] == DAYS * ROWS - 2


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_csv_sources_too(tmp_path: Path, format: str) -> None:
    shop = Shop(tmp_path, ORDERS).set(source={"format": format})
    for number in range(2):
        table = make_orders(ROWS, day(number), first_id=number * 100_000).drop_columns(["lines", "receipt"])
        path = shop.source / f"date={day(number)}" / f"part-0.{format}"
        path.parent.mkdir(parents=True)
        if format == "csv":
            pa.csv.write_csv(table.set_column(2, "store", table.column("store").cast(pa.string())), path)
        else:
            pq.write_table(table, path)
    feedback(shop.pipeline, [said("confirmed", 1, 9)])
    history = learn_history(shop.pipeline)
    assert 100_009 not in ids_of(history, slice(None))
    assert history.sample.table.num_rows == 2 * ROWS - 1


def test_it_is_kept_on_an_object_store_too(orders: Shop) -> None:
    """fsspec's memory:// knows neither rename nor lock, as object stores."""
    shop = orders.set(output="memory://feedback-test/out")
    shop = shop.set(source={"uri": str(orders.source)})
    feedback(shop.pipeline, [said("confirmed", 0, 3)])
    feedback(shop.pipeline, [said("false_alarm", 0, 3)])
    assert [mark.verdict for mark in standing(shop.pipeline).marks] == ["false_alarm"]
    assert learn_history(shop.pipeline).feedback.false_alarms == 1


# --- pictures ---

LAST = LAST_TRAINED


@pytest.fixture
def drawn(tmp_path: Path) -> Shop:
    """Days of boards, nothing trained."""
    return write_boards(tmp_path / "shop")


def uses(history: PictureHistory, number: int, name: str) -> tuple[int, int, int]:
    """How often a board is trained on, stopped by and calibrated with."""
    wanted = decode(good(HISTORY, number)[name]).pixels
    tiles = [np.rint(part * 255).astype(np.uint8) for part in (history.train, history.validation)]
    seen = *tiles, np.array([picture.pixels for picture in history.calibration])
    found = [int((part == wanted).all(axis=(1, 2, 3)).sum()) for part in seen]
    return found[0], found[1], found[2]


def test_a_picture_is_named_by_its_file_or_its_place(drawn: Shop) -> None:
    words = ["feedback", drawn.yaml, "--partition", day(LAST), "--verdict", "false_alarm", "--json"]
    done = run_ae(*words, "--key", "file=0003.png")
    assert done.code == 0, done
    table = pq.read_table(done.json["path"])
    assert table.schema.equals(feedback_schema([pa.field("file", pa.string())]))
    assert (table["file"].to_pylist(), table["row"].to_pylist()) == (["0003.png"], [3])
    assert run_ae(*words, "--row", 5).json["marks"][0]["keys"] == {"file": "0005.png"}
    wrong = run_ae(*words, "--key", "file=no.png")
    assert wrong.code == 2 and "no row of" in wrong.complaint
    assert len(run_ae("feedback", drawn.yaml, "--list", "--json").json["marks"]) == 2


def test_many_verdicts_on_pictures_come_from_a_file(drawn: Shop, tmp_path: Path) -> None:
    path = tmp_path / "marks.csv"
    path.write_text(f"partition,file,verdict\n{day(LAST)},0004.png,confirmed\n{day(FRESH)},0002.png,false_alarm\n")
    done = run_ae("feedback", drawn.yaml, "--from", path, "--json")
    assert [(m["row"], m["verdict"]) for m in done.json["marks"]] == [(4, "confirmed"), (4, "false_alarm")], done


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_on_pictures_are_honoured(drawn: Shop, seed: int) -> None:
    """A false alarm is always trained on and never calibrated with; what was confirmed is used for nothing."""
    shop = drawn.set(model={"seed": seed})
    feedback(shop.pipeline, [said("false_alarm", LAST, 7), said("confirmed", LAST - 1, 9), said("confirmed", LAST, 0)])
    feedback(shop.pipeline, [said("false_alarm", FRESH, 1)])
    history = learn_picture_history(shop.pipeline)
    assert uses(history, LAST, "0007.png") == (history.feedback.copies, 0, 0)
    assert uses(history, LAST - 1, "0009.png") == uses(history, LAST, "0000.png") == (0, 0, 0)
    assert sum(history.counts) == 5 * HISTORY - 2 and history.total == 5 * HISTORY
    use = history.feedback
    assert (use.confirmed, use.false_alarms, use.not_found, use.elsewhere) == (2, 1, 0, 1)


def test_without_verdicts_pictures_are_dealt_as_ever(drawn: Shop) -> None:
    before = learn_picture_history(drawn.pipeline)
    feedback(drawn.pipeline, [said("false_alarm", FRESH, 1)])
    after = learn_picture_history(drawn.pipeline)
    assert np.array_equal(before.train, after.train) and np.array_equal(before.validation, after.validation)


def test_a_false_alarm_is_in_a_sample_of_few_and_often_enough(drawn: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little of history is held in memory."""
    feedback(drawn.pipeline, [said("false_alarm", LAST, row) for row in (1, 2, 3)])
    monkeypatch.setattr(picture_history, "PIXEL_BYTES", 60 * SIDE * SIDE)
    monkeypatch.setattr(picture_history, "copies_of", lambda vouched, train: 4)
    history = learn_picture_history(drawn.pipeline)
    assert sum(history.counts) < 70
    assert all(uses(history, LAST, f"000{row}.png") == (4, 0, 0) for row in (1, 2, 3))


def test_a_picture_is_found_again_by_its_file(drawn: Shop) -> None:
    """Its place changed when others came; another is gone."""
    feedback(drawn.pipeline, [said("confirmed", LAST, 5), said("confirmed", LAST, 6)])
    files = good(HISTORY, LAST)
    gone = files.pop("0006.png")
    put_day(drawn.source, LAST, {**files, "0000_a.png": gone})
    history = learn_picture_history(drawn.pipeline)
    assert (history.feedback.confirmed, history.feedback.not_found) == (1, 1)
    assert uses(history, LAST, "0005.png") == (0, 0, 0) and sum(uses(history, LAST, "0006.png")) == 1


def test_pictures_in_parquet_without_a_name_are_known_by_their_place(drawn: Shop) -> None:
    for number in range(LAST - 4, FRESH + 2):
        put_day(drawn.source, number, {})
        table = as_table(good(HISTORY, number)).select(["image"])
        pq.write_table(table, drawn.source / f"date={day(number)}/part-0.parquet")
    done = feedback(drawn.pipeline, [said("confirmed", LAST, 5), said("false_alarm", LAST, 6)])
    assert [mark.keys for mark in done.marks] == [{}, {}]
    history = learn_picture_history(drawn.pipeline)
    assert uses(history, LAST, "0005.png") == (0, 0, 0) and uses(history, LAST, "0006.png")[0] >= 1


def test_a_training_on_pictures_says_what_became_of_verdicts(tmp_path: Path) -> None:
    shop = write_boards(tmp_path / "shop", history=10, steps=1)
    feedback(shop.pipeline, [said("confirmed", LAST, 5), said("false_alarm", LAST, 6), said("confirmed", FRESH, 0)])
    report = run_ae("--quiet", "train", shop.yaml, "--json").json
    assert report["feedback"] == {"confirmed": 1, "false_alarms": 1, "copies": 1, "not_found": 0, "elsewhere": 1}
    assert report["rows_seen"] == 49
    notes = [note for note in report["notes"] if note.startswith("feedback: ")]
    assert len(notes) == 3 and "1 confirmed row was left out" in notes[0] and "1 time each" in notes[1]
