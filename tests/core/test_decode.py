"""Reconstruction back to values: the column's own type, known words, numbers that training had."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ae_plugin.core.columns import CategorySpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.decode import as_text, expected_values, nearest
from ae_plugin.core.features import TableEncoder
from ae_plugin.errors import DataError
from tests.core.test_columns import LEARNED, ROWS, learn, with_nulls

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
EXACT = [
    name
    for name, (kind, _) in LEARNED.items()
    if kind == "category" or name in ("int8", "uint8", "int16", "uint16", "decimal128", "decimal256")
]
INTEGERS = [name for name in LEARNED if name.startswith(("int", "uint"))]


def spelt(column: pa.Array) -> pa.Array:
    """The column without its dictionary."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def there_and_back(spec: Any, column: pa.Array, reference: float | None = None) -> pa.Array:
    """Encode, and decode the encoding itself, as a network that is always right would."""
    encoded = TableEncoder([spec]).encode(pa.table({spec.name: column}), reference)
    return expected_values(spec, encoded.x, column, reference)


def drawn(spec: Any, seed: int, rows: int = 60) -> np.ndarray:
    """A reconstruction as bad as can be: from sensible to enormous numbers."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, spec.width)) * 10.0 ** rng.uniform(-2, 12, (rows, 1))).astype(np.float32)


# Types, order and ranges.


@pytest.mark.parametrize("nulls", [False, True])
@pytest.mark.parametrize("name", LEARNED)
def test_the_type_is_the_column_s_own(name: str, nulls: bool) -> None:
    column = with_nulls(LEARNED[name][1]) if nulls else LEARNED[name][1]
    spec = learn(column)
    for found in (there_and_back(spec, column), expected_values(spec, drawn(spec, 1, ROWS), column)):
        assert found.type == spelt(column).type
        assert len(found) == len(column)
        found.validate(full=True)


@pytest.mark.parametrize("name", EXACT)
def test_a_network_that_is_right_gives_the_values_back(name: str) -> None:
    column = LEARNED[name][1]
    assert spelt(there_and_back(learn(column), column)).equals(spelt(column))


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "int32", "int64", "uint64", "duration"])
def test_a_network_that_is_right_gives_numbers_back_nearly(name: str) -> None:
    """As nearly as float32 features can tell them apart."""
    column = LEARNED[name][1]
    spec = learn(column)
    found = there_and_back(spec, column)
    ours, theirs = (
        np.array([float(v) for v in (c.cast(pa.int64()) if name == "duration" else c).to_pylist()])
        for c in (found, column)
    )
    assert np.abs(ours - theirs).max() <= 2e-6 * (spec.high - spec.low) + (1e-3 if name == "float16" else 0)


@pytest.mark.parametrize("name", [name for name, (kind, _) in LEARNED.items() if kind == "time"])
def test_a_network_that_is_right_gives_times_back_nearly(name: str) -> None:
    """Within a minute and a half in three years: that is what float32 holds."""
    column = spelt(LEARNED[name][1])
    # Counted from the partition's date, here 1970: an absolute moment is not repaired.
    found = there_and_back(learn(column).model_copy(update={"relative": True}), column, 0.0)
    ticks = pa.int32() if pa.types.is_time32(column.type) or pa.types.is_date32(column.type) else pa.int64()
    unit = "d" if pa.types.is_date32(column.type) else "ms" if pa.types.is_date64(column.type) else column.type.unit
    second = {"d": 1 / 86_400, "s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    apart = np.abs(found.cast(ticks).to_numpy().astype(float) - column.cast(ticks).to_numpy().astype(float)) / second
    if pa.types.is_time(column.type):
        apart = np.minimum(apart, 86_400 - apart)
    assert apart.max() <= (90 if not pa.types.is_date(column.type) else 0)


@pytest.mark.parametrize("name", [name for name, (kind, _) in LEARNED.items() if kind == "number"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_numbers_stay_inside_the_training_range(name: str, seed: int) -> None:
    """Whatever the network says."""
    column = LEARNED[name][1]
    spec = learn(column)
    found = expected_values(spec, drawn(spec, seed), column.slice(0, 60))
    assert found.null_count == 0
    values = found.cast(pa.int64()) if pa.types.is_duration(found.type) else found
    floats = np.array([float(v) for v in values.to_pylist()])
    assert (floats >= spec.low).all() and (floats <= spec.high).all(), (spec.low, spec.high, floats)


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_stay_integers(name: str) -> None:
    """A value between two integers becomes the nearer one."""
    column = LEARNED[name][1]
    spec = learn(column).model_copy(update={"mean": 40.0, "std": 1.0, "low": 0.0, "high": 100.0})
    features = np.array([[-1.3], [0.0], [0.4], [0.6], [2.9]], np.float32)
    found = expected_values(spec, features, column.slice(0, 5))
    assert found.type == column.type
    assert found.to_pylist() == [39, 40, 40, 41, 43]


@pytest.mark.parametrize("name", ["uint64", "int64"])
def test_huge_integers_stay_inside_the_training_range(name: str) -> None:
    """Beyond what a float counts exactly: within a part in a thousand, and never wrapped around."""
    kind = LEARNED[name][1].type
    top = 2**64 - 1 if name == "uint64" else 2**63 - 1
    rng = np.random.default_rng(0)
    column = pa.array([top // 2 + int(v) for v in rng.integers(0, 2**61, 200)], kind)
    found = there_and_back(learn(column), column).to_pylist()
    assert max(abs(a - b) / b for a, b in zip(found, column.to_pylist(), strict=True)) < 1e-3


@pytest.mark.parametrize(
    ("precision", "scale", "whole"), [(20, 2, 10**9), (38, 9, 10**15), (38, 18, 10**12), (38, 0, 10**30)]
)
def test_decimals_of_any_size(precision: int, scale: int, whole: int) -> None:
    rng = np.random.default_rng(0)
    units = [whole + whole * int(v) // 10**6 for v in rng.integers(1, 10**6, 200)]
    column = pa.array([Decimal(v) for v in units], pa.decimal128(precision, scale))
    found = there_and_back(learn(column), column)
    assert found.type == column.type
    assert max(abs(a / b - 1) for a, b in zip(found.to_pylist(), column.to_pylist(), strict=True)) < Decimal("1e-3")


def test_digits_are_kept() -> None:
    cents = np.random.default_rng(0).integers(1, 10_000, 300) / 100
    spec = learn(pa.array(cents))
    found = expected_values(spec, np.random.default_rng(1).normal(size=(200, 1)).astype(np.float32), pa.array(cents))
    values = found.to_numpy()
    assert np.array_equal(values, np.round(values, 2))
    assert len(set(values)) > 100


# A partition whose column came in another type than training's.


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int16()], ids=str)
def test_a_number_that_the_column_s_type_cannot_hold_is_not_wrapped_around(kind: pa.DataType) -> None:
    """Training saw up to 70 000; today's file holds small numbers in a small type."""
    spec = learn(pa.array(np.random.default_rng(0).integers(0, 70_000, 300)))
    found = expected_values(spec, np.array([[-3], [0], [3]], np.float32), pa.array([1, 2, 3], kind))
    assert found.type == kind
    known = [v for v in found.to_pylist() if v is not None]
    assert all(spec.low <= v <= spec.high for v in known), known
    assert known == sorted(known), "a larger reconstruction gave a smaller number"


