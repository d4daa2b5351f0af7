"""Is this the kind of picture that the model knows? Asked of a partition, by how far most of its pictures are.

A defect is a small thing: the middle one of a picture's tiles is as near to history as ever. Even if half of a
partition were defective and far, its other half would lie among the calibration pictures: a quarter of it nearer than
the nearest quarter of those, half nearer than half. Where significantly fewer are, it is another kind of picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ae_plugin.core.values import Floats
from ae_plugin.schemas import GuardVerdict, Verdict

LEVELS = (0.25, 0.5, 0.75, 0.95)
"""Shares of the calibration pictures that lie within the limits asked about."""
DEFECTIVE, SURE = 0.5, 1e-3
FEW = 11
"""Pictures from which on a partition can be refused: of fewer, even all of them far are no surer than SURE."""


class PictureGuard:
    """Watches one partition go by, and gives a verdict at the end.

    Args:
        limits: the distances that each of `LEVELS` of the calibration pictures stay within.
    """

    def __init__(self, limits: Sequence[float]) -> None:
        self._limits, self.pictures, self._far = np.asarray(limits, np.float32), 0, np.zeros(len(LEVELS), np.int64)

    def watch(self, distances: Floats) -> None:
        """Take note of the distances of pictures, float32 [n]."""
        self.pictures += len(distances)
        self._far += (distances[:, None] > self._limits).sum(axis=0)

    def verdict(self) -> GuardVerdict:
        """Judge all pictures watched so far."""
        if not self.pictures:
            return GuardVerdict(verdict="familiar", reasons=["no picture that can be read"], columns=[])
        luck = [self._luck(at, 1 - level * (1 - DEFECTIVE)) for at, level in enumerate(LEVELS)]
        least = int(np.argmin(luck))
        word: Verdict = "familiar"
        reasons = []
        if self._luck(-1, 1 - LEVELS[-1]) <= SURE:
            word, reasons = "drifted", [self._said(len(LEVELS) - 1)]
        if luck[least] <= SURE:
            word, reasons = "unfamiliar", [f"another kind of picture: {self._said(least)}"]
        return GuardVerdict(verdict=word, reasons=reasons, columns=[])

    def _said(self, at: int) -> str:
        share = self._far[at] / self.pictures
        return f"{share:.0%} of pictures are farther from history than {LEVELS[at]:.0%} of calibration pictures"

    def _luck(self, at: int, share: float) -> float:
        """How likely so many are beyond a limit when this share is expected to be (binomial)."""
        from scipy.special import betainc

        far = int(self._far[at])
        return float(betainc(far, self.pictures - far + 1, share)) if far else 1.0
