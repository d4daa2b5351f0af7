"""Scoring: which partitions are due, what one run writes, and what becomes of a partition that is refused."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ae_plugin.core.guard import Guard
from ae_plugin.errors import AeError, ConfigError, DataError, NoChampionError, UnfamiliarError
from ae_plugin.jobs.due import due, runs
from ae_plugin.jobs.score import score
from ae_plugin.schemas import cells_schema, scores_schema
from ae_plugin.store.files import fingerprint, list_source, partitions_of
from ae_plugin.store.registry import Registry
from tests.running import tree
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, plain, spoil, write_day


def names(*numbers: int) -> list[str]:
    return [f"date={day(number)}" for number in numbers]


def file_of(shop: Shop, number: int) -> Path:
    return shop.source / f"date={day(number)}" / "part-0.parquet"


def new_champion(shop: Shop, trained: dict[str, str] | None = None, *, first: bool = False) -> str:
    """Another version as champion, a copy of the first that was trained on other partitions; or as if it were first."""
    registry = Registry(str(shop.output))
    card, files = registry.read("v0001")
    version = registry.register(files, card if trained is None else {**card, "partitions": trained})
    if first:
        (shop.output / "_models/champion.json").unlink()
    registry.point("champion", version, by="test", why="test")
    return version


def alien(rows: int = 300, number: int = FRESH) -> pa.Table:
    """The schema of orders, and none of their sense."""
    table = make_orders(rows, day(number))
    rng = np.random.default_rng(0)
    for name in ("weight", "quantity", "rating", "courier", "price"):
        field = table.schema.field(name)
        values = pa.array(rng.uniform(20_000, 32_000, rows).round())
        table = table.set_column(table.column_names.index(name), field, values.cast(field.type))
    for name in ("product", "store", "customer"):
        field = table.schema.field(name)
        words = pa.array(rng.choice(["car", "bus"], rows))
        words = words.dictionary_encode().cast(field.type) if pa.types.is_dictionary(field.type) else words
        table = table.set_column(table.column_names.index(name), field, words)
    return table


def with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


# What is due.


def test_new_partitions_are_due_and_those_trained_on_are_not(shop: Shop) -> None:
    assert due(shop.pipeline) == names(FRESH, FRESH + 1)


def test_what_was_scored_is_not_due_again(shop: Shop) -> None:
    score(shop.pipeline, day(FRESH))
    assert due(shop.pipeline) == names(FRESH + 1)
    score(shop.pipeline, day(FRESH + 1))
    assert due(shop.pipeline) == []


@pytest.mark.parametrize("number", [FRESH, 0, LAST_TRAINED], ids=["scored", "trained on", "trained on last"])
def test_a_corrected_partition_is_due(shop: Shop, number: int) -> None:
    for fresh in (FRESH, FRESH + 1):
        score(shop.pipeline, day(fresh))
    write_day(shop.source, number, make_orders(200, day(number), seed=50))
    assert due(shop.pipeline) == names(number)
    score(shop.pipeline, day(number))
    assert due(shop.pipeline) == []


def test_a_file_more_or_less_is_a_change(shop: Shop) -> None:
    score(shop.pipeline, day(FRESH))
    extra = write_day(shop.source, FRESH, make_orders(20, day(FRESH), seed=50), "part-1.parquet")
    assert due(shop.pipeline) == names(FRESH, FRESH + 1)
    score(shop.pipeline, day(FRESH))
    assert due(shop.pipeline) == names(FRESH + 1)
    extra.unlink()
    assert due(shop.pipeline) == names(FRESH, FRESH + 1)


def test_a_copy_that_keeps_change_times_is_no_change(shop: Shop) -> None:
    score(shop.pipeline, day(FRESH))
    path = file_of(shop, FRESH)
    content, stat = path.read_bytes(), path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert due(shop.pipeline) == names(FRESH + 1)


def test_a_late_partition_is_due_unless_it_is_older_than_all_that_was_trained_on(shop: Shop) -> None:
    """A day that was missing in training came after all; another is from before the history."""
    card, _ = Registry(str(shop.output)).read("v0001")
    kept = {name: digest for name, digest in card["partitions"].items() if name not in names(0, 4)}
    new_champion(shop, kept, first=True)
    assert due(shop.pipeline) == names(4, FRESH, FRESH + 1)
    score(shop.pipeline, day(0))
    assert due(shop.pipeline) == names(4, FRESH, FRESH + 1), "an old day that a person scored stays done"
    write_day(shop.source, 0, make_orders(100, day(0), seed=50))
    assert due(shop.pipeline) == names(0, 4, FRESH, FRESH + 1), "until it changes"


def test_another_champion_looks_again_at_what_was_refused_and_at_nothing_else(shop: Shop) -> None:
    write_day(shop.source, FRESH + 1, alien(number=FRESH + 1))
    score(shop.pipeline, day(FRESH))
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, day(FRESH + 1))
    assert due(shop.pipeline) == []
    new_champion(shop)
    assert due(shop.pipeline) == names(FRESH + 1)
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, day(FRESH + 1))
    assert due(shop.pipeline) == [], "refused by this one too"


def moved_on(shop: Shop) -> dict[str, str]:
    """The newest partitions as a retraining sees them that has no train.until: all but the first five days."""
    groups = partitions_of(list_source(shop.pipeline.source))
    return {name: fingerprint(files) for name, files in list(groups.items())[5:]}


def test_a_retraining_on_what_was_never_scored_takes_nothing_away(shop: Shop) -> None:
    score(shop.pipeline, day(FRESH))
    new_champion(shop, moved_on(shop))
    assert due(shop.pipeline) == names(FRESH + 1), "trained on, and never scored"


def test_what_came_late_or_was_mended_late_is_due_when_the_window_has_moved_on(shop: Shop) -> None:
    """The window's oldest day is the sixth now; a day that was missing at first, and one that failed, are older."""
    late = file_of(shop, 3)
    card, _ = Registry(str(shop.output)).read("v0001")
    new_champion(shop, {name: at for name, at in card["partitions"].items() if name != names(3)[0]}, first=True)
    content = late.read_bytes()
    late.unlink()
    new_champion(shop, moved_on(shop))
    late.parent.mkdir(exist_ok=True)
    late.write_bytes(content)
    write_day(shop.source, 2, make_orders(100, day(2), seed=50))
    assert due(shop.pipeline) == names(2, 3, FRESH, FRESH + 1)


