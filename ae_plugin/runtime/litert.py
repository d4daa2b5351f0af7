"""Runs an exported network: arrays in, reconstruction and latent code out. Nothing of Keras is needed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ae_plugin.errors import StoreError

Floats = npt.NDArray[np.float32]


_HUSH = threading.Lock()


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep LiteRT's greeting, which no setting turns off, out of the one line that users read on stderr."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class LiteNetwork:
    """A network in LiteRT, called as `network(x, visible) -> (reconstruction, code)`.

    Args:
        model: the exported flatbuffer.
        features: F, length of each row of x and of the reconstruction.
        columns: C, length of each row of `visible`.
        latent_dim: L, length of each latent code.
        threads: threads LiteRT may use.

    Raises:
        StoreError: the bytes are not such a network.
    """

    def __init__(self, model: bytes, *, features: int, columns: int, latent_dim: int, threads: int = 1) -> None:
        self._model, self._threads = model, threads
        self._widths = (features, columns), (features, latent_dim)
        self._local = threading.local()
        with _HUSH, _hushed():
            self(np.zeros((1, features), np.float32), np.zeros((1, columns), np.float32))

    def __call__(self, x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        """Run rows through the network; both results are copies, float32."""
        # One interpreter a thread, since they are not safe to share, and a number of rows, since resizing is slow.
        sessions: dict[int, _Session] = self._local.__dict__.setdefault("sessions", {})
        if len(x) not in sessions:
            sessions[len(x)] = _Session(self._model, self._threads, len(x), *self._widths)
        return sessions[len(x)].run(x, visible)


class _Session:
    """An interpreter set up for one number of rows."""

    def __init__(
        self, model: bytes, threads: int, rows: int, inputs: tuple[int, int], outputs: tuple[int, int]
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(model_content=model, num_threads=threads)
            self._inputs = _by_width(self._interpreter.get_input_details(), inputs)
            self._outputs = _by_width(self._interpreter.get_output_details(), outputs)
            for tensor, width in zip(self._inputs, inputs, strict=True):
                self._interpreter.resize_tensor_input(tensor, [rows, width])
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, KeyError) as error:
            raise StoreError(f"the exported network does not load ({error})", mend="Train anew") from error

    def run(self, x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        self._interpreter.set_tensor(self._inputs[0], np.ascontiguousarray(x, np.float32))
        self._interpreter.set_tensor(self._inputs[1], np.ascontiguousarray(visible, np.float32))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._outputs[0]), self._interpreter.get_tensor(self._outputs[1])


def _by_width(details: list[dict[str, Any]], widths: tuple[int, int]) -> list[int]:
    """Tensor indices in our order; the export keeps Keras' names or order, and widths tell the rest."""
    ordered = sorted(details, key=lambda d: d["name"])
    found = [int(d["shape"][-1]) for d in ordered]
    if found == [widths[0], widths[1]]:
        return [ordered[0]["index"], ordered[1]["index"]]
    if found == [widths[1], widths[0]]:
        return [ordered[1]["index"], ordered[0]["index"]]
    raise KeyError(f"tensor widths {found}, wanted {list(widths)}")
