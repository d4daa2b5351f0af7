"""Keras to LiteRT: export, load again, and compare on real rows before anything is registered."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from ae_plugin.core.values import Floats
from ae_plugin.errors import AeError
from ae_plugin.runtime.litert import LiteNetwork

log = logging.getLogger(__name__)
TOLERANCE = 1e-3


def export(model: keras.Model, x: Floats, visible: Floats) -> tuple[bytes, float]:
    """Export a model and prove that LiteRT computes what Keras computes.

    Args:
        model: from the catalog.
        x: float32 [n, F], real rows to compare on.
        visible: float32 [n, C].

    Returns:
        The flatbuffer, and the largest absolute difference seen.

    Raises:
        AeError: the export differs from the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        with _quiet():
            model.export(str(path), format="litert", verbose=False)
        flat = path.read_bytes()
    features, latent = (int(output.shape[-1]) for output in model.outputs)
    network = LiteNetwork(flat, features=features, columns=visible.shape[1], latent_dim=latent)
    ours = network(x, visible)
    theirs = [np.asarray(part) for part in model([x, visible], training=False)]
    gap = max(float(np.max(np.abs(a - b) / (1 + np.abs(b)))) for a, b in zip(ours, theirs, strict=True))
    if not gap <= TOLERANCE:
        raise AeError(f"the LiteRT export differs from Keras by {gap:g}", mend="Please report this")
    log.info("exported %d kB; LiteRT and Keras differ by at most %.1e", len(flat) // 1024, gap)
    return flat, gap


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
