"""Strings to short vectors: hashed character n-grams, the same on every machine."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def embed_strings(words: Sequence[str], dims: int) -> npt.NDArray[np.float32]:
    """Embed strings by their signed, hashed 1- to 3-grams.

    Args:
        words: n strings.
        dims: length of each vector.

    Returns:
        float32 [n, dims], rows of length one (0 for an empty string); strings that share n-grams are near.
    """
    out = np.zeros((len(words), dims), np.float32)
    seen: dict[str, tuple[int, float]] = {}
    for row, word in enumerate(words):
        if not word:
            continue
        padded = f"\x02{word[:256]}\x03"
        for size in (1, 2, 3):
            for start in range(len(padded) - size + 1):
                gram = padded[start : start + size]
                if gram not in seen:
                    code = zlib.crc32(gram.encode("utf-8", "surrogatepass"))
                    seen[gram] = ((code >> 1) % dims, 1.0 if code & 1 else -1.0)
                place, sign = seen[gram]
                out[row, place] += sign
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    np.divide(out, norms, out=out, where=norms > 0)
    return out
