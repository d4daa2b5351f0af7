"""A model version in memory and on disk: what training packs, scoring unpacks. Nothing in it can execute."""

from __future__ import annotations

import base64
import json
import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ae_plugin.core.blend import Blend
from ae_plugin.core.calibration import Tail
from ae_plugin.core.columns import ColumnSpec
from ae_plugin.core.features import Encoded, TableEncoder, partition_time
from ae_plugin.core.guard import GuardReference
from ae_plugin.core.intervals import BANDS, LEVELS, Intervals
from ae_plugin.core.neighbours import Neighbours
from ae_plugin.core.reduction import Reducer
from ae_plugin.core.rules import Rules
from ae_plugin.core.scoring import Method, Reference, Scorer, embed
from ae_plugin.core.surprise import ColumnTails
from ae_plugin.core.values import Floats
from ae_plugin.errors import ConfigError, DataError, StoreError, UserError
from ae_plugin.latent_schemas import Reduction
from ae_plugin.runtime.litert import LiteHalf, LiteNetwork
from ae_plugin.schemas import TrainReport
from ae_plugin.store.registry import MODELS, Registry, Stored

NETWORK, FILLER, WEIGHTS = "network.tflite", "filler.tflite", "weights.safetensors"
REFERENCE, REPORT, DECODER = "reference.safetensors", "report.json", "decoder.tflite"
REDUCER, REDUCTION = "reducer.safetensors", "reduction.json"
SCORING = NETWORK, FILLER, REFERENCE
"""The files that scoring needs."""
Shapes = dict[str, tuple[int | None, ...]]


class ModelCard(BaseModel):
    """`model.json`: everything about a version that is not an array."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    pipeline: str
    kind: str
    seed: int
    width: int
    latent_dim: int
    contaminated: bool
    columns: list[ColumnSpec]
    rules: Rules = Field(default_factory=Rules, description="How words are written, and what follows from what.")
    source_schema: str = Field(description="Arrow IPC schema, base64.")
    keys: list[str]
    partitions: dict[str, str] = Field(description="Partition trained on -> fingerprint of its files.")
    views: list[str]
    odd: float = Field(description="Surprise, in nats, from which on a row gets the masked passes.")
    versions: dict[str, str] = Field(description="Package -> version it was trained with.")
    created_at: str
    files: dict[str, str] = Field(default_factory=dict, description="File -> sha256.")


@dataclass(frozen=True)
class ModelVersion:
    """A version ready to score with."""

    version: str
    card: ModelCard
    scorer: Scorer
    guard: GuardReference
    schema: pa.Schema
    reducer: Reducer | None = None
    exported_decoder: bytes | None = None

    @property
    def embedding_dim(self) -> int:
        """Numbers of an embedding."""
        return self.card.latent_dim if self.reducer is None else self.reducer.kept

    def embed(self, encoded: Encoded) -> Floats:
        """Embeddings of encoded rows, float32 [n, embedding_dim]."""
        inputs = self.scorer.encoder.inputs(encoded)
        if self.reducer is None:
            return embed(self.scorer.network, *inputs)
        return np.ascontiguousarray(self.reducer.encode(inputs[0])[:, : self.reducer.kept])

    def decoder(self) -> LiteHalf:
        """The network's second half: latent codes float32 [n, L] -> reconstruction [n, F].

        Raises:
            StoreError: an older release trained this version, and kept none.
        """
        if self.exported_decoder is None:
            raise StoreError(
                "keeps no decoder of latent codes: an older release trained it", where=self.version, mend="Train anew"
            )
        return LiteHalf(self.exported_decoder, given=(self.card.latent_dim,), found=(self.scorer.encoder.features,))

    def check_columns(self, there: Sequence[str], where: str = "", *, keys: bool = True) -> None:
        """See that rows have every column that is learned.

        Args:
            there: names of the columns that they have.
            where: they are from.
            keys: the columns that tell rows apart are needed too.

        Raises:
            DataError: one is missing.
        """
        for name in [*self.scorer.encoder.names, *(self.card.keys if keys else [])]:
            if name not in there:
                what, mend = f"column {name!r} is missing, but the model learned it", "Bring it back, or exclude it"
                raise DataError(what, where=where, mend=f"{mend} and train anew")

    def unjudged(self, partition: str) -> list[str]:
        """The columns that cannot be judged in a partition: their age counts from its date, and there is none."""
        if partition_time(partition) is not None:
            return []
        return [spec.name for spec in self.card.columns if spec.kind == "time" and spec.relative]


def pack_schema(schema: pa.Schema) -> str:
    """Arrow schema to base64 text."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def pack(
    reference: Reference, guard: GuardReference, weights: Sequence[Any], network: bytes, filler: bytes
) -> dict[str, bytes]:
    """Turn a trained version into files: name -> content."""
    arrays: dict[str, Any] = {
        **near_arrays(reference.near),
        **view_arrays(reference.views),
        "tails": reference.tails,
        "groups": reference.groups.astype(np.uint8),
        "calibration": reference.calibration,
        "calibration_errors": reference.calibration_errors,
        "cells": reference.cells,
        "rarity": reference.rarity,
        "blend.mean": reference.blend.mean,
        "blend.linear": reference.blend.linear,
        "blend.shares": reference.blend.shares,
        "guard.counts": guard.counts,
        "guard.spread": guard.spread,
        "guard.odd": guard.odd,
    }
    for name, tails in (("clean", reference.clean), ("hidden", reference.hidden)):
        arrays |= {f"cell.{name}.at": tails.at, f"cell.{name}.nats": tails.nats, f"cell.{name}.index": tails.index}
    if reference.intervals is not None:
        arrays |= {f"complete.{field.name}": getattr(reference.intervals, field.name) for field in fields(Intervals)}
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    layers = {f"{index:04d}": np.ascontiguousarray(array) for index, array in enumerate(weights)}
    return {NETWORK: network, FILLER: filler, WEIGHTS: save_arrays(layers), REFERENCE: save_arrays(kept)}


