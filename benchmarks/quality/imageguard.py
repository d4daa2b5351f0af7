"""The guard on pictures: `python -m benchmarks.quality.imageguard --data FOLDER`.

A version trained on one kind of picture judges partitions of 32 of every other kind, fresh ones of its own, and fresh
ones of which half are damaged. Kinds: the ten classes of Fashion-MNIST, pieces of circuit boards and of photographs,
all of 28 x 28 grey pixels, and scrambled copies of each. The network plays no part in the verdict, so it is trained for
20 steps only. Rewrites its section of `docs/quality.md` with `--write`.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.defects import KINDS, spoil_one
from ae_plugin.core.picture_guard import PictureGuard
from ae_plugin.core.pictures import decode
from ae_plugin.jobs.pictures.versions import PictureVersion, load_picture_version
from ae_plugin.jobs.train import train
from ae_plugin.store.registry import Registry
from benchmarks.quality.images import png
from benchmarks.quality.imagesets import Bytes, boards, fashion
from benchmarks.quality.page import rewrite

SIDE, TRAIN, SIZE = 28, 1_000, 32


def kinds(data: Path) -> dict[str, tuple[Bytes, Bytes]]:
    """Kind -> good pictures to train on and fresh ones."""
    found = {}
    for kind in range(10):
        one = fashion(data, kind, 0)
        found[f"fashion {kind}"] = one.train[:TRAIN], one.train[TRAIN : 2 * TRAIN]
    one, rng = boards(data, 0), np.random.default_rng(0)
    shuffled = one.train[rng.permutation(len(one.train))[: 2 * TRAIN], :SIDE, :SIDE]
    found["boards"] = shuffled[:TRAIN], shuffled[TRAIN:]
    photos = [np.asarray(Image.open(path).convert("L")) for path in sorted((data / "denoising/Kodak24").glob("*.png"))]
    crops = np.stack([_crop(photos[index % len(photos)], rng) for index in range(2 * TRAIN)])
    found["photographs"] = crops[:TRAIN], crops[TRAIN:]
    return found


def _crop(photo: Bytes, rng: np.random.Generator) -> Bytes:
    top, left = rng.integers(photo.shape[0] - SIDE + 1), rng.integers(photo.shape[1] - SIDE + 1)
    return photo[top : top + SIDE, left : left + SIDE]


def scrambled(pictures: Bytes, rng: np.random.Generator) -> Bytes:
    """The same pictures with their blocks of 7 x 7 in another order, another one for each."""
    n = len(pictures)
    blocks = pictures.reshape(n, 4, 7, 4, 7).swapaxes(2, 3).reshape(n, 16, 7, 7)
    mixed = np.stack([one[rng.permutation(16)] for one in blocks])
    return np.ascontiguousarray(mixed.reshape(n, 4, 4, 7, 7).swapaxes(2, 3).reshape(n, SIDE, SIDE))


def damaged(pictures: Bytes, rng: np.random.Generator) -> Bytes:
    """The same pictures, each with two defects."""
    tiles = pictures[..., None].astype(np.float32) / 255
    for _ in range(2):
        others = tiles[rng.permutation(len(tiles))]
        tiles = np.stack(
            [
                spoil_one(one, other, KINDS[rng.integers(len(KINDS))], rng)
                for one, other in zip(tiles, others, strict=True)
            ]
        )
    return np.rint(255 * tiles[..., 0]).astype(np.uint8)


def version_of(pictures: Bytes, work: Path) -> PictureVersion:
    """Train on pictures through the product's job."""
    pq.write_table(pa.table({"image": [png(picture) for picture in pictures]}), work / "history.parquet")
    pipeline = Pipeline.model_validate(
        {
            "name": "bench",
            "source": {"uri": str(work / "history.parquet"), "format": "images"},
            "train": {"steps": 20},
            "output": str(work / "out"),
        }
    )
    report = train(pipeline)
    return load_picture_version(Registry(pipeline.output), report.model_version, pipeline.score.alert_rate)


def refused(version: PictureVersion, pictures: Bytes) -> bool:
    """Whether a partition of these is unfamiliar."""
    reference = version.scorer.reference
    guard = PictureGuard(reference.far, len(reference.calibration), reference.kind, version.scorer.alert_rate)
    found = list(version.scorer.score([decode(png(picture)) for picture in pictures]))
    flagged = version.scorer.flag(np.array([one.score for one in found], np.float32))[1]
    distances, described = np.array([one.distance for one in found]), np.stack([one.described for one in found])
    guard.watch(distances, described, int(flagged.sum()))
    return guard.verdict().verdict == "unfamiliar"


def measure(data: Path, draws: int) -> pd.DataFrame:
    """Every kind's version on partitions of every kind."""
    every, rows = kinds(data), []
    for name, (known, _) in every.items():
        rng = np.random.default_rng(1)
        with tempfile.TemporaryDirectory() as folder:
            version = version_of(known, Path(folder))
        for other, (_, fresh) in every.items():
            for _ in range(4 * draws if other == name else draws):
                part = fresh[rng.permutation(len(fresh))[:SIZE]]
                rows.append((name, other, "own" if other == name else "other", refused(version, part)))
                if other == name:
                    half = np.concatenate([damaged(part[: SIZE // 2], rng), part[SIZE // 2 :]])
                    rows.append((name, other, "own, half damaged", refused(version, half)))
                    rows.append((name, other, "scrambled", refused(version, scrambled(part, rng))))
        print(name, flush=True)
    return pd.DataFrame(rows, columns=["trained on", "judged", "group", "refused"])


def lines_of(found: pd.DataFrame) -> list[str]:
    """The tables, Markdown."""
    both = found["trained on"].str.startswith("fashion") & found["judged"].str.startswith("fashion")
    named = found["group"].where(
        found["group"] != "other", np.where(both, "another class of clothes", "another source")
    )
    lines = ["| partitions of 32 | how many | refused |", "|---|---:|---:|"]
    for group, part in found.groupby(named):
        lines.append(f"| {group} | {len(part)} | {part['refused'].mean():.1%} |")
    pairs = found[found["group"] == "other"].groupby(["trained on", "judged"])["refused"].mean()
    missed = pairs[pairs < 0.99].sort_values()
    said = "; ".join(f"{a} -> {b} {share:.0%}" for (a, b), share in zip(missed.index.to_list(), missed, strict=True))
    return [*lines, "", f"{len(missed)} of {len(pairs)} ordered pairs are refused less than 99% of the time: {said}."]


def main() -> None:
    """Measure, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that fashion_mnist/ and deeppcb/ lie in")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    lines = lines_of(measure(args.data, args.draws))
    print("\n".join(lines))
    if args.write:
        rewrite("imageguard", "python -m benchmarks.quality.imageguard --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
