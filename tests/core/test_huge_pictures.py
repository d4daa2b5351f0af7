"""A picture of any size in bounded memory, and the same to the bit as if all of it were looked at at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.core import picture_scoring
from ae_plugin.core.laid import Laid, seen
from ae_plugin.core.picture_scoring import PictureScorer, fit_and_judge
from ae_plugin.core.pictures import BAND, Picture, from_float, scaled, to_float
from ae_plugin.core.repair import mend
from ae_plugin.core.tiles import SIDE, Cut, Joined, cut
from ae_plugin.core.values import Floats


def picture(height: int, width: int, channels: int = 1, kind: type = np.uint8) -> Picture:
    """Noise on waves."""
    rng = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[:height, :width]
    waves = 0.5 + 0.3 * np.sin(x / 7)[..., None] * np.cos(y / 9)[..., None]
    pixels = waves + rng.normal(0, 0.05, (height, width, channels))
    return Picture((np.clip(pixels, 0, 1) * np.iinfo(kind).max).astype(kind), {1: "L", 3: "RGB", 4: "RGBA"}[channels])


def halved(tiles: Floats) -> tuple[Floats, Floats]:
    """A network: everything is half as bright, and the brighter a pixel, the likelier it is wrong."""
    likely = tiles.mean(axis=3, keepdims=True)
    return np.concatenate([tiles / 2, likely], axis=3), likely.mean(axis=(1, 2))


@pytest.fixture(scope="module")
def scorer() -> PictureScorer:
    tiles = Laid.of(picture(400, 400), (SIDE, SIDE)).tiles(1, slice(None))
    calibration = [picture(70, 70 + number) for number in range(30)]
    reference, _ = fit_and_judge(
        halved, tiles[::2], tiles[1::2], calibration, np.zeros(len(calibration), np.int64), 1, contaminated=False
    )
    return PictureScorer(halved, reference, (SIDE, SIDE), 1, 0.1, contaminated=False)


def at_once(tiles: Floats, where: Cut) -> Floats:
    """Joined in the plainest way: everything is in memory; a single tile has nothing to be blended with."""
    if len(tiles) == 1:
        return tiles[0, : where.height, : where.width]
    height, width = where.side
    ends = np.minimum(np.arange(height), np.arange(height)[::-1]) + 0.5
    across = np.minimum(np.arange(width), np.arange(width)[::-1]) + 0.5
    weight = np.minimum.outer(
        *(np.minimum(part / min(16, len(part) // 4), 1).astype(np.float32) for part in (ends, across))
    )[:, :, None]
    bottom, right = (max(ends) for ends in zip(*((t + height, left + width) for t, left in where.corners), strict=True))
    total = np.zeros((bottom, right, tiles.shape[3]), np.float32)
    weights = np.zeros((bottom, right, 1), np.float32)
    for tile, (top, left) in zip(tiles, where.corners, strict=True):
        total[top : top + height, left : left + width] += tile * weight
        weights[top : top + height, left : left + width] += weight
    return (total / weights)[: where.height, : where.width]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 260), st.integers(1, 260), st.lists(st.integers(1, 9), min_size=1), st.sampled_from([40, SIDE]))
def test_tiles_that_come_some_at_a_time_are_joined_as_all_at_once(
    height: int, width: int, sizes: list[int], side: int
) -> None:
    _, where = cut(np.zeros((height, width, 1), np.float32), (side, SIDE))
    tiles = np.random.default_rng(3).normal(size=(len(where.corners), side, SIDE, 2)).astype(np.float32)
    joined, start = Joined(where, 2), 0
    for size in [*sizes, len(tiles)]:
        joined.add(tiles[start : start + size])
        start += size
    assert np.array_equal(joined.whole, at_once(tiles, where))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("own", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiles_are_those_of_the_whole_picture_in_numbers(channels: int, own: int, kind: type) -> None:
    for height, width in ((150, 90), (20, 30), (64, 300)):
        one = picture(height, width, own, kind)
        laid, (wanted, where) = Laid.of(one, (SIDE, SIDE)), cut(seen(one, channels), (SIDE, SIDE))
        assert laid.where == where and np.array_equal(laid.tiles(channels, slice(None)), wanted)
        assert np.array_equal(laid.tiles(channels, slice(-1, None)), wanted[-1:])


def test_a_picture_scores_the_same_in_whatever_pieces(scorer: PictureScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    some = [picture(500, 300), picture(64, 64), picture(65, 700), picture(10, 10)]
    wanted = list(scorer.score(some))
    for piece, together in ((1, 1), (7, 64), (16, 3), (10_000, 10_000)):
        monkeypatch.setattr(picture_scoring, "PIECE", piece)
        monkeypatch.setattr(picture_scoring, "TOGETHER", together)
        for found, one in zip(scorer.score(some), wanted, strict=True):
            assert all(np.array_equal(getattr(found, name), getattr(one, name)) for name in vars(one))


def test_a_picture_may_be_scored_smaller_or_larger_than_it_is(scorer: PictureScorer) -> None:
    """Its score is that of the scaled picture, and its maps are of its own size."""
    scaling = PictureScorer(halved, scorer.reference, (SIDE, SIDE), 1, 0.1, contaminated=False, image_size=96)
    some = [picture(384, 200), picture(50, 30, 3), picture(96, 40), picture(300, 400, 1, np.uint16)]
    smaller = [scaled(one, 96) for one in some]
    for one, small, found, told in zip(some, smaller, scaling.score(some), scorer.score(smaller), strict=True):
        assert max(small.pixels.shape[:2]) == 96 and small.pixels.dtype == one.pixels.dtype
        assert (found.score, found.distance) == (told.score, told.distance) and np.array_equal(found.code, told.code)
        height, width = one.pixels.shape[:2]
        assert found.heat.shape == (height, width) and found.repaired.shape == (height, width, 1)
        assert set(np.unique(found.heat)) <= set(np.unique(told.heat)), "the limit of a wrong pixel means the same"
        if width > 96:
            assert found.heat.max() == told.heat.max()
        assert np.abs(found.repaired - to_float(one).mean(axis=2, keepdims=True) / 2).mean() < 0.05
        mask = found.heat > np.median(found.heat)
        assert np.array_equal(mend(one, found.repaired, mask)[~mask], one.pixels[~mask])
    assert np.array_equal(smaller[2].pixels, some[2].pixels), "it has that size already"


def test_memory_is_two_maps_of_the_picture(scorer: PictureScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heat and its reconstruction, and of tiles no more than a piece."""
    monkeypatch.setattr(picture_scoring, "PIECE", 64)
    monkeypatch.setattr(picture_scoring, "TOGETHER", 64)
    peaks, sizes = [], (400, 1_400)
    for side in sizes:
        one = picture(side, side)
        tracemalloc.start()
        (scored,) = scorer.score([one])
        mend(one, scored.repaired, scorer.mask(scored.heat))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    copies = (peaks[1] - peaks[0]) / (4 * (sizes[1] ** 2 - sizes[0] ** 2))
    assert 2 < copies < 2.8, f"{copies:.2f} copies of the picture in float32"


@pytest.mark.parametrize("own", [1, 3, 4])
def test_bands_of_a_picture_are_mended_as_the_whole(own: int) -> None:
    one = picture(2 * BAND + 30, 40, own)
    rng = np.random.default_rng(0)
    repaired = rng.uniform(-0.1, 1.1, (*one.pixels.shape[:2], 1)).astype(np.float32)
    where = rng.random(one.pixels.shape[:2]) < 0.3
    for mask in (np.ones_like(where), where):
        found = mend(one, repaired, mask)
        assert np.array_equal(found[~mask], one.pixels[~mask])
        colours = min(own, 3)
        pixels = to_float(one)
        before = pixels[..., :colours].mean(axis=2, keepdims=True)
        new = repaired if own == 1 else pixels[..., :colours] + (repaired - before)
        assert np.array_equal(found[mask][:, :colours], from_float(new, one)[mask])
        assert own < 4 or np.array_equal(found[..., 3], one.pixels[..., 3]), "alpha is kept"
