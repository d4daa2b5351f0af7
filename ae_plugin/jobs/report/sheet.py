"""The contact sheet: anomalous pictures as they came, as they were written denoised, where they are wrong, and why.

What scoring does not store, a picture's latent code, is asked of the version that scored it, from the picture as it
stands in the source; beside it are the pictures of history that the version keeps whose codes are nearest.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.pictures import Picture, PictureError, decode, small, to_float
from ae_plugin.core.regions import Region, regions
from ae_plugin.core.values import Floats
from ae_plugin.engines.pictures import PictureReader, image_column
from ae_plugin.errors import UserError
from ae_plugin.jobs.pictures.gallery import Gallery, read_gallery
from ae_plugin.jobs.pictures.versions import PictureVersion, load_picture_version
from ae_plugin.jobs.report.stored import WorstRow, batches_of
from ae_plugin.places import is_below
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import Folder, fingerprint, list_source, partitions_of
from ae_plugin.store.registry import Registry

LARGEST, SMALLEST, NEIGHBOURS = 320, 128, 5
LOOKED_PIXELS = 4_000_000
"""Pixels of the largest picture that is looked at again: a larger one takes minutes."""
_HOT = 230, 51, 13


@dataclass(frozen=True)
class Neighbour:
    """A picture of history: a data URI of it, and where it lay."""

    picture: str
    name: str


@dataclass(frozen=True)
class Looked:
    """What the version says of a picture: what it is near to, and how far from history, 1 = 95% stay within."""

    near: list[Neighbour]
    far: float


@dataclass(frozen=True)
class Heat:
    """Where a picture is wrong: a data URI of what is laid over it, and the places, the hottest first."""

    overlay: str
    spots: list[Region]


@dataclass(frozen=True)
class Print:
    """One anomalous picture; images are data URIs of PNGs, empty where they cannot be had."""

    row: WorstRow
    original: str
    denoised: str
    grey: str
    heat: Heat | None
    looked: Looked | None

    @property
    def title(self) -> str:
        """Its file, or whatever else names it."""
        keys = dict(self.row.keys)
        return keys.get("file") or ", ".join(str(key) for key in keys.values()) or f"row {self.row.row:,}"


@dataclass(frozen=True)
class Strip:
    """The worst pictures of one partition; `problems` say why something is not shown."""

    run: RunRecord
    prints: list[Print]
    problems: list[str]


class Sheet:
    """Puts the worst pictures side by side with what was made of them.

    Args:
        pipeline: whose source it is.
        folder: its output.
    """

    def __init__(self, pipeline: Pipeline, folder: Folder) -> None:
        self._pipeline, self._folder, self._registry = pipeline, folder, Registry(pipeline.output)
        self._versions: dict[str, tuple[PictureVersion, Gallery | None] | str] = {}

    def calibration(self, name: str) -> Floats | str:
        """The calibration scores of a version, increasing; or why there are none, in words."""
        found = self._version(name)
        return found if isinstance(found, str) else found[0].scorer.reference.calibration

    def strips(self, worst: Sequence[WorstRow], runs: Sequence[RunRecord]) -> list[Strip]:
        """Those of one partition together, and in the order given."""
        by_name = {run.partition: run for run in runs}
        return [
            self._strip(by_name[partition], list(rows))
            for partition, rows in groupby(worst, key=lambda row: row.partition)
        ]

    def _version(self, name: str) -> tuple[PictureVersion, Gallery | None] | str:
        if name not in self._versions:
            try:
                version = load_picture_version(self._registry, name, self._pipeline.score.alert_rate)
                self._versions[name] = version, read_gallery(self._registry, name)
            except (UserError, OSError) as error:
                self._versions[name] = str(error)
        return self._versions[name]

    def _strip(self, run: RunRecord, rows: list[WorstRow]) -> Strip:
        wanted, problems = {row.row for row in rows}, list[str]()
        heats = dict(_heats(batches_of(self._folder, run, "heatmaps", run.rows), wanted))
        originals: dict[int, tuple[str, str, Looked | None]] = {}
        version = self._version(run.model_version)
        known = None if isinstance(version, str) else version[0].card.image
        denoised = {row: (_uri(small(one, LARGEST)), _grey(one)) for row, one in self._denoised(run, rows, known)}
        if isinstance(version, str):
            problems.append(f"No pictures of history: the model that scored it is gone ({version})")
        elif version[1] is None:
            problems.append("No pictures of history: the model is older than the release that keeps some")
        try:
            files = partitions_of(list_source(self._pipeline.source)).get(run.partition, [])
            if not files or fingerprint(files) != run.input_fingerprint:
                problems.append("No originals: its source changed since it was scored, or is gone")
            else:
                for place, picture in _at(PictureReader(files, image=known).batches(), wanted, known):
                    looked = None if isinstance(version, str) else _look(picture, *version)
                    originals[place] = _uri(small(picture, LARGEST)), _grey(picture), looked
        except UserError as error:
            problems.append(f"No originals: its source cannot be read ({error})")
        prints = []
        for row in rows:
            new, new_grey = denoised.get(row.row, ("", ""))
            old, grey, looked = originals.get(row.row, ("", new_grey, None))
            prints.append(Print(row, old, new, grey, heats.get(row.row), looked))
        return Strip(run, prints, problems)

    def _denoised(self, run: RunRecord, rows: list[WorstRow], known: str | None) -> Iterator[tuple[int, Picture]]:
        """The pictures of some rows as they were written: out of a Parquet file, or files by themselves."""
        where = next((name for name in run.outputs if name.startswith("denoised/")), "")
        if not where.endswith("/"):
            yield from _at(batches_of(self._folder, run, "denoised", run.rows), {row.row for row in rows}, known)
            return
        for row in rows:
            name = dict(row.keys).get("file") or ""
            with contextlib.suppress(PictureError, FileNotFoundError):
                if is_below(name):
                    yield row.row, decode(self._folder.read(f"{where}{name}"))


def _look(picture: Picture, version: PictureVersion, gallery: Gallery | None) -> Looked | None:
    """Ask a version of a picture; not of one that takes too long."""
    height, width = picture.pixels.shape[:2]
    if height * width > LOOKED_PIXELS:
        return None
    scored = next(version.scorer.score([picture]))
    far = float(scored.distance) / max(version.card.far[-1], 1e-9)
    if gallery is None:
        return Looked([], far)
    near = []
    for place in gallery.nearest(scored.code, NEIGHBOURS):
        origin = gallery.origins[place]
        name = f"row {origin.row:,}" if origin.file is None else origin.file
        image = "data:image/png;base64," + base64.b64encode(gallery.thumbnails[place]).decode()
        near.append(Neighbour(image, f"{origin.partition}/{name}" if origin.partition else name))
    return Looked(near, far)


def _at(batches: Iterator[pa.RecordBatch], wanted: set[int], known: str | None = None) -> Iterator[tuple[int, Picture]]:
    """The pictures at some places of a stream, which is read no further than the last; `known`: their column."""
    first = 0
    for batch in batches:
        if first > max(wanted):
            return
        image = image_column(batch.schema, known=known)
        for row in sorted(wanted & set(range(first, first + batch.num_rows))):
            cell = batch.column(image)[row - first].as_py()
            try:
                yield row, decode(cell["bytes"] if isinstance(cell, dict) else cell)
            except (PictureError, TypeError):
                continue
        first += batch.num_rows


def _heats(batches: Iterator[pa.RecordBatch], wanted: set[int]) -> Iterator[tuple[int, Heat]]:
    """Where the pictures of some rows are wrong."""
    for batch in batches:
        # By position: a row key may share its name with a column of `heatmaps/`.
        rows, heatmaps, masks = (batch.column(place) for place in (-3, -2, -1))
        for place, row in enumerate(rows.to_pylist()):
            if row not in wanted:
                continue
            with contextlib.suppress(PictureError):
                heatmap, mask = decode(heatmaps[place].as_py()), decode(masks[place].as_py())
                spots = regions(mask.pixels[..., 0] > 0, to_float(heatmap)[..., 0])
                yield row, Heat(_overlay(heatmap), spots)


def _overlay(heatmap: Picture) -> str:
    """One colour, the more opaque the hotter a pixel is beside the hottest of its picture."""
    alpha = np.asarray(small(heatmap, LARGEST), np.float32)
    alpha *= 255 / max(float(alpha.max()), 1.0)
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = _HOT, np.rint(alpha)
    return _uri(Image.fromarray(pixels))


def _grey(picture: Picture) -> str:
    return _uri(small(picture, LARGEST).convert("L"))


def _uri(image: Image.Image) -> str:
    """A PNG as a data URI; a tiny picture is enlarged, its pixels as they are."""
    scale = max(SMALLEST // max(image.size), 1)
    stream = io.BytesIO()
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
