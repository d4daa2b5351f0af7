"""Training: which partitions and rows, what is registered, and what the report says of it."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.features import partition_time
from ae_plugin.engines.local import Reader
from ae_plugin.engines.sample import Sample, sample
from ae_plugin.errors import ConfigError, DataError, NoChampionError, StoreError
from ae_plugin.jobs.check import check
from ae_plugin.jobs.history import encode_sample, learn_history, split_rows, training_partitions
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import checkpoint_folder, train
from ae_plugin.models.checkpoint import held
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version, read_report
from tests.conftest import Trained
from tests.core.test_columns import LEARNED, PASSED, with_nulls
from tests.running import tree
from tests.shop import FRESH, LAST_TRAINED, ORDERS, Shop, day, make_orders, plain, write_day, write_days

QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def names(numbers: range) -> list[str]:
    return [f"date={day(number)}" for number in numbers]


def small(tmp_path: Path, **sections: Any) -> Shop:
    """Three days of orders that can be trained on in seconds."""
    shop = Shop(tmp_path, ORDERS).write().set(train={"steps": 20}, **sections)
    write_days(shop.source, 3, 120)
    return shop


# Which partitions.


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({"until": None}, range(LAST_TRAINED + 3)),
        ({"until": day(4)}, range(5)),
        ({"until": f"date={day(4)}"}, range(5)),
        ({"until": None, "partitions": 2}, range(LAST_TRAINED + 1, LAST_TRAINED + 3)),
        ({"until": day(4), "partitions": 2}, range(3, 5)),
        ({"until": day(4), "partitions": 99}, range(5)),
        ({"until": "2024-03-05x"}, range(5)),
    ],
)
def test_the_newest_partitions_up_to_a_date(trained: Trained, settings: dict[str, Any], numbers: range) -> None:
    pipeline = trained.shop.pipeline
    pipeline = pipeline.model_copy(update={"train": pipeline.train.model_copy(update=settings)})
    found = training_partitions(pipeline)
    assert list(found) == names(numbers)
    assert all(file.partition == name for name, files in found.items() for file in files)


def test_nothing_so_early(trained: Trained) -> None:
    pipeline = trained.shop.pipeline
    early = pipeline.model_copy(update={"train": pipeline.train.model_copy(update={"until": "2023-01-01"})})
    with pytest.raises(ConfigError, match=rf"2023-01-01.*The oldest is date={day(0)}"):
        training_partitions(early)


# Which rows.


def dealt(sizes: dict[str, int], seed: int) -> Sample:
    """Rows as a sample deals them: the draws of a partition are its own."""
    draws = [np.random.default_rng([seed, zlib.crc32(name.encode())]).random(rows) for name, rows in sizes.items()]
    names = [name for name, rows in sizes.items() for _ in range(rows)]
    lots = np.concatenate(draws)
    return Sample(pa.table({"x": lots}), names, lots, lots, len(lots), [])


@QUICK
@given(
    rows=st.integers(50, 200_000),
    rate=st.sampled_from([0.5, 0.1, 0.05, 0.01, 0.001, 1e-6]),
    seed=st.integers(0, 2**31 - 1),
)
def test_rows_are_dealt_into_three(rows: int, rate: float, seed: int) -> None:
    split = split_rows(dealt({"": rows}, seed), rate)
    parts = (split.train, split.validation, split.calibration)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows)), "each row once"
    assert all((np.diff(part) > 0).all() for part in parts), "in source order"
    assert (50 if rows >= 250 else 5) <= len(split.validation) <= 10_000
    assert len(split.calibration) <= min(20_000, math.ceil(0.4 * rows))
    assert len(split.train) >= 0.4 * rows
    enough = min(2 * rows_needed(rate), rows * 2 // 5, 20_000)
    assert len(split.calibration) >= min(enough, 20_000), "as many as alarms need, when there are"
    assert np.array_equal(split_rows(dealt({"": rows}, seed), rate).train, split.train)
    assert not np.array_equal(split_rows(dealt({"": rows}, seed + 1), rate).train, split.train)


@QUICK
@given(sizes=st.lists(st.integers(1, 300), min_size=2, max_size=9), rate=st.sampled_from([0.5, 0.01]))
def test_each_partition_gives_its_share_to_each_use(sizes: list[int], rate: float) -> None:
    assume(sum(sizes) >= 50)
    history = dealt({f"day={n}": rows for n, rows in enumerate(sizes)}, 0)
    split = split_rows(history, rate)
    for part in (split.train, split.validation, split.calibration):
        names = [history.partitions[row] for row in part]
        for number, rows in enumerate(sizes):
            assert abs(names.count(f"day={number}") - rows * len(part) / sum(sizes)) <= 2


@pytest.mark.parametrize("rows", [240, 3_000])
def test_a_row_keeps_its_use_when_the_window_moves_on(rows: int) -> None:
    """What the next training holds out, this one did not train on."""
    sizes = {f"day={n:02d}": rows + 7 * n % 90 for n in range(31)}
    window = [dict(list(sizes.items())[first : first + 28]) for first in (0, 3)]
    used = []
    for days in window:
        history = dealt(days, 0)
        split = split_rows(history, 0.01)
        of = np.repeat(np.array(list(days)), list(days.values()))
        place = np.concatenate([np.arange(size) for size in days.values()])
        used.append({use: set(zip(of[own], place[own], strict=True)) for use, own in vars(split).items()})
    held = {row for use in ("validation", "calibration") for row in used[1][use] if row[0] in window[0]}
    seen = held & used[0]["train"]
    assert len(held) > 20_000 or rows < 3_000
    assert len(seen) <= 0.02 * len(held)


def test_the_sample_is_encoded_by_partition(trained: Trained) -> None:
    """Ages count from each row's own partition."""
    registry = Registry(str(trained.shop.output))
    encoder = load_version(registry, "v0001", 0.01).scorer.encoder
    groups = training_partitions(trained.shop.pipeline)
    history = sample(groups, "parquet", 10**6, 0)
    encoded = encode_sample(encoder, history)
    start = 0
    for name, files in groups.items():
        day_of = pa.Table.from_batches(Reader(files, "parquet").batches())
        own = encoder.encode(day_of, partition_time(name))
        assert np.array_equal(encoded.x[start : start + len(own)], own.x)
        start += len(own)
    assert start == len(encoded) == trained.report.rows_seen


