"""Shards: a partition that is cut gives the same files whoever scores its parts, in whatever order, however often."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.engines.cuts import WHOLE, shards_of
from ae_plugin.errors import DataError, UnfamiliarError
from ae_plugin.jobs.due import due, due_files
from ae_plugin.jobs.score import score
from ae_plugin.jobs.shards import ShardPlan, commit_shards, plan, plans, score_shard
from ae_plugin.store import staging
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import SourceFile, list_source, partitions_of
from tests.running import tree
from tests.shop import FRESH, Shop, day, make_orders, plain, spoil, write_day

ROWS = 5_000


def large(shop: Shop, *, files: int = 2, group: int = 300) -> Shop:
    """A fresh day of two files of many row groups, cut into shards of a thousand rows."""
    for part in range(files):
        table = spoil(make_orders(ROWS // files, day(FRESH), seed=part, first_id=part * ROWS), seed=part)
        write_day(shop.source, FRESH, table, f"part-{part}.parquet", row_group_size=group)
    return shop.set(score={"shard_rows": 1_000, "on_unfamiliar": "score"})


def planned(shop: Shop) -> ShardPlan:
    files = partitions_of(list_source(shop.pipeline.source))[f"date={day(FRESH)}"]
    found = plan(shop.pipeline, f"date={day(FRESH)}", files, "v0001")
    assert found is not None
    return found


def written(shop: Shop) -> dict[str, bytes]:
    """All files of the datasets, by name."""
    names = ("scores", "cells", "denoised", "quarantine")
    return {
        str(path.relative_to(shop.output)): path.read_bytes()
        for name in names
        for path in sorted((shop.output / name).rglob("*.parquet"))
    }


def files_of(folder: Path, lengths: list[list[int]]) -> list[SourceFile]:
    """Parquet files with row groups of these lengths."""
    out = []
    for number, groups in enumerate(lengths):
        path = folder / f"{number}.parquet"
        with pq.ParquetWriter(path, pa.schema([("a", pa.int64())])) as writer:
            for length in groups:
                writer.write_table(pa.table({"a": pa.array(range(length), pa.int64())}))
        out.append(SourceFile(str(path), "", 10**9, "", path.name))
    return out


@pytest.mark.parametrize(
    ("lengths", "rows", "wanted"),
    [
        ([[50] * 4], 100, [(0, 100), (100, 100)]),
        ([[50] * 3], 100, None),
        ([[30] * 10], 100, [(0, 120), (120, 90), (210, 90)]),
        ([[60, 60], [60, 60]], 100, [(0, 120), (120, 120)]),
        ([[10, 900, 10, 10, 10]], 100, [(0, 910), (910, 30)]),
        ([[100], [], [100, 0]], 100, [(0, 100), (100, 100)]),
        ([[1000]], 100, None),
        ([[]], 100, None),
    ],
)
def test_where_a_partition_is_cut(
    tmp_path: Path, lengths: list[list[int]], rows: int, wanted: list[tuple[int, int]] | None
) -> None:
    files = files_of(tmp_path, lengths)
    found = shards_of(files, rows)
    if wanted is None:
        assert found == [WHOLE]
        return
    sizes = {(file.uri, n): length for file, own in zip(files, lengths, strict=True) for n, length in enumerate(own)}
    cut = [[(c.file.uri, n) for c in shard.cuts or () for n in range(c.start, c.stop)] for shard in found]
    assert [piece for own in cut for piece in own] == list(sizes), "every row group once, in order"
    assert [(s.first_row, sum(sizes[p] for p in own)) for s, own in zip(found, cut, strict=True)] == wanted
    assert [shard.number for shard in found] == list(range(len(found)))


def test_small_files_are_not_opened(tmp_path: Path) -> None:
    assert shards_of([SourceFile(str(tmp_path / "not there"), "", 999, "", "")], 1_000) == [WHOLE]


def test_shards_in_any_order_give_the_files_of_one_run(shop: Shop, tmp_path: Path) -> None:
    shop = large(shop)
    alone, uncut = shop.copy(tmp_path / "alone"), shop.copy(tmp_path / "uncut").set(score={"shard_rows": 100_000})
    record = score(alone.pipeline, day(FRESH))
    whole = score(uncut.pipeline, day(FRESH))
    made = planned(shop)
    assert made.shards == record.shards == 5 and whole.shards == 1
    for number in (3, 0, 4, 2, 1, 0):
        score_shard(shop.pipeline, made, number)
        assert written(shop) == {}, "nothing is seen before the commit"
    found = commit_shards(shop.pipeline, made)
    assert written(shop) == written(alone)
    same = {"run_id", "plan", "seconds", "rows_per_second", "peak_memory_mb", "started_at", "input_fingerprint"}
    assert found.model_dump(exclude=same) == record.model_dump(exclude=same)
    assert found.anomalies > 50 and not list(shop.output.glob("_staging"))
    for name in ("scores", "cells", "denoised"):
        parts = sorted((shop.output / name / f"date={day(FRESH)}").iterdir())
        assert [path.name for path in parts] == ["part-0.parquet", *(f"part-000{n}.parquet" for n in range(1, 5))]
        table = pa.concat_tables([pq.ParquetFile(path).read() for path in parts])
        assert plain(table).equals(plain(uncut.read(name, FRESH))), "cut or not, the rows are the same"
    assert due(shop.pipeline) == due(alone.pipeline)


def test_a_shard_that_is_scored_is_not_scored_again(shop: Shop) -> None:
    shop = large(shop)
    made = planned(shop)
    score_shard(shop.pipeline, made, 2)
    before = tree(shop.output / "_staging")
    score_shard(shop.pipeline, made, 2)
    assert tree(shop.output / "_staging") == before
    next((shop.output / "_staging").glob("*/0002.*/000")).unlink()
    score_shard(shop.pipeline, made, 2)
    assert len(list((shop.output / "_staging").glob("*/0002.*/000"))) == 1, "what it wrote was gone"


def test_a_commit_waits_for_all_shards_and_can_be_tried_again(shop: Shop) -> None:
    shop = large(shop)
    made = planned(shop)
    for number in (0, 2, 3):
        score_shard(shop.pipeline, made, number)
    with pytest.raises(DataError, match=r"2 of 5 shards are not scored \(2, 5\)"):
        commit_shards(shop.pipeline, made)
    assert written(shop) == {}
    for number in (1, 4):
        score_shard(shop.pipeline, made, number)
    record = commit_shards(shop.pipeline, made)
    before = tree(shop.output)
    assert commit_shards(shop.pipeline, made) == record, "the task ran again after it was done"
    assert tree(shop.output) == before


def test_what_changes_meanwhile_is_for_the_next_run(shop: Shop) -> None:
    shop = large(shop)
    made = planned(shop)
    score_shard(shop.pipeline, made, 0)
    with pytest.raises(DataError, match=r"settings changed while it was scored\. The next run"):
        score_shard(shop.set(score={"alert_rate": 0.02}).pipeline, made, 1)
    shop = shop.set(score={"alert_rate": 0.01})
    write_day(shop.source, FRESH, make_orders(ROWS, day(FRESH)), row_group_size=300)
    for work in (lambda: score_shard(shop.pipeline, made, 1), lambda: commit_shards(shop.pipeline, made)):
        with pytest.raises(DataError, match="changed while it was scored"):
            work()
    assert written(shop) == {} and f"date={day(FRESH)}" in due(shop.pipeline)


def test_another_plan_is_not_what_was_committed_before(shop: Shop) -> None:
    shop = large(shop)
    made = planned(shop)
    for number in range(made.shards):
        score_shard(shop.pipeline, made, number)
    commit_shards(shop.pipeline, made)
    with pytest.raises(DataError, match="5 of 5 shards are not scored"):
        commit_shards(shop.pipeline, planned(shop))


def test_a_file_that_cannot_be_read_is_not_cut_and_stops_no_other(shop: Shop) -> None:
    shop = large(shop)
    path = write_day(shop.source, FRESH + 1, make_orders(4_000, day(FRESH + 1)), row_group_size=300)
    path.write_bytes(path.read_bytes()[:-9])
    found = plans(shop.pipeline, due_files(shop.pipeline))
    assert [one.partition for one in found] == [f"date={day(FRESH)}"]


def test_two_runs_of_a_partition_leave_the_parts_of_the_last_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one commits four parts more while this one is about to."""
    shop = large(shop).set(score={"shard_rows": 100_000})
    score(shop.pipeline, day(FRESH))
    apply, others = Commit.apply, [shop.set(score={"shard_rows": 1_000}).pipeline]
    shop.set(score={"shard_rows": 100_000})

    def after_another(commit: Commit) -> None:
        while others:
            score(others.pop(), day(FRESH))
        apply(commit)

    monkeypatch.setattr(Commit, "apply", after_another)
    record = score(shop.pipeline, day(FRESH))
    assert record.shards == 1 and sorted(written(shop)) == sorted(record.outputs)


