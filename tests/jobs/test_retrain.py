"""When to train anew: what the newest version cannot have seen counts, and nothing twice."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pyarrow.compute as pc
import pytest

from ae_plugin.errors import UnfamiliarError
from ae_plugin.jobs.feedback import Said, feedback
from ae_plugin.jobs.retrain import retrain_reasons
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import train
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, write_day


def strange(shop: Shop, number: int) -> None:
    """A day of quite another kind, scored and refused."""
    table = make_orders(300, day(number))
    for name in ("quantity", "weight", "rating"):
        column = pc.add(table[name].cast("float64"), 1e6).cast(table.schema.field(name).type, safe=False)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    write_day(shop.source, number, table)
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, day(number))


def test_without_settings_there_is_never_a_reason(shop: Shop) -> None:
    strange(shop, FRESH)
    assert retrain_reasons(shop.pipeline).reasons == []


def test_nothing_trained_is_no_reason(shop: Shop) -> None:
    shop = shop.set(output="elsewhere", train={"on_feedback": 1})
    found = retrain_reasons(shop.pipeline)
    assert (found.newest, found.reasons) == (None, [])


def test_drift_counts_partitions_until_a_training_has_seen_them(shop: Shop) -> None:
    shop = shop.set(train={"on_drift": 2, "until": None, "steps": 20})
    score(shop.pipeline, day(FRESH))
    strange(shop, FRESH + 1)
    assert retrain_reasons(shop.pipeline).reasons == [], "one is not two"
    strange(shop, FRESH + 2)
    found = retrain_reasons(shop.pipeline)
    last = ", ".join(f"date={day(FRESH + n)}" for n in (1, 2))
    assert (found.newest, found.reasons) == (
        "v0001",
        [f"2 partitions moved since v0001 was trained, at last {last}"],
    )
    train(shop.pipeline)
    strange(shop, FRESH + 1)
    assert retrain_reasons(shop.pipeline).reasons == [], "the champion refuses them still, but v0002 has seen them"


def test_what_is_older_than_history_does_not_count(shop: Shop) -> None:
    strange(shop, LAST_TRAINED)
    assert retrain_reasons(shop.set(train={"on_drift": 1, "until": None}).pipeline).reasons == []


def test_feedback_counts_from_the_newest_training_on(shop: Shop) -> None:
    shop = shop.set(train={"on_feedback": 2})
    trained = datetime.now(timezone.utc)

    def say(row: int, when: datetime) -> None:
        said = Said("false_alarm", partition=day(FRESH), row=row, when=when)
        feedback(shop.pipeline, [said])

    say(0, trained - timedelta(days=400))
    say(1, trained + timedelta(minutes=1))
    assert retrain_reasons(shop.pipeline).reasons == []
    say(1, trained + timedelta(minutes=2))
    assert retrain_reasons(shop.pipeline).reasons == [], "two words on one row are one verdict"
    say(2, trained + timedelta(minutes=3))
    assert retrain_reasons(shop.pipeline).reasons == ["2 verdicts on rows since v0001 was trained"]
