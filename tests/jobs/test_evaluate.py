"""Evaluation: scores against labels that the model never saw."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ae_plugin.errors import ConfigError, DataError, NoChampionError
from ae_plugin.jobs.evaluate import evaluate, truths_of
from ae_plugin.jobs.score import score
from tests.boards import BROKEN, as_table, good, put_day, scratched
from tests.conftest import Trained
from tests.running import run_ae, tree, unchanged
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


# Pictures.


@pytest.fixture
def own_boards(boards: Trained, tmp_path: Path) -> Shop:
    """Two days of boards, some scratched, some files that are none."""
    shop = boards.shop.copy(tmp_path / "shop")
    for number in (FRESH, FRESH + 1):
        broken = {f"x_{name}.png": data for name, data in BROKEN.items()}
        put_day(shop.source, number, {**good(30, number), **scratched(6, number), **broken})
    return shop


def names() -> list[str]:
    return [*good(30, 0), *scratched(6, 0), *(f"x_{name}.png" for name in BROKEN)]


def write_labels(path: Path, **columns: Any) -> Path:
    table = pa.table(columns)
    pq.write_table(table, path) if path.suffix == ".parquet" else pa.csv.write_csv(table, path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("dated", [True, False])
def test_pictures_are_compared_with_labels_in_a_file(
    own_boards: Shop, tmp_path: Path, suffix: str, dated: bool
) -> None:
    """By their file, and by their partition if the labels say it; what cannot be read has no score to compare."""
    days = [day(FRESH), day(FRESH + 1)] if dated else [None]
    columns = {"file": names() * len(days), "bad": ["_bad" in name for name in names()] * len(days)}
    if dated:
        columns["date"] = np.repeat(days, len(names()))
    path = write_labels(tmp_path / f"labels.{suffix}", **columns)
    with unchanged(own_boards.root):
        outcome = run_ae("--quiet", "evaluate", own_boards.yaml, "--label", "bad", "--labels", path, "--json")
    assert outcome.code == 0, outcome
    found, scores = outcome.json, []
    for number in (FRESH, FRESH + 1):
        score(own_boards.pipeline, day(number))
        scores.append(own_boards.read("scores", number))
    table = pa.concat_tables(scores).filter(pc.field("error").is_null())
    truth = np.array(["_bad" in name for name in table["file"].to_pylist()])
    alarm = np.array(table["is_anomaly"])
    assert (found["rows"], found["positives"], found["model_version"]) == (72, 12, "v0001")
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, table["anomaly_score"])) and found["auroc"] > 0.9
    assert found["average_precision"] == pytest.approx(average_precision_score(truth, table["anomaly_score"]))
    assert found["precision"] == pytest.approx((truth & alarm).sum() / alarm.sum())
    assert found["recall"] == pytest.approx((truth & alarm).sum() / 12)
    assert found["false_alarm_rate"] == pytest.approx(alarm[~truth].mean())


def test_a_picture_that_the_labels_do_not_name_is_left_out(own_boards: Shop, tmp_path: Path) -> None:
    chosen = names()[20:34]
    columns = {"date": [day(FRESH)] * 14, "file": chosen, "bad": [int("_bad" in name) for name in chosen]}
    found = evaluate(own_boards.pipeline, "bad", str(write_labels(tmp_path / "some.csv", **columns)))
    assert (found.rows, found.positives) == (14, 4)


def test_parquet_of_pictures_may_hold_its_labels(own_boards: Shop) -> None:
    for number in range(LAST_TRAINED - 4, FRESH + 2):
        files = {**good(30, number), **scratched(6, number)}
        put_day(own_boards.source, number, {})
        table = as_table(files).append_column("bad", pa.array([i >= 30 for i in range(36)]))
        pq.write_table(table, own_boards.source / f"date={day(number)}/part-0.parquet")
    found = evaluate(own_boards.pipeline, "bad")
    assert (found.rows, found.positives) == (7 * 36, 7 * 6), "all of them changed since training"
    assert found.auroc > 0.9


@pytest.mark.parametrize(
    ("columns", "label", "complaint"),
    [
        ({"file": ["0000.png"], "bad": [1]}, "worse", "no column 'worse' in"),
        ({"name": ["0000.png"], "bad": [1]}, "bad", "no column 'file' in"),
        ({"file": ["0000.png"], "bad": [1]}, "bad", "all labels in 'bad' are of one kind"),
        ({"file": ["no.png"], "bad": [1]}, "bad", "holds no rows"),
        ({"file": ["0000.png", "0000.png"], "bad": [0, 1]}, "bad", "0000.png is labelled both ways"),
        (None, "bad", "no column 'bad' in the source"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(
    own_boards: Shop, tmp_path: Path, columns: dict[str, Any] | None, label: str, complaint: str
) -> None:
    words = [] if columns is None else ["--labels", write_labels(tmp_path / "labels.csv", **columns)]
    outcome = run_ae("--quiet", "evaluate", own_boards.yaml, "--label", label, *words)
    assert outcome.code == 2 and complaint in outcome.complaint and len(outcome.err.splitlines()) == 1, outcome


def test_labels_in_a_file_are_for_pictures(fraud: Shop) -> None:
    with pytest.raises(ConfigError, match="--labels: a table's labels are a column of its source"):
        evaluate(fraud.pipeline, "fraud", "labels.csv")
