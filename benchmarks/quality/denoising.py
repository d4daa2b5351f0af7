"""Denoising of Kodak24 beside its peers: `python -m benchmarks.quality.denoising --data FOLDER`.

History is kodim01 to 16, each in four: as they are, and, another time, with noise. Measured are the middles (256 x 256)
of kodim17 to 24. All are in luminance, for every method, and 8-bit files: noise beyond black and white is cut off, as
in any file. A second table has the usual experiment of the literature, noise that nothing cuts off: no file holds it,
so the denoiser is called itself, and told the noise level, as its peers are.

What is trained and measured is the second lesson of a pictures' training and what `denoise: full` does with it, without
the repair of wrong pixels. Peers get the true level of noise; for Poisson noise they get the picture in which it is
even (Anscombe 1948, the true peak); for salt and pepper, of which they know nothing, the level that scikit-image
estimates. Total variation gets the weight that was best on kodim13 to 16. Ours gets the files and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import median_filter
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet, estimate_sigma

from ae_plugin.config import Pipeline
from ae_plugin.core.denoising import SEEN, Denoiser
from ae_plugin.core.noise import Noise
from ae_plugin.core.pictures import Picture
from ae_plugin.jobs.pictures.denoising import fit_denoiser, learn_planes
from ae_plugin.runtime.litert import LiteDenoiser
from benchmarks.quality.page import rewrite

Floats = npt.NDArray[np.float32]
HISTORY, TESTED, TUNED = range(1, 17), range(17, 25), range(13, 17)
SIDE, PEAK, LOST, BLIND = 256, 30, 0.1, 25
LEVELS = (15, 25, 50)
KINDS = (*LEVELS, "Poisson", "salt and pepper")
TV_WEIGHTS = (0.8, 1.2, 1.6, 2.0)
Method = Callable[[Floats, float], Floats]


def picture(data: Path, number: int) -> Floats:
    """A Kodak picture's luminance, 0..1."""
    with Image.open(data / f"denoising/Kodak24/kodim{number:02d}.png") as image:
        return np.asarray(image.convert("L"), np.float32) / np.float32(255)


