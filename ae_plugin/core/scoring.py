"""One row, one score: four views of how odd a row is, each turned into nats of surprise, then added up.

    clean     mean cell error with every cell visible
    hidden    mean cell error with each cell predicted from other columns (a few fixed groups are hidden in turn)
    latent    ridge Mahalanobis distance of the latent code from the training rows' codes
    tail      how rare each cell is in its own column, added over the columns

`clean` and `latent` see rows whose cells are odd together; `hidden` sees a cell that its neighbours contradict, which a
network without a bottleneck would otherwise copy through; `tail` keeps contaminated history from hiding extremes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ae_plugin.core.calibration import Tail, is_anomaly, p_values
from ae_plugin.core.features import Bools, Encoded, Floats, TableEncoder

BLOCK = 4096
"""Rows the network sees at a time; always whole blocks, so that where a stream is cut cannot change a bit."""

Network = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""(x [n, F] with hidden cells 0, visible [n, C]) -> (reconstruction [n, F], latent code [n, L]), all float32."""


@dataclass(frozen=True)
class Reference:
    """What training rows look like to the score; every array is saved beside the weights.

    Attributes:
        center: float32 [L], mean latent code.
        whitener: float32 [L, L], so that `||(code - center) @ whitener||²` is the ridge Mahalanobis distance.
        tails: float32 [total bins], surprise of a cell by the bin it falls in, in nats.
        groups: bool [K, C], the columns hidden together in each masked pass.
        components: component -> its upper tail on reference rows.
        calibration: float32 [m], row scores of the calibration set, increasing.
        cells: float32 [k, C], hidden-cell errors of calibration cells, each column increasing; NaN last.
    """

    center: Floats
    whitener: Floats
    tails: Floats
    groups: Bools
    components: dict[str, Tail]
    calibration: Floats
    cells: Floats


@dataclass(frozen=True)
class RowScores:
    """Scores of n rows: anomaly_score float32 [n], p_value float32 [n], is_anomaly bool [n]."""

    anomaly_score: Floats
    p_value: Floats
    is_anomaly: Bools


