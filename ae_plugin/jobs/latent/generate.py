"""Generate: new rows like those of history, in the source's schema, marked as synthetic."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.features import partition_time
from ae_plugin.core.generation import Drawn, Generator
from ae_plugin.core.synthetic import Fill, Known, Origin, Table, distances, fills
from ae_plugin.core.values import Bools, Floats, evenly_spaced
from ae_plugin.engines.local import Writer, schema_of, unify
from ae_plugin.engines.sample import sample
from ae_plugin.engines.threads import BLAS
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.feedback import honoured
from ae_plugin.jobs.history import MIN_ROWS, encode_sample, trained_on
from ae_plugin.jobs.inputs import find_target
from ae_plugin.jobs.latent.conditions import Conditions, read_conditions
from ae_plugin.jobs.latent.output import Inputs, committed, free_names, spent
from ae_plugin.jobs.score import champion_of
from ae_plugin.jobs.staged import let_go
from ae_plugin.latent_schemas import Closeness, GenerateRecord
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import SourceFile, fingerprint, list_source, partitions_of
from ae_plugin.store.runs import GENERATED, slug_of
from ae_plugin.versions import ModelVersion

if TYPE_CHECKING:
    from ae_plugin.jobs.pictures.versions import PictureVersion

log = logging.getLogger(__name__)
HISTORY_ROWS, HELD_OUT, BLOCK = 20_000, 2_000, 8_192
LEAST_ROWS, TREE_BUDGET = 2_000, 400_000_000
"""Rows times features times columns that trees are fitted to: a minute or two. Of wide tables there are fewer rows."""
TRIES = 10
DISCRETE = 0.1
"""Share of rows held out that repeat a row of history, from which on a table is said to hold copies by nature."""
COLUMN = "synthetic"


@BLAS.single()
def generate(
    pipeline: Pipeline,
    rows: int,
    *,
    where: Mapping[str, str] | None = None,
    seed: int = 0,
    output: str | None = None,
    version: ModelVersion | PictureVersion | None = None,
) -> GenerateRecord:
    """Write new rows like those of the history that the champion was trained on.

    Args:
        pipeline: from `config.load`.
        rows: how many.
        where: column -> the value that all rows are to hold, as text; an empty text is null.
        seed: what chance comes from: the same seed, champion and history give the same bytes.
        output: where to write instead of the pipeline's output.
        version: what to generate with, when it is loaded already; else the champion.

    Raises:
        NoChampionError: there is nothing to generate with.
        ConfigError: rows, where or seed make no sense; or a version of pictures knows no whole ones.
        DataError: the history that the champion was trained on cannot be read, or is gone.
        UserError: the output or the model is not what it should be.
    """
    clock = time.perf_counter()
    if rows < 1:
        raise ConfigError(f"{rows} rows are none to generate", where="N", mend="Give a number from 1 on")
    if not 0 <= seed < 2**31:
        raise ConfigError(f"{seed} is no seed", where="--seed", mend="Give a number from 0 to 2147483647")
    version = version or champion_of(pipeline)
    if not isinstance(version, ModelVersion):
        # Only now: what reads pictures is slow to import.
        from ae_plugin.jobs.latent.draw_pictures import draw_pictures

        return draw_pictures(pipeline, version, rows, where=bool(where), seed=seed, output=output)
    return _draw_rows(pipeline, version, rows, where or {}, seed, output, clock)


def _draw_rows(
    pipeline: Pipeline,
    version: ModelVersion,
    rows: int,
    where: Mapping[str, str],
    seed: int,
    output: str | None,
    clock: float,
) -> GenerateRecord:
    """Rows of a table; see `generate`, which began at `clock`."""
    history = _read(pipeline, version)
    fill = fills(history.origin, version.scorer.encoder, version.card.keys, pipeline.source.exclude)
    conditions = read_conditions(where, history.origin, version.scorer.encoder.specs, fill)
    job = _Job(pipeline, version, history, fill, conditions, seed)
    name = "-".join([version.version, str(rows), f"seed{seed}", *([slug_of(str(conditions))] if where else [])])
    inputs = Inputs("", history.files, pipeline.source.format, find_target(pipeline, history.files, None, output), "")
    target = f"generated/{name}.parquet"
    with committed(inputs, f"generated-{name}") as commit:
        digest = job.write(rows, commit, target)
        record = GenerateRecord(
            pipeline=pipeline.name,
            model_version=version.version,
            name=name,
            rows=rows,
            seed=seed,
            where=conditions.texts,
            history_rows=len(history.origin.groups),
            redrawn=job.redrawn,
            copies=job.copies,
            synthetic=job.synthetic(),
            held_out=job.held_out,
            notes=job.notes(),
            input_fingerprint=fingerprint(history.files),
            outputs={target: digest},
            **spent(clock, rows),
        )
        commit.folder.write(commit.staged(f"{GENERATED}/{name}.json"), record.model_dump_json(indent=1).encode())
    log.info("%s", inputs.wrote(f"{rows} rows generated"))
    return record


@dataclass(frozen=True)
class _History:
    """Rows to draw from, rows held out, the files that both are from, and their schema as it is."""

    origin: Origin
    held_out: Origin
    files: list[SourceFile]
    schema: pa.Schema


def _read(pipeline: Pipeline, version: ModelVersion) -> _History:
    """Sample what is still there of the partitions that a version was trained on."""
    groups = trained_on(pipeline, partitions_of(list_source(pipeline.source)), version.card.partitions)
    if not groups:
        what = f"none of the partitions that {version.version} was trained on is there any more"
        raise DataError(what, where=pipeline.source.uri, mend="Train anew")
    encoder = version.scorer.encoder
    work = encoder.features * len(encoder.specs)
    most = min(HISTORY_ROWS, max(LEAST_ROWS, TREE_BUDGET // work)) + HELD_OUT
    found = sample(groups, pipeline.source.format, most, version.card.seed, honoured(pipeline, groups).marks)
    if found.table.num_rows < MIN_ROWS:
        what = f"{found.table.num_rows} rows are left of what {version.version} was trained on; {MIN_ROWS} are needed"
        raise DataError(what, where=pipeline.source.uri, mend="Train anew")
    version.check_columns(found.table.schema.names, pipeline.source.uri, keys=False)
    times = {name: partition_time(name) for name in groups}
    relative = [spec.name for spec in version.card.columns if spec.kind == "time" and spec.relative]
    if relative and None in times.values():
        raise DataError(f"{relative[0]!r} counts from a partition's date, and there is none", where=pipeline.source.uri)
    try:
        whole = Origin.of(found.table, encode_sample(encoder, found), found.partitions, times)
    except DataError as error:
        raise error.placed(pipeline.source.uri) from error
    files = [file for own in groups.values() for file in own]
    rows, held = found.table.num_rows, min(HELD_OUT, found.table.num_rows // 10)
    order = np.random.default_rng([version.card.seed, 5]).permutation(rows)
    kind = pipeline.source.format
    schema = unify([(file.uri, schema_of(file.uri, kind, version.schema)) for file in files])
    return _History(whole.take(np.sort(order[held:])), whole.take(np.sort(order[:held])), files, schema)


@dataclass
class _Job:
    """Draws blocks of rows, and counts what becomes of them."""

    pipeline: Pipeline
    version: ModelVersion
    history: _History
    fill: dict[str, Fill]
    conditions: Conditions
    seed: int
    redrawn: int = 0
    copies: int = 0
    held_out: Closeness = field(init=False)

    def __post_init__(self) -> None:
        scorer, origin = self.version.scorer, self.history.origin
        encoder, conditions = scorer.encoder, self.conditions
        past = origin.past(encoder)
        log.info("%d rows of history, %d columns", len(origin.groups), len(encoder.specs))
        self._generator = Generator(
            encoder, scorer.filler, past, conditions.given, conditions.base, self.version.card.seed
        )
        self._table = Table(origin, encoder.specs, self.fill, self.history.schema, conditions.fixed)
        others = self.history.held_out
        # Of few columns real rows lie beside one another everywhere: then only what is equal is a copy.
        for beside in (True, False):
            self._known = Known(origin, encoder.names, beside=beside)
            self.held_out = self._closeness(others.encoded.x, int(self._known.copies(others.table).sum()))
            self._discrete = self.held_out.copies > DISCRETE * self.held_out.rows
            if not self._discrete:
                break
        self._first: tuple[Floats, int] = np.zeros((0, encoder.features), np.float32), 0

    def write(self, rows: int, commit: Commit, target: str) -> str:
        """Stage the file; returns its sha256."""
        marked = self._marked()
        writer = Writer(commit.folder, commit.staged(target), marked)
        with let_go(writer):
            for batch in self._blocks(rows):
                columns = [*batch.columns, pa.repeat(True, batch.num_rows)]
                writer.write(pa.RecordBatch.from_arrays(columns, schema=marked))
            return writer.close()

    def _marked(self) -> pa.Schema:
        schema = self.history.schema
        (name,) = free_names((COLUMN,), schema.names)
        said = {"synthetic": "true", "model_version": self.version.version, "pipeline": self.pipeline.name}
        metadata = {**(schema.metadata or {}), **{f"ae_plugin.{key}": value for key, value in said.items()}}
        return schema.append(pa.field(name, pa.bool_(), nullable=False)).with_metadata(metadata)

    def _blocks(self, rows: int) -> Iterator[pa.RecordBatch]:
        for number, start in enumerate(range(0, rows, BLOCK)):
            wanted = min(BLOCK, rows - start)
            drawn, batch, copies = self._block(wanted, start, np.random.default_rng([self.seed, number]))
            if not start:
                some = evenly_spaced(wanted, HELD_OUT)
                self._first = self._generator.encoded(drawn.take(some)), int(copies[some].sum())
            yield batch

    def _block(self, rows: int, start: int, rng: np.random.Generator) -> tuple[Drawn, pa.RecordBatch, Bools]:
        """Draw rows, and draw those again that are copies of a row of history; say which are copies all the same."""
        drawn = self._generator.draw(rows, rng)
        batch = self._table.rows(drawn, start)
        copies = self._known.copies(batch)
        for _ in range(0 if self._discrete else TRIES):
            again = np.flatnonzero(copies)
            if not len(again):
                break
            drawn = drawn.put(again, self._generator.draw(len(again), rng))
            batch = self._table.rows(drawn, start)
            copies = self._known.copies(batch)
            self.redrawn += len(again)
        self.copies += int(copies.sum())
        return drawn, batch, copies

    def synthetic(self) -> Closeness:
        """How near the first of the new rows are to history."""
        return self._closeness(*self._first)

    def _closeness(self, x: Floats, copies: int) -> Closeness:
        apart = distances(x, self.history.origin.encoded.x)
        shares = (0.05, 0.5, 0.95)
        quantiles = {f"{share:g}": round(float(np.quantile(apart, share)), 4) for share in shares} if len(apart) else {}
        return Closeness(rows=len(x), quantiles=quantiles, copies=copies)

    def notes(self) -> list[str]:
        """What the user should know, in words."""
        notes = []
        if self._discrete:
            share = self.held_out.copies / self.held_out.rows
            notes.append(
                f"{share:.0%} of real rows repeat another row: rows alike those of history were not drawn again"
            )
        elif self.copies:
            notes.append(f"{self.copies} rows are alike a row of history, however often they are drawn")
        empty = [name for name, how in self.fill.items() if how == "null"]
        if empty:
            notes.append(f"left empty, since nothing was learned of them: {', '.join(empty)}")
        return notes
