"""Bands: what is said about a cell is what scoring found, and normal cells lie within."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ae_plugin.core.bands import LEVEL, Bands, explain_rows
from ae_plugin.core.calibration import p_values, threshold
from ae_plugin.core.explain import Options, score_batch
from ae_plugin.core.features import partition_time
from ae_plugin.core.scoring import Scorer
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version
from tests.conftest import Trained
from tests.shop import FRESH, day, make_orders, spoil

WHEN = partition_time(day(FRESH))


@pytest.fixture(scope="module")
def scorer(trained: Trained) -> Scorer:
    return load_version(Registry(str(trained.shop.output)), "v0001", 0.05).scorer


def test_normal_cells_lie_within_their_bands(scorer: Scorer) -> None:
    """Conformal, so the level holds on fresh rows, by column, but for chance."""
    batch = make_orders(400, day(FRESH), seed=8).combine_chunks().to_batches()[0]
    lanes = explain_rows(scorer, batch, [[]] * 400, WHEN, most=99)
    inside = {}
    for row in lanes:
        for lane in row:
            inside.setdefault(lane.column, []).append(abs(lane.place) <= 1)
    assert set(inside) == set(scorer.encoder.names)
    for column, found in inside.items():
        assert np.mean(found) > 0.96, column
    assert 0.98 < np.mean([x for found in inside.values() for x in found]) < 1


def test_wrong_cells_are_told_as_scoring_found_them(scorer: Scorer) -> None:
    batch = spoil(make_orders(300, day(FRESH), seed=4), seed=4).combine_chunks().to_batches()[0]
    cells = score_batch(batch, scorer, Options(reference=WHEN)).cells.to_pylist()
    rows = sorted({cell["row"] for cell in cells})
    wrong = [[cell["column"] for cell in cells if cell["row"] == row] for row in rows]
    lanes = explain_rows(scorer, batch.take(pa.array(rows)), wrong, WHEN, most=5)
    known = {(row, lane.column): lane for row, own in zip(rows, lanes, strict=True) for lane in own}
    assert len(cells) > 20
    for cell in cells:
        lane = known[cell["row"], cell["column"]]
        assert lane.wrong and (lane.observed, lane.expected) == (cell["observed"], cell["expected"])
        assert abs(lane.place) > 0.9
    alone = [cell for cell in cells if len(wrong[rows.index(cell["row"])]) == 1]
    for cell in alone:  # others stay hidden while a cell is judged, so that only then the same is asked
        lane = known[cell["row"], cell["column"]]
        assert (1 + lane.beyond) / (lane.rows + 1) == pytest.approx(cell["p_value"], rel=0.35, abs=2e-3)
    beside_null = [row for row in rows if batch.slice(row, 1).to_pandas().isna().any(axis=None)]
    drawn = [(row, lane) for (row, _), lane in known.items() if lane.kind == "number" and lane.observed is not None]
    for _, lane in drawn:  # wherever the dot is drawn, the value lies there beside the band that is told
        inside = float(lane.low) - 0.51 <= float(lane.observed) <= float(lane.high) + 0.51
        well_inside = float(lane.low) + 0.51 <= float(lane.observed) <= float(lane.high) - 0.51
        assert (inside or abs(lane.place) > 0.9) and (not well_inside or abs(lane.place) < 1.1), lane
    assert {row for row, _ in drawn} & set(beside_null)
    assert all(max(5, len(w)) >= len(own) for w, own in zip(wrong, lanes, strict=True))


def test_ends_are_in_the_columns_own_units(scorer: Scorer) -> None:
    batch = make_orders(50, day(FRESH), seed=3).combine_chunks().to_batches()[0]
    for row in explain_rows(scorer, batch, [[]] * 50, WHEN, most=99):
        for lane in row:
            if lane.column in ("quantity", "weight", "price", "rating"):
                assert float(lane.low) <= float(lane.expected) <= float(lane.high)
                if lane.observed is not None and abs(lane.place) < 0.99:
                    assert float(lane.low) - 0.51 <= float(lane.observed) <= float(lane.high) + 0.51
            elif lane.column in ("product", "store"):
                assert lane.low is lane.high is None and 0 <= lane.share <= 1 and lane.seen > 0


def test_a_band_of_few_rows_does_not_claim_more_than_they_show() -> None:
    cells = np.sort(np.random.default_rng(0).random((40, 2)).astype(np.float32), axis=0)
    cells[20:, 1] = np.nan
    bands = Bands.of(cells)
    assert bands.level.tolist() == [40 / 41, 20 / 21] and bands.rows.tolist() == [40, 20]
    assert bands.reach.tolist() == [cells[39, 0], cells[19, 1]]
    many = Bands.of(np.sort(np.random.default_rng(0).random((999, 1)).astype(np.float32), axis=0))
    assert many.level[0] == LEVEL and many.reach[0] < 1
    none = Bands.of(np.full((3, 1), np.nan, np.float32))
    assert none.level[0] == 0 and none.reach[0] == np.inf


def test_the_threshold_is_where_alarms_begin() -> None:
    calibration = np.sort(np.random.default_rng(1).random(250).astype(np.float32))
    for rate in (0.5, 0.1, 0.01, 0.004):
        limit = threshold(calibration, rate)
        assert limit is not None
        over, at = np.array([np.nextafter(np.float32(limit), np.float32(2)), limit], np.float32)
        assert p_values(np.array([over]), calibration)[0] <= np.float32(rate) < p_values(np.array([at]), calibration)[0]
    assert threshold(calibration, 0.003) is None and threshold(calibration[:0], 0.5) is None
