"""A training's progress on disk: one safetensors file, replaced whole."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

Array = npt.NDArray[np.generic]
_NAME = "checkpoint.safetensors"


@dataclass
class Checkpoint:
    """Everything that training needs to go on as if it had never stopped."""

    step: int
    patience: int
    best_loss: float
    curve: list[tuple[int, float, float]]
    weights: list[Array]
    best: list[Array]
    optimizer: list[Array]

    def save(self, folder: Path) -> None:
        """Write the checkpoint; a reader finds the old one or this one, whole."""
        folder.mkdir(parents=True, exist_ok=True)
        progress = [self.step, self.patience, self.best_loss, self.curve]
        arrays = {"progress": np.frombuffer(json.dumps(progress).encode(), np.uint8)}
        for group in ("weights", "best", "optimizer"):
            for index, array in enumerate(getattr(self, group)):
                arrays[f"{group}.{index:04d}"] = np.ascontiguousarray(array).reshape(np.shape(array))
        partial = folder / f"{_NAME}.{os.getpid()}"
        save_file(arrays, partial)
        os.replace(partial, folder / _NAME)

    @staticmethod
    def load(folder: Path) -> Checkpoint | None:
        """Read the checkpoint of a killed training, or None when there is none that can be read."""
        try:
            arrays = load_file(folder / _NAME)
            step, patience, best_loss, curve = json.loads(arrays.pop("progress").tobytes())
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None
        groups: dict[str, list[Array]] = {"weights": [], "best": [], "optimizer": []}
        for name in sorted(arrays):
            group, _, _ = name.partition(".")
            if group not in groups:
                return None
            groups[group].append(arrays[name])
        return Checkpoint(step, patience, best_loss, [tuple(point) for point in curve], **groups)
