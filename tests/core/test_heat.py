"""Heat of tiles: what it is, and that it is theirs alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ae_plugin.core.picture_scoring import BLOCK, SMOOTH, heat_of, run
from ae_plugin.core.values import Floats


@pytest.mark.parametrize("side", [(64, 64), (28, 40), (8, 8)])
def test_heat_is_smoothed_as_a_filter_does(side: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    tiles = rng.uniform(size=(5, *side, 3)).astype(np.float32)
    maps = rng.uniform(size=(5, *side, 4)).astype(np.float32)
    odd = np.sqrt(np.abs(maps[..., :3] - tiles).mean(axis=3) * maps[..., 3])
    found = heat_of(maps, tiles)
    assert found.dtype == np.float32 and found == pytest.approx(gaussian_filter(odd, (0, SMOOTH, SMOOTH)), abs=1e-6)
    assert np.array_equal(heat_of(maps[3:4], tiles[3:4])[0], found[3]), "each tile by itself"


@pytest.mark.parametrize("count", [1, BLOCK, 2 * BLOCK + 3])
def test_a_network_sees_whole_blocks_and_its_tiles_stay_as_they_are(count: int) -> None:
    seen = []

    def network(tiles: Floats) -> tuple[Floats, Floats]:
        seen.append(len(tiles))
        return tiles.repeat(2, axis=3), tiles.mean(axis=(1, 2))

    tiles = np.random.default_rng(0).uniform(size=(count, 8, 8, 1)).astype(np.float32)
    tiles.flags.writeable = False
    maps, codes = run(network, tiles)
    assert set(seen) == {BLOCK} and np.array_equal(maps[..., :1], tiles) and len(codes) == count
