"""Law 1: scores do not depend on where record batches, files or row groups are cut."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ae_plugin.core.explain import Options, ScoredBatch, score_batch, score_batches
from ae_plugin.core.features import partition_time
from ae_plugin.core.picture_scoring import PictureScorer, ScoredPicture
from ae_plugin.core.pictures import Picture, decode
from ae_plugin.core.scoring import Scorer
from ae_plugin.engines import pictures as engine
from ae_plugin.jobs.pictures.versions import load_picture_version
from ae_plugin.jobs.score import score
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version
from tests.boards import BROKEN, as_table, board, png, put_day, written
from tests.conftest import Trained
from tests.shop import FRESH, Shop, day, make_orders, plain, spoil

ROWS = 700
CUTS = st.lists(st.integers(0, ROWS), max_size=6).map(lambda cuts: [0, *sorted(cuts), ROWS])
FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Normal and faulty rows of a day."""
    return spoil(make_orders(ROWS, day(FRESH), seed=5), seed=5)


@pytest.fixture(scope="module")
def scorer(each: Trained) -> Scorer:
    """With an alert_rate that leaves much to explain."""
    registry = Registry(str(each.shop.output))
    return load_version(registry, registry.champion(), 0.1).scorer


@pytest.fixture(scope="module", params=["repair", "full"])
def options(request: pytest.FixtureRequest) -> Options:
    return Options(full=request.param == "full", reference=partition_time(f"date={day(FRESH)}"))


@pytest.fixture(scope="module")
def whole(table: pa.Table, scorer: Scorer, options: Options) -> dict[str, pa.Table]:
    found = joined([score_batch(one(table), scorer, options)])
    assert found["cells"].num_rows > 20, "nothing to compare"
    return found


def one(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def joined(parts: list[ScoredBatch]) -> dict[str, pa.Table]:
    """What a stream of scored batches says, cells' rows counted from the stream's start."""
    starts = np.cumsum([0, *(part.source.num_rows for part in parts)])
    scores = [
        pa.table(
            {
                "anomaly_score": part.rows.anomaly_score,
                "p_value": part.rows.p_value,
                "is_anomaly": part.rows.is_anomaly,
                "top_column": part.top_column,
            }
        )
        for part in parts
    ]
    cells = [
        part.cells.set_column(0, "row", pa.array(part.cells["row"].to_numpy() + start, pa.int64()))
        for part, start in zip(parts, starts, strict=False)
    ]
    denoised = [plain(pa.Table.from_batches([part.denoised])) for part in parts]
    return {
        "scores": plain(pa.concat_tables(scores)),
        "cells": plain(pa.concat_tables(cells)),
        "denoised": plain(pa.concat_tables(denoised)),
        "guard": pa.table({"count": np.sum([part.bin_counts for part in parts], axis=0)}),
    }


@FEW
@given(cuts=CUTS)
def test_record_batches_may_be_cut_anywhere(
    table: pa.Table, scorer: Scorer, options: Options, whole: dict[str, pa.Table], cuts: list[int]
) -> None:
    batches = [one(table).slice(a, b - a) for a, b in zip(cuts, cuts[1:], strict=False)]
    found = joined(list(score_batches(batches, scorer, options)))
    for name, wanted in whole.items():
        assert found[name].equals(wanted), name


@FEW
@given(row=st.integers(0, ROWS - 1))
def test_a_row_alone_scores_as_in_its_table(
    table: pa.Table, scorer: Scorer, options: Options, whole: dict[str, pa.Table], row: int
) -> None:
    found = joined([score_batch(one(table.slice(row, 1)), scorer, options)])
    assert found["scores"].equals(whole["scores"].slice(row, 1).combine_chunks())
    assert found["denoised"].equals(whole["denoised"].slice(row, 1).combine_chunks())
    own = whole["cells"].filter(pa.compute.equal(whole["cells"]["row"], row))
    assert found["cells"].drop_columns("row").equals(own.drop_columns("row").combine_chunks())


@FEW
@given(order=st.permutations(list(range(8))))
def test_neighbours_do_not_matter(
    table: pa.Table, scorer: Scorer, options: Options, whole: dict[str, pa.Table], order: list[int]
) -> None:
    pieces = np.array_split(np.arange(ROWS), 8)
    moved = np.concatenate([pieces[i] for i in order])
    found = joined([score_batch(one(table.take(pa.array(moved))), scorer, options)])
    for name in ("scores", "denoised"):
        assert found[name].equals(whole[name].take(pa.array(moved)).combine_chunks()), name


def test_many_rows_score_as_few(each: Trained, table: pa.Table, scorer: Scorer, options: Options) -> None:
    """The same rows over and over, so that there are more of them than one network block holds."""
    many = score_batch(one(pa.concat_tables([table] * 13)), scorer, options).rows
    few = score_batch(one(table), scorer, options).rows
    assert np.array_equal(np.tile(few.anomaly_score, 13), many.anomaly_score)
    assert np.array_equal(np.tile(few.p_value, 13), many.p_value)


def write_cut(folder: Path, table: pa.Table, cuts: list[int], group: int, fmt: str = "parquet") -> None:
    folder.mkdir(parents=True)
    for number, (a, b) in enumerate(zip(cuts, cuts[1:], strict=False)):
        pq.write_table(table.slice(a, b - a), folder / f"part-{number:03d}.{fmt}", row_group_size=group)


def outputs(shop: Shop, source: Path, output: Path) -> dict[str, pa.Table]:
    score(shop.pipeline, day(FRESH), source=str(source), output=str(output))
    where = f"date={day(FRESH)}/part-0.parquet"
    return {name: plain(pq.ParquetFile(output / name / where).read()) for name in ("scores", "cells", "denoised")}


@settings(FEW, max_examples=6)
@given(cuts=CUTS, group=st.sampled_from([1, 7, 64, 1000]))
def test_files_and_row_groups_may_be_cut_anywhere(each: Trained, table: pa.Table, cuts: list[int], group: int) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        write_cut(root / "whole", table, [0, ROWS], 100_000)
        write_cut(root / "cut", table, cuts, group)
        pipeline = each.shop.copy(root / "shop").set(score={"alert_rate": 0.1, "on_unfamiliar": "score"})
        wanted = outputs(pipeline, root / "whole", root / "out-whole")
        found = outputs(pipeline, root / "cut", root / "out-cut")
        assert wanted["scores"].num_rows == ROWS
        for name, content in wanted.items():
            assert found[name].equals(content), name


# Pictures.

MANY = 60


def mixed(count: int = MANY) -> dict[str, bytes]:
    """Pictures of many sizes and modes, scratched and whole, and files that are none; by name, in order."""
    found: dict[str, bytes] = {}
    for number in range(count):
        side = (24, 24, 30, 17, 40, 5)[number % 6]
        pixels = board(number, scratched=number % 4 == 0, side=max(side, 24))[
            :side, : max(side - 3, 1) if number % 5 == 0 else side
        ]
        kind = ("PNG", "BMP", "TIFF")[number % 3]
        found[f"{number:03d}"] = png(np.dstack([pixels] * 3) if number % 7 == 0 else pixels, kind)
    for number, data in zip(range(3, count, 11), BROKEN.values(), strict=False):
        found[f"{number:03d}"] = data
    return found


@pytest.fixture(scope="module")
def picture_scorer(boards: Trained) -> PictureScorer:
    registry = Registry(str(boards.shop.output))
    return load_picture_version(registry, registry.champion(), 0.1).scorer


@pytest.fixture(scope="module")
def some_pictures() -> list[Picture]:
    _, found = next(iter(engine.decoded([one(as_table(mixed()))])))
    return [picture for picture in found if isinstance(picture, Picture)]


def same(found: ScoredPicture, wanted: ScoredPicture) -> bool:
    return all(np.array_equal(getattr(found, name), getattr(wanted, name)) for name in vars(wanted))


@settings(FEW, max_examples=6)
@given(data=st.data())
def test_a_picture_scores_the_same_in_any_company(
    picture_scorer: PictureScorer, some_pictures: list[Picture], data: st.DataObject
) -> None:
    """However many there are, in whichever order, and in whatever pieces."""
    wanted = list(picture_scorer.score(some_pictures))
    order = data.draw(st.permutations(range(len(some_pictures))))
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=5))), len(order)]
    found = [
        scored
        for a, b in zip(cuts, cuts[1:], strict=False)
        for scored in picture_scorer.score([some_pictures[i] for i in order[a:b]])
    ]
    assert all(same(own, wanted[i]) for own, i in zip(found, order, strict=True))


