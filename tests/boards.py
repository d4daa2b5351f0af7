"""Pictures of boards, faults to plant in them, files that are none, and a pipeline of them on disk."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.shop import FRESH, LAST_TRAINED, Shop, day

SIDE = 24
HISTORY = 40
"""Pictures of a day of history."""


def board(seed: int, *, scratched: bool = False, side: int = SIDE) -> np.ndarray:
    """Bright bars on dark, as on a printed board; a scratch cuts across them."""
    rng = np.random.default_rng(seed)
    pixels = np.full((side, side), 40.0)
    for start in range(4, side, 12):
        at = start + int(rng.integers(0, 3))
        pixels[:, at : at + 5] = 210
    if scratched:
        top = int(rng.integers(side // 5, side - side // 5 - 4))
        pixels[top : top + 4, 4 : side - 4] = 120
    return np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)


def lying(seed: int, side: int = SIDE) -> np.ndarray:
    """Another kind of picture, of equal size and colours: a board whose bars lie."""
    return board(seed, side=side).T.copy()


def checks(seed: int, side: int = SIDE) -> np.ndarray:
    """Another kind of picture."""
    y, x = np.mgrid[:side, :side] + seed % 5
    return (255 * ((x // 3 + y // 3) % 2)).astype(np.uint8)


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """Pixels as a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG whose header promises 1.6 thousand million pixels."""
    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BROKEN: dict[str, bytes] = {
    "cut": png(board(1))[:200],
    "empty": b"",
    "text": b"hello",
    "bomb": bomb(),
    "flipped": png(board(1))[:60] + bytes(80) + png(board(1))[140:],
}
"""What is no picture, though a file's name says so."""


def good(count: int, seed: int) -> dict[str, bytes]:
    """Files of good boards, by name."""
    return {f"{i:04d}.png": png(board(seed * 10_000 + i)) for i in range(count)}


def scratched(count: int, seed: int) -> dict[str, bytes]:
    """Files of boards with a scratch each, by name."""
    return {f"{i:04d}_bad.png": png(board(seed * 10_000 + i, scratched=True)) for i in range(count)}


def put_day(source: Path, number: int, files: dict[str, bytes]) -> None:
    """Write a day's partition of files in place of what was there."""
    folder = source / f"date={day(number)}"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def as_table(files: dict[str, bytes]) -> pa.Table:
    """The same pictures as rows of Parquet."""
    return pa.table({"file": list(files), "image": pa.array(list(files.values()), pa.binary())})


def written(output: Path, number: int, dataset: str = "denoised") -> dict[str, bytes]:
    """A day's pictures as a run wrote them, by name and in order: files as of files, or Parquet as of Parquet."""
    folder = output / dataset / f"date={day(number)}"
    if (folder / "part-0.parquet").exists():
        table = pq.read_table(folder / "part-0.parquet", partitioning=None)
        return dict(zip(table["file"].to_pylist(), table["image"].to_pylist(), strict=True))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


BOARDS: dict[str, Any] = {
    "name": "boards",
    "source": {"uri": "boards", "format": "images", "partition_by": "date"},
    "train": {"until": day(LAST_TRAINED), "steps": 320, "contamination": 0},
    "score": {"alert_rate": 0.05},
    "output": "out",
}


def write_boards(root: Path, *, history: int = HISTORY, **train: Any) -> Shop:
    """A pipeline with five days of good boards to train on, up to `LAST_TRAINED`, and two days to score."""
    shop = Shop(root, BOARDS).write().set(train=train)
    for number in range(LAST_TRAINED - 4, LAST_TRAINED + 1):
        put_day(shop.source, number, good(history, number))
    for number in (FRESH, FRESH + 1):
        put_day(shop.source, number, {**good(30, number), **scratched(5, number)})
    return shop
