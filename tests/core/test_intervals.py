"""How far filled cells and pixels may be off."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ae_plugin.core.cell_completion import _number_texts
from ae_plugin.core.columns import NumberSpec, TimeSpec
from ae_plugin.core.completion import guess
from ae_plugin.core.intervals import BANDS, LEVELS, Intervals, bands_of, number_ends, time_ends
from ae_plugin.core.pixel_intervals import fit_pixel_intervals, some_known
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version
from tests.conftest import Trained
from tests.core.scenes import scene


def uniform(rows: int) -> Intervals:
    """One column whose calibration cells were off by -1 to 1, evenly."""
    off = np.broadcast_to((2 * LEVELS - 1).astype(np.float32), (len(BANDS), 1, len(LEVELS)))
    counts = np.full((len(BANDS), 1), rows, np.int32)
    none = np.zeros((0, 1), np.float32)
    return Intervals(none, np.zeros((2, 1), np.float32), off, counts, np.array([[-9], [9]], np.float32), none)


def test_intervals_are_as_wide_as_the_rate_and_the_calibration_set_ask() -> None:
    band = np.zeros(1, np.intp)
    for coverage in (0.5, 0.9):
        low, high = (float(end[0]) for end in uniform(100_000).reach(band, 0, coverage))
        assert abs(high - coverage) < 0.01 and abs(low + coverage) < 0.01
    few = [float(uniform(rows).reach(band, 0, 0.9)[1][0]) for rows in (1_000, 100, 40, 19, 18, 0)]
    assert few == sorted(few) and few[3] <= 1 and np.isinf(few[4:]).all(), "19 rows are the fewest that can promise 90%"
    assert np.isneginf(uniform(8).least(band, 0, 0.9)).all(), "every word is in the set"
    assert np.isfinite(uniform(9).least(band, 0, 0.9)).all()


def test_rows_are_measured_by_how_much_is_hidden_or_by_the_gaps_that_history_has(trained: Trained) -> None:
    visible = np.ones((4, 8), np.float32)
    visible[1, :2], visible[2, :4], visible[3] = 0, 0, 0
    assert bands_of(visible).tolist() == [0, 1, 2, 3]
    version = load_version(Registry(str(trained.shop.output)), "v0001", 0.01)
    known, names = version.scorer.reference.intervals, version.scorer.encoder.names
    assert known is not None
    sets = [{names[i] for i in np.flatnonzero(pattern)} for pattern in known.patterns]
    assert {"courier"} in sets and {"rating"} in sets, "orders without a courier, and without a rating"
    gaps = np.ones((2, len(names)), np.float32)
    gaps[0, names.index("rating")] = gaps[1, names.index("weight")] = 0
    assert known.bands(gaps).tolist() == [len(BANDS) + sets.index({"rating"}), 0]
    assert known.rows[len(BANDS) + sets.index({"rating"}), names.index("rating")] > 50


def test_ends_are_rounded_outwards() -> None:
    whole = NumberSpec(name="n", type="int64", null_rate=0, mean=100.3, std=7.7, low=0, high=200, digits=0)
    z = ((np.array([90.0, 90.4, 110.0]) - 100.3) / 7.7).astype(np.float32)
    low, high = number_ends(whole, z, z)
    assert low.tolist() == [90, 90, 110] and high.tolist() == [90, 91, 110]
    times = {
        "name": "t",
        "type": "timestamp[s]",
        "null_rate": 0,
        "relative": True,
        "slack": 0,
        "step": 60,
        "cycles": [],
    }
    spec = TimeSpec(**times, mean=3_600, std=600, low=0, high=7_200)
    below, above = np.array([-0.27], np.float32), np.array([0.21], np.float32)
    ends = time_ends(spec, np.zeros((1, 1), np.float32), below, above, np.array([-6, 6], np.float32))
    assert [end.tolist() for end in ends] == [[3_420], [3_780]]


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_of_pixels_cover(coverage: float) -> None:
    def scenes(first: int, count: int) -> list[np.ndarray]:
        return [scene(seed, 32, 32)[..., None] for seed in range(first, first + count)]

    reach = fit_pixel_intervals(guess, scenes(0, 20), scenes(100, 40))
    covered, widths = [], []
    for number, true in enumerate(scenes(500, 20)):
        known = some_known(true.shape[:2], np.random.default_rng([3, number]))
        whole, doubt = guess(np.where(known[..., None], true, np.float32(0)), known)
        low, high = reach.ends(whole, doubt, known, coverage)
        assert (low[known] == true[known]).all() and (high[known] == true[known]).all()
        covered.append(((low <= true) & (true <= high))[~known].ravel())
        widths.append((high - low)[~known].mean())
    # What is promised is a share of pixels: a hole of a few counts as those few.
    assert abs(np.concatenate(covered).mean() - coverage) < 0.1
    assert 0 < np.mean(widths) < 0.8


def test_texts_of_ends_are_rounded_outwards() -> None:
    ends = np.array([999_999_995.3, 1_234_567.89, -0.00123456789, 0.0, 12.3])
    low, high = (np.array(_number_texts(ends, pa.float64(), up=up).to_pylist(), np.float64) for up in (False, True))
    assert (low <= ends).all() and (high >= ends).all()
    assert np.allclose(low, ends, rtol=2e-6) and low[4] == high[4] == 12.3