@settings(FEW, max_examples=6)
@given(
    cuts=st.lists(st.integers(0, MANY), max_size=5).map(lambda cuts: [0, *sorted(cuts), MANY]),
    group=st.sampled_from([1, 7, 64]),
    rows=st.sampled_from([1, 5, 256]),
    size=st.sampled_from([1, 9_000, 2**25]),
)
def test_pictures_may_be_cut_anywhere(boards: Trained, cuts: list[int], group: int, rows: int, size: int) -> None:
    """Into files, row groups and record batches, by how many they are and by how large."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root, table = Path(folder), as_table(mixed())
        write_cut(root / "whole", table, [0, MANY], 100_000)
        write_cut(root / "cut", table, cuts, group)
        shop = boards.shop.copy(root / "shop").set(score={"alert_rate": 0.1, "on_unfamiliar": "score"})
        wanted = picture_outputs(shop, root / "whole", root / "out-whole")
        assert wanted["heatmaps"].num_rows > 5 and wanted["scores"].num_rows == MANY
        patch.setattr(engine.PictureReader.__init__, "__defaults__", (rows, size))
        patch.setattr("ae_plugin.jobs.pictures.score._UNIT_BYTES", size)
        found = picture_outputs(shop, root / "cut", root / "out-cut")
        for name, content in wanted.items():
            assert found[name].equals(content), name


def test_files_and_parquet_score_alike(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "shop").set(score={"alert_rate": 0.1, "on_unfamiliar": "score"})
    put_day(tmp_path / "files", FRESH, {f"{name}.png": data for name, data in mixed().items()})
    write_cut(tmp_path / "parquet", as_table(mixed()), [0, 20, MANY], 7)
    score(shop.pipeline, day(FRESH), source=str(tmp_path / f"files/date={day(FRESH)}"), output=str(tmp_path / "out"))
    wanted = picture_outputs(shop, tmp_path / "parquet", tmp_path / "out-parquet")
    for name in ("scores", "heatmaps"):
        own = plain(pq.ParquetFile(tmp_path / f"out/{name}/date={day(FRESH)}/part-0.parquet").read())
        assert own.drop_columns("file").equals(wanted[name].drop_columns("file")), name
    mended = written(tmp_path / "out", FRESH)
    assert list(mended) == [f"{name}.png" for name in mixed()]
    for data, own in zip(wanted["denoised"]["image"].to_pylist(), mended.values(), strict=True):
        assert data == own or np.array_equal(decode(data).pixels, decode(own).pixels), "but for the container"


def picture_outputs(shop: Shop, source: Path, output: Path) -> dict[str, pa.Table]:
    score(shop.pipeline, day(FRESH), source=str(source), output=str(output))
    where = f"date={day(FRESH)}/part-0.parquet"
    return {name: plain(pq.ParquetFile(output / name / where).read()) for name in ("scores", "denoised", "heatmaps")}
