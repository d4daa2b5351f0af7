"""History: what there is to learn from, dealt into rows to train on, to stop by and to calibrate with."""

from __future__ import annotations

import logging
from collections.abc import Container
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.features import Encoded, TableEncoder, partition_time
from ae_plugin.core.fit import learn_columns
from ae_plugin.core.incidents import find_incidents
from ae_plugin.engines.sample import Sample, evenly, sample, stretches
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.decide import discarded
from ae_plugin.jobs.feedback import honoured
from ae_plugin.jobs.summary import bytes_in_words, many, some
from ae_plugin.masks import shown
from ae_plugin.schemas import ColumnNote, FeedbackUse
from ae_plugin.store.files import SourceFile, list_source, partitions_of
from ae_plugin.store.partitions import in_order, partition_id

log = logging.getLogger(__name__)
MIN_ROWS = 50
CELL_BUDGET = 64_000_000
TOLD, NAMED = 5, 20
VOUCHED_EACH, VOUCHED_ALL = 0.005, 0.1
"""Share of the training rows that one row which a person vouched for stands for, and all of them at most."""
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Split:
    """Row indices: training, validation (early stopping), calibration (p-values); no row is in two of them.

    `weighted` is `train` with the rows that a person vouched for repeated: what the network sees.
    """

    train: Indices
    validation: Indices
    calibration: Indices
    weighted: Indices


@dataclass(frozen=True)
class History:
    """A sample of the source's past, with what was learned about its columns.

    Attributes:
        groups: partition -> its files, of the partitions that rows of are in the sample.
        sample: the rows, and the partition of each.
        split: which row is for what.
        encoder: turns the rows into features.
        columns: what became of each source column.
        encoded: the rows, encoded.
        feedback: what became of people's verdicts on rows.
        incidents: partitions left out because they stand apart from all others, or were discarded, and why.
        notes: what the user should know of it, in words.
    """

    groups: dict[str, list[SourceFile]]
    sample: Sample
    split: Split
    encoder: TableEncoder
    columns: list[ColumnNote]
    encoded: Encoded
    feedback: FeedbackUse
    incidents: dict[str, str]
    notes: list[str]


def learn_history(pipeline: Pipeline) -> History:
    """Sample the training partitions, learn their columns from the rows to train on, and encode all rows.

    Raises:
        DataError: history cannot be read, is too short, or has no column to learn.
        ConfigError: train.until or train.partitions leave nothing.
    """
    groups, gone = chosen_partitions(pipeline)
    said = honoured(pipeline, groups)
    found = sample(groups, pipeline.source.format, pipeline.train.max_rows, pipeline.model.seed, said.marks)
    if found.table.num_rows < MIN_ROWS:
        beside = f" beside {said.use.confirmed} that were confirmed as wrong" if said.use.confirmed else ""
        raise DataError(
            f"history holds {found.table.num_rows} rows{beside}; at least {MIN_ROWS} are needed to train and calibrate",
            where=pipeline.source.uri,
            mend="Bring more rows, or raise train.partitions",
        )
    held = bytes_in_words(sum(file.size for files in groups.values() for file in files))
    rows, used = found.rows_total, found.table.num_rows
    log.info(
        "history: %d partitions in %s, %s, %d rows, %d used", len(groups), shown(pipeline.source.uri), held, rows, used
    )
    try:
        history = _learn_sample(pipeline, groups, found, said.use)
    except DataError as error:
        raise error.placed(pipeline.source.uri) from error
    notes = [*history.notes, *discard_notes(gone)]
    return replace(history, incidents=history.incidents | gone, notes=notes)


def trained_on(
    pipeline: Pipeline, groups: dict[str, list[SourceFile]], partitions: Container[str]
) -> dict[str, list[SourceFile]]:
    """Those of some partitions that a version was trained on, less what was discarded since."""
    own = {name: files for name, files in groups.items() if name in partitions}
    gone = discarded(pipeline, own)
    return {name: files for name, files in own.items() if name not in gone}


