"""A sample of history: every partition by its share, the same rows again, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.engines import sample as module
from ae_plugin.engines.sample import Sample, sample
from ae_plugin.errors import DataError
from ae_plugin.sections import Source
from ae_plugin.store.files import SourceFile, list_source, partitions_of

Groups = dict[str, list[SourceFile]]


def history(folder: Path, sizes: list[int], group: int = 1000, width: int = 10) -> Groups:
    """Days of so many rows, each row with a number of its own and a text of some length."""
    for number, rows in enumerate(sizes):
        path = folder / f"day={number:03d}/part-0.parquet"
        path.parent.mkdir(parents=True)
        ids = number * 1_000_000 + np.arange(rows)
        table = pa.table({"id": ids, "text": pa.array([f"{i:0{width}d}" for i in ids], pa.string())})
        pq.write_table(table, path, row_group_size=group)
    return partitions_of(list_source(Source(uri=str(folder), format="parquet", partition_by=["day"])))


def counts(found: Sample) -> list[int]:
    return np.unique(np.asarray(found.partitions), return_counts=True)[1].tolist()


def consistent(found: Sample) -> None:
    """Each row lies with its own partition, in source order."""
    ids = found.table["id"].to_numpy()
    assert (np.diff(ids) > 0).all()
    assert [f"day={i // 1_000_000:03d}" for i in ids] == found.partitions
    assert len(found.odds) == len(found.lots) == len(ids)


def test_a_history_that_fits_is_taken_whole(tmp_path: Path) -> None:
    found = sample(history(tmp_path, [300, 0, 500]), "parquet", 800, 0)
    consistent(found)
    assert (found.table.num_rows, found.rows_total, found.limits) == (800, 800, ())


@pytest.mark.parametrize("group", [100, 5000])
def test_every_partition_gives_its_share(tmp_path: Path, group: int) -> None:
    """Also where one row group alone holds more than the whole sample, and where a day is small among large ones."""
    sizes = [5000] * 20 + [200, 40_000]
    found = sample(history(tmp_path, sizes, group), "parquet", 2000, 0)
    consistent(found)
    assert found.table.num_rows == 2000
    assert len(counts(found)) == len(sizes)
    for held, rows in zip(counts(found), sizes, strict=True):
        assert held == pytest.approx(2000 * rows / sum(sizes), rel=0.3, abs=10)
    assert found.limits == ("train.max_rows 2000",)


def test_rows_of_all_places_in_a_row_group_are_drawn(tmp_path: Path) -> None:
    found = sample(history(tmp_path, [20_000, 20_000], group=20_000), "parquet", 1000, 0)
    places = found.table["id"].to_numpy() % 1_000_000
    assert np.histogram(places, 10, (0, 20_000))[0].min() > 50


def test_the_same_rows_are_drawn_again_and_dealt_alike_when_the_window_moves_on(tmp_path: Path) -> None:
    groups = history(tmp_path, [3000 + 50 * (n % 7) for n in range(31)])
    days = list(groups)
    first, again, later = (
        sample({day: groups[day] for day in window}, "parquet", 9000, 0) for window in (days[:28], days[:28], days[3:])
    )
    assert first.table.equals(again.table) and np.array_equal(first.lots, again.lots)
    lots = [dict(zip(found.table["id"].to_pylist(), found.lots, strict=True)) for found in (first, later)]
    both = lots[0].keys() & lots[1].keys()
    assert len(both) > 0.95 * 9000 * 25 / 28
    assert all(lots[0][row] == lots[1][row] for row in both)
    other = sample({day: groups[day] for day in days[:28]}, "parquet", 9000, 1)
    assert len(set(first.table["id"].to_pylist()) & set(other.table["id"].to_pylist())) < 0.3 * 9000


@pytest.mark.parametrize("max_rows", [10**6, 30_000])
def test_a_sample_that_is_too_large_in_bytes_still_is_of_all_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_rows: int
) -> None:
    monkeypatch.setattr(module, "SAMPLE_BYTES", 2**20)
    found = sample(history(tmp_path, [1000] * 45, width=100), "parquet", max_rows, 0)
    consistent(found)
    assert 2**18 < found.table.nbytes <= 2**20
    assert len(counts(found)) == 45 and max(counts(found)) < 2 * min(counts(found))
    assert "1 MB of memory" in found.limits


def test_a_dictionary_counts_once_in_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record batch brings a copy of it."""
    monkeypatch.setattr(module, "SAMPLE_BYTES", 2**20)
    words = pa.array([f"{n:01000d}" for n in range(300)])
    for number in range(20):
        path = tmp_path / f"day={number:03d}/part-0.parquet"
        path.parent.mkdir()
        column = words.take(pa.array(np.random.default_rng(number).integers(0, 300, 1000)))
        pq.write_table(pa.table({"word": column.dictionary_encode()}), path)
    groups = partitions_of(list_source(Source(uri=str(tmp_path), format="parquet", partition_by=["day"])))
    found = sample(groups, "parquet", 10**6, 0)
    assert found.table.num_rows > 4000 and len(counts(found)) == 20


def test_a_column_of_later_files_only_is_named_and_one_of_earlier_files_only_is_an_error(tmp_path: Path) -> None:
    groups = history(tmp_path, [100, 100, 100])
    path = tmp_path / "day=002/part-0.parquet"
    table = pq.ParquetFile(path).read()
    pq.write_table(table.append_column("gift", pa.array([True] * 100)), path)
    found = sample(groups, "parquet", 1000, 0)
    assert [field.name for field in found.later] == ["gift"] and found.table.column_names == ["id", "text"]
    pq.write_table(table.drop_columns("text"), path)
    with pytest.raises(DataError, match=r"day=002.*'text' is missing here"):
        sample(groups, "parquet", 1000, 0)