def test_the_first_history_outlives_a_hundred_moves_and_its_version(shop: Shop) -> None:
    new_champion(shop, moved_on(shop))
    registry = Registry(str(shop.output))
    for _ in range(120):
        registry.point("champion", "v0002", by="test", why="test")
    pointer = registry.pointer("champion")
    assert pointer and len(pointer.history) == 100 and pointer.history[0].version == "v0001"
    assert due(shop.pipeline) == names(FRESH, FRESH + 1)
    shutil.rmtree(shop.output / "_models/v0001")
    assert due(shop.pipeline) == [], "nothing else is known then"


def test_a_source_without_partitions_is_due_once(shop: Shop) -> None:
    """Even when it is what the champion was trained on."""
    for number in range(1, FRESH + 2):
        file_of(shop, number).unlink()
    whole = shop.set(source={"uri": f"orders/date={day(0)}", "partition_by": []}, train={"until": None})
    whole = whole.set(score={"on_unfamiliar": "score"})
    new_champion(shop, {"": fingerprint(list_source(whole.pipeline.source))}, first=True)
    assert due(whole.pipeline) == [""]
    record = score(whole.pipeline)
    assert record.partition == "" and (whole.output / "scores/part-0.parquet").is_file()
    assert due(whole.pipeline) == []
    write_day(whole.root / "orders", 0, make_orders(50, day(0)), "part-1.parquet")
    assert due(whole.pipeline) == [""]


def test_nothing_is_due_without_a_champion_or_a_source(shop: Shop) -> None:
    with pytest.raises(DataError):
        due(shop.set(source={"uri": "nowhere"}).pipeline)
    (shop.output / "_models/champion.json").unlink()
    with pytest.raises(NoChampionError):
        due(shop.set(source={"uri": "orders"}).pipeline)


# What one run writes.


