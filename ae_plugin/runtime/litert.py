"""Runs exported networks: arrays in, reconstruction and latent code out. Nothing of Keras is needed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ae_plugin.errors import StoreError

Floats = npt.NDArray[np.float32]
Shape = tuple[int, ...]


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


class _Runner:
    """A network in LiteRT, called with arrays of n rows each.

    Args:
        model: the exported flatbuffer.
        inputs: shape of a row of each array that goes in, in order.
        outputs: the same of what comes out.
        threads: threads LiteRT may use.

    Raises:
        StoreError: the bytes are not such a network.
    """

    def __init__(self, model: bytes, inputs: Sequence[Shape], outputs: Sequence[Shape], threads: int) -> None:
        self._model, self._threads = model, threads
        self._shapes = [*inputs], [*outputs]
        self._local = threading.local()
        with _HUSH, _hushed():
            self._run(*(np.zeros((1, *shape), np.float32) for shape in inputs))

    def _run(self, *arrays: Floats) -> list[Floats]:
        # One interpreter a thread, since they are not safe to share, and a number of rows, since resizing is slow.
        sessions: dict[int, _Session] = self._local.__dict__.setdefault("sessions", {})
        rows = len(arrays[0])
        if rows not in sessions:
            sessions[rows] = _Session(self._model, self._threads, rows, *self._shapes)
        return sessions[rows].run(arrays)


class LiteNetwork(_Runner):
    """A table's network, called as `network(x, visible) -> (reconstruction, code)`.

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
        super().__init__(model, [(features,), (columns,)], [(features,), (latent_dim,)], threads)

    def __call__(self, x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        """Run rows through the network; both results are copies, float32."""
        reconstruction, code = self._run(x, visible)
        return reconstruction, code


class LiteRepairer(_Runner):
    """A network for pictures, called as `network(tiles) -> (maps, code)`.

    Args:
        model: the exported flatbuffer.
        side: (h, w) of a tile.
        channels: C, of a tile; its maps have one more.
        latent_dim: L, length of each latent code.
        threads: threads LiteRT may use.

    Raises:
        StoreError: the bytes are not such a network.
    """

    def __init__(
        self, model: bytes, *, side: tuple[int, int], channels: int, latent_dim: int, threads: int = 1
    ) -> None:
        super().__init__(model, [(*side, channels)], [(*side, channels + 1), (latent_dim,)], threads)

    def __call__(self, tiles: Floats) -> tuple[Floats, Floats]:
        """Run tiles through the network; both results are copies, float32."""
        maps, code = self._run(tiles)
        return maps, code


class LiteDenoiser(_Runner):
    """A network that corrects shrunk planes, called as `network(features) -> (residual,)`.

    Args:
        model: the exported flatbuffer.
        side: (h, w) of a tile.
        seen: numbers a pixel that it sees.
        threads: threads LiteRT may use.

    Raises:
        StoreError: the bytes are not such a network.
    """

    def __init__(self, model: bytes, *, side: tuple[int, int], seen: int, threads: int = 1) -> None:
        super().__init__(model, [(*side, seen)], [(*side, 1)], threads)

    def __call__(self, features: Floats) -> tuple[Floats]:
        """Run tiles through the network; the result is a copy, float32."""
        (residual,) = self._run(features)
        return (residual,)


class LiteHalf(_Runner):
    """Half of an autoencoder, called as `network(array) -> (array,)`.

    Args:
        model: the exported flatbuffer.
        given: shape of a row of what goes in.
        found: the same of what comes out.
        threads: threads LiteRT may use.

    Raises:
        StoreError: the bytes are not such a network.
    """

    def __init__(self, model: bytes, *, given: Shape, found: Shape, threads: int = 1) -> None:
        super().__init__(model, [given], [found], threads)

    def __call__(self, array: Floats) -> tuple[Floats]:
        """Run rows through the network; the result is a copy, float32."""
        (out,) = self._run(array)
        return (out,)


class _Session:
    """An interpreter set up for one number of rows."""

    def __init__(
        self, model: bytes, threads: int, rows: int, inputs: Sequence[Shape], outputs: Sequence[Shape]
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter: Any = Interpreter(model_content=model, num_threads=threads)
            self._inputs = _by_shape(self._interpreter.get_input_details(), inputs)
            self._outputs = _by_shape(self._interpreter.get_output_details(), outputs)
            for tensor, shape in zip(self._inputs, inputs, strict=True):
                self._interpreter.resize_tensor_input(tensor, [rows, *shape])
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, KeyError) as error:
            raise StoreError(f"the exported network does not load ({error})", mend="Train anew") from error

    def run(self, arrays: Sequence[Floats]) -> list[Floats]:
        for tensor, array in zip(self._inputs, arrays, strict=True):
            self._interpreter.set_tensor(tensor, np.ascontiguousarray(array, np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(tensor) for tensor in self._outputs]


def _by_shape(details: list[dict[str, Any]], shapes: Sequence[Shape]) -> list[int]:
    """Tensor indices in our order; the export keeps Keras' names or order, and shapes tell the rest."""
    left = sorted(details, key=lambda d: d["name"])
    found = []
    for shape in shapes:
        tensor = next((d for d in left if tuple(d["shape"][1:]) == tuple(shape)), None)
        if tensor is None:
            raise KeyError(f"tensors of shapes {[list(d['shape'][1:]) for d in details]}, wanted {list(shapes)}")
        left.remove(tensor)
        found.append(int(tensor["index"]))
    return found
