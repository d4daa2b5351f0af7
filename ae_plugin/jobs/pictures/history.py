"""History of pictures: a sample, dealt into tiles to train on, tiles to stop by and pictures to calibrate with."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.laid import Laid
from ae_plugin.core.mixture import Mixture, best_mixture
from ae_plugin.core.neighbours import Indices
from ae_plugin.core.pictures import Picture, scaled
from ae_plugin.core.tiles import side_for
from ae_plugin.core.values import Floats, evenly_spaced
from ae_plugin.engines.pictures import PictureReader, decoded
from ae_plugin.engines.sample import Marked
from ae_plugin.errors import DataError
from ae_plugin.jobs.feedback import honoured
from ae_plugin.jobs.history import beyond, chosen_partitions, copies_of, discard_notes
from ae_plugin.jobs.pictures.denoising import MOST_PICTURES, Planes, learn_planes
from ae_plugin.jobs.pictures.variational import SmallHistory, learn_small
from ae_plugin.schemas import FeedbackUse
from ae_plugin.store.files import SourceFile

log = logging.getLogger(__name__)
MIN_PICTURES = 20
PIXEL_BYTES = 512 * 2**20
TILE_BYTES = 512 * 2**20
MOST_TILES = 20_000
WHOLE_FEATURES, WHOLE_PICTURES, WHOLE_COMPONENTS, WHOLE_TRIED = 2_400, 12_000, 256, 100


@dataclass(frozen=True)
class Origin:
    """Where a picture of history lay: its partition, its row there, and its file below it; None in Parquet."""

    partition: str
    row: int
    file: str | None


@dataclass(frozen=True)
class PictureHistory:
    """What there is to learn from.

    Attributes:
        groups: partition -> its files.
        schema: of the source.
        image: its column of pictures.
        total: how many pictures there are.
        unreadable: how many of those looked at could not be read.
        side: (height, width) of a tile.
        channels: 1 or 3.
        train: float32 [n, h, w, C], tiles of training pictures.
        validation: float32 [k, h, w, C], tiles of others, to stop by.
        calibration: pictures that nothing is learned from but p-values, and denoising, which no score depends on.
        origins: where each of those lay.
        counts: pictures for training, validation and calibration.
        feedback: what became of people's verdicts on pictures.
        incidents: partitions left out because they were discarded, and by whom.
        notes: what the user should know of it, in words.
        planes: to learn denoising from; None unless score.denoise is full.
        small: whole pictures to learn from; None unless model.kind is variational.
    """

    groups: dict[str, list[SourceFile]]
    schema: pa.Schema
    image: str
    total: int
    unreadable: int
    side: tuple[int, int]
    channels: int
    train: Floats
    validation: Floats
    calibration: list[Picture]
    origins: list[Origin]
    counts: tuple[int, int, int]
    feedback: FeedbackUse
    incidents: dict[str, str]
    notes: list[str]
    planes: Planes | None
    small: SmallHistory | None


def learn_picture_history(pipeline: Pipeline) -> PictureHistory:
    """Sample the training partitions' pictures and deal them.

    Raises:
        DataError: history cannot be read, or holds too few pictures.
        ConfigError: train.until or train.partitions leave nothing.
    """
    groups, gone = chosen_partitions(pipeline)
    said = honoured(pipeline, groups)
    readers = _readers(groups)
    rows = [_rows(reader) for reader in readers]
    total = sum(rows)
    normal, wrong = _judged(dict(zip(groups, rows, strict=True)), said.marks)
    rng = np.random.default_rng([pipeline.model.seed, 7])
    order = [row for row in rng.permutation(total).tolist() if row not in wrong]
    order.sort(key=lambda row: row not in normal)
    wanted = set(order[: pipeline.train.max_rows])
    found, unreadable = _sample(readers, wanted, normal, pipeline.model.longest)
    if len(found) < MIN_PICTURES:
        beside = f" beside {said.use.confirmed} that were confirmed as wrong" if said.use.confirmed else ""
        raise DataError(
            f"history holds {len(found)} pictures that can be read{beside}; at least {MIN_PICTURES} are needed",
            where=pipeline.source.uri,
            mend="Bring more pictures, or let train.partitions and train.until leave more of them",
        )
    pictures = [picture for _, picture in found]
    vouched = np.array([row in normal for row, _ in found], bool)
    places = rng.permutation(len(pictures))
    places = places[np.argsort(vouched[places], kind="stable")]  # the last are trained on
    held = calibration_pictures(len(pictures), pipeline.score.alert_rate)
    stop = max(len(pictures) // 10, 2)
    parts = [np.sort(part) for part in np.split(places, [held, held + stop])]
    calibration, validation, train = ([pictures[i] for i in part] for part in parts)
    trained = int(vouched[parts[2]].sum())
    copies = copies_of(trained, len(train)) if trained else 0
    shown = [pictures[i] for i in parts[2] for _ in range(copies if vouched[i] else 1)]
    side = side_for(picture.pixels.shape[:2] for picture in pictures)
    channels = 3 if any(picture.pixels.shape[2] >= 3 for picture in pictures) else 1
    log.info("history: %d partitions, %d pictures, %d used", len(groups), total, len(pictures))
    return PictureHistory(
        groups=groups,
        schema=readers[0].schema,
        image=readers[0].image,
        total=total,
        unreadable=unreadable,
        side=side,
        channels=channels,
        train=_tiles(shown, side, channels, rng),
        validation=_tiles(validation, side, channels, rng),
        calibration=calibration,
        origins=_origins(dict(zip(groups, readers, strict=True)), rows, [found[i][0] for i in parts[0]]),
        counts=(len(train), len(validation), len(calibration)),
        feedback=said.use.model_copy(update={"false_alarms": trained, "copies": copies}),
        incidents=gone,
        notes=[*beyond(said.use, trained), *discard_notes(gone)],
        planes=_planes(pipeline, readers, found, parts, channels) if pipeline.score.denoise == "full" else None,
        small=learn_small(train, validation, channels) if pipeline.model.kind == "variational" else None,
    )


def calibration_pictures(pictures: int, alert_rate: float) -> int:
    """How many of history's pictures calibrate: a fifth; of a short history as many as alarms need, at most 40%."""
    return min(max(pictures // 5, min(2 * rows_needed(alert_rate), pictures * 2 // 5)), 2_000)


def _readers(groups: dict[str, list[SourceFile]]) -> list[PictureReader]:
    """What reads each partition; all must have the pictures in one column."""
    readers = [PictureReader(files) for files in groups.values()]
    for reader in readers:
        if reader.image != readers[0].image:
            what = f"has pictures in column {reader.image!r}, and older partitions in {readers[0].image!r}"
            raise DataError(what, where=reader.files[0].uri, mend="Call it the same in all partitions")
    return readers


def _planes(
    pipeline: Pipeline,
    readers: Sequence[PictureReader],
    found: Sequence[tuple[int, Picture]],
    parts: Sequence[Indices],
    channels: int,
) -> Planes:
    """To learn denoising from. Noise is taken out of pictures as they come, so that scaled ones are read anew."""
    calibration, validation, train = parts
    learn, held = (part[evenly_spaced(len(part), MOST_PICTURES)] for part in (np.r_[train, calibration], validation))
    held_out = {found[i][0]: own is held for own in (learn, held) for i in own}
    came = decoded_at(readers, set(held_out)) if pipeline.model.longest else found
    chosen = (
        (picture, held_out[place]) for place, picture in came if place in held_out and isinstance(picture, Picture)
    )
    return learn_planes(chosen, len(held_out), channels)


def _origins(readers: dict[str, PictureReader], rows: Sequence[int], places: Sequence[int]) -> list[Origin]:
    """Where the pictures at some places of all of history lie."""
    starts, names = np.cumsum([0, *rows]), list(readers)
    found = []
    for place in places:
        at = int(np.searchsorted(starts, place, side="right")) - 1
        row, reader = int(place - starts[at]), readers[names[at]]
        found.append(Origin(names[at], row, reader.files[row].name if reader.of_files else None))
    return found


def _judged(rows: dict[str, int], marks: Mapping[str, Marked]) -> tuple[set[int], set[int]]:
    """Places in all of history of pictures that people know to be normal, and to be wrong."""
    normal, wrong, start = set[int](), set[int](), 0
    for partition, count in rows.items():
        own = marks.get(partition, Marked())
        normal |= {start + row for row in own.normal}
        wrong |= {start + row for row in own.wrong}
        start += count
    return normal, wrong


def whole_pictures(history: PictureHistory) -> Mixture | None:
    """Clusters of small whole pictures, to complete others by; None where those are large, or pieces."""
    features = history.train[0].size
    if features > WHOLE_FEATURES:
        return None
    tiles, held_out = (
        part[evenly_spaced(len(part), most)].reshape(-1, features)
        for part, most in ((history.train, WHOLE_PICTURES), (history.validation, WHOLE_TRIED))
    )
    return best_mixture(tiles, held_out, min(WHOLE_COMPONENTS, len(tiles) - 1, features - 1))


def _rows(reader: PictureReader) -> int:
    other = next((name for name in reader.schema.names if name != reader.image), None)
    return sum(batch.num_rows for batch in reader.batches([other] if other else None))


def _sample(
    readers: Sequence[PictureReader], wanted: set[int], needed: set[int], longest: int | None
) -> tuple[list[tuple[int, Picture]], int]:
    """The pictures at some places, in the source's order, and how many of them cannot be read.

    Every second, fourth ... of them if all do not fit the memory budget; those that are needed always. Scaled to
    `longest` pixels on the longer side, if that is given.
    """
    found: list[tuple[int, Picture]] = []
    unreadable, readable, every, spent = 0, 0, 1, 0
    for place, picture in decoded_at(readers, wanted):
        if not isinstance(picture, Picture):
            unreadable += 1
            continue
        picture = scaled(picture, longest) if longest else picture
        if readable % every == 0 or place in needed:
            found.append((place, picture))
            spent += picture.pixels.nbytes
        readable += 1
        if spent > PIXEL_BYTES:  # of all of history, not of its oldest part
            found, every = [one for i, one in enumerate(found) if i % 2 == 0 or one[0] in needed], every * 2
            spent = sum(picture.pixels.nbytes for _, picture in found)
    return found, unreadable


def decoded_at(readers: Sequence[PictureReader], wanted: set[int]) -> Iterator[tuple[int, object]]:
    """Decode the pictures at some places of a source."""

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for reader in readers:
            for batch in reader.batches():
                here = [row for row in range(batch.num_rows) if start + row in wanted]
                start += batch.num_rows
                if here:
                    yield batch.take(pa.array(here))

    at = iter(sorted(wanted))
    for _, pictures in decoded(batches(), image=readers[0].image):
        for picture in pictures:
            yield next(at), picture


def _tiles(pictures: Sequence[Picture], side: tuple[int, int], channels: int, rng: np.random.Generator) -> Floats:
    """Tiles of pictures, as many of each as fit the budget together."""
    most = min(TILE_BYTES // (side[0] * side[1] * channels * 4), MOST_TILES)
    each = max(most // max(len(pictures), 1), 1)
    parts = []
    for picture in (pictures[i] for i in evenly_spaced(len(pictures), most)):
        laid = Laid.of(picture, side)
        count = len(laid.where.corners)
        some = np.arange(count) if count <= each else np.sort(rng.permutation(count)[:each])
        parts.append(laid.tiles(channels, some))
    return np.concatenate(parts)
