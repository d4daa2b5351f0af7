"""Law 2: on fresh normal rows the observed alarm rate is within binomial error of alert_rate."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import betabinom

from ae_plugin.core.features import partition_time
from ae_plugin.engines.sample import Sample
from ae_plugin.jobs.history import split_rows
from ae_plugin.jobs.versions import ModelVersion, load_version
from ae_plugin.store.registry import Registry
from tests.conftest import Trained
from tests.shop import LAST_TRAINED, day, make_orders

SURE = 0.999


def version_of(each: Trained, rate: float) -> ModelVersion:
    registry = Registry(str(each.shop.output))
    return load_version(registry, registry.champion(), rate)


@pytest.fixture(scope="module")
def fresh_p_values(each: Trained) -> np.ndarray:
    """p-values of rows that nobody was trained on, made as the training rows were."""
    scorer = version_of(each, 0.01).scorer
    found = []
    for number in range(LAST_TRAINED + 1):
        table = make_orders(600, day(number), seed=77)
        encoded = scorer.encode(table, partition_time(f"date={day(number)}"))
        found.append(scorer.score(encoded)[0].p_value)
    return np.concatenate(found)


@pytest.mark.parametrize("rate", [0.1, 0.05, 0.01])
def test_fresh_rows_raise_as_many_alarms_as_promised(each: Trained, fresh_p_values: np.ndarray, rate: float) -> None:
    """Given the calibration set, the rate is Beta distributed: that of split-conformal p-values, no wider."""
    calibration = len(version_of(each, rate).scorer.reference.calibration)
    allowed = math.floor(rate * (calibration + 1))
    low, high = betabinom.interval(SURE, len(fresh_p_values), allowed, calibration + 1 - allowed)
    alarms = int((fresh_p_values <= np.float32(rate)).sum())
    assert low <= alarms <= high, (alarms / len(fresh_p_values), low, high)


def test_a_scorer_flags_what_its_alert_rate_says(each: Trained) -> None:
    table = make_orders(500, day(3), seed=78)
    at = partition_time(f"date={day(3)}")
    flagged = []
    for rate in (0.01, 0.05, 0.1, 0.3):
        scorer = version_of(each, rate).scorer
        rows = scorer.score(scorer.encode(table, at))[0]
        assert np.array_equal(rows.is_anomaly, rows.p_value <= np.float32(rate))
        flagged.append(set(np.flatnonzero(rows.is_anomaly)))
    assert flagged[0] <= flagged[1] <= flagged[2] < flagged[3]


@pytest.mark.parametrize("rows", [50, 51, 400, 5_000])
@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_no_row_is_trained_on_and_calibrated_with(rows: int, rate: float) -> None:
    lots = np.random.default_rng(3).random(rows)
    split = split_rows(Sample(pa.table({"x": lots}), [""] * rows, lots, lots, rows, []), rate)
    dealt = np.concatenate([split.train, split.validation, split.calibration])
    assert np.array_equal(np.sort(dealt), np.arange(rows))


def test_the_report_counts_each_row_once(each: Trained) -> None:
    report = each.report
    assert report.rows_train + report.rows_validation + report.rows_calibration == report.rows_seen
