"""Whole pictures from some of their pixels: `python -m benchmarks.quality.completion --data FOLDER`.

Fashion-MNIST, all classes: 12,000 training pictures are history, and 200 test pictures are completed from it. Kodak24:
the middles (128 x 128) of kodim17 to 24, in luminance; nothing is learned for them. Beside scikit-image's biharmonic.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from skimage.restoration import inpaint_biharmonic

from ae_plugin.core.completion import complete
from ae_plugin.core.pca import Pca
from ae_plugin.core.tiles import cut, side_for
from ae_plugin.core.values import Bools, Floats
from ae_plugin.jobs.pictures.history import WHOLE_COMPONENTS, WHOLE_PICTURES
from benchmarks.quality.denoising import TESTED, picture, psnr
from benchmarks.quality.page import rewrite

SHARES = (0.1, 0.25, 0.5)
SIDE, COMPLETED = 128, 200
Method = Callable[[Floats, Bools], Floats]


def fashion(data: Path, part: str, count: int) -> Floats:
    """The first pictures of a part, [n, 28, 28] in 0..1."""
    with np.load(data / f"fashion_mnist/fashion_mnist_{part}.npz") as arrays:
        return np.asarray(arrays["images"][:count], np.float32) / np.float32(255)


def middles(data: Path) -> list[Floats]:
    """The middles of Kodak's pictures."""
    found = []
    for number in TESTED:
        whole = picture(data, number)
        top, left = ((length - SIDE) // 2 for length in whole.shape)
        found.append(whole[top : top + SIDE, left : left + SIDE])
    return found


def by_history(history: Floats) -> Method:
    """Completion by what history holds, as a version trained on it does."""
    side = side_for(one.shape for one in history[:2])
    tiles = np.concatenate([cut(one[..., None], side)[0] for one in history])
    whole = Pca.fit(tiles.reshape(len(tiles), -1), kept=WHOLE_COMPONENTS)
    return lambda given, known: complete(given[..., None], known, whole, side)[..., 0]


def measure(pictures: Floats | list[Floats], method: Method) -> list[float]:
    """Mean PSNR for each share of known pixels."""
    found = []
    for share in SHARES:
        each = []
        for number, true in enumerate(pictures):
            known = np.random.default_rng([number, int(100 * share)]).uniform(size=true.shape) < share
            each.append(psnr(method(np.where(known, true, np.float32(0)), known), true))
        found.append(float(np.mean(each)))
    return found


def main() -> None:
    """Measure, print and, with --write, rewrite the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    clothes, photographs = fashion(args.data, "test", COMPLETED), middles(args.data)
    smooth: Method = lambda given, known: complete(given[..., None], known)[..., 0]  # noqa: E731
    biharmonic: Method = lambda given, known: inpaint_biharmonic(given, ~known)  # noqa: E731
    rows = {
        "Fashion-MNIST, **ae, by history**": measure(clothes, by_history(fashion(args.data, "train", WHOLE_PICTURES))),
        "Fashion-MNIST, ae, without history": measure(clothes, smooth),
        "Fashion-MNIST, biharmonic": measure(clothes, biharmonic),
        "Kodak24, **ae**": measure(photographs, smooth),
        "Kodak24, biharmonic": measure(photographs, biharmonic),
    }
    lines = ["| PSNR in dB from | 10% | 25% | 50% of the pixels |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | " + " | ".join(f"{value:.1f}" for value in found) + " |" for name, found in rows.items()]
    print("\n".join(lines))
    if args.write:
        rewrite("completion", "python -m benchmarks.quality.completion --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