class Scorer:
    """Scores encoded rows with one model version. Holds no state of the data it scored."""

    def __init__(
        self, encoder: TableEncoder, network: Network, reference: Reference, alert_rate: float, contaminated: bool
    ) -> None:
        self.encoder, self.network, self.reference = encoder, network, reference
        self.alert_rate, self.contaminated = alert_rate, contaminated
        self._flat_tails = tail_table(encoder, reference.tails, contaminated)

    def encode(self, batch: pa.RecordBatch | pa.Table, reference: float | None = None) -> Encoded:
        """Encode a record batch; see `TableEncoder.encode`."""
        return self.encoder.encode(batch, reference)

    def run(self, x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        """Run the network in whole blocks: hidden cells are zeroed first."""
        return run_blocks(self.network, self.encoder.hide(x, visible), visible)

    def components(self, encoded: Encoded) -> tuple[dict[str, Floats], Floats]:
        """Return each component before its tail, float32 [n] each, and the clean reconstruction [n, F]."""
        return row_components(self.encoder, self.network, self.reference, self._flat_tails, encoded)

    def raw_scores(self, encoded: Encoded) -> tuple[Floats, Floats]:
        """Return anomaly scores float32 [n] and the clean reconstruction float32 [n, F]."""
        parts, reconstruction = self.components(encoded)
        total = np.zeros(len(encoded), np.float64)
        for name, tail in self.reference.components.items():
            total += tail(parts[name])
        return total.astype(np.float32), reconstruction

    def score(self, encoded: Encoded) -> tuple[RowScores, Floats]:
        """Score rows.

        Returns:
            Their scores, and the clean reconstruction float32 [n, F].
        """
        scores, reconstruction = self.raw_scores(encoded)
        p = p_values(scores, self.reference.calibration)
        return RowScores(scores, p, is_anomaly(p, self.alert_rate)), reconstruction


def run_blocks(network: Network, x: Floats, visible: Floats) -> tuple[Floats, Floats]:
    """Run a network over any number of rows, in whole blocks; the last one is filled up with zeros."""
    rows = len(x)
    outputs: tuple[list[Floats], list[Floats]] = ([], [])
    for start in range(0, max(rows, 1), BLOCK):
        part, seen = x[start : start + BLOCK], visible[start : start + BLOCK]
        short = BLOCK - len(part)
        if short:
            part, seen = np.pad(part, ((0, short), (0, 0))), np.pad(seen, ((0, short), (0, 0)))
        for kept, output in zip(outputs, network(part, seen), strict=True):
            kept.append(output[: BLOCK - short])
    return np.concatenate(outputs[0]), np.concatenate(outputs[1])


def row_components(
    encoder: TableEncoder, network: Network, reference: Reference, tails: Floats, encoded: Encoded
) -> tuple[dict[str, Floats], Floats]:
    """Return the four components before their tails, float32 [n] each, and the clean reconstruction."""
    visible = encoder.visible(encoded)
    x = encoder.hide(encoded.x, visible)
    reconstruction, code = run_blocks(network, x, visible)
    parts = {
        "clean": encoder.column_errors(encoded, reconstruction).mean(axis=1),
        "latent": mahalanobis(code, reference.center, reference.whitener),
        "tail": tails[encoded.bins + encoder.bin_offsets].sum(axis=1, dtype=np.float32),
    }
    if "hidden" in reference.components or not reference.components:
        parts["hidden"] = hidden_errors(encoder, network, reference.groups, encoded).mean(axis=1)
    return parts, reconstruction


def hidden_errors(encoder: TableEncoder, network: Network, groups: Bools, encoded: Encoded) -> Floats:
    """Cell errors, float32 [n, C], with each cell predicted while its whole group is hidden."""
    visible = encoder.visible(encoded)
    errors = np.zeros((len(encoded), len(encoder.specs)), np.float32)
    for group in groups:
        seen = visible * ~group
        reconstruction, _ = run_blocks(network, encoder.hide(encoded.x, seen), seen)
        errors[:, group] = encoder.column_errors(encoded, reconstruction)[:, group]
    return errors


def mahalanobis(code: Floats, center: Floats, whitener: Floats) -> Floats:
    """Squared ridge Mahalanobis distance of latent codes, float32 [n]; computed in whole blocks."""
    out = np.empty(len(code), np.float32)
    for start in range(0, len(code), BLOCK):
        part = code[start : start + BLOCK] - center
        rows = len(part)
        if rows < BLOCK:
            part = np.pad(part, ((0, BLOCK - rows), (0, 0)))
        white = part @ whitener
        out[start : start + rows] = np.einsum("ij,ij->i", white, white)[:rows]
    return out


def fit_latent(codes: Floats, ridge: float = 0.01) -> tuple[Floats, Floats]:
    """Learn `center` [L] and `whitener` [L, L] from training rows' codes float32 [n, L]."""
    wide = codes.astype(np.float64)
    center = wide.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(wide.T).reshape(wide.shape[1], wide.shape[1]))
    floor = ridge * max(float(values.mean()), 1e-12)
    whitener = vectors / np.sqrt(np.maximum(values, 0) + floor)
    return center.astype(np.float32), whitener.astype(np.float32)


def column_groups(columns: int, groups: int, seed: int) -> Bools:
    """Deal the columns into `groups` of equal size (±1), at random but seeded: bool [K, C]."""
    count = min(groups, columns)
    order = np.random.default_rng([seed, columns]).permutation(columns)
    out = np.zeros((count, columns), bool)
    out[np.arange(columns) % count, order] = True
    return out


def learn_tails(encoder: TableEncoder, bins: npt.NDArray[np.int32]) -> Floats:
    """Surprise of each bin, float32 [total bins], in nats: two-sided for numbers and times, by share for the rest.

    Args:
        encoder: knows each column's bins.
        bins: int32 [n, C] of training rows.
    """
    n = len(bins)
    counts = np.bincount((bins + encoder.bin_offsets).ravel(), minlength=encoder.total_bins).astype(np.float64)
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
    return np.maximum(filled[0] - place, place - filled[-1]).astype(np.float64)


def tail_table(encoder: TableEncoder, tails: Floats, contaminated: bool) -> Floats:
    """The tails that count in the score: all of them, or, with clean history, only those of non-numbers and gaps."""
    if contaminated:
        return tails
    table = tails.copy()
    for spec, start in zip(encoder.specs, encoder.bin_offsets, strict=True):
        if spec.kind in ("number", "time"):
            table[start : start + spec.value_bins] = 0
    return table
