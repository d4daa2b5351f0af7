"""Traversal: one latent variable changed, the others held; rows in the source's schema, pictures, and a sheet."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ae_plugin.errors import ConfigError, StoreError, UnfamiliarError
from ae_plugin.jobs.latent.traverse import traverse
from ae_plugin.jobs.latent.traversed import read_traversal
from ae_plugin.jobs.score import score
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from tests.conftest import Trained
from tests.running import ROOT, run_ae, tree
from tests.shop import FRESH, LAST_TRAINED, Shop, day, make_orders, write_day
from tests.web.conftest import foreign

DAY = f"date={day(LAST_TRAINED)}"


def frames(shop: Shop) -> pa.Table:
    return pq.read_table(shop.output / "traversal/frames.parquet", partitioning=None)


def test_rows_are_decoded_in_the_source_s_schema(each: Trained, tmp_path: Path) -> None:
    shop = each.shop.copy(tmp_path / "shop")
    record = traverse(shop.pipeline, latents=3, steps=5)
    table, source = frames(shop), pq.read_schema(shop.source / f"{DAY}/part-0.parquet")
    assert record.partition == DAY and record.rows == table.num_rows == 15
    assert table.schema.names == ["latent", "step", "value", *source.names]
    assert [table.schema.field(name).type for name in source.names] == source.types
    assert b"ae_plugin.synthetic" in table.schema.metadata
    assert table.column("step").to_pylist() == [0, 1, 2, 3, 4] * 3
    assert [note.latent for note in record.latents] == list(dict.fromkeys(table.column("latent").to_pylist()))
    for note in record.latents:
        own = table.filter(pa.compute.equal(table.column("latent"), note.latent))
        assert np.allclose(own.column("value").to_numpy(), np.linspace(note.low, note.high, 5), atol=1e-5)
    held = pq.read_table(shop.source / f"{DAY}/part-0.parquet", partitioning=None).slice(record.row, 1)
    assert set(table.column("order_id").to_pylist()) == set(held.column("order_id").to_pylist()), "keys are held"
    assert read_traversal(Folder(str(shop.output))) == record


def test_the_first_latent_variables_carry_most_and_say_what_they_change(shop: Shop) -> None:
    record = traverse(shop.pipeline, latents=64)
    carries = [note.carries for note in record.latents]
    assert carries == sorted(carries, reverse=True) and carries[0] > 5 * carries[-1]
    first, table = record.latents[0], frames(shop)
    own = table.filter(pa.compute.equal(table.column("latent"), first.latent))
    moved = first.moves[0].what
    assert moved in first.title and len(set(own.column(moved).to_pylist())) > 1
    said = {"express", "courier", "shipped_at", "rating", "weight", "price", "quantity", "product", "store", "customer"}
    assert {move.what for move in first.moves} & said
    idle = [note for note in record.latents if note.title == "hardly anything"]
    assert idle, "of 64 axes of a small table some do nothing"


def test_a_row_is_held_by_its_place_or_its_keys(shop: Shop) -> None:
    source = pq.read_table(shop.source / f"{DAY}/part-0.parquet", partitioning=None)
    by_place = traverse(shop.pipeline, DAY, row=7)
    key = str(source.column("order_id")[7])
    assert set(frames(shop).column("order_id").to_pylist()) == {int(key)}
    by_key = traverse(shop.pipeline, DAY, keys={"order_id": key})
    assert by_key.row == 7 and by_key.outputs == by_place.outputs
    for wrong in ({"row": 100_000}, {"keys": {"order_id": "-1"}}, {"keys": {"store": "x"}}):
        with pytest.raises(ConfigError):
            traverse(shop.pipeline, DAY, **wrong)  # type: ignore[arg-type]
    for wrong in ({"steps": 1}, {"latents": 0}, {"steps": 1_000}):
        with pytest.raises(ConfigError, match="steps"):
            traverse(shop.pipeline, **wrong)


def test_nulls_that_the_decoder_says_are_null(shop: Shop) -> None:
    """Only express orders have a courier: some axis goes from the one to the other."""
    traverse(shop.pipeline, latents=8)
    table = frames(shop)
    express, courier = table.column("express").to_numpy(), table.column("courier").is_valid().to_numpy()
    assert 0 < courier.sum() < len(courier)
    assert (express == courier).mean() > 0.8


def test_the_same_bytes_again_however_files_are_cut(shop: Shop) -> None:
    first = traverse(shop.pipeline, DAY)
    assert traverse(shop.pipeline, DAY).outputs == first.outputs
    whole = pq.read_table(shop.source / f"{DAY}/part-0.parquet", partitioning=None)
    before = frames(shop)
    shutil.rmtree(shop.source / DAY)
    for number, start in enumerate(range(0, whole.num_rows, 70)):
        write_day(shop.source, LAST_TRAINED, whole.slice(start, 70), f"part-{number}.parquet", row_group_size=11)
    again = traverse(shop.pipeline, DAY)
    assert again.row == first.row and [note.latent for note in again.latents] == [n.latent for n in first.latents]
    assert np.allclose(frames(shop).column("value").to_numpy(), before.column("value").to_numpy(), atol=1e-3)


def test_a_column_that_is_called_value_keeps_its_name(tmp_path: Path, shop: Shop) -> None:
    from ae_plugin.latent_schemas import frames_schema

    made = frames_schema(pa.schema([("value", pa.string()), ("_value", pa.int8())]))
    assert made.names == ["latent", "step", "__value", "value", "_value"]


def test_mistakes_change_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    traverse(shop.pipeline)
    before = tree(shop.output)

    def fail(_: Commit) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Commit, "apply", fail)
        with pytest.raises(OSError, match="gone"):
            traverse(shop.pipeline, latents=2)
    assert tree(shop.output) == before


def test_a_version_without_a_decoder_scores_and_says_train_anew(shop: Shop) -> None:
    registry = Registry(str(shop.output))
    card, files = registry.read("v0001")
    old = registry.register({name: data for name, data in files.items() if name != "decoder.tflite"}, card)
    registry.point("champion", old, by="test", why="older")
    assert score(shop.pipeline, day(FRESH)).rows == 300
    with pytest.raises(StoreError, match="keeps no decoder.*Train anew"):
        traverse(shop.pipeline)


def test_what_the_guard_refused_is_not_traversed(shop: Shop) -> None:
    write_day(shop.source, FRESH, foreign(make_orders(200, day(FRESH))))
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, day(FRESH))
    with pytest.raises(UnfamiliarError, match="refused"):
        traverse(shop.pipeline, day(FRESH))


def test_the_report_shows_the_sheet(shop: Shop) -> None:
    from ae_plugin.jobs.report import report

    page = shop.output / "report.html"
    report(shop.pipeline)
    assert 'id="traversal"' not in page.read_text()
    record = traverse(shop.pipeline)
    report(shop.pipeline)
    assert record.latents[0].title in page.read_text() and "data:image/png;base64," in page.read_text()
    (shop.output / "traversal/sheet.png").write_bytes(b"x")
    report(shop.pipeline)
    assert 'id="traversal"' not in page.read_text(), "what does not fit its record is not shown"


def test_it_needs_no_tensorflow(shop: Shop) -> None:
    code = (
        "import sys; from ae_plugin import config; from ae_plugin.jobs.latent.traverse import traverse; "
        f"traverse(config.load({str(shop.yaml)!r})); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'loaded'"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_from_the_command_line(shop: Shop, tmp_path: Path) -> None:
    done = run_ae("traverse", shop.yaml, "--latents", "2", "--steps", "3", "--output", tmp_path / "other", "--json")
    assert done.code == 0 and len(done.json["latents"]) == 2
    assert (tmp_path / "other/traversal/frames.parquet").is_file()
    with Image.open(tmp_path / "other/traversal/sheet.png") as sheet:
        assert sheet.width > 300
    told = run_ae("traverse", shop.yaml, "--row", "3")
    assert told.code == 0 and "row 3: 56 frames" in told.out and "% of the variance" in told.out
    assert run_ae("traverse", shop.yaml, "--key", "order_id=x").code == 2
    assert run_ae("traverse", shop.yaml, "--steps", "0").code == 2


def test_a_partition_of_one_row(shop: Shop) -> None:
    write_day(shop.source, FRESH, make_orders(1, day(FRESH)))
    record = traverse(shop.pipeline, day(FRESH), latents=3)
    assert all(np.isfinite([note.carries, note.low, note.high]).all() for note in record.latents)
    assert read_traversal(Folder(str(shop.output))) == record and frames(shop).num_rows == record.rows
