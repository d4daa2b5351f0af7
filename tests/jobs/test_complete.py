"""Completion: cells and pixels that are empty, or that a mask names, filled from all others, with intervals."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ae_plugin.errors import ConfigError, DataError, UnfamiliarError
from ae_plugin.jobs.latent.complete import complete, due_completions
from ae_plugin.jobs.latent.mask_partitions import partitions_in
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import score
from ae_plugin.store.commit import Commit
from ae_plugin.store.registry import Registry
from ae_plugin.versions import REFERENCE, load_version
from tests.boards import board, png
from tests.conftest import Trained
from tests.running import run_ae, tree
from tests.shop import FRESH, Shop, day, make_orders, plain, spoil, train_and_promote, write_day
from tests.web.conftest import foreign

DAY = f"date={day(FRESH)}"


def read(shop: Shop, dataset: str, partition: str = DAY) -> pa.Table:
    return pq.read_table(shop.output / dataset / partition / "part-0.parquet", partitioning=None)


def gaps(table: pa.Table, columns: list[str], share: float, seed: int = 3) -> pa.Table:
    """The table with a share of some columns' cells taken out."""
    rng = np.random.default_rng(seed)
    for name in columns:
        place = table.schema.get_field_index(name)
        hit = pa.array(rng.random(table.num_rows) < share)
        column = pc.if_else(hit, pa.scalar(None, table.schema.field(place).type), table.column(place))
        table = table.set_column(place, table.schema.field(place), column)
    return table


def shop_columns(shop: Shop) -> list[str]:
    """The learned columns that gaps can be made in."""
    names = load_version(Registry(str(shop.output)), "v0001", 0.01).scorer.encoder.names
    return [name for name in names if name != "store"]


def test_nulls_are_filled_and_all_else_is_the_sources_own(each: Trained, tmp_path: Path) -> None:
    shop = each.shop.copy(tmp_path / "shop")
    true = make_orders(300, day(FRESH))
    source = gaps(true, ["weight", "price", "product", "rating"], 0.3)
    source = pq.read_table(write_day(shop.source, FRESH, source), partitioning=None)
    record = complete(shop.pipeline, DAY)
    whole, told = read(shop, "completed"), read(shop, "completions")
    assert whole.schema.equals(source.schema, check_metadata=True) and record.rows == 300
    assert told.column_names == ["order_id", "row", "column", "value", "low", "high", "words", "model_version"]
    learned = ["weight", "price", "product", "rating", "express", "quantity", "courier"]
    assert record.filled == sum(source.column(name).null_count for name in learned) == told.num_rows
    assert record.left == 0 and all(whole.column(name).null_count == 0 for name in learned)
    for name in source.column_names:
        kept = source.column(name).is_valid()
        if name not in ("lines", "receipt"):
            assert plain(whole).column(name).filter(kept).equals(plain(source).column(name).filter(kept)), name
    assert told.column("row").to_pylist() == sorted(told.column("row").to_pylist())
    first = told.slice(0, 1).to_pylist()[0]
    assert first["order_id"] == source.column("order_id")[first["row"]].as_py()
    products = told.filter(pc.equal(told.column("column"), "product"))
    assert all(one["value"] in one["words"] and one["low"] is None for one in products.to_pylist())


def test_intervals_cover_and_are_narrower_where_more_is_given(shop: Shop) -> None:
    true = make_orders(3_000, day(FRESH), seed=7)
    widths = {}
    for share in (0.15, 0.7):
        source = gaps(true, shop_columns(shop), share)
        write_day(shop.source, FRESH, source)
        for coverage in (0.5, 0.9):
            complete(shop.pipeline, DAY, coverage=coverage)
            told = read(shop, "completions").to_pylist()
            weights = [one for one in told if one["column"] == "weight"]
            truth = true.column("weight").to_pylist()
            ends = [(float(one["low"]), truth[one["row"]], float(one["high"])) for one in weights]
            covered = np.mean([low <= value <= high for low, value, high in ends])
            assert abs(covered - coverage) < 0.06 + 2 / len(ends) ** 0.5, (share, coverage)
            assert all(float(one["low"]) <= float(one["value"]) <= float(one["high"]) for one in weights)
            widths[share, coverage] = np.median([high - low for low, _, high in ends])
            words = [one for one in told if one["column"] == "product"]
            held = np.mean([true.column("product")[one["row"]].as_py() in one["words"] for one in words])
            assert held > coverage - 0.06 - 2 / len(words) ** 0.5
    assert widths[0.15, 0.5] < widths[0.15, 0.9] < widths[0.7, 0.9]


