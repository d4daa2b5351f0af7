"""Reading pictures: files and Parquet as record batches of bounded size, decoded beside them, nothing lost."""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ae_plugin.core.pictures import Picture, PictureError
from ae_plugin.engines.pictures import FILES, PictureReader, decoded, image_column
from ae_plugin.errors import DataError
from ae_plugin.sections import Source
from ae_plugin.store.files import SourceFile, list_source, partitions_of

QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def png(value: int, side: int = 4) -> bytes:
    """A picture that is told by its grey."""
    stream = io.BytesIO()
    Image.new("L", (side, side), value).save(stream, "PNG")
    return stream.getvalue()


def put(folder: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


def found(uri: str, **source: Any) -> list[SourceFile]:
    return list_source(Source(uri=uri, format="images", **source))


def shades(pairs: Iterator[tuple[pa.RecordBatch, list[Picture | PictureError]]]) -> list[int | str]:
    """Each picture's grey, or why there is none."""
    seen: list[int | str] = []
    for batch, images in pairs:
        assert batch.num_rows == len(images) > 0
        seen += [int(image.pixels[0, 0, 0]) if isinstance(image, Picture) else str(image) for image in images]
    return seen


def parquet(path: Path, **columns: Any) -> list[SourceFile]:
    pq.write_table(pa.table(columns), path)
    return found(str(path))


# --- image files --------------------------------------------------------------------------------------------------


def test_files_become_rows_in_the_listing_s_order(tmp_path: Path) -> None:
    files = {"b.png": png(2), "a.jpg": png(1), "deep/er/c.TIFF": png(3)}
    reader = PictureReader(found(put(tmp_path, files)))
    table = pa.Table.from_batches(reader.batches())
    assert table.schema == reader.schema == FILES
    assert (reader.image, reader.format) == ("image", "images")
    assert table.column("file").to_pylist() == ["a.jpg", "b.png", "deep/er/c.TIFF"]
    assert table.column("image").to_pylist() == [files[name] for name in table.column("file").to_pylist()]
    assert table.column("error").null_count == 3
    # Whatever a file's name says, its content tells what it is.
    assert shades(decoded(reader.batches())) == [1, 2, 3]


def test_a_partition_s_files_are_named_below_its_folder(tmp_path: Path) -> None:
    put(tmp_path, {"day=1/a.png": png(1), "day=2/a.png": png(2), "day=2/more/b.png": png(3)})
    groups = partitions_of(found(str(tmp_path), partition_by=["day"]))
    table = pa.Table.from_batches(PictureReader(groups["day=2"]).batches())
    assert table.column("file").to_pylist() == ["a.png", "more/b.png"]


def test_files_of_a_store_are_read_as_well() -> None:
    uri = f"memory://{uuid.uuid4().hex}"
    fs, path = fsspec.core.url_to_fs(uri)
    for value in range(12):
        fs.pipe_file(f"{path}/{value:02d}.png", png(value))
    reader = PictureReader(found(uri))
    assert [name for batch in reader.batches() for name in batch.column("file").to_pylist()][:2] == ["00.png", "01.png"]
    assert shades(decoded(reader.batches())) == list(range(12))


def test_bad_files_are_rows_that_say_why(tmp_path: Path) -> None:
    good = png(7)
    put(tmp_path, {"a.png": good, "b.png": b"", "c.png": good[:50], "d.png": b"hello", "f.png": good})
    (tmp_path / "e.png").symlink_to(tmp_path / "nowhere.png")
    reader = PictureReader(found(str(tmp_path)))
    (batch,) = reader.batches()
    assert [image is None for image in batch.column("image").to_pylist()] == [False] * 4 + [True, False]
    reason = batch.column("error").to_pylist()[4]
    assert reason.startswith("cannot be read (")
    assert "No such file" in reason
    assert shades(decoded([batch])) == [
        *(7, "is empty", "is truncated", "is no picture that can be read"),
        *(reason, 7),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_row(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": png(1)})
    (tmp_path / "a.png").chmod(0)
    assert "Permission denied" in str(shades(decoded(PictureReader(found(str(tmp_path))).batches()))[0])


def test_what_may_succeed_the_next_time_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = found(put(tmp_path, {"a.png": png(1)}))

    def busy(*_: Any, **__: Any) -> bytes:
        raise TimeoutError("the store does not answer")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.cat_file", busy)
    with pytest.raises(DataError, match="the store does not answer") as error:
        list(decoded(PictureReader(files).batches()))
    assert error.value.transient


def test_a_file_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.png", "wb") as handle:
        handle.truncate(2**30 + 1)
    assert shades(decoded(PictureReader(found(str(tmp_path))).batches())) == [
        "has 1073741825 bytes, more than 1073741824 allowed"
    ]


def test_names_alone_open_no_file(tmp_path: Path) -> None:
    files = found(put(tmp_path, {"a.png": png(1), "b.png": png(2)}))
    (tmp_path / "a.png").unlink()
    reader = PictureReader(files)
    assert pa.Table.from_batches(reader.batches(["file"])).to_pydict() == {"file": ["a.png", "b.png"]}
    assert pa.Table.from_batches(reader.batches(["error", "file"])).column_names == ["error", "file"]
    assert pa.Table.from_batches(reader.batches(["error"])).column(0).null_count == 1


def test_record_batches_are_bounded_by_rows_and_by_bytes(tmp_path: Path) -> None:
    sizes = [10, 10, 10, 10, 10, 10, 40, 200, 10, 60, 41]
    files = found(put(tmp_path, {f"{i:02d}.png": bytes(size) for i, size in enumerate(sizes)}))
    cut = [
        [len(data) for data in batch.column("image").to_pylist()] for batch in PictureReader(files, 4, 100).batches()
    ]
    assert cut == [[10] * 4, [10, 10, 40], [200], [10, 60], [41]]


# --- Parquet ------------------------------------------------------------------------------------------------------

BYTES = [png(1), None, b"", png(4)]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
STRUCTS = pa.array([None if data is None else {"bytes": data, "path": "x.png"} for data in BYTES], STRUCT)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), STRUCT], ids=str)
def test_a_column_of_pictures(tmp_path: Path, kind: pa.DataType) -> None:
    column = STRUCTS if kind == STRUCT else pa.array(BYTES, kind)
    files = parquet(tmp_path / "a.parquet", id=[1, 2, 3, 4], scan=column, label=["x", None, "y", "z"])
    reader = PictureReader(files)
    assert reader.image == "scan"
    assert reader.schema.names == ["id", "scan", "label"]
    table = pa.Table.from_batches(reader.batches(), reader.schema)
    assert table.equals(pq.read_table(tmp_path / "a.parquet"))
    assert shades(decoded(reader.batches())) == [1, "is missing", "is empty", 4]
    assert pa.Table.from_batches(reader.batches(["label", "id"])).column_names == ["label", "id"]