def test_the_outputs_of_a_partition(shop: Shop) -> None:
    table = spoil(make_orders(300, day(FRESH), seed=6), seed=6)
    write_day(shop.source, FRESH, table)
    before = tree(shop.source)
    record = score(shop.set(score={"alert_rate": 0.05}).pipeline, day(FRESH))
    assert tree(shop.source) == before
    scores, cells, denoised = (shop.read(name, FRESH) for name in ("scores", "cells", "denoised"))
    key = [pa.field("order_id", pa.int64())]
    assert scores.schema.equals(scores_schema(key)) and cells.schema.equals(cells_schema(key))
    assert denoised.schema.equals(pq.ParquetFile(file_of(shop, FRESH)).read().schema, check_metadata=True)
    assert scores["order_id"].to_pylist() == denoised["order_id"].to_pylist() == table["order_id"].to_pylist()
    assert scores["row"].to_pylist() == list(range(300))
    assert set(scores["model_version"].to_pylist()) == {"v0001"}
    assert scores["error"].null_count == 300
    assert pc.sum(scores["is_anomaly"]).as_py() == record.anomalies > 5
    assert cells.num_rows == record.cells_flagged > 5
    assert record.cells_repaired > 5 and record.cells_imputed > 5
    assert not (shop.output / "embeddings").exists()
    for name in ("lines", "receipt", "currency", "comment", "order_id"):
        assert plain(denoised.select([name])).equals(plain(table.select([name]))), name


def test_the_record_of_a_run(shop: Shop) -> None:
    record = score(shop.pipeline, day(FRESH))
    assert (record.pipeline, record.partition, record.model_version) == ("shop", names(FRESH)[0], "v0001")
    assert (record.outcome, record.rows, record.alert_rate, record.method) == ("scored", 300, 0.01, "combined")
    assert record.observed_alert_rate == pytest.approx(record.anomalies / 300, abs=1e-6)
    assert record.seconds > 0 and record.rows_per_second > 0 and record.peak_memory_mb > 10
    assert set(record.outputs) == {
        f"{name}/{names(FRESH)[0]}/part-0.parquet" for name in ("scores", "cells", "denoised")
    }
    for name, digest in record.outputs.items():
        assert hashlib.sha256((shop.output / name).read_bytes()).hexdigest() == digest
    assert runs(shop.pipeline) == [record]
    assert (shop.output / f"_runs/{record.run_id}.json").is_file()


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_day_like_any_other_is_familiar(shop: Shop, seed: int) -> None:
    write_day(shop.source, FRESH, make_orders(400, day(FRESH), seed=seed))
    guard = score(shop.pipeline, day(FRESH)).guard
    assert (guard.verdict, guard.reasons) == ("familiar", [])


def test_each_run_keeps_its_own_record_and_the_newest_counts(shop: Shop) -> None:
    first = score(shop.pipeline, day(FRESH))
    second = score(shop.pipeline, day(FRESH))
    assert first.run_id != second.run_id and first.outputs == second.outputs
    assert [run.run_id for run in runs(shop.pipeline)] == [second.run_id]
    assert len(list((shop.output / "_runs").glob("*.json"))) == 2


def test_the_alert_rate_changes_alarms_and_not_scores(shop: Shop) -> None:
    columns = []
    for rate in (0.01, 0.2):
        record = score(shop.set(score={"alert_rate": rate}).pipeline, day(FRESH))
        scores = shop.read("scores", FRESH)
        assert np.array_equal(scores["is_anomaly"], np.array(scores["p_value"]) <= np.float32(rate))
        columns.append((record.anomalies, scores["anomaly_score"], scores["p_value"]))
    assert columns[0][0] < columns[1][0]
    assert columns[0][1:] == columns[1][1:]


def test_the_method_changes_scores(shop: Shop) -> None:
    found = {}
    for method in ("combined", "reconstruction"):
        record = score(shop.set(score={"method": method}).pipeline, day(FRESH))
        assert record.method == method
        found[method] = shop.read("scores", FRESH)["anomaly_score"]
    assert found["combined"] != found["reconstruction"]


@pytest.mark.parametrize("text", [day(FRESH), f"date={day(FRESH)}", f"date={day(FRESH)}/"])
def test_a_partition_by_value_or_path(shop: Shop, text: str) -> None:
    assert score(shop.pipeline, text).partition == names(FRESH)[0]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({}, "no partition given. The newest is"),
        ({"partition": "2031-01-01"}, "no partition date=2031-01-01"),
        ({"partition": "a/b"}, "names no partition"),
        ({"source": "../orders"}, "climbs out"),
        ({"source": ""}, "empty"),
        ({"partition": day(FRESH), "output": "a/../b"}, "climbs out"),
    ],
)
def test_words_that_name_nothing(shop: Shop, words: dict[str, Any], complaint: str) -> None:
    before = tree(shop.root)
    with pytest.raises(ConfigError, match=complaint):
        score(shop.pipeline, **words)
    assert tree(shop.root) == before