def near_arrays(near: Neighbours) -> dict[str, Any]:
    """The arrays that neighbours are kept in."""
    parts = np.array([near.groups, near.nearest, near.held])
    return {"near.points": near.points, "near.scale": near.scale, "near.parts": parts}


def near_of(arrays: dict[str, Any]) -> Neighbours:
    """What `near_arrays` kept; KeyError when it is not there."""
    return Neighbours(arrays["near.points"], arrays["near.scale"], *map(int, arrays["near.parts"]))


def view_arrays(views: dict[str, Tail]) -> dict[str, Any]:
    """The arrays that tails of views are kept in."""
    kept: dict[str, Any] = {}
    for name, tail in views.items():
        kept |= {f"view.{name}.at": tail.at, f"view.{name}.nats": tail.nats}
        kept[f"view.{name}.index"] = np.array([tail.index])
    return kept


def view_of(arrays: dict[str, Any], name: str) -> Tail:
    """One of what `view_arrays` kept; KeyError when it is not there."""
    at, nats, index = (arrays[f"view.{name}.{part}"] for part in ("at", "nats", "index"))
    return Tail(at, nats, float(index[0]))


def check_rate(alert_rate: float) -> float:
    """Return an alert rate that is a share.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(alert_rate, numbers.Real) or not 0 < alert_rate < 1:
        raise ConfigError(f"alert_rate {alert_rate!r} is not a number between 0 and 1")
    return float(alert_rate)


def locate(uri: str | os.PathLike[str]) -> tuple[Registry, str]:
    """The version that a URI means: a pipeline's output stands for its champion, a folder in `_models/` for itself.

    Raises:
        NoChampionError: the output holds no champion.
        ConfigError: it is no place.
    """
    where = os.fspath(uri)
    base, mark, version = where.rstrip("/").partition(f"/{MODELS}/")
    registry = Registry(base if mark else where)
    return registry, version if mark else registry.champion()


def load_version(registry: Registry, version: str, alert_rate: float, method: Method = "combined") -> ModelVersion:
    """Read a version, check it, and make it ready to score at an alert rate by a method.

    Raises:
        StoreError: it was tampered with, or was written by another release in a format this one cannot read.
    """
    return open_version(registry.fetch(version), alert_rate, method)


def open_version(stored: Stored, alert_rate: float, method: Method = "combined") -> ModelVersion:
    """Make a version that was read ready to score; of its files it needs `SCORING` only.

    Raises:
        StoreError: it was written by another release in a format this one cannot read, or is one of pictures.
    """
    where, files = stored.where, stored.files
    if stored.card.get("kind") == "conv":
        raise StoreError("is a model of pictures, not of a table", where=where, mend="Score with it by `ae score`")
    try:
        card = ModelCard.model_validate(stored.card)
        encoder = TableEncoder(card.columns)
        arrays = load_arrays(files[REFERENCE])
        arrays.setdefault("rarity", np.zeros(len(encoder.specs), np.float32))  # versions of before it counted
        _check_arrays(arrays, card, encoder)
        schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(card.source_schema)))
        reference = _unpack(card, arrays)
        guard = GuardReference(arrays["guard.counts"], arrays["guard.spread"], arrays["guard.odd"])
        exported = files[NETWORK], files[FILLER]
        reducer = Reducer.of(load_arrays(files[REDUCER])) if REDUCER in files else None
        if reducer is not None and len(reducer.mean) != encoder.features:
            raise ValueError(f"{REDUCER} is of {len(reducer.mean)} features")
    except (ValidationError, SafetensorError, KeyError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise StoreError(f"is not a model this release can read ({reason})", where=where, mend="Train anew") from error
    network, filler = (
        LiteNetwork(flat, features=encoder.features, columns=len(encoder.specs), latent_dim=card.latent_dim)
        for flat in exported
    )
    scorer = Scorer(encoder, network, filler, reference, alert_rate, card.contaminated, method, card.rules)
    return ModelVersion(stored.name, card, scorer, guard, schema, reducer, files.get(DECODER))


def _check_arrays(arrays: dict[str, Any], card: ModelCard, encoder: TableEncoder) -> None:
    """Raise KeyError or ValueError where arrays are missing or do not fit the card: another release wrote them."""
    columns, features, rows = len(encoder.specs), encoder.features, arrays["calibration"].size
    linked = features if arrays["blend.linear"].size else 0
    wanted: Shapes = {
        **shared_shapes(arrays, features + card.latent_dim, card.views),
        "tails": (encoder.total_bins,),
        "groups": (None, columns),
        "calibration": (rows,),
        "calibration_errors": (rows,),
        "cells": (None, columns),
        "rarity": (columns,),
        "blend.mean": (features,),
        "blend.linear": (linked, linked),
        "blend.shares": (2, features),
        "guard.counts": (encoder.total_bins,),
        "guard.spread": (columns,),
        "guard.odd": (1 + columns,),
    }
    for prefix in ("cell.clean", "cell.hidden"):
        points = arrays[f"{prefix}.at"].shape[-1]
        wanted |= {f"{prefix}.at": (columns, points), f"{prefix}.nats": (columns, points)}
        wanted[f"{prefix}.index"] = (columns,)
    if "complete.off" in arrays:  # versions of earlier releases have none
        learned = features + columns + 3 if arrays["complete.scale"].size else 0
        wanted |= {"complete.scale": (learned, columns), "complete.span": (2, columns), "complete.ends": (2, columns)}
        kinds = len(BANDS) + len(arrays["complete.patterns"])
        wanted |= {"complete.off": (kinds, columns, len(LEVELS)), "complete.rows": (kinds, columns)}
        wanted |= {"complete.patterns": (None, columns)}
    check_shapes(arrays, wanted)


def shared_shapes(arrays: dict[str, Any], width: int, views: Sequence[str]) -> Shapes:
    """The shapes that arrays of neighbours in so many dimensions and of views' tails must have."""
    wanted: Shapes = {"near.points": (None, width), "near.scale": (2,), "near.parts": (3,)}
    for prefix in (f"view.{name}" for name in views):
        points = arrays[f"{prefix}.at"].size
        wanted |= {f"{prefix}.at": (points,), f"{prefix}.nats": (points,), f"{prefix}.index": (1,)}
    return wanted