def test_cells_of_a_mask_are_filled_whatever_they_hold(shop: Shop, tmp_path: Path) -> None:
    source = make_orders(300, day(FRESH))
    write_day(shop.source, FRESH, source)
    complete(shop.pipeline, DAY)
    before = read(shop, "completed")
    mask = tmp_path / "mask.csv"
    mask.write_text("row,column\n7,weight\n8,price\n8,product\n", encoding="utf-8")
    assert complete(shop.pipeline, DAY, mask=str(mask)).mask
    after, told = read(shop, "completed"), read(shop, "completions")
    at = [(one["row"], one["column"]) for one in told.to_pylist() if one["row"] in (7, 8)]
    assert {(7, "weight"), (8, "price"), (8, "product")} <= set(at)
    assert after.column("weight")[7] != before.column("weight")[7]
    assert after.column("weight")[6] == before.column("weight")[6]
    # The same cells by their keys; and what they hold is not looked at.
    keys = source.column("order_id").to_pylist()
    by_key = pa.table({"order_id": [keys[7], keys[8], keys[8]], "column": ["weight", "price", "product"]})
    pq.write_table(by_key, tmp_path / "mask.parquet")
    place = source.schema.get_field_index("weight")
    odd = source.column("weight").to_pylist()
    odd[7] = 1e9
    write_day(shop.source, FRESH, source.set_column(place, source.schema.field(place), pa.array(odd)))
    complete(shop.pipeline, DAY, mask=str(tmp_path / "mask.parquet"))
    assert read(shop, "completed").column("weight")[7] == after.column("weight")[7]
    assert read(shop, "completions").equals(told)


def test_masks_that_fit_nothing_change_nothing(shop: Shop, tmp_path: Path) -> None:
    complete(shop.pipeline, DAY)
    before = tree(shop.output)
    cases = {
        "row,column\n900,weight\n": "no row 900",
        "order_id,column\n-5,weight\n": "no row of .* has order_id -5",
        "row,column\n1,colour\n": "'colour', in line 1",
        "row\n1\n": "no column 'column'",
        "column\nweight\n": "which rows",
        "row,column\nx,weight\n": "no whole number",
        "row,column\n,weight\n": "does not say which row",
    }
    for text, said in cases.items():
        (tmp_path / "mask.csv").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            complete(shop.pipeline, DAY, mask=str(tmp_path / "mask.csv"))
    with pytest.raises(ConfigError, match="cannot be read"):
        complete(shop.pipeline, DAY, mask=str(tmp_path / "none.csv"))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        complete(shop.pipeline, DAY, coverage=1.0)
    score(shop.pipeline, DAY)
    with pytest.raises(ConfigError, match="which partition"):
        due_completions(shop.pipeline, str(tmp_path / "mask.csv"))
    assert {k: v for k, v in tree(shop.output).items() if k in before} == before


def test_a_mask_of_several_partitions(shop: Shop, tmp_path: Path) -> None:
    for number in (FRESH, FRESH + 1):
        score(shop.pipeline, day(number))
    lines = ["partition,row,column", f"{day(FRESH)},3,weight", f"{DAY},4,weight", f"{day(FRESH + 1)},5,weight"]
    mask = tmp_path / "mask.csv"
    mask.write_text("\n".join(lines), encoding="utf-8")
    done = run_ae("complete", shop.yaml, "--mask", mask, "--json")
    assert done.code == 0 and len(done.json["completed"]) == 2
    rows = [
        {
            one["row"]
            for one in read(shop, "completions", f"date={day(number)}").to_pylist()
            if one["column"] == "weight"
        }
        for number in (FRESH, FRESH + 1)
    ]
    assert rows == [{3, 4}, {5}]


