"""`engines.spark` on a real cluster: what it says of each row is what the local run says, however Spark cuts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ae_plugin.engines import executors
from ae_plugin.engines.executors import Plan, Shipped, count_stream, judge_stream, score_stream
from ae_plugin.engines.spark import judge, score
from ae_plugin.errors import AeError, ConfigError, DataError, NoChampionError, StoreError, UnfamiliarError
from ae_plugin.jobs.due import runs
from ae_plugin.jobs.score import score as local_score
from ae_plugin.store.registry import Registry, Stored
from tests.clusters import NOT_THERE, Cluster
from tests.conftest import Trained
from tests.jobs.test_score import alien
from tests.shop import FRESH, Shop, day, make_orders, plain, spoil, write_day

RATE = 0.1
DAYS = (FRESH, FRESH + 1, FRESH + 2)
ALIEN = FRESH + 2


@pytest.fixture(scope="module")
def shop(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Three days that the local run has scored: faulty rows, normal rows, and one of quite another kind."""
    shop = trained.shop.copy(tmp_path_factory.mktemp("spark") / "shop").set(score={"alert_rate": RATE})
    write_day(shop.source, FRESH, spoil(make_orders(700, day(FRESH), seed=5), seed=5), row_group_size=100)
    write_day(shop.source, ALIEN, alien(number=ALIEN))
    for number in DAYS:
        with pytest.raises(UnfamiliarError) if number == ALIEN else nullcontext():
            local_score(shop.pipeline, day(number))
    return shop


@pytest.fixture(scope="module")
def df(shop: Shop, session: Any) -> Any:
    """The two days that were scored, in more pieces than there are files."""
    frame = session.read.parquet(str(shop.source))
    return frame.where(frame.date.isin(*(day(number) for number in DAYS if number != ALIEN))).repartition(5)


def wanted(shop: Shop, dataset: str) -> pa.Table:
    """What the local run wrote, by key; without the place in the partition, which Spark does not know."""
    parts = [plain(shop.read(dataset, number)) for number in DAYS if number != ALIEN]
    whole = pa.concat_tables(parts)
    return whole.drop_columns([name for name in ("row",) if name in whole.column_names])


def found(df: Any, columns: list[str]) -> pa.Table:
    """What Spark gives."""
    return plain(df.toArrow()).select(columns)


def by(table: pa.Table, *names: str) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in names]).combine_chunks()


def same(ours: pa.Table, theirs: pa.Table, *order: str) -> None:
    """Equal to the bit, values and types; times are the same moments."""
    assert ours.column_names == theirs.column_names
    ours, theirs = by(ours, *order), by(theirs, *order)
    for name in theirs.column_names:
        one, other = ours[name], theirs[name]
        if pa.types.is_timestamp(other.type) and other.type.tz:
            assert one.type.tz, name
            one = one.cast(other.type)
        assert one.type == other.type, name
        assert one.equals(other) or _same_floats(one, other), name


