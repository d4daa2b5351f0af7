"""One row, one score: conformal p-values, in whole blocks, of one row at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ae_plugin.core.calibration import whole_levels
from ae_plugin.core.encoding import IMPOSSIBLE, NULL
from ae_plugin.core.explain import Options, score_batch, score_batches
from ae_plugin.core.features import Encoded, TableEncoder, partition_time
from ae_plugin.core.scoring import (
    BEYOND,
    BLOCKS,
    CELL_HANDICAP,
    SURE,
    WEIGHTS,
    Scorer,
    embed,
    hidden_errors,
    mean_errors,
    reconstruct,
)
from ae_plugin.core.values import Floats
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version
from tests.conftest import Trained
from tests.shop import FRESH, day, make_orders, spoil

FEW = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
AT = partition_time(f"date={day(FRESH)}")


def run(scorer: Scorer, x: Floats, visible: Floats) -> tuple[Floats, Floats]:
    """Reconstruction and latent code of rows, hidden cells zeroed first."""
    hidden = scorer.encoder.hide(x, visible)
    return reconstruct(scorer.network, hidden, visible), embed(scorer.network, hidden, visible)


def load(trained: Trained, rate: float = 0.01, method: str = "combined") -> Scorer:
    registry = Registry(str(trained.shop.output))
    return load_version(registry, registry.champion(), rate, method).scorer  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["combined", "reconstruction"])
def scorer(request: pytest.FixtureRequest, trained: Trained) -> Scorer:
    return load(trained, 0.05, request.param)


@pytest.fixture(scope="module")
def combined(trained: Trained) -> Scorer:
    return load(trained)


@pytest.fixture(scope="module")
def normal(combined: Scorer) -> Encoded:
    return combined.encode(make_orders(300, day(FRESH), seed=3), AT)


@pytest.fixture(scope="module")
def faulty(combined: Scorer) -> Encoded:
    return combined.encode(spoil(make_orders(300, day(FRESH), seed=3), seed=3), AT)


# Scores.


def test_p_values_are_the_share_of_calibration_rows_at_least_as_anomalous(scorer: Scorer, faulty: Encoded) -> None:
    rows, _ = scorer.score(faulty)
    known = scorer.reference
    calibration = known.calibration if scorer.method == "combined" else known.calibration_errors
    assert (np.diff(calibration) >= 0).all()
    n = len(calibration)
    wanted = [(1 + (calibration >= score).sum()) / (n + 1) for score in rows.anomaly_score]
    assert rows.p_value.tolist() == np.array(wanted, np.float32).tolist()
    assert np.array_equal(rows.is_anomaly, rows.p_value <= np.float32(0.05))
    assert 0 < rows.is_anomaly.sum() < 150


def test_scores_are_of_the_promised_types(scorer: Scorer, normal: Encoded) -> None:
    rows, reconstruction = scorer.score(normal)
    assert rows.anomaly_score.dtype == rows.p_value.dtype == np.float32
    assert rows.is_anomaly.dtype == bool
    assert rows.anomaly_score.shape == rows.p_value.shape == rows.is_anomaly.shape == (300,)
    assert reconstruction.shape == normal.x.shape
    assert np.isfinite(rows.anomaly_score).all()


def test_misfits_are_the_cells_that_few_held_out_ones_are_like(
    scorer: Scorer, normal: Encoded, faulty: Encoded
) -> None:
    before, after = scorer.score(normal)[0].misfit, scorer.score(faulty)[0].misfit
    assert before.shape == normal.state.shape and before.dtype == bool
    assert 0.01 < before.mean() < 0.12, "one cell in twenty, about"
    touched = (normal.x != faulty.x)[:, [where.start for where in scorer.encoder.slices]]
    assert after[touched].mean() > 3 * before[touched].mean()


def test_faulty_rows_score_higher_than_they_did(scorer: Scorer, normal: Encoded, faulty: Encoded) -> None:
    before, after = scorer.raw_scores(normal)[0], scorer.raw_scores(faulty)[0]
    touched = (normal.x != faulty.x).any(axis=1) | (normal.state != faulty.state).any(axis=1)
    assert np.array_equal(before[~touched], after[~touched]), "the others' scores do not move"
    assert touched.sum() > 15
    assert (after[touched] > before[touched]).mean() > 0.9


@FEW
@given(cuts=st.lists(st.integers(0, 300), max_size=4))
def test_a_row_s_score_is_its_own(scorer: Scorer, faulty: Encoded, cuts: list[int]) -> None:
    whole = scorer.raw_scores(faulty)[0]
    edges = [0, *sorted(cuts), 300]
    parts = [scorer.raw_scores(faulty.take(np.arange(a, b)))[0] for a, b in zip(edges, edges[1:], strict=False)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_no_rows(scorer: Scorer, normal: Encoded) -> None:
    rows, reconstruction = scorer.score(normal.take(np.zeros(0, np.intp)))
    assert len(rows.anomaly_score) == len(rows.p_value) == len(rows.is_anomaly) == len(reconstruction) == 0


def test_the_reconstruction_method_is_the_mean_cell_error(trained: Trained, normal: Encoded) -> None:
    scorer = load(trained, method="reconstruction")
    reconstruction, _ = run(scorer, normal.x, scorer.encoder.visible(normal))
    errors = scorer.encoder.column_errors(normal, reconstruction.copy())
    found = scorer.raw_scores(normal)[0]
    assert np.allclose(mean_errors(errors), errors.mean(axis=1), rtol=1e-5)
    assert np.array_equal(found, whole_levels(mean_errors(errors)))
    assert ((found <= mean_errors(errors)) & (found > 0.998 * mean_errors(errors))).all(), "rounded down by 0.1%"


def test_the_combined_score_is_the_larger_of_row_and_cell(combined: Scorer, faulty: Encoded) -> None:
    views, errors, _ = combined.first_look(faulty)
    assert set(views) == set(WEIGHTS)
    whole = combined.whole(views)
    known = combined.reference.views
    wanted = sum(WEIGHTS[name] * known[name](views[name]) for name in views if name in known)
    assert np.allclose(whole, wanted, rtol=1e-5)
    row, cell = combined.surprises(faulty, views, errors)
    assert np.array_equal(row, known["row"](whole))
    assert np.array_equal(combined.raw_scores(faulty)[0], whole_levels(np.maximum(row, cell)))
    assert (row > cell).any() and (cell > row).any(), "each has its rows"
    oddest = combined.oddest_cell(faulty, row, errors)
    rare = np.array([spec.null_rate < BEYOND for spec in combined.encoder.specs])
    sure = (((faulty.state == NULL) & rare) | (faulty.state == IMPOSSIBLE)).any(axis=1)
    assert 0 < sure.sum() < len(sure)
    assert np.allclose(cell, known["cell"](oddest) - CELL_HANDICAP + np.where(sure, SURE, 0), atol=1e-5)


@pytest.mark.parametrize(("null_rate", "gain"), [(0.01, SURE), (0.3, 0)])
def test_a_gap_is_odd_by_itself_only_where_gaps_are_rare(
    combined: Scorer, normal: Encoded, null_rate: float, gain: float
) -> None:
    """Of rows with an ordinary gap several times as many were flagged as of others."""
    specs = list(combined.encoder.specs)
    column = next(index for index, spec in enumerate(specs) if spec.nullable)
    specs[column] = specs[column].model_copy(update={"null_rate": null_rate})
    encoder = TableEncoder(specs)
    scorer = Scorer(encoder, combined.network, combined.filler, combined.reference, 0.01, combined.contaminated)
    views, errors, _ = combined.first_look(normal)
    _, whole = scorer.surprises(replace(normal, state=np.zeros_like(normal.state)), views, errors)
    state = np.zeros_like(normal.state)
    state[:, column] = NULL
    row = combined.reference.views["row"](combined.whole(views))
    quiet = np.maximum(row, combined.reference.clean.worst(errors)) < combined.reference.odd
    _, gap = scorer.surprises(replace(normal, state=state), views, errors)
    assert np.allclose(gap[quiet] - whole[quiet], gain, atol=1e-5) and quiet.sum() > 50


def test_masked_passes_only_ever_add_surprise(combined: Scorer, faulty: Encoded) -> None:
    """And are spent on odd rows alone."""
    views, errors, _ = combined.first_look(faulty)
    row = combined.reference.views["row"](combined.whole(views))
    plain = combined.reference.clean.worst(errors)
    found = combined.oddest_cell(faulty, row, errors)
    odd = np.maximum(row, plain) >= combined.reference.odd
    assert (found >= plain).all()
    assert np.array_equal(found[~odd], plain[~odd])
    assert (found[odd] > plain[odd]).any()
    assert odd.mean() < 0.5


def test_a_scorer_keeps_no_trace_of_what_it_scored(trained: Trained, normal: Encoded, faulty: Encoded) -> None:
    one, other = load(trained), load(trained)
    other.score(faulty)
    assert np.array_equal(one.score(normal)[0].anomaly_score, other.score(normal)[0].anomaly_score)


def test_a_stream_is_scored_as_its_parts_are(combined: Scorer) -> None:
    batches = make_orders(90, day(FRESH), seed=3).to_batches(max_chunksize=40)
    options = Options(reference=AT)
    found = list(score_batches(iter(batches), combined, options))
    assert [part.source.num_rows for part in found] == [40, 40, 10]
    for part, batch in zip(found, batches, strict=True):
        assert np.array_equal(part.rows.anomaly_score, score_batch(batch, combined, options).rows.anomaly_score)
        assert part.bin_counts.sum() == batch.num_rows * len(combined.encoder.specs)


def test_a_cell_that_cannot_be_judged_adds_no_surprise(combined: Scorer) -> None:
    """Ages that count from a partition's date, when there is none."""
    table = make_orders(300, day(FRESH), seed=3)
    judged, blind = (combined.first_look(combined.encode(table, at))[0]["tail"] for at in (AT, None))
    assert (blind <= judged + 1e-4).all()


