"""Does each of the first latent variables of whole pictures follow one cause? Beside PCA and ICA at equal dimension.

    python -m benchmarks.quality.latent.traversal --write        # discs: what is reported
    python -m benchmarks.quality.latent.traversal --develop      # squares and rings: what settings were chosen on

Pictures of one shape, of a known place, size and brightness: see `shapes`. Each seed draws its own pictures, and trains
anew. What is reported was looked at once settings stood: another shape, other seeds. Measured on pictures that nothing
was trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ae_plugin.core.traversal import middle, named, reach, steps_of
from ae_plugin.core.values import Floats
from ae_plugin.core.variational import Variational
from ae_plugin.jobs.latent.contact import draw_strips
from ae_plugin.jobs.latent.traverse_pictures import PictureFrames
from ae_plugin.latent_schemas import LatentNote
from benchmarks.quality.latent.metrics import dci, mig, mutual_information
from benchmarks.quality.latent.shapes import FACTORS, Shape, Shapes, draw

ROOT = Path(__file__).resolve().parents[3]
FOUND, PAGE = ROOT / ".bench/traversal.json", ROOT / "docs/latent.md"
SHEET = ROOT / ".bench/traversal.png"
COMMAND = "python -m benchmarks.quality.latent.traversal --write"
TRAIN, TEST = 12_000, 10_000
SEEDS, DEVELOP = (0, 1, 2), (10, 11)
METHODS = ("variational", "pca", "ica")


def main() -> int:
    """Measure what is not measured yet, and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="not needed: the pictures are drawn")
    parser.add_argument("--develop", action="store_true", help="squares and rings, on which settings were chosen")
    parser.add_argument("--write", action="store_true", help="rewrite the section of docs/latent.md")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="of what is measured; measure nothing")
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    sets: list[tuple[Shape, int]] = [("disc", seed) for seed in args.seeds]
    if args.develop:
        sets = [("square", DEVELOP[0]), ("ring", DEVELOP[1])]
    for shape, seed in sets:
        for method in args.methods:
            name = f"{shape} {seed} {method}"
            if name not in found and not args.table:
                print(name, file=sys.stderr, flush=True)
                one = measure(shape, seed, method)
                FOUND.parent.mkdir(exist_ok=True)
                # Another process may have measured another seed meanwhile.
                found = {**(json.loads(FOUND.read_text()) if FOUND.exists() else {}), name: one}
                FOUND.write_text(json.dumps(found, indent=1))
    lines = table(found, sets, args.methods)
    print("\n".join(lines))
    if args.write and not args.develop:
        rewrite(lines)
    return 0


def measure(shape: Shape, seed: int, method: str) -> dict[str, Any]:
    """Learn from pictures of a seed, and measure codes of others."""
    learn, held = draw(TRAIN, 1_000 + seed, shape), draw(TEST, 2_000 + seed, shape)
    started = time.perf_counter()
    codes, explained, kl = CODES[method](learn, held, seed)
    seconds = time.perf_counter() - started
    shares = mutual_information(codes, held.factors)
    gaps, scores = mig(shares), dci(codes, held.factors)
    return {
        "mig": [round(float(gap), 4) for gap in gaps],
        "dci": [round(score, 4) for score in scores],
        "shares": shares.round(4).tolist(),
        "explained": round(explained, 4),
        "kl": kl,
        "seconds": round(seconds),
    }


def variational(learn: Shapes, held: Shapes, seed: int) -> tuple[np.ndarray[Any, Any], float, list[float]]:
    """As a pipeline trains it, and as it embeds and decodes: exported, in LiteRT."""
    from ae_plugin.jobs.pictures.variational import SmallHistory, fit_variational, open_variational

    pictures, others = learn.pictures[..., None], held.pictures[..., None]
    cut = len(pictures) // 10
    small = SmallHistory(pictures[cut:], pictures[:cut], 32, (32, 32))
    with tempfile.TemporaryDirectory() as folder:
        made = fit_variational(small, seed, checkpoint=Path(folder))
    model = open_variational(made.card, 1, None, made.files)
    assert model is not None
    codes = model.encode(others)
    if seed == SEEDS[0]:
        SHEET.parent.mkdir(exist_ok=True)
        SHEET.write_bytes(sheet(model, codes, made.card.kl))
    return codes, _explained(others, model.decode(codes)), made.card.kl


