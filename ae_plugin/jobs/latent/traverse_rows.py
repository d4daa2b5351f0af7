"""Traversal of a table's row: decoded rows in the source's schema, and the columns that change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ae_plugin.config import Pipeline
from ae_plugin.core.columns import ColumnSpec
from ae_plugin.core.decode import as_text, decode_all
from ae_plugin.core.encoding import NULL, null_flag
from ae_plugin.core.features import partition_time
from ae_plugin.core.scoring import embed
from ae_plugin.core.traversal import Axes, Move, course_of, explained, middle, reach
from ae_plugin.core.values import Bools, Floats, coded, decoded, evenly_spaced, take
from ae_plugin.core.variational import in_blocks
from ae_plugin.engines.local import Reader, batch_rows
from ae_plugin.engines.picked import rows_at
from ae_plugin.engines.threads import prefetch
from ae_plugin.errors import DataError
from ae_plugin.jobs.latent.contact import draw_courses
from ae_plugin.jobs.latent.output import Inputs
from ae_plugin.jobs.latent.traverse import SAMPLE, Frame
from ae_plugin.jobs.pointed import place_in
from ae_plugin.latent_schemas import LatentNote
from ae_plugin.versions import ModelVersion

FEWER = 256
"""Codes that say how much each latent variable carries: each of them is decoded once for each of those."""


class RowSubject:
    """A row that is held; see `jobs.latent.traverse.Subject`."""

    carried_by = "explained"

    def __init__(
        self,
        pipeline: Pipeline,
        version: ModelVersion,
        inputs: Inputs,
        row: int | None,
        keys: Mapping[str, str | None],
    ) -> None:
        self._encoder, self._at = version.scorer.encoder, partition_time(inputs.where)
        self._version, decoder = version, version.decoder()
        reader = Reader(inputs.files, inputs.kind, version.schema, batch_rows(self._encoder.features))
        version.check_columns(reader.schema.names, inputs.files[0].uri, keys=False)
        places, codes = self._sample(reader)
        if not len(codes):
            raise DataError("holds no rows", where=inputs.where or inputs.files[0].uri, mend="Name another partition")
        asked, where = row is not None or bool(keys), inputs.where or "the source"
        self.row = place_in(pipeline, reader, where, row, keys) if asked else places[middle(codes)]
        self._held = rows_at(reader, [self.row])[self.row]
        self._decoder, self._axes = decoder, None if version.card.kind == "variational" else Axes.of(codes)
        self.axes = self._axes is not None
        turned = codes if self._axes is None else self._axes.turn(codes)
        held = self._codes(self._held)
        self.base = (held if self._axes is None else self._axes.turn(held))[0]
        self.fields, (self.low, self.high) = reader.schema, reach(turned)
        self.carries = explained(self._decode, turned[evenly_spaced(len(turned), FEWER)])

    def _sample(self, reader: Reader) -> tuple[list[int], Floats]:
        """Codes of rows evenly from the partition, and their places; the same however it is cut."""
        codes: dict[int, Floats] = {}
        every, first = 1, 0
        for batch in prefetch(reader.batches()):
            while -(-(first + batch.num_rows) // every) > SAMPLE:
                every *= 2
            codes = {row: code for row, code in codes.items() if row % every == 0}
            here = np.arange(first, first + batch.num_rows)
            here = here[here % every == 0]
            if len(here):
                chosen = pa.array(here - first)
                columns = [take(column, chosen) for column in batch.columns]
                found = self._codes(pa.RecordBatch.from_arrays(columns, schema=batch.schema))
                codes |= zip(here.tolist(), found, strict=True)
            first += batch.num_rows
        places = list(codes)
        return places, np.stack([codes[row] for row in places]) if places else np.zeros((0, 1), np.float32)

    def _decode(self, codes: Floats) -> Floats:
        return in_blocks(self._decoder, codes if self._axes is None else self._axes.back(codes))

    def _codes(self, batch: pa.RecordBatch) -> Floats:
        scorer = self._version.scorer
        return embed(scorer.network, *self._encoder.inputs(scorer.encode(batch, self._at)))

    def frame(self, codes: Floats) -> Frame:
        """Decode the codes float32 [S, L] of one latent variable's steps."""
        steps = pa.array(np.zeros(len(codes), np.int64))
        held = pa.RecordBatch.from_arrays([take(c, steps) for c in self._held.columns], schema=self._held.schema)
        reconstruction, columns, moves = self._decode(codes), list(held.columns), []
        values = decode_all(self._encoder, held, reconstruction, self._at)
        for index, (name, where) in enumerate(zip(self._encoder.names, self._encoder.slices, strict=True)):
            place, found = held.schema.get_field_index(name), values[index]
            features, spec = reconstruction[:, where], self._encoder.specs[index]
            columns[place] = _like(found, columns[place], _empty(spec, features))
            texts = as_text(columns[place]).fill_null("null").to_pylist()
            change, course = course_of(features, signed=spec.kind in ("number", "time"))
            if len(set(texts)) > 1:
                moves.append(Move(name, change, course, texts[0], texts[-1]))
        return Frame(pa.RecordBatch.from_arrays(columns, schema=held.schema), moves)

    def title(self, moves: list[Move]) -> str:
        """Columns that move, under the word that most of their names share: `time: dep_time, arr_time`."""
        names = [move.what for move in moves]
        if sum((move.first == "null") != (move.last == "null") for move in moves) > len(moves) / 2:
            return f"null: {', '.join(names)}"
        words = Counter(word for name in names for word in set(name.lower().split("_")) if len(word) > 2)
        word, count = words.most_common(1)[0] if words else ("", 0)
        listed = ", ".join(names)
        return f"{word}: {listed}" if count > 1 and count > len(names) / 2 else listed

    def sheet(self, frames: list[tuple[LatentNote, Frame]]) -> bytes:
        """The columns' courses, a panel for each latent variable."""
        return draw_courses([(note, frame.moves) for note, frame in frames], self.carried_by)


def _empty(spec: ColumnSpec, features: Floats) -> Bools:
    """The steps at which a cell is more null than not, bool [S]."""
    if not spec.nullable:
        return np.zeros(len(features), bool)
    full, null = null_flag(1, None, spec)[0], null_flag(1, np.array([NULL], np.uint8), spec)[0]
    return np.asarray(features[:, -1] > (full + null) / 2)


def _like(values: pa.Array, given: pa.Array, empty: Bools) -> pa.Array:
    """Decoded values in the type of a column: its own value where the model cannot tell, null where it is empty."""
    plain = decoded(given)
    if values.null_count and values.type == plain.type and not pa.types.is_null(plain.type):
        values = pc.coalesce(values, plain)
    if empty.any():
        places = np.arange(len(values))
        values = values.take(pa.array(places, mask=empty))
    if pa.types.is_dictionary(given.type):
        return coded(values, given)
    return values if values.type == given.type else values.cast(given.type)
