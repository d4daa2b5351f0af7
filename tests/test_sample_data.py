"""The shipped sample: what it holds, and that its truth table is true."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data"
SOURCE = ROOT.parent / "shared/data/nycflights13/flights.parquet"
DAYS = [(dt.date(2013, 1, 1) + dt.timedelta(days=n)).isoformat() for n in range(45)]
FAULTY_DAYS = ["2013-02-03", "2013-02-05", "2013-02-07", "2013-02-10", "2013-02-11", "2013-02-13"]
SCHEMA = pa.schema(
    {
        "year": pa.int64(),
        "month": pa.int64(),
        "day": pa.int64(),
        "dep_time": pa.float64(),
        "sched_dep_time": pa.int64(),
        "dep_delay": pa.float64(),
        "arr_time": pa.float64(),
        "sched_arr_time": pa.int64(),
        "arr_delay": pa.float64(),
        "carrier": pa.string(),
        "flight": pa.int64(),
        "tailnum": pa.string(),
        "origin": pa.string(),
        "dest": pa.string(),
        "air_time": pa.float64(),
        "distance": pa.int64(),
        "hour": pa.int64(),
        "minute": pa.int64(),
        "time_hour": pa.timestamp("us", tz="UTC"),
    }
)
Cell = tuple[str, int, str]


def read_day(day: str) -> pa.Table:
    return pq.ParquetFile(SAMPLE / "flights" / f"date={day}" / "part-0.parquet").read()


def read_truth() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(SAMPLE / "flights_truth.parquet").to_pylist()
    return rows


def as_text(table: pa.Table) -> dict[str, list[str | None]]:
    return {name: table[name].cast(pa.string()).to_pylist() for name in table.column_names}


def sample_files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*.parquet"))


def test_there_are_45_consecutive_days_of_one_file_each() -> None:
    expected = [Path("flights") / f"date={day}" / "part-0.parquet" for day in DAYS]
    assert sample_files(SAMPLE) == sorted([*expected, Path("flights_truth.parquet")])


@pytest.mark.parametrize("day", DAYS)
def test_a_day_has_the_source_columns_and_only_its_own_rows(day: str) -> None:
    table = read_day(day)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.num_rows >= 500
    date = dt.date.fromisoformat(day)
    for name, value in (("year", date.year), ("month", date.month), ("day", date.day)):
        assert pc.all(pc.equal(table[name], value)).as_py()
    for name in ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"):
        assert not pc.any(pc.is_nan(table[name])).as_py(), f"{name}: a missing value must be a null"


def test_truth_agrees_with_the_cells() -> None:
    truth = read_truth()
    assert len({(cell["date"], cell["row"], cell["column"]) for cell in truth}) == len(truth)
    texts = {day: as_text(read_day(day)) for day in FAULTY_DAYS}
    for cell in truth:
        day, row, column = cell["date"], cell["row"], cell["column"]
        assert isinstance(day, str) and isinstance(row, int) and isinstance(column, str)
        assert 0 <= row < len(texts[day][column])
        assert texts[day][column][row] == cell["observed"]
        assert cell["observed"] != cell["original"]
        assert (cell["observed"] is None) == (cell["fault"] == "null")


def test_faults_are_few_known_and_only_in_six_late_days() -> None:
    truth = read_truth()
    assert sorted({cell["date"] for cell in truth}, key=str) == FAULTY_DAYS
    assert {cell["fault"] for cell in truth} == {"unit", "swap", "sentinel", "misspelt", "null"}
    for day in FAULTY_DAYS:
        corrupted = {cell["row"] for cell in truth if cell["date"] == day}
        assert len(corrupted) < 0.1 * read_day(day).num_rows


@pytest.mark.parametrize("day", [day for day in DAYS if day not in FAULTY_DAYS])
def test_other_days_show_no_sign_of_a_fault(day: str) -> None:
    table = read_day(day)
    assert set(table["origin"].to_pylist()) == {"EWR", "JFK", "LGA"}
    assert table["dest"].null_count == table["distance"].null_count == table["sched_arr_time"].null_count == 0
    assert "ALT" not in table["dest"].to_pylist()
    assert pc.min(table["dep_delay"]).as_py() > -100 and pc.min(table["air_time"]).as_py() > 0
    one_distance = table.group_by(["origin", "dest"]).aggregate([("distance", "count_distinct")])
    assert set(one_distance["distance_count_distinct"].to_pylist()) == {1}


def test_the_readme_lists_every_fault_and_no_other() -> None:
    listed: set[Cell] = set()
    for line in (SAMPLE / "README.md").read_text().splitlines():
        found = re.match(r"\| (\d{4}-\d\d-\d\d) \| (\d+)-(\d+) \| (\d+) \| ([^|]+) \| (\w+) \|", line)
        if not found:
            continue
        day, first, last, count, columns, fault = found.groups()
        for column in re.findall(r"`(\w+)`", columns):
            cells = [
                (str(cell["date"]), int(str(cell["row"])), str(cell["column"]))
                for cell in read_truth()
                if (cell["date"], cell["column"], cell["fault"]) == (day, column, fault)
            ]
            rows = [row for _, row, _ in cells]
            assert (min(rows), max(rows), len(rows)) == (int(first), int(last), int(count))
            listed.update(cells)
    assert len(listed) == len(read_truth())


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.skipif(not SOURCE.exists(), reason="needs nycflights13's flights.parquet, which is not in the repository")
def test_the_truth_is_complete_against_the_source() -> None:
    source = pq.read_table(SOURCE)
    truth = {(cell["date"], cell["row"], cell["column"]): cell["original"] for cell in read_truth()}
    differences: dict[Cell, str | None] = {}
    for day in DAYS:
        date = dt.date.fromisoformat(day)
        own = pc.and_(pc.equal(source["month"], date.month), pc.equal(source["day"], date.day))
        before, now = as_text(source.filter(own)), as_text(read_day(day))
        for name in SCHEMA.names:
            assert len(before[name]) == len(now[name])
            for row, (old, new) in enumerate(zip(before[name], now[name], strict=True)):
                if old != new:
                    differences[day, row, name] = old
    assert differences == truth


@pytest.mark.skipif(not SOURCE.exists(), reason="needs nycflights13's flights.parquet, which is not in the repository")
def test_regenerating_gives_the_same_bytes(tmp_path: Path) -> None:
    script = ROOT / "tools/make_flights.py"
    subprocess.run([sys.executable, script, "--source", SOURCE, "--output", tmp_path], check=True, timeout=300)
    assert sample_files(tmp_path) == sample_files(SAMPLE)
    for path in sample_files(SAMPLE):
        shipped, made = pq.ParquetFile(SAMPLE / path), pq.ParquetFile(tmp_path / path)
        if shipped.metadata.created_by == made.metadata.created_by:
            assert (tmp_path / path).read_bytes() == (SAMPLE / path).read_bytes(), path
        else:  # another pyarrow signs and may compress otherwise: the content must still be the same
            assert made.read().equals(shipped.read()), path
