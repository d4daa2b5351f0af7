"""Keras to LiteRT: export, load again, and compare on real rows before anything is registered."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import keras
import numpy as np

from ae_plugin.core.values import Floats
from ae_plugin.errors import AeError

log = logging.getLogger(__name__)
TOLERANCE = 1e-3
N = TypeVar("N", bound=Callable[..., tuple[Floats, ...]])


def export(model: keras.Model, load: Callable[[bytes], N], *arrays: Floats) -> tuple[bytes, float, N]:
    """Export a model and prove that LiteRT computes what Keras computes.

    Args:
        model: from the catalog.
        load: makes a network that can be called out of the flatbuffer.
        arrays: real rows to compare on, as the model takes them.

    Returns:
        The flatbuffer, the largest absolute difference seen, and the network.

    Raises:
        AeError: the export differs from the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        with _quiet():
            model.export(str(path), format="litert", verbose=False)
        flat = path.read_bytes()
    network = load(flat)
    outputs = keras.tree.flatten(model(arrays[0] if len(arrays) == 1 else [*arrays], training=False))
    theirs = [np.asarray(part) for part in outputs]
    ours = network(*arrays)
    gap = max(float(np.max(np.abs(a - b) / (1 + np.abs(b)))) for a, b in zip(ours, theirs, strict=True))
    if not gap <= TOLERANCE:
        raise AeError(f"the LiteRT export differs from Keras by {gap:g}", mend="Please report this")
    log.debug("exported %d kB; LiteRT and Keras differ by at most %.1e", len(flat) // 1024, gap)
    return flat, gap, network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send the converter's chatter on file descriptors 1 and 2 to nowhere: stdout belongs to the user."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])