# What is registered.


def test_the_report_says_what_was_done(trained: Trained) -> None:
    report = trained.report
    assert report.pipeline == "shop" and report.model_version == "v0001"
    assert report.partitions == names(range(LAST_TRAINED + 1))
    assert report.rows_seen == report.rows_total == 240 * (LAST_TRAINED + 1)
    assert report.rows_train + report.rows_validation + report.rows_calibration == report.rows_seen
    assert 0 < report.steps <= report.steps_budget == 300
    assert report.stopped_early == (report.steps < report.steps_budget)
    assert report.export_difference < 1e-3
    assert report.peak_memory_mb > 10 and report.seconds > 0
    steps, losses, validation = zip(*report.loss_curve, strict=True)
    assert list(steps) == sorted(set(steps)) and steps[-1] == report.steps
    assert losses[-1] < losses[0], "it learned"
    assert report.validation_loss == pytest.approx(min(validation), abs=1e-3)
    few, passed = report.notes
    assert few.startswith(f"alert_rate 0.01 rests on {report.rows_calibration} calibration rows")
    assert passed.startswith("passed through untouched: currency (constant), ")
    assert "receipt (binary is not a type that can be learned)" in passed


def test_the_report_has_a_note_on_every_column(trained: Trained) -> None:
    roles = {note.column: note.role for note in trained.report.columns}
    assert list(roles) == make_orders(1).column_names
    assert roles["order_id"] == "key"
    assert {c for c, role in roles.items() if role == "passed through"} == {"currency", "comment", "lines", "receipt"}
    learned = [c for c, role in roles.items() if role == "learned"]
    registry = Registry(str(trained.shop.output))
    version = load_version(registry, "v0001", 0.01)
    assert version.scorer.encoder.names == learned
    assert trained.report.features == version.scorer.encoder.features
    assert trained.report.latent_dim == version.card.latent_dim


