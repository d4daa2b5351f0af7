"""History with incidents: training leaves the partitions out, says so, and loses nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.jobs.due import due
from ae_plugin.jobs.feedback import Said, feedback
from ae_plugin.jobs.history import learn_history
from ae_plugin.jobs.train import train
from tests.shop import ORDERS, Shop, day, make_orders, train_and_promote, write_day, write_days

DAYS, ROWS, BAD = 10, 80, (2, 6)


@pytest.fixture
def orders(tmp_path: Path) -> Shop:
    """Ten days of orders; on two of them the weights are in other units."""
    shop = Shop(tmp_path, ORDERS).set(train={"contamination": "auto", "steps": 20})
    write_days(shop.source, DAYS, ROWS)
    for number in BAD:
        table = make_orders(ROWS, day(number), first_id=number * 100_000)
        place = table.schema.get_field_index("weight")
        write_day(shop.source, number, table.set_column(place, "weight", pa.array(table["weight"].to_numpy() * 1000)))
    return shop


def test_they_are_left_out_and_told(orders: Shop) -> None:
    report = train(orders.pipeline)
    bad = {f"date={day(number)}" for number in BAD}
    assert report.incidents.keys() == bad
    assert all(reason.startswith("weight:") for reason in report.incidents.values())
    assert not bad & set(report.partitions)
    assert len(report.partitions) == DAYS - len(BAD)
    assert report.rows_seen == (DAYS - len(BAD)) * ROWS
    told = [note for note in report.notes if note.startswith("left out as incidents")]
    assert len(told) == 1 and all(name in told[0] for name in bad)
    assert not any("sampled" in note for note in report.notes)


def test_what_is_learned_is_what_would_be_learned_without_them(orders: Shop, tmp_path: Path) -> None:
    history = learn_history(orders.pipeline)
    for number in BAD:
        (orders.source / f"date={day(number)}" / "part-0.parquet").unlink()
    alone = learn_history(orders.set(train={"contamination": 0}).pipeline)
    assert history.encoder.specs == alone.encoder.specs
    assert np.array_equal(history.encoded.x, alone.encoded.x)
    assert np.array_equal(history.split.calibration, alone.split.calibration)


def test_history_that_is_known_to_be_normal_is_taken_as_it_is(orders: Shop) -> None:
    history = learn_history(orders.set(train={"contamination": 0}).pipeline)
    assert history.incidents == {}
    assert len(history.groups) == DAYS


def test_good_history_is_taken_whole(orders: Shop) -> None:
    write_days(orders.source, DAYS, ROWS)
    assert learn_history(orders.pipeline).incidents == {}


def test_partitions_that_do_not_follow_one_another_in_time_are_not_compared(orders: Shop) -> None:
    for number in range(DAYS):
        (orders.source / f"date={day(number)}").rename(orders.source / f"region={number}")
    history = learn_history(orders.set(source={"partition_by": "region"}).pipeline)
    assert history.incidents == {}


def test_rows_that_somebody_vouched_for_stay(orders: Shop) -> None:
    feedback(orders.pipeline, [Said("false_alarm", day(BAD[0]), 5)])
    history = learn_history(orders.pipeline)
    ids = history.sample.table.column("order_id").to_pylist()
    assert BAD[0] * 100_000 + 5 in ids
    assert BAD[0] * 100_000 + 6 not in ids
    assert f"date={day(BAD[0])}" not in history.groups, "or nobody would score its other rows"


def test_a_partition_that_somebody_vouched_for_row_by_row_is_no_incident(orders: Shop) -> None:
    rows = learn_history(orders.pipeline).sample.table.num_rows
    own = pq.read_metadata(orders.source / f"date={day(BAD[0])}" / "part-0.parquet").num_rows
    feedback(orders.pipeline, [Said("false_alarm", day(BAD[0]), row) for row in range(own)])
    history = learn_history(orders.pipeline)
    assert list(history.incidents) == [f"date={day(number)}" for number in BAD[1:]]
    assert not any(day(BAD[0]) in note for note in history.notes)
    assert f"date={day(BAD[0])}" in history.groups
    assert history.sample.table.num_rows == rows + own


def test_what_was_left_out_is_due_to_be_scored(orders: Shop) -> None:
    train_and_promote(orders)
    assert due(orders.pipeline) == [f"date={day(number)}" for number in BAD]