def test_completion_does_not_hang_on_where_files_are_cut(shop: Shop) -> None:
    table = gaps(spoil(make_orders(1_500, day(FRESH))), ["weight", "price", "product"], 0.3)
    write_day(shop.source, FRESH, table)
    complete(shop.pipeline, DAY)
    whole, told = read(shop, "completed"), read(shop, "completions")
    shutil.rmtree(shop.source / DAY)
    for number, start in enumerate(range(0, 1_500, 400)):
        write_day(shop.source, FRESH, table.slice(start, 400), f"part-{number}.parquet", row_group_size=111)
    first = complete(shop.pipeline, DAY)
    assert complete(shop.pipeline, DAY).outputs == first.outputs, "the same bytes again"
    again = read(shop, "completions")
    assert plain(read(shop, "completed")).column("product").equals(plain(whole).column("product"))
    keep = ["row", "column", "words"]
    assert again.select(keep).equals(told.select(keep))
    same = [one == other for one, other in zip(again.to_pylist(), told.to_pylist(), strict=True)]
    assert np.mean(same) > 0.99, "but for what rounds the other way"


def test_what_is_due(shop: Shop) -> None:
    assert due_completions(shop.pipeline) == {}, "nothing was scored yet"
    assert "nothing was scored yet" in run_ae("complete", shop.yaml).out
    score(shop.pipeline, DAY)
    assert due_completions(shop.pipeline) == {DAY: None}
    complete(shop.pipeline, DAY)
    assert due_completions(shop.pipeline) == {}
    assert due_completions(shop.pipeline, coverage=0.5) == {DAY: None}, "at another rate"
    write_day(shop.source, FRESH, make_orders(50, day(FRESH)))
    assert due_completions(shop.pipeline) == {DAY: None}, "its files changed"


def test_what_is_due_elsewhere(shop: Shop, tmp_path: Path) -> None:
    score(shop.pipeline, DAY)
    complete(shop.pipeline, DAY)
    where = str(tmp_path / "elsewhere")
    assert due_completions(shop.pipeline, output=where) == {DAY: None}, "there it is not completed"
    done = run_ae("complete", shop.yaml, "--output", where)
    assert done.code == 0 and DAY in done.out and (tmp_path / f"elsewhere/completed/{DAY}/part-0.parquet").is_file()
    assert "nothing to do" in run_ae("complete", shop.yaml, "--output", where).out


def test_a_mask_is_about_the_partitions_that_it_names(shop: Shop, tmp_path: Path) -> None:
    later, mask = f"date={day(FRESH + 1)}", tmp_path / "mask.csv"
    for name in (DAY, later):
        score(shop.pipeline, name)
    complete(shop.pipeline, DAY)
    for text in (f"partition,row,column\n{later},5,weight\n", f"date,row,column\n{day(FRESH + 1)},5,weight\n"):
        mask.write_text(text, encoding="utf-8")
        assert due_completions(shop.pipeline, str(mask)) == {later: str(mask)}, "the other one is completed already"
    complete(shop.pipeline, later, mask=str(mask))
    assert due_completions(shop.pipeline, str(mask)) == {}
    other = tmp_path / "other.csv"
    other.write_text(f"partition,row,column\n{DAY},5,weight\n", encoding="utf-8")
    assert due_completions(shop.pipeline, str(other)) == {DAY: str(other)}, "what the first mask filled stays"
    for text in ("partition,row,column\n", "date,row,column\n"):
        other.write_text(text, encoding="utf-8")
        assert due_completions(shop.pipeline, str(other)) == {}, "it names nothing"
    trained = next(path.name for path in sorted(shop.source.iterdir()))
    shutil.rmtree(shop.source / trained)
    other.write_text(f"partition,row,column\n{trained},5,weight\n", encoding="utf-8")
    assert due_completions(shop.pipeline, str(other)) == {}, "it was there once"
    for text in ("partition,row,column\n2024-02-31,5,weight\n", "date,row,column\n2024-02-31,5,weight\n"):
        mask.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"no partition date=2024-02-31, in line 1"):
            due_completions(shop.pipeline, str(mask))


