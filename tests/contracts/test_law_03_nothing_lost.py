"""Law 3: every input row is in scores/ and denoised/ once, in order, or the run failed and changed nothing."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ae_plugin.errors import DataError
from ae_plugin.jobs.score import score
from tests.boards import BROKEN, as_table, board, good, png, put_day, scratched, written
from tests.conftest import Trained
from tests.running import tree
from tests.shop import FRESH, Shop, day, make_orders, spoil

FEW = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def test_rows_come_out_once_and_in_order_over_any_files(each: Trained) -> None:
    @FEW
    @given(sizes=st.lists(st.integers(0, 90), min_size=1, max_size=9).filter(any))
    def check(sizes: list[int]) -> None:
        with TemporaryDirectory() as folder:
            shop = each.shop.copy(Path(folder)).set(score={"on_unfamiliar": "score"})
            ids = write_files(shop, sizes)
            record = score(shop.pipeline, day(FRESH))
            found = shop.read("scores", FRESH)
            assert found["order_id"].to_pylist() == ids
            assert found["row"].to_pylist() == list(range(len(ids)))
            assert shop.read("denoised", FRESH)["order_id"].to_pylist() == ids
            assert record.rows == len(ids)

    check()


def write_files(shop: Shop, sizes: list[int]) -> list[int]:
    """Cut a day of faulty orders into files of these sizes; return the order ids."""
    folder = shop.source / f"date={day(FRESH)}"
    for path in folder.iterdir():
        path.unlink()
    table = spoil(make_orders(sum(sizes), day(FRESH), seed=1, first_id=5_000))
    start = 0
    for number, size in enumerate(sizes):
        pq.write_table(table.slice(start, size), folder / f"part-{number:02d}.parquet", row_group_size=13)
        start += size
    ids: list[int] = table["order_id"].to_pylist()
    return ids


def test_many_rows_cross_every_buffer_in_order(each: Trained, tmp_path: Path) -> None:
    """More rows than a record batch, a network block and a row group of the output hold."""
    shop = each.shop.copy(tmp_path).set(score={"on_unfamiliar": "score"})
    small = make_orders(1_000, day(FRESH), seed=1)
    many = pa.concat_tables([small] * 70)
    many = many.set_column(0, "order_id", pa.array(range(70_000), pa.int64()))
    pq.write_table(many, shop.source / f"date={day(FRESH)}" / "part-0.parquet", row_group_size=30_000)
    score(shop.pipeline, day(FRESH))
    assert shop.read("scores", FRESH)["row"].to_pylist() == list(range(70_000))
    assert shop.read("denoised", FRESH)["order_id"].to_pylist() == list(range(70_000))
    cells = shop.read("cells", FRESH)
    assert cells["row"].to_pylist() == sorted(cells["row"].to_pylist()) == cells["order_id"].to_pylist()


def test_every_cell_belongs_to_a_flagged_row(each: Trained, tmp_path: Path) -> None:
    shop = each.shop.copy(tmp_path).set(score={"alert_rate": 0.05, "on_unfamiliar": "score"})
    write_files(shop, [400, 200])
    record = score(shop.pipeline, day(FRESH))
    scores, cells = shop.read("scores", FRESH), shop.read("cells", FRESH)
    flagged = {row for row, odd in enumerate(scores["is_anomaly"].to_pylist()) if odd}
    assert set(cells["row"].to_pylist()) <= flagged
    assert (record.anomalies, record.cells_flagged) == (len(flagged), cells.num_rows)
    assert cells.num_rows > 0
    tops = scores["top_column"].to_pylist()
    assert all((tops[row] is not None) == (row in flagged) for row in range(len(tops)))


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_run_that_fails_in_any_file_changes_nothing(each: Trained, tmp_path: Path, broken: int) -> None:
    shop = each.shop.copy(tmp_path).set(score={"on_unfamiliar": "score"})
    write_files(shop, [100, 100, 100])
    score(shop.pipeline, day(FRESH))
    write_files(shop, [120, 100, 110])
    path = sorted((shop.source / f"date={day(FRESH)}").iterdir())[broken]
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    before = tree(shop.output)
    with pytest.raises(DataError):
        score(shop.pipeline, day(FRESH))
    assert tree(shop.output) == before


# Pictures.

WHOLE = {
    "good": png(board(11)),
    "scratched": png(board(12, scratched=True)),
    "large": png(board(13, side=36)),
    "colour": png(board(14)[..., None].repeat(3, axis=2)),
    "tiny": png(board(15)[:1, :1]),
}
KINDS = {**WHOLE, **BROKEN}


@pytest.mark.parametrize("stored", ["files", "parquet"])
def test_every_picture_comes_out_once_and_in_order(boards: Trained, stored: str) -> None:
    """Whatever stands beside it: what is no picture is a row with an error, and passes through as it is."""

    @FEW
    @given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=40))
    def check(kinds: list[str]) -> None:
        with TemporaryDirectory() as folder:
            shop = boards.shop.copy(Path(folder)).set(score={"on_unfamiliar": "score"})
            files = {f"{number:02d}_{kind}.png": KINDS[kind] for number, kind in enumerate(kinds)}
            put_day(shop.source, FRESH, files)
            source = None
            if stored == "parquet":
                source = str(Path(folder) / "pictures.parquet")
                pq.write_table(as_table(files), source, row_group_size=7)
            record = score(shop.pipeline, day(FRESH), source=source, output=str(shop.output))
            scores = shop.read("scores", FRESH)
            assert scores["file"].to_pylist() == list(files) and scores["row"].to_pylist() == list(range(len(files)))
            assert list(written(shop.output, FRESH)) == list(files)
            broken = [kind in BROKEN for kind in kinds]
            for name in ("anomaly_score", "p_value", "is_anomaly"):
                assert scores[name].is_null().to_pylist() == broken, name
            assert scores["error"].is_valid().to_pylist() == broken
            assert (record.rows, record.unreadable_rows) == (len(files), sum(broken))
            for (name, data), found in zip(files.items(), written(shop.output, FRESH).values(), strict=True):
                assert name.partition("_")[2].removesuffix(".png") in WHOLE or found == data

    check()


def test_many_pictures_cross_every_buffer_in_order(boards: Trained, tmp_path: Path) -> None:
    """More of them than a record batch, the network's tiles and a row group of the output hold."""
    shop = boards.shop.copy(tmp_path).set(score={"on_unfamiliar": "score"})
    names = [f"{number:04d}.png" for number in range(600)]
    images = [*WHOLE.values(), BROKEN["cut"]]
    put_day(shop.source, FRESH, {name: images[number % 6] for number, name in enumerate(names)})
    score(shop.pipeline, day(FRESH))
    scores, heat = shop.read("scores", FRESH), shop.read("heatmaps", FRESH)
    assert scores["file"].to_pylist() == names and scores["row"].to_pylist() == list(range(600))
    assert list(written(shop.output, FRESH)) == names
    flagged = [row for row, odd in enumerate(scores["is_anomaly"].to_pylist()) if odd]
    assert heat["row"].to_pylist() == flagged and heat["file"].to_pylist() == [names[row] for row in flagged]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_run_over_pictures_that_fails_in_any_file_changes_nothing(
    boards: Trained, tmp_path: Path, broken: int
) -> None:
    """Of Parquet, of which no row can be told when it is broken."""
    shop = boards.shop.copy(tmp_path / "shop").set(score={"on_unfamiliar": "score"})
    folder = tmp_path / "parquet"
    folder.mkdir()
    for number in range(2):
        pq.write_table(as_table(good(30, number)), folder / f"part-{number}.parquet")
    score(shop.pipeline, day(FRESH), source=str(folder), output=str(shop.output))
    for number in range(2):
        pq.write_table(as_table(scratched(30, number)), folder / f"part-{number}.parquet")
    path = folder / f"part-{broken}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 400] = bytes(400)
    path.write_bytes(content)
    before = tree(shop.output)
    with pytest.raises(DataError):
        score(shop.pipeline, day(FRESH), source=str(folder), output=str(shop.output))
    assert tree(shop.output) == before
