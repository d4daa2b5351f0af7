"""What is stored of a pipeline, read for its report in bounded memory: versions, scores and cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.core.calibration import is_anomaly
from ae_plugin.core.decode import as_text
from ae_plugin.core.values import take
from ae_plugin.engines.local import open_input, reading, row_bytes
from ae_plugin.errors import DataError, UserError
from ae_plugin.schemas import RunRecord, TrainReport, cells_schema, scores_schema
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import PointerName, Registry
from ae_plugin.versions import read_report

VERSIONS, WORST, ALIKE = 20, 50, 5
ROWS, PARTITION_ROWS = 30, 12
ROWS_READ, BATCH_ROWS, BATCH_BYTES = 500_000, 16_384, 32 * 2**20
RATES = (0.1, 0.05, 0.01, 0.001)
_CELL, _SCORE = tuple(cells_schema([]).names), tuple(scores_schema([]).names)
Keys = list[tuple[str, str | None]]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Version:
    """One line of the versions table; `report` is absent, and `problem` says why, when it cannot be read."""

    name: str
    pointers: list[str]
    report: TrainReport | None
    problem: str


@dataclass(frozen=True)
class WorstCell:
    """One wrong cell, and the row it is in."""

    partition: str
    keys: Keys
    row: int
    column: str
    observed: str | None
    expected: str | None
    cell_error: float
    p_value: float


@dataclass(frozen=True)
class WorstRow:
    """One anomalous row, and the cells of it that were found wrong."""

    partition: str
    keys: Keys
    row: int
    anomaly_score: float
    p_value: float
    top_column: str | None
    cells: list[WorstCell] = field(default_factory=list)


@dataclass
class Scores:
    """What one partition's `scores/` say.

    Attributes:
        run: that wrote them.
        worst: its most anomalous rows, worst first: at most `PARTITION_ROWS`, and at most `ALIKE` odd for one column.
        anomaly_score: float32 [n], of the rows read.
        p_value: float32 [n].
    """

    run: RunRecord
    worst: list[WorstRow]
    anomaly_score: Floats
    p_value: Floats

    def alarms(self, rate: float) -> int:
        """Rows that would be flagged at an alert rate."""
        return int(is_anomaly(self.p_value, rate).sum())


@dataclass
class Cells:
    """What the `cells/` of recent partitions say.

    Attributes:
        worst: the most surprising ones, at most `WORST`, and at most `ALIKE` of a column in a partition.
        named: column -> how often it was named.
        newest: the same of the newest scored partition.
        read: cells read.
        cut: there were more of them than `ROWS_READ`.
        problems: files that could not be read.
    """

    worst: list[WorstCell] = field(default_factory=list)
    named: Counter[str] = field(default_factory=Counter)
    newest: Counter[str] = field(default_factory=Counter)
    read: int = 0
    cut: bool = False
    problems: list[str] = field(default_factory=list)


def read_versions(registry: Registry, names: Sequence[str], champion: str | None) -> list[Version]:
    """The newest versions, newest first, and the champion however old it is."""
    pointers: tuple[PointerName, ...] = ("champion", "challenger")
    found = {name: registry.pointer(name) for name in pointers}
    newest, out = list(names[-VERSIONS:]), []
    for name in reversed(newest if champion in (None, *newest) else [str(champion), *newest]):
        here = [str(pointer) for pointer, at in found.items() if at and at.version == name]
        try:
            out.append(Version(name, here, read_report(registry, name), ""))
        except (UserError, OSError) as error:
            out.append(Version(name, here, None, str(error)))
    return out


def read_scores(folder: Folder, runs: Sequence[RunRecord]) -> tuple[list[Scores], list[str]]:
    """Read the scores of scored partitions, newest first, until the bound; and say which could not be read."""
    out: list[Scores] = []
    problems: list[str] = []
    left = ROWS_READ
    for run in reversed(runs):
        if run.outcome != "scored" or left <= 0:
            continue
        try:
            found = _scores_of(folder, run, left)
        except DataError as error:
            problems.append(str(error))
            continue
        if found is not None:
            left -= len(found.p_value)
            out.append(found)
    return out, problems


def _scores_of(folder: Folder, run: RunRecord, limit: int) -> Scores | None:
    worst: list[WorstRow] = []
    scores: list[Floats] = []
    chances: list[Floats] = []
    for batch in batches_of(folder, run, "scores", limit):
        first = batch.num_columns - len(_SCORE)
        # By position: a row key may share its name with a column of `scores/`.
        place = {name: first + index for index, name in enumerate(_SCORE)}
        score, p = (floats(batch.column(place[name])) for name in ("anomaly_score", "p_value"))
        read = ~np.isnan(p)
        scores.append(score[read])
        chances.append(p[read])
        flagged = batch.column(place["is_anomaly"]).fill_null(False).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(flagged)
        order = rows[np.lexsort((-score[rows], p[rows]))]
        tops = batch.column(place["top_column"]).to_pylist() if len(order) else []
        picked = order[few_alike([tops[index] for index in order], PARTITION_ROWS)]
        keys = keys_of(batch, first, picked)
        numbers = batch.column(place["row"]).to_numpy()
        worst += [
            WorstRow(run.partition, key, int(numbers[i]), float(score[i]), float(p[i]), tops[i])
            for i, key in zip(picked, keys, strict=True)
        ]
    if not scores:
        return None
    worst.sort(key=lambda row: (row.p_value, -row.anomaly_score, row.row))
    kept = [worst[i] for i in few_alike([row.top_column for row in worst], PARTITION_ROWS)]
    return Scores(run, kept, np.concatenate(scores), np.concatenate(chances))


def worst_rows(scores: Sequence[Scores]) -> list[WorstRow]:
    """The rows to explain: of each partition the worst, newest partition first, at most `ROWS`."""
    return [row for found in scores for row in found.worst][:ROWS]


def read_cells(folder: Folder, runs: Sequence[RunRecord], rows: Sequence[WorstRow]) -> Cells:
    """Read the cells of scored partitions, newest first, until the bound; each row of `rows` gets its own."""
    out = Cells()
    wanted: dict[str, dict[int, WorstRow]] = {}
    for row in rows:
        wanted.setdefault(row.partition, {})[row.row] = row
    newest = next((run.partition for run in reversed(runs) if run.outcome == "scored" and run.rows), None)
    for run in reversed(runs):
        try:
            for batch in batches_of(folder, run, "cells", ROWS_READ - out.read):
                names = batch.column(1 - len(_CELL)).to_pylist()
                out.named.update(names)
                if run.partition == newest:
                    out.newest.update(names)
                out.read += batch.num_rows
                _deal(batch, run.partition, wanted.get(run.partition, {}))
                found = sorted(out.worst + _worst_cells(batch, run.partition), key=_order)
                out.worst = [found[i] for i in few_alike(((c.partition, c.column) for c in found), WORST)]
        except DataError as error:
            out.problems.append(str(error))
        if out.read >= ROWS_READ:
            out.cut = True
            break
    return out


def batches_of(folder: Folder, run: RunRecord, dataset: str, limit: int) -> Iterator[pa.RecordBatch]:
    """Stream at most `limit` rows (to the next batch) of what this run wrote; nothing when that was withdrawn.

    Record batches are of bounded rows and bytes; only a single row, a picture, may be larger.
    """
    for name in (name for name in run.outputs if name.startswith(f"{dataset}/")):
        where = f"{folder.uri}/{name}"
        with reading(where), open_input(where) as handle:
            file = pq.ParquetFile(handle, pre_buffer=False)
            rows = min(max(BATCH_BYTES // row_bytes(file.metadata), 1), BATCH_ROWS)
            for batch in file.iter_batches(rows):
                if limit <= 0:
                    return
                limit -= batch.num_rows
                yield batch


def _deal(batch: pa.RecordBatch, partition: str, rows: dict[int, WorstRow]) -> None:
    """Give each wanted row its cells of a record batch."""
    if not rows:
        return
    numbers = batch.column(batch.num_columns - len(_CELL)).to_numpy()
    for cell in _cells_at(batch, partition, np.flatnonzero(np.isin(numbers, list(rows)))):
        rows[cell.row].cells.append(cell)


def _worst_cells(batch: pa.RecordBatch, partition: str) -> list[WorstCell]:
    """The most surprising cells of a record batch: at least those that may be among the report's."""
    columns = batch.column(batch.num_columns - len(_CELL) + 1).to_pylist()
    p, error = floats(batch.column(-1)), floats(batch.column(-2))
    order = np.lexsort((-error, p))
    return _cells_at(batch, partition, order[few_alike((columns[index] for index in order), WORST)])


