"""What is kept of a partition for whoever looks: histograms, shares and a sample of rows, however it was cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ae_plugin.core.histogram import MOST, count_scores, quantiles, side_by_side, unit_of
from ae_plugin.core.neighbours import Neighbours
from ae_plugin.core.plane import SAMPLE, WORST, Plane, Sketch
from ae_plugin.core.scoring import RowScores
from ae_plugin.core.values import Floats

RNG = np.random.default_rng(3)


def scored(scores: Floats, flagged: float = 0.0) -> RowScores:
    p = (1.0 / (1.0 + scores)).astype(np.float32)
    odd = p <= flagged
    return RowScores(scores, p, odd, np.zeros((len(scores), 0), bool))


@pytest.mark.parametrize("size", [1e-4, 0.05, 1.0, 300.0])
def test_quantiles_are_within_their_bins(size: float) -> None:
    scores = np.sort(size * RNG.lognormal(2, 1.5, 50_000)).astype(np.float32)
    unit = unit_of(scores)
    assert unit <= 1 and np.log2(unit) == int(np.log2(unit))
    found = quantiles(count_scores(scores, unit), (0.5, 0.9, 0.99), unit)
    assert list(found) == ["0.5", "0.9", "0.99"]
    for share, value in found.items():
        assert value == pytest.approx(float(np.quantile(scores, float(share))), rel=0.07)


def test_counts_add_up_however_scores_are_cut() -> None:
    scores = RNG.exponential(3, 1_000).astype(np.float32)
    parts = count_scores(scores[:333], 1) + count_scores(scores[333:], 1)
    assert parts == count_scores(scores, 1)


def test_a_unit_is_never_nothing() -> None:
    assert (
        unit_of(np.zeros(0, np.float32)) == unit_of(np.zeros(9, np.float32)) == unit_of(np.full(9, 7, np.float32)) == 1
    )


def test_scores_that_are_none_do_not_count() -> None:
    assert count_scores(np.array([np.nan, np.inf], np.float32), 1) == Counter()
    assert quantiles(Counter(), (0.5,), 1) == {}
    assert side_by_side(Counter(), Counter(), 1) == ([], [], [])


@pytest.mark.parametrize("largest", [0.0, 0.5, 40.0, 1e9])
def test_both_samples_share_few_bins(largest: float) -> None:
    ours, theirs = np.linspace(0, largest, 500, dtype=np.float32), np.linspace(0, 1, 300, dtype=np.float32)
    edges, rows, calibration = side_by_side(count_scores(ours, 1), count_scores(theirs, 1), 1)
    assert len(edges) == len(rows) + 1 == len(calibration) + 1 <= MOST + 1
    assert np.all(np.diff(edges) > 0)
    assert (sum(rows), sum(calibration)) == (500, 300)
    for sample, counts in ((ours, rows), (theirs, calibration)):
        known = np.histogram(sample.astype(np.float64), edges)[0]
        assert np.abs(known - counts).sum() <= 0.02 * len(sample) + 2, "edges are written with five digits"


def near(codes: Floats) -> Neighbours:
    values = RNG.normal(size=(len(codes), 3)).astype(np.float32)
    return Neighbours(np.concatenate([values, codes * 2], axis=1), np.array([1, 2], np.float32), 1)


def test_the_plane_shows_where_history_differs_most() -> None:
    codes = (RNG.normal(size=(400, 5)) * [0.1, 9, 0.1, 3, 0.1]).astype(np.float32)
    plane = Plane.of(near(codes), features=3)
    placed = plane.place(codes)
    assert abs(np.corrcoef(placed[:, 0], codes[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(placed[:, 1], codes[:, 3])[0, 1]) > 0.99
    assert np.array_equal(Plane.of(near(codes), features=3).axes, plane.axes)


def test_a_single_latent_coordinate_is_a_line() -> None:
    placed = Plane.of(near(RNG.normal(size=(50, 1)).astype(np.float32)), features=3).place(np.ones((4, 1), np.float32))
    assert placed.shape == (4, 2) and not placed[:, 1].any()


@pytest.mark.parametrize("cuts", [[], [1], [700, 701, 5_000], list(range(50, 6_000, 50))])
@pytest.mark.parametrize("flagged", [0.0, 0.02, 1.0])
def test_the_same_rows_are_kept_however_a_partition_is_cut(cuts: list[int], flagged: float) -> None:
    scores = np.random.default_rng(1).exponential(20, 6_000).astype(np.float32)
    places = np.random.default_rng(2).normal(size=(6_000, 2)).astype(np.float32)

    def sketch(pieces: list[int]) -> Sketch:
        out = Sketch()
        for start, stop in zip([0, *pieces], [*pieces, 6_000], strict=True):
            rows = np.arange(start, stop)
            kept = out.wanted(rows, scored(scores[rows], flagged))
            out.add(rows[kept], places[rows[kept]], scored(scores[rows[kept]], flagged))
        return out

    whole = sketch([])
    assert sketch(cuts) == whole
    assert len(whole.sample) == SAMPLE
    assert len({row for row, *_ in whole.sample}) == SAMPLE
    anomalies = np.flatnonzero(scored(scores, flagged).is_anomaly)
    assert len(whole.worst) == min(WORST, len(anomalies))
    expected = sorted(anomalies, key=lambda row: (-scores[row], row))[:WORST]
    assert [row for row, *_ in whole.worst] == [int(row) for row in expected]


def test_shards_add_up_to_the_whole() -> None:
    scores = scored(RNG.exponential(20, 3_000).astype(np.float32), 0.05)
    places = RNG.normal(size=(3_000, 2)).astype(np.float32)

    def of(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Sketch:
        out = Sketch()
        kept = out.wanted(rows, scores.take(rows))
        out.add(rows[kept], places[rows[kept]], scores.take(rows[kept]))
        return out

    everything = np.arange(3_000)
    assert of(everything[:100]) + of(everything[100:2_900]) + of(everything[2_900:]) == of(everything)


def test_the_sample_is_spread_over_the_partition() -> None:
    scores = scored(np.ones(100_000, np.float32))
    out, rows = Sketch(), np.arange(100_000)
    kept = out.wanted(rows, scores)
    out.add(rows[kept], np.zeros((len(kept), 2), np.float32), scores.take(kept))
    tenths = np.histogram([row for row, *_ in out.sample], 10, (0, 100_000))[0]
    assert tenths.min() > 60 and tenths.max() < 145