def test_the_word_that_is_filled_in_comes_first(shop: Shop) -> None:
    table = gaps(make_orders(600, day(FRESH)), ["product", "store"], 0.3)
    write_day(shop.source, FRESH, table)
    complete(shop.pipeline, DAY, coverage=0.95)
    told = [one for one in read(shop, "completions").to_pylist() if one["words"]]
    assert max(len(one["words"]) for one in told) > 1
    assert all(one["words"][0] == one["value"] for one in told)
    assert all(len(set(one["words"])) == len(one["words"]) for one in told)


def test_what_the_guard_refused_is_not_completed(shop: Shop) -> None:
    write_day(shop.source, FRESH, foreign(make_orders(200, day(FRESH))))
    for job in (score, complete):
        with pytest.raises(UnfamiliarError):
            job(shop.pipeline, DAY)
    assert not (shop.output / "completed").exists()


def test_a_version_without_intervals_says_so(shop: Shop) -> None:
    registry = Registry(str(shop.output))
    card, files = registry.read(registry.champion())
    kept = {name: array for name, array in load_arrays(files[REFERENCE]).items() if not name.startswith("complete.")}
    older = registry.register({**files, REFERENCE: save_arrays(kept)}, card)
    promote(shop.pipeline, older, force=True)
    write_day(shop.source, FRESH, gaps(make_orders(100, day(FRESH)), ["weight", "product"], 0.3))
    record = complete(shop.pipeline, DAY)
    assert "Train anew" in record.notes[0] and record.filled > 50
    told = read(shop, "completions")
    assert all(told.column(name).null_count == told.num_rows for name in ("low", "high", "words"))
    assert told.column("value").null_count == 0


def test_a_failure_leaves_everything_as_it_was(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(shop.pipeline, DAY)
    before = tree(shop.output)
    table = make_orders(100, day(FRESH)).drop_columns(["weight"])
    with pytest.raises(DataError, match="'weight' is missing"):
        write_day(shop.source, FRESH, table)
        complete(shop.pipeline, DAY)

    def fail(_: Commit) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Commit, "apply", fail)
    write_day(shop.source, FRESH, make_orders(100, day(FRESH)))
    with pytest.raises(OSError, match="gone"):
        complete(shop.pipeline, DAY)
    assert tree(shop.output) == before


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def test_pictures_are_completed_where_a_mask_is_white(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "boards")
    names = sorted(path.name for path in (shop.source / DAY).iterdir())
    (shop.source / DAY / "zz_broken.png").write_bytes(b"no picture")
    masks, rng, covered = tmp_path / "masks", np.random.default_rng(1), []
    masks.mkdir()
    for name in names[:20]:
        hidden = rng.random((24, 24)) < 0.6
        (masks / name).write_bytes(png(np.where(hidden, np.uint8(255), np.uint8(0))))
    record = complete(shop.pipeline, DAY, mask=str(masks), coverage=0.8)
    assert record.rows_completed == 20 and record.unreadable_rows == 1 and record.left == 0
    for one in read(shop, "completions").to_pylist():
        hidden = pixels(one["mask"]) > 0
        true = pixels((shop.source / DAY / one["file"]).read_bytes())
        made = pixels((shop.output / "completed" / DAY / one["file"]).read_bytes())
        low, high = pixels(one["low"]), pixels(one["high"])
        assert one["filled"] == hidden.sum() and (made == true)[~hidden].all()
        assert ((low <= made) & (made <= high)).all() and (low == high)[~hidden].all()
        assert np.abs(made.astype(float) - true)[hidden].mean() < 20, "black to white is 255"
        covered.append(((low <= true) & (true <= high))[hidden].mean())
    assert 0.7 < np.mean(covered) < 0.95
    for name in [*names[20:], "zz_broken.png"]:
        assert (shop.output / "completed" / DAY / name).read_bytes() == (shop.source / DAY / name).read_bytes()
    assert complete(shop.pipeline, DAY, mask=str(masks), coverage=0.8).outputs == record.outputs, "the same bytes"
    (masks / names[0]).write_bytes(png(np.full((9, 9), 255, np.uint8)))
    before = tree(shop.output)
    with pytest.raises(DataError, match="the mask is 9 x 9"):
        complete(shop.pipeline, DAY, mask=str(masks))
    assert tree(shop.output) == before


