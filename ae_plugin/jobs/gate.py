"""The promotion gate: does the challenger tell injected faults from normal rows better than what is there already?

Rows that nobody was trained on are copied with injected faults (`core/faults`). Each scorer ranks the rows and their
faulty copies by the oddest cell of each, since that is what a network is for: distance from rows of history needs none.
Its AUROC is averaged over the kinds of fault. The challenger passes when it beats PCA, an untrained
copy of itself, and the champion. Beating a trivial scorer takes a margin: at most 98% of its error (1 - AUROC). Copies
keep the draw of the faults from deciding. Which rows there are still does: of two equals, one beats the other by that
margin about one time in twenty with 2000 rows, and more than one in three with 50.

And it must be a network that was trained: as scoring runs it, on the rows that scoring feeds it, it has the validation
loss that training reported, and that is less than for always saying the mean.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pyarrow as pa

from ae_plugin.core import faults
from ae_plugin.core.features import Encoded, TableEncoder, partition_time
from ae_plugin.core.pca import Pca
from ae_plugin.core.reference import fit_reference
from ae_plugin.core.scoring import Network, Scorer, mean_errors
from ae_plugin.core.values import Floats, evenly_spaced
from ae_plugin.engines.sample import Sample
from ae_plugin.errors import AeError
from ae_plugin.jobs.history import History, Indices
from ae_plugin.schemas import Gate, GateResult
from ae_plugin.store.registry import Registry
from ae_plugin.versions import load_version

log = logging.getLogger(__name__)
GATE_ROWS, FITTED = 2000, 20_000
COPIES = 2000
"""Faulty copies of each kind that there are at least."""
LEFT = 0.98
OFF = 0.02
"""Share by which the validation loss may be off: another runtime rounds differently."""
Score = Callable[[pa.Table], Floats]
T = TypeVar("T")


def run_gate(
    scorer: Scorer, untrained: Network, history: History, registry: Registry, *, seed: int, reported: float
) -> Gate:
    """Compare the challenger with PCA, its untrained self and the champion, on rows nobody was trained on.

    Args:
        scorer: the challenger.
        untrained: its network before the first step.
        history: what the challenger learned from.
        registry: holds the champion, if there is one.
        seed: of its training.
        reported: its validation loss, as training reported it.
    """
    encoded, split = history.encoded, history.split
    found, trivial = (_loss(network, history, seed) for network in (scorer.network, _means))
    reasons = problems(found, trivial, reported, "always saying the mean")
    sound = not reasons
    if not np.isfinite(found):
        return Gate(passed=False, reasons=reasons, results=[])
    rows = split.calibration
    if len(rows) > GATE_ROWS:
        rows = np.sort(np.random.default_rng(3).permutation(rows)[:GATE_ROWS])
    batches = _by_partition(history.sample, rows)
    encoder = scorer.encoder
    some = split.train[evenly_spaced(len(split.train), FITTED)]
    blank = fit_reference(
        encoder,
        untrained,
        untrained,
        encoded.take(some),
        encoded.take(split.validation),
        encoded.take(split.calibration[:0]),
        contaminated=scorer.contaminated,
        cells=False,
    )
    blind = Scorer(encoder, untrained, untrained, blank, scorer.alert_rate, scorer.contaminated).blind()
    pca = Pca.fit(encoded.x[some])
    scorers: dict[str, Callable[[pa.Table, float | None], Floats]] = {
        "challenger": _by_scorer(scorer.blind()),
        "untrained": _by_scorer(blind),
        "pca": lambda table, at: _pca_errors(pca, encoder, encoder.encode(table, at)),
    }
    champion, rival = find_champion(
        registry, lambda name: load_version(registry, name, scorer.alert_rate).scorer.blind(), reasons
    )
    if rival:
        scorers["champion"] = _by_scorer(rival)
    results = []
    for name, score in scorers.items():
        try:
            results.append(_measure(name, score, batches, encoder))
        except AeError as error:
            reasons.append(f"the champion cannot score today's history ({error}): the challenger need not beat it")
    return judge(results, reasons, champion, sound)


def _means(x: Floats, visible: Floats) -> tuple[Floats, Floats]:
    """A network that says each column's mean, whatever it sees."""
    return np.zeros_like(x), np.zeros((len(visible), 1), np.float32)


