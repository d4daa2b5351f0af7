"""Sets of pictures that the benchmark of pictures runs on, each split before anything is learned from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, grey_opening

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
TEXTURES = "gravel", "brick", "grass"
VISIBLE = 0.4
"""Difference from its template from which on, opened by 2 x 2, a pixel of a board is visibly defective."""


@dataclass(frozen=True)
class Set:
    """Good pictures to train on, others to test on, and what is known of those.

    Attributes:
        train: uint8 [n, h, w].
        test: uint8 [m, h, w].
        odd: bool [m], which of those are anomalies.
        easy: bool [m], good ones and visible anomalies, or everything.
        wrong: bool [m, h, w], wrong pixels, where they are known.
        true: uint8 [m, h, w], what the pictures should have been, where it is known.
    """

    train: Bytes
    test: Bytes
    odd: Bools
    easy: Bools
    wrong: Bools | None = None
    true: Bytes | None = None


def fashion(data: Path, kind: int, seed: int) -> Set:
    """One class of Fashion-MNIST's training file; 250 pictures of each class of its test file."""
    files = [np.load(data / f"fashion_mnist/fashion_mnist_{part}.npz") for part in ("train", "test")]
    (train, label), (test, truth) = (_images(file) for file in files)
    rng = np.random.default_rng(seed)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(truth == each))[:250] for each in range(10)])
    odd = truth[chosen] != kind
    return Set(train[label == kind], test[chosen], odd, np.ones(len(odd), bool))


def _images(file: dict[str, npt.NDArray[np.generic]]) -> tuple[Bytes, npt.NDArray[np.int64]]:
    arrays = sorted((file[name] for name in file), key=lambda array: -array.ndim)
    return arrays[0].astype(np.uint8).reshape(-1, 28, 28), arrays[1].astype(np.int64).ravel()


def boards(data: Path, seed: int) -> Set:
    """DeepPCB: trained on good patches and templates of half of the boards; tested on a quarter of the boards.

    The other quarter was looked at while the recipe was chosen. It is left alone here.
    """
    file = np.load(data / "deeppcb/deeppcb_patches64.npz")
    images, templates, odd = file["images"], file["templates"], file["labels"] == 1
    board = file[next(name for name in file if "board" in name)]
    names = np.random.default_rng(0).permutation(np.unique(board))
    known = np.isin(board, names[: len(names) // 2])
    asked = np.flatnonzero(np.isin(board, names[3 * len(names) // 4 :]))
    asked = np.sort(np.random.default_rng(seed).permutation(asked)[:2_000])
    apart = np.abs(images[asked].astype(np.float32) - templates[asked]) / 255
    wrong = np.stack([grey_opening(one, (2, 2)) > VISIBLE for one in apart])
    train = np.concatenate([images[known & ~odd], templates[known]])
    easy = ~odd[asked] | wrong.any(axis=(1, 2))
    return Set(train, images[asked], odd[asked], easy, wrong, templates[asked])


def texture(name: str, seed: int) -> Set:
    """A public-domain photograph of scikit-image in crops of 64 x 64, unevenly lit; a third of the test is damaged.

    Trained on its upper part, tested on its lower part. Damage (scratches, blobs, stains) is drawn here by other means
    than the product's own.
    """
    from skimage import data as pictures

    photo = getattr(pictures, name)().astype(np.float32) / 255
    rng = np.random.default_rng([seed, TEXTURES.index(name)])
    half = photo.shape[0] // 2
    train = np.stack([_lit(_crop(photo[:half], rng), rng) for _ in range(600)])
    test = np.stack([_lit(_crop(photo[half:], rng), rng) for _ in range(300)])
    true, wrong = test.copy(), np.zeros(test.shape, bool)
    for index in range(100):
        test[index], wrong[index] = _DAMAGE[index % len(_DAMAGE)](test[index], rng)
    odd = np.arange(300) < 100
    as_bytes = [np.rint(255 * np.clip(part, 0, 1)).astype(np.uint8) for part in (train, test, true)]
    return Set(as_bytes[0], as_bytes[1], odd, np.ones(300, bool), wrong, as_bytes[2])


Floats = npt.NDArray[np.float32]


def _crop(photo: Floats, rng: np.random.Generator) -> Floats:
    top, left = rng.integers(photo.shape[0] - 63), rng.integers(photo.shape[1] - 63)
    return photo[top : top + 64, left : left + 64]


def _lit(crop: Floats, rng: np.random.Generator) -> Floats:
    """Under light from one side, as strong as half of the brightness."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    turn = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0.8, 1.1) + rng.uniform(0, 0.25) * (y * np.sin(turn) + x * np.cos(turn))
    return np.asarray(crop * light, np.float32)


def _scratch(crop: Floats, rng: np.random.Generator) -> tuple[Floats, Bools]:
    from skimage.draw import bezier_curve

    ends = rng.integers(4, 60, 6)
    drawn = np.zeros(crop.shape, bool)
    drawn[bezier_curve(*ends, 2, shape=crop.shape)] = True
    cover = np.clip(gaussian_filter(drawn.astype(np.float32), 0.6) * 2, 0, 1)
    return crop + cover * (rng.choice([0.05, 0.95]) - crop), cover > 0.3


def _bump(crop: Floats, rng: np.random.Generator) -> tuple[Floats, Bools]:
    y, x = np.mgrid[:64, :64]
    cy, cx = rng.uniform(8, 56, 2)
    cover = np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(2, 5) ** 2)
    return np.asarray(crop + rng.choice([-0.6, 0.6]) * cover, np.float32), cover > 0.3


def _stain(crop: Floats, rng: np.random.Generator) -> tuple[Floats, Bools]:
    y, x = np.mgrid[:64, :64]
    cy, cx = rng.uniform(12, 52, 2)
    cloud = gaussian_filter(rng.standard_normal((64, 64)), 4)
    near = np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(6, 10) ** 2)
    where = near * (1 + cloud / cloud.std() / 2) > 0.5
    cover = gaussian_filter(where.astype(np.float32), 1.5)
    return np.asarray(crop * (1 - 0.45 * cover), np.float32), where


_DAMAGE: tuple[Callable[[Floats, np.random.Generator], tuple[Floats, Bools]], ...] = (_scratch, _bump, _stain)
