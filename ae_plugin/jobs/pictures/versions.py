"""A version of a pictures' model in memory and on disk. Nothing in it can execute."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ae_plugin.core.completion import guess
from ae_plugin.core.denoising import SEEN, Denoiser, quieted
from ae_plugin.core.descriptors import hog
from ae_plugin.core.intervals import LEVELS
from ae_plugin.core.mixture import Mixture
from ae_plugin.core.pca import Pca
from ae_plugin.core.picture_guard import GROUPS, Kind
from ae_plugin.core.picture_scoring import VIEWS, PictureReference, PictureScorer, ScoredPicture
from ae_plugin.core.pictures import Picture, Pixels, from_float, to_float
from ae_plugin.core.pixel_intervals import KINDS, PixelIntervals
from ae_plugin.core.repair import mend
from ae_plugin.core.tiles import LEAST, WHOLE
from ae_plugin.core.values import Bools, Floats
from ae_plugin.core.variational import Variational
from ae_plugin.errors import StoreError
from ae_plugin.jobs.pictures.denoising import TrainedDenoiser
from ae_plugin.jobs.pictures.variational import VariationalCard, open_variational
from ae_plugin.runtime.litert import LiteDenoiser, LiteRepairer
from ae_plugin.store.registry import Registry, Stored
from ae_plugin.versions import (
    NETWORK,
    REFERENCE,
    WEIGHTS,
    check_shapes,
    near_arrays,
    near_of,
    shared_shapes,
    view_arrays,
    view_of,
)

Ends = tuple[Pixels, Pixels]
"""The lower and upper ends of a picture's pixels, as it has them itself."""
Side = Annotated[int, Field(ge=LEAST, le=WHOLE)]

DENOISER = "denoiser.tflite"
PICTURE_SCORING = NETWORK, REFERENCE, DENOISER
"""The files that scoring needs, of those that a version has."""


class DenoiserCard(BaseModel):
    """What there is to know of the network that corrects shrinkage."""

    model_config = ConfigDict(extra="forbid")

    side: tuple[int, int] = Field(description="Height and width of the tiles that it sees.")
    gains: dict[int, float] = Field(
        description="Octave of the noise level, from 1/255 -> dB better than shrinkage, where it is."
    )


