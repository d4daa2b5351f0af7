"""The promotion gate for pictures: does the challenger tell good tiles from the same tiles with one defect each?

As for tables: it must beat PCA, an untrained copy of itself and the champion, by more than luck. And it must be the
network that was trained: as scoring runs it, it has the validation loss that training reported, and that is less than
for a network that leaves every tile as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ae_plugin.core.defects import KINDS, VISIBLE, spoil_one
from ae_plugin.core.laid import Laid
from ae_plugin.core.pca import Pca
from ae_plugin.core.picture_scoring import PictureScorer, Repairer, heat_of, run
from ae_plugin.core.values import Floats, evenly_spaced
from ae_plugin.jobs.gate import find_champion, judge, problems
from ae_plugin.jobs.pictures.history import PictureHistory
from ae_plugin.jobs.pictures.versions import load_picture_version
from ae_plugin.schemas import Gate, GateResult
from ae_plugin.store.registry import Registry

GATE_TILES, PCA_TILES, PCA_FEATURES, TRIES = 400, 2_000, 4_096, 8
Score = Callable[[Floats], Floats]


def run_picture_gate(
    scorer: PictureScorer,
    untrained: Repairer,
    history: PictureHistory,
    registry: Registry,
    *,
    seed: int,
    reported: float,
) -> Gate:
    """Compare the challenger with PCA, its untrained self and the champion, on tiles nobody was trained on.

    Args:
        scorer: the challenger.
        untrained: its network before the first step.
        history: what the challenger learned from.
        registry: holds the champion, if there is one.
        seed: of its training.
        reported: its validation loss, as training reported it.
    """
    # Not sooner: it loads TensorFlow.
    from ae_plugin.models.mending import idle_loss, mending_loss

    found = mending_loss(scorer.network, history.validation, seed)
    reasons = problems(found, idle_loss(history.validation, seed), reported, "leaving every tile as it is")
    sound = not reasons
    if not np.isfinite(found):
        return Gate(passed=False, reasons=reasons, results=[])
    good = _held_out(history)
    scorers: dict[str, Score] = {
        "challenger": _by(scorer.network),
        "untrained": _by(untrained),
        "pca": _by_pca(history.train[evenly_spaced(len(history.train), PCA_TILES)]),
    }
    champion, rival = find_champion(
        registry, lambda name: load_picture_version(registry, name, scorer.alert_rate), reasons
    )
    if rival and (rival.card.side, rival.card.channels) != (history.side, history.channels):
        reasons.append("the champion sees pictures in other tiles: the challenger need not beat it")
    elif rival and rival.card.image_size != scorer.image_size:
        reasons.append("the champion sees pictures at another size: the challenger need not beat it")
    elif rival:
        scorers["champion"] = _by(rival.scorer.network)
    results = [_measure(name, score, good) for name, score in scorers.items()]
    return judge(results, reasons, champion, sound)


def _held_out(history: PictureHistory) -> Floats:
    rng = np.random.default_rng(3)
    chosen = []
    for at in evenly_spaced(len(history.calibration), GATE_TILES):
        laid = Laid.of(history.calibration[at], history.side)
        place = int(rng.integers(len(laid.where.corners)))
        chosen.append(laid.tiles(history.channels, slice(place, place + 1)))
    return np.concatenate(chosen)


def _by(network: Repairer) -> Score:
    """The hottest pixel: what a network is for. Distance from history needs none, and would hide a broken one."""
    return lambda tiles: np.asarray(heat_of(run(network, tiles)[0], tiles).max(axis=(1, 2)))


def _by_pca(tiles: Floats) -> Score:
    """The largest error that principal components of whole tiles leave, every few pixels of large ones."""
    every = max(1, int(np.ceil(np.sqrt(tiles[0].size / PCA_FEATURES))))

    def flat(some: Floats) -> Floats:
        return some[:, ::every, ::every].reshape(len(some), -1)

    pca = Pca.fit(flat(tiles), kept=min(64, len(tiles) - 1))
    return lambda some: np.asarray(np.abs(flat(some) - pca.reconstruct(flat(some))).max(axis=1))


def _measure(name: str, score: Score, good: Floats) -> GateResult:
    from sklearn.metrics import roc_auc_score

    normal, auroc = score(good), {}
    for index, kind in enumerate(KINDS):
        rng = np.random.default_rng([11, index])
        spoilt = np.stack([_spoilt(tile, good, kind, rng) for tile in good])
        truth = np.r_[np.zeros(len(normal)), np.ones(len(spoilt))]
        auroc[kind] = round(float(roc_auc_score(truth, np.r_[normal, score(spoilt)])), 6)
    return GateResult.model_validate(
        {"scorer": name, "auroc": auroc, "mean": round(float(np.mean(list(auroc.values()))), 6)}
    )


def _spoilt(tile: Floats, others: Floats, kind: str, rng: np.random.Generator) -> Floats:
    """A tile with a defect that can be seen: a piece of the same colour is none; the last of a few tries, if not."""
    for _ in range(TRIES):
        found = spoil_one(tile, others[rng.integers(len(others))], kind, rng)
        if np.abs(found - tile).max() > VISIBLE:
            break
    return found
