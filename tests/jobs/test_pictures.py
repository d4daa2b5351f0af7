"""Pictures from folders and from Parquet: trained on, scored, repaired, refused."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import threshold
from ae_plugin.core.picture_scoring import Verdict
from ae_plugin.core.pictures import decode
from ae_plugin.engines.pictures import PictureReader
from ae_plugin.errors import ConfigError, DataError, UnfamiliarError
from ae_plugin.jobs.check import check
from ae_plugin.jobs.pictures import gallery as gallery_job
from ae_plugin.jobs.pictures import history
from ae_plugin.jobs.pictures.gallery import pack_gallery, read_gallery
from ae_plugin.jobs.pictures.score import PictureRun
from ae_plugin.jobs.pictures.versions import load_picture_version
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.report import report, stored
from ae_plugin.jobs.report.sheet import NEIGHBOURS
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import train
from ae_plugin.schemas import TrainReport
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from tests import boards as drawn
from tests.boards import png

SIDE = 40
board, checks = functools.partial(drawn.board, side=SIDE), functools.partial(drawn.checks, side=SIDE)


def write(folder: Path, day: int, pictures: dict[str, bytes]) -> None:
    (folder / f"day={day}").mkdir(parents=True)
    for name, data in pictures.items():
        (folder / f"day={day}" / name).write_bytes(data)


@dataclass(frozen=True)
class Boards:
    root: Path
    report: TrainReport

    @property
    def pipeline(self) -> Pipeline:
        return pipeline_of(self.root)

    def files(self, dataset: str, day: int, output: str = "out") -> dict[str, bytes]:
        """Content of the picture files of a partition, by their path below it."""
        folder = self.root / output / dataset / f"day={day}"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def read(self, dataset: str, day: int, output: str = "out") -> pa.Table:
        return pq.read_table(self.root / output / dataset / f"day={day}" / "part-0.parquet", partitioning=None)


def pipeline_of(root: Path, **changes: object) -> Pipeline:
    raw: dict[str, object] = {
        "name": "boards",
        "source": {"uri": str(root / "source"), "format": "images", "partition_by": "day"},
        "train": {"until": "3", "steps": 320, "contamination": 0},
        "score": {"alert_rate": 0.05},
        "output": str(root / "out"),
    }
    return Pipeline.model_validate(raw | changes)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    root = tmp_path_factory.mktemp("boards")
    source = root / "source"
    for day in (1, 2, 3):
        write(source, day, {f"{i:03d}.png": png(board(day * 1000 + i)) for i in range(60)})
    good = {f"{i:03d}.png": png(board(7000 + i)) for i in range(40)}
    write(source, 4, good)
    bad = {f"{i:03d}_bad.png": png(board(8000 + i, scratched=True)) for i in range(10)}
    broken = {"x_cut.png": png(board(1))[:200], "x_empty.png": b"", "x_text.png": b"hello"}
    write(source, 5, {**good, **bad, **broken})
    write(source, 6, {f"{i:03d}.png": png(checks(i)) for i in range(32)})
    pipeline = pipeline_of(root)
    report = train(pipeline)
    promote(pipeline, report.model_version, force=True)
    yield Boards(root, report)
    shutil.rmtree(root)


def test_training_tells_what_it_used(boards: Boards) -> None:
    report = boards.report
    assert report.partitions == ["day=1", "day=2", "day=3"] and report.rows_total == 180
    assert report.rows_train + report.rows_validation + report.rows_calibration == 180
    assert report.features == SIDE * SIDE and report.steps <= 320 and report.export_difference < 1e-3
    assert [(c.column, c.role) for c in report.columns][1] == ("image", "learned")
    assert {result.scorer for result in report.gate.results} == {"challenger", "untrained", "pca"}
    assert report.validation_loss < report.loss_curve[0][2]


def test_scratches_are_found_and_mended_and_broken_files_are_rows(boards: Boards) -> None:
    record = score(boards.pipeline, "5")
    assert (record.rows, record.unreadable_rows, record.outcome) == (53, 3, "scored")
    scores = boards.read("scores", 5).to_pandas()
    assert list(scores["file"]) == sorted(scores["file"]) and list(scores["row"]) == list(range(53))
    bad = scores["file"].str.contains("bad")
    assert scores.loc[bad, "is_anomaly"].mean() >= 0.8
    assert scores.loc[~bad, "is_anomaly"].fillna(False).astype(bool).mean() <= 0.2
    unread = scores[scores["file"].str.startswith("x_")]
    assert unread["anomaly_score"].isna().all() and unread["p_value"].isna().all() and unread["is_anomaly"].isna().all()
    assert dict(zip(unread["file"], unread["error"], strict=True))["x_empty.png"] == "is empty"
    assert scores.loc[~scores["file"].str.startswith("x_"), "error"].isna().all()
    assert record.anomalies == int(scores["is_anomaly"].fillna(False).astype(bool).sum())

    heat = boards.read("heatmaps", 5).to_pandas()
    assert list(heat["row"]) == list(scores.loc[scores["is_anomaly"].fillna(False).astype(bool), "row"])
    found = [np.asarray(Image.open(io.BytesIO(data))) for data in heat.loc[heat["file"].str.contains("bad"), "mask"]]
    assert {mask.shape for mask in found} == {(SIDE, SIDE)} and np.mean([mask.any() for mask in found]) >= 0.8

    source = {path.name: path.read_bytes() for path in (boards.root / "source/day=5").iterdir()}
    mended = boards.files("denoised", 5)
    assert mended.keys() == source.keys() and record.cells_repaired == record.cells_imputed == 0
    assert record.pictures_repaired == sum(mended[name] != data for name, data in source.items()) >= 8
    for name in ("x_cut.png", "x_empty.png", "x_text.png"):
        assert mended[name] == source[name], "what cannot be read is passed through"
    before, after = [], []
    for i in range(10):
        whole = board(8000 + i).astype(float)
        for errors, data in ((before, source), (after, mended)):
            pixels = np.asarray(Image.open(io.BytesIO(data[f"{i:03d}_bad.png"]))).astype(float)
            errors.append(((pixels - whole) ** 2).mean())
    assert np.mean(after) < 0.7 * np.mean(before), "nearer to the board without the scratch"


def test_another_kind_of_picture_is_refused_and_kept(boards: Boards) -> None:
    with pytest.raises(UnfamiliarError, match="another kind of picture"):
        score(boards.pipeline, "6")
    source = {path.name: path.read_bytes() for path in (boards.root / "source/day=6").iterdir()}
    assert boards.files("quarantine", 6) == source and len(source) == 32
    assert not (boards.root / "out/scores/day=6").exists()


def test_the_same_bytes_each_time_and_however_it_is_stored(boards: Boards) -> None:
    score(boards.pipeline, "4")
    kept = boards.read("scores", 4)
    score(boards.pipeline, "4", output=str(boards.root / "again"))
    for dataset in ("scores", "denoised", "heatmaps"):
        assert boards.files(dataset, 4) == boards.files(dataset, 4, "again"), dataset
    files = sorted((boards.root / "source/day=4").iterdir())
    table = pa.table({"file": [f.name for f in files], "image": [f.read_bytes() for f in files]})
    for rows in (40, 7):
        pq.write_table(table, boards.root / "input.parquet", row_group_size=rows)
        record = score(boards.pipeline, source=str(boards.root / "input.parquet"), output=str(boards.root / "own"))
        assert record.rows == 40
        own = pq.read_table(boards.root / "own/scores/part-0.parquet")
        assert own["anomaly_score"].equals(kept["anomaly_score"]) and own["p_value"].equals(kept["p_value"])


def test_pictures_of_other_sizes_and_modes_keep_them(boards: Boards) -> None:
    folder = boards.root / "mixed"
    write(folder.parent, 0, {})
    folder.mkdir()
    wide = np.hstack([board(1), board(2), board(3)])
    shapes = {
        "a.png": wide,
        "b.jpg": wide[:17],
        "c.png": np.dstack([wide, wide, wide, np.full_like(wide, 200)]),
        "d.tif": wide.astype(np.uint16) * 257,
    }
    for name, pixels in shapes.items():
        Image.fromarray(pixels).save(folder / name)
    full = pipeline_of(boards.root, score={"alert_rate": 0.05, "denoise": "full", "on_unfamiliar": "score"})
    record = score(full, source=str(folder), output=str(boards.root / "mixed-out"))
    assert (record.rows, record.unreadable_rows) == (4, 0)
    for name, pixels in shapes.items():
        image = np.asarray(Image.open(boards.root / "mixed-out/denoised" / name))
        assert image.shape == pixels.shape and image.dtype == pixels.dtype, name
        if pixels.ndim == 3:
            assert (image[..., 3] == 200).all(), "alpha is kept"


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("score", "cells", "all"), ("score", "alert_rate_of", "alarms"), ("score", "method", "reconstruction")],
)
def test_what_is_for_tables_is_refused(tmp_path: Path, section: str, key: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{section}.{key}: '{value}' is for tables"):
        pipeline_of(tmp_path, **{section: {key: value}})


def test_too_few_pictures(tmp_path: Path) -> None:
    write(tmp_path / "source", 1, {f"{i}.png": png(board(i)) for i in range(5)})
    with pytest.raises(DataError, match="history holds 5 pictures that can be read; at least 20 are needed"):
        train(pipeline_of(tmp_path, train={"steps": 10}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", [(28, 28), (1, 1)], ids=str)
def test_small_pictures_of_any_one_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    """As tiles of that size, or, where they are smaller than any pattern, mirrored into larger ones."""
    for number in (3, 4):
        files = {f"{i:02d}.png": png(board(number * 100 + i, side=90)[: shape[0], : shape[1]]) for i in range(20)}
        write(tmp_path / "source", number, files)
    pipeline = pipeline_of(tmp_path, train={"until": "3", "steps": 1, "contamination": 0})
    promote(pipeline, train(pipeline).model_version, force=True)
    denoised = pipeline.model_copy(update={"score": pipeline.score.model_copy(update={"denoise": "full"})})
    assert score(denoised, "4").rows == 20
    assert np.asarray(Image.open(tmp_path / "out/denoised/day=4/00.png")).shape == shape


def test_a_partition_that_is_not_there(boards: Boards) -> None:
    with pytest.raises(ConfigError, match="no partition day=99"):
        score(boards.pipeline, "99")


def test_a_version_can_be_read_again(boards: Boards) -> None:
    version = load_picture_version(Registry(boards.pipeline.output), boards.report.model_version, 0.05)
    assert version.card.kind == "conv" and version.card.side == (SIDE, SIDE) and version.card.channels == 1
    assert len(version.scorer.reference.calibration) == boards.report.rows_calibration


def test_the_report_shows_a_contact_sheet(boards: Boards) -> None:
    score(boards.pipeline, "5")
    page = Path(report(boards.pipeline)).read_text(encoding="utf-8")
    assert "Anomalous pictures" in page and page.count('src="data:image/png;base64,') >= 3 * 5
    assert "none</span>" not in page and "as it came" in page
    assert page == Path(report(boards.pipeline)).read_text(encoding="utf-8")


def test_check_reads_everything(boards: Boards) -> None:
    found = check(boards.pipeline)
    assert found.champion == boards.report.model_version and found.partitions == 6 and found.notes == []


def test_few_pictures_are_in_memory_at_once(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PictureRun, "group_rows", 16)
    score(boards.pipeline, "4", output=str(boards.root / "grouped"))
    found = pq.ParquetFile(boards.root / "grouped/scores/day=4/part-0.parquet").metadata
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == [16, 16, 8]


def test_what_does_not_fit_is_left_out_evenly(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PIXEL_BYTES", 60 * SIDE * SIDE)
    learned = history.learn_picture_history(boards.pipeline)
    assert learned.total == 180 and sum(learned.counts) == 45
    readers = [PictureReader(files) for files in learned.groups.values()]
    every = [picture.pixels for _, picture in history.decoded_at(readers, set(range(180)))]
    kept = [any(np.array_equal(pixels, one.pixels) for one in learned.calibration) for pixels in every]
    assert all(any(kept[start : start + 60]) for start in (0, 60, 120)), "of each day"


def test_the_sheet_shows_what_a_picture_was_compared_with(boards: Boards) -> None:
    record = score(boards.pipeline, "5")
    page = Path(report(boards.pipeline)).read_text(encoding="utf-8")
    shown = page.count("<figcaption><b>")
    assert shown >= min(record.anomalies, 12) and page.count('class="near"') == shown
    assert page.count('alt="nearest in history: day=') == NEIGHBOURS * shown
    assert re.search(r"A hot spot of \d+ by \d+ pixels around x \d+, y \d+ looks wrong", page)
    assert page.count('type="radio" name="heat"') == 4 and "<script" not in page
    for wanted in ("Learning curve", "Scores of calibration pictures", "Promotion gate", "what each alarm rate means"):
        assert wanted in page, wanted
    for unwanted in ("#cells", "Surprising cells", "there is no calibration table", "PCA of the same dimension"):
        assert unwanted not in page, unwanted
    table = page[page.index('id="calibration-caption"') :]
    known = load_picture_version(Registry(boards.pipeline.output), record.model_version, 0.05).scorer.reference
    assert f"{threshold(known.calibration, 0.05):.3f}" in table[: table.index("</table>")]


def test_neighbours_are_those_nearest_in_code_of_the_scored_picture(boards: Boards) -> None:
    version = boards.report.model_version
    gallery = read_gallery(Registry(boards.pipeline.output), version)
    assert gallery is not None and len(gallery.thumbnails) == len(gallery.codes) == len(gallery.origins) > 20
    scorer = load_picture_version(Registry(boards.pipeline.output), version, 0.05).scorer
    for place in (0, 7, len(gallery.origins) - 1):
        origin = gallery.origins[place]
        data = (boards.root / "source" / origin.partition / str(origin.file)).read_bytes()
        (scored,) = scorer.score([decode(data)])
        assert gallery.nearest(scored.code, 3)[0] == place, "of all, a picture is nearest to itself"
        thumbnail = np.asarray(Image.open(io.BytesIO(gallery.thumbnails[place])))
        assert np.array_equal(thumbnail, decode(data).pixels[..., 0]), "40 pixels are small enough as they are"
    assert {origin.partition for origin in gallery.origins} == {"day=1", "day=2", "day=3"}


def test_a_gallery_is_small_and_holds_no_odd_pictures(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = history.learn_picture_history(boards.pipeline)
    codes = np.random.default_rng(0).normal(size=(len(learned.calibration), 4)).astype(np.float32)
    verdicts = [Verdict(np.float32(i), np.float32(0), codes[i], codes[i], np.float32(0)) for i in range(len(codes))]
    assert pack_gallery(learned, verdicts) == pack_gallery(learned, verdicts)
    monkeypatch.setattr(gallery_job, "MOST_BYTES", 10_000)
    table = pq.read_table(pa.BufferReader(pack_gallery(learned, verdicts)))
    assert 3 <= table.num_rows < 30 and sum(map(len, table["thumbnail"].to_pylist())) <= 12_000
    kept = {(origin.partition, origin.row) for origin in learned.origins[: int(0.9 * len(codes)) + 1]}
    assert set(zip(table["partition"].to_pylist(), table["row"].to_pylist(), strict=True)) <= kept


def test_the_report_without_source_or_with_an_older_version(boards: Boards, tmp_path: Path) -> None:
    score(boards.pipeline, "5")
    shutil.copytree(boards.root / "out", tmp_path / "out")
    shutil.copytree(boards.root / "source/day=6", tmp_path / "source/day=6")
    moved = pipeline_of(tmp_path)
    page = Path(report(moved)).read_text(encoding="utf-8")
    assert "No originals: its source changed since it was scored, or is gone" in page and 'class="near"' not in page
    card = json.loads((tmp_path / "out/_models/v0001/model.json").read_text())
    files = {name: (tmp_path / "out/_models/v0001" / name).read_bytes() for name in card["files"]}
    del files[gallery_job.GALLERY]
    registry = Registry(moved.output)
    older = registry.register(files, {name: value for name, value in card.items() if name != "files"})
    registry.point("champion", older, by="test", why="test")
    again = pipeline_of(
        tmp_path, source={"uri": str(boards.root / "source"), "format": "images", "partition_by": "day"}
    )
    score(again, "5")
    page = Path(report(again)).read_text(encoding="utf-8")
    assert "No pictures of history: the model is older" in page and page.count("<figcaption><b>") >= 5


def test_the_report_reads_pictures_few_at_a_time(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    record = score(boards.pipeline, "5")
    assert record.anomalies >= 8
    monkeypatch.setattr(stored, "BATCH_BYTES", 3_000)
    batches = list(stored.batches_of(Folder(boards.pipeline.output), record, "heatmaps", record.rows))
    assert len(batches) > 2 and sum(batch.num_rows for batch in batches) == record.anomalies
    assert max(batch.nbytes for batch in batches) < 6_000


def test_pictures_are_scaled_to_the_size_that_was_asked_for(boards: Boards) -> None:
    output = str(boards.root / "scaled")
    pipeline = pipeline_of(
        boards.root,
        model={"image_size": 20},
        train={"until": "3", "steps": 60, "contamination": 0},
        score={"alert_rate": 0.05, "on_unfamiliar": "score"},
        output=output,
    )
    trained = train(pipeline)
    version = load_picture_version(Registry(output), trained.model_version, 0.05)
    assert version.card.image_size == version.scorer.image_size == 20 and version.card.side == (20, 20)
    promote(pipeline, trained.model_version, force=True)
    record = score(pipeline, "5")
    assert (record.rows, record.unreadable_rows) == (53, 3)
    mended = boards.files("denoised", 5, "scaled")
    for row in boards.read("heatmaps", 5, "scaled").to_pylist():
        mask = np.asarray(Image.open(io.BytesIO(row["mask"]))) > 0
        before = np.asarray(Image.open(boards.root / "source/day=5" / row["file"]))
        after = np.asarray(Image.open(io.BytesIO(mended[row["file"]])))
        assert mask.shape == before.shape == after.shape == (SIDE, SIDE), "of its own size"
        assert np.array_equal(after[~mask], before[~mask]), "only where it is wrong"


def test_partitions_with_pictures_in_another_column_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("photo", "image"), 1):
        folder = tmp_path / f"source/day={number}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({name: [png(drawn.board(row)) for row in range(20)]}), folder / "a.parquet")
    with pytest.raises(DataError, match="has pictures in column 'image', and older partitions in 'photo'"):
        train(pipeline_of(tmp_path))


def test_pictures_that_people_know_do_not_keep_whole_ones_from_being_completed(boards: Boards) -> None:
    learned = history.learn_picture_history(boards.pipeline)
    small = dataclasses.replace(learned, train=learned.train[:, :20, :20])
    again = dataclasses.replace(small, train=np.concatenate([small.train, small.train[:3]]))
    assert history.whole_pictures(small) is not None and history.whole_pictures(again) is not None


@pytest.mark.parametrize(
    ("pictures", "rate", "says"),
    [
        (15, 0.5, "history holds 15 pictures; at least 20 are needed to train"),
        (60, 0.01, "24 calibrate, and an alarm at alert_rate 0.01 needs 99: none can be flagged until there are more"),
        (60, 0.04, None),
    ],
)
def test_check_says_when_pictures_are_too_few(tmp_path: Path, pictures: int, rate: float, says: str | None) -> None:
    folder = tmp_path / "source/day=1"
    folder.mkdir(parents=True)
    for number in range(pictures):
        (folder / f"{number}.png").write_bytes(png(drawn.board(number)))
    notes = check(pipeline_of(tmp_path, score={"alert_rate": rate})).notes
    told = [note for note in notes if "picture" in note]
    assert [says in note for note in told] == [True] if says else not told


def test_the_sheet_shows_the_pictures_that_the_model_learned_from(tmp_path: Path) -> None:
    """A column called `image` came to be there later; the model knows another one."""
    root = tmp_path / "later"
    shown = []
    for extra in (False, True):
        folder = root / f"{extra}/source"
        for number in range(1, 4):
            columns = {"photo": [png(drawn.board(100 * number + row)) for row in range(20)]}
            (folder / f"day={number}").mkdir(parents=True)
            pq.write_table(pa.table(columns), folder / f"day={number}/a.parquet")
        pipeline = pipeline_of(root / str(extra), train={"until": "3", "steps": 20}, score={"alert_rate": 0.2})
        promote(pipeline, train(pipeline).model_version, force=True)
        fresh = {"photo": [png(drawn.board(row, scratched=row % 4 == 0)) for row in range(20)]}
        if extra:
            fresh["image"] = [png(drawn.checks(row)) for row in range(20)]
        (folder / "day=4").mkdir()
        pq.write_table(pa.table(fresh), folder / "day=4/a.parquet")
        assert score(pipeline, "4").anomalies > 0
        page = Path(report(pipeline)).read_text(encoding="utf-8")
        shown.append(re.findall(r"data:image/png[^\"')]+", page))
    assert shown[0] and shown[0] == shown[1]
