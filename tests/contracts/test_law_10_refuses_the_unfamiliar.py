"""Law 10: a model trained on one source refuses another source of the same schema (cats, not cars)."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ae_plugin.core.picture_guard import GROUPS
from ae_plugin.errors import UnfamiliarError
from ae_plugin.jobs.due import due, runs
from ae_plugin.jobs.score import score
from ae_plugin.schemas import RunRecord
from tests.boards import BROKEN, checks, good, lying, png, put_day, scratched, written
from tests.conftest import Trained
from tests.running import Outcome, run_ae, tree
from tests.shop import FRESH, PRODUCTS, STORES, Shop, day, make_orders, plain, train_and_promote, write_day

ROWS = 300
DATASETS = ("scores", "cells", "denoised")
QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))


def put(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Replace a column's values, in its own type."""
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    column = pa.array(values)
    if pa.types.is_dictionary(field.type):
        column = column.dictionary_encode()
    return table.set_column(place, field, column.cast(field.type))


def renamed(table: pa.Table, name: str, words: dict[str, str]) -> pa.Table:
    return put(table, name, [words[word] for word in table[name].to_pylist()])


# Other sources with the schema of the orders.


def hardware(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Another shop: other products, towns, customers, weights and prices."""
    table = renamed(table, "product", dict(zip(PRODUCTS, "anvil bolt chisel drill file flange gasket hammer".split())))
    table = renamed(table, "store", dict(zip(STORES, ["Lyon", "Nantes", "Paris", "Reims"])))
    table = put(table, "customer", [f"C{word[-4:]}" for word in table["customer"].to_pylist()])
    return wholesale(table, rng)


def wholesale(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """The same words, but by the pallet: quantities, weights and prices on another scale."""
    table = put(table, "quantity", table["quantity"].to_numpy() * 30)
    table = put(table, "weight", table["weight"].to_numpy() * 20 + 5)
    return put(table, "price", [price * 40 + 50 for price in table["price"].to_pylist()])


def swapped(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Columns that mean something else: weight in price, price in weight, products the other way round."""
    weights, prices = table["weight"].to_pylist(), table["price"].to_pylist()
    table = put(table, "weight", [float(price) for price in prices])
    table = put(table, "price", [Decimal(str(round(weight, 2))) for weight in weights])
    return renamed(table, "product", dict(zip(PRODUCTS, reversed(PRODUCTS), strict=True)))


def shuffled(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Every column as ever, but nothing depends on anything: no column by itself gives it away."""
    for place, field in enumerate(table.schema):
        if place:
            mixed = table.column(place).combine_chunks().take(pa.array(rng.permutation(len(table))))
            table = table.set_column(place, field, mixed)
    return table


OTHERS = (hardware, wholesale, swapped, shuffled)
Other = Callable[[pa.Table, np.random.Generator], pa.Table]


def other(make: Other, rows: int = ROWS, seed: int = 0) -> pa.Table:
    table = make(make_orders(rows, day(FRESH), seed=seed), np.random.default_rng(seed))
    assert table.schema.equals(make_orders(1, day(FRESH)).schema)
    return table


def verdict(shop: Shop, table: pa.Table, number: int = FRESH) -> RunRecord:
    """Score a table as a day's partition; refused or not, the record of it."""
    write_day(shop.source, number, table)
    try:
        return score(shop.pipeline, day(number))
    except UnfamiliarError:
        return {run.partition: run for run in runs(shop.pipeline)}[f"date={day(number)}"]


@pytest.fixture
def own(each: Trained, tmp_path: Path) -> Shop:
    return each.shop.copy(tmp_path / "shop")


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
def test_another_source_is_refused_with_its_reasons(own: Shop, make: Other) -> None:
    record = verdict(own, other(make))
    assert (record.outcome, record.guard.verdict) == ("quarantined", "unfamiliar")
    assert record.guard.reasons
    named = {column.column for column in record.guard.columns}
    assert all(column.effect > column.limit for column in record.guard.columns)
    if make is shuffled:
        assert all("do not fit the rest of their row" in column.reason for column in record.guard.columns)
    else:
        assert {"weight", "price"} <= named
        assert not named & {"courier", "express", "rating", "due"}, "these are as ever"


@settings(QUICK, max_examples=12, derandomize=True)
@given(seed=st.integers(0, 10**6), rows=st.integers(50, 500), make=st.sampled_from(OTHERS))
def test_another_source_is_refused_whatever_its_rows(
    each: Trained, tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, make: Other
) -> None:
    shop = each.shop.copy(tmp_path_factory.mktemp("other") / "shop")
    assert verdict(shop, other(make, rows, seed)).outcome == "quarantined"


@settings(QUICK, max_examples=40, derandomize=True)
@given(seed=st.integers(1, 10**6), rows=st.integers(1, 600), number=st.integers(FRESH, FRESH + 20))
def test_a_fresh_normal_day_is_never_refused(
    each: Trained, tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, number: int
) -> None:
    shop = each.shop.copy(tmp_path_factory.mktemp("fresh") / "shop")
    record = verdict(shop, make_orders(rows, day(number), seed=seed), number)
    assert record.outcome == "scored", record.guard


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_fresh_normal_day_is_familiar(own: Shop, seed: int) -> None:
    """Not even drifted: some customers are new every day, and were every day of training."""
    record = verdict(own, make_orders(ROWS, day(FRESH), seed=seed))
    assert record.guard.verdict == "familiar", record.guard.reasons


def test_real_flights_are_familiar_and_shuffled_ones_are_not(flights: Trained, tmp_path: Path) -> None:
    shop = flights.shop.copy(tmp_path / "flights")
    assert score(shop.pipeline, "2013-01-11").outcome == "scored"
    path = next((shop.source / "date=2013-01-11").iterdir())
    table = pq.ParquetFile(path).read()
    pq.write_table(shuffled(table, np.random.default_rng(0)), path)
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, "2013-01-11")


# What becomes of it.


def ae_score(shop: Shop, *words: object) -> Outcome:
    return run_ae("--quiet", "score", shop.yaml, "--json", *(words or ("--partition", day(FRESH))))


@pytest.fixture
def shop_with_another_source(shop: Shop) -> Shop:
    write_day(shop.source, FRESH, other(hardware))
    return shop


def refusal(outcome: Outcome) -> None:
    assert outcome.code == 3 and outcome.err.splitlines() == [outcome.complaint], outcome
    assert outcome.json == {"error": outcome.complaint.removeprefix("ae: "), "exit_code": 3}
    assert f"date={day(FRESH)}" in outcome.complaint and "unfamiliar" in outcome.complaint


def record_of(shop: Shop, number: int = FRESH) -> Any:
    return json.loads((shop.output / f"_runs/_latest/date={day(number)}.json").read_text())


def test_quarantine_sets_the_rows_aside(shop_with_another_source: Shop) -> None:
    shop = shop_with_another_source
    outcome = ae_score(shop)
    refusal(outcome)
    assert "quarantine/" in outcome.complaint
    given = other(hardware)
    kept = shop.read("quarantine", FRESH)
    assert kept.schema.equals(given.schema)
    assert plain(kept).equals(plain(given))
    assert not any((shop.output / name).exists() for name in DATASETS)
    record = record_of(shop)
    assert (record["outcome"], record["rows"]) == ("quarantined", ROWS)
    assert list(record["outputs"]) == [f"quarantine/date={day(FRESH)}/part-0.parquet"]


def test_quarantine_withdraws_what_was_scored_before(shop: Shop) -> None:
    assert ae_score(shop).code == 0
    before = record_of(shop)
    write_day(shop.source, FRESH, other(hardware))
    refusal(ae_score(shop))
    for name in DATASETS:
        assert not (shop.output / name / f"date={day(FRESH)}/part-0.parquet").exists(), name
    assert (before["outcome"], record_of(shop)["outcome"]) == ("scored", "quarantined")


def test_a_day_that_is_familiar_again_leaves_quarantine(shop_with_another_source: Shop) -> None:
    shop = shop_with_another_source
    refusal(ae_score(shop))
    write_day(shop.source, FRESH, make_orders(ROWS, day(FRESH), seed=3))
    assert ae_score(shop).code == 0
    assert not (shop.output / f"quarantine/date={day(FRESH)}/part-0.parquet").exists()
    assert shop.read("scores", FRESH).num_rows == ROWS


def test_fail_writes_nothing_but_the_refusal(shop_with_another_source: Shop) -> None:
    shop = shop_with_another_source.set(score={"on_unfamiliar": "fail"})
    before = tree(shop.output)
    outcome = ae_score(shop)
    refusal(outcome)
    assert "quarantine/" not in outcome.complaint
    added = {name for name in tree(shop.output) if name not in before}
    assert added and all(name.startswith("_runs") for name in added)
    record = record_of(shop)
    assert (record["outcome"], record["outputs"]) == ("refused", {})


def test_fail_leaves_what_was_scored_before(shop: Shop) -> None:
    shop.set(score={"on_unfamiliar": "fail"})
    assert ae_score(shop).code == 0
    before = {name: shop.read(name, FRESH) for name in DATASETS}
    write_day(shop.source, FRESH, other(hardware))
    refusal(ae_score(shop))
    assert all(shop.read(name, FRESH).equals(table) for name, table in before.items())


def test_score_scores_all_the_same_and_says_so(shop_with_another_source: Shop) -> None:
    shop = shop_with_another_source.set(score={"on_unfamiliar": "score"})
    outcome = ae_score(shop)
    assert outcome.code == 0
    assert (outcome.json["outcome"], outcome.json["guard"]["verdict"]) == ("scored", "unfamiliar")
    assert shop.read("scores", FRESH)["is_anomaly"].to_pylist().count(True) > ROWS / 2
    assert shop.read("denoised", FRESH).num_rows == ROWS
    assert not (shop.output / "quarantine").exists()


def test_one_refused_day_does_not_stop_the_others(shop_with_another_source: Shop) -> None:
    shop = shop_with_another_source
    outcome = run_ae("--quiet", "score", shop.yaml, "--json")
    assert outcome.code == 3
    assert [run["partition"] for run in outcome.json["runs"]] == [f"date={day(FRESH + 1)}"]
    assert len(outcome.json["refused"]) == 1 and f"date={day(FRESH)}" in outcome.json["refused"][0]
    assert shop.read("scores", FRESH + 1).num_rows == ROWS


def test_a_refused_day_is_tried_again_after_it_changed_or_another_champion_came(shop_with_another_source: Shop) -> None:
    shop = shop_with_another_source
    name = f"date={day(FRESH)}"
    refusal(ae_score(shop))
    assert name not in due(shop.pipeline)
    write_day(shop.source, FRESH, other(hardware, seed=1))
    assert name in due(shop.pipeline)
    refusal(ae_score(shop))
    train_and_promote(shop.set(train={"steps": 20}))
    assert name in due(shop.pipeline)


def test_a_model_of_the_other_source_knows_it(shop: Shop) -> None:
    """Cars are cars to a model of cars, and then the orders are what is unfamiliar."""
    for number in range(FRESH):
        write_day(shop.source, number, hardware(make_orders(240, day(number), seed=9), np.random.default_rng(0)))
    train_and_promote(shop.set(train={"steps": 200}))
    assert verdict(shop, other(hardware, seed=4)).outcome == "scored"
    assert verdict(shop, make_orders(ROWS, day(FRESH), seed=4)).outcome == "quarantined"


# Pictures.


def of_boards(shop: Shop, files: dict[str, bytes]) -> RunRecord:
    """Score pictures as a day's partition; refused or not, the record of it."""
    put_day(shop.source, FRESH, files)
    try:
        return score(shop.pipeline, day(FRESH))
    except UnfamiliarError:
        return {run.partition: run for run in runs(shop.pipeline)}[f"date={day(FRESH)}"]


@pytest.mark.parametrize("make", [lying, checks], ids=["of equal size and colours", "of equal size"])
@pytest.mark.parametrize("count", [GROUPS[0], GROUPS[1], 100])
def test_another_kind_of_picture_is_refused_with_its_reason(
    boards: Trained, tmp_path: Path, make: Callable[[int], np.ndarray], count: int
) -> None:
    files = {f"{number:03d}.png": png(make(number)) for number in range(count)}
    shop = boards.shop.copy(tmp_path / "shop")
    record = of_boards(shop, files)
    assert (record.outcome, record.guard.verdict) == ("quarantined", "unfamiliar")
    assert "another kind of picture" in record.guard.reasons[0]
    assert written(shop.output, FRESH, "quarantine") == files
    assert not any((shop.output / name).exists() for name in ("scores", "denoised", "heatmaps"))


def test_fresh_boards_are_never_refused_though_half_of_them_are_scratched(boards: Trained, tmp_path: Path) -> None:
    """A defect is no other kind of picture; and what cannot be read is of no kind."""
    shop = boards.shop.copy(tmp_path / "shop")
    for seed in range(20, 40):
        count = 1 + seed * 7 % 50
        bad = {f"{name}_bad.png": data for name, data in BROKEN.items()} if seed % 2 else scratched(count, seed)
        record = of_boards(shop, {**good(count, seed), **bad})
        assert record.outcome == "scored", record.guard
    assert of_boards(shop, {f"{name}.png": data for name, data in BROKEN.items()}).outcome == "scored"
