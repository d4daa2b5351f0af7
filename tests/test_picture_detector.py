"""A pictures' model in Python: the same for tables of pictures and for lists of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

import ae_plugin
from ae_plugin.core.regions import Region, regions
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.score import score
from ae_plugin.picture_detector import PictureDetector
from tests.boards import BROKEN, SIDE, as_table, board, good, png, put_day, scratched, written
from tests.conftest import Trained
from tests.shop import FRESH, day

FILES = {**good(12, 70), **scratched(8, 70), **{f"x_{name}.png": data for name, data in BROKEN.items()}}


@pytest.fixture(scope="module")
def detector(boards: Trained) -> PictureDetector:
    found = ae_plugin.load(boards.shop.output, alert_rate=0.05)
    assert isinstance(found, PictureDetector)
    return found


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return dict(sorted(FILES.items()))


def arrays(files: dict[str, bytes]) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(data))) for name, data in files.items() if not name.startswith("x_")]


def test_it_knows_what_it_is(detector: PictureDetector, boards: Trained) -> None:
    assert detector.version == "v0001" and detector.columns == ["image"]
    again = ae_plugin.load(f"{boards.shop.output}/_models/v0001")
    assert isinstance(again, ae_plugin.PictureDetector)


def test_scores_are_those_of_the_job(
    detector: PictureDetector, boards: Trained, files: dict[str, bytes], tmp_path: Path
) -> None:
    """And so are the denoised pictures, and where they are wrong."""
    shop = boards.shop.copy(tmp_path / "shop").set(score={"on_unfamiliar": "score"})
    put_day(shop.source, FRESH, files)
    score(shop.pipeline, day(FRESH))
    table = as_table(files)
    found, wanted = detector.score(table), shop.read("scores", FRESH)
    assert found.schema.equals(wanted.select(found.schema.names).schema)
    assert found.equals(wanted.select(found.schema.names))
    assert 8 <= found["is_anomaly"].to_pylist().count(True) < 15 and found["error"].null_count == 20
    assert detector.denoise(table).to_pydict()["image"] == list(written(shop.output, FRESH).values())
    heat = shop.read("heatmaps", FRESH)
    explained = detector.explain(table)
    assert [one.row for one in explained] == heat["row"].to_pylist()
    for one, mask in zip(explained, heat["mask"].to_pylist(), strict=True):
        assert np.array_equal(one.mask, np.asarray(Image.open(io.BytesIO(mask))) > 0)


def test_a_table_and_a_list_say_the_same(detector: PictureDetector, files: dict[str, bytes], tmp_path: Path) -> None:
    table = as_table(files)
    wanted, codes = detector.score(table).to_pandas(), detector.embed(table)
    (tmp_path / "some").mkdir()
    paths = [tmp_path / "some" / name for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    structs = pa.table({"image": [{"bytes": data, "path": name} for name, data in files.items()]})
    for given in (list(files.values()), paths, list(map(str, paths)), structs, table.to_batches()[0]):
        found = detector.score(given)
        found = found if isinstance(found, pd.DataFrame) else found.to_pandas()
        pd.testing.assert_frame_equal(found, wanted)
        assert np.array_equal(detector.embed(given), codes, equal_nan=True)
    frame = table.to_pandas().set_index(pd.Index(range(100, 100 + len(files)), name="line"))
    found = detector.score(frame)
    assert found.index.equals(frame.index)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), wanted)


def test_arrays_and_images_say_the_same(detector: PictureDetector, files: dict[str, bytes]) -> None:
    pixels = arrays(files)
    known = [data for name, data in files.items() if not name.startswith("x_")]
    wanted = detector.score(known)
    assert wanted["error"].isna().all()
    for given in (pixels, [each[..., None] for each in pixels], [Image.fromarray(each) for each in pixels]):
        pd.testing.assert_frame_equal(detector.score(given), wanted)
    colours = [np.dstack([each] * 3) for each in pixels]
    assert np.allclose(detector.score(colours)["anomaly_score"], wanted["anomaly_score"], rtol=0.1)


def test_embeddings(detector: PictureDetector, files: dict[str, bytes]) -> None:
    codes = detector.embed(as_table(files))
    assert codes.dtype == np.float32 and codes.shape[0] == len(files) and codes.shape[1] > 8
    unread = np.array([name.startswith("x_") for name in files])
    assert np.isnan(codes[unread]).all() and np.isfinite(codes[~unread]).all()
    assert len(np.unique(codes[~unread], axis=0)) == 20


def test_it_says_where_a_picture_is_wrong(detector: PictureDetector) -> None:
    pixels = [board(90_000 + i, scratched=i % 2 == 1) for i in range(10)]
    found = {one.row: one for one in detector.explain(pixels)}
    assert {1, 3, 5, 7, 9} <= set(found) and len(found) <= 7
    hits = 0
    for row in (1, 3, 5, 7, 9):
        one = found[row]
        assert one.heatmap.shape == one.mask.shape == (SIDE, SIDE)
        assert one.heatmap.dtype == np.float32 and one.mask.dtype == bool
        assert 0 <= one.heatmap.min() and one.heatmap.max() <= 1
        assert sum(region.pixels for region in one.regions) == one.mask.sum()
        covered = np.zeros((SIDE, SIDE), bool)
        for region in one.regions:
            covered[region.top : region.top + region.height, region.left : region.left + region.width] = True
        assert (covered | ~one.mask).all()
        changed = np.abs(pixels[row].astype(int) - board(90_000 + row).astype(int)) > 30
        hits += bool((one.mask & changed).any())
    assert hits >= 4, "a box is where the scratch is"


def test_regions_are_told_apart_and_the_hottest_is_first() -> None:
    mask, heat = np.zeros((9, 12), bool), np.zeros((9, 12), np.float32)
    mask[1:3, 2:5], heat[1:3, 2:5] = True, 0.5
    mask[3, 5], heat[3, 5] = True, 0.6  # touches at a corner
    mask[8, 0], heat[8, 0] = True, 0.9
    assert regions(mask, heat) == [Region(8, 0, 1, 1, 1, 0.9), Region(1, 2, 3, 4, 7, 0.6)]
    assert regions(np.zeros((3, 3), bool), np.ones((3, 3), np.float32)) == []


def test_denoised_pictures_stay_what_they_are(detector: PictureDetector, files: dict[str, bytes]) -> None:
    pixels = arrays(scratched(4, 70))
    found = detector.denoise([*pixels, Image.fromarray(pixels[0]), *scratched(1, 70).values(), BROKEN["text"]])
    for before, after in zip(pixels, found, strict=False):
        assert isinstance(after, np.ndarray) and after.shape == before.shape and after.dtype == np.uint8
    assert any((before != after).any() for before, after in zip(pixels, found, strict=False))
    assert isinstance(found[4], Image.Image) and found[4].mode == "L"
    assert np.array_equal(np.asarray(found[4]), found[0])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found[5]))), found[0]) and found[6] == b"hello"
    wide = (pixels[0].astype(np.uint16) * 257)[..., None]
    (full,) = detector.denoise([wide], full=True)
    assert full.shape == wide.shape and full.dtype == np.uint16 and (full != wide).mean() > 0.5


def test_denoised_tables_keep_their_schema(detector: PictureDetector, files: dict[str, bytes]) -> None:
    structs = pa.table({"image": [{"bytes": d, "path": n} for n, d in files.items()], "n": range(len(files))})
    found = detector.denoise(structs)
    assert found.schema.equals(structs.schema) and found["n"].equals(structs["n"])
    assert [cell["path"] for cell in found["image"].to_pylist()] == list(files)
    frame = as_table(files).to_pandas()
    before = frame.copy(deep=True)
    again = detector.denoise(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert list(again["image"]) == [cell["bytes"] for cell in found["image"].to_pylist()]
    assert list(again["image"]) != list(frame["image"])


def test_pictures_of_several_frames_are_passed_on_as_they_are(detector: PictureDetector) -> None:
    frames = [Image.fromarray(board(seed, scratched=True)) for seed in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, "TIFF", save_all=True, append_images=frames[1:])
    single = png(board(0, scratched=True))
    assert detector.denoise([stream.getvalue(), single]) == [stream.getvalue(), detector.denoise([single])[0]]
    assert detector.denoise([single]) != [single], "it is the frames that make the difference"


def test_a_picture_is_completed_in_kind(detector: PictureDetector, files: dict[str, bytes], tmp_path: Path) -> None:
    whole = arrays(files)[0]
    known = np.random.default_rng(0).uniform(size=whole.shape[:2]) < 0.3
    given = np.where(known, whole, 0).astype(whole.dtype)
    found = detector.complete(given, known)
    assert found.shape == whole.shape and found.dtype == whole.dtype
    assert np.array_equal(found[known], whole[known])
    apart = [np.abs(one.astype(float) - whole)[~known].mean() for one in (given, found)]
    assert apart[1] < 0.5 * apart[0]
    image = detector.complete(Image.fromarray(given), known)
    assert isinstance(image, Image.Image) and np.array_equal(np.asarray(image), found)
    Image.fromarray(given).save(tmp_path / "given.png")
    data = detector.complete(tmp_path / "given.png", known)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), found)


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (np.ones((3, 3), bool), "known is bool [3, 3]"),
        (np.ones((20, 30)), "known is float64 [20, 30]"),
        (np.zeros((20, 30), bool), "no pixel is known"),
    ],
)
def test_what_is_known_must_fit_the_picture(detector: PictureDetector, known: np.ndarray, says: str) -> None:
    with pytest.raises(DataError) as refused:
        detector.complete(np.zeros((20, 30), np.uint8), known)
    assert says in str(refused.value)
    with pytest.raises(DataError, match="the picture"):
        detector.complete(b"no picture", np.ones((20, 30), bool))


def test_none_at_all(detector: PictureDetector) -> None:
    empty: list[Any] = [[], as_table({})]
    for given in empty:
        assert len(detector.score(given)) == 0 and detector.explain(given) == []
        assert detector.embed(given).shape[0] == 0 and len(detector.denoise(given)) == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"bytes", "a bytes is no list of pictures"),
        (np.zeros((24, 24), np.uint8), "a ndarray is no list of pictures"),
        (Image.new("L", (24, 24)), "a Image is no list of pictures"),
        ((x for x in []), "a generator is no list of pictures"),
        ([np.zeros((24, 24), np.float32)], r"picture 0 is float32 \[24, 24\]"),
        ([np.zeros((24, 24), np.uint8), np.zeros((24, 24, 2), np.uint8)], r"picture 1 is uint8 \[24, 24, 2\]"),
        ([np.zeros((0, 24), np.uint8)], r"picture 0 is uint8 \[0, 24\]"),
        ([7], "picture 0 is of type int"),
        (["/nowhere/at/all.png"], r"/nowhere/at/all.png: cannot be read \(No such file"),
        (pa.table({"picture": [b"x"]}), "column 'image' is missing"),
        (pd.DataFrame({"picture": [b"x"]}), "column 'image' is missing"),
        (pa.table({"image": [1]}), "no column holds pictures"),
    ],
)
def test_what_is_no_pictures_is_refused_in_one_line(detector: PictureDetector, given: Any, says: str) -> None:
    for verb in (detector.score, detector.explain, detector.embed, detector.denoise):
        with pytest.raises(DataError, match=says) as caught:
            verb(given)
        assert "\n" not in str(caught.value)


def test_a_share_of_the_alarms_is_for_tables(boards: Trained) -> None:
    with pytest.raises(ConfigError, match="alert_rate_of 'alarms' is for tables"):
        ae_plugin.load(boards.shop.output, alert_rate_of="alarms")
