"""Good pictures of history, small, beside their latent codes: a version keeps them to show what it knows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.core.picture_scoring import Verdict
from ae_plugin.core.pictures import small
from ae_plugin.core.values import Floats, evenly_spaced
from ae_plugin.errors import StoreError
from ae_plugin.jobs.pictures.history import Origin, PictureHistory
from ae_plugin.store.registry import Registry

GALLERY = "gallery.parquet"
LONGEST, MOST, MOST_BYTES = 64, 1_000, 4 * 2**20
_GOOD = 0.9


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures of history.

    Attributes:
        origins: where each lay, [n].
        codes: float32 [n, L].
        thumbnails: PNGs of at most `LONGEST` pixels a side, [n].
    """

    origins: list[Origin]
    codes: Floats
    thumbnails: list[bytes]

    def nearest(self, code: Floats, count: int) -> npt.NDArray[np.intp]:
        """Places of the pictures whose codes are nearest to a code float32 [L], the nearest first."""
        return np.argsort(np.square(self.codes - code).sum(axis=1), kind="stable")[:count]


def pack_gallery(history: PictureHistory, verdicts: Sequence[Verdict]) -> bytes:
    """Choose calibration pictures and make a file of them: all but the oddest, evenly from history, of bounded size.

    Those, because nothing was trained on them, and what scoring says of them is known: see docs/decisions/0027.
    """
    scores = np.array([one.score for one in verdicts])
    good = np.flatnonzero(scores <= np.quantile(scores, _GOOD))
    chosen = good[evenly_spaced(len(good), MOST)]
    shown = [_png(history, place) for place in chosen]
    some = evenly_spaced(len(shown), max(len(shown) * MOST_BYTES // max(sum(map(len, shown)), MOST_BYTES), 1))
    origins = [history.origins[place] for place in chosen[some]]
    codes = np.stack([verdicts[place].code for place in chosen[some]])
    table = pa.table(
        {
            "partition": [origin.partition for origin in origins],
            "row": pa.array([origin.row for origin in origins], pa.int64()),
            "file": pa.array([origin.file for origin in origins], pa.string()),
            "code": pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel(), pa.float32()), codes.shape[1]),
            "thumbnail": pa.array([shown[place] for place in some], pa.binary()),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def read_gallery(registry: Registry, version: str) -> Gallery | None:
    """The pictures that a version keeps; None where it is older than galleries are.

    Raises:
        StoreError: the version was tampered with, or this is no gallery.
    """
    if GALLERY not in registry.card(version)["files"]:
        return None
    content = registry.read_file(version, GALLERY)
    try:
        table = pq.read_table(pa.BufferReader(content))
        names = zip(*(table[name].to_pylist() for name in ("partition", "row", "file")), strict=True)
        codes = np.array(table["code"].to_pylist(), np.float32).reshape(table.num_rows, -1)
        return Gallery([Origin(*name) for name in names], codes, table["thumbnail"].to_pylist())
    except (pa.ArrowException, KeyError, ValueError) as error:
        where = f"{registry.folder.uri}/_models/{version}/{GALLERY}"
        raise StoreError("is no gallery of pictures", where=where, mend="Train anew") from error


def _png(history: PictureHistory, place: int) -> bytes:
    stream = io.BytesIO()
    small(history.calibration[place], LONGEST).save(stream, "PNG")
    return stream.getvalue()
