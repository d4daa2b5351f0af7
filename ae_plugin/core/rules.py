"""What history says of words, beside what the network says: how they are written, and what follows from what.

A cell that breaks a rule is wrong whether its row is flagged or not: rows are flagged at the rate the user chose, but a
misspelling is one in a row as ordinary as any. Judged by the rules alone, so a table without words costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from ae_plugin.core.columns import ColumnSpec
from ae_plugin.core.dependencies import COLUMNS, Dependency, ask, learn_dependencies
from ae_plugin.core.patterns import Pattern, Word, learn_pattern
from ae_plugin.core.values import Bools, as_strings, decoded, evenly_spaced

ROWS = 20_000
"""Rows of history that are looked at, evenly spread."""


@dataclass(frozen=True)
class Broken:
    """One column's cells that break a rule.

    Attributes:
        rows: int [k], increasing.
        expected: string [k], null where no rule says what the cell should have been.
        p_value: chance of a broken cell in this column, by what history held.
    """

    rows: npt.NDArray[np.intp]
    expected: pa.Array
    p_value: float


class Rules(BaseModel):
    """The rules of one table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patterns: list[Pattern] = Field(default_factory=list)
    dependencies: list[Dependency] = Field(default_factory=list)
    rates: dict[str, float] = Field(default_factory=dict, description="Column -> share of history that breaks a rule.")

    def find(self, batch: pa.RecordBatch | pa.Table) -> dict[str, Broken]:
        """Find the cells that break a rule: column -> which, and what they should have been.

        Args:
            batch: holds the columns that the rules name.
        """
        words = {name: _words(batch, name) for name in self._names()}
        patterns = {pattern.column: pattern for pattern in self.patterns}
        votes = ask(self.dependencies, words)
        out: dict[str, Broken] = {}
        for name, column in words.items():
            wrong, expected = np.zeros(len(column), bool), pa.nulls(len(column), pa.string())
            if name in patterns:
                wrong, expected = _written_wrongly(patterns[name], column)
            if name in votes.expected:
                # What other columns confirm is no slip, however rare it is; what they expect beats what looks alike.
                confirmed = votes.confirmed[name] & ~votes.wrong[name]
                wrong = (wrong & ~confirmed) | votes.wrong[name]
                expected = pc.coalesce(votes.expected[name], expected)
            wrong &= ~pc.fill_null(pc.equal(expected, column), False).to_numpy(zero_copy_only=False)
            rows = np.flatnonzero(wrong)
            if len(rows):
                out[name] = Broken(rows, expected.take(pa.array(rows)), self.rates.get(name, 0.0))
        return out

    def follows(self, batch: pa.RecordBatch, name: str, rows: npt.NDArray[np.intp]) -> pa.Array:
        """What follows from the other columns for the cells of one column in k rows, string [k]; null: nothing."""
        own = [dependency for dependency in self.dependencies if dependency.to == name]
        if not own:
            return pa.nulls(len(rows), pa.string())
        named = {name, *(dependency.of for dependency in own)}
        words = {column: _words(batch, column).take(pa.array(rows)) for column in named}
        return ask(own, words).expected[name]

    def _names(self) -> list[str]:
        named = [pattern.column for pattern in self.patterns]
        return sorted({*named, *(name for d in self.dependencies for name in (d.of, d.to))})


def learn_rules(table: pa.Table, specs: Sequence[ColumnSpec]) -> Rules:
    """Learn the rules of a table from all of the sampled history: no p-value of a row depends on them.

    Args:
        table: rows of history.
        specs: of its learned columns.
    """
    texts = [spec.name for spec in specs if spec.kind in ("category", "text") and spec.type != "bool"]
    if not texts:
        return Rules()
    numbers = [spec.name for spec in specs if pa.types.is_integer(table.schema.field(spec.name).type)]
    columns = {name: _words(table, name) for name in [*texts, *numbers[:COLUMNS]]}
    if table.num_rows > ROWS:
        some = pa.array(evenly_spaced(table.num_rows, ROWS))
        columns = {name: column.take(some) for name, column in columns.items()}
    rows = min(table.num_rows, ROWS)
    patterns = [learn_pattern(name, _counts(columns[name])) for name in texts]
    rules = Rules(
        patterns=[pattern for pattern in patterns if not pattern.empty],
        dependencies=learn_dependencies(columns, set(texts)),
    )
    broken = rules.find(pa.table(columns))
    # At least one of the rows and the next one; learned from these very rows, so it is no conformal p-value.
    rates = {name: (len(found.rows) + 1) / (rows + 1) for name, found in broken.items()}
    return rules.model_copy(update={"rates": {name: rates.get(name, 1 / (rows + 1)) for name in columns}})


def _counts(column: pa.Array) -> Counter[str]:
    counted = column.drop_null().value_counts()
    return Counter(dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)))


def _words(batch: pa.RecordBatch | pa.Table, name: str) -> pa.Array:
    column = batch.column(batch.schema.get_field_index(name))
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return as_strings(decoded(column))


def _written_wrongly(pattern: Pattern, column: pa.Array) -> tuple[Bools, pa.Array]:
    coded = column.dictionary_encode()
    words = coded.dictionary.to_pylist()
    found: dict[int, Word] = pattern.judge(words)
    codes = coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    wrong, repairs = np.zeros(len(words) + 1, bool), [None] * (len(words) + 1)
    wrong[list(found)] = True
    better = pa.array([found[i].repair if i in found else None for i in range(len(repairs))], pa.string())
    return wrong[codes], better.take(pa.array(codes))
