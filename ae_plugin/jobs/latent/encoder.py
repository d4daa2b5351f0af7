"""The encoder of a version as a Keras model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from ae_plugin.core.features import TableEncoder
from ae_plugin.errors import StoreError
from ae_plugin.jobs.machine import check_can_train
from ae_plugin.versions import WEIGHTS, ModelCard, locate

if TYPE_CHECKING:
    import keras


def encoder(uri: str | os.PathLike[str]) -> keras.Model:
    """Build a version's encoder, trainable; see `ae_plugin.encoder`.

    Raises:
        NoChampionError: the output holds no champion.
        StoreError: the model was tampered with, or is none that this release can read.
        ConfigError: there is no such version.
        UserError: this environment has no Keras.
    """
    check_can_train()
    registry, version = locate(uri)
    stored = registry.fetch(version)
    from ae_plugin.models.encoder import rows_encoder, tiles_encoder

    try:
        arrays = load_arrays(stored.files[WEIGHTS])
        weights = [arrays[name] for name in sorted(arrays)]
        if stored.card.get("kind") == "conv":
            # Only now: what reads pictures is slow to import.
            from ae_plugin.jobs.pictures.versions import PictureCard

            pictures = PictureCard.model_validate(stored.card)
            return tiles_encoder(pictures.side, pictures.channels, weights)
        card = ModelCard.model_validate(stored.card)
        features = TableEncoder(card.columns).features
        return rows_encoder(card.kind, features, len(card.columns), card.width, card.latent_dim, weights)
    except (SafetensorError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        what = f"is not a model this release can read ({reason})"
        raise StoreError(what, where=stored.where, mend="Train anew") from error
