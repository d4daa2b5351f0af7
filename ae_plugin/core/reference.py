"""What a trained network's world looks like: tails, latent shape and calibration, learned once and saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ae_plugin.core.blend import Blend
from ae_plugin.core.calibration import Tail, whole_levels
from ae_plugin.core.cells import hidden_cell_errors
from ae_plugin.core.encoding import UNJUDGED, VALUE
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.guard import count_bins
from ae_plugin.core.intervals import fit_intervals
from ae_plugin.core.neighbours import Indices, Neighbours
from ae_plugin.core.scoring import Network, Reference, Scorer, embed, hidden_errors, reconstruct
from ae_plugin.core.surprise import ColumnTails
from ae_plugin.core.values import Bins, Bools, Floats, evenly_spaced

GROUPS = 4
ODD_SHARE = 0.05
LATENT_ROWS, TAIL_ROWS, CALIBRATION_ROWS, GROUP_ROWS = 50_000, 10_000, 20_000, 5_000
CELL_EVALUATIONS, BLEND_EVALUATIONS = 600_000, 100_000


def fit_reference(
    encoder: TableEncoder,
    network: Network,
    filler: Network,
    train: Encoded,
    validation: Encoded,
    calibration: Encoded,
    *,
    contaminated: bool,
    anomalous_share: float = 0.0,
    cells: bool = True,
) -> Reference:
    """Learn everything that scoring needs beside the network.

    Args:
        encoder: of this version.
        network: trained (or, for the gate, untrained).
        filler: trained on for hidden cells.
        train: rows the network was trained on; used for what training does not improve for them: neighbours, how rare
            values are, which columns depend on one another, regressions.
        validation: rows it was not trained on; used for the tails of errors, and of what is made of them.
        calibration: other rows it was not trained on; used for p-values. Of a short clean history these and the
            validation rows are neighbours too, each measured without itself.
        contaminated: whether history may hold anomalies.
        anomalous_share: of the calibration rows, 0 to 0.5; so many of the highest scores are left out.
        cells: also calibrate single cells, which costs a pass a column.
    """
    some, held_out, kept = (
        train.thinned(LATENT_ROWS),
        validation.thinned(TAIL_ROWS),
        calibration.thinned(CALIBRATION_ROWS),
    )

    def placed(rows: Encoded) -> tuple[Floats, Floats]:
        x, visible = encoder.inputs(rows)
        return x, embed(network, x, visible)

    near, own = Neighbours.fit(placed(some), placed(Encoded.concat([held_out, kept])), contaminated=contaminated)
    groups = column_groups(encoder, train.x[evenly_spaced(len(train), GROUP_ROWS)])
    clean = encoder.column_errors(held_out, reconstruct(network, *encoder.inputs(held_out)))
    hidden = hidden_errors(encoder, network, groups, held_out)
    # No tail may depend on calibration rows: neighbours are blind to them until all are learned.
    blank = _uncalibrated(encoder, near.blind(), groups, train, clean, hidden)
    scorer = Scorer(encoder, network, filler, blank, 0.01, contaminated)
    tried = evenly_spaced(len(some), TAIL_ROWS)
    scorer.reference = _fit_shape(scorer, some.take(tried), own[tried])
    scorer.reference = reference = replace(_fit_views(scorer, held_out, clean, hidden), near=near)
    views, errors, _ = scorer.first_look(kept, near.last(len(kept)))
    scores = np.maximum(*scorer.surprises(kept, views, errors))
    normal = len(scores) - int(anomalous_share * len(scores))
    scorer.reference = reference = replace(
        reference,
        calibration=np.sort(whole_levels(scores))[:normal],
        calibration_errors=np.sort(whole_levels(views["clean"]))[:normal],
    )
    if not cells:
        return reference
    scorer.reference = reference = replace(reference, blend=_fit_blend(scorer, some, held_out))
    scorer.reference = reference = _calibrate_cells(scorer, kept)
    return replace(reference, intervals=fit_intervals(scorer, some, held_out, kept))


def _uncalibrated(
    encoder: TableEncoder, near: Neighbours, groups: Bools, train: Encoded, clean: Floats, hidden: Floats
) -> Reference:
    """A reference whose p-values are still to be calibrated."""
    return Reference(
        near=near,
        tails=learn_tails(encoder, train.bins),
        groups=groups,
        views={},
        clean=ColumnTails.fit(clean),
        hidden=ColumnTails.fit(hidden),
        odd=0.0,
        calibration=np.zeros(0, np.float32),
        calibration_errors=np.zeros(0, np.float32),
        cells=np.zeros((0, len(encoder.specs)), np.float32),
        rarity=np.zeros(len(encoder.specs), np.float32),
        blend=Blend.of_network(encoder.features),
    )


def _fit_shape(scorer: Scorer, train: Encoded, own: Indices) -> Reference:
    """Learn the tails of what training does not improve for its rows: the more rows, the truer the tail."""
    views, _, _ = scorer.first_look(train, own)
    known = {name: Tail.fit(views[name]) for name in ("near", "tail") if np.ptp(views.get(name, 0)) > 0}
    return replace(scorer.reference, views=known)


def _fit_views(scorer: Scorer, held_out: Encoded, clean: Floats, hidden: Floats) -> Reference:
    """Learn the other tails that make the views comparable, one after the other.

    Args:
        scorer: knows the shape of training rows.
        held_out: other rows, n of them.
        clean: float32 [n, C], their cell errors with every cell visible.
        hidden: float32 [n, C], the same with the cell's group hidden.
    """
    views = scorer.first_look(held_out)[0]
    known = dict(scorer.reference.views)
    if np.ptp(views["clean"]) > 0:
        known["clean"] = Tail.fit(views["clean"])
    scorer.reference = replace(scorer.reference, views=known)
    whole = scorer.whole(views)
    known["row"] = Tail.fit(whole)
    cell = ColumnTails.fresh_worst(clean)
    look = np.maximum(known["row"](whole), cell)
    odd = float(np.quantile(look, 1 - ODD_SHARE))
    if clean.shape[1] > 1:
        cell = np.where(look >= odd, np.maximum(cell, ColumnTails.fresh_worst(hidden)), cell)
    known["cell"] = Tail.fit(cell)
    return replace(scorer.reference, views=known, odd=odd)


def _fit_blend(scorer: Scorer, train: Encoded, held_out: Encoded) -> Blend:
    """Learn the regressions from training rows, and how much they count from rows held out."""
    encoder, rows = scorer.encoder, max(200, BLEND_EVALUATIONS // len(scorer.encoder.specs))
    blend = Blend.regress(encoder, train.x)
    if not len(blend.linear):
        return blend
    part = held_out.thinned(rows)
    shares = np.empty_like(blend.shares)
    for column, where in enumerate(encoder.slices):
        visible = encoder.visible(part)
        visible[:, column] = 0
        seen = visible[:, encoder.column_of]
        found = reconstruct(scorer.filler, part.x * seen, visible)
        known = np.flatnonzero(part.state[:, column] == VALUE)
        shares[:, where] = blend.column_shares(where, part.x, found, seen, known)[:, None]
    return replace(blend, shares=shares)


def _calibrate_cells(scorer: Scorer, calibration: Encoded) -> Reference:
    """Add the hidden-cell errors of calibration cells, and what a word's rarity adds to them: a nat, the mean error."""
    columns = len(scorer.encoder.specs)
    part = calibration.thinned(max(200, CELL_EVALUATIONS // columns))
    nothing = np.zeros((len(part), columns), bool)
    errors = hidden_cell_errors(scorer, part, nothing, ~nothing)
    known = part.state != UNJUDGED
    means = np.where(known, errors, 0).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1)
    words = np.array([spec.kind == "category" and spec.type != "bool" for spec in scorer.encoder.specs])
    rarity = np.where(words, means, 0).astype(np.float32)
    scorer.reference = replace(scorer.reference, rarity=rarity)
    errors += scorer.rarity(part) * rarity
    errors[~known] = np.nan
    return replace(scorer.reference, cells=np.sort(errors, axis=0))


def column_groups(encoder: TableEncoder, x: Floats) -> Bools:
    """Deal the columns into groups that are hidden together, columns that depend on one another apart: bool [K, C].

    Args:
        encoder: of this version.
        x: float32 [n, F], training rows; dependence is the largest correlation between two columns' features.
    """
    columns = len(encoder.specs)
    count = min(GROUPS, columns)
    spread = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(spread > 1e-6, spread, np.inf)
    linked = np.abs(z.T @ z) / max(len(x), 1)
    starts = [where.start for where in encoder.slices]
    linked = np.maximum.reduceat(np.maximum.reduceat(linked, starts, axis=0), starts, axis=1)
    np.fill_diagonal(linked, 0)
    members: list[list[int]] = [[] for _ in range(count)]
    for column in np.argsort(-linked.sum(axis=1), kind="stable"):
        room = [g for g in range(count) if len(members[g]) < -(-columns // count)]
        best = min(room, key=lambda g: (float((linked[column, members[g]] ** 2).sum()), len(members[g])))
        members[best].append(int(column))
    out = np.zeros((count, columns), bool)
    for group, chosen in enumerate(members):
        out[group, chosen] = True
    return out


def learn_tails(encoder: TableEncoder, bins: Bins) -> Floats:
    """Surprise of each bin, float32 [total bins], in nats: two-sided for numbers and times, by share for the rest.

    Args:
        encoder: knows each column's bins.
        bins: int16 [C, n] of training rows.
    """
    n = bins.shape[1]
    counts = count_bins(encoder, bins).astype(np.float64)
    out = np.zeros(encoder.total_bins, np.float32)
    for spec, start in zip(encoder.specs, encoder.bin_offsets, strict=True):
        own = counts[start : start + spec.bins]
        values, missing = own[: spec.value_bins], own[spec.value_bins]
        if spec.kind in ("number", "time"):
            below, above = np.cumsum(values), np.cumsum(values[::-1])[::-1]
            share = 2 * np.minimum(below, above).clip(0.5) / max(values.sum(), 1)
            # Past the last training value, each further bin costs a little more: farther out is odder.
            beyond = np.maximum(_steps_outside(values), 0)
            nats = -np.log(np.minimum(share, 1)) + 0.05 * beyond
        else:
            nats = -np.log((values + 0.5) / (n + 1))
            nats -= nats.min()
        unseen = getattr(spec, "unseen_rate", 1 / (n + 1))
        if spec.kind == "text":
            half = spec.value_bins // 2
            nats = np.concatenate([np.zeros(half), np.full(half, -np.log(unseen))])
        out[start : start + spec.value_bins] = nats
        out[start + spec.value_bins] = -np.log((missing + 0.5) / (n + 1)) if missing < n / 2 else 0.0
        out[start + spec.value_bins + 1] = -np.log(unseen)
    return out


def _steps_outside(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    filled = np.flatnonzero(values)
    place = np.arange(len(values))
    if not len(filled):
        return np.zeros(len(values))
    return np.asarray(np.maximum(filled[0] - place, place - filled[-1]), np.float64)
