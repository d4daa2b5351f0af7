"""A folder of pictures comes back as a folder: its layout, names and kinds, whole or not at all, on any store."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.pictures import decode
from ae_plugin.engines.folders import check_layout
from ae_plugin.errors import DataError, StoreError, UnfamiliarError
from ae_plugin.jobs.due import runs
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import champion_of, score
from ae_plugin.jobs.train import train
from ae_plugin.schemas import RunRecord
from ae_plugin.store.commit import recover
from ae_plugin.store.files import Folder, SourceFile
from ae_plugin.store.staging import sweep
from tests.jobs.test_pictures import board, checks, pipeline_of, png, write
from tests.running import run_ae, tree, unchanged

FULL = {"alert_rate": 0.05, "denoise": "full", "on_unfamiliar": "score"}
REPAIR = FULL | {"denoise": "repair"}
GREY, SCRATCHED = board(9), board(8001, scratched=True)
COLOUR = np.dstack([SCRATCHED, SCRATCHED, SCRATCHED])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("files")
    for day in (1, 2, 3):
        write(root / "source", day, {f"{i:03d}.png": png(board(day * 1000 + i)) for i in range(60)})
    pipeline = pipeline_of(root, train={"until": "3", "steps": 120, "contamination": 0})
    promote(pipeline, train(pipeline).model_version, force=True)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def day(root: Path) -> Iterator[Path]:
    """An empty partition, `day=4`, of a pipeline without outputs."""
    folder = root / "source/day=4"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
    for name in ("scores", "denoised", "heatmaps", "quarantine", "_runs"):
        shutil.rmtree(root / "out" / name, ignore_errors=True)


def run(root: Path, **changes: Any) -> RunRecord:
    return score(pipeline_of(root, score=REPAIR | changes), "4")


def put(day: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (day / name).parent.mkdir(parents=True, exist_ok=True)
        (day / name).write_bytes(data)


def found(root: Path, dataset: str = "denoised") -> dict[str, bytes]:
    folder = root / "out" / dataset / "day=4"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif(turn: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = turn
    return found


CLEAR = Image.fromarray(np.dstack([COLOUR, np.full_like(SCRATCHED, 200)]))
KINDS = {
    "a.png": (saved(Image.fromarray(SCRATCHED), "PNG"), "PNG", "L"),
    "colour.png": (saved(Image.fromarray(COLOUR), "PNG"), "PNG", "RGB"),
    "clear.png": (saved(CLEAR, "PNG"), "PNG", "RGBA"),
    "palette.png": (saved(Image.fromarray(COLOUR).quantize(64), "PNG"), "PNG", None),
    "bits.png": (saved(Image.fromarray(SCRATCHED).convert("1", dither=Image.Dither.NONE), "PNG"), "PNG", None),
    "deep.png": (saved(Image.fromarray(SCRATCHED.astype(np.uint16) * 257), "PNG"), "PNG", "I;16"),
    "eight.tif": (saved(Image.fromarray(COLOUR), "TIFF"), "TIFF", "RGB"),
    "clear.tif": (saved(CLEAR, "TIFF"), "TIFF", "RGBA"),
    "deep.tif": (saved(Image.fromarray(SCRATCHED.astype(np.uint16) * 257), "TIFF"), "TIFF", "I;16"),
    "grey.bmp": (saved(Image.fromarray(SCRATCHED), "BMP"), "BMP", "L"),
    "lossless.webp": (saved(Image.fromarray(COLOUR), "WEBP", lossless=True), "WEBP", "RGB"),
    "clear.webp": (saved(CLEAR, "WEBP", lossless=True), "WEBP", "RGBA"),
    "photo.jpg": (saved(Image.fromarray(COLOUR), "JPEG", quality=95), "PNG", "RGB"),
    "cam/left/lying.jpeg": (saved(Image.fromarray(COLOUR), "JPEG", quality=95, exif=exif(6)), "PNG", "RGB"),
    "no picture by its name.bmp": (saved(Image.fromarray(SCRATCHED), "PNG"), "PNG", "L"),
}


def test_names_kinds_sizes_and_modes_are_those_of_the_source(root: Path, day: Path) -> None:
    put(day, {name: data for name, (data, _, _) in KINDS.items()})
    record = run(root, denoise="full")
    written = found(root)
    assert written.keys() == KINDS.keys() and record.unreadable_rows == 0
    for name, (data, kind, mode) in KINDS.items():
        assert written[name] != data, name
        image = Image.open(io.BytesIO(written[name]))
        before, after = decode(data).pixels, decode(written[name]).pixels
        assert image.format == kind and image.mode == (mode or image.mode), name
        assert 0x0112 not in image.getexif(), name
        assert after.shape == before.shape and after.dtype == before.dtype, name
        assert before.shape[2] < 4 or (after[..., 3] == before[..., 3]).all(), f"{name}: alpha is kept"


def test_what_nothing_is_wrong_with_is_passed_byte_by_byte(root: Path, day: Path) -> None:
    good = {f"{i}.jpg": saved(Image.fromarray(board(700 + i)), "JPEG", quality=97) for i in range(12)}
    put(day, good)
    record = run(root)
    same = [found(root)[name] == data for name, data in good.items()]
    assert sum(same) == 12 - (record.pictures_repaired or 0) >= 8


def test_further_frames_are_not_lost(root: Path, day: Path) -> None:
    frames = [Image.fromarray(SCRATCHED), Image.fromarray(GREY)]
    pages = saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    put(day, {"pages.tif": pages, "page.tif": saved(frames[0], "TIFF")})
    assert run(root, denoise="full").rows == 2
    assert found(root)["pages.tif"] == pages and found(root)["page.tif"] != saved(frames[0], "TIFF")


def test_what_cannot_be_read_is_passed_on_if_its_bytes_can_be_had(
    root: Path, day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = b"\x89PNG" + bytes(3 * 2**20)
    put(day, {"cut.png": png(GREY)[:90], "empty.jpg": b"", "large.png": large, "good.png": png(GREY)})
    (day / "nowhere.png").symlink_to(day / "gone")
    monkeypatch.setattr("ae_plugin.engines.pictures._FILE_BYTES", 2**20)
    record = run(root)
    assert record.unreadable_rows == 4 and record.rows == 5
    assert {name: data for name, data in found(root).items() if name != "good.png"} == {
        "cut.png": png(GREY)[:90],
        "empty.jpg": b"",
        "large.png": large,
    }
    assert [note for note in record.notes if note.startswith("nowhere.png is not passed on: cannot be read")]
    errors = pq.read_table(root / "out/scores/day=4/part-0.parquet").to_pandas().set_index("file")["error"]
    assert "3145732 bytes, more than" in errors["large.png"] and "cannot be read" in errors["nowhere.png"]


def test_what_the_source_lost_is_gone_and_a_moved_file_moves(root: Path, day: Path) -> None:
    put(day, {"a.png": png(GREY), "b.png": png(board(2)), "c/d.png": png(board(3))})
    first = run(root).input_fingerprint
    (day / "b.png").unlink()
    shutil.move(day / "c", day / "e")
    second = run(root)
    assert found(root).keys() == {"a.png", "e/d.png"} and second.input_fingerprint != first


def test_what_an_earlier_release_wrote_is_gone(root: Path, day: Path) -> None:
    put(day, {"a.png": png(GREY)})
    run(root)
    (root / "out/denoised/day=4/part-0.parquet").write_bytes(b"of an earlier release")
    run(root)
    assert found(root).keys() == {"a.png"}


def test_a_refusal_withdraws_them_and_keeps_the_source_s_files(root: Path, day: Path) -> None:
    put(day, {f"x/{i}.png": png(board(i)) for i in range(10)})
    run(root)
    shutil.rmtree(day / "x")
    strange = {f"y/{i}.png": png(checks(i)) for i in range(32)}
    put(day, strange)
    with pytest.raises(UnfamiliarError, match="Its pictures are in .*/out/quarantine/day=4/; look at it"):
        run(root, on_unfamiliar="quarantine")
    assert found(root, "quarantine") == strange and not (root / "out/denoised/day=4").exists()
    assert list(runs(pipeline_of(root))[-1].outputs) == ["quarantine/day=4/"]
    run(root)
    assert found(root).keys() == strange.keys() and not (root / "out/quarantine/day=4").exists()


def test_the_record_s_sha256_is_that_of_what_sha256sum_prints(root: Path, day: Path) -> None:
    put(day, {"b.png": png(GREY), "a/é.png": png(board(2)), "a.png": png(board(3))})
    digest = run(root).outputs["denoised/day=4/"]
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(found(root).items())]
    assert digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    before = tree(root / "out/denoised")
    assert run(root).outputs["denoised/day=4/"] == digest and tree(root / "out/denoised") == before


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a/x.png", "b.png", "a/x.png"], "another file of the partition is called a/x.png too"),
        (["a.png", "a.png/b/x.png"], "another file of the partition is called a.png too"),
        (["../../x.png"], "'../../x.png', leads elsewhere"),
        (["a/./x.png"], "'a/./x.png', leads elsewhere"),
        (["a//x.png"], "'a//x.png', leads elsewhere"),
        (["/etc/x.png"], "'/etc/x.png', leads elsewhere"),
        ([""], "'', leads elsewhere"),
    ],
)
def test_names_that_would_meet_or_lead_elsewhere_are_refused(names: list[str], complaint: str) -> None:
    """Object stores have such names; folders of a disk do not."""
    with pytest.raises(DataError, match=re.escape(complaint)):
        check_layout([SourceFile(f"s3://bucket/day=4/{name}", "day=4", 1, "", name) for name in names])


def test_folders_that_a_partition_is_put_together_from_may_meet(root: Path, tmp_path: Path) -> None:
    for place in ("left/day=4", "day=4/left"):
        put(tmp_path / "in" / place, {"x.png": png(GREY)})
    source = {"uri": str(tmp_path / "in"), "format": "images", "partition_by": "day"}
    with unchanged(root), pytest.raises(DataError, match="another file of the partition is called left/x.png too"):
        score(pipeline_of(root, source=source), "4")


def test_a_name_that_is_no_text_is_one_line(root: Path, day: Path) -> None:
    put(day, {"a.png": png(GREY)})
    with open(os.fsencode(day) + b"/\xff.png", "wb"):
        pass
    with unchanged(root / "out"), pytest.raises(DataError, match=r"its name '\\udcff.png' is not UTF-8"):
        run(root)


def test_what_is_not_ours_is_not_removed(root: Path, day: Path) -> None:
    put(day, {"a.png": png(GREY)})
    mine = root / "out/denoised/day=4/holiday.png"
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(b"mine")
    with unchanged(root), pytest.raises(StoreError, match="holds files that no run of this partition wrote"):
        run(root)


def test_a_source_without_partitions_replaces_denoised_itself(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "in", {"a.png": png(GREY), "b/c.png": png(GREY)})
    for _ in range(2):
        record = score(pipeline_of(root, score=REPAIR), source=str(tmp_path / "in"), output=str(tmp_path / "out"))
        assert set(record.outputs) == {"scores/part-0.parquet", "denoised/", "heatmaps/part-0.parquet"}
    assert {str(p.relative_to(tmp_path / "out/denoised")) for p in (tmp_path / "out/denoised").rglob("*.png")} == {
        "a.png",
        "b/c.png",
    }
    (tmp_path / "in/a.png").unlink()
    score(pipeline_of(root, score=REPAIR), source=str(tmp_path / "in/b/c.png"), output=str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out/denoised").iterdir()] == ["c.png"]


# --- all or nothing -----------------------------------------------------------------------------------------------


def everything(folder: Folder) -> dict[str, bytes]:
    """What is in the datasets and in the records, but for what a run says of itself."""
    found = folder.fs.find(folder.path)
    names = [path.removeprefix(f"{folder.path}/") for path in found]
    return {name: folder.read(name) for name in names if not name.startswith(("_runs/", "_models/", "."))}


@pytest.mark.parametrize("store", ["local", "memory"])
def test_stopped_at_any_step_it_is_the_old_partition_or_the_new_one(
    root: Path, day: Path, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The commit is stopped before each of its moves, copies and removals in turn; the next run ends it."""
    output = str(tmp_path / "out") if store == "local" else "memory://stopped/out"
    pipeline, version = pipeline_of(root, score=REPAIR), champion_of(pipeline_of(root))
    monkeypatch.setattr("ae_plugin.store.commit.YOUNG_SECONDS", -1.0)
    old = {"a.png": png(GREY), "b.png": png(board(2)), "c/d.png": png(board(3))}
    new = {"a.png": png(board(5)), "c/d.png": png(board(3)), "e.png": png(board(6))}
    states, left = [], 0
    for files in (old, new):
        shutil.rmtree(day)
        day.mkdir()
        put(day, files)
        score(pipeline, "4", output=output, version=version)
        states.append(everything(Folder(output)))
    for step in range(1, 60):
        Folder(output).remove("")
        for files in (old, new):
            shutil.rmtree(day)
            day.mkdir()
            put(day, files)
            left = 10**9 if files is old else step
            with monkeypatch.context() as patch:
                done = stopping(patch, left, lambda: score(pipeline, "4", output=output, version=version))
        folder = Folder(output)
        if store == "local":
            seen = {
                name.removeprefix("denoised/day=4/"): data
                for name, data in everything(folder).items()
                if name.startswith("denoised/")
            }
            assert set(seen) in (set(old), set(new), set()), "never a part of it"
        recover(folder)
        sweep(folder)
        assert {n: d for n, d in everything(folder).items() if not n.startswith("_staging")} in states
        if done:
            break
    assert done and step > 8
    Folder(output).remove("")


