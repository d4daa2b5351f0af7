"""What is learned beside the network is learned from all of history, however long it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ae_plugin.core import reference
from ae_plugin.core.features import Encoded, partition_time
from ae_plugin.core.reference import fit_reference
from ae_plugin.core.scoring import Reference, Scorer
from ae_plugin.core.values import evenly_spaced
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version
from tests.conftest import Trained
from tests.shop import FRESH, day, make_orders

AT = partition_time(f"date={day(FRESH)}")
AMOUNT = 6.0


@pytest.fixture(scope="module")
def scorer(trained: Trained) -> Scorer:
    registry = Registry(str(trained.shop.output))
    return load_version(registry, registry.champion(), 0.01).scorer


def season(scorer: Scorer, rows: int, seed: int) -> Encoded:
    """Orders, and as many after them whose first number is six standard deviations up: another season."""
    early, late = (scorer.encode(make_orders(rows, day(FRESH), seed=seed + turn), AT) for turn in (0, 1))
    place = next(
        w.start for s, w in zip(scorer.encoder.specs, scorer.encoder.slices, strict=True) if s.kind == "number"
    )
    x = late.x.copy()
    x[:, place] = AMOUNT
    return Encoded.concat([early, replace(late, x=x)])


def learn(scorer: Scorer, contaminated: bool) -> Reference:
    parts = [season(scorer, rows, seed) for seed, rows in ((1, 300), (3, 200), (5, 300))]
    return fit_reference(scorer.encoder, scorer.network, scorer.filler, *parts, contaminated=contaminated)


@pytest.mark.parametrize("contaminated", [False, True])
def test_the_newest_rows_of_a_long_history_have_a_say(
    scorer: Scorer, contaminated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History lies in the order of time: of its first rows alone, a season would be missing."""
    names = ("LATENT_ROWS", "TAIL_ROWS", "CALIBRATION_ROWS", "CELL_EVALUATIONS", "BLEND_EVALUATIONS")
    for name, few in zip(names, (200, 200, 400, 0, 0), strict=True):
        monkeypatch.setattr(reference, name, few)
    known = learn(scorer, contaminated)
    index = next(i for i, spec in enumerate(scorer.encoder.specs) if spec.kind == "number")
    place = scorer.encoder.slices[index].start
    late = np.isclose(known.near.points[:, place], AMOUNT * known.near.scale[0])
    assert 0.4 < late.mean() < 0.6, "half of the rows that distance is measured from"
    errors = known.cells[:, index]
    assert (errors > 4).mean() > 0.3, "and of the cells that p-values come from"


def test_rows_are_spaced_evenly() -> None:
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]
    assert evenly_spaced(0, 5).tolist() == []
    chosen = evenly_spaced(1001, 100)
    assert (chosen[0], chosen[-1], len(set(chosen.tolist()))) == (0, 1000, 100)
    assert set(np.diff(chosen).tolist()) == {10, 11}
