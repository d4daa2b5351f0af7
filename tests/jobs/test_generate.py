"""Generation: new rows in the source's schema, marked, drawn anew for each seed, and none of them a row of history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ae_plugin.errors import ConfigError, DataError, NoChampionError
from ae_plugin.jobs.latent.generate import BLOCK, generate
from ae_plugin.latent_schemas import GenerateRecord
from ae_plugin.store.commit import Commit
from ae_plugin.store.runs import GENERATED
from tests.conftest import Trained
from tests.running import run_ae, tree
from tests.shop import LAST_TRAINED, PRODUCTS, Shop, day, plain


def made(shop: Shop, record: GenerateRecord) -> pa.Table:
    return pq.read_table(shop.output / next(iter(record.outputs)))


def history(shop: Shop) -> pa.Table:
    days = [f"date={day(number)}" for number in range(LAST_TRAINED + 1)]
    return pa.concat_tables(
        plain(pq.read_table(shop.source / name / "part-0.parquet", partitioning=None)) for name in days
    )


def test_rows_in_the_source_s_schema_and_marked(each: Trained, tmp_path: Path) -> None:
    shop = each.shop.copy(tmp_path / "shop")
    record = generate(shop.pipeline, 500)
    table, source = made(shop, record), pq.read_schema(next(shop.source.rglob("*.parquet")))
    assert table.schema.remove(len(source)).equals(source), "its types, in its order"
    assert table.schema.field(len(source)) == pa.field("synthetic", pa.bool_(), nullable=False)
    assert pc.all(table.column("synthetic")).as_py() and table.num_rows == record.rows == 500
    said = pq.read_schema(shop.output / next(iter(record.outputs))).metadata
    assert said[b"ae_plugin.synthetic"] == b"true" and said[b"made by"] == b"tests"
    kept = GenerateRecord.model_validate_json((shop.output / GENERATED / f"{record.name}.json").read_bytes())
    assert kept == record