def _cells_at(batch: pa.RecordBatch, partition: str, picked: npt.NDArray[np.intp]) -> list[WorstCell]:
    # By position: a row key may share its name with a column of `cells/`.
    first = batch.num_columns - len(_CELL)
    keys = keys_of(batch, first, picked)
    cells = [take(batch.column(first + i), pa.array(picked)).to_pylist() for i in range(len(_CELL))]
    return [
        WorstCell(partition, key, **{name: cells[j][i] for j, name in enumerate(_CELL)}) for i, key in enumerate(keys)
    ]


def keys_of(batch: pa.RecordBatch, count: int, rows: npt.NDArray[np.intp]) -> list[Keys]:
    """Names and texts of the first `count` columns, the row keys, for some rows."""
    told = [texts(take(batch.column(i), pa.array(rows))) for i in range(count)]
    names = batch.schema.names[:count]
    return [[(name, text[i]) for name, text in zip(names, told, strict=True)] for i in range(len(rows))]


def few_alike(kinds: Iterable[Hashable], most: int) -> list[int]:
    """Places of the first `ALIKE` of each kind, `most` in all: a fault of a whole column must not hide all others.

    A kind that is None, as that of a picture, is like no other.
    """
    seen: Counter[Hashable] = Counter()
    kept: list[int] = []
    for place, kind in enumerate(kinds):
        seen[kind] += kind is not None
        if seen[kind] <= ALIKE:
            kept.append(place)
        if len(kept) == most:
            break
    return kept


def _order(cell: WorstCell) -> tuple[float, float, str, int, str]:
    return cell.p_value, -cell.cell_error, cell.partition, cell.row, cell.column


def floats(values: pa.Array) -> Floats:
    """A column of numbers as float32, NaN for null."""
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float32)


def texts(values: pa.Array) -> list[str | None]:
    """Values of any type as texts, for people; null stays null."""
    try:
        return list(as_text(values).to_pylist())
    except pa.ArrowException:
        return [None if value is None else str(value) for value in values.to_pylist()]
    except UnicodeDecodeError:  # row keys are passed through as they are
        return [value and value.decode(errors="replace") for value in values.cast(pa.binary()).to_pylist()]
