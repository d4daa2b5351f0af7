"""`ae generate` of pictures: new ones in one Parquet file, each with its distance to the closest picture of history."""

from __future__ import annotations

import logging
import time

import numpy as np

from ae_plugin.config import Pipeline
from ae_plugin.engines.local import Writer
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.inputs import find_target
from ae_plugin.jobs.latent.generated_pictures import generate_pictures, generated_schema
from ae_plugin.jobs.latent.output import Inputs, committed, spent
from ae_plugin.jobs.latent.traverse_pictures import whole_pictures_of
from ae_plugin.jobs.pictures.versions import PictureVersion
from ae_plugin.jobs.staged import let_go
from ae_plugin.latent_schemas import Closeness, GenerateRecord
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import fingerprint, list_source
from ae_plugin.store.registry import Registry
from ae_plugin.store.runs import GENERATED

log = logging.getLogger(__name__)
MEASURED, QUANTILES = 2_000, ("0.05", "0.5", "0.95")


def draw_pictures(
    pipeline: Pipeline, version: PictureVersion, count: int, *, where: bool, seed: int, output: str | None
) -> GenerateRecord:
    """Write new pictures like those that a version was trained on; see `jobs.latent.generate.generate`."""
    clock = time.perf_counter()
    whole_pictures_of(version)
    card = version.card.variational
    assert card is not None
    if where:
        raise ConfigError("pictures are drawn without conditions", where="--where", mend="Leave it out")
    files = list_source(pipeline.source)
    name = f"{version.version}-{count}-seed{seed}"
    inputs = Inputs("", files, pipeline.source.format, find_target(pipeline, files, None, output), "")
    target = f"generated/{name}.parquet"
    with committed(inputs, f"generated-{name}") as commit:
        digest, apart = _write(pipeline, version, count, seed, commit, target)
        record = GenerateRecord(
            pipeline=pipeline.name,
            model_version=version.version,
            name=name,
            rows=count,
            seed=seed,
            where={},
            history_rows=card.pictures,
            redrawn=0,
            copies=0,
            synthetic=_closeness(apart),
            held_out=Closeness(rows=0, quantiles=dict(zip(QUANTILES, card.held_out, strict=True)), copies=0),
            notes=["distances are of pixels, in 0..1, at the size at which the model sees pictures"],
            input_fingerprint=fingerprint(files),
            outputs={target: digest},
            **spent(clock, count),
        )
        commit.folder.write(commit.staged(f"{GENERATED}/{name}.json"), record.model_dump_json(indent=1).encode())
    log.info("%s", inputs.wrote(f"{count} pictures generated"))
    return record


def _write(
    pipeline: Pipeline, version: PictureVersion, count: int, seed: int, commit: Commit, target: str
) -> tuple[str, list[float]]:
    """Stage the file; its sha256, and the distances of the first pictures."""
    apart: list[float] = []
    writer = Writer(commit.folder, commit.staged(target), generated_schema(version))
    with let_go(writer):
        for batch in generate_pictures(Registry(pipeline.output), version, count, seed):
            writer.write(batch)
            apart += batch.column(-1).to_pylist()[: MEASURED - len(apart)]
        return writer.close(), apart


def _closeness(apart: list[float]) -> Closeness:
    quantiles = {share: round(float(np.quantile(apart, float(share))), 4) for share in QUANTILES}
    return Closeness(rows=len(apart), quantiles=quantiles, copies=0)
