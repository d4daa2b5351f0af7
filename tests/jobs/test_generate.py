"""Generation: new rows in the source's schema, marked, drawn anew for each seed, and none of them a row of history."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ae_plugin.errors import ConfigError, DataError, NoChampionError
from ae_plugin.jobs.feedback import Said, feedback
from ae_plugin.jobs.latent import generate as module
from ae_plugin.jobs.latent.generate import generate
from ae_plugin.latent_schemas import GenerateRecord
from ae_plugin.store.commit import Commit
from ae_plugin.store.runs import GENERATED
from tests.conftest import Trained
from tests.running import run_ae, tree
from tests.shop import LAST_TRAINED, ORDERS, PRODUCTS, Shop, day, make_orders, plain, train_and_promote, write_day


def made(shop: Shop, record: GenerateRecord) -> pa.Table:
    return plain(pq.read_table(shop.output / next(iter(record.outputs))))


def history(shop: Shop) -> pa.Table:
    days = [f"date={day(number)}" for number in range(LAST_TRAINED + 1)]
    return pa.concat_tables(
        plain(pq.read_table(shop.source / name / "part-0.parquet", partitioning=None)) for name in days
    )


def numbers(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).cast(pa.float64()).to_numpy()


def shares(table: pa.Table, name: str) -> dict[str, float]:
    counts = pc.value_counts(table.column(name)).to_pylist()
    return {str(item["values"]): item["counts"] / table.num_rows for item in counts}


def test_rows_in_the_source_s_schema_and_marked(each: Trained, tmp_path: Path) -> None:
    shop = each.shop.copy(tmp_path / "shop")
    record = generate(shop.pipeline, 500)
    path = shop.output / next(iter(record.outputs))
    schema, source = pq.read_schema(path), pq.read_schema(next(shop.source.rglob("*.parquet")))
    assert schema.remove(len(source)).equals(source), "its types, in its order"
    assert schema.field(len(source)) == pa.field("synthetic", pa.bool_(), nullable=False)
    assert schema.metadata[b"ae_plugin.synthetic"] == b"true" and schema.metadata[b"made by"] == b"tests"
    table = made(shop, record)
    assert pc.all(table.column("synthetic")).as_py() and table.num_rows == record.rows == 500
    assert record.copies == 0 and record.synthetic.copies == 0
    kept = GenerateRecord.model_validate_json((shop.output / GENERATED / f"{record.name}.json").read_bytes())
    assert kept == record


def test_rows_are_like_those_of_history(each: Trained, tmp_path: Path) -> None:
    shop = each.shop.copy(tmp_path / "shop")
    table, real = made(shop, generate(shop.pipeline, 2_000)), history(shop)
    for name in ("product", "store", "express"):
        ours, theirs = (shares(side, name) for side in (table, real))
        assert max(abs(ours.get(value, 0) - theirs[value]) for value in theirs) < 0.05, name
    for name in ("quantity", "weight", "price", "rating"):
        at = np.linspace(0.05, 0.95, 19)
        ours, theirs = (np.nanquantile(numbers(side, name), at) for side in (table, real))
        assert np.abs(ours - theirs).max() < 0.4 * np.nanstd(numbers(real, name)), name
    missing = table.column("rating").null_count / table.num_rows
    assert abs(missing - 0.1) < 0.03
    # What depends on one another still does: who delivers, what an apple weighs, when an order leaves.
    express = table.column("express").to_numpy(zero_copy_only=False)
    courier = ~table.column("courier").is_null().to_numpy(zero_copy_only=False)
    assert (express == courier).mean() > 0.97
    product = np.array([PRODUCTS.index(name) for name in table.column("product").to_pylist()])
    each_weight = numbers(table, "weight") / numbers(table, "quantity") / (0.2 + 0.3 * product)
    assert np.median(np.abs(each_weight - 1)) < 0.15
    left, came = (table.column(name).cast(pa.int64()).to_numpy() for name in ("shipped_at", "ordered_at"))
    waits = (left - came) / 3.6e9
    assert np.median(waits[express]) < 12 < np.median(waits[~express])


def test_what_was_not_learned(shop: Shop) -> None:
    shop = shop.set(source={"exclude": ["weight"]})
    table = made(shop, record := generate(shop.pipeline, 100))
    assert table.column("order_id").to_pylist() == list(range(-1, -101, -1)), "new keys, and nobody takes them for real"
    assert set(table.column("currency").to_pylist()) == {"EUR"}, "the same in all of history"
    for name in ("comment", "lines", "receipt"):
        assert table.column(name).null_count == 100
    assert table.column("weight").null_count == 0, "the champion learned it before it was excluded"
    assert any("lines, receipt" in note for note in record.notes)


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_rows(shop: Shop, tmp_path: Path) -> None:
    first = generate(shop.pipeline, 300, seed=3)
    again = generate(shop.pipeline, 300, seed=3, output=str(tmp_path / "again"))
    other = generate(shop.pipeline, 300, seed=4)
    assert first.outputs == again.outputs
    assert first.name != other.name
    ours, theirs = (set(map(str, made(shop, one).drop_columns(["order_id"]).to_pylist())) for one in (first, other))
    assert len(ours) == 300 and not ours & theirs


def test_no_row_is_one_of_history(shop: Shop) -> None:
    table, real = made(shop, generate(shop.pipeline, 1_500)), history(shop)
    learned = ["product", "store", "customer", "quantity", "weight", "price", "express", "courier", "rating"]
    learned += ["ordered_at", "shipped_at", "due"]
    ours, theirs = (set(map(str, side.select(learned).to_pylist())) for side in (table, real))
    assert not ours & theirs
    assert len(ours) == 1_500


def test_of_a_discrete_table_copies_are_counted_and_said(tmp_path: Path) -> None:
    shop = Shop(tmp_path, {**ORDERS, "train": {"steps": 20, "contamination": 0}}).write()
    rng = np.random.default_rng(0)
    for number in range(3):
        sizes = rng.integers(0, 3, (300, 2))
        table = {"order_id": np.arange(300) + 1_000 * number, "a": sizes[:, 0], "b": (sizes.sum(axis=1)) % 3}
        write_day(shop.source, number, pa.table(table))
    train_and_promote(shop)
    record = generate(shop.pipeline, 200)
    assert record.copies == 200 and record.redrawn == 0 and record.held_out.copies > 0
    assert "of real rows repeat another row" in record.notes[0]


def test_blocks_do_not_show(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 128)
    table = made(shop, generate(shop.pipeline, 300))
    assert table.column("order_id").to_pylist() == list(range(-1, -301, -1))
    assert len(set(map(str, table.drop_columns(["order_id"]).to_pylist()))) == 300


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"product": "honey"}, lambda table: set(table.column("product").to_pylist()) == {"honey"}),
        ({"courier": ""}, lambda table: table.column("courier").null_count == 200),
        ({"quantity": "5", "store": "Celle"}, lambda table: set(table.column("quantity").to_pylist()) == {5}),
        ({"currency": "EUR"}, lambda table: set(table.column("currency").to_pylist()) == {"EUR"}),
        ({"weight": "1.2345"}, lambda table: set(table.column("weight").to_pylist()) == {1.2345}),
    ],
    ids=["a word", "null", "two columns", "not learned, but the same everywhere", "a number that is not there"],
)
def test_given_a_value(shop: Shop, where: dict[str, str], holds: object) -> None:
    record = generate(shop.pipeline, 200, where=where)
    table = made(shop, record)
    assert holds(table)  # type: ignore[operator]
    assert record.where == {name: text or None for name, text in where.items()}
    if "product" in where:
        price = numbers(table, "price") / numbers(table, "quantity")
        usual = (150 + 200 * PRODUCTS.index("honey")) / 100
        assert abs(np.median(price) / usual - 1) < 0.2, "the rest follows from it"
    if "courier" in where:
        assert np.mean(table.column("express").to_numpy(zero_copy_only=False)) < 0.03


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"colour": "red"}, "'colour' is no column that was learned. Name one of product"),
        ({"lines": "1"}, "'lines' is no column that was learned"),
        ({"product": "gold"}, "rows of history that are drawn from holds product='gold'. They hold apple"),
        ({"quantity": "many"}, "quantity='many' is no value of that column. The column is int32"),
        ({"quantity": "-5"}, "holds quantity=-5. They hold 1 to"),
        ({"currency": "USD"}, "holds currency='USD'. They hold EUR"),
        ({"product": ""}, "holds product=None. They hold no nulls"),
    ],
)
def test_what_cannot_be_given(shop: Shop, where: dict[str, str], said: str) -> None:
    before = tree(shop.output)
    with pytest.raises(ConfigError) as caught:
        generate(shop.pipeline, 10, where=where)
    assert said in str(caught.value)
    assert tree(shop.output) == before


def test_mistakes_change_nothing(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(shop.pipeline, 20)
    before = tree(shop.output)
    for rows, seed in ((0, 0), (5, -1)):
        with pytest.raises(ConfigError):
            generate(shop.pipeline, rows, seed=seed)
    untrained = shop.pipeline.model_copy(update={"output": str(tmp_path / "nothing")})
    with pytest.raises(NoChampionError):
        generate(untrained, 5)

    def fail(_: Commit) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="gone"):
        patch.setattr(Commit, "apply", fail)
        generate(shop.pipeline, 20)
    assert tree(shop.output) == before
    for number in range(1, LAST_TRAINED + 1):
        shutil.rmtree(shop.source / f"date={day(number)}")
    assert generate(shop.pipeline, 20).history_rows < 300, "from what is left of history"
    write_day(shop.source, 0, make_orders(49, day(0)))
    with pytest.raises(DataError, match="49 rows are left of what v0001 was trained on; 50 are needed"):
        generate(shop.pipeline, 20)
    shutil.rmtree(shop.source / f"date={day(0)}")
    with pytest.raises(DataError, match="none of the partitions that v0001 was trained on"):
        generate(shop.pipeline, 20)


def test_pictures_are_refused_in_one_line(boards: Trained) -> None:
    with pytest.raises(ConfigError, match="tiles of pictures, not whole ones"):
        generate(boards.shop.pipeline, 5)


def test_from_the_command_line(shop: Shop, tmp_path: Path) -> None:
    done = run_ae("generate", shop.yaml, 50, "--where", "product=eggs", "--seed", 7, "--json")
    assert done.code == 0 and done.json["where"] == {"product": "eggs"} and done.json["seed"] == 7
    other = run_ae("generate", shop.yaml, 50, "--output", tmp_path / "elsewhere")
    assert other.code == 0 and "50 synthetic rows" in other.out
    assert [path.name for path in (tmp_path / "elsewhere/generated").iterdir()] == ["v0001-50-seed0.parquet"]
    for words in (["0"], ["10", "--where", "product"], ["10", "--where", "product=gold"], ["many"]):
        assert run_ae("generate", shop.yaml, *words).code == 2, words


def test_rows_that_were_confirmed_as_wrong_are_not_drawn_from(shop: Shop) -> None:
    said = []
    for number in range(LAST_TRAINED + 1):
        table = pq.read_table(shop.source / f"date={day(number)}/part-0.parquet", partitioning=None)
        products = table.column("product").to_pylist()
        said += [Said("confirmed", day(number), row) for row, name in enumerate(products) if name == "eggs"]
    assert said and set(made(shop, generate(shop.pipeline, 5, where={"product": "eggs"})).column("product").to_pylist())
    feedback(shop.pipeline, said)
    with pytest.raises(ConfigError, match="eggs"):
        generate(shop.pipeline, 5, where={"product": "eggs"})