def _loss(network: Network, history: History, seed: int) -> float:
    from ae_plugin.models.masking import Rows, masked_loss

    return masked_loss(network, Rows(history.encoder, history.encoded.take(history.split.validation)), seed)


def problems(found: float, trivial: float, reported: float, idle: str) -> list[str]:
    """Say what is wrong with a network by its loss on what was held out; `idle` is what has the trivial loss."""
    wrong = []
    if not abs(found - reported) <= OFF * reported:
        wrong.append(f"is not the network that was trained: loss {found:.4g} now, {reported:.4g} in training")
    if not found < LEFT * trivial:
        wrong.append(f"learned nothing: loss {found:.4g}, and {trivial:.4g} for {idle}")
    return wrong


def find_champion(registry: Registry, load: Callable[[str], T], reasons: list[str]) -> tuple[str | None, T | None]:
    """The champion's name and what `load` makes of it; None and a reason where there is none to compare with."""
    try:
        pointer = registry.pointer("champion")
    except AeError as error:
        reasons.append(f"the champion cannot be read ({error}): the challenger need not beat it")
        return None, None
    if pointer is None:
        return None, None
    try:
        return pointer.version, load(pointer.version)
    except AeError as error:
        reasons.append(f"the champion cannot be loaded ({error}): the challenger need not beat it")
        return pointer.version, None


def _pca_errors(pca: Pca, encoder: TableEncoder, encoded: Encoded) -> Floats:
    """PCA gets the same errors for gaps and for values never seen as the network: only the reconstruction differs."""
    return mean_errors(encoder.column_errors(encoded, pca.reconstruct(encoded.x)))


def _by_scorer(scorer: Scorer) -> Callable[[pa.Table, float | None], Floats]:
    return lambda table, at: scorer.cell_scores(scorer.encode(table, at))


def _by_partition(history: Sample, rows: Indices) -> list[tuple[pa.Table, float | None]]:
    """The rows as tables that share one partition date each; small partitions of one date stay small."""
    names = np.asarray(history.partitions)[rows]
    return [(history.table.take(pa.array(rows[names == name])), partition_time(str(name))) for name in np.unique(names)]


def _measure(
    name: str,
    score: Callable[[pa.Table, float | None], Floats],
    batches: list[tuple[pa.Table, float | None]],
    encoder: TableEncoder,
) -> GateResult:
    from sklearn.metrics import roc_auc_score

    normal = np.concatenate([score(table, at) for table, at in batches])
    # Every scorer meets the same faults: what is left of chance, they share.
    turns = list(enumerate(batches * -(-COPIES // len(normal))))
    auroc = {}
    for kind in faults.KINDS:
        faulty = np.concatenate(
            [score(faults.inject(table, encoder.names, kind, turn), at) for turn, (table, at) in turns]
        )
        truth = np.r_[np.zeros(len(normal)), np.ones(len(faulty))]
        auroc[kind] = round(float(roc_auc_score(truth, np.r_[normal, faulty])), 6)
    return GateResult(scorer=name, auroc=auroc, mean=round(float(np.mean(list(auroc.values()))), 6))


def judge(results: list[GateResult], reasons: list[str], champion: str | None, sound: bool) -> Gate:
    """Whether the first of the results beats all others by enough; adds the reasons in words."""
    ours = results[0]
    passed = sound
    names = {"pca": "PCA", "untrained": "its untrained self", "champion": f"the champion {champion}"}
    for other in results[1:]:
        allowed = 1.0 if other.scorer == "champion" else LEFT
        beats = 1 - ours.mean < allowed * (1 - other.mean)
        passed &= beats
        word = "beats" if beats else "does not beat"
        reasons.append(
            f"{word} {names[other.scorer]}: AUROC {ours.mean:.4f} against {other.mean:.4f} on injected faults"
        )
        log.info("gate: %s", reasons[-1])
    return Gate(passed=passed, reasons=reasons, results=results, champion=champion)
