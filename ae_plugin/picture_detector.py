"""A pictures' model in Python: the verbs of `Detector`, for pictures in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from ae_plugin.core.laid import Laid
from ae_plugin.core.picture_scoring import ScoredPicture
from ae_plugin.core.pictures import Picture, PictureError, Pixels, as_image, decode, encode, of_image, scaled
from ae_plugin.core.regions import Region, regions
from ae_plugin.core.values import Bools, Floats, Longs
from ae_plugin.detector import as_arrow, as_given
from ae_plugin.engines.pictures import BATCH_PICTURES, decoded, image_column
from ae_plugin.engines.threads import BLAS
from ae_plugin.errors import DataError
from ae_plugin.jobs.pictures.versions import PictureVersion

if TYPE_CHECKING:
    from ae_plugin.detector import Table

    Item: TypeAlias = Image.Image | Pixels | bytes | str | os.PathLike[str]
    Pictures: TypeAlias = Table | Sequence[Item]

_GROUP = 64
_WANTED = "Wanted: an image, uint8 or uint16 [H, W] or [H, W, 1, 3 or 4], a file's bytes, or its path"


@dataclass(frozen=True, eq=False)
class WrongPicture:
    """Where an anomalous picture is wrong.

    Attributes:
        row: its position among the pictures, from 0.
        regions: the wrong regions, the hottest first; empty when it is odd as a whole.
        heatmap: float32 [H, W], 0..1, higher = more likely wrong.
        mask: bool [H, W], the pixels that are wrong.
    """

    row: int
    regions: list[Region]
    heatmap: Floats
    mask: Bools


class PictureDetector:
    """One model version, ready to score pictures in memory.

    Pictures are a pandas or Arrow table with the source's column of pictures (bytes, or structs with `bytes` in them),
    or a list: of Pillow images, of arrays uint8 or uint16 [H, W] or [H, W, 1, 3 or 4], of files' bytes, of paths. Sizes
    may differ. A picture that cannot be read (broken, empty, no picture) is one without a score; its error says why.
    """

    def __init__(self, version: PictureVersion) -> None:
        self._version, self._scorer = version, version.scorer

    @property
    def version(self) -> str:
        """The model version's name."""
        return self._version.version

    @property
    def columns(self) -> list[str]:
        """The column of pictures."""
        return [self._version.card.image]

    @BLAS.single()
    def score(self, pictures: Pictures) -> Any:
        """Score pictures.

        Returns:
            n rows in order, as pandas unless an Arrow table was given: anomaly_score float32 (higher = more
            anomalous), p_value float32, is_anomaly bool, error string. The first three are null where error is not.

        Raises:
            DataError: there is no column of pictures, or something is no picture at all.
        """
        n = _count(pictures)
        scores, errors = np.zeros(n, np.float32), [""] * n
        for row, picture, scored in self._scored(pictures):
            if isinstance(picture, PictureError):
                errors[row] = str(picture)
            elif scored is not None:
                scores[row] = scored.score
        unread = np.array([bool(error) for error in errors], bool)
        p, flagged = self._scorer.flag(scores)
        table = pa.table(
            {
                "anomaly_score": pa.array(scores, mask=unread),
                "p_value": pa.array(p, mask=unread),
                "is_anomaly": pa.array(flagged, mask=unread),
                "error": pa.array([error or None for error in errors], pa.string()),
            }
        )
        return as_given(pictures, table, types=False) if _is_table(pictures) else table.to_pandas()

    @BLAS.single()
    def explain(self, pictures: Pictures) -> list[WrongPicture]:
        """Say where anomalous pictures are wrong; one entry for each of them, in order.

        Raises:
            DataError: there is no column of pictures, or something is no picture at all.
        """
        found = []
        for row, _, scored in self._scored(pictures):
            if scored is not None and self._scorer.flag(np.array([scored.score]))[1][0]:
                mask, heat = self._scorer.mask(scored.heat), np.clip(scored.heat, 0, 1)
                found.append(WrongPicture(row, regions(mask, heat), heat, mask))
        return found

    @BLAS.single()
    def denoise(self, pictures: Pictures, *, full: bool = False) -> Any:
        """Return pictures with their wrong pixels repaired, in order, size, mode and depth.

        Args:
            pictures: n pictures.
            full: take the noise out of them as well, as `score.denoise: full` does.

        Returns:
            What was given: a table in the same schema, or a list in which an array stays an array, an image an image;
            bytes and paths become bytes. New bytes are PNG; what is not changed, or cannot be read, stays as it is.

        Raises:
            DataError: there is no column of pictures, or something is no picture at all.
        """
        new: dict[int, tuple[Pixels, Picture]] = {}
        for row, picture, scored in self._scored(pictures):
            if isinstance(picture, Picture) and scored is not None:
                pixels = self._version.mended(picture, scored, full=full)
                if not np.array_equal(pixels, picture.pixels):
                    new[row] = pixels, picture
        if not _is_table(pictures):
            return [_in_kind(item, new.get(row)) for row, item in enumerate(pictures)]
        table = as_arrow(pictures)
        place = table.schema.get_field_index(self._version.card.image)
        cells = table.column(place).to_pylist()
        for row, (pixels, picture) in new.items():
            data = encode(pixels, picture)
            cells[row] = {**cells[row], "bytes": data} if isinstance(cells[row], dict) else data
        field = table.schema.field(place)
        return as_given(pictures, table.set_column(place, field, pa.array(cells, field.type)))

    def complete(self, picture: Item, known: Bools) -> Any:
        """The whole of one picture from some of its pixels; those, and alpha, stay as they are.

        Args:
            picture: an image, an array, a file's bytes or its path; what it holds where nothing is known is not looked
                at.
            known: bool [H, W].

        Returns:
            What was given: an array stays an array, an image an image; bytes and paths become bytes.

        Raises:
            DataError: it cannot be read, is no picture, or `known` is of another size or says that nothing is known.
        """
        found = _picture(picture, 0)
        if isinstance(found, PictureError):
            raise DataError(str(found), where="the picture")
        if known.dtype != bool or known.shape != found.pixels.shape[:2]:
            said = f"known is {known.dtype} {list(known.shape)}"
            raise DataError(said, mend=f"Wanted: bool {list(found.pixels.shape[:2])}, the size of the picture")
        if not known.any():
            raise DataError("no pixel is known", mend="Give some that are")
        return _in_kind(picture, (self._version.complete(found, known).pixels, found))

    @BLAS.single()
    def embed(self, pictures: Pictures) -> npt.NDArray[np.float32]:
        """Return each picture's latent code, float32 [n, latent_dim]; NaN where it cannot be read.

        Raises:
            DataError: there is no column of pictures, or something is no picture at all.
        """
        codes = np.full((_count(pictures), self._version.latent_dim), np.nan, np.float32)
        row = 0
        for group in self._of_table(pictures) if _is_table(pictures) else _groups(pictures):
            known = [row + place for place, one in enumerate(group) if isinstance(one, Picture)]
            codes[known] = self._version.embed([one for one in group if isinstance(one, Picture)])
            row += len(group)
        return codes

    def inputs(self, pictures: Pictures) -> tuple[Floats, Longs]:
        """Return what the network sees of pictures, to feed to `ae_plugin.encoder`.

        Returns:
            Tiles float32 [m, h, w, C] in 0..1, and of which picture each is, int64 [m]: a picture of that size is
            one tile, a larger one several, one that cannot be read none.

        Raises:
            DataError: there is no column of pictures, or something is no picture at all.
        """
        card = self._version.card
        parts, rows = [np.zeros((0, *card.side, card.channels), np.float32)], list[int]()
        for row, picture in enumerate(self._pictures(pictures)):
            if isinstance(picture, Picture):
                laid = Laid.of(scaled(picture, card.image_size) if card.image_size else picture, card.side)
                parts.append(laid.tiles(card.channels, np.arange(len(laid.where.corners))))
                rows += [row] * len(parts[-1])
        return np.concatenate(parts), np.array(rows, np.int64)

    def _pictures(self, pictures: Any) -> Iterator[Picture | PictureError]:
        _count(pictures)
        groups = self._of_table(pictures) if _is_table(pictures) else _groups(pictures)
        return (picture for group in groups for picture in group)

    def _scored(self, pictures: Any) -> Iterator[tuple[int, Picture | PictureError, ScoredPicture | None]]:
        """Each picture's row, the picture or why there is none, and what is said of it."""
        _count(pictures)
        row = 0
        for group in self._of_table(pictures) if _is_table(pictures) else _groups(pictures):
            scored = self._scorer.score([picture for picture in group if isinstance(picture, Picture)])
            for picture in group:
                yield row, picture, next(scored) if isinstance(picture, Picture) else None
                row += 1

    def _of_table(self, table: Any) -> Iterator[list[Picture | PictureError]]:
        name, arrow = self._version.card.image, isinstance(table, (pa.Table, pa.RecordBatch))
        if name not in (table.schema.names if arrow else table.columns):
            raise DataError(f"column {name!r} is missing, but the model learned with it", mend="Bring it back")
        column = as_arrow(table.select([name]) if arrow else table[[name]])
        image_column(column.schema, f"column {name!r}")
        return (group for _, group in decoded(column.to_batches(max_chunksize=BATCH_PICTURES), image=name))