class PictureCard(BaseModel):
    """`model.json` of a pictures' model: everything that is not an array."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    pipeline: str
    kind: Literal["conv"] = "conv"
    seed: int
    side: tuple[Side, Side] = Field(description="Height and width of a tile.")
    channels: Literal[1, 3]
    latent_dim: int
    contaminated: bool
    image_size: int | None = Field(None, ge=16, le=4_096, description="Longer side that pictures are scaled to.")
    image: str = Field(description="The source's column of pictures.")
    source_schema: str = Field(description="Arrow IPC schema, base64.")
    keys: list[str]
    partitions: dict[str, str] = Field(description="Partition trained on -> fingerprint of its files.")
    upright: float = Field(ge=0.3, le=3, description="What the distance from history counts beside the hottest pixel.")
    far: tuple[float, float, float, float] = Field(
        description="Distances that 25, 50, 75 and 95% of the calibration pictures' middle tiles stay within."
    )
    axes: int = Field(ge=0, description="Directions along which it is told where pictures lie; for the guard.")
    whole: int = Field(
        ge=0, description="Principal components of each cluster of whole pictures, to complete others by; 0: none."
    )
    denoiser: DenoiserCard | None = Field(None, description="None: noise is shrunk, and nothing corrects it.")
    variational: VariationalCard | None = Field(None, description="None: there is no model of whole pictures.")
    versions: dict[str, str] = Field(description="Package -> version it was trained with.")
    created_at: str
    files: dict[str, str] = Field(default_factory=dict, description="File -> sha256.")


@dataclass(frozen=True)
class PictureVersion:
    """A version ready to score with."""

    version: str
    card: PictureCard
    scorer: PictureScorer
    denoiser: Denoiser
    whole: Mixture | None
    schema: pa.Schema
    reach: PixelIntervals | None = None
    variational: Variational | None = None

    @property
    def latent_dim(self) -> int:
        """Length of an embedding: the code of the whole picture, or else the mean of its tiles' codes."""
        return self.card.variational.latent_dim if self.card.variational else self.card.latent_dim

    def embed(self, pictures: Sequence[Picture]) -> Floats:
        """Embeddings of pictures, float32 [n, latent_dim]."""
        if self.variational is not None:
            return self.variational.encode(self.variational.see(pictures))
        codes = [one.code for one in self.scorer.score(pictures)]
        return np.stack(codes) if codes else np.zeros((0, self.latent_dim), np.float32)

    def mended(self, picture: Picture, scored: ScoredPicture, *, full: bool) -> Pixels:
        """A picture's pixels with wrong ones repaired; as they are where there are further frames, which would be lost.

        Args:
            picture: as it came.
            scored: what came of it; it says which pixels are wrong, since the limit is one of pictures as they come.
            full: take the noise out of the whole picture too.
        """
        if not picture.single:
            return picture.pixels
        quiet, wrong = quieted(picture, self.denoiser) if full else picture, self.scorer.mask(scored.heat)
        if not wrong.any():
            return quiet.pixels
        if quiet is not picture:  # what the network makes of noise is not as smooth as what is around it
            (scored,) = self.scorer.score([quiet])
        return mend(quiet, scored.repaired, wrong)

    def complete(self, picture: Picture, known: Bools) -> Picture:
        """The whole picture from some of its pixels; those, and alpha, stay as they are.

        Args:
            picture: of any size and mode; what it holds where nothing is known does not matter.
            known: bool [H, W].
        """
        return self.completed(picture, known)[0]

    def completed(self, picture: Picture, known: Bools, coverage: float = 0.9) -> tuple[Picture, Ends | None]:
        """The same, and both ends of an interval for each pixel; None where the version is older than those are.

        Args:
            picture: as above.
            known: as above.
            coverage: share of pixels that are to lie within.
        """
        pixels, longest = to_float(picture), self.card.image_size
        whole = self.whole if longest in (None, max(known.shape)) else None  # scaled pictures tell nothing of others
        made, doubt = guess(pixels[..., :3], known, whole, self.card.side)

        def again(colours: Floats) -> Pixels:
            pixels[..., :3] = colours
            return from_float(pixels, picture)

        ends = None
        if self.reach is not None:
            low, high = self.reach.ends(made, doubt, known, coverage)
            ends = again(low), again(high)
        return replace(picture, pixels=again(made)), ends


def card_of(denoiser: TrainedDenoiser | None) -> DenoiserCard | None:
    """What the card says of a denoiser; None when it is better than shrinkage nowhere, and so is left out."""
    return DenoiserCard(side=denoiser.side, gains=denoiser.gains) if denoiser and denoiser.gains else None


def pack_pictures(
    reference: PictureReference,
    weights: Sequence[Any],
    network: bytes,
    denoiser: TrainedDenoiser | None,
    whole: Mixture | None,
    reach: PixelIntervals | None = None,
) -> dict[str, bytes]:
    """Turn a trained version into files: name -> content."""
    arrays: dict[str, Any] = {
        **near_arrays(reference.near),
        **view_arrays(reference.views),
        "calibration": reference.calibration,
        "hottest": reference.hottest,
        "kind.middle": reference.kind.middle,
        "kind.axes": reference.kind.axes,
        "kind.limits": np.array(reference.kind.limits),
    }
    if whole is not None:
        arrays |= {f"whole.{field.name}": getattr(whole, field.name) for field in fields(Mixture)}
    if reach is not None:
        arrays |= {f"pixels.{field.name}": getattr(reach, field.name) for field in fields(PixelIntervals)}
    layers = {f"{index:04d}": np.ascontiguousarray(array) for index, array in enumerate(weights)}
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    files = {NETWORK: network, WEIGHTS: save_arrays(layers), REFERENCE: save_arrays(kept)}
    return {**files, DENOISER: denoiser.flat} if denoiser and denoiser.gains else files


def load_picture_version(registry: Registry, version: str, alert_rate: float) -> PictureVersion:
    """Read a version, check it, and make it ready to score at an alert rate.

    Raises:
        StoreError: it was tampered with, or is none that this release can read.
    """
    return open_picture_version(registry.fetch(version), alert_rate)