def check_shapes(arrays: dict[str, Any], wanted: Shapes) -> None:
    """Raise KeyError or ValueError where an array is missing or of another shape; None stands for any length."""
    for name, shape in wanted.items():
        found = arrays[name].shape
        if len(found) != len(shape) or any(want not in (None, have) for have, want in zip(found, shape, strict=True)):
            raise ValueError(f"{name} is {found}, wanted {shape}")


def _unpack(card: ModelCard, arrays: dict[str, Any]) -> Reference:
    def columns(name: str) -> ColumnTails:
        return ColumnTails(*(arrays[f"cell.{name}.{part}"] for part in ("at", "nats", "index")))

    return Reference(
        near=near_of(arrays),
        tails=arrays["tails"],
        groups=arrays["groups"].astype(bool),
        views={name: view_of(arrays, name) for name in card.views},
        clean=columns("clean"),
        hidden=columns("hidden"),
        odd=card.odd,
        calibration=arrays["calibration"],
        calibration_errors=arrays["calibration_errors"],
        cells=arrays["cells"],
        rarity=arrays["rarity"],
        blend=Blend(*(arrays[f"blend.{part}"] for part in ("mean", "linear", "shares"))),
        intervals=_intervals(arrays),
    )


def read_reduction(registry: Registry, version: str) -> Reduction | None:
    """Read how a version puts rows in a few numbers; None where it does not, or it cannot be read."""
    try:
        return Reduction.model_validate_json(registry.read_file(version, REDUCTION))
    except (UserError, OSError, ValueError):
        return None


def _intervals(arrays: dict[str, Any]) -> Intervals | None:
    if not any(name.startswith("complete.") for name in arrays):
        return None
    return Intervals(*(arrays[f"complete.{field.name}"] for field in fields(Intervals)))


def read_report(registry: Registry, version: str) -> TrainReport:
    """Read a version's training report: it and the card are checked, the other files are not looked at."""
    content = registry.read_file(version, REPORT)
    try:
        return TrainReport.model_validate({**json.loads(content), "model_version": version})
    except (TypeError, ValueError) as error:
        where = f"{registry.folder.uri}/_models/{version}/{REPORT}"
        raise StoreError("is not a training report", where=where, mend="Train anew") from error
