"""Which cells of an anomalous row are wrong, and what they should have been.

A cell is judged by its hidden-cell residual: hide it, predict it from the rest of its row, compare. The residual's
p-value is conformal, by column, against calibration rows. The worst cell is taken first and stays hidden while the
others are judged again, so that one wrong cell does not blame its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ae_plugin.core.columns import TextSpec
from ae_plugin.core.decode import nearest
from ae_plugin.core.features import IMPOSSIBLE, NULL, UNJUDGED, VALUE, Bools, Encoded, Floats, TableEncoder
from ae_plugin.core.ngrams import embed_strings
from ae_plugin.core.scoring import Network, Scorer, run_blocks

MAX_WRONG = 8
_CHUNK_ROWS = 16_384


@dataclass(frozen=True)
class CellVerdicts:
    """Verdicts on the cells of m rows.

    Attributes:
        wrong: bool [m, C], cells that do not fit their row.
        error: float32 [m, C], cell error in scaled units², as judged last.
        p_value: float32 [m, C].
        top: int [m], the most suspicious column of each row.
    """

    wrong: Bools
    error: Floats
    p_value: Floats
    top: npt.NDArray[np.intp]


def judge_cells(scorer: Scorer, encoded: Encoded, limit: float) -> CellVerdicts:
    """Find the wrong cells of (anomalous) rows.

    Args:
        scorer: of the model version that scores.
        encoded: the rows, m of them.
        limit: a cell is wrong when its p-value is at most this.
    """
    rows, columns = encoded.state.shape
    wrong = np.zeros((rows, columns), bool)
    error, p = np.zeros((rows, columns), np.float32), np.ones((rows, columns), np.float32)
    top = np.full(rows, -1, np.intp)
    active = np.arange(rows)
    scale = typical_errors(scorer)
    for _ in range(max(1, min(MAX_WRONG, columns // 2))):
        part = encoded.take(active)
        found = hidden_cell_errors(scorer, part, wrong[active])
        chance = cell_p_values(scorer.reference.cells, found)
        open_cells = ~wrong[active]
        error[active] = np.where(open_cells, found, error[active])
        p[active] = np.where(open_cells, chance, p[active])
        # Ties in p (both beyond every calibration cell) go to the cell that is farther out by its column's measure.
        order = np.where(open_cells, -np.log(chance) + 1e-3 * np.log1p(found / scale), -np.inf)
        order[part.state == UNJUDGED] = -np.inf
        worst = order.argmax(axis=1)
        top[active] = np.where(top[active] < 0, worst, top[active])
        fires = chance[np.arange(len(active)), worst] <= np.float32(limit)
        wrong[active[fires], worst[fires]] = True
        active = active[fires]
        if not len(active):
            break
    return CellVerdicts(wrong, error, p, top)


def hidden_cell_errors(scorer: Scorer, encoded: Encoded, also_hidden: Bools) -> Floats:
    """Errors of each cell while it is hidden, float32 [m, C]; `also_hidden` cells stay hidden throughout."""
    rows, columns = encoded.state.shape
    encoder = scorer.encoder
    visible = encoder.visible(encoded) * ~also_hidden
    out = np.empty((rows, columns), np.float32)
    step = max(1, _CHUNK_ROWS // columns)
    for start in range(0, rows, step):
        some = np.arange(start, min(start + step, rows))
        part = encoded.take(some)
        seen = np.repeat(visible[some], columns, axis=0)
        turn = np.tile(np.arange(columns), len(some))
        seen[np.arange(len(seen)), turn] = 0
        x = encoder.hide(np.repeat(part.x, columns, axis=0), seen)
        reconstruction, _ = run_blocks(scorer.network, x, seen)
        picked = _own_features(scorer, reconstruction.reshape(len(some), columns, -1))
        out[some] = encoder.column_errors(part, picked)
    return out


def _own_features(scorer: Scorer, passes: Floats) -> Floats:
    """From [m, C, F] reconstructions, one pass a hidden column, keep each column's own features: [m, F]."""
    features = np.arange(passes.shape[2])
    return passes[:, scorer.encoder.column_of, features]


def cell_p_values(calibration: Floats, errors: Floats) -> Floats:
    """Conformal p-values of cell errors by column: float32 [m, C]; NaN in `calibration` fills short columns."""
    out = np.ones_like(errors)
    for column in range(errors.shape[1]):
        known = calibration[:, column]
        known = known[: len(known) - int(np.isnan(known).sum())]
        if len(known):
            at_least = len(known) - np.searchsorted(known, errors[:, column], side="left")
            out[:, column] = (1.0 + at_least) / (len(known) + 1.0)
    return out


def typical_errors(scorer: Scorer) -> Floats:
    """Mean hidden-cell error of each column's calibration cells, float32 [C]."""
    cells = scorer.reference.cells
    known = ~np.isnan(cells)
    sums, counts = np.where(known, cells, 0).sum(axis=0), known.sum(axis=0)
    return np.asarray(np.maximum(sums / np.maximum(counts, 1), 1e-6), np.float32)


def fill(scorer: Scorer, encoded: Encoded, wrong: Bools) -> Floats:
    """Reconstruct rows with their wrong, missing and impossible cells hidden together: float32 [m, F]."""
    gone = wrong | (encoded.state == NULL) | (encoded.state == IMPOSSIBLE)
    visible = scorer.encoder.visible(encoded) * ~gone
    reconstruction, _ = run_blocks(scorer.network, scorer.encoder.hide(encoded.x, visible), visible)
    return reconstruction


def recovered_share(encoder: TableEncoder, network: Network, rows: Encoded, column: int) -> float:
    """How often a text column's hidden value is the known value nearest to its reconstruction, 0 to 1."""
    spec, where = encoder.specs[column], encoder.slices[column]
    if not isinstance(spec, TextSpec):
        raise TypeError(f"{spec.name} is not a text column")
    known = rows.take(np.flatnonzero(rows.state[:, column] == VALUE)[:1000])
    if not len(known):
        return 0.0
    visible = encoder.visible(known)
    visible[:, column] = 0
    reconstruction, _ = run_blocks(network, encoder.hide(known.x, visible), visible)
    table = embed_strings(spec.values, spec.dims)
    means, scale = np.asarray(spec.means, np.float32), np.float32(spec.scale)
    values = slice(where.start, where.start + spec.dims)
    wanted = nearest(reconstruction[:, values] / scale + means, table)
    truth = nearest(known.x[:, values] / scale + means, table)
    return float((wanted == truth).mean())