def test_the_gate_compares_with_pca_and_the_untrained_network(trained: Trained) -> None:
    by_name = {result.scorer: result for result in trained.report.gate.results}
    assert set(by_name) == {"challenger", "pca", "untrained"}
    for result in by_name.values():
        assert set(result.auroc) == {"extremes", "swaps", "nulls"}
        assert result.mean == pytest.approx(np.mean(list(result.auroc.values())), abs=1e-5)
    ours = by_name.pop("challenger").mean
    assert trained.report.gate.passed == all(ours > other.mean for other in by_name.values())
    assert ours > 0.7


def test_the_version_holds_all_that_scoring_needs(trained: Trained) -> None:
    registry = Registry(str(trained.shop.output))
    card, files = registry.read("v0001")
    assert set(files) == {
        "network.tflite",
        "filler.tflite",
        "decoder.tflite",
        "weights.safetensors",
        "reference.safetensors",
        "report.json",
    }
    version = load_version(registry, "v0001", 0.01)
    assert version.schema.names == make_orders(1).column_names
    assert version.card.keys == ["order_id"]
    assert set(version.card.partitions) == set(trained.report.partitions)
    assert set(version.card.versions) == {"keras", "tensorflow", "numpy", "pyarrow"}
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert read_report(registry, "v0001") == trained.report
    assert len(version.scorer.reference.calibration) == trained.report.rows_calibration


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("near.points", lambda array: array[:, :-1]),
        ("near.parts", lambda array: array[:0]),
        ("cells", lambda array: array[:, :-1]),
        ("calibration", lambda array: array[:-1]),
        ("blend.shares", lambda array: array[:1]),
        ("guard.odd", lambda array: array[None]),
        ("view.near.nats", lambda array: array[:-1]),
        ("cell.hidden.index", lambda array: array[:-1]),
        ("groups", None),
    ],
)
def test_arrays_that_do_not_fit_are_another_release_s(shop: Shop, name: str, change: Callable[[Any], Any]) -> None:
    registry = Registry(str(shop.output))
    card, files = registry.read("v0001")
    arrays = load_arrays(files["reference.safetensors"])
    array = arrays.pop(name)
    if change:
        arrays[name] = np.ascontiguousarray(change(array))
    version = registry.register({**files, "reference.safetensors": save_arrays(arrays)}, {**card, "files": {}})
    with pytest.raises(StoreError, match=rf"not a model this release can read \('?{name}"):
        load_version(registry, version, 0.01)


def test_training_changes_nothing_but_its_own_version(tmp_path: Path) -> None:
    shop = small(tmp_path)
    source = tree(shop.source)
    steps: list[tuple[int, int]] = []
    report = train(shop.pipeline, on_progress=lambda step, of: steps.append((step, of)))
    assert tree(shop.source) == source
    assert sorted(path.name for path in shop.output.iterdir()) == ["_models"]
    assert sorted(path.name for path in (shop.output / "_models").iterdir()) == [
        "challenger.json",
        "v0001",
        "v0001.sha256",
    ]
    assert steps and steps[-1] == (report.steps + 20, 40), "two lessons"
    with pytest.raises(NoChampionError):
        score(shop.pipeline, day(0))


def test_the_same_data_and_seed_train_the_same_weights(tmp_path: Path) -> None:
    """Law 8; another seed, other weights."""
    shop = small(tmp_path)
    registry = Registry(str(shop.output))
    weights = []
    for seed in (0, 0, 1):
        report = train(shop.set(model={"seed": seed}).pipeline)
        _, files = registry.read(report.model_version)
        weights.append((files["weights.safetensors"], files["filler.tflite"], files["reference.safetensors"]))
    assert weights[0] == weights[1]
    assert all(a != b for a, b in zip(weights[0], weights[2], strict=True))