def test_a_decimal_that_the_column_s_type_cannot_hold() -> None:
    """As pandas gives: the precision of the digits that happen to be there."""
    spec = learn(pa.array([Decimal(c).scaleb(-2) for c in range(100, 99_999, 300)], pa.decimal128(10, 2)))
    observed = pa.array([Decimal("1.00"), Decimal("2.00")])
    assert observed.type.precision < 5
    found = expected_values(spec, np.zeros((2, 1), np.float32), observed)
    assert found.type == observed.type
    assert all(v is None or spec.low <= v <= spec.high for v in found.to_pylist())


OTHERS = {
    "integers": pa.array([1, 2, 3]),
    "bools": pa.array([True, False, True]),
    "dates": pa.array([dt.date(2024, 1, 1)] * 3),
    "nothing": pa.nulls(3),
    "words": pa.array(["red", "rad", "x"]),
}


@pytest.mark.parametrize("name", ["string", "many strings", "bool"])
@pytest.mark.parametrize("case", OTHERS)
def test_a_word_that_the_column_s_type_cannot_hold(name: str, case: str) -> None:
    """Whatever the encoder takes, the decoder answers: in the column's type, null where it has no such value."""
    spec = learn(LEARNED[name][1])
    if isinstance(spec, TextSpec):
        spec = spec.model_copy(update={"imputable": True})
    observed = OTHERS[case]
    try:
        encoded = TableEncoder([spec]).encode(pa.table({"c": observed}))
    except DataError:
        assert case != "words"
        return
    found = expected_values(spec, encoded.x, observed)
    assert (found.type, len(found)) == (observed.type, 3)
    if case == "words":
        assert set(found.to_pylist()) <= set(spec.values)


# Words.