def tested(data: Path, number: int) -> Floats:
    """The middle of a picture."""
    whole = picture(data, number)
    top, left = ((length - SIDE) // 2 for length in whole.shape)
    return whole[top : top + SIDE, left : left + SIDE]


def noisy(true: Floats, kind: int | str, number: int) -> Floats:
    """A picture with noise of a kind, not yet cut off."""
    rng = np.random.default_rng([number, KINDS.index(kind)])
    if isinstance(kind, int):
        return true + rng.normal(0, kind / 255, true.shape).astype(np.float32)
    if kind == "Poisson":
        return (rng.poisson(true * PEAK) / PEAK).astype(np.float32)
    where = rng.uniform(size=true.shape)
    return np.where(where < LOST / 2, 0, np.where(where > 1 - LOST / 2, 1, true)).astype(np.float32)


def levels(pixels: Floats) -> npt.NDArray[np.uint8]:
    """Pixels as a file holds them."""
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def psnr(found: Floats, true: Floats) -> float:
    """In dB, of what a file can hold."""
    return float(-10 * np.log10(np.mean(np.square(np.clip(found, 0, 1) - true))))


def ssim(found: Floats, true: Floats) -> float:
    """Structural similarity, scikit-image's."""
    return float(structural_similarity(np.clip(found, 0, 1), true, data_range=1.0))


def peers(tv: dict[int, float]) -> dict[str, Method]:
    """Name -> (pixels, level) -> pixels."""
    from bm3d import bm3d

    def weight(level: float) -> float:
        return tv[min(LEVELS, key=lambda known: abs(known / 255 - level))]

    return {
        "BM3D": lambda y, level: np.asarray(bm3d(y, level), np.float32),
        "non-local means": lambda y, level: denoise_nl_means(
            y, patch_size=5, patch_distance=6, h=0.8 * level, sigma=level, fast_mode=True
        ),
        "wavelet": lambda y, level: denoise_wavelet(y, sigma=level, method="BayesShrink", rescale_sigma=True),
        "total variation": lambda y, level: denoise_tv_chambolle(y, weight=weight(level) * level),
    }


def tune_tv(data: Path) -> dict[int, float]:
    """The best weight at each level, in noise levels, on pictures of history."""
    found = {}
    for level in LEVELS:
        pairs = [(true, levels(noisy(true, level, n)) / np.float32(255)) for n in TUNED for true in [tested(data, n)]]
        found[level] = max(
            TV_WEIGHTS,
            key=lambda w: sum(psnr(denoise_tv_chambolle(y, weight=w * level / 255), true) for true, y in pairs),
        )
    return found


def by_peer(method: Method, file: Floats, kind: int | str) -> Floats:
    """What a peer makes of a file."""
    if isinstance(kind, int):
        return method(file, kind / 255)
    if kind != "Poisson":
        return method(file, float(estimate_sigma(file)))
    known = Noise(0.0, 1 / PEAK)
    return known.uneven(method(known.even(file), known.level))


def train_on(data: Path, work: Path, level: int) -> Denoiser:
    """What the product's second lesson makes of history with noise of a level; kept for the next time."""
    kept = work / f"denoiser-{level}"
    if not (kept / "card.json").exists():
        pictures = list(history(data, level))
        order = np.random.default_rng(7).permutation(len(pictures))
        held, learnt = ([pictures[i] for i in part] for part in (order[:6], order[6:]))
        started = time.perf_counter()
        pipeline = Pipeline.model_validate(
            {"name": "kodak", "source": {"uri": "kodak", "format": "images"}, "output": "out"}
        )
        shown = [(one, part is held) for part in (learnt, held) for one in part]
        found = fit_denoiser(pipeline, learn_planes(shown, len(shown), 1), kept / "checkpoint", None)
        print(f"noise of {level}: {time.perf_counter() - started:.0f} s; {found.notes}", flush=True)
        (kept / "network.tflite").write_bytes(found.flat)
        (kept / "card.json").write_text(json.dumps({"side": found.side, "gains": found.gains}))
    card = json.loads((kept / "card.json").read_text())
    side = (card["side"][0], card["side"][1])
    network = LiteDenoiser((kept / "network.tflite").read_bytes(), side=side, seen=SEEN)
    return Denoiser(network, side, frozenset(map(int, card["gains"])))


def history(data: Path, level: int) -> Iterator[Picture]:
    """The pictures to learn from, each in four, as files hold them."""
    for number in HISTORY:
        whole = picture(data, number)
        rng = np.random.default_rng([99, number])
        file = levels(whole + rng.normal(0, level / 255, whole.shape).astype(np.float32))
        for part in range(4):
            top, left = part // 2 * 250, part % 2 * 250
            yield Picture(np.ascontiguousarray(file[top : top + 250, left : left + 250, None]), "L")


class Kept:
    """Figures in one file: what was measured is not measured again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, list[list[float]]] = json.loads(path.read_text()) if path.exists() else {}

    def __call__(self, name: str, kind: int | str, measure: Callable[[], list[list[float]]]) -> Any:
        """Rows of figures, one a picture; measured unless they are known."""
        key = f"{name}/{kind}"
        if key not in self.found:
            self.found[key] = measure()
            self.path.write_text(json.dumps(self.found))
            print(key, np.round(np.mean(self.found[key], axis=0), 3), flush=True)
        return np.mean(self.found[key], axis=0)


def by_level(method: Method, pixels: Floats, kind: int | str) -> Floats:
    """What a peer makes of pixels with Gaussian noise."""
    return method(pixels, float(kind) / 255)


def compare(
    method: Callable[[Floats, int | str], Floats], data: Path, kind: int | str, *, cut: bool = True
) -> list[list[float]]:
    """PSNR, SSIM and seconds of one core, for each picture."""
    rows = []
    for number in TESTED:
        true = tested(data, number)
        given = noisy(true, kind, number)
        given = np.asarray(levels(given) / np.float32(255)) if cut else given
        started = time.process_time()
        found = method(given, kind)
        rows.append([psnr(found, true), ssim(np.asarray(found, np.float32), true), time.process_time() - started])
    return rows


def table(head: str, kinds: tuple[int | str, ...], rows: dict[str, list[Any]]) -> list[str]:
    """A table of PSNR and SSIM."""
    out = [f"| {head} | " + " | ".join(f"sigma {k}" if isinstance(k, int) else k for k in kinds) + " |"]
    out.append("|---|" + "---|" * len(kinds))
    for name, figures in rows.items():
        cells = (f"{f[0]:.2f} ({f[1]:.3f})" if f is not None else "" for f in figures)
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    return out


def main() -> None:
    """Measure, print and, with --write, rewrite the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".bench/denoising"))
    parser.add_argument("--write", action="store_true", help="rewrite docs/quality.md")
    args = parser.parse_args()
    data, work = args.data, args.work
    work.mkdir(parents=True, exist_ok=True)
    taught = {"**ae**": train_on(data, work, 0), f"ae, history with noise of {BLIND}": train_on(data, work, BLIND)}
    taught["ae, nothing learned"] = Denoiser()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core for all that is timed
    kept, others = Kept(work / "figures.json"), peers(tune_tv(data))
    files: dict[str, list[Any]] = {}
    free: dict[str, list[Any]] = {}
    for name, denoiser in taught.items():

        def ours(file: Floats, kind: int | str, denoiser: Denoiser = denoiser) -> Floats:
            return denoiser(file[..., None])[..., 0]

        def told(pixels: Floats, kind: int | str, denoiser: Denoiser = denoiser) -> Floats:
            return denoiser(pixels[..., None], Noise((float(kind) / 255) ** 2, 0.0))[..., 0]

        files[name] = [kept(name, kind, partial(compare, ours, data, kind)) for kind in KINDS]
        free[name] = [kept(f"{name}, uncut", kind, partial(compare, told, data, kind, cut=False)) for kind in LEVELS]
    for name, method in others.items():
        given, known = partial(by_peer, method), partial(by_level, method)
        files[name] = [kept(name, kind, partial(compare, given, data, kind)) for kind in KINDS]
        free[name] = [kept(f"{name}, uncut", kind, partial(compare, known, data, kind, cut=False)) for kind in LEVELS]
    files["median, 3 x 3"] = [
        kept("median", kind, partial(compare, lambda file, _: median_filter(file, 3), data, kind)) for kind in KINDS
    ]
    files["as it came"] = [kept("none", kind, partial(compare, lambda file, _: file, data, kind)) for kind in KINDS]
    seconds = {name: np.mean([figures[2] for figures in rows]) for name, rows in free.items()}
    lines = [
        *table("8-bit files, PSNR in dB (SSIM)", KINDS, files),
        "",
        *table("noise that nothing cuts off, level told", LEVELS, free),
        "",
        "Seconds of one core a picture of 256 x 256: "
        + ", ".join(f"{name.strip('*')} {value:.2f}" for name, value in seconds.items())
        + ".",
    ]
    print("\n".join(lines))
    if args.write:
        rewrite("denoising", "python -m benchmarks.quality.denoising --data FOLDER --write", lines)


if __name__ == "__main__":
    main()