def test_an_input_of_one_s_own_goes_beside_the_pipeline_s_partitions(shop: Shop) -> None:
    path = shop.root / "mine.parquet"
    pq.write_table(make_orders(80, day(FRESH), seed=1), path)
    before = tree(shop.output)
    record = score(shop.pipeline, day(FRESH), source=str(path))
    new = set(tree(shop.output)) - set(before)
    assert record.rows == 80
    assert {name.split("/")[0] for name in new} == {"inputs"}
    (folder,) = {name.split("/")[1] for name in new if "/" in name}
    assert re.fullmatch(r"shop_mine.parquet-[0-9a-f]{8}", folder)
    assert f"inputs/{folder}/scores/{names(FRESH)[0]}/part-0.parquet" in new
    assert due(shop.pipeline) == names(FRESH, FRESH + 1), "it does not count as the pipeline's partition"


def test_inputs_of_one_name_do_not_overwrite_one_another(shop: Shop) -> None:
    """Partitions' files are all called part-0.parquet; and the same input again takes its own place."""
    paths = [file_of(shop, FRESH), file_of(shop, FRESH + 1), shop.source / names(FRESH)[0]]
    for path in (*paths, *paths):
        score(shop.set(score={"on_unfamiliar": "score"}).pipeline, source=str(path))
    folders = sorted(path.name for path in (shop.output / "inputs").iterdir())
    assert len(folders) == 3
    assert [name[:-9] for name in folders] == sorted(
        [
            f"date_{day(FRESH)}_part-0.parquet",
            f"date_{day(FRESH + 1)}_part-0.parquet",
            f"orders_date_{day(FRESH)}",
        ]
    )


def test_an_input_without_a_partition_is_judged_by_what_can_be_judged(shop: Shop) -> None:
    """Normal orders in a file: ages cannot be judged, the rest is as ever."""
    path = shop.root / "mine.parquet"
    pq.write_table(make_orders(300, day(FRESH), seed=1), path)
    record = score(shop.set(score={"on_unfamiliar": "score"}).pipeline, source=str(path))
    assert {note.split()[0] for note in record.notes} == {"ordered_at", "shipped_at", "due"}
    assert all("is not judged" in note for note in record.notes)
    assert record.guard.verdict == "familiar", record.guard.reasons
    assert record.anomalies < 30


def test_a_csv_is_read_with_the_types_that_were_learned(shop: Shop, tmp_path: Path) -> None:
    """Prices stay decimals, dates dates."""
    from pyarrow import csv

    table = make_orders(120, day(FRESH), seed=1).drop_columns(["lines", "receipt"])
    table = with_column(table, "store", table["store"].cast(pa.string()))
    csv.write_csv(table, tmp_path / "orders.csv")
    pq.write_table(table, tmp_path / "orders.parquet")
    outputs = {}
    for kind in ("csv", "parquet"):
        where = tmp_path / f"out-{kind}"
        score(shop.pipeline, day(FRESH), source=str(tmp_path / f"orders.{kind}"), output=str(where))
        outputs[kind] = pq.ParquetFile(where / f"scores/{names(FRESH)[0]}/part-0.parquet").read()
    assert outputs["csv"]["p_value"].equals(outputs["parquet"]["p_value"])


NULLS = {"a type": lambda kind: pa.nulls(200, kind), "no type": lambda kind: pa.nulls(200)}


@pytest.mark.parametrize("column", ["product", "store", "customer", "weight", "price", "express", "ordered_at", "due"])
@pytest.mark.parametrize("denoise", ["repair", "full"])
def test_a_column_that_is_all_null_today_is_scored_with_and_without_a_type(
    shop: Shop, column: str, denoise: str
) -> None:
    """pandas writes it without one."""
    pipeline = shop.set(score={"on_unfamiliar": "score", "denoise": denoise}).pipeline
    found = []
    for make in NULLS.values():
        table = make_orders(200, day(FRESH))
        write_day(shop.source, FRESH, with_column(table, column, make(table.schema.field(column).type)))
        score(pipeline, day(FRESH))
        found.append(shop.read("scores", FRESH))
        source = pq.ParquetFile(file_of(shop, FRESH)).read()
        assert shop.read("denoised", FRESH).schema.equals(source.schema, check_metadata=True)
    assert found[0].equals(found[1])


def test_whole_numbers_where_the_model_learned_fractions(shop: Shop) -> None:
    table = make_orders(200, day(FRESH))
    weight = pc.round(table["weight"])
    found = []
    for column in (weight, weight.cast(pa.int64())):
        write_day(shop.source, FRESH, with_column(table, "weight", column))
        score(shop.pipeline, day(FRESH))
        found.append(shop.read("scores", FRESH))
        assert shop.read("denoised", FRESH).schema.field("weight").type == column.type
    assert found[0].equals(found[1])