def test_fewer_shards_leave_no_old_parts(shop: Shop) -> None:
    shop = large(shop)
    score(shop.pipeline, day(FRESH))
    assert len(written(shop)) == 15
    record = score(shop.set(score={"shard_rows": 2_500}).pipeline, day(FRESH))
    assert record.shards == 2 and sorted(written(shop)) == sorted(record.outputs)
    record = score(shop.set(score={"shard_rows": 10_000}).pipeline, day(FRESH))
    assert record.shards == 1 and sorted(written(shop)) == sorted(record.outputs)


def test_a_refused_partition_is_refused_as_a_whole(shop: Shop) -> None:
    shop = large(shop)
    score(shop.pipeline, day(FRESH))
    for path in (shop.source / f"date={day(FRESH)}").iterdir():
        table = pq.ParquetFile(path).read()
        for name in ("weight", "quantity", "rating"):
            place = table.schema.get_field_index(name)
            odd = pa.array([900.0 + n for n in range(table.num_rows)]).cast(table.schema.field(name).type, safe=False)
            table = table.set_column(place, table.schema.field(name), odd)
        pq.write_table(table, path, row_group_size=300)
    shop = shop.set(score={"on_unfamiliar": "quarantine"})
    made = planned(shop)
    for number in range(made.shards):
        score_shard(shop.pipeline, made, number)
    for _ in range(2):
        with pytest.raises(UnfamiliarError, match="refused"):
            commit_shards(shop.pipeline, made)
        assert [name.split("/")[0] for name in written(shop)] == ["quarantine"]
        assert not list(shop.output.glob("_staging/*"))