def test_a_struct_without_bytes_is_missing_and_its_path_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(1))
    column = pa.array([{"bytes": None, "path": str(tmp_path / "x.png")}], STRUCT)
    assert shades(decoded(PictureReader(parquet(tmp_path / "a.parquet", image=column)).batches())) == ["is missing"]


def test_of_several_columns_the_one_called_image(tmp_path: Path) -> None:
    files = parquet(tmp_path / "a.parquet", mask=[png(1)], image=[png(2)])
    reader = PictureReader(files)
    assert reader.image == "image"
    assert shades(decoded(reader.batches())) == [2]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": [1], "name": ["x"]}, "no column holds pictures. Write one of binary type"),
        (
            {"mask": [b"x"], "scan": [b"y"]},
            r"several columns may hold pictures \(mask, scan\). Call the right one image",
        ),
        ({"image": [{"path": "x"}]}, "no column holds pictures"),
    ],
)
def test_no_telling_which_column(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=f"a.parquet: {said}"):
        PictureReader(parquet(tmp_path / "a.parquet", **columns))


def test_a_broken_parquet_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read"):
        PictureReader(found(str(tmp_path)))


def test_record_batches_of_parquet_are_bounded_by_rows_and_by_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [*[1000] * 20, 30_000, *[10] * 20]
    files = parquet(tmp_path / "a.parquet", image=[rng.bytes(size) for size in sizes])
    batches = [batch.column("image").to_pylist() for batch in PictureReader(files, 8, 5000).batches()]
    assert [len(data) for batch in batches for data in batch] == sizes
    assert max(map(len, batches)) <= 8
    assert all(sum(map(len, batch)) <= 5000 or len(batch) == 1 for batch in batches)


