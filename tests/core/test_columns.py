"""Specs of columns: what is learned of each Arrow type, and what became of every column."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ae_plugin.core.columns import GRID, CategorySpec, ColumnSpec, NumberSpec, TextSpec, TimeSpec
from ae_plugin.core.fit import CATEGORY_LIMIT, learn_columns

ROWS = 400
SPEC: TypeAdapter[Any] = TypeAdapter(ColumnSpec)
QUICK = settings(max_examples=60, deadline=None, derandomize=True)
RNG = np.random.default_rng(8)
WHEN = (np.datetime64("2022-03-01T12:00:00") + RNG.integers(0, 3 * 365 * 86_400, ROWS)).astype("datetime64[s]")
CENTS = RNG.integers(100, 99_999, ROWS)

LEARNED: dict[str, tuple[str, pa.Array]] = {
    "int8": ("number", pa.array(RNG.integers(-100, 100, ROWS), pa.int8())),
    "uint8": ("number", pa.array(RNG.integers(0, 250, ROWS), pa.uint8())),
    "int16": ("number", pa.array(RNG.integers(-30_000, 30_000, ROWS), pa.int16())),
    "uint16": ("number", pa.array(RNG.integers(0, 60_000, ROWS), pa.uint16())),
    "int32": ("number", pa.array(RNG.integers(-(10**9), 10**9, ROWS), pa.int32())),
    "uint32": ("number", pa.array(RNG.integers(0, 4 * 10**9, ROWS), pa.uint32())),
    "int64": ("number", pa.array(RNG.integers(-(10**12), 10**12, ROWS), pa.int64())),
    "uint64": ("number", pa.array(RNG.integers(0, 10**12, ROWS), pa.uint64())),
    "float16": ("number", pa.array(RNG.normal(size=ROWS).astype(np.float16))),
    "float32": ("number", pa.array(RNG.normal(size=ROWS).astype(np.float32))),
    "float64": ("number", pa.array(RNG.normal(size=ROWS))),
    "decimal128": ("number", pa.array([Decimal(int(c)).scaleb(-2) for c in CENTS], pa.decimal128(12, 2))),
    "decimal256": ("number", pa.array([Decimal(int(c)).scaleb(-2) for c in CENTS], pa.decimal256(40, 2))),
    "duration": ("number", pa.array(RNG.integers(0, 10**6, ROWS), pa.duration("ms"))),
    "bool": ("category", pa.array(RNG.random(ROWS) < 0.3)),
    "string": ("category", pa.array(RNG.choice(["red", "green", "blue"], ROWS))),
    "large_string": ("category", pa.array(RNG.choice(["red", "green", "blue"], ROWS).tolist(), pa.large_string())),
    "dictionary": ("category", pa.array(RNG.choice(["red", "green", "blue"], ROWS)).dictionary_encode()),
    "dictionary of int8": (
        "category",
        pa.array(RNG.choice(["red", "green"], ROWS)).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())),
    ),
    "dictionary of numbers": ("number", pa.array(RNG.integers(0, 40, ROWS) / 4).dictionary_encode()),
    "dictionary of integers": ("number", pa.array(RNG.integers(0, 90, ROWS)).dictionary_encode()),
    "dictionary of decimals": (
        "number",
        pa.array([Decimal(int(c)).scaleb(-2) for c in CENTS % 50], pa.decimal128(9, 2)).dictionary_encode(),
    ),
    "dictionary of bools": ("category", pa.array(RNG.random(ROWS) < 0.3).dictionary_encode()),
    "dictionary of days": ("time", pa.array(WHEN.astype("datetime64[D]")).dictionary_encode()),
    "dictionary of moments": ("time", pa.array(WHEN, pa.timestamp("us", "UTC")).dictionary_encode()),
    "many strings": ("text", pa.array([f"{c}-{RNG.integers(10**6):06d}" for c in RNG.choice(["ab", "xy"], ROWS)])),
    "many large strings": ("text", pa.array([f"id {i}" for i in RNG.permutation(ROWS)], pa.large_string())),
    "many in a dictionary": ("text", pa.array([f"id {i}" for i in RNG.permutation(ROWS)]).dictionary_encode()),
    "date32": ("time", pa.array(WHEN.astype("datetime64[D]"))),
    "date64": ("time", pa.array(WHEN.astype("datetime64[D]")).cast(pa.date64())),
    "timestamp[s]": ("time", pa.array(WHEN, pa.timestamp("s"))),
    "timestamp[ms]": ("time", pa.array(WHEN, pa.timestamp("ms"))),
    "timestamp[us, UTC]": ("time", pa.array(WHEN, pa.timestamp("us", "UTC"))),
    "timestamp[ns, Berlin]": ("time", pa.array(WHEN, pa.timestamp("ns", "Europe/Berlin"))),
    "time32[s]": ("time", pa.array(RNG.integers(0, 86_400, ROWS), pa.int32()).cast(pa.time32("s"))),
    "time32[ms]": ("time", pa.array(RNG.integers(0, 86_400, ROWS) * 1000, pa.int32()).cast(pa.time32("ms"))),
    "time64[us]": ("time", pa.array(RNG.integers(0, 86_400, ROWS) * 10**6).cast(pa.time64("us"))),
    "time64[ns]": ("time", pa.array(RNG.integers(0, 86_400, ROWS) * 10**9).cast(pa.time64("ns"))),
}
"""A column of every type that can be learned, without nulls, and the kind it is learned as."""

PASSED = {
    "null": (pa.nulls(ROWS), "all null"),
    "nulls of a type": (pa.nulls(ROWS, pa.float64()), "all null"),
    "nothing but NaN": (pa.array(np.full(ROWS, np.nan)), "all null"),
    "a constant number": (pa.array([7] * ROWS), "constant"),
    "a constant word": (pa.array(["EUR"] * ROWS), "constant"),
    "a constant time": (pa.array([dt.date(2024, 1, 1)] * ROWS), "constant"),
    "a running number": (pa.array(range(1000, 1000 + ROWS)), "a running number: every value is new"),
    "binary": (pa.array([bytes([i % 7]) for i in range(ROWS)]), "binary is not a type that can be learned"),
    "list": (pa.array([[i] for i in range(ROWS)]), "list<item: int64> is not a type that can be learned"),
    "struct": (pa.array([{"a": i} for i in range(ROWS)]), "struct<a: int64> is not a type that can be learned"),
    "map": (pa.array([[("a", i)] for i in range(ROWS)], pa.map_(pa.string(), pa.int64())), "can be learned"),
}


def with_nulls(column: pa.Array, every: int = 7) -> pa.Array:
    """The column with each 7th value null."""
    keep = pa.array([i if i % every else None for i in range(len(column))], pa.int64())
    return column.take(keep)


def learn(column: pa.Array, name: str = "c", partitions: list[str] | None = None) -> Any:
    """The spec of a column that must be learned."""
    specs, notes = learn_columns(pa.table({name: column}), partitions or [""] * len(column))
    assert len(specs) == 1, notes
    return specs[0]


def note_of(column: pa.Array, partitions: list[str] | None = None) -> Any:
    """The note on a column."""
    specs, notes = learn_columns(pa.table({"c": column}), partitions or [""] * len(column))
    assert len(notes) == 1
    assert (len(specs) == 1) == (notes[0].role == "learned")
    return notes[0]


# What a spec says of itself.


@pytest.mark.parametrize("nulls", [False, True])
@pytest.mark.parametrize("name", LEARNED)
def test_every_type_is_learned_as_its_kind(name: str, nulls: bool) -> None:
    kind, column = LEARNED[name]
    column = with_nulls(column) if nulls else column
    spec = learn(column)
    assert (spec.kind, spec.type, spec.name) == (kind, str(column.type), "c")
    assert spec.null_rate == pytest.approx(column.null_count / ROWS, abs=1e-12)
    assert spec.nullable == nulls
    assert spec.width == spec.value_width + nulls
    assert spec.bins == spec.value_bins + 2
    note = note_of(column)
    assert (note.role, note.kind, note.type) == ("learned", kind, str(column.type))


@pytest.mark.parametrize("name", LEARNED)
def test_a_spec_survives_json(name: str) -> None:
    spec = learn(with_nulls(LEARNED[name][1]))
    text = json.dumps(spec.model_dump(mode="json"), allow_nan=False)
    again = SPEC.validate_python(json.loads(text))
    assert type(again) is type(spec)
    assert again == spec


def test_widths_and_bins_by_kind() -> None:
    number, words = learn(LEARNED["float64"][1]), learn(LEARNED["string"][1])
    text, day = learn(LEARNED["many strings"][1]), learn(LEARNED["timestamp[s]"][1])
    assert (number.value_width, number.value_bins) == (1, GRID)
    assert (words.value_width, words.value_bins) == (3, 3)
    assert text.value_width == text.dims == len(text.means)
    assert (day.value_width, day.value_bins) == (1 + 2 * len(day.cycles), GRID)


BASE: dict[str, Any] = {"name": "c", "type": "double", "null_rate": 0.0}
NUMBER: dict[str, Any] = {**BASE, "kind": "number", "mean": 0.0, "std": 1.0, "low": 0.0, "high": 1.0}
WORDS: dict[str, Any] = {**BASE, "kind": "category", "values": ["a"], "rates": [1.0], "unseen_rate": 0.1}
TIME: dict[str, Any] = {**NUMBER, "kind": "time", "relative": False, "slack": 0.0, "step": 1.0, "cycles": []}


@pytest.mark.parametrize(
    ("good", "change"),
    [
        (NUMBER, {"std": 0.0}),
        (NUMBER, {"std": -1.0}),
        (NUMBER, {"null_rate": 1.5}),
        (NUMBER, {"null_rate": -0.1}),
        (NUMBER, {"mean": None}),
        (NUMBER, {"code": "import os"}),
        (NUMBER, {"kind": "pickle"}),
        (WORDS, {"unseen_rate": 0.0}),
        (WORDS, {"unseen_rate": 1.1}),
        (WORDS, {"values": [b"\xff"]}),
        (TIME, {"step": 0.0}),
        (TIME, {"slack": -1.0}),
        (TIME, {"cycles": ["fortnight"]}),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(good: dict[str, Any], change: dict[str, Any]) -> None:
    """Specs are read back from model.json, which anybody might have written."""
    SPEC.validate_python(good)
    with pytest.raises(ValidationError):
        SPEC.validate_python({**good, **change})


def test_a_spec_cannot_be_changed() -> None:
    spec = NumberSpec(**NUMBER)
    with pytest.raises(ValidationError):
        spec.mean = 3.0  # type: ignore[misc]


@QUICK
@given(counts=st.lists(st.integers(1, 500), min_size=2, max_size=30))
def test_a_category_weighs_as_much_as_a_number(counts: list[int]) -> None:
    """The one-hot group, scaled, has a total variance of one, unless one value has nearly all rows."""
    rates = np.array(counts) / sum(counts)
    spec = CategorySpec(**{**WORDS, "values": [str(i) for i in range(len(counts))], "rates": rates.tolist()})
    hot = np.eye(len(counts))
    variance = float((rates[:, None] * (hot - rates) ** 2).sum())
    assert spec.scale == pytest.approx(min(3.0, variance**-0.5))


def test_a_category_of_one_value_has_the_largest_scale() -> None:
    assert CategorySpec(**WORDS).scale == 3.0


# What became of every column.


@pytest.mark.parametrize("case", PASSED)
def test_a_column_that_cannot_be_learned_is_passed_through_and_says_why(case: str) -> None:
    column, why = PASSED[case]
    note = note_of(column)
    assert (note.role, note.kind, note.type) == ("passed through", "", str(column.type))
    assert why in note.note


def test_each_column_has_one_note_in_the_source_s_order() -> None:
    table = pa.table({name: column for name, (_, column) in LEARNED.items()} | {n: c for n, (c, _) in PASSED.items()})
    specs, notes = learn_columns(
        table, ["day=1"] * ROWS, keys=["int64"], exclude=["string", "list"], partition_by=["bool"]
    )
    assert [note.column for note in notes] == table.column_names
    roles = {note.column: note.role for note in notes}
    assert roles["int64"] == "key"
    assert roles["string"] == roles["list"] == "excluded"
    assert roles["bool"] == "partition"
    assert [spec.name for spec in specs] == [name for name in LEARNED if name not in ("int64", "string", "bool")]


def test_a_key_is_a_key_even_when_it_is_excluded_too() -> None:
    _, notes = learn_columns(pa.table({"c": range(50)}), [""] * 50, keys=["c"], exclude=["c"])
    assert notes[0].role == "key"


@pytest.mark.parametrize("value", [5, 2.5, "x", True, dt.date(2024, 1, 1)])
def test_a_constant_that_is_sometimes_missing_is_learned(value: Any) -> None:
    """It says something: whether the value is there."""
    spec = learn(pa.array([value if i % 3 else None for i in range(90)]))
    assert spec.null_rate == pytest.approx(1 / 3)


def test_a_column_that_only_says_which_partition_is_not_learned() -> None:
    days = [f"day={i // 100}" for i in range(ROWS)]
    for column in (
        pa.array([i // 100 for i in range(ROWS)]),
        pa.array([f"day {i // 100}" for i in range(ROWS)]),
        pa.array([dt.date(2024, 1, 1 + i // 100) for i in range(ROWS)]),
    ):
        assert "constant within each partition" in note_of(column, days).note
        changed = column.take(pa.array([*range(ROWS - 1), 0]))
        assert note_of(changed, days).role == "learned", "one row of another day"


def test_running_numbers_over_shuffled_partitions() -> None:
    """New in each row, and higher in each partition than in the one before."""
    days = [f"day={i // 100}" for i in range(ROWS)]
    shuffled = np.concatenate([100 * day + np.random.default_rng(day).permutation(100) for day in range(4)])
    assert "running number" in note_of(pa.array(shuffled), days).note
    assert note_of(pa.array(shuffled[::-1]), days).role == "learned", "they run down"
    assert note_of(pa.array(np.r_[shuffled[:-1], shuffled[0]]), days).role == "learned", "one comes twice"
    assert note_of(pa.array(shuffled.astype(float)), days).role == "learned", "measured, not counted"


# Numbers.


@QUICK
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=80))
def test_a_number_s_spec_is_that_of_its_values(values: list[float]) -> None:
    assume(len(set(values)) > 1)
    spec = learn(pa.array([*values, None], pa.float64()))
    assert spec.null_rate == pytest.approx(1 / (len(values) + 1))
    assert min(values) <= spec.low <= spec.mean + 1e-6 and spec.mean - 1e-6 <= spec.high <= max(values)
    assert spec.low in values and spec.high in values


def test_mean_and_spread_without_far_out_values() -> None:
    values = np.random.default_rng(2).normal(50, 4, 500)
    spec = learn(pa.array(values))
    assert (spec.mean, spec.std) == (pytest.approx(values.mean()), pytest.approx(values.std()))
    assert (spec.low, spec.high) == (values.min(), values.max())


@pytest.mark.parametrize("sentinel", [-9999.0, 1e30, float("inf"), float("-inf")])
def test_far_out_values_spoil_neither_spread_nor_range(sentinel: float) -> None:
    values = np.random.default_rng(2).normal(50, 4, 500)
    spec = learn(pa.array(np.r_[values, [sentinel] * 5]))
    assert (spec.low, spec.high) == (values.min(), values.max())
    assert spec.std == pytest.approx(values.std())
    assert not spec.nullable, "an infinity is not a gap"


@QUICK
@given(
    digits=st.integers(0, 4),
    units=st.lists(st.integers(-(10**6), 10**6), min_size=4, max_size=50),
)
def test_digits_are_those_that_all_values_fit_in(digits: int, units: list[int]) -> None:
    assume(len(set(units)) > 1)
    values = np.array(units) / 10**digits
    spec = learn(pa.array([*values, None]))
    kept = [v for v in values if spec.low <= v <= spec.high]
    assert spec.digits is not None
    assert np.allclose(np.round(kept, spec.digits), kept, rtol=0, atol=1e-7)
    if spec.digits:
        assert not np.allclose(np.round(kept, spec.digits - 1), kept, rtol=0, atol=1e-9), "fewer would do"


def test_digits_fit_the_last_of_many_values_too() -> None:
    """Six thousand whole numbers, then fractions."""
    rng = np.random.default_rng(0)
    spec = learn(pa.array(np.r_[rng.permutation(6000).astype(float), rng.uniform(0, 6000, 500)]))
    assert spec.digits is None


@pytest.mark.parametrize("scale", [0, 2, 6])
def test_digits_of_decimals_are_their_scale(scale: int) -> None:
    column = pa.array([Decimal(i % 17).scaleb(-scale) for i in range(60)], pa.decimal128(20, scale))
    assert learn(column).digits == scale


def test_integers_have_no_digits() -> None:
    assert learn(LEARNED["int32"][1]).digits == 0


# Words.


@QUICK
@given(words=st.lists(st.sampled_from(["a", "b", "c", "dd", "é", ""]), min_size=20, max_size=200), nulls=st.booleans())
def test_a_category_knows_its_values_and_their_shares(words: list[str], nulls: bool) -> None:
    assume(len(set(words)) > 1 or nulls)
    spec = learn(pa.array([*words, *([None] * 10 if nulls else [])], pa.string()))
    assert isinstance(spec, TextSpec if len(set(words)) > max(2, (len(words) + 10 * nulls) // 10) else CategorySpec)
    assert sorted(spec.values) == sorted(set(words))
    if isinstance(spec, CategorySpec):
        assert spec.rates == pytest.approx([words.count(value) / len(words) for value in spec.values])
        assert spec.rates == sorted(spec.rates, reverse=True)
        once = sum(words.count(value) == 1 for value in spec.values)
        assert spec.unseen_rate == pytest.approx((once + 1) / (len(words) + 1)), "Good-Turing"


def test_few_values_are_a_category_and_many_are_text() -> None:
    rows = 4_000
    few = [f"v{i % CATEGORY_LIMIT}" for i in range(rows)]
    many = [f"v{i % (CATEGORY_LIMIT + 1)}" for i in range(rows)]
    assert isinstance(learn(pa.array(few)), CategorySpec)
    assert isinstance(learn(pa.array(many)), TextSpec)


def test_the_vocabulary_of_a_text_holds_the_most_frequent_first() -> None:
    words = [f"w{i:03d}" for i in range(100)] * 2 + ["often"] * 5
    spec = learn(pa.array(words))
    assert isinstance(spec, TextSpec)
    assert spec.values[0] == "often"
    assert sorted(spec.values) == sorted(set(words))
    assert spec.unseen_rate == pytest.approx(1 / (len(words) + 1)), "no word came once only"


def test_bools_are_words() -> None:
    assert sorted(learn(LEARNED["bool"][1]).values) == ["false", "true"]


# Times.


@pytest.mark.parametrize(
    ("days", "cycles"),
    [(1.5, []), (5, ["day"]), (20, ["day", "week"]), (800, ["day", "week", "year"])],
)
def test_cycles_are_those_the_history_covers_twice(days: float, cycles: list[str]) -> None:
    seconds = np.random.default_rng(1).integers(0, int(days * 86_400), 500)
    seconds[:2] = 0, int(days * 86_400) - 1
    column = pa.array(np.datetime64("2024-01-01T00:00:01") + seconds, pa.timestamp("s"))
    assert learn(column).cycles == cycles


def test_dates_have_no_cycle_of_a_day() -> None:
    assert learn(LEARNED["date32"][1]).cycles == ["week", "year"]


def test_times_of_day_have_one_cycle() -> None:
    assert learn(LEARNED["time32[s]"][1]).cycles == ["day"]


@pytest.mark.parametrize(
    ("unit", "step"), [(1, 1.0), (60, 60.0), (3600, 3600.0), (86_400, 86_400.0), (0.001, 1e-6)], ids=str
)
def test_the_step_is_what_all_values_are_a_multiple_of(unit: float, step: float) -> None:
    seconds = np.random.default_rng(1).integers(1, 5_000, 300) * unit
    column = pa.array((seconds * 1e6).round().astype(np.int64), pa.timestamp("us"))
    assert learn(column).step == step


def test_a_time_that_follows_the_partition_counts_from_its_date() -> None:
    days = [f"date=2024-01-{1 + i // 40:02d}" for i in range(ROWS)]
    own = np.array([np.datetime64(day.removeprefix("date="), "s") for day in days])
    near = pa.array(own + np.random.default_rng(1).integers(0, 86_400, ROWS), pa.timestamp("s"))
    spec = learn(near, partitions=days)
    assert spec.relative
    assert 0 <= spec.low <= spec.high < 86_400
    assert not learn(pa.array(WHEN), partitions=days).relative, "years of values in ten days"
    assert not learn(near, partitions=["shop=a"] * ROWS).relative, "no date to count from"


def test_a_spec_of_time_from_1970_allows_time_to_go_on() -> None:
    spec = learn(LEARNED["timestamp[s]"][1])
    assert isinstance(spec, TimeSpec)
    assert not spec.relative
    assert spec.slack >= 400 * 86_400
    assert spec.low == float(pc.min(LEARNED["timestamp[s]"][1].cast(pa.int64())).as_py())
