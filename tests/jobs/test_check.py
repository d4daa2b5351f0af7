"""`ae check`: reads everything a run needs, runs nothing, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.errors import ConfigError, DataError, StoreError, UserError
from ae_plugin.jobs.check import check
from tests.running import tree
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, write_day


def test_what_there_is(shop: Shop) -> None:
    before = tree(shop.root)
    found = check(shop.pipeline)
    assert tree(shop.root) == before
    files = list(shop.source.rglob("*.parquet"))
    assert (found.pipeline, found.partitions, found.files) == ("shop", len(files), len(files))
    assert found.bytes == sum(path.stat().st_size for path in files)
    assert found.train_partitions == [f"date={day(number)}" for number in range(LAST_TRAINED + 1)]
    assert found.columns[:2] == ["order_id: int64", "product: string"]
    assert len(found.columns) == len(make_orders(1).column_names)
    assert (found.champion, found.notes) == ("v0001", [])


def test_a_pipeline_that_was_never_trained(shop: Shop) -> None:
    found = check(shop.set(output="nothing/yet").pipeline)
    assert found.champion is None
    assert found.notes == ["no champion yet: run `ae train`"]
    assert not (shop.root / "nothing").exists()


def test_the_newest_partition_s_columns_are_told(shop: Shop) -> None:
    write_day(shop.source, FRESH + 1, make_orders(10).append_column("gift", pa.array([True] * 10)))
    assert "gift: bool" in check(shop.pipeline).columns


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"source": {"uri": "nowhere"}}, DataError, "nowhere"),
        ({"source": {"format": "csv"}}, DataError, "csv"),
        ({"source": {"partition_by": ["day"]}}, DataError, "day="),
        ({"source": {"keys": ["oder_id"]}}, ConfigError, "oder_id"),
        ({"source": {"exclude": ["oder_id"]}}, ConfigError, "oder_id"),
        ({"train": {"until": "1999-01-01"}}, ConfigError, "1999"),
        ({"train": {"until": "a/b"}}, ConfigError, "a/b"),
        ({"output": "gopher://x"}, ConfigError, "gopher"),
    ],
)
def test_what_would_stop_a_run_is_named(shop: Shop, change: dict[str, Any], error: type[UserError], words: str) -> None:
    pipeline = shop.set(**change).pipeline
    before = tree(shop.root)
    with pytest.raises(error, match=words):
        check(pipeline)
    assert tree(shop.root) == before


def test_a_file_that_cannot_be_read_is_named(shop: Shop) -> None:
    path = shop.source / f"date={day(FRESH + 1)}" / "part-0.parquet"
    path.write_bytes(b"garbage")
    with pytest.raises(DataError, match=r"part-0\.parquet"):
        check(shop.pipeline)


def test_a_model_that_was_tampered_with_is_named(shop: Shop) -> None:
    (shop.output / "_models/v0001/reference.safetensors").write_bytes(b"x")
    with pytest.raises(StoreError, match="reference.safetensors"):
        check(shop.pipeline)


@pytest.mark.parametrize("output", ["file", "file/below", "/dev/null/x"])
def test_an_output_that_cannot_be_written(shop: Shop, output: str) -> None:
    (shop.root / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        check(shop.set(output=output).pipeline)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_without_the_right_to_write(shop: Shop) -> None:
    locked = shop.root / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        check(shop.set(output="locked/out").pipeline)


def test_a_whole_source_is_one_partition(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    for name in ("a", "b"):
        pq.write_table(make_orders(10), tmp_path / f"orders/{name}.parquet")
    shop = Shop(tmp_path, {"name": "shop", "source": {"uri": "orders"}, "output": "out"}).write()
    found = check(shop.pipeline)
    assert (found.partitions, found.files, found.train_partitions) == (1, 2, [""])
