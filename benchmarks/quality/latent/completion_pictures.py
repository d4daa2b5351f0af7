"""Completion of pictures from some of their pixels, beside scikit-image's biharmonic; and whether intervals cover.

Fashion-MNIST, all classes: 12,000 training pictures are history, 600 others of the training part are held out to choose
and to calibrate with, as a training does; 200 test pictures are completed. Kodak24: the middles (128 x 128) of kodim17
to 24 in luminance; pieces of kodim01 to 16 calibrate, nothing else is learned. PSNR is of the hidden pixels alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.restoration import inpaint_biharmonic

from ae_plugin.core.completion import guess
from ae_plugin.core.mixture import Mixture, best_mixture
from ae_plugin.core.pixel_intervals import Guess, PixelIntervals, fit_pixel_intervals
from ae_plugin.core.values import Bools, Floats
from ae_plugin.jobs.pictures.completing import MOST, PIECE
from ae_plugin.jobs.pictures.history import WHOLE_COMPONENTS, WHOLE_PICTURES, WHOLE_TRIED
from benchmarks.quality.denoising import HISTORY, TESTED, picture
from benchmarks.quality.page import ROOT

KEPT = ROOT / ".bench/completion"
SHARES, COVERAGES = (0.1, 0.25, 0.5), (0.5, 0.8, 0.9, 0.95)
HOLE = "a hole"
SIDE, COMPLETED, SHOWN = 128, 200, 8
Method = Callable[[Floats, Bools], Floats]


def fashion(data: Path, part: str, first: int, count: int) -> Floats:
    """Some pictures of a part, [n, 28, 28, 1] in 0..1."""
    with np.load(data / f"fashion_mnist/fashion_mnist_{part}.npz") as arrays:
        return np.asarray(arrays["images"][first : first + count, ..., None], np.float32) / np.float32(255)


def middles(data: Path) -> list[Floats]:
    """The middles of Kodak's pictures, [128, 128, 1]."""
    found = []
    for number in TESTED:
        whole = picture(data, number)
        top, left = ((length - SIDE) // 2 for length in whole.shape)
        found.append(whole[top : top + SIDE, left : left + SIDE, None])
    return found


def pieces(data: Path, of: range, each: int) -> Iterator[Floats]:
    """Pieces of Kodak's other pictures, as a training cuts them."""
    rng = np.random.default_rng(37)
    for number in of:
        whole = picture(data, number)
        for _ in range(each):
            top, left = (int(rng.integers(0, length - PIECE + 1)) for length in whole.shape)
            yield whole[top : top + PIECE, left : left + PIECE, None]


def known_pixels(number: int, size: tuple[int, ...], share: float | str) -> Bools:
    """Which pixels of a picture are known: a share at random, or all but a hole of a sixth of them."""
    rng = np.random.default_rng([number, 7 if isinstance(share, str) else int(100 * share)])
    if not isinstance(share, str):
        return np.asarray(rng.uniform(size=size) < share)
    known = np.ones(size, bool)
    height, width = (round(length * 0.4) for length in size)
    top, left = (int(rng.integers(0, length - part + 1)) for length, part in zip(size, (height, width), strict=True))
    known[top : top + height, left : left + width] = False
    return known


def psnr(found: Floats, true: Floats, hidden: Bools) -> float:
    """In dB, over the hidden pixels."""
    return float(-10 * np.log10(np.mean(np.square(np.clip(found, 0, 1) - true)[hidden])))


def qualities(pictures: list[Floats], method: Method) -> list[float]:
    """Mean PSNR from each share of known pixels, and around a hole."""
    found = []
    for share in (*SHARES, HOLE):
        each = []
        for number, true in enumerate(pictures):
            known = known_pixels(number, true.shape[:2], share)
            each.append(psnr(method(np.where(known[..., None], true, np.float32(0)), known), true, ~known))
        found.append(float(np.mean(each)))
    return found


def coverages(pictures: list[Floats], made: Guess, reach: PixelIntervals) -> list[list[float]]:
    """For each share (and the hole), the share of hidden pixels within their interval at each rate; and mean width."""
    found = []
    for share in (*SHARES, HOLE):
        within, widths = np.zeros(len(COVERAGES)), 0.0
        for number, true in enumerate(pictures):
            known = known_pixels(number, true.shape[:2], share)
            whole, doubt = made(np.where(known[..., None], true, np.float32(0)), known)
            for place, coverage in enumerate(COVERAGES):
                low, high = (np.rint(end * 255) for end in reach.ends(whole, doubt, known, coverage))
                levels = np.rint(true * 255)
                within[place] += ((low <= levels) & (levels <= high))[~known].mean() / len(pictures)
                if coverage == 0.9:
                    widths += float((high - low)[~known].mean()) / len(pictures)
        found.append([*within.tolist(), widths])
    return found


biharmonic: Method = lambda given, known: inpaint_biharmonic(given[..., 0], ~known)[..., None]  # noqa: E731


def measure_fashion(data: Path) -> dict[str, Any]:
    """All that is measured of Fashion-MNIST."""
    clothes = list(fashion(data, "test", 0, COMPLETED))
    history = fashion(data, "train", 0, WHOLE_PICTURES)
    tried = fashion(data, "train", WHOLE_PICTURES, WHOLE_TRIED)
    held = fashion(data, "train", WHOLE_PICTURES + WHOLE_TRIED, MOST)
    flat = history.reshape(len(history), -1)
    whole = best_mixture(flat, tried.reshape(len(tried), -1), WHOLE_COMPONENTS)
    several, single = (
        partial(guess, whole=each, side=(28, 28)) for each in (whole, Mixture.fit(flat, 1, WHOLE_COMPONENTS))
    )
    reach = fit_pixel_intervals(several, history[:: WHOLE_PICTURES // (MOST // 2)], held)
    _draw(clothes[:SHOWN], several, reach)
    return {
        "quality": {
            f"Fashion-MNIST, **ae**, {len(whole.shares)} clusters": qualities(
                clothes, lambda *given: several(*given)[0]
            ),
            "Fashion-MNIST, ae, one cluster": qualities(clothes, lambda *given: single(*given)[0]),
            "Fashion-MNIST, biharmonic": qualities(clothes, biharmonic),
        },
        "coverage": {"Fashion-MNIST": coverages(clothes, several, reach)},
    }


def measure_kodak(data: Path) -> dict[str, Any]:
    """All that is measured of Kodak's pictures."""
    photographs = middles(data)
    reach = fit_pixel_intervals(guess, pieces(data, HISTORY[:8], 3), pieces(data, HISTORY[8:], 8))
    return {
        "quality": {
            "Kodak24, **ae**": qualities(photographs, lambda *given: guess(*given)[0]),
            "Kodak24, biharmonic": qualities(photographs, biharmonic),
        },
        "coverage": {"Kodak24": coverages(photographs, guess, reach)},
    }


def _draw(clothes: list[Floats], made: Guess, reach: PixelIntervals) -> None:
    """The page's picture: from a quarter of the pixels; given, biharmonic, completed, both ends, and the truth."""
    rows: list[list[Floats]] = [[] for _ in range(6)]
    for number, true in enumerate(clothes):
        known = known_pixels(number, true.shape[:2], 0.25)
        given = np.where(known[..., None], true, np.float32(0))
        whole, doubt = made(given, known)
        low, high = reach.ends(whole, doubt, known, 0.9)
        shown = np.where(known[..., None], true, np.float32(0.25))
        for row, one in zip(rows, (shown, biharmonic(given, known), whole, low, high, true), strict=True):
            row.append(np.pad(np.clip(one[..., 0], 0, 1), 1, constant_values=1))
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    stream = io.BytesIO()
    Image.fromarray(np.rint(sheet * 255).astype(np.uint8)).resize(
        (sheet.shape[1] * 3, sheet.shape[0] * 3), Image.Resampling.NEAREST
    ).save(stream, "PNG", optimize=True)
    (ROOT / "docs/images/completion.png").write_bytes(stream.getvalue())


def results(data: Path) -> dict[str, Any]:
    """Results; read where they were measured before."""
    out: dict[str, Any] = {"quality": {}, "coverage": {}}
    for name, measure in (("fashion", measure_fashion), ("kodak", measure_kodak)):
        kept = KEPT / f"{name}.json"
        if not kept.exists():
            KEPT.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(measure(data), indent=1), encoding="utf-8")
        found = json.loads(kept.read_text(encoding="utf-8"))
        out = {part: out[part] | found[part] for part in out}
    return out


def lines_of(found: dict[str, Any]) -> list[str]:
    """Both tables of the page."""
    head = [*(f"{share:.0%}" for share in SHARES), "all but a hole"]
    lines = ["| PSNR of hidden pixels in dB, given | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for name, values in found["quality"].items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    lines += [
        "",
        "Share of hidden pixels within their interval, in percent, and the mean width at 90% in grey levels:",
        "",
    ]
    lines += ["| pictures | given | " + " | ".join(f"{c:.0%}" for c in COVERAGES) + " | width |"]
    lines += ["|---|---:|" + "---:|" * (len(COVERAGES) + 1)]
    for name, shares in found["coverage"].items():
        for share, values in zip(head, shares, strict=True):
            told = [f"{100 * value:.1f}" for value in values[:-1]] + [f"{values[-1]:.0f}"]
            lines.append(f"| {name} | {share} | " + " | ".join(told) + " |")
    return lines
