"""The benchmark's folders of pictures: grey PNG files, cut out of photographs at random places."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import yaml
from PIL import Image


def write_pictures(folder: Path, photographs: Path, count: int, side: int, seed: int = 0) -> Path:
    """Write (once) as many grey PNG files of `side` x `side` pixels, no two alike.

    Args:
        folder: theirs.
        photographs: a folder of PNG files.
        count: how many.
        side: pixels.
        seed: of where they are cut.
    """
    if folder.exists():
        return folder
    part = folder.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    whole = [np.asarray(Image.open(path).convert("L")) for path in sorted(photographs.glob("*.png"))]
    rng = np.random.default_rng([seed, side])
    for number in range(count):
        pixels = whole[rng.integers(len(whole))]
        top, left = (rng.integers(length - side + 1) for length in pixels.shape)
        Image.fromarray(pixels[top : top + side, left : left + side]).save(part / f"{number:05d}.png")
    os.rename(part, folder)
    return folder


def write_pipeline(folder: Path, name: str, source: Path, steps: int, **score: object) -> Path:
    """Write a pipeline YAML over a folder of pictures; the speed of a network does not depend on its steps."""
    settings = {
        "name": name,
        "source": {"uri": str(source), "format": "images"},
        "train": {"steps": steps, "contamination": 0},
        "score": {"on_unfamiliar": "score", **score},
        "promote": "never",
        "output": str(folder / "out"),
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path
