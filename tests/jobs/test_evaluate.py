"""Evaluation: scores against labels that the model never saw."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ae_plugin.errors import ConfigError, DataError, NoChampionError
from ae_plugin.jobs.evaluate import evaluate, truths_of
from ae_plugin.jobs.score import score
from tests.running import tree
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, write_day

ODD = np.arange(300) % 15 == 0


def labelled(number: int, label: pa.Array) -> pa.Table:
    """A day whose odd rows weigh too much."""
    table = make_orders(300, day(number), seed=2)
    weight = pc.if_else(pa.array(ODD), pa.scalar(500.0), table["weight"])
    return table.set_column(table.column_names.index("weight"), "weight", weight).append_column("fraud", label)


@pytest.fixture
def fraud(shop: Shop) -> Shop:
    for number in (FRESH, FRESH + 1):
        write_day(shop.source, number, labelled(number, pa.array(ODD)))
    return shop.set(source={"exclude": ["fraud"]}, score={"alert_rate": 0.02, "on_unfamiliar": "score"})


def test_the_figures_are_those_of_the_scores(fraud: Shop) -> None:
    before = tree(fraud.root)
    found = evaluate(fraud.pipeline, "fraud")
    assert tree(fraud.root) == before, "nothing is written"
    scores = []
    for number in (FRESH, FRESH + 1):
        score(fraud.pipeline, day(number))
        scores.append(fraud.read("scores", number))
    table = pa.concat_tables(scores)
    truth, alarm = np.concatenate([ODD, ODD]), np.array(table["is_anomaly"])
    assert (found.pipeline, found.model_version, found.label) == ("shop", "v0001", "fraud")
    assert (found.rows, found.positives) == (600, 40)
    assert found.auroc == pytest.approx(roc_auc_score(truth, table["anomaly_score"]))
    assert found.average_precision == pytest.approx(average_precision_score(truth, table["anomaly_score"]))
    assert found.precision == pytest.approx((truth & alarm).sum() / alarm.sum())
    assert found.recall == pytest.approx((truth & alarm).sum() / truth.sum())
    assert found.f1 == pytest.approx(2 * found.precision * found.recall / (found.precision + found.recall))
    assert found.observed_alert_rate == pytest.approx(alarm.mean())
    assert found.false_alarm_rate == pytest.approx(alarm[~truth].mean())
    assert found.auroc > 0.99 > found.false_alarm_rate


def test_the_method_is_the_pipeline_s(fraud: Shop) -> None:
    both = [evaluate(fraud.set(score={"method": m}).pipeline, "fraud") for m in ("combined", "reconstruction")]
    assert both[0].observed_alert_rate != both[1].observed_alert_rate


def test_what_was_trained_on_is_left_out_unless_there_is_nothing_else(fraud: Shop) -> None:
    for number in range(LAST_TRAINED + 1):
        path = fraud.source / f"date={day(number)}" / "part-0.parquet"
        stat = path.stat()
        pq.write_table(labelled(number, pa.array(ODD)).slice(0, 50 if number else 51), path)
        assert path.stat().st_mtime_ns != stat.st_mtime_ns
    assert evaluate(fraud.pipeline, "fraud").rows == 600 + 501, "changed since: no longer what was trained on"


def test_when_everything_was_trained_on_everything_is_scored(shop: Shop) -> None:
    for number in (FRESH, FRESH + 1):
        (shop.source / f"date={day(number)}" / "part-0.parquet").unlink()
    assert evaluate(shop.pipeline, "order_id").rows == 240 * (LAST_TRAINED + 1)


def test_a_label_that_the_model_learned_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="learned the label column 'express'"):
        evaluate(shop.pipeline, "express")


def test_a_label_that_is_not_there_is_named(fraud: Shop) -> None:
    with pytest.raises(ConfigError, match="no column 'farud'"):
        evaluate(fraud.pipeline, "farud")


@pytest.mark.parametrize("all_odd", [False, True])
def test_labels_of_one_kind_are_refused(fraud: Shop, all_odd: bool) -> None:
    for number in (FRESH, FRESH + 1):
        write_day(fraud.source, number, labelled(number, pa.array([all_odd] * 300)))
    with pytest.raises(DataError, match="of one kind"):
        evaluate(fraud.pipeline, "fraud")


def test_no_rows_are_refused(fraud: Shop) -> None:
    for number in (FRESH, FRESH + 1):
        write_day(fraud.source, number, labelled(number, pa.array(ODD)).slice(0, 0))
    with pytest.raises(DataError):
        evaluate(fraud.pipeline, "fraud")


def test_no_champion(fraud: Shop) -> None:
    (fraud.output / "_models/champion.json").unlink()
    with pytest.raises(NoChampionError):
        evaluate(fraud.pipeline, "fraud")


@pytest.mark.parametrize(
    ("values", "truth"),
    [
        (pa.array([True, False, None]), [1, 0, 0]),
        (pa.array([1, 0, None, -1, 7]), [1, 0, 0, 1, 1]),
        (pa.array([0, 1], pa.uint8()), [0, 1]),
        (pa.array([0.0, 0.5, None, float("nan")]), [0, 1, 0, 0]),
        (pa.array(["0", "1", "", None, "false", "fraud", "False", " "]), [0, 1, 0, 0, 0, 1, 0, 0]),
        (pa.array(["0", "fraud", None]).dictionary_encode(), [0, 1, 0]),
        (pa.array(["0", "fraud"], pa.large_string()), [0, 1]),
        (pa.array([Decimal("0.00"), Decimal("1.00"), None]), [0, 1, 0]),
        (pa.array([0, 1, None]).dictionary_encode(), [0, 1, 0]),
        (pa.nulls(2), [0, 0]),
        (pa.array([dt.date(2024, 1, 1), None]), [1, 0]),
        (pa.array([], pa.bool_()), []),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_what_counts_as_an_anomaly(values: pa.Array, truth: list[Any]) -> None:
    """True, non-zero, or a non-empty string other than "0" and "false"; null is normal."""
    found = truths_of(values)
    assert found.dtype == bool
    assert found.tolist() == [bool(value) for value in truth]