def _learn_sample(pipeline: Pipeline, groups: dict[str, list[SourceFile]], found: Sample, use: FeedbackUse) -> History:
    split, encoder, columns = _learn(pipeline, found)
    cap = max(2_000, CELL_BUDGET // encoder.features)
    if cap < found.table.num_rows:
        log.info("%d features a row: %d rows fit the memory budget", encoder.features, cap)
        found = found.thinned(cap, f"{encoder.features} features a row")
        split, encoder, columns = _learn(pipeline, found)
    incidents, notes = _incidents(pipeline, found, encoder)
    if incidents:
        kept = ~np.isin(found.partitions, list(incidents))
        found = found.taken(np.flatnonzero(kept if found.vouched is None else kept | found.vouched))
        split, encoder, columns = _learn(pipeline, found)
    _tell(columns)
    # A partition of which only rows that were vouched for are left is not learned: it is still to be scored.
    present = {name for name, _ in stretches(found.partitions)} - set(incidents)
    groups = {name: files for name, files in groups.items() if name in present}
    trained = 0 if found.vouched is None else int(found.vouched[split.train].sum())
    notes += beyond(use, trained)
    copies = 1 + (len(split.weighted) - len(split.train)) // trained if trained else 0
    use = use.model_copy(update={"false_alarms": trained, "copies": copies})
    return History(groups, found, split, encoder, columns, encode_sample(encoder, found), use, incidents, notes)


def _tell(columns: list[ColumnNote]) -> None:
    """Say which columns are learned, and of the first few others what they are; the report has all."""
    learned = [note.column for note in columns if note.role == "learned"]
    log.info("%d of %d columns are learned: %s", len(learned), len(columns), ", ".join(some(learned, NAMED)))
    if others := [f"{note.column} ({note.note or note.role})" for note in columns if note.role != "learned"]:
        log.info("not learned: %s", ", ".join(some(others, NAMED)))


def _incidents(pipeline: Pipeline, history: Sample, encoder: TableEncoder) -> tuple[dict[str, str], list[str]]:
    """Partitions that stand apart from all others, with the reason, and what to say of them.

    Only where history may hold anomalies and partitions follow one another in time: regions differ by nature.
    """
    names, where = zip(*stretches(history.partitions), strict=True)
    times = [partition_time(name) for name in names]
    if pipeline.train.contamination == 0 or None in times or len(set(times)) < len(times):
        return {}, []
    found = find_incidents(encoder, encode_sample(encoder, history), np.array([0, *(own.stop for own in where)]))
    # Of a partition that a person vouched for row by row nothing is left out.
    sure = np.zeros(len(history.odds), bool) if history.vouched is None else history.vouched
    left = {names[one.partition]: one.reason for one in found if not (one.lasts or sure[where[one.partition]].all())}
    lasting = [one for one in found if one.lasts]
    notes = []
    if left:
        told = ", ".join(f"{name} ({reason})" for name, reason in list(left.items())[:TOLD])
        more = f" and {len(left) - TOLD} more" if len(left) > TOLD else ""
        notes.append(f"left out as incidents, since they stand apart from all other partitions: {told}{more}")
    if lasting:
        first = lasting[0]
        notes.append(f"since {names[first.partition]} partitions differ ({first.reason}): learned, as a lasting change")
    return left, notes


def training_partitions(pipeline: Pipeline) -> dict[str, list[SourceFile]]:
    """The partitions to train on: up to `train.until`, the newest `train.partitions` of them, less the discarded."""
    return chosen_partitions(pipeline)[0]


def chosen_partitions(pipeline: Pipeline) -> tuple[dict[str, list[SourceFile]], dict[str, str]]:
    """The partitions to train on, see `training_partitions`; and those of them that were discarded, and by whom.

    Raises:
        ConfigError: train.until or train.partitions leave nothing, or all of it was discarded.
        DataError: the source cannot be listed.
        StoreError: a decision cannot be read.
    """
    groups = partitions_of(list_source(pipeline.source))
    names = list(groups)
    if pipeline.train.until is not None:
        last = partition_id(pipeline.train.until, pipeline.source.partition_by)
        names = [name for name in names if in_order(name) <= in_order(last)]
    if pipeline.train.partitions is not None:
        names = names[-pipeline.train.partitions :]
    if not names:
        raise ConfigError(
            f"no partition up to train.until {pipeline.train.until!r}",
            where=pipeline.source.uri,
            mend=f"The oldest is {next(iter(groups))}",
        )
    chosen = {name: groups[name] for name in names}
    gone = {name: f"discarded by {one.who}" for name, one in discarded(pipeline, chosen).items()}
    if len(gone) == len(chosen):
        what = f"nothing to train on: {many(len(gone), 'partition')} discarded"
        raise ConfigError(what, where=pipeline.source.uri, mend="Release one, or raise train.partitions")
    return {name: files for name, files in chosen.items() if name not in gone}, gone


def discard_notes(gone: dict[str, str]) -> list[str]:
    """Say which partitions were left out because somebody discarded them."""
    told = some([f"{name} ({reason})" for name, reason in gone.items()], TOLD)
    return [f"left out, since they were discarded: {', '.join(told)}"] if gone else []


def split_rows(history: Sample, alert_rate: float) -> Split:
    """Deal rows at random: a fifth to calibration (more when alarms need it, at most 40%), a tenth to validation.

    Each partition gives its share, and a row's use depends on the row alone as far as the shares allow: what one
    training holds out, the trainings before it did not train on. Rows that a person vouched for are trained on, as many
    as fit.
    """
    rows = history.table.num_rows
    places = evenly(history.partitions, history.lots)
    if history.vouched is not None:
        places[history.vouched] = 1
    order = np.argsort(places, kind="stable")
    calibration = min(max(rows // 5, min(2 * rows_needed(alert_rate), rows * 2 // 5)), 20_000)
    validation = min(max(rows // 10, 50 if rows >= 250 else 5), 10_000)
    cut = calibration + validation
    train = np.sort(order[cut:])
    vouched = train[:0] if history.vouched is None else train[history.vouched[train]]
    repeated = np.repeat(vouched, copies_of(len(vouched), len(train)) - 1)
    return Split(train, np.sort(order[calibration:cut]), np.sort(order[:calibration]), np.sort(np.r_[train, repeated]))


def beyond(use: FeedbackUse, trained: int) -> list[str]:
    """Say so when there are more false alarms than so many, which are trained on."""
    if trained >= use.false_alarms:
        return []
    return [f"feedback: {use.false_alarms} false alarms are more than fit: {trained} are trained on"]


def copies_of(vouched: int, train: int) -> int:
    """How often each row that was vouched for is trained on: often enough to be no rare thing, all together a tenth."""
    return max(1, round(train * min(VOUCHED_EACH, VOUCHED_ALL / max(vouched, 1))))


def _learn(pipeline: Pipeline, history: Sample) -> tuple[Split, TableEncoder, list[ColumnNote]]:
    source = pipeline.source
    split = split_rows(history, pipeline.score.alert_rate)
    for name in [*source.keys, *source.exclude]:
        if name not in history.table.schema.names:
            raise ConfigError(
                f"no column {name!r} in the source", where="source.keys, source.exclude", mend="Check the spelling"
            )
    specs, columns = learn_columns(
        history.table.take(pa.array(split.weighted)),
        [history.partitions[i] for i in split.weighted],
        keys=source.keys,
        exclude=source.exclude,
        partition_by=source.partition_by,
    )
    if not specs:
        raise DataError(
            "no column can be learned: all are null, constant, keys, excluded, or of types that are passed through",
            where=source.uri,
            mend="Check source.keys and source.exclude",
        )
    late = [
        ColumnNote(column=new.name, type=str(new.type), role="passed through", note="not in all of history")
        for new in history.later
    ]
    return split, TableEncoder(specs), columns + late


def encode_sample(encoder: TableEncoder, history: Sample) -> Encoded:
    """Encode the sample partition by partition, since ages may count from a partition's date."""
    parts = [
        encoder.encode(history.table.slice(own.start, own.stop - own.start), partition_time(name))
        for name, own in stretches(history.partitions)
    ]
    return Encoded.concat(parts)
