"""`denoise: full` of pictures: noise is removed, also when history is noisy itself; and completion."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ae_plugin.config import Pipeline
from ae_plugin.core.denoising import SEEN, Denoiser, quieted
from ae_plugin.core.noise import Noise
from ae_plugin.core.pictures import Picture, decode
from ae_plugin.core.repair import mend
from ae_plugin.core.values import Floats
from ae_plugin.jobs.pictures import denoising
from ae_plugin.jobs.pictures.denoising import fit_denoiser, learn_planes
from ae_plugin.jobs.pictures.history import learn_picture_history
from ae_plugin.jobs.pictures.versions import DENOISER, PictureVersion, load_picture_version
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import train
from ae_plugin.models.denoising import Denoising
from ae_plugin.runtime.litert import LiteDenoiser
from ae_plugin.schemas import TrainReport
from ae_plugin.store.registry import Registry
from tests.core.scenes import noisy, psnr, scene

SIDE, LEVEL = 40, 0.14


def bars(seed: int) -> Floats:
    """Bright bars on dark, here and there."""
    rng = np.random.default_rng(seed)
    picture = np.full((SIDE, SIDE), 0.2, np.float32)
    for start in range(3, SIDE - 8, 12):
        at = start + int(rng.integers(0, 4))
        picture[:, at : at + 5] = 0.8
        picture[int(rng.integers(4, SIDE - 4)) :, at : at + 3] = 0.5
    return picture


@dataclass(frozen=True)
class Noisy:
    """A history that is noisy itself, and what was learned from it."""

    root: Path
    report: TrainReport

    @property
    def pipeline(self) -> Pipeline:
        return pipeline_of(self.root)

    @property
    def version(self) -> PictureVersion:
        return load_picture_version(Registry(self.pipeline.output), self.report.model_version, 0.01)


def pipeline_of(root: Path, output: str = "out", denoise: str = "full", steps: int = 240) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "bars",
            "source": {"uri": str(root / "source"), "format": "images"},
            "train": {"steps": steps},
            "score": {"denoise": denoise, "on_unfamiliar": "score"},
            "output": str(root / output),
        }
    )


def write(folder: Path, seeds: range, level: float, size: tuple[int, int] = (SIDE, SIDE)) -> None:
    folder.mkdir(parents=True)
    for seed in seeds:
        whole = np.tile(bars(seed), (2, 2))[: size[0], : size[1]]
        pixels = np.rint(noisy(whole, level, seed) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:04d}.png")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Noisy]:
    root = tmp_path_factory.mktemp("noisy")
    write(root / "source", range(80), LEVEL)
    write(root / "new", range(500, 512), LEVEL)
    report = train(pipeline_of(root))
    promote(pipeline_of(root), report.model_version, force=True)
    yield Noisy(root, report)
    shutil.rmtree(root)


def written(output: Path) -> dict[str, bytes]:
    """The denoised files of an output, by name."""
    return {path.name: path.read_bytes() for path in sorted((output / "denoised").iterdir())}


@pytest.mark.parametrize(("size", "wanted"), [((8, 13), (16, 16)), ((30, 45), (32, 48))])
def test_pictures_of_any_one_size_can_be_learned_from(
    size: tuple[int, int], wanted: tuple[int, int], tmp_path: Path
) -> None:
    height, width = size
    write(tmp_path / "source", range(30), LEVEL, size)
    pipeline = pipeline_of(tmp_path, steps=4)
    history = learn_picture_history(pipeline)
    assert history.side == size and history.planes is not None
    assert history.planes.train[0].shape[1:] == wanted
    seen, _, weights = Denoising(history.planes.train, history.planes.validation, 1.0).draw(np.random.default_rng(0), 4)
    assert seen.shape[1:3] == wanted and weights.max() > 0
    found = fit_denoiser(pipeline, history.planes, tmp_path / "checkpoint", None)
    network = LiteDenoiser(found.flat, side=wanted, seen=SEEN)
    denoiser = Denoiser(network, found.side, frozenset(range(7)))
    spoilt = noisy(np.tile(bars(500), (2, 2))[:height, :width], LEVEL, 500)[..., None]
    assert denoiser(spoilt, Noise(LEVEL**2, 0.0)).shape == (height, width, 1)


def test_noise_is_learned_from_pictures_as_they_came_whatever_they_are_scaled_to(bench: Noisy) -> None:
    as_it_is = bench.pipeline
    history = learn_picture_history(as_it_is)
    scaled = as_it_is.model_copy(update={"model": as_it_is.model.model_copy(update={"image_size": 20})})
    smaller = learn_picture_history(scaled)
    assert history.side == (SIDE, SIDE) and smaller.side == (20, 20) and smaller.train.shape[1:3] == (20, 20)
    assert history.planes is not None and smaller.planes is not None
    assert np.median(history.planes.train[1]) == pytest.approx(LEVEL, rel=0.2)
    for one, other in (
        (history.planes.train, smaller.planes.train),
        (history.planes.validation, smaller.planes.validation),
    ):
        assert all(np.array_equal(*both) for both in zip(one, other, strict=True))


def test_of_large_pictures_a_piece_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "PIECE", 128)
    large = Picture(np.rint(noisy(scene(0, 300, 400), LEVEL) * 255).astype(np.uint8)[..., None], "L")
    found = learn_planes([(large, False), (large, False), (large, True)], 3, 1)
    assert found.train[0].shape == (2 * 13, 64, 64) and found.validation[0].shape == (13, 64, 64) and not found.whole
    assert not np.array_equal(found.train[0][:13], found.train[0][13:]), "from anywhere in it"
    assert found.train[1] == pytest.approx(LEVEL, rel=0.2)


def pixels(path: Path) -> Floats:
    return np.asarray(Image.open(path), np.float32) / 255


def test_noise_is_removed_though_history_has_as_much(bench: Noisy) -> None:
    record = score(bench.pipeline, source=str(bench.root / "new"), output=str(bench.root / "found"))
    assert record.rows == 12
    before, after = [], []
    for name in written(bench.root / "found"):
        true = bars(int(name[:4]))
        given, found = (pixels(bench.root / folder / name) for folder in ("new", "found/denoised"))
        before.append(psnr(given, true))
        after.append(psnr(found, true))
    assert min(np.array(after) - before) > 4 and np.mean(after) > np.mean(before) + 6


def test_the_network_is_kept_where_it_is_better_and_said_to_be(bench: Noisy) -> None:
    card = bench.version.card.denoiser
    assert card is not None and card.side == (SIDE, SIDE) and min(card.gains.values()) > 0
    assert any(note.startswith("denoising: on held-out tiles the network is better") for note in bench.report.notes)
    denoiser = bench.version.denoiser
    assert denoiser.network is not None and denoiser.octaves == frozenset(card.gains)
    true = np.stack([bars(seed) for seed in range(600, 620)])[..., None]
    spoilt = [noisy(one, LEVEL, seed) for seed, one in enumerate(true)]
    with_it = [psnr(denoiser(one), good) for one, good in zip(spoilt, true, strict=True)]
    denoiser.network = None
    without = [psnr(denoiser(one), good) for one, good in zip(spoilt, true, strict=True)]
    assert np.mean(with_it) > np.mean(without) + 0.3


def test_what_is_repaired_is_what_the_mask_says_of_the_picture_as_it_came(bench: Noisy) -> None:
    version = load_picture_version(Registry(bench.pipeline.output), bench.report.model_version, 0.3)
    pictures = [decode((bench.root / "new" / f"{seed:04d}.png").read_bytes()) for seed in range(500, 512)]
    spoilt = pictures[0].pixels.copy()
    spoilt[10:20, 10:20] = 255
    pictures[0] = replace(pictures[0], pixels=spoilt)
    repaired = 0
    for picture, scored in zip(pictures, version.scorer.score(pictures), strict=True):
        wrong, quiet = version.scorer.mask(scored.heat), quieted(picture, version.denoiser)
        found = version.mended(picture, scored, full=True)
        assert np.array_equal(found[~wrong], quiet.pixels[~wrong])
        repaired += bool((found != quiet.pixels).any())
        (again,) = version.scorer.score([quiet])
        assert np.array_equal(found, mend(quiet, again.repaired, wrong)), "by what there is without the noise"
    assert 0 < repaired < 12


def test_the_same_bytes_each_time(bench: Noisy) -> None:
    for output in ("once", "twice"):
        score(bench.pipeline, source=str(bench.root / "new"), output=str(bench.root / output))
    first, second = (written(bench.root / output) for output in ("once", "twice"))
    assert len(first) == 12 and first == second


def test_a_version_trained_to_repair_has_no_such_network_and_shrinks_alone(bench: Noisy) -> None:
    repair = pipeline_of(bench.root, "plain", "repair", steps=20)
    version = train(repair).model_version
    promote(repair, version, force=True)
    loaded = load_picture_version(Registry(repair.output), version, 0.01)
    assert loaded.card.denoiser is None and loaded.denoiser.network is None
    assert DENOISER not in loaded.card.files
    full = pipeline_of(bench.root, "plain")
    score(full, source=str(bench.root / "new"), output=str(bench.root / "shrunk"))
    given, found = (pixels(bench.root / folder / "0500.png") for folder in ("new", "shrunk/denoised"))
    assert psnr(found, bars(500)) > psnr(given, bars(500)) + 3


def test_a_picture_is_completed_by_what_history_holds(bench: Noisy) -> None:
    from ae_plugin.core.completion import complete

    true = bars(700)[..., None]
    known = np.random.default_rng(0).uniform(size=(SIDE, SIDE)) < 0.1
    picture = Picture(np.rint(np.where(known[..., None], true, 0) * 255).astype(np.uint8), "L")
    found = bench.version.complete(picture, known)
    assert np.array_equal(found.pixels[known], picture.pixels[known])
    smooth = complete(true, known)
    assert psnr(found.pixels.astype(np.float32) / 255, true) > psnr(smooth, true) + 2
    scaled = replace(bench.version, card=bench.version.card.model_copy(update={"image_size": 2 * SIDE}))
    alone = np.rint(complete(picture.pixels.astype(np.float32) / 255, known) * 255)
    assert np.array_equal(scaled.complete(picture, known).pixels, alone), (
        "of scaled pictures history knows another size"
    )