def test_files_of_a_partition_whose_types_differ(shop: Shop) -> None:
    """The partition is what its files hold together."""
    table = make_orders(300, day(FRESH))
    table = with_column(table, "weight", pc.round(table["weight"]))
    table = with_column(table, "comment", pa.nulls(300))
    table = with_column(table, "rating", pc.if_else(pa.array(np.arange(300) < 100), None, table["rating"]))
    whole = write_day(shop.source, FRESH, table)
    score(shop.pipeline, day(FRESH))
    want = shop.read("scores", FRESH)
    whole.unlink()
    parts = [table.slice(0, 100), table.slice(100, 100), table.slice(200)]
    parts[0] = with_column(parts[0], "rating", pa.nulls(100))
    parts[0] = with_column(parts[0], "weight", parts[0]["weight"].cast(pa.int32()))
    parts[1] = with_column(parts[1], "store", parts[1]["store"].cast(pa.string()))
    parts[2] = with_column(parts[2], "comment", pa.nulls(100, pa.string()))
    for number, part in enumerate(parts):
        write_day(shop.source, FRESH, part, f"part-{number}.parquet")
    record = score(shop.pipeline, day(FRESH))
    assert record.rows == 300
    assert shop.read("scores", FRESH).drop_columns("model_version").equals(want.drop_columns("model_version"))
    denoised = shop.read("denoised", FRESH).schema
    assert denoised.field("weight").type == pa.float64() and denoised.field("rating").type == pa.float32()
    assert denoised.field("store").type == denoised.field("comment").type == pa.string()


