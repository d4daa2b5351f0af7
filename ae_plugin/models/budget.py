"""How long to train; apart from training itself, so that asking it loads no TensorFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass

FALL = 1.25
"""Of pictures: steps of a U-Net without normalisation may be too large once in a while; it took 800 to recover."""


@dataclass(frozen=True)
class Budget:
    """How long to train: `steps` mini-batches of `rows` rows, or until `patience` looks in a row saw no gain.

    A validation loss of more than `fall` times the best sends training back to that, to go on at half the pace.
    """

    steps: int
    rows: int
    patience: int = 6
    fall: float = math.inf

    @staticmethod
    def auto(rows: int) -> Budget:
        """A budget that follows the number of training rows: small tables are soon learned by heart."""
        return Budget(1200, 128) if rows < 5_000 else Budget(3000, 256)

    @staticmethod
    def of_tiles(side: tuple[int, int], tiles: int) -> Budget:
        """A budget for pictures: twenty times through history, within what a worker can be kept busy with."""
        least, most = (1_200, 6_000) if side[0] * side[1] > 2_500 else (1_500, 2_000)
        # No patience: what is learned last, when steps are small, is what tells a faint defect from none.
        return Budget(min(max(least, 20 * tiles // 32), most), 32, patience=1_000, fall=FALL)

    @staticmethod
    def of_whole_pictures(pictures: int, steps: int | None = None) -> Budget:
        """A budget for whole, small pictures: twelve times through history."""
        return Budget(steps or min(max(800, 12 * pictures // 64), 4_000), 64, patience=1_000, fall=FALL)

    @property
    def second(self) -> Budget:
        """The budget of the second lesson: long tables need fewer steps a row."""
        return Budget(min(self.steps, 1500), self.rows, self.patience)
