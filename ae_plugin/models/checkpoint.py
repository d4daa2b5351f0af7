"""A training's progress on disk: one safetensors file, replaced whole, in a folder that one training holds."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ae_plugin.store.files import writing

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
        progress = [self.step, self.patience, self.best_loss, self.curve]
        arrays = {"progress": np.frombuffer(json.dumps(progress).encode(), np.uint8)}
        for group in ("weights", "best", "optimizer"):
            for index, array in enumerate(getattr(self, group)):
                arrays[f"{group}.{index:04d}"] = np.ascontiguousarray(array).reshape(np.shape(array))
        partial = folder / f"{_NAME}.{os.getpid()}"
        with writing(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(save(arrays))
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


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Hold `folder` for one training, and let go of it afterwards, also when the process is killed.

    While another training holds it, one beside it is held instead: neither removes the other's progress. What a killed
    training left in either is gone on with.
    """
    left = sorted(folder.parent.glob(f"{folder.name}*"))
    beside = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
    with writing(str(folder)):
        mine, handle = next(_locked(itertools.chain(left, [folder], beside)))
    try:
        yield mine
    finally:
        with contextlib.suppress(OSError):  # it holds progress, or is gone
            mine.rmdir()
        os.close(handle)


def _locked(folders: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    for folder in folders:
        if (handle := _lock(folder)) is not None:
            yield folder, handle


def _lock(folder: Path) -> int | None:
    """Open a folder and lock it; None while another training holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), folder.stat()):  # else its holder was done, and removed it
            return handle
    os.close(handle)
    return None
