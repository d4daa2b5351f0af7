"""A row in a few numbers, the first of them saying most: principal components, bent where a network proved better.

A nested code (Rippel et al., "Learning ordered representations with nested dropout", 2014): each number refines what
those before it say, so that one network serves every dimension. It starts as PCA, which is the best linear nested code,
and what it adds is kept only where it left less of held-out rows than PCA did.

Shapes: F encoded features, K numbers at most, H units of the hidden layers. Plain matrices: no runtime is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ae_plugin.core.values import Doubles, Floats

Layer = tuple[Floats, Floats]
"""Weights float32 [in, out] and bias float32 [out]."""
BENT = ("encoder", "encoder_2", "code", "decoder", "decoder_2", "added")
_BLOCKS = (64, 512, 4096)
"""Rows at a time, filled up: how BLAS rounds a row may depend on how many there are."""


@dataclass(frozen=True, eq=False)
class Reducer:
    """Rows to codes and back.

    Attributes:
        mean: float32 [F].
        basis: float32 [F, K], to a code; for PCA its components.
        back: float32 [K, F], from a code; for PCA their transpose.
        scale: float32 [K], standard deviation of each number of training rows' codes.
        bent: layers that add to both, by name (see `BENT`); empty: PCA alone.
        kept: numbers of a code that are written, 1 to K.
    """

    mean: Floats
    basis: Floats
    back: Floats
    scale: Floats
    bent: Mapping[str, Layer]
    kept: int

    @property
    def linear(self) -> bool:
        """Whether this is PCA alone."""
        return not self.bent

    def encode(self, x: Floats) -> Floats:
        """Codes of rows float32 [n, F], float32 [n, K]; block by block, so that memory does not grow with a layer."""
        out = np.empty((len(x), self.basis.shape[1]), np.float32)
        for own, rows in _blocks(x):
            code = (rows - self.mean) @ self.basis
            if self.bent:
                hidden = _silu(rows, self.bent["encoder"])
                code += _affine(_silu(hidden, self.bent["encoder_2"]), self.bent["code"])
            out[own] = code[: own.stop - own.start]
        return out

    def decode(self, codes: Floats, dimension: int | None = None) -> Floats:
        """Rows that codes float32 [n, K] stand for, float32 [n, F].

        Args:
            codes: of rows.
            dimension: of their numbers the first so many are told; None: all that are kept.
        """
        told = (np.arange(codes.shape[1]) < (self.kept if dimension is None else dimension)).astype(np.float32)
        out = np.empty((len(codes), len(self.mean)), np.float32)
        for own, some in _blocks(codes):
            code = some * told
            rows = code @ self.back + self.mean
            if self.bent:
                seen = np.concatenate([code / self.scale, np.broadcast_to(told, code.shape)], axis=1)
                hidden = _silu(_silu(seen, self.bent["decoder"]), self.bent["decoder_2"])
                rows += _affine(hidden, self.bent["added"])
            out[own] = rows[: own.stop - own.start]
        return out

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that it is kept in."""
        out: dict[str, npt.NDArray[Any]] = {
            "mean": self.mean,
            "basis": self.basis,
            "back": self.back,
            "scale": self.scale,
            "kept": np.array([self.kept]),
        }
        for name, (weights, bias) in self.bent.items():
            out |= {f"bent.{name}.weights": weights, f"bent.{name}.bias": bias}
        return {name: np.ascontiguousarray(array) for name, array in out.items()}

    @staticmethod
    def of(arrays: Mapping[str, npt.NDArray[Any]]) -> Reducer:
        """What `arrays` kept.

        Raises:
            KeyError: an array is missing.
            ValueError: arrays do not fit one another.
        """
        found = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        bent = {
            name: (found[f"bent.{name}.weights"], found[f"bent.{name}.bias"])
            for name in (BENT if any(name.startswith("bent.") for name in found) else ())
        }
        kept = int(found["kept"][0])
        made = Reducer(found["mean"], found["basis"], found["back"], found["scale"], bent, kept)
        features, most = made.basis.shape
        if made.back.shape != (most, features) or made.mean.shape != (features,) or made.scale.shape != (most,):
            raise ValueError(f"a reducer's arrays do not fit one another: {made.basis.shape}, {made.back.shape}")
        if not 1 <= made.kept <= most:
            raise ValueError(f"{made.kept} numbers kept of {most}")
        made.decode(made.encode(np.zeros((1, features), np.float32)))
        return made


def _blocks(rows: Floats) -> Iterator[tuple[slice, Floats]]:
    """Rows in whole blocks of few sizes, large ones first; the last is filled up with zeros."""
    start = 0
    while start < len(rows):
        size = next((size for size in reversed(_BLOCKS) if size <= len(rows) - start), _BLOCKS[0])
        part = rows[start : start + size]
        own = slice(start, start + len(part))
        if len(part) < size:
            part = np.concatenate([part, np.zeros((size - len(part), rows.shape[1]), rows.dtype)])
        yield own, np.ascontiguousarray(part)
        start = own.stop


def _affine(x: Floats, layer: Layer) -> Floats:
    weights, bias = layer
    return np.asarray(x @ weights + bias)


def _silu(x: Floats, layer: Layer) -> Floats:
    found = _affine(x, layer)
    return np.asarray(found / (1 + np.exp(-np.clip(found, -60, 60))), np.float32)


def errors_left(reducer: Reducer, x: Floats, weights: Floats, dimensions: list[int]) -> Doubles:
    """What is left of rows at each of some dimensions, by row: float64 [dimensions, n], in scaled units².

    Args:
        reducer: of codes.
        x: float32 [n, F], rows.
        weights: float32 [n, F], 0 for features that have no true value.
        dimensions: numbers of the code that are told.
    """
    codes = reducer.encode(x)
    # Summed at once: all dimensions' arrays together would be many times the rows.
    left = [(np.square(reducer.decode(codes, k) - x) * weights).sum(axis=1, dtype=np.float64) for k in dimensions]
    return np.stack(left)


def knee(left: list[float]) -> int:
    """The dimension from which on more numbers help little: where the curve is farthest below its chord.

    Satopää et al., "Finding a 'kneedle' in a haystack" (2011), without smoothing.

    Args:
        left: share of the variance left at 0, 1, 2 ... numbers, falling.

    Returns:
        At least 1.
    """
    curve = np.asarray(left)
    chord = np.linspace(curve[0], curve[-1], len(curve))
    return max(1, int(np.argmax(chord - curve)))
