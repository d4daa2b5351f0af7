"""Masks of pictures: white where something is to be filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from ae_plugin.core.pictures import Picture, PictureError, decode
from ae_plugin.core.values import Bools
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.inputs import open_file
from ae_plugin.jobs.latent.masks import same_values
from ae_plugin.jobs.pointed import key_texts
from ae_plugin.store.files import PICTURES, open_fs
from ae_plugin.store.partitions import partition_id

Name = tuple[str | None, ...]


class PictureMasks:
    """Masks for the pictures of one partition.

    A picture file is the mask of all of them. A folder holds one for each picture that has any, called as the picture
    is, whatever its suffix, below a folder called as the partition or at once. A Parquet file has a row for each, with
    `row` or the keys, and the mask in `mask`, as a picture's bytes.

    Args:
        path: of the file or folder.
        partition: hive path of the one that is completed.
        keys: of the source.
        by: what it is partitioned by.

    Raises:
        ConfigError: it is none of these.
        DataError: it cannot be read.
    """

    def __init__(self, path: str, partition: str, keys: Sequence[str], by: Sequence[str]) -> None:
        self.path, self._keys, self._partition = path, list(keys), partition
        self._fs, place = open_fs(path)
        self._files: dict[str, str] = {}
        self._rows: dict[int, bytes] = {}
        self._named: dict[Name, bytes] = {}
        self._one: Bools | None = None
        self.met = 0
        if self._fs.isdir(place):
            self._files = _files(self._fs, place, partition)
        elif place.lower().endswith(PICTURES):
            self._one = _white(self._fs.cat_file(place), path)
        else:
            self._read(by)

    def _read(self, by: Sequence[str]) -> None:
        reader = open_file(self.path, where="--mask")
        held = reader.schema.names
        by_keys = bool(self._keys) and all(key in held for key in self._keys)
        if "mask" in held and not _is_binary(reader.schema.field("mask").type):
            kind = reader.schema.field("mask").type
            raise ConfigError(f"column 'mask' is {kind}", where=self.path, mend="Wanted: the bytes of pictures")
        if "mask" not in held or not (by_keys or "row" in held):
            wanted = f"mask, and row{' or ' + ', '.join(self._keys) if self._keys else ''}"
            raise ConfigError("it does not say what to fill", where=self.path, mend=f"Wanted: columns {wanted}")
        for batch in reader.batches():
            here = _here(batch, by, self._partition)
            masks = batch.column("mask").to_pylist()
            if "row" in held:
                rows = batch.column("row").to_pylist()
                self._rows |= {
                    row: mask for row, mask, own in zip(rows, masks, here, strict=True) if own and row is not None
                }
            else:
                names = zip(*(key_texts(batch.column(key)) for key in self._keys), strict=True)
                self._named |= {name: mask for name, mask, own in zip(names, masks, here, strict=True) if own}

    def of(self, batch: pa.RecordBatch, index: int, row: int, picture: Picture) -> Bools | None:
        """What to fill in a picture, bool [H, W]; None where no mask is about it.

        Args:
            batch: that it is of.
            index: its place there.
            row: its place in the partition.
            picture: itself.

        Raises:
            DataError: its mask cannot be read, or is of another size.
        """
        where, found = self.path, self._one
        if found is None and self._files:
            name = batch.column("file")[index].as_py() if "file" in batch.schema.names else None
            where = self._files.get(_stem(str(name)), "")
            found = _white(self._fs.cat_file(where), where) if where else None
        elif found is None:
            data = self._rows.get(row)
            if data is None and self._named:
                keys = (key_texts(batch.column(key).slice(index, 1))[0] for key in self._keys)
                data = self._named.get(tuple(keys))
            found = None if data is None else _white(data, f"{self.path}, row {row}")
        if found is None:
            return None
        self.met += 1
        if found.shape != picture.pixels.shape[:2]:
            height, width = picture.pixels.shape[:2]
            what = f"the mask is {found.shape[1]} x {found.shape[0]}, and its picture {width} x {height}"
            raise DataError(what, where=where, mend="Make it as large as its picture")
        return found


def _files(fs: object, place: str, partition: str) -> dict[str, str]:
    """Stems of pictures -> the files of their masks."""
    paths = sorted(fs.find(place))  # type: ignore[attr-defined]
    names = {path: str(PurePosixPath(path).relative_to(place.rstrip("/"))) for path in paths}
    own = {path: name for path, name in names.items() if partition and name.startswith(f"{partition}/")}
    if own:
        names = {path: name[len(partition) + 1 :] for path, name in own.items()}
    return {_stem(name): path for path, name in names.items() if name.lower().endswith(PICTURES)}


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _white(data: bytes, where: str) -> Bools:
    try:
        pixels = decode(data).pixels
    except PictureError as error:
        raise DataError(f"the mask {error}", where=where, mend="Replace it") from error
    return np.asarray(pixels[..., :3].mean(axis=2) > np.iinfo(pixels.dtype).max / 2)


def _here(batch: pa.RecordBatch, by: Sequence[str], partition: str) -> list[bool]:
    """Which rows of a mask file are about a partition."""
    names = batch.schema.names
    if "partition" in names:
        texts = key_texts(batch.column("partition"))
        return [not text or partition_id(text, list(by)) == partition for text in texts]
    if by and all(name in names for name in by):
        values = zip(*(key_texts(batch.column(name)) for name in by), strict=True)
        return [same_values(row, partition) for row in values]
    return [True] * batch.num_rows
