"""Partitions that carry a fault stand apart; seasons, trends and odd days do not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ae_plugin.core.features import TableEncoder
from ae_plugin.core.fit import learn_columns
from ae_plugin.core.incidents import FEWEST, MOST, Incident, beyond_a_gap, find_incidents

DAYS, ROWS = 30, 60
BAD = [3, 7, 12, 18, 21, 26]


def days(
    seed: int = 0, *, season: float = 2.0, trend: float = 0.0, count: int = DAYS, rows: int = ROWS
) -> list[pa.Table]:
    """Temperatures and what follows from them, through the seasons."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        warm = 10 + 5 * season * np.sin(2 * np.pi * number / count) + trend * number + rng.normal(0, 2, rows)
        kind = np.where(warm + rng.normal(0, 1, rows) > 10, "warm", "cold")
        out.append(pa.table({"warm": warm, "used": 3 * warm + rng.normal(0, 1, rows), "kind": kind,
                             "other": rng.exponential(1, rows)}))  # fmt: skip
    return out


def put(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


def half_of(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.arange(len(values)) % 2 == 0)


FAULTS = {
    "units": lambda table: put(table, "used", table.column("used").to_numpy() * 2.54),
    "sentinel": lambda table: put(table, "warm", np.full(table.num_rows, -999.0)),
    "recoded": lambda table: put(table, "kind", ["W"] * table.num_rows),
    "half nulls": lambda table: put(table, "used", half_of(table.column("used").to_numpy())),
    "shuffled": lambda table: put(table, "used", np.random.default_rng(1).permutation(table.column("used").to_numpy())),
}  # fmt: skip


def found_in(tables: list[pa.Table]) -> list[Incident]:
    whole = pa.concat_tables(tables)
    names = [f"day={index:03d}" for index, table in enumerate(tables) for _ in range(table.num_rows)]
    encoder = TableEncoder(learn_columns(whole, names)[0])
    return find_incidents(encoder, encoder.encode(whole), np.cumsum([0, *(table.num_rows for table in tables)]))


def places(found: list[Incident]) -> list[int]:
    return [one.partition for one in found]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("bad", [[12], BAD], ids=["one", "a fifth"])
def test_partitions_with_a_fault_are_found_and_no_others(fault: str, bad: list[int]) -> None:
    tables = days(season=0.5)
    for number in bad:
        tables[number] = FAULTS[fault](tables[number])
    found = found_in(tables)
    assert places(found) == bad
    assert not any(one.lasts for one in found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("season", "trend"), [(0, 0), (2, 0), (0, 1), (2, 0.3)])
def test_seasons_and_trends_are_no_incidents(season: float, trend: float, seed: int) -> None:
    # The oldest day of a steep trend may be one that never came back.
    assert set(places(found_in(days(seed, season=season, trend=trend)))) <= ({0} if trend == 1 else set())


def test_a_change_up_to_the_newest_partition_lasts() -> None:
    tables = days(season=0.5)
    for number in (5, 26, 27, 28, 29):
        tables[number] = FAULTS["units"](tables[number])
    assert [(one.partition, one.lasts) for one in found_in(tables)] == [
        (5, False), (26, True), (27, True), (28, True), (29, True)]  # fmt: skip


def test_what_many_partitions_have_in_common_is_normal() -> None:
    tables = days(season=0.5)
    for number in range(0, DAYS, 2):
        tables[number] = FAULTS["sentinel"](tables[number])
    assert found_in(tables) == []


def test_few_or_small_partitions_are_not_judged() -> None:
    tables = days(season=0.5, count=FEWEST - 1)
    tables[3] = FAULTS["sentinel"](tables[3])
    assert found_in(tables) == []
    small = days(season=0.5)
    small[3] = FAULTS["sentinel"](small[3]).slice(0, 10)
    assert found_in(small) == []


def test_of_several_gaps_the_innermost_counts() -> None:
    values = np.r_[np.linspace(0, 1, 20), 5, 5.1, 50]
    assert sorted(beyond_a_gap(values, 0.1)) == [20, 21, 22]
    assert len(beyond_a_gap(np.linspace(0, 1, 20), 0.1)) == 0
    assert len(beyond_a_gap(np.r_[np.zeros(10), np.ones(5)], 0.1)) == 0, f"more than {MOST:.0%}"
    assert len(beyond_a_gap(np.r_[np.zeros(20), 0.09], 0.1)) == 0
