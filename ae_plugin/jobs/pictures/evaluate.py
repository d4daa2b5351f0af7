"""Pictures beside labels that the model never saw: a column of the source, or a file that names the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin.config import Pipeline
from ae_plugin.core.pictures import Picture
from ae_plugin.core.values import Bools
from ae_plugin.engines.pictures import PictureReader, decoded
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.evaluate import Compared, check_label, truths_of
from ae_plugin.jobs.inputs import open_file
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.jobs.pointed import key_texts
from ae_plugin.store.files import SourceFile

Name = tuple[str | None, ...]


def scored_pictures(
    pipeline: Pipeline, version: PictureVersion, groups: dict[str, list[SourceFile]], label: str, labels: str | None
) -> Compared:
    """Score partitions; of the pictures that can be read and are labelled, say what they are and what was found.

    Raises:
        ConfigError: there is no such column, or the labels do not say which picture each is of.
    """
    known = None if labels is None else _Labels.read(labels, label, pipeline)
    for partition, files in groups.items():
        reader = PictureReader(files, image=version.card.image)
        if known is None:
            check_label(label, reader.schema)
        for batch, pictures in decoded(reader.batches(), image=reader.image):
            if known is None:
                truth, said = truths_of(batch.column(batch.schema.get_field_index(label))), np.ones(len(pictures), bool)
            else:
                truth, said = known.of(partition, batch)
            asked = {row: one for row, one in enumerate(pictures) if said[row] and isinstance(one, Picture)}
            scores = np.array([one.score for one in version.scorer.score(list(asked.values()))], np.float32)
            yield truth[list(asked)] if asked else truth[:0], scores, version.scorer.flag(scores)[1]


@dataclass(frozen=True)
class _Labels:
    """What a file says of pictures.

    Attributes:
        keys: the columns that name a picture in its partition.
        partitioned: whether the file names partitions too.
        found: (partition or "", keys as text) -> whether it is anomalous.
    """

    keys: list[str]
    partitioned: bool
    found: dict[Name, bool]

    @staticmethod
    def read(path: str, label: str, pipeline: Pipeline) -> _Labels:
        """Read a Parquet or CSV file with the row keys, the label, and maybe the columns of `source.partition_by`."""
        keys, by = pipeline.source.row_keys, pipeline.source.partition_by
        # Of a CSV file each letter counts: the key 007 is no number.
        reader = open_file(path, pa.schema([(name, pa.string()) for name in (*keys, *by)]), where="--labels")
        check_label(label, reader.schema, path)
        for name in keys:
            if name not in reader.schema.names:
                raise ConfigError(f"no column {name!r} in {path}", where="--labels", mend=f"Wanted: {', '.join(keys)}")
        table = pa.Table.from_batches(reader.batches(), reader.schema).combine_chunks()
        partitioned = bool(by) and all(name in table.column_names for name in by)
        places = [""] * table.num_rows
        if partitioned:
            parts = zip(*(key_texts(table.column(name)) for name in by), strict=True)
            places = ["/".join(f"{name}={text}" for name, text in zip(by, row, strict=True)) for row in parts]
        truths = np.concatenate([truths_of(chunk) for chunk in table.column(label).chunks] or [np.zeros(0, bool)])
        found: dict[Name, bool] = {}
        for place, truth, *texts in zip(places, truths, *(key_texts(table.column(name)) for name in keys), strict=True):
            if found.setdefault((place, *texts), bool(truth)) != truth:
                what = f"{', '.join(map(str, texts))} is labelled both ways"
                raise ConfigError(what, where=path, mend=f"Add the columns {', '.join(by)}" if by else "Mend it")
        return _Labels(keys, partitioned, found)

    def of(self, partition: str, batch: pa.RecordBatch) -> tuple[Bools, Bools]:
        """Which pictures of a record batch are anomalous, bool [n], and which the file names at all, bool [n]."""
        place = partition if self.partitioned else ""
        names: Sequence[Name] = list(zip(*(key_texts(batch.column(name)) for name in self.keys), strict=True))
        said: list[bool | None] = [self.found.get((place, *name)) for name in names]
        truth: npt.NDArray[np.bool_] = np.array([bool(one) for one in said], bool)
        return truth, np.array([one is not None for one in said], bool)
