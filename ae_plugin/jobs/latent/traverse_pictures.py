"""Traversal of a picture: decoded pictures, and what each latent variable changes as far as it can be measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.pictures import Picture
from ae_plugin.core.traversal import MEASURES, Move, measures, middle, reach
from ae_plugin.core.values import Floats, evenly_spaced
from ae_plugin.core.variational import Bytes, Variational
from ae_plugin.engines.pictures import PictureReader, decoded
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.latent.contact import draw_strips
from ae_plugin.jobs.latent.output import Inputs
from ae_plugin.jobs.latent.traverse import SAMPLE, Frame
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.jobs.pointed import place_in
from ae_plugin.latent_schemas import LatentNote

_UNIT_BYTES = 2 * 2**20
FEWER = 512
"""Pictures that say how much what is measured usually differs."""


def whole_pictures_of(version: PictureVersion) -> Variational:
    """The model of whole pictures in a version; ConfigError when it has none."""
    if version.variational is None:
        raise ConfigError(
            f"{version.version} knows tiles of pictures, not whole ones",
            where="model.kind",
            mend="Set model.kind: variational, and train anew",
        )
    return version.variational


class PictureFrames:
    """What a model of whole pictures makes of codes.

    Args:
        model: decodes.
        codes: float32 [n, L] of pictures, which say how much what is measured usually differs.
        fields: one, the column of pictures.
    """

    def __init__(self, model: Variational, codes: Floats, fields: pa.Schema) -> None:
        self._model, self.fields = model, fields
        usual = measures(_floats(model.decode(codes[evenly_spaced(len(codes), FEWER)])))
        self._units = {name: max(float(values.std()), 1e-3) for name, values in usual.items()}

    def frame(self, codes: Floats) -> Frame:
        """Decode the codes float32 [S, L] of one latent variable's steps."""
        seen = self._model.decode(codes)
        found, moves = measures(_floats(seen)), []
        for name, values in found.items():
            course = (values - values[0]) / self._units[name]
            moves.append(Move(name, float(np.ptp(course)), course, f"{values[0]:.2f}", f"{values[-1]:.2f}"))
        pngs = pa.array([self._model.png(one) for one in seen], pa.binary())
        return Frame(pa.RecordBatch.from_arrays([pngs], schema=self.fields), moves)

    def title(self, moves: list[Move]) -> str:
        """What moves, in words: `position: x, y; size: area`."""
        kinds: dict[str, list[str]] = {}
        for move in moves:
            kinds.setdefault(MEASURES[move.what], []).append(move.what)
        return "; ".join(kind if names == [kind] else f"{kind}: {', '.join(names)}" for kind, names in kinds.items())

    def sheet(self, frames: list[tuple[LatentNote, Frame]]) -> bytes:
        """The pictures, a strip for each latent variable."""
        return draw_strips([(note, frame.rows.column(0).to_pylist()) for note, frame in frames])


class PictureSubject(PictureFrames):
    """A picture that is held; see `jobs.latent.traverse.Subject`."""

    axes, carried_by = False, "kl"

    def __init__(
        self,
        pipeline: Pipeline,
        version: PictureVersion,
        inputs: Inputs,
        row: int | None,
        keys: Mapping[str, str | None],
    ) -> None:
        model = self._model = whole_pictures_of(version)
        reader = PictureReader(inputs.files, image=version.card.image)
        where = inputs.where or "the source"
        asked = place_in(pipeline, reader, where, row, keys) if row is not None or keys else None
        places, seen, held = self._sample(reader, asked)
        if asked is not None and held is None:
            raise DataError(f"picture {asked} cannot be read", where=where, mend="Name another one")
        if not places:
            raise DataError("holds no picture that can be read", where=where, mend="Name another partition")
        codes = model.encode(seen)
        self.row = places[middle(codes)] if asked is None else asked
        self.base = codes[middle(codes)] if held is None else model.encode(held[None])[0]
        self.low, self.high = reach(codes)
        card = version.card.variational
        self.carries = np.array(card.kl if card else [0.0] * codes.shape[1], np.float32)
        super().__init__(model, codes, pa.schema([pa.field(version.card.image, pa.binary(), nullable=False)]))

    def _sample(self, reader: PictureReader, asked: int | None) -> tuple[list[int], Bytes, Bytes | None]:
        """Pictures evenly from the partition as the network sees them, their places, and the one that is asked for."""
        kept: dict[int, Bytes] = {}
        held, every = None, 1
        for place, picture in _pictures(reader):
            if place % every and place != asked:
                continue
            seen = self._model.see([picture])[0]
            held = seen if place == asked else held
            if place % every == 0:
                kept[place] = seen
            while len(kept) > SAMPLE:
                every *= 2
                kept = {row: one for row, one in kept.items() if row % every == 0}
        places = list(kept)
        return places, np.stack([kept[row] for row in places]) if places else np.zeros((0, 1), np.uint8), held


def _pictures(reader: PictureReader) -> Iterator[tuple[int, Picture]]:
    place = 0
    for _, pictures in decoded(reader.batches(), size=_UNIT_BYTES, image=reader.image):
        for picture in pictures:
            if isinstance(picture, Picture):
                yield place, picture
            place += 1


def _floats(seen: Bytes) -> Floats:
    return np.asarray(seen.astype(np.float32) / np.float32(255))
