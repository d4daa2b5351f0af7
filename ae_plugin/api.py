"""Jobs from Python: the same as `ae train`, `ae score`, `ae promote`, for a Pipeline, a YAML's path or its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ae_plugin import config
from ae_plugin.config import Pipeline
from ae_plugin.schemas import PromoteRecord, RunRecord, TrainReport

if TYPE_CHECKING:
    import keras


def _pipeline(pipeline: Pipeline | str | Path) -> Pipeline:
    return pipeline if isinstance(pipeline, Pipeline) else config.load(pipeline)


def train(pipeline: Pipeline | str | Path) -> TrainReport:
    """Train a new version, and promote it when the pipeline says `promote: auto` and the gate passes.

    Raises:
        UserError: the pipeline, its source or its output is not what it should be.
    """
    from ae_plugin.jobs.train import train as job

    loaded = _pipeline(pipeline)
    report = job(loaded)
    if loaded.promote == "auto":
        promote(loaded, report.model_version)
    return report


def promote(pipeline: Pipeline | str | Path, version: str | None = None, *, force: bool = False) -> PromoteRecord:
    """Make the challenger (or `version`) champion when its gate passed, or by force.

    Raises:
        UserError: there is no such version.
    """
    from ae_plugin.jobs.promote import promote as job

    return job(_pipeline(pipeline), version, force=force, by="python")


def score(
    pipeline: Pipeline | str | Path,
    partition: str | None = None,
    *,
    source: str | None = None,
    output: str | None = None,
) -> RunRecord:
    """Score one partition with the champion and write its outputs.

    Raises:
        UnfamiliarError: the partition was refused.
        NoChampionError: there is nothing to score with.
        UserError: the source, the output or the model is not what it should be.
    """
    from ae_plugin.jobs.score import score as job

    return job(_pipeline(pipeline), partition, source=source, output=output)


def encoder(uri: str | os.PathLike[str]) -> keras.Model:
    """Build a model's encoder, trainable, to go on from in a larger network; `inputs` of what `load` gives feeds it.

    Args:
        uri: a pipeline's output (its champion is taken), or one version's folder in its `_models/`.

    Returns:
        Of a table's model (x float32 [n, F], visible float32 [n, C]) -> latent code float32 [n, latent_dim]; of a
        pictures' model tiles float32 [n, h, w, C] -> latent code.

    Raises:
        NoChampionError: the output holds no champion.
        StoreError: the model was tampered with.
        ConfigError: there is no such version.
        UserError: this environment has no Keras.
    """
    from ae_plugin.jobs.latent.encoder import encoder as job

    return job(uri)
