"""The network beside PCA of the same dimension: how much of what differs between rows each accounts for."""

from __future__ import annotations

import numpy as np

from ae_plugin.core.encoding import UNJUDGED
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.pca import Pca
from ae_plugin.core.scoring import Scorer, hidden_errors, reconstruct
from ae_plugin.core.values import Bools, Doubles, Floats, evenly_spaced
from ae_plugin.jobs.history import History
from ae_plugin.schemas import Comparison, Explained

ROWS, FITTED, COLUMNS = 2000, 20_000, 40


def compare(scorer: Scorer, history: History, latent_dim: int) -> Comparison:
    """Compare on calibration rows, at most `ROWS` of them, with every cell visible and with each one hidden."""
    encoder, split = scorer.encoder, history.split
    rows = history.encoded.take(split.calibration).thinned(ROWS)
    dimension = min(latent_dim, encoder.features)
    pca = Pca.fit(history.encoded.x[split.train[evenly_spaced(len(split.train), FITTED)]], kept=dimension)
    mean = np.broadcast_to(pca.mean, rows.x.shape)
    found = {
        "network": encoder.column_errors(rows, reconstruct(scorer.network, *encoder.inputs(rows))),
        "pca": encoder.column_errors(rows, pca.reconstruct(rows.x)),
        "network_hidden": hidden_errors(encoder, scorer.network, scorer.reference.groups, rows),
        "pca_hidden": _hidden_by(pca, encoder, scorer.reference.groups, rows),
    }
    judged = rows.state != UNJUDGED
    whole = _total(encoder.column_errors(rows, mean), judged)
    left = {name: _total(errors, judged) for name, errors in found.items()}
    columns = [
        Explained(column=name, **{which: _explained(sums[i], whole[i]) for which, sums in left.items()})
        for i, name in enumerate(encoder.names)
    ]
    columns.sort(key=lambda column: (-abs(column.network_hidden - column.pca_hidden), column.column))
    overall = {which: _explained(float(sums.sum()), float(whole.sum())) for which, sums in left.items()}
    return Comparison(
        rows=len(rows), dimension=dimension, overall=Explained(column="", **overall), columns=columns[:COLUMNS]
    )


def _hidden_by(pca: Pca, encoder: TableEncoder, groups: Bools, rows: Encoded) -> Floats:
    """Cell errors of PCA, float32 [n, C], with each cell's whole group hidden."""
    errors = np.zeros((len(rows), len(encoder.specs)), np.float32)
    for group in groups:
        filled = pca.fill(rows.x, ~group[encoder.column_of])
        errors[:, group] = encoder.column_errors(rows, filled)[:, group]
    return errors


def _total(errors: Floats, judged: Bools) -> Doubles:
    return np.asarray(np.where(judged, errors, 0).sum(axis=0, dtype=np.float64))


def _explained(left: float, whole: float) -> float:
    return round(1 - left / whole, 4) if whole > 0 else 0.0