def test_a_long_history_is_sampled_and_says_so(tmp_path: Path) -> None:
    shop = small(tmp_path, output="other").set(train={"max_rows": 200, "steps": 20}, score={"alert_rate": 0.001})
    report = train(shop.pipeline)
    assert report.rows_total == 360
    assert 150 <= report.rows_seen <= 250
    assert any("360 rows" in note and "max_rows 200" in note for note in report.notes)
    assert any("no row can be flagged" in note and "999" in note for note in report.notes)


def test_only_partitions_that_rows_were_read_of_are_recorded_as_trained_on(tmp_path: Path) -> None:
    """An empty day was not learned from: it is still to be scored."""
    shop = small(tmp_path)
    write_day(shop.source, 3, make_orders(5).slice(0, 0))
    report = train(shop.pipeline)
    card, _ = Registry(str(shop.output)).read("v0001")
    assert list(card["partitions"]) == report.partitions == names(range(3))
    assert card["kind"] == "dense"


def test_history_whose_types_drift_can_be_learned(tmp_path: Path) -> None:
    """As pandas writes it: a first day without a rating, whole weights, a store that is no category yet."""
    shop = small(tmp_path)
    first = make_orders(120)
    for name, column in (
        ("rating", pa.nulls(120)),
        ("weight", pc.round(first["weight"]).cast(pa.int64())),
        ("store", first["store"].cast(pa.string())),
        ("comment", pa.nulls(120)),
    ):
        first = first.set_column(first.column_names.index(name), name, column)
    write_day(shop.source, 0, first)
    write_day(shop.source, 2, make_orders(120, day(2)).append_column("gift", pa.array([True] * 120)))
    report = train(shop.pipeline)
    learned = {note.column: note.type for note in report.columns if note.role == "learned"}
    assert (learned["rating"], learned["weight"], learned["store"]) == ("float", "double", "string")
    assert any("gift (not in all of history)" in note for note in report.notes)
    assert check(shop.pipeline).notes[0].startswith("gift is not learned yet")
    Registry(str(shop.output)).point("champion", "v0001", by="test", why="test")
    pipeline = shop.set(score={"on_unfamiliar": "score"}).pipeline
    assert [score(pipeline, day(number)).rows for number in range(3)] == [120, 120, 120]
    source = pq.ParquetFile(shop.source / f"{names(range(1))[0]}/part-0.parquet").read()
    assert shop.read("denoised", 0).schema.equals(source.schema)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Trained a little on every type that is learned, beside every one that is passed through."""
    root = tmp_path_factory.mktemp("wide")
    config = {"name": "wide", "source": {"uri": "wide"}, "output": "out", "train": {"steps": 20}}
    shop = Shop(root, config).write().set(score={"alert_rate": 1e-4, "on_unfamiliar": "score"})
    write_wide(shop, {name: with_nulls(column) for name, (_, column) in LEARNED.items()})
    report = train(shop.pipeline)
    assert [note.column for note in report.columns if note.role == "learned"] == list(LEARNED)
    Registry(str(shop.output)).point("champion", "v0001", by="test", why="test")
    return shop


def write_wide(shop: Shop, columns: dict[str, pa.Array]) -> pa.Table:
    passed = {name: column for name, (column, _) in PASSED.items()}
    shop.source.mkdir(exist_ok=True)
    pq.write_table(pa.table({**columns, **passed}), shop.source / "a.pq")
    return pq.ParquetFile(shop.source / "a.pq").read()


@pytest.mark.parametrize("name", LEARNED)
def test_every_type_trains_scores_and_is_filled(wide: Shop, name: str) -> None:
    """From Parquet and back, with gaps in one column."""
    columns = {other: column for other, (_, column) in LEARNED.items()}
    written = write_wide(wide, {**columns, name: with_nulls(columns[name])})
    for denoise in ("repair", "full"):
        record = score(wide.set(score={"denoise": denoise}).pipeline)
        denoised = wide.read("denoised", None)
        assert denoised.schema.equals(written.schema, check_metadata=True)
        for other in set(PASSED) - {"nothing but NaN"}:
            assert plain(denoised.select([other])).equals(plain(written.select([other]))), other
        assert record.rows == written.num_rows
        kind = LEARNED[name][0]
        if kind == "time" and not pa.types.is_time(written[name].type):
            assert plain(denoised.select([name])).equals(plain(written.select([name]))), "an absolute moment"
        elif kind != "text":
            assert denoised[name].null_count == 0 and record.cells_imputed == written[name].null_count > 50


# What cannot be trained on.


@pytest.mark.parametrize("section", [{"keys": ["order_id", "oder_id"]}, {"exclude": ["oder_id"]}])
def test_a_column_that_is_not_there_is_named(trained: Trained, section: dict[str, Any], tmp_path: Path) -> None:
    shop = trained.shop.copy(tmp_path).set(source=section)
    before = tree(shop.output)
    with pytest.raises(ConfigError, match="no column 'oder_id'"):
        train(shop.pipeline)
    assert tree(shop.output) == before


def test_a_checkpoint_is_not_resumed_when_other_rows_calibrate(trained: Trained, tmp_path: Path) -> None:
    """A lower alert_rate holds out more rows: weights that were trained on those would calibrate on what they saw."""
    shop = trained.shop.copy(tmp_path)
    histories = [learn_history(shop.set(score={"alert_rate": rate}).pipeline) for rate in (0.01, 0.001)]
    assert set(histories[1].split.calibration) & set(histories[0].split.train)
    folders = [checkpoint_folder(shop.pipeline, history) for history in histories]
    assert folders[0] != folders[1]


def test_a_history_that_is_too_short(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ORDERS).write()
    write_days(shop.source, 2, 20)
    with pytest.raises(DataError, match="40 rows; at least 50"):
        train(shop.pipeline)
    assert not shop.output.exists()


def test_a_checkpoint_belongs_to_one_config_and_one_history(trained: Trained, tmp_path: Path) -> None:
    shop = trained.shop.copy(tmp_path)

    def folder(shop: Shop) -> Path:
        return checkpoint_folder(shop.pipeline, learn_history(shop.pipeline))

    seen = {folder(shop)}
    assert {folder(shop)} == seen
    for change in ({"train": {"steps": 301}}, {"model": {"seed": 5}}, {"source": {"exclude": ["rating"]}}):
        seen.add(folder(shop.set(**change)))
    assert folder(shop.set(score={"alert_rate": 0.3, "denoise": "full"})) in seen, "the same rows to train on"
    shop.write()
    write_days(shop.source, 1, 10, seed=9)
    seen.add(folder(shop))
    assert len(seen) == 5
    assert FRESH == LAST_TRAINED + 1


# Where progress is kept.


def test_trainings_at_once_hold_folders_of_their_own(tmp_path: Path) -> None:
    """And the progress that a killed one left is taken up by one of them."""
    wanted = tmp_path / ".training-1"
    with held(wanted) as first:
        (first / "progress").touch()
        with held(wanted) as second, held(wanted) as third:
            (third / "progress").touch()
            assert len({first, second, third}) == 3
            shutil.rmtree(second)
        assert not second.exists() and (first / "progress").exists()
        with held(wanted) as fourth:
            assert fourth == third, "left behind"
    assert first == wanted
    with held(wanted) as again:
        assert again == wanted and (again / "progress").exists()


def test_progress_for_an_object_store_is_in_a_folder_of_this_user_alone(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    pipeline = shop.set(output="memory://checkpoints/out").pipeline
    folder = checkpoint_folder(pipeline, learn_history(pipeline)).parent
    assert (folder.parent, folder.stat().st_mode & 0o777, folder.stat().st_uid) == (
        tmp_path / "tmp",
        0o700,
        os.getuid(),
    )
    folder.chmod(0o777)
    with pytest.raises(StoreError, match="others can write"):
        checkpoint_folder(pipeline, learn_history(pipeline))
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(StoreError, match="others can write"):
        checkpoint_folder(pipeline, learn_history(pipeline))