def test_record_batches_are_cut_by_the_encoder_s_features(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    score(shop.pipeline, day(FRESH))
    want = shop.read("scores", FRESH)
    sizes: list[int] = []
    watch = Guard.watch

    def spy(self: Guard, counts: Any, p_value: Any, misfit: Any) -> None:
        sizes.append(len(p_value))
        watch(self, counts, p_value, misfit)

    monkeypatch.setattr(Guard, "watch", spy)
    monkeypatch.setattr("ae_plugin.jobs.table.batch_rows", lambda features: 10_000 // features)
    score(shop.pipeline, day(FRESH))
    assert sum(sizes) == 300 and max(sizes) < 300
    assert shop.read("scores", FRESH).equals(want)


# A partition whose columns came in other types: scored, or refused in one line; never a traceback.

OTHERS: dict[str, Callable[[int], pa.Array]] = {
    "integers": lambda n: pa.array([7] * n),
    "decimals": lambda n: pa.array([Decimal("1.5")] * n),
    "words": lambda n: pa.array(["a"] * n),
    "nothing": lambda n: pa.nulls(n),
}


@pytest.mark.parametrize("column", ["product", "customer", "price", "ordered_at"])
@pytest.mark.parametrize("case", OTHERS)
def test_a_column_of_another_type(shop: Shop, column: str, case: str) -> None:
    """As happens: all values of a day are null, and pandas writes no type; codes become numbers."""
    write_day(shop.source, FRESH, with_column(make_orders(200, day(FRESH)), column, OTHERS[case](200)))
    before = tree(shop.output)
    for denoise in ("repair", "full"):
        pipeline = shop.set(score={"on_unfamiliar": "score", "denoise": denoise}).pipeline
        try:
            record = score(pipeline, day(FRESH))
        except DataError as error:
            assert column in str(error) and error.exit_code == 2
            assert tree(shop.output) == before
        else:
            source = pq.ParquetFile(file_of(shop, FRESH)).read()
            assert shop.read("denoised", FRESH).schema.equals(source.schema, check_metadata=True)
            noted = any(reason.startswith(f"{column}: ") for reason in record.guard.reasons)
            assert noted or source.schema.field(column).type == make_orders(1).schema.field(column).type


# What is refused.


@pytest.mark.parametrize("policy", ["score", "quarantine", "fail"])
def test_what_becomes_of_an_unfamiliar_partition(shop: Shop, policy: str) -> None:
    write_day(shop.source, FRESH, alien())
    pipeline = shop.set(score={"on_unfamiliar": policy}).pipeline
    where = f"{names(FRESH)[0]}/part-0.parquet"
    if policy == "score":
        record = score(pipeline, day(FRESH))
        assert (record.outcome, record.guard.verdict) == ("scored", "unfamiliar")
        assert (shop.output / f"scores/{where}").is_file()
        assert not (shop.output / "quarantine").exists()
        return
    with pytest.raises(UnfamiliarError) as caught:
        score(pipeline, day(FRESH))
    assert names(FRESH)[0] in str(caught.value)
    record = runs(pipeline)[0]
    assert record.guard.verdict == "unfamiliar" and record.guard.reasons
    assert record.guard.reasons[0] in str(caught.value)
    assert not any((shop.output / f"{name}/{where}").exists() for name in ("scores", "cells", "denoised"))
    if policy == "quarantine":
        assert record.outcome == "quarantined" and set(record.outputs) == {f"quarantine/{where}"}
        source = pq.ParquetFile(file_of(shop, FRESH)).read()
        assert plain(shop.read("quarantine", FRESH)).equals(plain(source))
        assert shop.read("quarantine", FRESH).schema.equals(source.schema, check_metadata=True)
    else:
        assert record.outcome == "refused" and record.outputs == {}
        assert not (shop.output / "quarantine").exists()


def test_quarantine_takes_the_place_of_what_was_scored_and_gives_it_back(shop: Shop) -> None:
    where = f"{names(FRESH)[0]}/part-0.parquet"
    score(shop.pipeline, day(FRESH))
    good = file_of(shop, FRESH).read_bytes()
    write_day(shop.source, FRESH, alien())
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, day(FRESH))
    assert not (shop.output / f"scores/{where}").exists(), "scores of data that is no more"
    assert (shop.output / f"quarantine/{where}").is_file()
    file_of(shop, FRESH).write_bytes(good)
    score(shop.pipeline, day(FRESH))
    assert (shop.output / f"scores/{where}").is_file()
    assert not (shop.output / f"quarantine/{where}").exists()


def test_under_fail_what_was_scored_before_stays(shop: Shop) -> None:
    pipeline = shop.set(score={"on_unfamiliar": "fail"}).pipeline
    score(pipeline, day(FRESH))
    before = {name: digest for name, digest in tree(shop.output).items() if not name.startswith("_runs")}
    write_day(shop.source, FRESH, alien())
    with pytest.raises(UnfamiliarError):
        score(pipeline, day(FRESH))
    assert {name: digest for name, digest in tree(shop.output).items() if not name.startswith("_runs")} == before


def test_a_drifted_partition_is_scored_with_its_reasons(shop: Shop) -> None:
    table = make_orders(300, day(FRESH), seed=2)
    rating = pc.if_else(pa.array(np.arange(300) % 2 == 0), pa.scalar(None, pa.float32()), table["rating"])
    write_day(shop.source, FRESH, with_column(table, "rating", rating))
    record = score(shop.pipeline, day(FRESH))
    assert (record.outcome, record.guard.verdict) == ("scored", "drifted")
    assert "rating" in [column.column for column in record.guard.columns]
    share = rating.null_count / 300
    assert f"rating: {share:.0%} null, 10% in training" in record.guard.reasons


def test_a_schema_that_grew_or_shrank(shop: Shop) -> None:
    """New columns pass through with a note; what was never learned may go."""
    table = make_orders(300, day(FRESH), seed=2).append_column("gift", pa.array([True] * 300))
    write_day(shop.source, FRESH, table.drop_columns(["comment", "currency"]))
    record = score(shop.pipeline, day(FRESH))
    assert "gift: a column that training did not have" in record.guard.reasons
    assert record.guard.verdict == "drifted"
    assert "gift" in shop.read("denoised", FRESH).column_names


@pytest.mark.parametrize("name", ["price", "order_id"])
def test_a_column_that_is_missing_is_named(shop: Shop, name: str) -> None:
    write_day(shop.source, FRESH, make_orders(100, day(FRESH)).drop_columns(name))
    before = tree(shop.output)
    with pytest.raises(DataError, match=f"'{name}' is missing"):
        score(shop.pipeline, day(FRESH))
    assert tree(shop.output) == before


def test_too_few_calibration_rows_are_noted(shop: Shop) -> None:
    record = score(shop.set(score={"alert_rate": 1e-5}).pipeline, day(FRESH))
    assert record.anomalies == 0
    assert any("no row can be flagged" in note for note in record.notes)


def test_no_partition_s_fault_is_our_bug(shop: Shop) -> None:
    """Whatever is refused is refused by name."""
    file_of(shop, FRESH).write_bytes(b"PAR1 garbage PAR1")
    with pytest.raises(AeError) as caught:
        score(shop.pipeline, day(FRESH))
    assert caught.value.exit_code == 2