def test_parquet_is_not_read_whole_before_it_is_cut(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"image": [rng.bytes(2**20) for _ in range(48)]})
    # A page of Parquet cannot be read in parts: those of one picture each.
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, write_batch_size=1)
    del table
    files = found(str(tmp_path))
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() - before for _ in PictureReader(files, size=4 * 2**20).batches())
    assert peak < 24 * 2**20


def test_an_empty_parquet_file_is_no_row(tmp_path: Path) -> None:
    reader = PictureReader(parquet(tmp_path / "a.parquet", image=pa.array([], pa.binary())))
    assert shades(decoded(reader.batches())) == []


def test_which_column_holds_pictures() -> None:
    nested = pa.struct([("path", pa.string()), ("bytes", pa.large_binary())])
    assert image_column(pa.schema([("a", pa.string()), ("b", nested)])) == "b"
    assert image_column(pa.schema([("image", nested), ("b", pa.binary())])) == "image"


# --- decoding -----------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.none(), st.integers(0, 255)), max_size=40), st.integers(1, 9), st.integers(1, 4))
@QUICK
def test_every_row_is_decoded_in_order_however_it_is_cut(values: list[int | None], rows: int, threads: int) -> None:
    cells = pa.array([None if value is None else png(value) for value in values], pa.binary())
    batch = pa.RecordBatch.from_pydict({"row": pa.array(range(len(values)), pa.int64()), "image": cells})
    cuts = [batch.slice(start, rows) for start in range(0, len(values), rows)]
    pairs = list(decoded(cuts, threads))
    assert [row for piece, _ in pairs for row in piece.column("row").to_pylist()] == list(range(len(values)))
    assert shades(iter(pairs)) == ["is missing" if value is None else value for value in values]


def test_record_batches_are_cut_where_pixels_take_too_much_memory() -> None:
    sides = [5, 5, 5, 5, 5, 20, 2, 2]
    batch = pa.RecordBatch.from_pydict({"image": [png(9, side) for side in sides]})
    found = [[image.pixels.shape[0] for image in images] for _, images in decoded([batch], size=100)]
    assert found == [[5] * 4, [5], [20], [2, 2]]


def test_decoding_runs_ahead_but_not_far(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = 0

    def stream() -> Iterator[pa.RecordBatch]:
        nonlocal pulled
        for value in range(50):
            pulled += 1
            yield pa.RecordBatch.from_pydict({"image": [png(value)]})

    pairs = decoded(stream())
    next(pairs)
    time.sleep(0.5)
    assert 3 <= pulled <= 8
    pairs.close()


def test_whoever_stops_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    files = found(put(tmp_path, {f"{value:03d}.png": png(value) for value in range(100)}))
    before = threading.active_count()
    pairs = decoded(PictureReader(files, rows=3).batches())
    next(pairs)
    assert threading.active_count() > before
    pairs.close()
    del pairs
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() == before


def test_what_reading_raises_is_raised_here() -> None:
    with pytest.raises(DataError, match="no column holds pictures"):
        list(decoded([pa.RecordBatch.from_pydict({"a": [1]})]))


def test_the_column_that_is_known_to_hold_pictures_is_read_though_another_came(tmp_path: Path) -> None:
    files = parquet(tmp_path / "a.parquet", photo=pa.array([png(1), png(2)]), image=pa.array([png(8), png(9)]))
    assert PictureReader(files).image == "image"
    reader = PictureReader(files, image="photo")
    assert reader.image == "photo"
    assert shades(decoded(reader.batches(), image=reader.image)) == [1, 2]


@pytest.mark.parametrize(("column", "says"), [("gone", "column 'gone' is missing"), ("name", "'name' is string, but")])
def test_a_known_column_that_holds_none_is_refused(tmp_path: Path, column: str, says: str) -> None:
    with pytest.raises(DataError) as refused:
        PictureReader(parquet(tmp_path / "a.parquet", photo=pa.array([png(1)]), name=pa.array(["a"])), image=column)
    assert says in str(refused.value)
