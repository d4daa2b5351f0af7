"""Rows in two numbers, to look at: `python -m benchmarks.quality.latent.looking --data FOLDER`.

The product's reduction to two numbers (`model.latent_dim: 2`) and PCA, both learned on training rows and asked about
calibration rows, beside t-SNE (scikit-learn, at its defaults), which lays out those very rows and can place no other.
Labels are used for colours and the accuracy of nearest neighbours only. Kept in `.bench/looking/`; `--write` rewrites
the section of `docs/latent.md` and its picture.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.manifold import TSNE

from benchmarks.quality.latent.page import ROOT, rewrite
from benchmarks.quality.latent.reduction import Learned, learn, sources, told_by_neighbours, trusted

FOUND, PICTURE = ROOT / ".bench/looking", ROOT / "docs/images/two_numbers.png"
TABLES = ("ai4i2020", "flights", "weather", "beijing_pm25", "adult", "fashion_mnist")
METHODS = {"ours": "ae", "pca": "PCA", "tsne": "t-SNE"}
Codes = dict[str, npt.NDArray[np.float32]]


def codes_of(one: Learned, seed: int) -> Codes:
    """Each method's two numbers of the rows."""
    return {
        "ours": one.reducer.encode(one.x)[:, :2],
        "pca": one.pca.encode(one.x)[:, :2],
        "tsne": TSNE(random_state=seed).fit_transform(one.x),
    }


def collect(data: Path, seed: int) -> dict[str, dict[str, float]]:
    """Measure what is not measured yet: table -> its figures; what is drawn is kept beside them."""
    FOUND.mkdir(parents=True, exist_ok=True)
    out = {}
    for name in TABLES:
        kept = FOUND / f"{name}-{seed}.json"
        if not kept.exists():
            one = learn(sources(data)[name], seed, 2)
            if one.classes is None:
                raise ValueError(f"{name} has no classes")
            codes = codes_of(one, seed)
            np.savez(kept.with_suffix(".npz"), classes=one.classes, **codes)  # type: ignore[arg-type]
            figures: dict[str, float] = {"left_ours": one.report.network_left[2], "left_pca": one.report.pca_left[2]}
            for method, found in codes.items():
                figures[f"trust_{method}"] = trusted(one.x, found)
                figures[f"knn_{method}"] = told_by_neighbours(found, one.classes)
            kept.write_text(json.dumps(figures))
            print(name, flush=True)
        out[name] = json.loads(kept.read_text())
    return out


def draw(seed: int) -> None:
    """The picture: a row a table, a column a method, a colour a class."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3 * len(TABLES)), layout="constrained")
    grid = figure.subplots(len(TABLES), len(METHODS))
    for line, name in zip(grid, TABLES, strict=True):
        with np.load(FOUND / f"{name}-{seed}.npz") as kept:
            classes = np.unique(kept["classes"], return_inverse=True)[1]
            for axes, (method, title) in zip(line, METHODS.items(), strict=True):
                low, high = np.quantile(kept[method], [0.01, 0.99], axis=0)
                axes.scatter(*kept[method].T, c=classes, cmap="tab10", s=3, linewidths=0)
                axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[], title=f"{name}, {title}")
    figure.savefig(PICTURE, dpi=80)


def lines_of(found: dict[str, dict[str, float]]) -> list[str]:
    """The table, Markdown."""
    lines = [
        "| table | not explained: ae, PCA | trustworthiness: ae, PCA, t-SNE | 10 nearest: ae, PCA, t-SNE |",
        "|---|---:|---:|---:|",
    ]
    for name, one in found.items():
        left = ", ".join(f"{one[f'left_{method}']:.3f}" for method in ("ours", "pca"))
        trust, near = (", ".join(f"{one[f'{what}_{method}']:.3f}" for method in METHODS) for what in ("trust", "knn"))
        lines.append(f"| {name} | {left} | {trust} | {near} |")
    return lines


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="rewrite docs/latent.md and its picture")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    lines = lines_of(collect(args.data, args.seed))
    print("\n".join(lines))
    if args.write:
        draw(args.seed)
        rewrite("looking", "python -m benchmarks.quality.latent.looking --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
