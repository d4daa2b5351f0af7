"""Reading a partition: its files in one schema, cut into record batches that fit the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.engines import local
from ae_plugin.engines.local import BATCH_ROWS, Reader, Writer, batch_rows
from ae_plugin.errors import DataError
from ae_plugin.store.files import Folder, SourceFile


def files_of(folder: Path, *columns: Any) -> list[SourceFile]:
    """One Parquet file a column, or one CSV file a text."""
    found = []
    for number, column in enumerate(columns):
        path = folder / f"part-{number}.{'csv' if isinstance(column, str) else 'parquet'}"
        if isinstance(column, str):
            path.write_text(column)
        else:
            pq.write_table(pa.table({"c": column}), path)
        found.append(SourceFile(str(path), "", path.stat().st_size, "", path.name))
    return found


def read(files: list[SourceFile], format: str = "parquet", **options: Any) -> pa.Array:
    reader = Reader(files, format, **options)
    return pa.Table.from_batches(reader.batches(), reader.schema).column("c").combine_chunks()


WORDS = pa.array(["a", None, "b"])
DRIFTED: dict[str, tuple[list[pa.Array], pa.DataType]] = {
    "nothing, then numbers": ([pa.nulls(2), pa.array([1.5])], pa.float64()),
    "numbers, then nothing": ([pa.array([1.5]), pa.nulls(2)], pa.float64()),
    "nothing, then words": ([pa.nulls(2), WORDS], pa.string()),
    "integers, then fractions": ([pa.array([1, 2]), pa.array([1.5])], pa.float64()),
    "huge integers, then fractions": ([pa.array([2**62 + 1]), pa.array([1.5])], pa.float64()),
    "small integers, then large": ([pa.array([1], pa.int8()), pa.array([2**40])], pa.int64()),
    "float, then double": ([pa.array([1.5], pa.float32()), pa.array([2.5])], pa.float64()),
    "words, then a dictionary": ([WORDS, WORDS.dictionary_encode()], pa.string()),
    "a dictionary, then words": ([WORDS.dictionary_encode(), WORDS], pa.string()),
    "nothing, then a dictionary": (
        [pa.nulls(2), WORDS.dictionary_encode()],
        pa.dictionary(pa.int32(), pa.string()),
    ),
    "dictionaries of two sizes": (
        [WORDS.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())), WORDS.dictionary_encode()],
        pa.dictionary(pa.int32(), pa.string()),
    ),
    "seconds, then nanoseconds": (
        [pa.array([7], pa.timestamp("s")), pa.array([7], pa.timestamp("ns"))],
        pa.timestamp("ns"),
    ),
}


@pytest.mark.parametrize("case", DRIFTED)
def test_files_whose_types_differ_are_read_in_a_type_that_holds_them_all(tmp_path: Path, case: str) -> None:
    columns, kind = DRIFTED[case]
    found = read(files_of(tmp_path, *columns))
    assert found.type == kind
    plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in columns]
    want = [None if v is None else float(v) if pa.types.is_floating(kind) else v for c in plain for v in c.to_pylist()]
    assert found.to_pylist() == want


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array(["a"])),
        (pa.array(["a"]), pa.array([b"a"])),
        (pa.array([True]), pa.array([1])),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
    ],
)
def test_types_with_nothing_in_common_are_named(tmp_path: Path, one: pa.Array, other: pa.Array) -> None:
    with pytest.raises(DataError, match=r"part-1\.parquet: column 'c' is .* here, but .* in other files"):
        Reader(files_of(tmp_path, one, other), "parquet")


def test_one_file_s_schema_is_its_own(tmp_path: Path) -> None:
    field = pa.field("c", pa.int8(), nullable=False, metadata={"unit": "kg"})
    table = pa.table({"c": pa.array([1, 2], pa.int8())}, schema=pa.schema([field], metadata={"made": "here"}))
    pq.write_table(table, tmp_path / "a.parquet")
    reader = Reader([SourceFile(str(tmp_path / "a.parquet"), "", 0, "", "a.parquet")], "parquet")
    assert reader.schema.equals(pq.read_schema(tmp_path / "a.parquet"), check_metadata=True)
    assert next(reader.batches()).schema.equals(reader.schema, check_metadata=True)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["c,x\n,1\n,1\n", "c,x\n1.5,1\n"], [None, None, 1.5]),
        (["c,x\n1,1\n2,1\n", "c,x\n1.5,1\n"], [1.0, 2.0, 1.5]),
        (["c,x\n1.5,1\n", "c,x\n1,1\n,1\n"], [1.5, 1.0, None]),
        (["c,x\n,1\n", "c,x\nred,1\n"], [None, "red"]),
        (["c,x\nred,1\n?,1\nN/A,1\n"], ["red", None, None]),
        (["c,x\n1.5,1\n?,1\n"], [1.5, None]),
    ],
)
def test_csv_files_whose_guesses_differ(tmp_path: Path, texts: list[str], values: list[Any]) -> None:
    assert read(files_of(tmp_path, *texts), "csv").to_pylist() == values


@pytest.mark.parametrize(
    ("known", "text", "values"),
    [
        (pa.int64(), "1.5", [1.5]),
        (pa.int64(), "2", [2]),
        (pa.float64(), "2", [2.0]),
        (pa.string(), "007", ["007"]),
        (pa.null(), "7", [7]),
    ],
)
def test_a_csv_is_read_as_known_but_whole_numbers_may_have_become_fractions(
    tmp_path: Path, known: pa.DataType, text: str, values: list[Any]
) -> None:
    found = read(files_of(tmp_path, f"c,x\n{text},1\n"), "csv", schema=pa.schema([("c", known), ("x", pa.int64())]))
    assert found.to_pylist() == values


@pytest.mark.parametrize(
    ("features", "rows"), [(1, BATCH_ROWS), (30, BATCH_ROWS), (128, BATCH_ROWS), (1000, 4096), (10**6, 1024)]
)
def test_record_batches_are_smaller_the_more_features_a_row_has(features: int, rows: int) -> None:
    assert batch_rows(features) == rows
    assert rows * features <= 2**22 or rows == 1024


def test_no_record_batch_is_larger_than_asked_for(tmp_path: Path) -> None:
    values = np.arange(2500)
    text = "c\n" + "\n".join(map(str, values))
    for kind, column in {"parquet": pa.array(values), "csv": text}.items():
        batches = list(Reader(files_of(tmp_path, column), kind, rows=1000).batches())
        assert max(batch.num_rows for batch in batches) == 1000
        assert np.array_equal(pa.Table.from_batches(batches)["c"], values)


@pytest.mark.parametrize("structs", [False, True])
@pytest.mark.parametrize("cut", [1, 7, 40])
def test_row_groups_of_large_values_are_small_wherever_the_stream_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, structs: bool, cut: int
) -> None:
    monkeypatch.setattr(local, "GROUP_BYTES", 1_000)
    sizes = [10] * 12 + [400, 400, 400, None, 5_000, 999, 2] + [10] * 21
    cells: list[Any] = [None if size is None else b"x" * size for size in sizes]
    if structs:
        cells = [{"bytes": cell, "path": "p"} for cell in cells]
    table = pa.table({"row": range(40), "image": pa.array(cells)})
    writer = Writer(Folder(str(tmp_path)), "a.parquet", table.schema, group_rows=16)
    most = 0
    for batch in table.to_batches(max_chunksize=cut):
        writer.write(batch)
        most = max(most, sum(part.num_rows for part in writer._waiting))
    writer.close()
    found = pq.ParquetFile(tmp_path / "a.parquet")
    assert found.read().equals(table)
    groups = [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)]
    assert groups == [14, 2, 1, 1, 16, 6] and (cut > 1 or most < 16)