def test_transparent_pixels_are_filled_and_opaque_then(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "boards")
    true, holes = board(77), np.zeros((24, 24), bool)
    holes[8:14, 6:18] = True
    alpha = np.where(holes, 0, 255).astype(np.uint8)
    Image.fromarray(np.stack([true, alpha], axis=2), "LA").save(shop.source / DAY / "a_hole.png")
    Image.fromarray(np.zeros((24, 24, 4), np.uint8), "RGBA").save(shop.source / DAY / "b_nothing.png")
    record = complete(shop.pipeline, DAY)
    assert (record.filled, record.left, record.rows_completed) == (int(holes.sum()), 24 * 24, 2)
    made = np.asarray(Image.open(shop.output / "completed" / DAY / "a_hole.png").convert("LA"))
    assert (made[..., 1] == 255).all() and (made[..., 0] == true)[~holes].all()
    assert np.abs(made[..., 0].astype(float) - true)[holes].mean() < 12
    nothing = read(shop, "completions").to_pylist()[1]
    assert nothing["file"] == "b_nothing.png" and nothing["low"] is None and nothing["filled"] == 0


def test_pictures_of_a_table_and_masks_of_a_table(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "boards")
    names = sorted(path.name for path in (shop.source / DAY).iterdir())[:6]
    images = [(shop.source / DAY / name).read_bytes() for name in names]
    table = pa.table({"file": names, "image": pa.array(images, pa.binary())})
    pq.write_table(table, tmp_path / "pictures.parquet")
    hidden = png(np.where(np.random.default_rng(2).random((24, 24)) < 0.5, np.uint8(255), np.uint8(0)))
    pq.write_table(pa.table({"file": names[1:3], "mask": [hidden] * 2}), tmp_path / "masks.parquet")
    said = {"source": str(tmp_path / "pictures.parquet"), "output": str(tmp_path / "out")}
    record = complete(shop.pipeline, mask=str(tmp_path / "masks.parquet"), **said)
    assert record.rows_completed == 2
    whole = pq.read_table(tmp_path / "out/completed/part-0.parquet")
    assert whole.schema.equals(table.schema)
    same = [one == other for one, other in zip(whole.column("image"), table.column("image"), strict=True)]
    assert same == [True, False, False, True, True, True]
    (tmp_path / "one.png").write_bytes(hidden)
    assert complete(shop.pipeline, mask=str(tmp_path / "one.png"), **said).rows_completed == 6, "one mask for all"
    score(shop.pipeline, DAY)
    (tmp_path / f"masks/{DAY}").mkdir(parents=True)
    (tmp_path / f"masks/{DAY}/one.png").write_bytes(hidden)
    assert partitions_in(str(tmp_path / "masks"), shop.pipeline) == {DAY}, "folders are called as the partitions"
    (tmp_path / "masks/two.png").write_bytes(hidden)
    assert partitions_in(str(tmp_path / "masks"), shop.pipeline) is None
    pq.write_table(pa.table({"row": [0], "mask": [hidden], "partition": [None]}), tmp_path / "masks.parquet")
    assert partitions_in(str(tmp_path / "masks.parquet"), shop.pipeline) is None, "of every partition"
    pq.write_table(
        pa.table({"row": [0, 0], "mask": [hidden] * 2, "partition": [day(FRESH + 1), day(FRESH)]}),
        tmp_path / "masks.parquet",
    )
    for name in ("one.png", "masks.parquet"):
        assert due_completions(shop.pipeline, str(tmp_path / name)) == {DAY: str(tmp_path / name)}
    assert complete(shop.pipeline, DAY, mask=str(tmp_path / "masks.parquet")).rows_completed == 1
    pq.write_table(pa.table({"mask": [hidden]}), tmp_path / "masks.parquet")
    with pytest.raises(ConfigError, match="does not say what to fill"):
        complete(shop.pipeline, mask=str(tmp_path / "masks.parquet"), **said)


