"""Which cells of an anomalous row are wrong, and what they should have been.

A cell is judged by its hidden-cell residual: hide it, predict it from the rest of its row, compare. The residual's
p-value is conformal, by column, against calibration rows. A rare word's residual is larger by its rarity: of two words
that do not follow from the row, least squares says the same, and the rarer one is more likely a slip. The worst cell is
taken first and stays hidden while the others are judged again, so that one wrong cell does not blame its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ae_plugin.core.calibration import CoreTails
from ae_plugin.core.columns import TextSpec
from ae_plugin.core.decode import nearest
from ae_plugin.core.encoding import IMPOSSIBLE, NULL, UNJUDGED, VALUE
from ae_plugin.core.features import Encoded, TableEncoder
from ae_plugin.core.ngrams import embed_strings
from ae_plugin.core.scoring import Network, Scorer, hidden_errors, reconstruct
from ae_plugin.core.values import Bools, Floats

MAX_WRONG = 8
SUSPECT = float(-np.log(0.1))
"""Surprise, in nats, that a tenth of normal cells reach."""
_CHUNK_ROWS, _CHUNK_CELLS = 16_384, 4 * 2**20


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


def judge_cells(scorer: Scorer, encoded: Encoded, limit: float, known: CoreTails | None = None) -> CellVerdicts:
    """Find the wrong cells of (anomalous) rows.

    Args:
        scorer: of the model version that scores.
        encoded: the rows, m of them.
        limit: chance that a normal row has any cell called wrong. Shared out among the row's columns (Holm, 1979); a
            cell beyond all of its column's calibration cells needs the limit alone, or small sets could never say so.
        known: p-values to judge by rather than the conformal ones; `limit` is then each cell's own.
    """
    rows, columns = encoded.state.shape
    wrong = np.zeros((rows, columns), bool)
    error, p = np.zeros((rows, columns), np.float32), np.ones((rows, columns), np.float32)
    top = np.full(rows, -1, np.intp)
    scale = scorer.reference.typical_errors
    active, suspects = np.arange(rows), find_suspects(scorer, encoded)
    p_values = known or scorer.reference.cell_p_values
    for turn in range(max(1, min(MAX_WRONG, columns // 2))):
        limits = np.minimum(np.maximum(np.float32(limit / (columns - turn)), p_values.smallest), np.float32(limit))
        open_cells = suspects[active] & ~wrong[active]
        found = hidden_cell_errors(scorer, encoded.take(active), wrong[active], open_cells)
        chance = p_values(found, open_cells)
        error[active] = np.where(open_cells, found, error[active])
        p[active] = np.where(open_cells, chance, p[active])
        # Ties in p (both beyond every calibration cell) go to the cell that is farther out by its column's measure.
        order = np.where(open_cells, -np.log(chance) + 1e-3 * np.log1p(found / scale), -np.inf)
        worst = order.argmax(axis=1)
        top[active] = np.where(top[active] < 0, worst, top[active])
        fires = open_cells.any(axis=1) & (chance[np.arange(len(active)), worst] <= limits[worst])
        # A cell that fits while others are wrong will not stop fitting once they are hidden.
        suspects[active] &= chance <= np.float32(limit)
        wrong[active[fires], worst[fires]] = True
        active = active[fires]
        if not len(active):
            break
    return CellVerdicts(wrong, error, p, top)


def find_suspects(scorer: Scorer, encoded: Encoded) -> Bools:
    """Cells worth a pass of their own, bool [m, C]: odd while their whole group is hidden, and each row's oddest.

    A few passes for all columns together, so that a wide row does not cost a pass a column.
    """
    known = scorer.reference
    judged = encoded.state != UNJUDGED
    if len(known.groups) >= len(scorer.encoder.specs):
        return np.asarray(judged)
    nats = known.hidden.surprise(hidden_errors(scorer.encoder, scorer.network, known.groups, encoded))
    nats = np.maximum(nats, scorer.rarity(encoded))
    nats[~judged] = -1
    suspects = nats >= SUSPECT
    suspects[np.arange(len(nats)), nats.argmax(axis=1)] = True
    return np.asarray(suspects & judged)


def hidden_cell_errors(scorer: Scorer, encoded: Encoded, also_hidden: Bools, asked: Bools) -> Floats:
    """Errors of cells while they are hidden, one at a time.

    Args:
        scorer: of the model version that scores.
        encoded: m rows.
        also_hidden: bool [m, C], cells that stay hidden throughout.
        asked: bool [m, C], the cells to judge.

    Returns:
        float32 [m, C], scaled units²; 0 for cells that were not asked for. Words' rarity counts in it.
    """
    encoder = scorer.encoder
    visible = encoder.visible(encoded) * ~also_hidden
    out, rarity = np.zeros(asked.shape, np.float32), scorer.rarity(encoded) * scorer.reference.rarity
    rows, turns = np.nonzero(asked)
    chunk = min(_CHUNK_ROWS, max(1024, _CHUNK_CELLS // encoder.features // 1024 * 1024))
    for start in range(0, len(rows), chunk):
        row, turn = rows[start : start + chunk], turns[start : start + chunk]
        seen = visible[row]
        seen[np.arange(len(row)), turn] = 0
        part = Encoded(encoded.x[row], encoded.state[row], encoded.bins[:, :0])
        errors = encoder.column_errors(part, scorer.expect(part.x, seen))[np.arange(len(row)), turn]
        out[row, turn] = errors + rarity[row, turn]
    return out


def fill(scorer: Scorer, encoded: Encoded, wrong: Bools) -> Floats:
    """What rows should hold, float32 [m, F], from their wrong, missing and impossible cells hidden together."""
    gone = wrong | (encoded.state == NULL) | (encoded.state == IMPOSSIBLE)
    visible = scorer.encoder.visible(encoded) * ~gone
    return scorer.expect(encoded.x, visible)


def recovered_share(encoder: TableEncoder, network: Network, rows: Encoded, column: int) -> float:
    """How often a text column's hidden value is the known value nearest to its reconstruction, 0 to 1."""
    spec, where = encoder.specs[column], encoder.slices[column]
    if not isinstance(spec, TextSpec):
        raise TypeError(f"{spec.name} is not a text column")
    known = rows.take(np.flatnonzero(rows.state[:, column] == VALUE)).thinned(1000)
    if not len(known):
        return 0.0
    visible = encoder.visible(known)
    visible[:, column] = 0
    reconstruction = reconstruct(network, encoder.hide(known.x, visible), visible)
    table = embed_strings(spec.values, spec.dims)
    means, scale = np.asarray(spec.means, np.float32), np.float32(spec.scale)
    values = slice(where.start, where.start + spec.dims)
    wanted = nearest(reconstruction[:, values] / scale + means, table)
    truth = nearest(known.x[:, values] / scale + means, table)
    return float((wanted == truth).mean())
