"""Law 2 and law 1 with `alert_rate_of: alarms`: of a partition's alarms, so many are false, however it was cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import ae_plugin
from ae_plugin.core.alarms import discovery_limit
from ae_plugin.core.calibration import is_anomaly
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.evaluate import evaluate
from ae_plugin.jobs.score import load_champion, score
from tests.conftest import Trained
from tests.running import run_ae
from tests.shop import FRESH, Shop, day, make_orders, spoil, write_day

RATE = 0.1


@pytest.fixture
def alarms(each: Trained, tmp_path: Path) -> Shop:
    """A day with faults in a tenth of its rows, alarms judged together."""
    shop = each.shop.copy(tmp_path / "shop").set(score={"alert_rate": RATE, "alert_rate_of": "alarms"})
    write_day(shop.source, FRESH, spoil(make_orders(600, day(FRESH), 5)))
    return shop


def test_the_rows_flagged_are_benjamini_and_hochberg_s(alarms: Shop) -> None:
    record = score(alarms.pipeline, day(FRESH))
    found = alarms.read("scores", FRESH)
    p, flagged = found.column("p_value").to_numpy(), found.column("is_anomaly").to_numpy()
    limit = discovery_limit(RATE, load_champion(alarms.pipeline).scorer.calibration_rows, [p])
    assert 0 < limit < RATE
    assert np.array_equal(flagged, is_anomaly(p, limit))
    assert (record.alert_rate_of, record.flagged_up_to, record.anomalies) == ("alarms", limit, flagged.sum())
    told = found.column("top_column").is_valid().to_numpy()
    assert np.array_equal(told, flagged)
    assert set(alarms.read("cells", FRESH).column("row").to_pylist()) <= set(np.flatnonzero(flagged))


def test_p_values_are_those_of_a_rate_of_rows(alarms: Shop) -> None:
    score(alarms.pipeline, day(FRESH))
    together = alarms.read("scores", FRESH)
    alone = alarms.set(score={"alert_rate_of": "rows"})
    record = score(alone.pipeline, day(FRESH))
    apart = alone.read("scores", FRESH)
    assert (record.alert_rate_of, record.flagged_up_to) == ("rows", RATE)
    for name in ("anomaly_score", "p_value"):
        assert together.column(name).equals(apart.column(name))
    more = apart.column("is_anomaly").to_numpy()
    assert (together.column("is_anomaly").to_numpy() <= more).all()
    assert together.column("is_anomaly").to_numpy().sum() < more.sum()


def test_how_the_partition_is_cut_into_files_changes_nothing(alarms: Shop) -> None:
    score(alarms.pipeline, day(FRESH))
    before = {name: alarms.read(name, FRESH) for name in ("scores", "cells", "denoised")}
    table = spoil(make_orders(600, day(FRESH), 5))
    for number, (start, stop) in enumerate([(0, 1), (1, 400), (400, 600)]):
        write_day(alarms.source, FRESH, table.slice(start, stop - start), f"part-{number}.parquet", row_group_size=97)
    score(alarms.pipeline, day(FRESH))
    for name, whole in before.items():
        assert alarms.read(name, FRESH).equals(whole)


def test_normal_partitions_seldom_raise_any_alarm(each: Trained) -> None:
    """Where all rows are normal every alarm is false: then at most a share `alert_rate` of partitions may have one."""
    scorer = load_champion(each.shop.pipeline).scorer
    limits = []
    for seed in range(40):
        p = scorer.p_values(make_orders(100, day(3), 500 + seed).combine_chunks().to_batches()[0], None)
        limits.append(discovery_limit(RATE, scorer.calibration_rows, [p]))
    assert np.mean(np.array(limits) > 0) <= RATE + 3 * (RATE * (1 - RATE) / 40) ** 0.5


def test_few_calibration_rows_are_told(alarms: Shop) -> None:
    shop = alarms.set(score={"alert_rate": 0.01})
    record = score(shop.pipeline, day(FRESH))
    known = load_champion(shop.pipeline).scorer.calibration_rows
    assert any(f"with {known} calibration rows: among 600 rows none is flagged unless" in note for note in record.notes)


def test_the_detector_and_evaluate_judge_the_same_rows(alarms: Shop) -> None:
    record = score(alarms.pipeline, day(FRESH))
    table = spoil(make_orders(600, day(FRESH), 5))
    detector = ae_plugin.load(alarms.output, alert_rate=RATE, alert_rate_of="alarms")
    found = detector.score(table, partition=f"date={day(FRESH)}")
    assert found.column("is_anomaly").to_pylist() == alarms.read("scores", FRESH).column("is_anomaly").to_pylist()
    named = detector.explain(table, partition=f"date={day(FRESH)}").column("row").to_pylist()
    assert named == alarms.read("cells", FRESH).column("row").to_pylist()
    label = pa.array(np.arange(600) % 2)
    write_day(alarms.source, FRESH, table.append_column("label", label))
    write_day(alarms.source, FRESH + 1, make_orders(5, day(FRESH + 1)).append_column("label", label[:5]))
    told = evaluate(alarms.pipeline, "label")
    assert round(told.observed_alert_rate * 605) - record.anomalies in range(6)


def test_a_share_of_something_else_is_one_line(alarms: Shop) -> None:
    with pytest.raises(ConfigError, match="neither rows nor alarms"):
        ae_plugin.load(alarms.output, alert_rate_of="cells")  # type: ignore[arg-type]
    assert run_ae("check", alarms.set(score={"alert_rate_of": "cells"}).yaml).code == 2