@pytest.mark.parametrize("name", [name for name, (kind, _) in LEARNED.items() if kind == "category"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_categories_are_known_values(name: str, seed: int) -> None:
    column = LEARNED[name][1]
    spec = learn(column)
    found = expected_values(spec, drawn(spec, seed), column.slice(0, 60))
    assert set(spelt(found).cast(pa.string()).to_pylist()) <= set(spec.values)
    assert found.null_count == 0


FRUIT = ["apple", "apricot", "banana", "blackberry", "cherry", "grape", "grapefruit", "strawberry"]
FRUITS = CategorySpec(
    name="c", type="string", null_rate=0.0, values=FRUIT, rates=[1 / 8] * 8, unseen_rate=0.01
)  # fmt: skip


@QUICK
@given(word=st.sampled_from(FRUIT), place=st.integers(1, 8), letter=st.sampled_from("aeioutrsn"))
def test_a_misspelt_category_is_spelt_right(word: str, place: int, letter: str) -> None:
    """When the rest of the row says nothing, the spelling does."""
    place = min(place, len(word) - 1)
    wrong = word[:place] + letter + word[place + 1 :]
    assume(wrong not in FRUIT)
    found = expected_values(FRUITS, np.zeros((1, 8), np.float32), pa.array([wrong]))
    assert found.to_pylist() == [word]


def test_the_row_decides_when_the_word_is_known_or_missing() -> None:
    certain = TableEncoder([FRUITS]).encode(pa.table({"c": ["cherry"] * 3})).x
    found = expected_values(FRUITS, certain, pa.array(["apple", None, "cherry"]))
    assert found.to_pylist() == ["cherry"] * 3


def identifiers() -> TextSpec:
    spec = learn(pa.array([f"{city}-{n:03d}" for city in ("aachen", "berlin", "dresden") for n in range(0, 400, 7)]))
    assert isinstance(spec, TextSpec) and not spec.imputable
    return spec


@pytest.mark.parametrize("wrong", ["berlni-007", "berlin_007", "berln-007", "berliin-007", "brln-007"])
def test_a_misspelt_text_is_corrected_to_a_neighbour(wrong: str) -> None:
    spec = identifiers()
    found = expected_values(spec, np.zeros((1, spec.width), np.float32), pa.array([wrong])).to_pylist()
    assert found[0] in spec.values
    assert found[0].endswith("007")


@pytest.mark.parametrize("observed", ["berlin-007", None])
def test_a_text_that_is_known_or_missing_is_left_to_the_user(observed: str | None) -> None:
    """The model cannot tell an identifier."""
    spec = identifiers()
    found = expected_values(spec, np.zeros((1, spec.width), np.float32), pa.array([observed], pa.string()))
    assert found.to_pylist() == [None]


def test_a_text_like_no_known_one_is_left_to_the_user() -> None:
    """Replacing it by an identifier that shares no letter with it would be worse than leaving it wrong."""
    rng = np.random.default_rng(0)
    strange = ["".join(rng.choice(list("@#!?%&XYZQWKPU"), 9)) for _ in range(50)]
    spec = identifiers()
    found = expected_values(spec, np.zeros((50, spec.width), np.float32), pa.array(strange))
    assert found.null_count == 50, found.drop_null()[:5].to_pylist()


def test_an_imputable_text_is_the_known_value_nearest_to_the_reconstruction() -> None:
    column = LEARNED["many strings"][1]
    spec = learn(column).model_copy(update={"imputable": True})
    found = there_and_back(spec, column).to_pylist()
    assert set(found) <= set(spec.values)
    assert np.mean([a == b for a, b in zip(found, column.to_pylist(), strict=True)]) > 0.95
    blank = pa.nulls(ROWS, pa.string())
    encoded = TableEncoder([spec]).encode(pa.table({"c": column}))
    assert expected_values(spec, encoded.x, blank).to_pylist() == found, "nulls are imputed from the row alone"


@QUICK
@given(seed=st.integers(0, 10**6), rows=st.sampled_from([0, 1, 7, 1000, 1001, 2300]))
def test_nearest_is_what_comparing_all_finds(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    wanted, table = rng.normal(size=(rows, 5)).astype(np.float32), rng.normal(size=(40, 5)).astype(np.float32)
    squares = ((wanted[:, None, :] - table[None]) ** 2).sum(axis=2)
    found = nearest(wanted, table)
    assert found.shape == (rows,)
    assert np.allclose(squares[np.arange(rows), found], squares.min(axis=1), atol=1e-4)


# Times.


def relative_spec() -> TimeSpec:
    return TimeSpec(
        name="t", type="timestamp[us]", null_rate=0, relative=True, mean=43_200, std=20_000, low=0, high=86_399,
        slack=0, step=60, cycles=[],
    )  # fmt: skip


def test_a_relative_time_counts_from_the_partition_s_date() -> None:
    kind = pa.timestamp("us", "UTC")
    features = np.zeros((2, 1), np.float32)
    at = dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc)
    found = expected_values(relative_spec(), features, pa.nulls(2, kind), at.timestamp())
    assert found.to_pylist() == [at + dt.timedelta(hours=12)] * 2
    assert expected_values(relative_spec(), features, pa.nulls(2, kind)).null_count == 2, "no date to count from"


@QUICK
@given(z=st.floats(-1000, 1000, width=32))
def test_times_are_whole_steps_inside_the_training_range(z: float) -> None:
    found = expected_values(relative_spec(), np.array([[z]], np.float32), pa.nulls(1, pa.timestamp("s")), 0.0)
    seconds = found.cast(pa.int64())[0].as_py()
    assert seconds % 60 == 0
    assert 0 <= seconds <= 86_400


@pytest.mark.parametrize("name", ["time32[s]", "time32[ms]", "time64[us]", "time64[ns]"])
def test_times_of_day_are_less_than_a_day(name: str) -> None:
    column = LEARNED[name][1]
    spec = learn(column)
    found = expected_values(spec, drawn(spec, 5, ROWS), column)
    found.validate(full=True)
    assert all(isinstance(moment, dt.time) for moment in found.to_pylist())


@QUICK
@given(z=st.floats(-1000, 1000, width=32), sin=st.floats(-1, 1, width=32), cos=st.floats(-1, 1, width=32))
def test_a_time_of_a_cycle_stays_inside_the_training_range(z: float, sin: float, cos: float) -> None:
    """The hour that the cycle says may lie beyond the last moment of training: then it is that of the day before."""
    monday = dt.datetime(2024, 1, 1, 6).timestamp() // 3600 * 3600
    spec = TimeSpec(
        name="t", type="timestamp[s]", null_rate=0, relative=True, mean=monday + 5e5, std=3e5, low=monday,
        high=monday + 10 * 86_400 + 1800, slack=0, step=3600, cycles=["day"],
    )  # fmt: skip
    features = np.array([[z, sin, cos]], np.float32)
    found = expected_values(spec, features, pa.nulls(1, pa.timestamp("s")), 0.0).cast(pa.int64())[0].as_py()
    assert spec.low <= found <= spec.high and found % 3600 == 0
    hour = np.arctan2(np.float32(sin), np.float32(cos)) / (2 * np.pi) * 24 % 24
    assert min((found / 3600 - hour) % 24, (hour - found / 3600) % 24) <= 0.51, "the hour is the cycle's"


@pytest.mark.parametrize(("apart", "cycles"), [(77, []), (7_000, ["day"])])
def test_an_absolute_moment_is_left_to_the_user(apart: int, cycles: list[str]) -> None:
    """It does not follow from a row's other cells, and who sorts by it would sort by a guess."""
    moments = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc).timestamp() + np.arange(200.0) * apart
    spec = learn(pa.array(moments.astype(np.int64)).cast(pa.timestamp("s")))
    assert not spec.relative and set(cycles) <= set(spec.cycles)
    found = expected_values(spec, np.zeros((2, spec.width), np.float32), pa.array([None, 5], pa.timestamp("s")))
    assert (found.type, found.null_count) == (pa.timestamp("s"), 2)


@pytest.mark.parametrize("name", [name for name, (kind, _) in LEARNED.items() if kind in ("number", "time")])
def test_a_column_of_no_type_gets_no_value(name: str) -> None:
    """All null today, so written without a type."""
    spec = learn(with_nulls(LEARNED[name][1]))
    column = pa.nulls(3)
    assert there_and_back(spec, column).equals(column)


# For people.


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pa.array([1.0, 0.1, None, 123456.789]), ["1", "0.1", None, "123456.8"]),
        (pa.array([1, None], pa.int8()), ["1", None]),
        (pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)), ["1.50", None]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([True, None]), ["true", None]),
        (pa.array([dt.date(2024, 2, 1), None]), ["2024-02-01", None]),
        (pa.array([5, None], pa.duration("ms")), ["5", None]),
        (pa.nulls(2), [None, None]),
        (pa.array([float("nan"), float("inf")]), ["nan", "inf"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_values_as_text(column: pa.Array, texts: list[str | None]) -> None:
    found = as_text(column)
    assert found.type == pa.string()
    assert found.to_pylist() == texts


@pytest.mark.parametrize("name", LEARNED)
def test_every_type_has_a_text(name: str) -> None:
    column = with_nulls(LEARNED[name][1])
    found = as_text(column)
    assert found.type == pa.string()
    assert np.array_equal(np.asarray(found.is_null()), np.asarray(column.is_null()))
    assert pc.min(pc.utf8_length(found)).as_py() > 0


def test_a_number_spec_of_one_value_gives_it_back() -> None:
    spec = NumberSpec(name="c", type="int64", null_rate=0.5, mean=7, std=1, low=7, high=7, digits=0)
    assert expected_values(spec, drawn(spec, 3, 9), pa.nulls(9, pa.int64())).to_pylist() == [7] * 9
