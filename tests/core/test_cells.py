"""Wrong cells: found while hidden, worst first, and repaired in the source's exact schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ae_plugin.core.blend import Blend
from ae_plugin.core.calibration import ColumnPValues
from ae_plugin.core.cells import fill, hidden_cell_errors, judge_cells, recovered_share
from ae_plugin.core.columns import NumberSpec
from ae_plugin.core.encoding import IMPOSSIBLE, NULL, UNJUDGED
from ae_plugin.core.explain import Options, ScoredBatch, score_batch
from ae_plugin.core.features import Encoded, TableEncoder, partition_time
from ae_plugin.core.scoring import Scorer
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version
from tests.conftest import Trained
from tests.shop import FRESH, day, make_orders, plain, spoil

QUICK = settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
AT = partition_time(f"date={day(FRESH)}")
ROWS = 120


@pytest.fixture(scope="module")
def scorer(trained: Trained) -> Scorer:
    registry = Registry(str(trained.shop.output))
    return load_version(registry, registry.champion(), 0.05).scorer


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return make_orders(ROWS, day(FRESH), seed=8)


@pytest.fixture(scope="module")
def encoded(scorer: Scorer, table: pa.Table) -> Encoded:
    return scorer.encode(table, AT)


def run(scorer: Scorer, table: pa.Table, **options: Any) -> ScoredBatch:
    return score_batch(table.combine_chunks().to_batches()[0], scorer, Options(reference=AT, **options))


def put(table: pa.Table, name: str, change: Callable[[pa.Array], pa.Array]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), change(table.column(place).combine_chunks()))


# p-values of cells.


@QUICK
@given(
    calibration=st.lists(st.lists(st.floats(0, 9, width=32), max_size=12), min_size=2, max_size=4),
    seed=st.integers(0, 10**6),
)
def test_a_cell_s_p_value_is_conformal_within_its_column(calibration: list[list[float]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = len(calibration)
    errors = np.where(rng.random((5, columns)) < 0.3, 3.0, rng.uniform(0, 9, (5, columns))).astype(np.float32)
    asked = rng.random((5, columns)) < 0.7
    known = [np.sort(np.array(column, np.float32)) for column in calibration]
    padded = np.full((max(map(len, known)), columns), np.nan, np.float32)
    for place, column_errors in enumerate(known):
        padded[: len(column_errors), place] = column_errors
    found = ColumnPValues.of(padded)(errors, asked)
    for row in range(5):
        for column in range(columns):
            beyond = sum(c >= errors[row, column] for c in known[column])
            wanted = (1 + beyond) / (len(known[column]) + 1) if asked[row, column] else 1
            assert found[row, column] == np.float32(wanted)


# Errors while hidden.


def test_single_cells_are_guessed_closer_than_by_the_network_that_scores_rows(scorer: Scorer, encoded: Encoded) -> None:
    nothing = np.zeros(encoded.state.shape, bool)
    together = hidden_cell_errors(scorer, encoded, nothing, ~nothing)
    rows = Scorer(scorer.encoder, scorer.network, scorer.network, scorer.reference, 0.05, scorer.contaminated)
    rows.reference = replace(scorer.reference, blend=Blend.of_network(scorer.encoder.features))
    assert together.mean() < hidden_cell_errors(rows, encoded, nothing, ~nothing).mean()


def test_a_hidden_cell_s_error_is_that_of_predicting_it_from_the_rest(scorer: Scorer, encoded: Encoded) -> None:
    some = encoded.take(np.arange(6))
    columns = len(scorer.encoder.specs)
    asked = np.random.default_rng(0).random((6, columns)) < 0.5
    also = ~asked & (np.random.default_rng(1).random((6, columns)) < 0.3)
    found = hidden_cell_errors(scorer, some, also, asked)
    assert (found[~asked] == 0).all()
    rarity = scorer.rarity(some) * scorer.reference.rarity
    assert rarity.any()
    for row, column in zip(*np.nonzero(asked), strict=True):
        visible = scorer.encoder.visible(some)
        visible[also] = 0
        visible[row, column] = 0
        wanted = scorer.encoder.column_errors(some, scorer.expect(some.x, visible))[row, column] + rarity[row, column]
        assert found[row, column] == pytest.approx(wanted, rel=1e-4)


def test_a_rare_word_is_odder_than_a_frequent_one(scorer: Scorer, encoded: Encoded) -> None:
    nats, words = scorer.rarity(encoded), [spec.kind == "category" for spec in scorer.encoder.specs]
    assert not nats[:, ~np.array(words)].any() and not nats[encoded.state == NULL].any()
    for column in np.flatnonzero(words):
        spec = scorer.encoder.specs[column]
        told = np.array(
            [nats[encoded.bins[column] == place, column].max(initial=0) for place in range(spec.value_bins)]
        )
        seen = np.isin(np.arange(spec.value_bins), encoded.bins[column])
        rates = np.array(spec.rates)
        assert (np.diff(told[seen][np.argsort(rates[seen])]) <= 1e-6).all()


def test_what_the_hidden_cell_holds_does_not_help_to_predict_it(scorer: Scorer, table: pa.Table) -> None:
    """The expected value is the same whatever stands in the cell."""
    other = put(table, "quantity", lambda c: pa.array([9] * ROWS, c.type))
    column = scorer.encoder.names.index("quantity")
    wrong = np.zeros((ROWS, len(scorer.encoder.names)), bool)
    wrong[:, column] = True
    first, second = (fill(scorer, scorer.encode(t, AT), wrong) for t in (table, other))
    assert np.array_equal(first, second)
    assert not np.array_equal(fill(scorer, scorer.encode(other, AT), np.zeros_like(wrong)), second)


def test_nothing_asked_nothing_found(scorer: Scorer, encoded: Encoded) -> None:
    nothing = np.zeros(encoded.state.shape, bool)
    assert (hidden_cell_errors(scorer, encoded, nothing, nothing) == 0).all()
    empty = encoded.take(np.zeros(0, np.intp))
    verdicts = judge_cells(scorer, empty, 0.05)
    assert verdicts.wrong.shape == (0, len(scorer.encoder.names))
    assert fill(scorer, empty, verdicts.wrong).shape == (0, scorer.encoder.features)


# Verdicts.

FAULTS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "quantity": lambda c: pa.array([-9999] * len(c), c.type),
    "weight": lambda c: pa.array([float("inf")] * len(c)),
    "price": lambda c: pa.array([Decimal("99999.99")] * len(c), c.type),
    "product": lambda c: pa.array(["chese"] * len(c)),
    "store": lambda c: pa.array(["Zwickau"] * len(c)).dictionary_encode().cast(c.type),
    "express": lambda c: pa.nulls(len(c), c.type),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_planted_fault_is_the_top_column_and_wrong(scorer: Scorer, table: pa.Table, name: str) -> None:
    verdicts = judge_cells(scorer, scorer.encode(put(table, name, FAULTS[name]), AT), 0.01)
    column = scorer.encoder.names.index(name)
    assert (verdicts.top == column).mean() > 0.9
    assert verdicts.wrong[:, column].mean() > 0.9
    neighbours = np.delete(verdicts.wrong, column, axis=1)
    assert neighbours.sum(axis=1).mean() < 1, "one wrong cell does not blame its neighbours"
    assert (verdicts.p_value[:, column] <= np.float32(0.01)).mean() > 0.9
    assert (verdicts.error >= 0).all()


def test_two_faults_in_a_row_are_both_found(scorer: Scorer, table: pa.Table) -> None:
    both = put(put(table, "quantity", FAULTS["quantity"]), "store", FAULTS["store"])
    verdicts = judge_cells(scorer, scorer.encode(both, AT), 0.05)
    names = scorer.encoder.names
    assert (verdicts.wrong[:, names.index("quantity")] & verdicts.wrong[:, names.index("store")]).mean() > 0.9


def test_wrong_cells_are_those_beyond_the_limit(scorer: Scorer, encoded: Encoded) -> None:
    found = [judge_cells(scorer, encoded, limit) for limit in (1e-6, 0.01, 0.2)]
    assert not found[0].wrong.any(), "no p-value is as small as that"
    assert found[1].wrong.sum() < found[2].wrong.sum()
    for verdicts, limit in zip(found, (1e-6, 0.01, 0.2), strict=True):
        assert (verdicts.p_value[verdicts.wrong] <= np.float32(limit)).all()
        assert ((verdicts.top >= 0) & (verdicts.top < len(scorer.encoder.names))).all(), "every row has a top column"


def test_cells_that_cannot_be_judged_are_never_wrong(scorer: Scorer, table: pa.Table) -> None:
    blind = scorer.encode(put(table, "quantity", FAULTS["quantity"]), None)
    unjudged = blind.state == UNJUDGED
    assert unjudged.any(), "ages count from a partition's date"
    verdicts = judge_cells(scorer, blind, 0.3)
    assert not (verdicts.wrong & unjudged).any()
    assert not unjudged[np.arange(ROWS), verdicts.top].any()


def test_a_row_is_judged_by_itself(scorer: Scorer, table: pa.Table) -> None:
    encoded = scorer.encode(spoil(table, seed=3), AT)
    whole = judge_cells(scorer, encoded, 0.05)
    for row in (0, 40, ROWS - 1):
        alone = judge_cells(scorer, encoded.take(np.array([row])), 0.05)
        assert np.array_equal(alone.wrong[0], whole.wrong[row])
        assert np.array_equal(alone.error[0], whole.error[row])
        assert alone.top[0] == whole.top[row]


def test_identifiers_cannot_be_recovered(scorer: Scorer, encoded: Encoded) -> None:
    names = scorer.encoder.names
    share = recovered_share(scorer.encoder, scorer.network, encoded, names.index("customer"))
    assert 0 <= share < 0.5
    assert not scorer.encoder.specs[names.index("customer")].imputable
    with pytest.raises(TypeError):
        recovered_share(scorer.encoder, scorer.network, encoded, names.index("quantity"))


# Scored record batches: cells and denoised rows.


def test_cells_name_what_was_and_what_should_have_been(scorer: Scorer, table: pa.Table) -> None:
    found = run(scorer, spoil(table, seed=3))
    cells = found.cells
    assert cells.column_names == ["row", "column", "observed", "expected", "cell_error", "p_value"]
    assert cells.schema.types == [pa.int64(), *[pa.string()] * 3, *[pa.float32()] * 2]
    order = list(zip(cells["row"].to_pylist(), cells["p_value"].to_pylist(), cells["column"].to_pylist(), strict=True))
    assert order == sorted(order)
    assert cells.num_rows > 10
    flagged = set(np.flatnonzero(found.rows.is_anomaly))
    assert set(cells["row"].to_pylist()) <= flagged
    assert pc.max(cells["p_value"]).as_py() <= np.float32(0.05)
    by_place = {(row["row"], row["column"]): row for row in cells.to_pylist()}
    source = found.source.to_pylist()
    quantities = [(r, c) for r, c in by_place if c == "quantity" and source[r]["quantity"] == -9999]
    assert quantities
    for place in quantities:
        assert by_place[place]["observed"] == "-9999"
        assert 1 <= int(by_place[place]["expected"]) <= 20


def test_denoised_rows_keep_schema_order_and_every_cell_that_is_not_wrong(scorer: Scorer, table: pa.Table) -> None:
    spoilt = spoil(table, seed=3)
    fields = [field.with_nullable(False) if field.name == "quantity" else field for field in spoilt.schema]
    spoilt = pa.table(spoilt.columns, schema=pa.schema(fields, metadata={"made by": "tests"}))
    found = run(scorer, spoilt)
    assert found.denoised.schema.equals(spoilt.schema, check_metadata=True)
    found.denoised.validate(full=True)
    before, after = plain(spoilt), plain(pa.Table.from_batches([found.denoised]))
    touched = {(row["row"], row["column"]) for row in found.cells.to_pylist()}
    repaired = imputed = 0
    for name in before.column_names:
        for row, (a, b) in enumerate(zip(before[name].to_pylist(), after[name].to_pylist(), strict=True)):
            if a is None and b is not None:
                imputed += (row, name) not in touched
                repaired += (row, name) in touched
            elif a != b:
                assert (row, name) in touched, (row, name, a, b)
                repaired += 1
    assert (found.repaired, found.imputed) == (repaired, imputed)
    assert repaired > 5 and imputed > 5


def test_repaired_values_are_ones_that_training_had(scorer: Scorer, table: pa.Table) -> None:
    denoised = plain(pa.Table.from_batches([run(scorer, spoil(table, seed=3)).denoised]))
    for spec in scorer.encoder.specs:
        values = denoised[spec.name].drop_null()
        if spec.kind == "category":
            assert set(values.cast(pa.string()).to_pylist()) <= set(spec.values), spec.name
        elif spec.kind == "number":
            assert spec.low <= float(pc.min(values).as_py()) <= float(pc.max(values).as_py()) <= spec.high, spec.name


@pytest.mark.parametrize("full", [False, True])
def test_nulls_and_impossible_cells_are_filled_wherever_the_model_can_tell(
    scorer: Scorer, table: pa.Table, full: bool
) -> None:
    holes = table
    for name in ("quantity", "weight", "store", "express", "courier", "due", "price"):
        holes = put(holes, name, lambda c: pc.if_else(pa.array(np.arange(ROWS) % 5 == 1), pa.nulls(ROWS, c.type), c))
    encoded = scorer.encode(holes, AT)
    assert ((encoded.state == NULL) | (encoded.state == IMPOSSIBLE)).any()
    denoised = run(scorer, holes, full=full).denoised
    assert denoised.schema.equals(holes.schema, check_metadata=True)
    for name in ("quantity", "weight", "store", "express", "courier", "due", "price"):
        assert holes[name].null_count > 0
        assert denoised.column(name).null_count == 0, name


def test_the_whole_reconstruction_touches_learned_columns_only(scorer: Scorer, table: pa.Table) -> None:
    denoised = run(scorer, table, full=True).denoised
    for name in table.column_names:
        same = plain(table.select([name])).equals(plain(pa.Table.from_batches([denoised]).select([name])))
        if name in ("weight", "price", "ordered_at", "shipped_at"):
            assert not same, name
        elif name not in scorer.encoder.names:
            assert same, name


def test_nan_is_filled_as_a_null_is(scorer: Scorer, table: pa.Table) -> None:
    rating = put(table, "rating", lambda c: pa.array(np.full(ROWS, np.nan, np.float32)))
    found = run(scorer, rating)
    assert not np.isnan(found.denoised.column("rating").to_numpy(zero_copy_only=False)).any()
    gaps = run(scorer, put(table, "rating", lambda c: pa.nulls(ROWS, c.type)))
    assert found.denoised.column("rating").equals(gaps.denoised.column("rating"))


def test_without_explaining_rows_score_alike_and_nothing_is_repaired(scorer: Scorer, table: pa.Table) -> None:
    spoilt = spoil(table, seed=3)
    short, whole = run(scorer, spoilt, explain=False), run(scorer, spoilt)
    assert np.array_equal(short.rows.anomaly_score, whole.rows.anomaly_score)
    assert short.top_column.equals(whole.top_column)
    assert short.cells.num_rows == 0 and short.cells.schema == whole.cells.schema
    assert short.denoised is short.source
    assert (short.repaired, short.imputed) == (0, 0)


def test_no_rows_give_no_cells(scorer: Scorer, table: pa.Table) -> None:
    empty = pa.RecordBatch.from_pylist([], schema=table.schema)
    found = score_batch(empty, scorer, Options(reference=AT))
    assert found.cells.num_rows == found.denoised.num_rows == len(found.top_column) == 0
    assert found.denoised.schema.equals(table.schema)
    assert (found.bin_counts == 0).all()


def test_cells_of_wide_rows_are_judged_in_bounded_memory() -> None:
    """A pass a cell: those of few wide rows are as many as rows of a long table, each a hundred times as wide."""
    import tracemalloc

    columns, rows = 1500, 11
    encoder = TableEncoder(
        [NumberSpec(name=f"c{i}", type="double", null_rate=0, mean=0, std=1, low=-9, high=9) for i in range(columns)]
    )
    nothing = {"tails": np.zeros(encoder.total_bins, np.float32), "rarity": np.zeros(columns, np.float32)}
    blank: Any = SimpleNamespace(blend=Blend.of_network(columns), **nothing)
    half = lambda x, _: (x * np.float32(0.5), x[:, :4])  # noqa: E731
    scorer = Scorer(encoder, half, half, blank, 0.01, False)
    x = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    encoded = Encoded(x, np.zeros((rows, columns), np.uint8), np.zeros((columns, rows), np.int16))
    asked = np.ones((rows, columns), bool)
    tracemalloc.start()
    errors = hidden_cell_errors(scorer, encoded, ~asked, asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(errors, x**2, rtol=1e-6)  # a hidden cell is told to be 0
    assert peak < 150e6, peak
