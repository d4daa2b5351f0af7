"""Injected faults: a tenth of each row's cells, made wrong as their kind says, the rest untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.core.faults import KINDS, SHARE, inject
from tests.core.test_columns import LEARNED, ROWS, with_nulls
from tests.shop import make_orders, plain

QUICK = settings(max_examples=15, deadline=None, derandomize=True)
WIDE = pa.table({name: with_nulls(column) if len(name) % 2 else column for name, (_, column) in LEARNED.items()})
NAMES = WIDE.column_names
PLAIN_NUMBERS = [name for name in NAMES if name.startswith(("int", "uint", "float"))]


def same(a: list[Any], b: list[Any]) -> np.ndarray:
    return np.array([x == y or (x != x and y != y) for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize("kind", KINDS)
def test_types_names_and_rows_stay(kind: str) -> None:
    found = inject(WIDE, NAMES, kind, 0)
    assert found.schema.types == WIDE.schema.types
    assert found.column_names == NAMES
    assert found.num_rows == ROWS
    found.validate(full=True)


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(seed=st.integers(0, 1000))
def test_the_same_seed_makes_the_same_faults(kind: str, seed: int) -> None:
    some, names = WIDE.slice(0, 50), NAMES[:6]
    assert plain(inject(some, names, kind, seed)).equals(plain(inject(some, names, kind, seed)))
    assert not plain(inject(some, names, kind, seed)).equals(plain(inject(some, names, kind, seed + 1)))


@pytest.mark.parametrize("columns", [1, 3, 10, 20, len(NAMES)])
def test_a_tenth_of_each_row_s_cells_and_at_least_one_are_emptied(columns: int) -> None:
    names = NAMES[:columns]
    full = pa.table({name: LEARNED[name][1] for name in NAMES})
    found = inject(full, names, "nulls", 3)
    gone = np.stack([np.asarray(found[name].combine_chunks().is_null()) for name in names], axis=1)
    assert (gone.sum(axis=1) == max(1, round(SHARE * columns))).all()
    assert all(found[name].null_count == 0 for name in NAMES[columns:]), "only where faults may go"
    if columns >= 3:
        assert (gone.mean(axis=0) > 0.02).all(), "every column has its turn"


@pytest.mark.parametrize("kind", ["extremes", "swaps"])
def test_most_faults_change_their_cell_and_no_other(kind: str) -> None:
    names = NAMES[:20]
    full = pa.table({name: LEARNED[name][1] for name in NAMES})
    found = inject(full, names, kind, 3)
    kept = np.stack([same(found[n].to_pylist(), full[n].to_pylist()) for n in NAMES], axis=1)
    changed = (~kept).sum(axis=1)
    wanted = round(SHARE * 20)
    assert changed.max() == wanted
    assert (changed == wanted).mean() > 0.95
    assert kept[:, 20:].all()


@pytest.mark.parametrize("name", NAMES)
def test_swaps_take_values_of_other_rows(name: str) -> None:
    column = LEARNED[name][1]
    found = inject(pa.table({name: column}), [name], "swaps", 1)[name].to_pylist()
    assert set(found) <= set(column.to_pylist())
    assert np.mean(~same(found, column.to_pylist())) > 0.95, "one column, so every cell is swapped"


@pytest.mark.parametrize("name", PLAIN_NUMBERS)
def test_extremes_are_beyond_nearly_all_values(name: str) -> None:
    """Above and below, as far as the type allows."""
    column = LEARNED[name][1]
    values = np.array(column.to_pylist(), float)
    found = np.array(inject(pa.table({name: column}), [name], "extremes", 1)[name].to_pylist(), float)
    low, high = np.quantile(values, [0.005, 0.995])
    assert np.isfinite(found).all()
    assert ((found <= low) | (found >= high)).all()
    assert (found > high).any()
    if pa.types.is_integer(column.type):
        info = np.iinfo(column.type.to_pandas_dtype())
        assert info.min <= found.min() and found.max() <= float(info.max)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(PLAIN_NUMBERS)))
def test_what_is_no_plain_number_is_swapped_instead(name: str) -> None:
    column = LEARNED[name][1]
    found = inject(pa.table({name: column}), [name], "extremes", 1)[name].to_pylist()
    assert set(found) <= set(column.to_pylist())


def test_extremes_of_numbers_with_gaps_and_infinities() -> None:
    column = pa.array([1.0, 2.0, None, float("nan"), float("inf"), 3.0] * 20)
    found = inject(pa.table({"c": column}), ["c"], "extremes", 1)["c"].to_numpy()
    assert np.isfinite(found).all()
    assert ((found <= 1) | (found >= 3)).all()


def test_a_column_that_may_not_be_null_can_be_emptied() -> None:
    schema = pa.schema([pa.field("c", pa.int64(), nullable=False)])
    found = inject(pa.table({"c": range(10)}, schema=schema), ["c"], "nulls", 0)
    assert found["c"].null_count == 10
    assert found.schema.field("c").nullable


def test_one_value_cannot_be_swapped_for_another() -> None:
    found = inject(pa.table({"c": ["x"] * 30}), ["c"], "swaps", 0)
    assert found["c"].to_pylist() == ["x"] * 30


def test_a_table_in_several_chunks() -> None:
    table = pa.concat_tables([make_orders(40, seed=1), make_orders(30, seed=2)])
    names = ["product", "store", "quantity", "price", "due"]
    for kind in KINDS:
        assert plain(inject(table, names, kind, 5)).equals(plain(inject(table.combine_chunks(), names, kind, 5)))


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError):
        inject(WIDE, NAMES, "typos", 0)