def test_shards_are_kept_for_a_day(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = large(shop)
    made = planned(shop)
    score_shard(shop.pipeline, made, 0)
    score(shop.pipeline, day(FRESH + 1))
    assert list(shop.output.glob("_staging/*.shared/0000.json")), "another run sweeps, and leaves them alone"
    monkeypatch.setattr(staging, "LEFT_SECONDS", 0.5)
    time.sleep(1)
    score(shop.pipeline, day(FRESH + 1))
    assert not list(shop.output.glob("_staging/*"))


@pytest.mark.parametrize("settings", [{"alert_rate_of": "alarms"}, {"shard_rows": 3_000}])
def test_what_is_not_cut(shop: Shop, settings: dict[str, object]) -> None:
    shop = large(shop).set(score=settings)
    files = partitions_of(list_source(shop.pipeline.source))[f"date={day(FRESH)}"]
    assert plan(shop.pipeline, f"date={day(FRESH)}", files, "v0001") is None
    assert score(shop.pipeline, day(FRESH)).shards == 1


SHARD = """
import sys
from ae_plugin import config
from ae_plugin.jobs.shards import ShardPlan, score_shard
score_shard(config.load(sys.argv[1]), ShardPlan.model_validate_json(sys.argv[2]), int(sys.argv[3]))
"""


def test_a_killed_shard_leaves_nothing_behind_and_the_others_alone(shop: Shop, tmp_path: Path) -> None:
    shop = large(shop)
    alone = shop.copy(tmp_path / "alone")
    score(alone.pipeline, day(FRESH))
    made = planned(shop)
    command = [sys.executable, "-c", SHARD, str(shop.yaml), made.model_dump_json()]
    running = [subprocess.Popen([*command, str(number)]) for number in range(2)]
    while not list(shop.output.glob("_staging/*/*.*/00*")):
        time.sleep(0.01)
    for process in running:
        process.kill()
        process.wait()
    both = [subprocess.Popen([*command, str(number)]) for number in (0, 0)]
    assert [process.wait() for process in both] == [0, 0], "the same shard twice at once"
    for number in range(made.shards):
        score_shard(shop.pipeline, made, number)
    commit_shards(shop.pipeline, made)
    assert written(shop) == written(alone)
    assert not list(shop.output.glob("_staging"))