def _is_table(pictures: Pictures) -> bool:
    return isinstance(pictures, (pa.Table, pa.RecordBatch)) or hasattr(pictures, "columns")


def _count(pictures: Pictures) -> int:
    """How many there are.

    Raises:
        DataError: it is one picture, and no list of them.
    """
    if isinstance(pictures, (bytes, str, os.PathLike, Image.Image, np.ndarray)) or not hasattr(pictures, "__len__"):
        raise DataError(f"a {type(pictures).__name__} is no list of pictures", mend="Give a list or a table")
    return pictures.num_rows if isinstance(pictures, (pa.Table, pa.RecordBatch)) else len(pictures)


def _groups(items: Iterable[Any]) -> Iterator[list[Picture | PictureError]]:
    """Pictures a few at a time."""
    group = []
    for place, item in enumerate(items):
        group.append(_picture(item, place))
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


def _picture(item: Item, place: int) -> Picture | PictureError:
    """Any item as a picture, or why it cannot be read.

    Raises:
        DataError: it is nothing that could be a picture, or a path that leads nowhere.
    """
    try:
        if isinstance(item, np.ndarray):
            return Picture(_three_axes(item, place), "L" if item.ndim == 2 else "RGB")
        if isinstance(item, Image.Image):
            return of_image(item)
        if isinstance(item, (bytes, bytearray, memoryview)):
            return decode(bytes(item))
        if isinstance(item, (str, os.PathLike)):
            return decode(Path(item).read_bytes())
    except PictureError as error:
        return PictureError(str(error))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(item), mend="Check the path") from error
    raise DataError(f"picture {place} is of type {type(item).__name__}", mend=_WANTED)


def _three_axes(pixels: Pixels, place: int) -> Pixels:
    whole = pixels[..., None] if pixels.ndim == 2 else pixels
    known = whole.dtype in (np.uint8, np.uint16) and whole.ndim == 3 and whole.shape[2] in (1, 3, 4) and whole.size
    if not known:
        raise DataError(f"picture {place} is {pixels.dtype} {list(pixels.shape)}", mend=_WANTED)
    return whole


def _in_kind(item: Any, new: tuple[Pixels, Picture] | None) -> Any:
    """A mended picture as it was given; bytes for a path, a copy of none."""
    if isinstance(item, (str, os.PathLike)) and new is None:
        return Path(item).read_bytes()
    if new is None:
        return item
    pixels, picture = new
    if isinstance(item, np.ndarray):
        return pixels.reshape(item.shape)
    return as_image(pixels, picture.mode) if isinstance(item, Image.Image) else encode(pixels, picture)