def sheet(model: Variational, codes: Floats, kl: list[float]) -> bytes:
    """The contact sheet that `ae traverse --latents 5` makes of such pictures."""
    frames, base = PictureFrames(model, codes, pa.schema([("image", pa.binary())])), codes[middle(codes)]
    low, high = reach(codes)
    strips = []
    for latent in np.argsort(-np.array(kl), kind="stable")[:5].tolist():
        frame = frames.frame(steps_of(base, latent, float(low[latent]), float(high[latent]), 9))
        title = frames.title(named(frame.moves)) or "hardly anything"
        note = LatentNote(latent=latent, carries=kl[latent], low=low[latent], high=high[latent], title=title, moves=[])
        strips.append((note, frame.rows.column(0).to_pylist()))
    return draw_strips(strips)


def pca(learn: Shapes, held: Shapes, seed: int) -> tuple[np.ndarray[Any, Any], float, list[float]]:
    """Principal components of the pixels, as many as the model has latent variables."""
    from sklearn.decomposition import PCA

    return _linear(PCA(_dims(), random_state=seed), learn, held)


def ica(learn: Shapes, held: Shapes, seed: int) -> tuple[np.ndarray[Any, Any], float, list[float]]:
    """Independent components of the pixels (FastICA, Hyvärinen and Oja, 2000): the linear peer that seeks causes."""
    from sklearn.decomposition import FastICA

    return _linear(FastICA(_dims(), random_state=seed, max_iter=200, tol=1e-3), learn, held)


CODES = {"variational": variational, "pca": pca, "ica": ica}


def _linear(model: Any, learn: Shapes, held: Shapes) -> tuple[np.ndarray[Any, Any], float, list[float]]:
    x, other = (some.pictures.reshape(len(some.pictures), -1) / 255.0 for some in (learn, held))
    codes = model.fit(x).transform(other)
    again = np.clip(model.inverse_transform(codes), 0, 1) * 255
    return codes.astype(np.float32), _explained(held.pictures, again.reshape(held.pictures.shape)), []


def _dims() -> int:
    from ae_plugin.models.whole import LATENT

    return LATENT


def _explained(pictures: np.ndarray[Any, Any], again: np.ndarray[Any, Any]) -> float:
    x, y = pictures.reshape(len(pictures), -1).astype(np.float64), again.reshape(len(again), -1).astype(np.float64)
    return float(1 - np.square(x - y).sum() / np.square(x - x.mean(axis=0)).sum())


def table(found: dict[str, Any], sets: list[tuple[Shape, int]], methods: list[str]) -> list[str]:
    """One row a method: means over the seeds, and the least and the most of MIG."""
    lines = [
        f"| 10 numbers a picture | MIG | {' | '.join(f'{factor}' for factor in FACTORS)} | DCI disentanglement "
        "| completeness | informativeness | variance explained | seconds | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        runs = [run for shape, seed in sets if (run := found.get(f"{shape} {seed} {method}"))]
        if not runs:
            continue
        gaps = np.array([run["mig"] for run in runs])
        whole, scores = gaps.mean(axis=1), np.mean([run["dci"] for run in runs], axis=0)
        explained, seconds = (np.mean([run[what] for run in runs]) for what in ("explained", "seconds"))
        cells = [
            method,
            f"{whole.mean():.2f} ({whole.min():.2f} to {whole.max():.2f})",
            *(f"{share:.2f}" for share in (*gaps.mean(axis=0), *scores)),
            f"{explained:.1%}",
            f"{seconds:.0f}",
            f"{len(runs)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def rewrite(lines: list[str]) -> None:
    """Replace the section's table in docs/latent.md, dated, under the command that gives it."""
    from datetime import date

    start, end = "<!-- traversal -->", "<!-- /traversal -->"
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(start)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{PAGE} has no section {start} ... {end}")
    body = "\n".join(["", f"`{COMMAND}`, {date.today()}.", "", *lines, ""])
    PAGE.write_text(before + start + body + end + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
