"""Familiar, drifted or unfamiliar: verdicts, and the columns that they are blamed on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ae_plugin.core.features import TableEncoder
from ae_plugin.core.fit import learn_columns
from ae_plugin.core.guard import (
    BEYOND,
    SIGNIFICANCE,
    Guard,
    GuardReference,
    Scale,
    count_bins,
    distances,
    luck,
    odd_cells,
    schema_notes,
)
from ae_plugin.schemas import GuardVerdict

QUICK = settings(max_examples=30, deadline=None, derandomize=True)
DAYS, ROWS = 12, 400
NUMBERS = [f"n{i}" for i in range(6)]


def make(rows: int, seed: int, extra: int = 0) -> pa.Table:
    """Numbers, words, items of a known list, times; `extra` more numbers."""
    rng = np.random.default_rng([seed, 5])
    columns = {name: pa.array(rng.normal(i, 1 + i, rows)) for i, name in enumerate(NUMBERS)}
    columns["word"] = pa.array(rng.choice(["red", "green", "blue"], rows, p=[0.5, 0.3, 0.2]))
    columns["gap"] = pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.1)
    columns["item"] = pa.array([f"item {v:03d}" for v in rng.integers(0, 300, rows)])
    columns["at"] = pa.array(np.datetime64("2024-01-01", "s") + rng.integers(0, 40 * 86_400, rows))
    columns |= {f"x{i}": pa.array(rng.gamma(2, 1, rows)) for i in range(extra)}
    return pa.table(columns)


def fitted(extra: int = 0) -> tuple[TableEncoder, GuardReference]:
    table = pa.concat_tables([make(ROWS, day, extra) for day in range(DAYS)])
    days = np.repeat(np.arange(DAYS), ROWS)
    specs, _ = learn_columns(table, [f"shop={day}" for day in days])
    encoder = TableEncoder(specs)
    return encoder, learn_guard(encoder, table, days)


def learn_guard(encoder: TableEncoder, table: pa.Table, days: np.ndarray) -> GuardReference:
    """A reference whose held-out rows are odd as often as promised, on every day."""
    odd = odd_cells(usual(len(table)), misfits(encoder, len(table)))
    return GuardReference.fit(encoder, encoder.encode(table).bins, days, odd, days)


@pytest.fixture(scope="module")
def known() -> tuple[TableEncoder, GuardReference]:
    return fitted()


def usual(rows: int, seed: int = 0) -> np.ndarray:
    """p-values of normal rows: all shares alike, in no order."""
    return np.random.default_rng(seed).permutation((np.arange(rows) + 0.5) / rows).astype(np.float32)


def misfits(encoder: TableEncoder, rows: int, seed: int = 0, share: float = BEYOND) -> np.ndarray:
    """As many cells of each column as that misfit, in no order: bool [n, C]."""
    draws = [usual(rows, seed + 1 + column) for column in range(len(encoder.specs))]
    return np.stack(draws, axis=1) <= share


def judge(
    known: tuple[TableEncoder, GuardReference],
    table: pa.Table,
    p: np.ndarray | None = None,
    notes: list[str] | None = None,
    misfit: np.ndarray | None = None,
) -> GuardVerdict:
    encoder, reference = known
    guard = Guard(encoder, reference, notes or [])
    rows = table.num_rows
    guard.watch(
        count_bins(encoder, encoder.encode(table).bins),
        usual(rows) if p is None else p,
        misfits(encoder, rows) if misfit is None else misfit,
    )
    return guard.verdict()


def changed(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


# Familiar.


@QUICK
@given(seed=st.integers(1000, 10**6), rows=st.sampled_from([1, 5, 50, 400, 3000]))
def test_a_partition_like_training_is_familiar(
    known: tuple[TableEncoder, GuardReference], seed: int, rows: int
) -> None:
    found = judge(known, make(rows, seed))
    assert found.verdict == "familiar"
    assert found.reasons == [] and found.columns == []


def test_many_columns_do_not_make_false_alarms() -> None:
    """Sixty more columns, forty partitions: at one percent for all columns together, not for each."""
    known = fitted(extra=60)
    verdicts = [judge(known, make(300, seed, 60)).verdict for seed in range(5000, 5040)]
    assert verdicts.count("familiar") >= 39


def test_no_rows_are_familiar_and_say_so(known: tuple[TableEncoder, GuardReference]) -> None:
    found = Guard(*known, ["a note"]).verdict()
    assert (found.verdict, found.reasons) == ("familiar", ["no rows"])


def test_what_training_days_differ_by_is_allowed() -> None:
    """A mean that wanders from day to day in training may do so today."""

    def day(seed: int, shift: float) -> pa.Table:
        return pa.table({"n": np.random.default_rng(seed).normal(shift, 1, ROWS), "m": usual(ROWS, seed)})

    days = np.repeat(np.arange(10), ROWS)
    for wander, verdict in ((1.0, "familiar"), (0.0, "drifted")):
        table = pa.concat_tables([day(d, wander * (-1) ** d) for d in range(10)])
        encoder = TableEncoder(learn_columns(table, [f"shop={d}" for d in days])[0])
        reference = learn_guard(encoder, table, days)
        assert judge((encoder, reference), day(77, 1.0)).verdict == verdict, wander


@pytest.mark.parametrize("spread", [99_999, 10**9], ids=["often new", "always new"])
def test_new_identifiers_are_familiar_where_they_always_were_new(spread: int) -> None:
    """An order number as text: training knows its own by heart, and still each day brings others."""

    def day(seed: int) -> pa.Table:
        rng = np.random.default_rng([seed, 6])
        return pa.table({"order": [f"ab{v}" for v in rng.integers(0, spread, ROWS)], "n": rng.normal(size=ROWS)})

    table = pa.concat_tables([day(d) for d in range(DAYS)])
    days = np.repeat(np.arange(DAYS), ROWS)
    encoder = TableEncoder(learn_columns(table, [f"shop={d}" for d in days])[0])
    known = encoder, learn_guard(encoder, table, days)
    found = judge(known, day(99))
    assert (found.verdict, found.reasons) == ("familiar", [])


# Drifted.


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(("way", "word"), [(1.0, "higher"), (-1.0, "lower")])
def test_a_shifted_number_is_named_with_its_way(
    known: tuple[TableEncoder, GuardReference], name: str, way: float, word: str
) -> None:
    table = make(500, 99)
    spread = 1 + NUMBERS.index(name)
    found = judge(known, changed(table, name, pa.array(table[name].to_numpy() + way * 1.5 * spread)))
    assert found.verdict == "drifted"
    assert [column.column for column in found.columns] == [name]
    assert found.reasons == [f"{name}: values run {word} than in training"]
    assert found.columns[0].effect > found.columns[0].limit > 0


def test_a_number_that_spreads_is_named(known: tuple[TableEncoder, GuardReference]) -> None:
    table = make(4000, 99)
    values = table["n0"].to_numpy()
    found = judge(known, changed(table, "n0", pa.array(np.where(values > 0, values * 6, values * 6))))
    assert found.verdict == "drifted"
    assert found.reasons[0].startswith("n0: values ")


def test_more_nulls_are_counted(known: tuple[TableEncoder, GuardReference]) -> None:
    table = make(1000, 99)
    values = pa.array(table["gap"].to_numpy(zero_copy_only=False), mask=np.arange(1000) % 2 == 0)
    found = judge(known, changed(table, "gap", values))
    assert found.verdict == "drifted"
    share = values.null_count + np.isnan(values.drop_null().to_numpy()).sum()
    assert found.reasons == [f"gap: {share / 1000:.0%} null, 10% in training"]


def test_new_words_are_counted(known: tuple[TableEncoder, GuardReference]) -> None:
    words = ["mauve" if i % 4 == 0 else w for i, w in enumerate(make(1000, 99)["word"].to_pylist())]
    found = judge(known, changed(make(1000, 99), "word", pa.array(words)))
    assert found.reasons == ["word: 25% of values never seen in training"]
    assert found.verdict == "drifted"


def test_other_shares_of_words_are_told(known: tuple[TableEncoder, GuardReference]) -> None:
    words = ["blue" if i % 2 else w for i, w in enumerate(make(1000, 99)["word"].to_pylist())]
    found = judge(known, changed(make(1000, 99), "word", pa.array(words)))
    assert found.reasons == ["word: values come in other shares than in training"]


def test_the_worst_column_comes_first(known: tuple[TableEncoder, GuardReference]) -> None:
    table = make(1000, 99)
    table = changed(table, "n1", pa.array(table["n1"].to_numpy() + 1.5))
    table = changed(table, "n4", pa.array(table["n4"].to_numpy() + 50))
    found = judge(known, table)
    assert [column.column for column in found.columns] == ["n4", "n1"]
    assert found.reasons[0].startswith("n4: ")


def test_scores_that_drift_are_told(known: tuple[TableEncoder, GuardReference]) -> None:
    p = usual(400)
    p[:120] = 0.001
    found = judge(known, make(400, 99), p)
    assert found.verdict == "drifted"
    assert found.columns == []
    assert len(found.reasons) == 1 and found.reasons[0].startswith("scores: ")
    assert f"{(p <= 0.05).mean():.0%}" in found.reasons[0]


@pytest.mark.parametrize("rows", [1, 5, 19, 50, 400])
def test_scores_drift_beyond_chance_only(known: tuple[TableEncoder, GuardReference], rows: int) -> None:
    """Normal rows have p-values of at most 5% one time in twenty: that alone must be drift one time in a hundred."""
    counts = count_bins(known[0], known[0].encode(make(rows, 99)).bins)

    def drifts(odd: int) -> bool:
        guard = Guard(*known, [])
        p = np.r_[np.zeros(odd), np.ones(rows - odd)].astype(np.float32)
        guard.watch(counts, p, misfits(known[0], rows))
        return guard.verdict().verdict != "familiar"

    few = next((odd for odd in range(rows + 1) if drifts(odd)), rows + 1)
    assert binom.sf(few - 1, rows, 0.05) <= SIGNIFICANCE
    assert rows < 50 or few <= 0.3 * rows, "it is noticed, all the same"


def test_another_schema_is_told(known: tuple[TableEncoder, GuardReference]) -> None:
    found = judge(known, make(400, 99), notes=["n0: float now, double in training"])
    assert found.verdict == "drifted"
    assert found.reasons == ["n0: float now, double in training"]


# Unfamiliar.


def test_a_partition_of_another_kind_is_unfamiliar(known: tuple[TableEncoder, GuardReference]) -> None:
    """The same schema, other data: most columns are far from training."""
    table = make(500, 99)
    for name in NUMBERS:
        table = changed(table, name, pa.array(table[name].to_numpy() + 40))
    found = judge(known, table)
    assert found.verdict == "unfamiliar"
    assert {column.column for column in found.columns} == set(NUMBERS)
    assert all(column.effect > 0.6 for column in found.columns)


def test_a_partition_of_mostly_odd_rows_is_unfamiliar(known: tuple[TableEncoder, GuardReference]) -> None:
    p = usual(400)
    p[:220] = 0.01
    found = judge(known, make(400, 99), p)
    assert found.verdict == "unfamiliar"
    assert found.reasons, "a refusal says why"


def test_rows_from_elsewhere_are_noticed_though_half_of_them_are_not(
    known: tuple[TableEncoder, GuardReference],
) -> None:
    """Neither half of the rows are odd nor is any column far: together they are."""
    ours, theirs = make(200, 99), make(200, 98)
    for name in NUMBERS:
        theirs = changed(theirs, name, pa.array(theirs[name].to_numpy() + 40))
    for rows, verdict in ((170, "unfamiliar"), (60, "drifted")):
        p = np.r_[usual(200), np.full(rows, 0.001, np.float32)]
        found = judge(known, pa.concat_tables([ours, theirs.slice(0, rows)]), p)
        assert found.verdict == verdict, found


def test_most_columns_far_and_no_row_odd_is_unfamiliar(known: tuple[TableEncoder, GuardReference]) -> None:
    """Another source in the middle of what training knows: every row is possible, all of them together are not."""
    table = make(300, 99)
    for name in table.column_names:
        table = changed(table, name, table[name].take(pa.array(np.zeros(300, int))))
    found = judge(known, table, usual(300) * 0.5 + 0.5)
    assert found.verdict == "unfamiliar"
    assert found.reasons[0].startswith("another kind of data: 0% of rows are odd, ")


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_few_columns_of_another_season_are_drift(known: tuple[TableEncoder, GuardReference], columns: int) -> None:
    table, p = make(500, 99), usual(500)
    p[:150] = 0.01
    for name in NUMBERS[:columns]:
        table = changed(table, name, pa.array(table[name].to_numpy() + 100))
    found = judge(known, table, p)
    assert found.verdict == "drifted"
    assert {column.column for column in found.columns} == set(NUMBERS[:columns])


def test_cells_that_do_not_fit_are_drift_and_their_column_is_named(known: tuple[TableEncoder, GuardReference]) -> None:
    """A column that was shuffled keeps its distribution: only its errors give it away."""
    encoder, _ = known
    misfit = misfits(encoder, 500)
    place = encoder.names.index("n3")
    misfit[:200, place] = True
    found = judge(known, make(500, 99), misfit=misfit)
    assert found.verdict == "drifted"
    share = misfit[:, place].mean()
    assert found.reasons == [f"n3: {share:.0%} of values do not fit the rest of their row"]
    assert found.columns[0].effect == pytest.approx(share) and found.columns[0].limit < 0.2


def test_what_moved_is_blamed_before_what_misfits(known: tuple[TableEncoder, GuardReference]) -> None:
    """A wrong cell spoils what the network says of its neighbours."""
    encoder, _ = known
    table, misfit = make(500, 99), misfits(encoder, 500)
    misfit[:200, :3] = True
    table = changed(table, "n1", pa.array(table["n1"].to_numpy() * 1000))
    assert [column.column for column in judge(known, table, misfit=misfit).columns] == ["n1"]


def test_misfits_of_training_days_are_allowed() -> None:
    table = pa.concat_tables([make(ROWS, day) for day in range(4)])
    encoder = TableEncoder(learn_columns(table, [""] * len(table))[0])
    days, bins = np.repeat(np.arange(4), ROWS), encoder.encode(table).bins
    odd = odd_cells(usual(len(table)), misfits(encoder, len(table)))
    odd[:ROWS:2, 1] = True
    reference = GuardReference.fit(encoder, bins, days, odd, days)
    assert 0.4 < reference.odd[1] < 0.6 and (reference.odd[2:] < 0.1).all()
    misfit = misfits(encoder, 400)
    misfit[::2, 0] = True
    for known, verdict in ((reference, "familiar"), (learn_guard(encoder, table, days), "drifted")):
        assert judge((encoder, known), make(400, 99), misfit=misfit).verdict == verdict


@pytest.mark.parametrize("rows", [1, 10, 19])
def test_a_handful_of_rows_is_never_refused(known: tuple[TableEncoder, GuardReference], rows: int) -> None:
    table = make(rows, 99)
    for name in NUMBERS:
        table = changed(table, name, pa.array(table[name].to_numpy() + 1e6))
    assert judge(known, table, np.zeros(rows, np.float32)).verdict != "unfamiliar"
    many = pa.concat_tables([table] * 20)
    assert judge(known, many, np.zeros(20 * rows, np.float32)).verdict == "unfamiliar"


def test_columns_that_cannot_be_judged_are_left_out(known: tuple[TableEncoder, GuardReference]) -> None:
    encoder, reference = known
    table = changed(make(400, 99), "n0", pa.array(np.full(400, 1e6)))
    for skip, verdict in (([], "drifted"), (["n0"], "familiar"), (["n1"], "drifted")):
        guard = Guard(encoder, reference, [], skip=skip)
        guard.watch(count_bins(encoder, encoder.encode(table).bins), usual(400), misfits(encoder, 400))
        assert guard.verdict().verdict == verdict, skip


# How it is counted.


@QUICK
@given(cuts=st.lists(st.integers(0, 300), max_size=5))
def test_it_does_not_matter_where_the_stream_is_cut(
    known: tuple[TableEncoder, GuardReference], cuts: list[int]
) -> None:
    table, p, misfit = make(300, 99), usual(300), misfits(known[0], 300)
    table = changed(table, "n2", pa.array(table["n2"].to_numpy() + 3))
    guard = Guard(*known, [])
    edges = [0, *sorted(cuts), 300]
    for a, b in zip(edges, edges[1:], strict=False):
        guard.watch(count_bins(known[0], known[0].encode(table.slice(a, b - a)).bins), p[a:b], misfit[a:b])
    assert guard.verdict() == judge(known, table, p)


def test_distances_of_words_are_the_share_of_them_that_would_have_to_change(
    known: tuple[TableEncoder, GuardReference],
) -> None:
    encoder, _ = known
    word = encoder.names.index("word")
    ours, theirs = encoder.encode(make(300, 1)).bins, encoder.encode(make(700, 2)).bins
    found = distances(encoder, count_bins(encoder, ours), count_bins(encoder, theirs))
    apart = [abs((ours[word] == at).mean() - (theirs[word] == at).mean()) for at in range(encoder.specs[word].bins)]
    assert found[word] == pytest.approx(sum(apart) / 2)
    assert ((found >= 0) & (found <= 1)).all()
    nothing = np.zeros(encoder.total_bins, np.int64)
    assert distances(encoder, nothing, nothing).tolist() == [0.0] * len(encoder.specs)


@pytest.mark.parametrize("narrow", [0.0, 1e-3], ids=["one value", "one place"])
def test_values_that_are_all_alike_are_far_though_in_the_middle(
    known: tuple[TableEncoder, GuardReference], narrow: float
) -> None:
    """As far as values outside of all that training saw, less the part of training that is there."""
    encoder, reference = known
    place = encoder.names.index("n0")
    for middle, least in ((0.0, 0.8), (50.0, 0.99)):
        table = changed(make(500, 9), "n0", pa.array(np.random.default_rng(0).normal(middle, narrow, 500)))
        found = distances(encoder, count_bins(encoder, encoder.encode(table).bins), reference.counts)
        assert found[place] >= least


@QUICK
@given(rows=st.integers(1, 10**6), tests=st.integers(1, 300))
def test_luck_is_the_bound_of_mcdiarmid(rows: int, tests: int) -> None:
    """With probability 1% over all tests: exp(-2 n d²) = 0.01 / T."""
    d = luck(rows, tests)
    assert np.exp(-2 * rows * d**2) == pytest.approx(SIGNIFICANCE / tests)


@pytest.mark.parametrize("rows", [5, 20, 100, 1000])
def test_chance_is_at_least_the_mean_distance(known: tuple[TableEncoder, GuardReference], rows: int) -> None:
    encoder, reference = known
    scale = Scale(encoder, reference.counts)
    found = [scale.distances(count_bins(encoder, encoder.encode(make(rows, seed)).bins)) for seed in range(700, 740)]
    mean = np.mean(found, axis=0)
    assert (mean <= scale.chance(rows) * 1.1 + 0.01).all()
    plain = [spec.kind != "text" for spec in encoder.specs]
    assert (mean >= scale.chance(rows) * 0.6)[plain].all(), "and not much more"


def test_small_training_days_do_not_widen_the_limits() -> None:
    """That a day of ten rows differs from the whole is chance."""
    table = pa.concat_tables([make(ROWS, day) for day in range(4)])
    encoder = TableEncoder(learn_columns(table, [""] * len(table))[0])
    tiny = learn_guard(encoder, table, np.arange(len(table)) // 10)
    assert tiny.spread.max() < 0.15
    assert (tiny.odd < BEYOND + 0.02).all(), "of days so small, shares say nothing"
    assert (learn_guard(encoder, table, np.zeros(len(table), int)).spread == 0).all()


def test_what_training_days_scores_differ_by_is_allowed() -> None:
    """One training day of four had a fifth of its held-out rows beyond 95%: such a day is natural."""
    table = pa.concat_tables([make(ROWS, day) for day in range(4)])
    encoder = TableEncoder(learn_columns(table, [""] * len(table))[0])
    days, bins = np.repeat(np.arange(4), ROWS), encoder.encode(table).bins
    p = usual(len(table))
    p[:ROWS] = np.where(np.arange(ROWS) % 5 == 0, 0.01, 0.5)
    reference = GuardReference.fit(encoder, bins, days, odd_cells(p, misfits(encoder, len(p))), days)
    assert 0.1 < reference.odd[0] < 0.2
    assert (reference.odd[1:] < 0.1).all()
    odd = np.where(np.arange(400) % 5 == 0, 0.01, 0.5).astype(np.float32)
    for known, verdict in ((reference, "familiar"), (learn_guard(encoder, table, days), "drifted")):
        assert judge((encoder, known), make(400, 99), odd).verdict == verdict


# Schemas.


def test_schema_notes() -> None:
    learned = {"a": "int64", "b": "string", "c": "dictionary<values=string, indices=int32, ordered=0>"}
    same = pa.schema([("a", pa.int64()), ("b", pa.large_string()), ("c", pa.dictionary(pa.int32(), pa.string()))])
    assert schema_notes(same, learned, {"a", "b", "c"}) == [], "large strings are strings"
    assert schema_notes(same.append(pa.field("d", pa.int8())), learned, {"a", "b", "c"}) == [
        "d: a column that training did not have"
    ]
    other = same.set(0, pa.field("a", pa.float64()))
    assert schema_notes(other, learned, {"a", "b", "c"}) == ["a: double now, int64 in training"]
    assert schema_notes(same, learned, {"a", "b", "c", "lost"}) == [], "what was not learned need not come back"
