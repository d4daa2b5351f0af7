"""What a partition looked like is kept with its run: the same however it was cut, and of a refused one too."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from ae_plugin.errors import UnfamiliarError
from ae_plugin.jobs.score import score
from ae_plugin.jobs.shards import commit_shards, score_shard
from ae_plugin.schemas import Profile, RunRecord
from ae_plugin.store.files import Folder
from ae_plugin.store.runs import PROFILES, read_latest, read_profile
from tests.conftest import Trained
from tests.jobs.test_shards import large, planned
from tests.shop import FRESH, Shop, day, make_orders, spoil, write_day

DAY = f"date={day(FRESH)}"


def kept(shop: Shop) -> tuple[RunRecord, Profile]:
    folder = Folder(str(shop.output))
    run = read_latest(folder, DAY)
    assert run is not None
    profile = read_profile(folder, run)
    assert profile is not None
    return run, profile


def test_the_histogram_counts_every_row(shop: Shop) -> None:
    run = score(shop.pipeline, day(FRESH))
    _, profile = kept(shop)
    told = profile.scores
    assert told is not None and told.threshold is not None
    assert sum(told.rows) == run.rows and sum(told.calibration) == run.calibration_rows
    scores = pq.read_table(shop.output / f"scores/{DAY}/part-0.parquet")
    above = scores.column("anomaly_score").to_numpy() >= told.threshold
    assert np.array_equal(above, scores.column("is_anomaly").to_numpy()), "the threshold is what flags"
    ordered = np.sort(scores.column("anomaly_score").to_numpy())
    for share, value in run.score_quantiles.items():
        place = float(share) * len(ordered)
        around = ordered[max(int(place) - 2, 0)], ordered[min(int(place) + 1, len(ordered) - 1)]
        assert around[0] * 0.93 - 0.04 <= value <= around[1] * 1.07 + 0.04


def test_every_column_adds_up_now_and_in_training(shop: Shop) -> None:
    table = spoil(make_orders(400, day(FRESH)))
    write_day(shop.source, FRESH, table)
    score(shop.pipeline, day(FRESH))
    _, profile = kept(shop)
    found = {column.column: column for column in profile.columns}
    assert {"product", "store", "quantity", "price", "ordered_at", "express"} <= set(found)
    for column in found.values():
        assert len(column.parts) == len(column.now) == len(column.training)
        assert sum(column.now) == pytest.approx(1, abs=1e-3)
        assert sum(column.training) == pytest.approx(1, abs=1e-3)
    store = found["store"]
    truth = table.column("store").to_pylist()
    for value in ("Aachen", "Berlin"):
        assert store.now[store.parts.index(value)] == pytest.approx(truth.count(value) / 400, abs=1e-4)
    assert store.now[store.parts.index("never seen")] == pytest.approx(truth.count("Zwickau") / 400, abs=1e-4)
    quantity = found["quantity"]
    below = quantity.parts.index(next(part for part in quantity.parts if part.startswith("below")))
    assert quantity.now[below] == pytest.approx(table.column("quantity").to_pylist().count(-9999) / 400, abs=1e-4)


def test_the_map_holds_all_rows_of_a_small_partition(shop: Shop) -> None:
    run = score(shop.pipeline, day(FRESH))
    _, profile = kept(shop)
    assert sorted(point.row for point in profile.points) == list(range(run.rows))
    assert len({(point.x, point.y) for point in profile.points}) > run.rows / 2
    scores = pq.read_table(shop.output / f"scores/{DAY}/part-0.parquet").to_pydict()
    for point in profile.points:
        assert point.anomaly_score == pytest.approx(scores["anomaly_score"][point.row])
    flagged = [row for row, odd in enumerate(scores["is_anomaly"]) if odd]
    assert {point.row for point in profile.worst} == set(flagged)


def test_shards_leave_the_profile_of_the_whole(shop: Shop) -> None:
    shop = large(shop)
    score(shop.pipeline, day(FRESH))
    _, whole = kept(shop)
    plan = planned(shop)
    for number in reversed(range(plan.shards)):
        score_shard(shop.pipeline, plan, number)
    commit_shards(shop.pipeline, plan)
    run, sharded = kept(shop)
    assert run.shards == plan.shards > 1
    assert sharded.scores == whole.scores and sharded.columns == whole.columns
    for ours, theirs in ((sharded.points, whole.points), (sharded.worst, whole.worst)):
        assert [point.row for point in ours] == [point.row for point in theirs]
        assert [point.x for point in ours] == pytest.approx([point.x for point in theirs], abs=2e-3)


def test_a_refused_partition_shows_why(shop: Shop) -> None:
    foreign = make_orders(300, day(FRESH))
    names = foreign.column_names
    columns = [foreign.column(name) for name in names]
    shuffled = foreign.set_column(names.index("weight"), "weight", columns[names.index("weight")])
    for name, factor in (("quantity", 50), ("weight", 90.0)):
        place = names.index(name)
        values = (foreign.column(name).to_numpy() * factor).astype(foreign.column(name).to_numpy().dtype)
        shuffled = shuffled.set_column(place, foreign.schema.field(place), [values])
    for name, word in (("product", "tyre"), ("customer", "x")):
        place = names.index(name)
        shuffled = shuffled.set_column(place, foreign.schema.field(place), [[word] * 300])
    write_day(shop.source, FRESH, shuffled)
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, day(FRESH))
    run, profile = kept(shop)
    assert run.outcome == "quarantined"
    named = [reason.column for reason in run.guard.columns]
    assert named and {column.column for column in profile.columns[: len(named)]} == set(named)
    assert all(column.moved > column.usual for column in profile.columns[: len(named)])


def test_another_runs_profile_is_none(shop: Shop) -> None:
    run = score(shop.pipeline, day(FRESH))
    folder = Folder(str(shop.output))
    assert read_profile(folder, run.model_copy(update={"run_id": "another"})) is None
    (shop.output / PROFILES / f"{DAY}.json").write_text("{}")
    assert read_profile(folder, run) is None


def test_pictures_have_scores_alone(boards: Trained) -> None:
    shop = boards.shop
    partition = sorted(path.name for path in shop.source.iterdir() if path.is_dir())[-1]
    try:
        score(shop.pipeline, partition, output=str(shop.root / "profile"))
    except UnfamiliarError as refused:
        assert refused.record is not None
    folder = Folder(str(shop.root / "profile"))
    run = read_latest(folder, partition)
    assert run is not None
    profile = read_profile(folder, run)
    assert profile is not None and profile.scores is not None
    assert sum(profile.scores.rows) == run.rows - run.unreadable_rows
    assert profile.columns == profile.points == profile.worst == []
