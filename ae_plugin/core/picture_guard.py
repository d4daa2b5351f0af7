"""Is this the kind of picture that the model knows? Asked of a partition, by how far most of its pictures are.

A defect is a small thing: the middle one of a picture's tiles is as near to history as ever. Of another kind of picture
most tiles are far. So a partition is refused when more of its pictures are far than can be defective.
"""

from __future__ import annotations

import numpy as np

from ae_plugin.core.values import Floats
from ae_plugin.schemas import GuardVerdict, Verdict

USUAL, MOST, SURE = 0.05, 0.5, 1e-3
_FAR = "farther from history than 95% of calibration pictures"
FEW = 10
"""Pictures from which on a partition can be refused: of fewer, even all of them far are no surer than SURE."""


class PictureGuard:
    """Watches one partition go by, and gives a verdict at the end.

    Args:
        far: the distance that 95% of the calibration pictures stay within.
    """

    def __init__(self, far: float) -> None:
        self._limit, self.pictures, self.far = far, 0, 0

    def watch(self, distances: Floats) -> None:
        """Take note of the distances of pictures, float32 [n]."""
        self.pictures += len(distances)
        self.far += int(np.count_nonzero(distances > self._limit))

    def verdict(self) -> GuardVerdict:
        """Judge all pictures watched so far."""
        if not self.pictures:
            return GuardVerdict(verdict="familiar", reasons=["no picture that can be read"], columns=[])
        share = self.far / self.pictures
        word: Verdict = "familiar"
        reasons = []
        if self._more_than(USUAL):
            word = "drifted"
            reasons = [f"{share:.0%} of pictures are {_FAR}"]
        if self.pictures >= FEW and self._more_than(MOST):
            word = "unfamiliar"
            reasons = [f"another kind of picture: {share:.0%} are {_FAR}"]
        return GuardVerdict(verdict=word, reasons=reasons, columns=[])

    def _more_than(self, share: float) -> bool:
        """Whether so many far ones are more than luck with this share (binomial)."""
        from scipy.special import betainc

        return bool(self.far and betainc(self.far, self.pictures - self.far + 1, share) <= SURE)