def open_picture_version(stored: Stored, alert_rate: float) -> PictureVersion:
    """Make a version that was read ready to score; of its files it needs `PICTURE_SCORING` only.

    Raises:
        StoreError: it is none that this release can read.
    """
    where, files = stored.where, stored.files
    try:
        card = PictureCard.model_validate(stored.card)
        arrays = load_arrays(files[REFERENCE])
        schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(card.source_schema)))
        reference, whole, exported = _unpack(card, arrays), _whole(card, arrays), files[NETWORK]
        reach = _reach(arrays)
    except (ValidationError, SafetensorError, KeyError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise StoreError(
            f"is no pictures' model that this release can read ({reason})", where=where, mend="Train anew"
        ) from error
    network = LiteRepairer(exported, side=card.side, channels=card.channels, latent_dim=card.latent_dim)
    scorer = PictureScorer(network, reference, card.side, card.channels, alert_rate, card.contaminated, card.image_size)
    variational = None
    if card.variational is not None:
        variational = open_variational(card.variational, card.channels, card.image_size, files)
    return PictureVersion(stored.name, card, scorer, _denoiser(card, files), whole, schema, reach, variational)


def _whole(card: PictureCard, arrays: dict[str, Any]) -> Mixture | None:
    """Raise KeyError or ValueError where its arrays are missing or do not fit the card."""
    if not card.whole:
        return None
    features = card.side[0] * card.side[1] * card.channels
    if arrays["whole.mean"].ndim == 1:  # as earlier releases wrote it: a single cluster
        wanted = {"mean": (features,), "basis": (features, card.whole), "variances": (card.whole,), "left": (1,)}
        check_shapes(arrays, {f"whole.{name}": shape for name, shape in wanted.items()})
        mean, basis, variances, left = (arrays[f"whole.{name}"] for name in wanted)
        return Mixture.of(Pca(mean, basis, variances, float(left[0])))
    count = len(arrays["whole.shares"])
    shapes = {"mean": (count, features), "basis": (count, features, card.whole), "left": (count,), "shares": (count,)}
    check_shapes(arrays, {f"whole.{name}": shape for name, shape in shapes.items()})
    return Mixture(*(arrays[f"whole.{field.name}"] for field in fields(Mixture)))


def _reach(arrays: dict[str, Any]) -> PixelIntervals | None:
    """None for a version of an earlier release; KeyError or ValueError where its arrays do not fit."""
    if not any(name.startswith("pixels.") for name in arrays):
        return None
    check_shapes(arrays, {"pixels.weights": (5,), "pixels.off": (KINDS, len(LEVELS)), "pixels.pictures": (KINDS,)})
    return PixelIntervals(*(arrays[f"pixels.{field.name}"] for field in fields(PixelIntervals)))


def _denoiser(card: PictureCard, files: dict[str, bytes]) -> Denoiser:
    if card.denoiser is None:
        return Denoiser()
    side = card.denoiser.side
    return Denoiser(LiteDenoiser(files[DENOISER], side=side, seen=SEEN), side, frozenset(card.denoiser.gains))


def _unpack(card: PictureCard, arrays: dict[str, Any]) -> PictureReference:
    """Raise KeyError or ValueError where arrays are missing or do not fit the card: another release wrote them."""
    described = hog(np.zeros((1, *card.side, card.channels), np.float32)).shape[1]
    rows = arrays["calibration"].size
    wanted = shared_shapes(arrays, described, VIEWS)
    kind = {
        "kind.middle": (described,),
        "kind.axes": (described, card.axes),
        "kind.limits": (len(GROUPS),),
    }
    check_shapes(arrays, {**wanted, **kind, "calibration": (rows,), "hottest": (rows,)})
    return PictureReference(
        near=near_of(arrays),
        views={name: view_of(arrays, name) for name in VIEWS},
        upright=card.upright,
        calibration=arrays["calibration"],
        hottest=arrays["hottest"],
        far=card.far,
        kind=Kind(arrays["kind.middle"], arrays["kind.axes"], tuple(arrays["kind.limits"].tolist())),
    )
