"""Build the shipped pictures: pieces of real circuit boards by day, with defective ones among those of the late days.

    python tools/make_boards.py --source deeppcb [--output sample_data]

Writes `boards/date=YYYY-MM-DD/board_NNNN.png` (grey, each pixel black or white) and `boards_truth.csv` (one row per
defective picture). The same source gives the same pixels.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_opening

SEED = 2019
FIRST_DAY = dt.date(2026, 5, 1)
HISTORY_DAYS, LATE_DAYS = 20, 5
A_DAY, LATE_A_DAY, DEFECTIVE_A_DAY = 48, 40, 8
LATE_BOARDS = 150
BRIGHT = (0.1, 0.9)
SEEN_PIXELS = 40
KINDS = ("", "open", "short", "mousebite", "spur", "copper", "pin-hole")

Bits = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""left, top, right, bottom; the last two beyond the last pixel."""


@dataclass(frozen=True)
class Piece:
    """One picture, the board it is of, and its defect, if it has one."""

    pixels: Bits
    board: int
    defect: str = ""
    box: Box = (0, 0, 0, 0)


def read_pieces(source: Path) -> list[Piece]:
    """The pieces of tested boards in the source's order, each once, less those in which there is little to see."""
    data = np.load(source / "deeppcb_patches64.npz", allow_pickle=False)
    found: dict[bytes, Piece] = {}
    for image, template, kind, board in zip(
        data["images"], data["templates"], data["defect_type"], data["board"], strict=True
    ):
        pixels, wanted = image >= 128, template >= 128
        if not BRIGHT[0] <= wanted.mean() <= BRIGHT[1]:
            continue
        piece = Piece(pixels, int(board))
        if kind:
            differs = binary_opening(pixels != wanted, np.ones((2, 2)))
            if differs.sum() < SEEN_PIXELS:
                continue
            piece = Piece(pixels, int(board), KINDS[kind], _box(differs))
        found.setdefault(pixels.tobytes(), piece)
    return list(found.values())


def _box(differs: Bits) -> Box:
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def deal(pieces: Sequence[Piece]) -> Iterator[tuple[dt.date, list[Piece]]]:
    """The pictures of each day. No board has pieces both in history, which is free of defects, and later."""
    rng = random.Random(SEED)
    late = set(rng.sample(sorted({piece.board for piece in pieces}), LATE_BOARDS))
    history = [piece for piece in pieces if piece.board not in late and not piece.defect]
    good = [piece for piece in pieces if piece.board in late and not piece.defect]
    bad = [piece for piece in pieces if piece.board in late and piece.defect]
    history = rng.sample(history, HISTORY_DAYS * A_DAY)
    good = rng.sample(good, LATE_DAYS * (LATE_A_DAY - DEFECTIVE_A_DAY))
    bad = rng.sample(bad, LATE_DAYS * DEFECTIVE_A_DAY)
    for number in range(HISTORY_DAYS + LATE_DAYS):
        if number < HISTORY_DAYS:
            today = [history.pop() for _ in range(A_DAY)]
        else:
            today = [bad.pop() if place < DEFECTIVE_A_DAY else good.pop() for place in range(LATE_A_DAY)]
            rng.shuffle(today)
        yield FIRST_DAY + dt.timedelta(days=number), today


def main() -> None:
    """Write the sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a folder with deeppcb_patches64.npz")
    parser.add_argument("--output", type=Path, default=Path("sample_data"))
    arguments = parser.parse_args()
    number = 0
    truth: list[tuple[object, ...]] = [("date", "file", "left", "top", "right", "bottom", "defect")]
    for day, pieces in deal(read_pieces(arguments.source)):
        folder = arguments.output / "boards" / f"date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        for piece in pieces:
            number += 1
            name = f"board_{number:04d}.png"
            Image.fromarray(piece.pixels).convert("L").save(folder / name, optimize=True)
            if piece.defect:
                truth.append((day, name, *piece.box, piece.defect))
    with (arguments.output / "boards_truth.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(truth)


if __name__ == "__main__":
    main()
