"""Record batches to encoded features: every type, row by row, and never a number that is none."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.core.columns import IMPOSSIBLE_ERROR, CategorySpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.encoding import IMPOSSIBLE, NULL, UNJUDGED, VALUE, fold_age
from ae_plugin.core.features import Encoded, TableEncoder, partition_time
from ae_plugin.core.fit import learn_columns
from ae_plugin.core.numbers import squash, unsquash
from ae_plugin.errors import DataError
from tests.core.test_columns import LEARNED, ROWS, learn, with_nulls

QUICK = settings(max_examples=50, deadline=None, derandomize=True)
WIDE = pa.table({name: with_nulls(column) if len(name) % 2 else column for name, (_, column) in LEARNED.items()})
NUMBER = NumberSpec(name="n", type="double", null_rate=0.0, mean=10.0, std=2.0, low=0.0, high=20.0)
COLOURS = CategorySpec(
    name="w", type="string", null_rate=0.0, values=["red", "blue"], rates=[0.7, 0.3], unseen_rate=0.01
)


@pytest.fixture(scope="module")
def wide() -> TableEncoder:
    """Every type at once."""
    specs, _ = learn_columns(WIDE, [""] * ROWS)
    assert len(specs) == len(LEARNED)
    return TableEncoder(specs)


def encode(spec: Any, values: Any, kind: pa.DataType | None = None, reference: float | None = None) -> Encoded:
    column = values if isinstance(values, pa.Array) else pa.array(values, kind)
    return TableEncoder([spec]).encode(pa.table({spec.name: column}), reference)


# Every type.


def test_shapes_and_types(wide: TableEncoder) -> None:
    encoded = wide.encode(WIDE)
    assert encoded.x.shape == (ROWS, wide.features) and encoded.x.dtype == np.float32
    assert encoded.state.shape == (ROWS, len(LEARNED)) and encoded.state.dtype == np.uint8
    assert encoded.bins.shape == (len(LEARNED), ROWS) and encoded.bins.dtype == np.int16
    assert len(encoded) == ROWS
    assert sum(where.stop - where.start for where in wide.slices) == wide.features
    assert [spec.width for spec in wide.specs] == np.bincount(wide.column_of).tolist()


@pytest.mark.parametrize("nulls", [False, True])
@pytest.mark.parametrize("name", LEARNED)
def test_each_type_encodes_to_zero_mean_and_unit_weight(name: str, nulls: bool) -> None:
    """Over the training rows, whatever the type, unit and width (cycles of time come on top)."""
    column = with_nulls(LEARNED[name][1]) if nulls else LEARNED[name][1]
    spec = learn(column)
    encoded = encode(spec, column)
    there = encoded.state[:, 0] == VALUE
    values = encoded.x[there, : spec.value_width]
    assert np.isfinite(encoded.x).all()
    assert there.sum() == ROWS - column.null_count
    centred = values[:, :1] if spec.kind == "time" else values
    assert np.abs(centred.mean(axis=0)).max() < 0.02
    if spec.kind != "time" or not spec.cycles:
        assert values.var(axis=0).sum() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", LEARNED)
def test_nulls_of_each_type(name: str) -> None:
    column = with_nulls(LEARNED[name][1])
    gone = np.asarray(column.is_null())
    spec = learn(column)
    encoded = encode(spec, column)
    assert (encoded.state[:, 0] == np.where(gone, NULL, VALUE)).all()
    width = spec.value_width
    if spec.kind == "number" or spec.kind == "time":
        assert (encoded.x[gone, :width] == 0).all()
    flag = encoded.x[:, width]
    assert len(set(flag[gone])) == len(set(flag[~gone])) == 1
    assert flag[gone][0] > 0 > flag[~gone][0]
    assert (encoded.bins[0][gone] == spec.value_bins).all()
    never = encode(learn(LEARNED[name][1]), column)
    assert (never.state[:, 0] == np.where(gone, IMPOSSIBLE, VALUE)).all(), "training saw no nulls"


def test_cells_fall_into_their_own_column_s_bins(wide: TableEncoder) -> None:
    encoded = wide.encode(WIDE)
    for index, spec in enumerate(wide.specs):
        assert encoded.bins[index].min() >= 0
        assert encoded.bins[index].max() < spec.bins
    assert wide.total_bins == sum(spec.bins for spec in wide.specs)


@QUICK
@given(rows=st.lists(st.integers(0, ROWS - 1), max_size=12))
def test_every_row_is_encoded_by_itself(wide: TableEncoder, rows: list[int]) -> None:
    whole = wide.encode(WIDE)
    some = wide.encode(WIDE.take(pa.array(rows, pa.int64())))
    wanted = whole.take(np.array(rows, np.intp))
    assert np.array_equal(some.x, wanted.x)
    assert np.array_equal(some.state, wanted.state)
    assert np.array_equal(some.bins, wanted.bins)


def test_order_of_columns_and_strangers_do_not_matter(wide: TableEncoder) -> None:
    names = WIDE.column_names[::-1]
    moved = WIDE.select(names).append_column("stranger", pa.array([{"a": 1}] * ROWS))
    assert np.array_equal(wide.encode(moved).x, wide.encode(WIDE).x)
    record_batch = WIDE.combine_chunks().to_batches()[0]
    assert np.array_equal(wide.encode(record_batch).x, wide.encode(WIDE).x)


def test_no_rows(wide: TableEncoder) -> None:
    encoded = wide.encode(WIDE.slice(0, 0))
    assert encoded.x.shape == (0, wide.features)
    assert wide.column_errors(encoded, encoded.x).shape == (0, len(LEARNED))


def test_parts_one_below_the_other(wide: TableEncoder) -> None:
    whole = wide.encode(WIDE)
    parts = [wide.encode(WIDE.slice(a, 100)) for a in range(0, ROWS, 100)]
    joined = Encoded.concat(parts)
    assert np.array_equal(joined.x, whole.x)
    assert np.array_equal(joined.state, whole.state)
    assert np.array_equal(joined.bins, whole.bins)


# What cannot be.


def test_a_missing_column_is_named(wide: TableEncoder) -> None:
    with pytest.raises(DataError, match="'decimal128' is missing"):
        wide.encode(WIDE.drop_columns("decimal128"))


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize(
    "strange",
    [
        pa.array([{"a": 1}] * ROWS),
        pa.array([[1]] * ROWS),
        pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
    ],
    ids=["struct", "list", "map"],
)
def test_a_column_of_another_nature_is_named_with_both_types(name: str, strange: pa.Array) -> None:
    spec = learn(LEARNED[name][1])
    with pytest.raises(DataError) as caught:
        encode(spec, strange)
    assert "'c'" in str(caught.value)
    assert str(strange.type) in str(caught.value) and spec.type in str(caught.value)


@pytest.mark.parametrize(
    ("learned", "strange"),
    [
        ("int32", pa.array(["many"] * 9)),
        ("int32", pa.array([True] * 9)),
        ("int32", pa.array([dt.date(2024, 1, 1)] * 9)),
        ("timestamp[s]", pa.array([1.7e9] * 9)),
        ("timestamp[s]", pa.array(["2024-01-01"] * 9)),
        ("date32", pa.array([5] * 9, pa.duration("s"))),
    ],
)
def test_values_are_not_read_as_what_they_are_not(learned: str, strange: pa.Array) -> None:
    with pytest.raises(DataError, match="the model learned"):
        encode(learn(LEARNED[learned][1]), strange)


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(9, 3)],
    ids=str,
)
def test_numbers_of_another_type_encode_alike(kind: pa.DataType) -> None:
    wanted = encode(NUMBER, [3.0, 7.0, None, 100.0]).x
    values = [3, 7, None, 100] if not pa.types.is_decimal(kind) else [Decimal(3), Decimal(7), None, Decimal(100)]
    assert np.allclose(encode(NUMBER, values, kind).x, wanted, rtol=1e-6)


# Numbers.


@QUICK
@given(values=st.lists(st.floats(width=64), min_size=1, max_size=40))
def test_any_float_encodes_to_a_finite_number(values: list[float]) -> None:
    encoded = encode(NUMBER, values, pa.float64())
    array = np.array(values)
    assert np.isfinite(encoded.x).all()
    finite = np.isfinite(array)
    assert (encoded.state[finite, 0] == VALUE).all()
    assert (encoded.state[~finite, 0] == IMPOSSIBLE).all(), "infinite, or NaN in a column that had none"
    near = finite & (np.abs(array - 10) <= 6)
    assert np.allclose(encoded.x[near, 0], (array[near] - 10) / 2, atol=1e-6), "a z-score within three"
    order = np.argsort(array[finite])
    assert (np.diff(encoded.x[finite, 0][order]) >= 0).all(), "farther stays farther"


def test_nan_is_a_gap_where_training_had_gaps() -> None:
    spec = NUMBER.model_copy(update={"null_rate": 0.2})
    encoded = encode(spec, [float("nan"), None, float("inf"), 4.0], pa.float64())
    assert encoded.state[:, 0].tolist() == [NULL, NULL, IMPOSSIBLE, VALUE]


@QUICK
@given(z=st.lists(st.floats(-16.75, 16.75, width=32), min_size=1, max_size=30))
def test_unsquash_undoes_squash(z: list[float]) -> None:
    """Up to 3 + log1p(1e6) in squashed units."""
    raw = np.array(z, np.float32)
    assert np.allclose(squash(unsquash(raw).copy()), raw, rtol=2e-4, atol=1e-5)


@QUICK
@given(z=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=30))
def test_squash_leaves_the_middle_alone_and_keeps_order(z: list[float]) -> None:
    raw = np.sort(np.array(z, np.float32))
    bent = squash(raw.copy())
    middle = np.abs(raw) <= 3
    assert np.array_equal(bent[middle], raw[middle])
    assert (np.diff(bent) >= 0).all()
    assert (np.sign(bent) == np.sign(raw)).all()
    assert np.abs(bent).max() <= 3 + np.log1p(1e30) + 1e-3
    assert (np.abs(bent) <= np.abs(raw) + 1e-6).all()


def test_unsquash_leaves_its_argument_alone() -> None:
    z = np.array([1.0, 9.0], np.float32)
    unsquash(z)
    assert z.tolist() == [1.0, 9.0]


def test_far_numbers_stay_in_the_outermost_bins() -> None:
    bins = encode(NUMBER, [-1e300, 10.0, 1e300]).bins[0]
    assert bins[0] == 0
    assert 0 < bins[1] < NUMBER.value_bins - 1
    assert bins[2] == NUMBER.value_bins - 1
    assert encode(NUMBER, [float("inf")]).bins[0, 0] == NUMBER.value_bins + 1


# Words.


def test_known_and_unknown_words() -> None:
    encoded = encode(COLOURS, ["red", "blue", "green", None])
    assert encoded.state[:, 0].tolist() == [VALUE, VALUE, IMPOSSIBLE, IMPOSSIBLE]
    assert encoded.bins[0].tolist() == [0, 1, 3, 2]
    assert np.allclose(encoded.x[0] - encoded.x[1], np.array([1, -1]) * COLOURS.scale)
    rates = np.array(COLOURS.rates)
    assert np.allclose(rates @ encoded.x[:2], 0, atol=1e-6), "zero mean"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_words_of_any_string_type_encode_alike(kind: pa.DataType) -> None:
    words = pa.array(["red", "blue", "green"])
    wanted = encode(COLOURS, words)
    found = encode(COLOURS, words.dictionary_encode() if pa.types.is_dictionary(kind) else words.cast(kind))
    assert np.array_equal(found.x, wanted.x)
    assert np.array_equal(found.state, wanted.state)


def test_a_misspelling_is_encoded_near_its_neighbour() -> None:
    rng = np.random.default_rng(3)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 10)) for _ in range(300)]
    spec = learn(pa.array(words))
    assert isinstance(spec, TextSpec)
    spelled = [word[:4] + word[5] + word[4] + word[6:] for word in words]
    truth, wrong = encode(spec, words).x, encode(spec, spelled).x
    apart = np.linalg.norm(truth - wrong, axis=1)
    random = np.linalg.norm(truth - np.roll(wrong, 1, axis=0), axis=1)
    assert (apart < random).mean() > 0.97
    assert (encode(spec, spelled).state == VALUE).all(), "new identifiers are not impossible"


def test_known_and_new_texts_are_counted_apart() -> None:
    spec = learn(LEARNED["many strings"][1])
    known, new = spec.values[0], spec.values[0][:-1] + "x"
    bins = encode(spec, [known, new, "y" * 200, ""]).bins[0]
    assert bins[0] + spec.value_bins // 2 == bins[1]
    assert len(set(bins.tolist())) == 4
    assert bins.max() < spec.value_bins


# Times.


def test_time_encodes_age_and_cycles() -> None:
    spec = learn(LEARNED["timestamp[s]"][1])
    assert isinstance(spec, TimeSpec) and spec.cycles == ["day", "week", "year"]
    noon, midnight = dt.datetime(2023, 5, 1, 12), dt.datetime(2023, 5, 2)
    x = encode(spec, [noon, midnight, midnight + dt.timedelta(days=7)], pa.timestamp("s")).x
    assert x[0, 1:3].tolist() == pytest.approx([0, -1], abs=1e-4)
    assert x[1, 1:3].tolist() == pytest.approx([0, 1], abs=1e-4)
    assert x[1, 1:5].tolist() == pytest.approx(x[2, 1:5].tolist(), abs=1e-4), "same time of day, same weekday"
    assert x[0, 0] < x[1, 0] < x[2, 0]


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("us", "Asia/Tokyo")], ids=str
)
def test_a_moment_encodes_alike_in_any_unit(kind: pa.DataType) -> None:
    column = LEARNED["timestamp[s]"][1]
    spec = learn(column)
    assert np.array_equal(encode(spec, column.cast(kind)).x, encode(spec, column).x)


def test_an_age_without_a_date_to_count_from_is_not_judged() -> None:
    days = [f"date=2024-01-{1 + i // 40:02d}" for i in range(ROWS)]
    own = np.array([np.datetime64(day.removeprefix("date="), "s") for day in days])
    column = pa.array(own + np.random.default_rng(1).integers(0, 86_400, ROWS), pa.timestamp("s"))
    spec = learn(column, partitions=days)
    assert spec.relative
    blind = encode(spec, column)
    assert (blind.state == UNJUDGED).all()
    assert (blind.x == 0).all()
    encoder = TableEncoder([spec])
    assert (encoder.visible(blind) == 0).all()
    assert (encoder.column_errors(blind, np.ones_like(blind.x)) == 0).all()
    at = partition_time(days[0])
    seen = encode(spec, column.slice(0, 40), reference=at)
    assert (seen.state == VALUE).all()
    later = pa.array(own[:40] + np.timedelta64(365, "D") + (column.slice(0, 40).to_numpy() - own[:40]))
    assert np.allclose(encode(spec, later.cast(pa.timestamp("s")), reference=at + 365 * 86_400).x, seen.x, atol=1e-5)


TIMES = {
    "date=2013-01-29": dt.datetime(2013, 1, 29),
    "day=2013-01-29T06:00:00": dt.datetime(2013, 1, 29, 6),
    "region=eu/date=2013-01-29": dt.datetime(2013, 1, 29),
    "year=2013/month=1/day=29": dt.datetime(2013, 1, 29),
    "year=2013/month=11": dt.datetime(2013, 11, 1),
    "at=2013-01-29T00:00:00+02:00": dt.datetime(2013, 1, 28, 22),
}


@pytest.mark.parametrize("partition", TIMES)
def test_a_partition_s_own_date(partition: str) -> None:
    assert partition_time(partition) == TIMES[partition].replace(tzinfo=dt.timezone.utc).timestamp()


@pytest.mark.parametrize("partition", ["", "region=eu", "month=1/day=2", "date=tomorrow", "year=x/month=y", "2013"])
def test_a_partition_without_a_date(partition: str) -> None:
    assert partition_time(partition) is None


@QUICK
@given(seconds=st.floats(-1e7, 1e7), slack=st.floats(0, 1e6))
def test_time_goes_on_for_as_long_as_the_slack(seconds: float, slack: float) -> None:
    spec = TimeSpec(
        name="t", type="timestamp[s]", null_rate=0, relative=False, mean=0, std=1, low=-1e5, high=1e5,
        slack=slack, step=1, cycles=[],
    )  # fmt: skip
    folded = float(fold_age(np.array([seconds]), spec)[0])
    if -1e5 <= seconds <= 1e5:
        assert folded == seconds
    elif seconds > 1e5:
        assert folded == pytest.approx(max(1e5, seconds - slack))
    else:
        assert folded == pytest.approx(min(-1e5, seconds + slack))


# Errors, by cell.


def by_hand(encoder: TableEncoder, encoded: Encoded, reconstruction: np.ndarray) -> np.ndarray:
    """Cell errors, one feature at a time."""
    out = np.zeros(encoded.state.shape)
    for row in range(len(encoded)):
        for index, (spec, where) in enumerate(zip(encoder.specs, encoder.slices, strict=True)):
            state, error = encoded.state[row, index], 0.0
            for feature in range(where.start, where.stop):
                squared = (float(reconstruction[row, feature]) - float(encoded.x[row, feature])) ** 2
                flag = spec.nullable and feature == where.stop - 1
                error += squared if (state != UNJUDGED if flag else state == VALUE) else 0.0
            if state == IMPOSSIBLE:
                error = max(error, float(encoder.unseen_errors[index]))
            out[row, index] = error
    return out


def test_cell_errors_are_feature_errors_summed(wide: TableEncoder) -> None:
    table = WIDE.slice(0, 40)
    table = table.set_column(0, "int8", with_nulls(table["int8"].combine_chunks(), 3))
    table = table.set_column(table.column_names.index("string"), "string", pa.array(["mauve"] * 40))
    encoded = wide.encode(table)
    assert {VALUE, NULL, IMPOSSIBLE} <= set(encoded.state.ravel().tolist())
    reconstruction = np.random.default_rng(1).normal(size=encoded.x.shape).astype(np.float32)
    kept = reconstruction.copy()
    assert np.allclose(wide.column_errors(encoded, reconstruction), by_hand(wide, encoded, kept), rtol=1e-4, atol=1e-5)


def test_cell_errors_of_numbers_alone() -> None:
    encoder = TableEncoder([NUMBER, NUMBER.model_copy(update={"name": "m"})])
    encoded = encoder.encode(pa.table({"n": [10.0, float("inf")], "m": [14.0, 10.0]}))
    errors = encoder.column_errors(encoded, np.zeros((2, 2), np.float32))
    assert errors.tolist() == [[0.0, 4.0], [IMPOSSIBLE_ERROR, 0.0]]


def test_a_new_word_is_as_odd_as_new_words_are() -> None:
    rare = COLOURS.model_copy(update={"unseen_rate": 1e-4})
    common = COLOURS.model_copy(update={"unseen_rate": 0.5})
    few, many = (TableEncoder([spec]).unseen_errors[0] for spec in (rare, common))
    assert few == IMPOSSIBLE_ERROR
    assert many == pytest.approx(np.log(0.5) ** 2 / 2)


def test_hidden_columns_are_zero_and_the_rest_is_left_alone(wide: TableEncoder) -> None:
    encoded = wide.encode(WIDE)
    visible = (np.random.default_rng(2).random((ROWS, len(LEARNED))) < 0.5).astype(np.float32)
    before = encoded.x.copy()
    hidden = wide.hide(encoded.x, visible)
    spread = visible[:, wide.column_of].astype(bool)
    assert (hidden[~spread] == 0).all()
    assert np.array_equal(hidden[spread], before[spread])
    assert np.array_equal(encoded.x, before)


def test_the_network_may_see_gaps_but_nothing_impossible(wide: TableEncoder) -> None:
    states = np.array([[VALUE, NULL, IMPOSSIBLE, UNJUDGED]], np.uint8)
    encoder = TableEncoder([NUMBER.model_copy(update={"name": str(i), "null_rate": 0.1}) for i in range(4)])
    encoded = Encoded(np.zeros((1, 8), np.float32), states, np.zeros((4, 1), np.int64))
    assert encoder.visible(encoded).tolist() == [[1, 1, 0, 0]]
    assert encoder.weights(encoded).tolist() == [[1, 1, 0, 1, 0, 1, 0, 0]], "values, then flags"
    assert encoder.is_flag.tolist() == [False, True] * 4
