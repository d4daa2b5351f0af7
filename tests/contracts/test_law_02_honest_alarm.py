"""Law 2: on fresh normal rows the observed alarm rate is within binomial error of alert_rate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import betabinom

from ae_plugin.config import Pipeline
from ae_plugin.core.features import partition_time
from ae_plugin.core.picture_scoring import ScoredPicture
from ae_plugin.core.pictures import Picture
from ae_plugin.engines.sample import Sample
from ae_plugin.jobs.history import split_rows
from ae_plugin.jobs.pictures.history import learn_picture_history
from ae_plugin.jobs.pictures.versions import PictureVersion, load_picture_version
from ae_plugin.jobs.train import train
from ae_plugin.store.registry import Registry
from ae_plugin.versions import ModelVersion, load_version
from tests.boards import board
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
    keeps(rate, calibration, int((fresh_p_values <= np.float32(rate)).sum()), len(fresh_p_values))


def keeps(rate: float, calibration: int, alarms: int, fresh: int) -> None:
    """Assert that so many alarms among fresh normal rows are what `rate` promises, given the calibration rows."""
    allowed = math.floor(rate * (calibration + 1))
    low, high = betabinom.interval(SURE, fresh, allowed, calibration + 1 - allowed)
    assert low <= alarms <= high, (alarms / fresh, low, high)


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


def gaussian(rows: int, columns: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) + rng.normal(size=(rows, 1))


def train_on(folder: Path, values: np.ndarray, **settings: object) -> ModelVersion:
    """Train in a folder of its own, at an alert rate of 5%."""
    folder.mkdir()
    pq.write_table(as_table(values), folder / "history.parquet")
    pipeline = Pipeline.model_validate(
        {
            "name": "small",
            "source": {"uri": str(folder / "history.parquet")},
            "train": {"steps": 60, **settings},
            "score": {"alert_rate": 0.05},
            "output": str(folder / "out"),
        }
    )
    return load_version(Registry(pipeline.output), train(pipeline).model_version, 0.05)


def as_table(values: np.ndarray) -> pa.Table:
    return pa.table({f"c{index:02d}": column for index, column in enumerate(values.T)})


def alarms_of(version: ModelVersion, values: np.ndarray) -> int:
    return int(version.scorer.score(version.scorer.encode(as_table(values)))[0].is_anomaly.sum())


@pytest.mark.parametrize(("rows", "columns"), [(120, 20), (300, 20), (490, 60)])
def test_small_and_wide_histories_keep_the_promise(tmp_path: Path, rows: int, columns: int) -> None:
    """Where few rows are held out, it matters most that those that calibrate shape nothing else."""
    version = train_on(tmp_path / "t", gaussian(rows, columns, 1))
    keeps(0.05, len(version.scorer.reference.calibration), alarms_of(version, gaussian(4000, columns, 2)), 4000)


def test_a_known_contamination_is_taken_out_of_the_calibration_set(tmp_path: Path) -> None:
    """One row in twenty of history is noise: left in, they use up the alert rate of 5%."""
    history = gaussian(4000, 6, 1)
    history[::20] = np.random.default_rng(3).normal(scale=30, size=(200, 6))
    fresh = gaussian(4000, 6, 2)
    found = {share: alarms_of(train_on(tmp_path / str(share), history, contamination=share), fresh) / 4000
             for share in ("auto", 0.05)}  # fmt: skip
    assert found["auto"] < 0.02
    assert 0.03 < found[0.05] < 0.08


# Pictures.

PICTURES = 1_500


def picture_version(boards: Trained, rate: float) -> PictureVersion:
    registry = Registry(str(boards.shop.output))
    return load_picture_version(registry, registry.champion(), rate)


@pytest.fixture(scope="module")
def fresh_pictures(boards: Trained) -> list[ScoredPicture]:
    """What is said of boards that nobody was trained on."""
    pictures = [Picture(board(10**6 + i)[..., None], "L") for i in range(PICTURES)]
    return list(picture_version(boards, 0.1).scorer.score(pictures))


@pytest.mark.parametrize("rate", [0.2, 0.1, 0.05])
def test_fresh_pictures_raise_as_many_alarms_as_promised(
    boards: Trained, fresh_pictures: list[ScoredPicture], rate: float
) -> None:
    """And so many of them have a pixel that is called wrong, flagged or not."""
    version = picture_version(boards, rate)
    calibration = len(version.scorer.reference.calibration)
    _, flagged = version.scorer.flag(np.array([one.score for one in fresh_pictures], np.float32))
    keeps(rate, calibration, int(flagged.sum()), PICTURES)
    wrong = sum(bool(version.scorer.mask(one.heat).any()) for one in fresh_pictures)
    keeps(rate, calibration, wrong, PICTURES)


def test_no_picture_is_learned_from_and_calibrated_with(boards: Trained) -> None:
    history = learn_picture_history(boards.shop.pipeline)
    tiles = [(np.rint(tile * 255).astype(np.uint8)).tobytes() for tile in (*history.train, *history.validation)]
    held_out = {picture.pixels.tobytes() for picture in history.calibration}
    assert len(set(tiles)) + len(held_out) == history.total == sum(history.counts)
    assert not held_out & set(tiles)
    assert len(held_out) == len(picture_version(boards, 0.1).scorer.reference.calibration)
