"""New pictures: drawn codes, decoded, each with its distance to the closest picture that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ae_plugin.core.variational import BLOCK, closest
from ae_plugin.errors import DataError
from ae_plugin.jobs.latent.output import free_names
from ae_plugin.jobs.latent.traverse_pictures import whole_pictures_of
from ae_plugin.jobs.pictures.variational import known_pictures
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.store.registry import Registry

SYNTHETIC, DISTANCE = "synthetic", "closest_distance"
TRIES = 20


def generated_schema(version: PictureVersion) -> pa.Schema:
    """The source's schema, and two columns more: `synthetic`, always true, and `closest_distance`."""
    names = free_names((SYNTHETIC, DISTANCE), version.schema.names)
    added = [pa.field(name, kind, nullable=False) for name, kind in zip(names, (pa.bool_(), pa.float32()), strict=True)]
    metadata = {**(version.schema.metadata or {}), b"ae_plugin.synthetic": b"generated, not observed"}
    return pa.schema([*(field.with_nullable(True) for field in version.schema), *added], metadata)


def generate_pictures(registry: Registry, version: PictureVersion, count: int, seed: int) -> Iterator[pa.RecordBatch]:
    """Stream new pictures, as rows of the source's schema and two columns more; see `generated_schema`.

    The column of pictures holds PNGs, `file` a name of its own; what else the source has is null. A picture that is
    one of those trained on, pixel by pixel, is drawn again. Same version, count and seed: the same bytes.

    Args:
        registry: that the version is from; it keeps what the version was trained on.
        version: with `model.kind: variational`.
        count: how many.
        seed: of the codes.

    Yields:
        Record batches of at most 64 pictures. `closest_distance` is the root mean square of the pixels' differences, in
        0..1, to the closest of all pictures that the model was trained on, at the size at which it sees them; the
        card's `variational.held_out` says what that is of pictures held out.

    Raises:
        ConfigError: the version has no model of whole pictures.
        StoreError: it was tampered with.
        DataError: the model draws nothing but copies.
    """
    model, card = whole_pictures_of(version), version.card.variational
    assert card is not None
    known = known_pictures(registry, version.version, card, version.card.channels)
    rng, done, tries, schema = np.random.default_rng([seed, 19]), 0, 0, generated_schema(version)
    while done < count:
        # Whole blocks, so that the first n of any count are the same.
        codes = rng.standard_normal((BLOCK, card.latent_dim), np.float32)
        seen = model.decode(codes)
        apart = closest(seen, known)
        fresh = np.flatnonzero(apart > 0)[: count - done]
        tries = 0 if len(fresh) else tries + 1
        if tries > TRIES:
            raise DataError("the model draws nothing but copies of its history", mend="Train anew on more pictures")
        if len(fresh):
            pngs = [model.png(seen[place]) for place in fresh]
            yield _rows(version, schema, pngs, done, apart[fresh])
        done += len(fresh)


def _rows(
    version: PictureVersion,
    schema: pa.Schema,
    pngs: list[bytes],
    first: int,
    apart: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> pa.RecordBatch:
    names = [f"synthetic_{first + place:07d}.png" for place in range(len(pngs))]
    columns = []
    for field in list(schema)[:-2]:
        if field.name == version.card.image:
            columns.append(_pictures(pngs, names, field.type))
        elif field.name == "file" and pa.types.is_string(field.type):
            columns.append(pa.array(names))
        else:
            columns.append(pa.nulls(len(pngs), field.type))
    columns += [pa.array([True] * len(pngs)), pa.array(apart, pa.float32())]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _pictures(pngs: list[bytes], names: list[str], kind: pa.DataType) -> pa.Array:
    """PNGs in the type that the source has its pictures in: bytes, or a struct of those and maybe a path."""
    if not pa.types.is_struct(kind):
        return pa.array(pngs, kind)
    rows = [{"bytes": png, "path": name} for png, name in zip(pngs, names, strict=True)]
    held = {field.name for field in kind}
    return pa.array([{name: row.get(name) for name in held} for row in rows], kind)