def stopping(patch: pytest.MonkeyPatch, left: int, work: Callable[[], object]) -> bool:
    """Do it, stopped before its n-th change to the output; whether it was faster."""
    count = [left]

    def stopped(name: str) -> None:
        real = getattr(Folder, name)

        def change(self: Folder, *given: Any) -> Any:
            count[0] -= 1
            if count[0] == 0:
                raise KeyboardInterrupt
            return real(self, *given)

        patch.setattr(Folder, name, change)

    for name in ("move", "copy", "remove", "write"):
        stopped(name)
    try:
        work()
    except KeyboardInterrupt:
        return False
    return True


def test_a_run_that_fails_midway_changes_nothing(root: Path, day: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(day, {f"{i}.png": png(board(i)) for i in range(10)})
    run(root)
    (day / "0.png").unlink()
    monkeypatch.setattr("ae_plugin.store.tree.Tree.close", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with unchanged(root / "out"), pytest.raises(KeyboardInterrupt):
        run(root)


# --- words --------------------------------------------------------------------------------------------------------


def test_runs_say_pictures(root: Path, day: Path, tmp_path: Path) -> None:
    put(day, {"a.png": png(SCRATCHED), "b.png": b"", "c.png": png(GREY)})
    yaml = tmp_path / "boards.yaml"
    yaml.write_text(
        f"name: boards\nsource: {{uri: {root}/source, format: images, partition_by: day}}\n"
        f"score: {{alert_rate: 0.05, on_unfamiliar: score}}\noutput: {root}/out\n"
    )
    outcome = run_ae("score", yaml, "--partition", "4")
    assert outcome.code == 0
    assert "day=4: 3 pictures, " in outcome.out and " repaired, 1 cannot be read, familiar, " in outcome.out
    assert "cell" not in outcome.out and "null" not in outcome.out and "row" not in outcome.out
    assert run_ae("report", yaml).code == 0
    page = (root / "out/report.html").read_text(encoding="utf-8")
    assert "of 3 pictures" in page.replace("<b>", "").replace("</b>", "") and "Cannot be read" in page
    assert "Cells repaired" not in page


def test_parquet_stays_parquet(root: Path, tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "image": [png(SCRATCHED), saved(Image.fromarray(COLOUR), "TIFF")]})
    pq.write_table(table, tmp_path / "in.parquet")
    full: Pipeline = pipeline_of(root, score=FULL)
    record = score(full, source=str(tmp_path / "in.parquet"), output=str(tmp_path / "out"))
    assert set(record.outputs) == {f"{name}/part-0.parquet" for name in ("scores", "denoised", "heatmaps")}
    out = pq.read_table(tmp_path / "out/denoised/part-0.parquet")
    assert out.schema.equals(table.schema)
    assert [Image.open(io.BytesIO(data)).format for data in out["image"].to_pylist()] == ["PNG", "PNG"]
