"""Build the shipped sample: 45 days of New York departures with faults planted in some of the late days.

    python tools/make_flights.py --source flights.parquet [--output sample_data]

Writes `flights/date=YYYY-MM-DD/part-0.parquet` (every row of the day, in source order) and `flights_truth.parquet`
(one row per corrupted cell). The same source and pyarrow give the same bytes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SEED = 2013
FIRST_DAY = dt.date(2013, 1, 1)
DAYS = 45
KM_PER_MILE = 1.609344
SENTINEL = -9999
DICTIONARY_COLUMNS = ["dep_delay", "arr_delay", "carrier", "origin", "dest", "air_time", "distance", "minute"]

Value = int | float | str | None
Row = dict[str, Value]

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("date", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("column", pa.string(), nullable=False),
        pa.field("fault", pa.string(), nullable=False),
        pa.field("observed", pa.string()),
        pa.field("original", pa.string()),
    ]
)


@dataclass(frozen=True)
class Fault:
    """`corrupt` is applied to `rows` neighbours among those rows of `date` whose `columns` it would change."""

    date: str
    kind: str
    columns: tuple[str, ...]
    rows: int
    corrupt: Callable[[Row], Row]


def kilometres(column: str) -> Callable[[Row], Row]:
    """Miles written as kilometres."""

    def corrupt(row: Row) -> Row:
        miles = row[column]
        assert isinstance(miles, int)
        return {column: round(miles * KM_PER_MILE)}

    return corrupt


def swapped(one: str, other: str) -> Callable[[Row], Row]:
    """Two columns written in each other's place."""
    return lambda row: {one: row[other], other: row[one]}


def constant(column: str, value: Value) -> Callable[[Row], Row]:
    """Each value replaced by one and the same: a sentinel or a null."""
    return lambda _: {column: value}


def misspelt(column: str, right: str, wrong: str) -> Callable[[Row], Row]:
    """One category written wrongly."""
    return lambda row: {column: wrong if row[column] == right else row[column]}


FAULTS = (
    Fault("2013-02-03", "unit", ("distance",), 60, kilometres("distance")),
    Fault("2013-02-05", "swap", ("dep_time", "arr_time"), 40, swapped("dep_time", "arr_time")),
    Fault("2013-02-07", "sentinel", ("air_time",), 36, constant("air_time", SENTINEL)),
    Fault("2013-02-07", "sentinel", ("dep_delay",), 24, constant("dep_delay", SENTINEL)),
    Fault("2013-02-10", "misspelt", ("origin",), 40, misspelt("origin", "JFK", "JKF")),
    Fault("2013-02-11", "null", ("distance",), 48, constant("distance", None)),
    Fault("2013-02-11", "null", ("dest",), 30, constant("dest", None)),
    Fault("2013-02-13", "swap", ("air_time", "distance"), 30, swapped("air_time", "distance")),
    Fault("2013-02-13", "misspelt", ("dest",), 20, misspelt("dest", "ATL", "ALT")),
)


def read_source(path: Path) -> pa.Table:
    """The source with 32-bit string offsets and without pandas metadata; all other types as they are."""
    table = pq.read_table(path)
    fields = [
        pa.field(field.name, pa.string() if pa.types.is_large_string(field.type) else field.type)
        for field in table.schema
    ]
    return table.replace_schema_metadata(None).cast(pa.schema(fields))


def rows_of(table: pa.Table, day: dt.date) -> pa.Table:
    """All rows of one day, in source order."""
    keep = pc.and_(pc.equal(table["month"], day.month), pc.equal(table["day"], day.day))
    return table.filter(pc.and_(keep, pc.equal(table["year"], day.year)))


def choose_rows(fault: Fault, rows: Sequence[Row], taken: Sequence[range]) -> list[int]:
    """Positions for `fault`: a stretch of rows that it would change, chosen by SEED, clear of the stretches `taken`."""

    def changes(row: Row) -> bool:
        if any(row[name] is None for name in fault.columns):
            return False
        return all(value != row[name] for name, value in fault.corrupt(row).items())

    candidates = [position for position, row in enumerate(rows) if changes(row)]
    stretches = [candidates[start : start + fault.rows] for start in range(len(candidates) - fault.rows + 1)]
    free = [s for s in stretches if all(s[-1] < span.start or s[0] >= span.stop for span in taken)]
    if not free:
        raise ValueError(f"{fault.date}: no room for {fault.rows} rows of {fault.kind} in {', '.join(fault.columns)}")
    return random.Random(f"{SEED}/{fault.date}/{fault.kind}/{','.join(fault.columns)}").choice(free)


def plant(day: pa.Table, faults: Sequence[Fault]) -> tuple[pa.Table, pa.Table]:
    """The day with `faults` in it, and the truth about each corrupted cell."""
    names = sorted({name for fault in faults for name in fault.columns})
    rows: list[Row] = day.select(names).to_pylist()
    original, taken, cells = day, list[range](), list[tuple[Fault, int, str]]()
    for fault in faults:
        chosen = choose_rows(fault, rows, taken)
        taken.append(range(chosen[0], chosen[-1] + 1))
        for position in chosen:
            rows[position].update(fault.corrupt(rows[position]))
            cells += [(fault, position, name) for name in fault.columns]
    for name in names:
        field = day.schema.field(name)
        day = day.set_column(
            day.schema.get_field_index(name), field, pa.array([row[name] for row in rows], type=field.type)
        )
    observed, before = as_text(day, names), as_text(original, names)
    truth = [
        {
            "date": fault.date,
            "row": position,
            "column": name,
            "fault": fault.kind,
            "observed": observed[name][position],
            "original": before[name][position],
        }
        for fault, position, name in cells
    ]
    return day, pa.Table.from_pylist(truth, schema=TRUTH_SCHEMA)


def as_text(table: pa.Table, names: Sequence[str]) -> Mapping[str, list[str | None]]:
    """Columns as Arrow writes them: 160.0 is "160", null stays null."""
    return {name: table[name].cast(pa.string()).to_pylist() for name in names}


def write(table: pa.Table, path: Path) -> None:
    """One row group, zstd, no Arrow or pandas metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.combine_chunks(),
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in DICTIONARY_COLUMNS if name in table.column_names] or False,
        store_schema=False,
    )


def make(source: Path, output: Path) -> None:
    """Write the sample and its truth under `output`."""
    table, truths = read_source(source), []
    for day in (FIRST_DAY + dt.timedelta(days=n) for n in range(DAYS)):
        rows, faults = rows_of(table, day), [fault for fault in FAULTS if fault.date == day.isoformat()]
        if faults:
            rows, truth = plant(rows, faults)
            truths.append(truth)
        write(rows, output / "flights" / f"date={day.isoformat()}" / "part-0.parquet")
    order = [("date", "ascending"), ("row", "ascending"), ("column", "ascending")]
    write(pa.concat_tables(truths).sort_by(order), output / "flights_truth.parquet")


def main() -> None:
    """Write the sample and its truth."""
    parser = argparse.ArgumentParser(description="Build sample_data/flights from nycflights13's flights.parquet.")
    parser.add_argument("--source", type=Path, required=True, help="flights.parquet of nycflights13")
    parser.add_argument("--output", type=Path, default=Path("sample_data"), help="folder to write to (%(default)s)")
    arguments = parser.parse_args()
    make(arguments.source, arguments.output)


if __name__ == "__main__":
    main()
