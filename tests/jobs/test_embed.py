"""Embeddings: a row of history's table in a few numbers, in the source's order, however its files are cut."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ae_plugin
from ae_plugin.errors import ConfigError, DataError, NoChampionError, UnfamiliarError
from ae_plugin.jobs.decide import decide
from ae_plugin.jobs.latent.embed import due_embeddings, embed
from ae_plugin.jobs.score import score
from ae_plugin.store.commit import Commit
from tests.conftest import Trained
from tests.running import run_ae, tree
from tests.shop import FRESH, Shop, day, make_orders, spoil, write_day
from tests.web.conftest import foreign

DAY = f"date={day(FRESH)}"


def embedded(shop: Shop, partition: str = DAY) -> pa.Table:
    return pq.read_table(shop.output / f"embeddings/{partition}/part-0.parquet", partitioning=None)


def matrix(table: pa.Table) -> np.ndarray:
    return np.stack(table.column("embedding").to_numpy())


def test_each_row_has_its_code_in_order(each: Trained, tmp_path: Path) -> None:
    shop = each.shop.copy(tmp_path / "shop")
    record = embed(shop.pipeline, DAY)
    table, source = embedded(shop), pq.read_table(shop.source / f"{DAY}/part-0.parquet", partitioning=None)
    assert table.column_names == ["order_id", "row", "embedding", "model_version"]
    assert table.column("order_id").equals(source.column("order_id"))
    assert table.column("row").to_pylist() == list(range(source.num_rows)) and record.rows == source.num_rows
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), record.latent_dim)
    theirs = ae_plugin.load(str(shop.output)).embed(source, partition=DAY)
    assert np.abs(matrix(table) - theirs).max() <= 2**-12
    assert len(np.unique(matrix(table), axis=0)) > source.num_rows / 2


def test_codes_do_not_hang_on_where_files_are_cut(shop: Shop) -> None:
    table = spoil(make_orders(3_000, day(FRESH)))
    write_day(shop.source, FRESH, table)
    embed(shop.pipeline, DAY)
    whole = matrix(embedded(shop))
    shutil.rmtree(shop.source / DAY)
    for number, start in enumerate(range(0, 3_000, 700)):
        write_day(shop.source, FRESH, table.slice(start, 700), f"part-{number}.parquet", row_group_size=111)
    embed(shop.pipeline, DAY)
    apart = np.abs(matrix(embedded(shop)) - whole)
    assert apart.max() <= 2**-12 and (apart > 0).mean() < 0.001


def test_the_same_bytes_again(shop: Shop) -> None:
    first = embed(shop.pipeline, DAY)
    assert embed(shop.pipeline, DAY).outputs == first.outputs


def test_pictures_have_codes_too(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "boards")
    partition = sorted(path.name for path in shop.source.iterdir() if path.is_dir())[-1]
    (shop.source / partition / "zz_broken.png").write_bytes(b"no picture")
    record = embed(shop.pipeline, partition)
    table = embedded(shop, partition)
    assert record.unreadable_rows >= 1 and table.num_rows == record.rows
    lost = table.filter(pa.compute.equal(table.column("file"), "zz_broken.png"))
    assert lost.column("embedding").to_pylist() == [None]
    assert table.column("embedding").null_count == record.unreadable_rows


def test_what_is_due(shop: Shop) -> None:
    assert due_embeddings(shop.pipeline) == [], "nothing was scored yet"
    for number in (FRESH, FRESH + 1):
        score(shop.pipeline, day(number))
    assert due_embeddings(shop.pipeline) == [DAY, f"date={day(FRESH + 1)}"]
    embed(shop.pipeline, DAY)
    assert due_embeddings(shop.pipeline) == [f"date={day(FRESH + 1)}"]
    write_day(shop.source, FRESH, make_orders(50, day(FRESH)))
    assert due_embeddings(shop.pipeline) == [DAY, f"date={day(FRESH + 1)}"], "its files changed"


def test_what_the_guard_refused_is_not_embedded_until_it_is_released(shop: Shop) -> None:
    write_day(shop.source, FRESH, foreign(make_orders(200, day(FRESH))))
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, DAY)
    assert due_embeddings(shop.pipeline) == []
    with pytest.raises(UnfamiliarError, match="refused as unfamiliar"):
        embed(shop.pipeline, DAY)
    assert not (shop.output / "embeddings").exists()
    decide(shop.pipeline, DAY, "release")
    assert embed(shop.pipeline, DAY).rows == 200


def test_mistakes_change_nothing(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(shop.pipeline, DAY)
    before = tree(shop.output)
    with pytest.raises(ConfigError):
        embed(shop.pipeline, "1999-01-01")
    table = make_orders(100, day(FRESH)).drop_columns(["weight"])
    pq.write_table(table, tmp_path / "other.parquet")
    with pytest.raises(DataError, match="'weight' is missing"):
        embed(shop.pipeline, source=str(tmp_path / "other.parquet"))
    untrained = shop.pipeline.model_copy(update={"output": str(tmp_path / "nothing")})
    with pytest.raises(NoChampionError):
        embed(untrained, DAY)

    def fail(_: Commit) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Commit, "apply", fail)
    with pytest.raises(OSError, match="gone"):
        embed(shop.pipeline, DAY)
    assert tree(shop.output) == before


def test_from_the_command_line(shop: Shop, tmp_path: Path) -> None:
    score(shop.pipeline, DAY)
    done = run_ae("embed", shop.yaml, "--json")
    assert done.code == 0 and [each["partition"] for each in done.json["embedded"]] == [DAY]
    again = run_ae("embed", shop.yaml)
    assert again.code == 0 and "nothing to do" in again.out
    other = run_ae("embed", shop.yaml, "--output", tmp_path / "elsewhere")
    assert DAY in other.out and (tmp_path / f"elsewhere/embeddings/{DAY}/part-0.parquet").is_file()
    assert str(tmp_path / "elsewhere") in other.err, "it says where"
    one = run_ae("embed", shop.yaml, "--partition", day(FRESH + 1))
    assert one.code == 0 and "300 embeddings of" in one.out
    other = run_ae("embed", shop.yaml, "--input", shop.source / DAY, "--output", tmp_path / "elsewhere", "--json")
    assert other.code == 0 and (tmp_path / "elsewhere/embeddings/part-0.parquet").is_file()
    assert run_ae("embed", shop.yaml, "--partition", "1999-01-01").code == 2