def _same_floats(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Arrow holds that a NaN is unlike itself."""
    if not pa.types.is_floating(one.type):
        return False
    return one.is_null().equals(other.is_null()) and np.array_equal(
        one.to_numpy(zero_copy_only=False), other.to_numpy(zero_copy_only=False), equal_nan=True
    )


def test_rows_score_as_in_the_local_run(shop: Shop, df: Any) -> None:
    local = wanted(shop, "scores")
    scores = score(df, shop.output, alert_rate=RATE)
    assert scores.columns == ["order_id", "date", *(name for name in local.column_names if name != "order_id")]
    ours = found(scores, local.column_names)
    assert ours.num_rows == 1000 and 20 < pc.sum(ours["is_anomaly"]).as_py() < 300
    same(ours, local, "order_id")


def test_cells_are_those_of_the_local_run(shop: Shop, df: Any) -> None:
    local = wanted(shop, "cells")
    assert local.num_rows > 50
    same(
        found(score(df, shop.output, alert_rate=RATE, output="cells"), local.column_names), local, "order_id", "column"
    )


@pytest.mark.parametrize("denoise", ["repair", "full"])
def test_what_is_denoised_is_what_the_local_run_wrote(shop: Shop, df: Any, denoise: str, tmp_path: Path) -> None:
    settings = shop.set(score={"denoise": denoise, "cells": "all"}).pipeline
    shop.set()  # as it was, for the other tests
    for number in (FRESH, FRESH + 1):
        local_score(settings, day(number), output=str(tmp_path / "out"))
    local = wanted(replace(shop, root=tmp_path), "denoised")
    ours = score(df, shop.output, alert_rate=RATE, denoise=denoise, cells="all", output="denoised")  # type: ignore[arg-type]
    assert ours.schema == df.schema
    same(found(ours, local.column_names), local, "order_id")
    assert not plain(df.toArrow()).select(["weight"]).equals(local.select(["weight"]))


def test_a_hundred_tasks_and_each_worker_opens_the_model_once(shop: Shop, df: Any, cluster: Cluster) -> None:
    before = len(cluster.opened())
    scores = score(df.repartition(100), shop.output, alert_rate=0.2)
    ours = found(scores, ["order_id", "anomaly_score", "p_value"])
    same(ours, wanted(shop, "scores").select(ours.column_names), "order_id")
    opened = cluster.opened()[before:]
    assert 1 <= len(opened) == len(set(opened)) <= 2


def test_executors_need_neither_the_store_nor_what_trains(shop: Shop, df: Any, session: Any, tmp_path: Path) -> None:
    """The model's files are gone when the first row is asked for; and what trains cannot be imported there."""
    own = shop.copy(tmp_path / "own")
    scores = score(df, own.output, alert_rate=RATE)
    shutil.rmtree(own.output)
    assert scores.count() == 1000

    def importable(_: Any) -> Any:
        import importlib

        for name in NOT_THERE:
            try:
                importlib.import_module(name)
            except ImportError as error:
                yield str(error)

    said = session.sparkContext.parallelize([0], 1).mapPartitions(importable).collect()
    assert said == [f"{name} is blocked" for name in NOT_THERE]


def test_the_guard_says_what_it_says_locally(shop: Shop, session: Any) -> None:
    local = {run.partition: run for run in runs(shop.pipeline)}
    frame = session.read.parquet(str(shop.source))
    frame = frame.where(frame.date.isin(*map(day, DAYS))).repartition(7)
    ours = {f"date={row['date']}": row for row in judge(frame, shop.output).toArrow().to_pylist()}
    assert ours.keys() == local.keys() and len(ours) == len(DAYS)
    for name, row in ours.items():
        assert (row["rows"], row["verdict"]) == (local[name].rows, local[name].guard.verdict), name
        assert row["reasons"] == local[name].guard.reasons, name
    assert {row["verdict"] for row in ours.values()} >= {"familiar", "unfamiliar"}


def test_the_guard_notes_a_new_column_and_takes_no_offence_at_spark_s_types(shop: Shop, df: Any) -> None:
    (row,) = judge(df.where(df.date == day(FRESH + 1)).selectExpr("*", "1 as extra"), shop.output).toArrow().to_pylist()
    assert row["reasons"] == ["extra: a column that training did not have"]
    as_one = judge(df.drop("date"), shop.output).toArrow()
    assert as_one.column_names == ["rows", "verdict", "reasons"] and as_one["rows"].to_pylist() == [1000]


def test_columns_may_be_kept_and_only_those_that_are_needed_are_read(shop: Shop, df: Any) -> None:
    scores = score(df, shop.output, keep=["product", "lines"])
    assert scores.columns[:3] == ["product", "lines", "anomaly_score"]
    assert scores.count() == 1000
    assert "receipt" not in score(df, shop.output)._jdf.queryExecution().executedPlan().toString()


def test_a_model_without_keys_keeps_every_column(shop: Shop, df: Any, tmp_path: Path) -> None:
    own = shop.copy(tmp_path / "own")
    registry = Registry(str(own.output))
    card, files = registry.read("v0001")
    registry.register(files, {**card, "keys": []})
    scores = score(df, own.output / "_models/v0002")
    assert scores.columns[: len(df.columns)] == df.columns
    assert {row["model_version"] for row in scores.select("model_version").distinct().collect()} == {"v0002"}


WRONG = {
    "no share": ({"alert_rate": 1}, ConfigError, "alert_rate 1 is not a number between 0 and 1"),
    "no output": ({"output": "rows"}, ConfigError, "output 'rows' is none of scores, cells, denoised"),
    "no way to denoise": ({"denoise": "half"}, ConfigError, "denoise 'half' is none of repair, full"),
    "no cells": ({"cells": "some"}, ConfigError, "cells 'some' is none of flagged, all"),
    "no method": ({"method": "magic"}, ConfigError, "method 'magic' is none of combined, reconstruction"),
    "no column to keep": ({"keep": ["colour"]}, ConfigError, r"keep \['colour'\] are not columns of the DataFrame"),
    "a text to keep": ({"keep": "product"}, ConfigError, "keep 'product' are not columns of the DataFrame"),
    "no hive column": ({"partition_by": ["day"]}, ConfigError, r"partition_by \['day'\] are not columns"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_told_in_one_line(shop: Shop, df: Any, what: str) -> None:
    options, kind, said = WRONG[what]
    with pytest.raises(kind, match=said) as told:
        score(df, shop.output, **options)
    assert "\n" not in str(told.value)


def test_wrong_tables_are_told_before_anything_runs(shop: Shop, df: Any) -> None:
    cases: list[tuple[Any, dict[str, Any], type[AeError], str]] = [
        (df.toPandas(), {}, DataError, "a DataFrame is no Spark DataFrame. For pandas and Arrow: ae_plugin.load"),
        (df.drop("weight"), {}, DataError, "column 'weight' is missing, but the model learned it"),
        (df.drop("order_id"), {}, ConfigError, r"the model's keys \['order_id'\] are not columns"),
        (
            df.withColumn("weight", df.lines),
            {},
            DataError,
            r"column 'weight' is list<.*>, but the model learned double",
        ),
        (df.withColumn("error", df.product), {"keep": ["error"]}, ConfigError, "'error' is one that the output adds"),
    ]
    for frame, options, kind, said in cases:
        with pytest.raises(kind, match=said) as told:
            score(frame, shop.output, **options)
        assert "\n" not in str(told.value)


def test_spark_connect_is_told_that_it_will_not_do(shop: Shop) -> None:
    remote = SimpleNamespace(mapInArrow=None, sparkSession=object())  # its sessions have no sparkContext
    with pytest.raises(ConfigError, match="Spark Connect has no broadcast variables"):
        score(remote, shop.output)  # type: ignore[arg-type]


def test_wrong_models_are_told_in_one_line(shop: Shop, df: Any, boards: Trained, tmp_path: Path) -> None:
    with pytest.raises(NoChampionError):
        score(df, tmp_path)
    with pytest.raises(StoreError, match="is a model of pictures, not of a table"):
        score(df, boards.shop.output)
    own = shop.copy(tmp_path / "own")
    (own.output / "_models/v0001/network.tflite").write_bytes(b"x")
    with pytest.raises(StoreError, match="was changed since it was registered"):
        score(df, own.output)


# What executors do, without Spark: any cut of any mixture of partitions.


@pytest.fixture(scope="module")
def mixed(shop: Shop) -> pa.RecordBatch:
    """Rows of two days, shuffled."""
    days = (FRESH, FRESH + 1)
    tables = [plain(pq.ParquetFile(shop.source / f"date={day(n)}/part-0.parquet").read()).slice(0, 150) for n in days]
    dated = [table.append_column("date", pa.array([day(n)] * 150)) for n, table in zip(days, tables, strict=True)]
    order = np.random.default_rng(0).permutation(300)
    (batch,) = pa.concat_tables(dated).take(pa.array(order)).combine_chunks().to_batches()
    return batch


@dataclass(frozen=True)
class Here:
    """What needs no sending."""

    value: Stored


def plan(shop: Shop, **options: Any) -> Plan:
    registry = Registry(str(shop.output))
    stored = registry.fetch(registry.champion())
    return Plan(Shipped.of(stored, Here(stored), RATE, "combined"), ("date",), keep=("order_id",), **options)


def pieces(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    return (batch.slice(start, size) for start in range(0, batch.num_rows, size))


@pytest.mark.parametrize("size", [1, 37, 300])
@pytest.mark.parametrize("output", ["scores", "cells", "denoised"])
def test_a_record_batch_may_hold_rows_of_several_partitions(
    shop: Shop, mixed: pa.RecordBatch, size: int, output: executors.Output
) -> None:
    order = ["order_id", "column"][: 1 + (output == "cells")]
    ours = pa.Table.from_batches(list(score_stream(pieces(mixed, size), plan(shop), output)))
    days = [mixed.filter(pc.equal(mixed["date"], day(number))) for number in (FRESH, FRESH + 1)]
    alone = [pa.Table.from_batches(list(score_stream([rows], plan(shop), output))) for rows in days]
    assert min(map(len, alone)) > 2
    same(ours, pa.concat_tables(alone), *order)


@pytest.mark.parametrize("size", [1, 37])
def test_counts_add_up_whoever_counted(shop: Shop, mixed: pa.RecordBatch, size: int) -> None:
    def verdicts(cuts: list[Iterable[pa.RecordBatch]]) -> list[Any]:
        counts = [batch for cut in cuts for batch in count_stream(cut, plan(shop, explain=False))]
        told = [row for batch in judge_stream(counts, plan(shop)) for row in batch.to_pylist()]
        return sorted(told, key=lambda row: row["date"])

    whole = verdicts([[mixed]])
    assert [row["rows"] for row in whole] == [150, 150]
    assert verdicts([[piece] for piece in pieces(mixed, size)]) == whole
