"""Pictures as tiles and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.core.tiles import LEAST, OVERLAP, SIDE, WHOLE, Cut, Joined, cut, side_for


def join(tiles: np.ndarray, where: Cut) -> np.ndarray:
    """All tiles put back together at once."""
    joined = Joined(where, tiles.shape[-1])
    joined.add(tiles)
    return joined.whole


@pytest.mark.parametrize("side", range(LEAST, WHOLE + 1))
def test_tiles_of_any_side_cover_pictures_that_are_larger(side: int) -> None:
    picture = np.random.default_rng(side).uniform(size=(3 * side + 5, side + 1, 1)).astype(np.float32)
    tiles, where = cut(picture, (side, side))
    assert join(tiles, where) == pytest.approx(picture, abs=1e-5)
    assert len(tiles) <= 16, "tiles of small pictures overlap by a quarter"


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([1, 3]))
def test_a_picture_of_any_size_is_cut_and_joined_to_itself(height: int, width: int, channels: int) -> None:
    picture = np.random.default_rng(height * 1000 + width).uniform(size=(height, width, channels)).astype(np.float32)
    tiles, where = cut(picture, (SIDE, SIDE))
    assert tiles.shape[1:] == (SIDE, SIDE, channels) and len(tiles) == len(where.corners)
    assert join(tiles, where) == pytest.approx(picture, abs=1e-5)


def test_tiles_overlap_and_the_last_ends_with_the_picture() -> None:
    _, where = cut(np.zeros((64, 300, 1), np.float32), (SIDE, SIDE))
    lefts = [left for _, left in where.corners]
    assert lefts[0] == 0 and lefts[-1] == 300 - SIDE
    assert max(np.diff(lefts)) <= SIDE - OVERLAP


def test_small_pictures_of_one_size_are_one_tile_each() -> None:
    assert side_for([(28, 28)] * 3) == (28, 28)
    assert side_for([(WHOLE, 40)]) == (WHOLE, 40)
    assert side_for([(LEAST, 41)]) == (LEAST, 41)
    assert side_for([(LEAST - 1, 40)]) == (SIDE, SIDE), "too small for any pattern"
    assert side_for([(WHOLE + 1, 40)]) == (SIDE, SIDE), "too large"
    assert side_for([(28, 28), (28, 30)]) == (SIDE, SIDE), "of two sizes"


def test_where_tiles_disagree_the_middle_of_each_counts_most() -> None:
    tiles, where = cut(np.zeros((SIDE, SIDE + 48, 1), np.float32), (SIDE, SIDE))
    tiles[0], tiles[1] = 0, 1
    row = join(tiles, where)[32, :, 0]
    assert row[0] == 0 and row[-1] == 1 and (np.diff(row) >= 0).all()