def test_pictures_of_an_older_version_are_completed_without_intervals(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "boards")
    registry = Registry(str(shop.output))
    card, files = registry.read(registry.champion())
    arrays = {k: v for k, v in load_arrays(files[REFERENCE]).items() if not k.startswith(("pixels.", "whole.shares"))}
    basis = arrays["whole.basis"][0]
    sizes = np.linalg.norm(basis, axis=0)
    older = {"mean": arrays["whole.mean"][0], "basis": basis / np.maximum(sizes, 1e-9), "variances": sizes**2}
    arrays |= {f"whole.{name}": np.ascontiguousarray(array) for name, array in older.items()}
    version = registry.register({**files, REFERENCE: save_arrays(arrays)}, card)
    (tmp_path / "mask.png").write_bytes(png(np.where(np.eye(24) > 0, np.uint8(255), np.uint8(0))))
    new = complete(shop.pipeline, DAY, mask=str(tmp_path / "mask.png"), output=str(tmp_path / "new"))
    promote(shop.pipeline, version, force=True)
    old = complete(shop.pipeline, DAY, mask=str(tmp_path / "mask.png"), output=str(tmp_path / "old"))
    assert not new.notes and "Train anew" in old.notes[0] and old.filled == new.filled
    told = pq.read_table(tmp_path / f"old/completions/{DAY}/part-0.parquet", partitioning=None)
    assert told.column("low").null_count == told.num_rows
    for name in sorted(path.name for path in (shop.source / DAY).iterdir())[:5]:
        pair = [
            pixels((tmp_path / where / "completed" / DAY / name).read_bytes()).astype(int) for where in ("old", "new")
        ]
        assert np.abs(pair[0] - pair[1]).max() <= 1, "one cluster is what earlier releases had"


def test_from_the_command_line(shop: Shop, tmp_path: Path) -> None:
    write_day(shop.source, FRESH, gaps(make_orders(300, day(FRESH)), ["weight"], 0.5))
    score(shop.pipeline, DAY)
    done = run_ae("complete", shop.yaml, "--json")
    assert done.code == 0 and [each["partition"] for each in done.json["completed"]] == [DAY]
    again = run_ae("complete", shop.yaml)
    assert again.code == 0 and "nothing to do" in again.out
    one = run_ae("complete", shop.yaml, "--partition", day(FRESH), "--coverage", "0.5")
    assert one.code == 0 and "cells filled in" in one.out
    other = run_ae("complete", shop.yaml, "--input", shop.source / DAY, "--output", tmp_path / "elsewhere", "--json")
    assert other.code == 0 and (tmp_path / "elsewhere/completions/part-0.parquet").is_file()
    assert run_ae("complete", shop.yaml, "--partition", day(FRESH), "--coverage", "2").code == 2


def test_a_mask_s_rows_are_those_that_are_meant(shop: Shop) -> None:
    def asked(name: str, head: str, *lines: str) -> str:
        path = shop.root / name
        path.write_text("\n".join([head, *lines]) + "\n")
        return str(path)

    table = pq.read_table(shop.source / f"date={day(FRESH)}/part-0.parquet", partitioning=None)
    ids = table.column("order_id").to_pylist()
    for said, head, *lines in [
        ("row 3 has other keys", "row,order_id,column", f"3,{ids[4]},weight"),
        ("does not say which partition", "row,column,partition", "0,weight,"),
    ]:
        with pytest.raises(ConfigError, match=said):
            complete(shop.pipeline, day(FRESH), mask=asked("mask.csv", head, *lines))
    assert not (shop.output / "completed").exists()
    right = asked("mask.csv", "row,order_id,column,partition", f"3,{ids[3]},weight,{day(FRESH)}")
    complete(shop.pipeline, day(FRESH), mask=right)
    elsewhere = asked("other.csv", "row,column,partition", "0,weight,2031-01-01")
    record = complete(shop.pipeline, day(FRESH), mask=elsewhere)
    assert any("names no cell of" in note for note in record.notes)


def test_a_key_that_is_named_like_a_column_of_it_is_a_mistake(shop: Shop) -> None:
    def renamed(name: str) -> None:
        for path in shop.source.rglob("*.parquet"):
            table = pq.read_table(path, partitioning=None)
            pq.write_table(table.rename_columns([name if c == "order_id" else c for c in table.column_names]), path)

    renamed("value")
    shop = shop.set(source={"keys": ["value"]})
    train_and_promote(shop)
    with pytest.raises(ConfigError, match=r"key 'value' is named like a column of completions/"):
        complete(shop.pipeline, day(FRESH))
    assert not (shop.output / "completed").exists()