# The parts.


def shuffle_network(x: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A network that can be followed by hand; it refuses rows that are not in whole blocks."""
    assert len(x) == len(visible) and len(x) in BLOCKS
    return (x * 2 + visible.sum(axis=1, keepdims=True)).astype(np.float32), x[:, :1].astype(np.float32)


@pytest.mark.parametrize("rows", [0, 1, 127, 128, 129, 1023, 1024, 1025, 1152, 2500])
def test_a_network_sees_whole_blocks_and_every_row_comes_out_once(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x, visible = rng.normal(size=(rows, 3)).astype(np.float32), np.ones((rows, 2), np.float32)
    reconstruction, code = (reconstruct(shuffle_network, x, visible), embed(shuffle_network, x, visible))
    assert np.array_equal(reconstruction, x * 2 + 2)
    assert np.array_equal(code, x[:, :1])


def test_a_real_network_gives_a_row_the_same_in_any_company(combined: Scorer, normal: Encoded) -> None:
    visible = combined.encoder.visible(normal)
    whole, codes = run(combined, normal.x, visible)
    alone, code = run(combined, normal.x[7:8], visible[7:8])
    assert np.array_equal(alone[0], whole[7])
    assert np.array_equal(code[0], codes[7])


def test_hidden_cells_do_not_reach_the_network(combined: Scorer, normal: Encoded) -> None:
    visible = combined.encoder.visible(normal)
    visible[:, 2] = 0
    other = normal.x.copy()
    other[:, combined.encoder.slices[2]] = 99.0
    assert np.array_equal(run(combined, other, visible)[0], run(combined, normal.x, visible)[0])


def test_hidden_errors_are_those_with_the_cell_s_group_hidden(combined: Scorer, normal: Encoded) -> None:
    encoder, groups = combined.encoder, combined.reference.groups
    assert groups.dtype == bool and (groups.sum(axis=0) == 1).all(), "each column is hidden once"
    some = normal.take(np.arange(20))
    found = hidden_errors(encoder, combined.network, groups, some)
    for column in range(len(encoder.specs)):
        group = groups[groups[:, column]][0]
        seen = encoder.visible(some) * ~group
        reconstruction, _ = run(combined, some.x, seen)
        assert np.allclose(found[:, column], encoder.column_errors(some, reconstruction)[:, column], rtol=1e-5)


def test_calibration_cells_by_column(combined: Scorer) -> None:
    known = combined.reference
    known_cells = ~np.isnan(known.cells)
    assert np.array_equal(np.diff(known.cell_p_values.ends, prepend=0), known_cells.sum(axis=0))
    assert known_cells.any(axis=0).all()
    assert (np.diff(known.cell_p_values.keys) >= 0).all()
    half = replace(known, cells=np.full((4, 2), np.nan, np.float32))
    assert half.cell_p_values.ends.tolist() == [0, 0]
    assert (half.typical_errors > 0).all()


def test_encoding_is_the_encoder_s(combined: Scorer) -> None:
    table = make_orders(20, day(FRESH))
    assert np.array_equal(combined.encode(table, AT).x, combined.encoder.encode(table, AT).x)
    batch = pa.RecordBatch.from_pylist(table.to_pylist(), schema=table.schema)
    assert np.array_equal(combined.encode(batch, AT).x, combined.encode(table, AT).x)
