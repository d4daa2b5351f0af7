"""What a trained network's world looks like: tails, latent shape and calibration, learned once and saved."""

from __future__ import annotations

import numpy as np

from ae_plugin.core.calibration import Tail
from ae_plugin.core.cells import hidden_cell_errors
from ae_plugin.core.features import VALUE, Encoded, Floats, TableEncoder
from ae_plugin.core.scoring import (
    Network,
    Reference,
    Scorer,
    column_groups,
    fit_latent,
    learn_tails,
    row_components,
    run_blocks,
    tail_table,
)

GROUPS = 4
LATENT_ROWS, TAIL_ROWS, CALIBRATION_ROWS, CELL_EVALUATIONS = 50_000, 20_000, 20_000, 600_000


def fit_reference(
    encoder: TableEncoder,
    network: Network,
    train: Encoded,
    validation: Encoded,
    calibration: Encoded,
    *,
    contaminated: bool,
    seed: int,
    cells: bool = True,
) -> Reference:
    """Learn everything that scoring needs beside the network.

    Args:
        encoder: of this version.
        network: trained (or, for the gate, untrained).
        train: rows the network was trained on; used for the latent shape and the columns' tails only.
        validation: rows it was not trained on; used for the components' tails.
        calibration: other rows it was not trained on; used for p-values only.
        contaminated: whether history may hold anomalies.
        seed: of the column groups.
        cells: also calibrate single cells, which costs a pass a column.
    """
    some = train.take(np.arange(min(len(train), LATENT_ROWS)))
    visible = encoder.visible(some)
    _, codes = run_blocks(network, encoder.hide(some.x, visible), visible)
    center, whitener = fit_latent(codes)
    columns = len(encoder.specs)
    empty = np.zeros(0, np.float32)
    reference = Reference(
        center=center,
        whitener=whitener,
        tails=learn_tails(encoder, train.bins),
        groups=column_groups(columns, GROUPS, seed),
        components={},
        calibration=empty,
        cells=np.zeros((0, columns), np.float32),
    )
    held_out = validation if len(validation) >= 50 else Encoded.concat([validation, calibration])
    held_out = held_out.take(np.arange(min(len(held_out), TAIL_ROWS)))
    table = tail_table(encoder, reference.tails, contaminated)
    parts, _ = row_components(encoder, network, reference, table, held_out)
    used = {name: Tail.fit(values) for name, values in parts.items() if np.ptp(values) > 0 and _counts(name, columns)}
    reference = _replace(reference, components=used)
    scorer = Scorer(encoder, network, reference, 0.01, contaminated)
    kept = calibration.take(np.arange(min(len(calibration), CALIBRATION_ROWS)))
    scores, _ = scorer.raw_scores(kept)
    reference = _replace(reference, calibration=np.sort(scores))
    return _replace(reference, cells=_calibrate_cells(scorer, kept)) if cells else reference


def _counts(name: str, columns: int) -> bool:
    """A column alone cannot be predicted from others."""
    return columns > 1 or name != "hidden"


def _replace(reference: Reference, **changes: object) -> Reference:
    return Reference(**{**reference.__dict__, **changes})  # type: ignore[arg-type]


def _calibrate_cells(scorer: Scorer, calibration: Encoded) -> Floats:
    """Hidden-cell errors of calibration cells that hold a value, each column increasing, NaN last: [k, C]."""
    columns = len(scorer.encoder.specs)
    rows = min(len(calibration), max(200, CELL_EVALUATIONS // columns))
    part = calibration.take(np.arange(rows))
    errors = hidden_cell_errors(scorer, part, np.zeros((rows, columns), bool))
    never_null = np.array([not spec.nullable for spec in scorer.encoder.specs])
    errors[(part.state != VALUE) & never_null] = np.nan
    return np.sort(errors, axis=0)
