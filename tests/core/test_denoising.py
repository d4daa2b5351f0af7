"""Noise out of whole pictures."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ae_plugin.core import denoising, noise
from ae_plugin.core.denoising import SEEN, Denoiser, features, gains, octave, prepare, quieted
from ae_plugin.core.noise import Noise
from ae_plugin.core.pictures import Picture, to_float
from ae_plugin.core.values import Floats
from tests.core.scenes import filed, noisy, psnr, scene


@pytest.mark.parametrize("level", [0.06, 0.1, 0.2])
def test_noise_of_an_unknown_level_is_removed(level: float) -> None:
    true = scene(1)[..., None]
    spoilt = noisy(true, level)
    assert psnr(Denoiser()(spoilt), true) > psnr(spoilt, true) + 6


def test_counted_light_and_salt_and_pepper_are_removed() -> None:
    true, rng = scene(2, 160, 160)[..., None], np.random.default_rng(0)
    counted = filed((rng.poisson(true * 30) / 30).astype(np.float32))
    assert psnr(Denoiser()(counted), true) > psnr(counted, true) + 6
    where = rng.uniform(size=true.shape)
    spoilt = np.where(where < 0.05, 0, np.where(where > 0.95, 1, true)).astype(np.float32)
    assert psnr(Denoiser()(spoilt), true) > psnr(spoilt, true) + 10


def test_colours_are_better_together_than_alone() -> None:
    grey = scene(3)
    true = np.stack([grey, np.float32(0.9) * grey, np.float32(0.2) + np.float32(0.7) * grey], axis=2)
    spoilt = noisy(true, 0.1)
    together = Denoiser()(spoilt)
    alone = np.concatenate([Denoiser()(spoilt[..., i : i + 1]) for i in range(3)], axis=2)
    assert psnr(together, true) > psnr(alone, true) + 1


def test_a_picture_without_noise_is_itself_and_alpha_is_kept() -> None:
    plain = Picture(np.rint(scene(1)[..., None] * 255).astype(np.uint8), "L")
    assert quieted(plain, Denoiser()) is plain
    colours = np.repeat(noisy(scene(1)[..., None], 0.1), 3, axis=2)
    clear = np.concatenate([colours, np.full((128, 128, 1), 0.25, np.float32)], axis=2)
    picture = Picture(np.rint(clear * 65535).astype(np.uint16), "RGBA")
    found = quieted(picture, Denoiser())
    assert found.pixels.dtype == np.uint16 and np.array_equal(found.pixels[..., 3], picture.pixels[..., 3])
    assert psnr(to_float(found)[..., :1], scene(1)[..., None]) > psnr(colours[..., :1], scene(1)[..., None]) + 4


def test_the_network_is_asked_only_where_it_proved_better() -> None:
    true, asked = scene(4, 200, 90)[..., None], []

    def network(seen: Floats) -> tuple[Floats]:
        asked.append(seen.shape)
        assert np.isfinite(seen).all()
        return (np.full((*seen.shape[:3], 1), 0.5, np.float32),)

    spoilt, known = true + np.float32(0), Noise(0.1**2, 0.0)
    plain = Denoiser()(spoilt, known)
    elsewhere = Denoiser(network, (64, 64), frozenset({octave(0.1) + 1}))(spoilt, known)
    assert np.array_equal(elsewhere, plain) and not asked
    corrected = Denoiser(network, (64, 64), frozenset({octave(0.1)}))(spoilt, known)
    assert set(asked) == {(4, 64, 64, SEEN)}, "always as many tiles"
    inside = (plain > 0.3) & (plain < 0.7)
    assert (corrected - plain)[inside] == pytest.approx(0.05, abs=5e-3)


def by_tile(seen: Floats) -> tuple[Floats]:
    """A network whose answer depends on all of a tile, so that it counts where tiles lie."""
    return (np.tanh(seen[..., :1]) + seen[..., 1:2].mean(axis=(1, 2), keepdims=True),)


def picture_of(kind: str) -> Floats:
    true, rng = scene(2, 330, 150)[..., None], np.random.default_rng(0)
    if kind == "counted":
        return filed((rng.poisson(true * 30) / 30).astype(np.float32))
    pixels = noisy(np.concatenate([true, np.float32(0.9) * true, 1 - true], axis=2) if kind == "colour" else true, 0.1)
    where = rng.uniform(size=true.shape)
    lost = np.where(where < 0.05, 0, np.where(where > 0.95, 1, pixels)).astype(np.float32)
    return lost if kind == "salt and pepper" else pixels


@pytest.mark.parametrize("kind", ["even", "counted", "colour", "salt and pepper"])
@pytest.mark.parametrize("side", [None, (64, 64), (400, 160)])
def test_bands_of_a_picture_are_denoised_as_the_whole(
    kind: str, side: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = picture_of(kind)
    denoiser = Denoiser(by_tile, side, frozenset(range(7))) if side else Denoiser()
    whole = denoiser(pixels)
    assert [rows for rows, _ in denoiser.bands(prepare(np.moveaxis(pixels, 2, 0)))] == [slice(0, 330)]
    monkeypatch.setattr(denoising, "PIXELS", 60 * 150)
    bands = [rows for rows, _ in denoiser.bands(prepare(np.moveaxis(pixels, 2, 0)))]
    assert len(bands) > 2 or side == (400, 160), "one tile is one band"
    assert [rows.start for rows in bands[1:]] == [rows.stop for rows in bands[:-1]]
    assert denoiser(pixels) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_memory_is_the_picture_in_numbers_and_a_band(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "PIXELS", 2**13)
    monkeypatch.setattr(noise, "_MOST", 6_000)
    denoiser, peaks, sizes = Denoiser(by_tile, (64, 64), frozenset(range(7))), [], ((400, 150), (1_400, 150))
    for height, width in sizes:
        pixels = np.repeat(noisy(scene(1, height, width)[..., None], 0.1), channels, axis=2)
        picture = Picture(np.rint(pixels * 255).astype(np.uint8), "L" if channels == 1 else "RGB")
        tracemalloc.start()
        quiet = quieted(picture, denoiser)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert quiet is not picture
    each = (peaks[1] - peaks[0]) / (1_000 * 150)
    assert each < 5 * channels + 1, f"{each:.1f} bytes a pixel"


def test_octaves() -> None:
    assert [octave(level / 255) for level in (0.1, 1, 2, 15, 16, 31, 50, 200)] == [0, 0, 1, 3, 4, 4, 5, 6]


def test_a_gain_must_be_beyond_doubt_and_may_be_seen_through_noise() -> None:
    rng = np.random.default_rng(0)
    levels = np.repeat(np.array([10, 40], np.float32) / 255, 100)
    planes = rng.uniform(size=(3, 200, 16, 16)).astype(np.float32)
    seen = features(*planes, levels)
    missed = np.float32(0.3) * rng.standard_normal((200, 16, 16, 1)).astype(np.float32)
    wanted = missed + 2 * rng.standard_normal(missed.shape).astype(np.float32)
    at = {"start": 0}

    def network(tiles: Floats) -> tuple[Floats]:
        own = slice(at["start"], at["start"] + len(tiles))
        at["start"] += len(tiles)
        right = np.where(own.start < 100, np.float32(0.5), np.float32(0))
        return (right * missed[own],)

    assert set(gains(network, seen, wanted)) == {octave(10 / 255)}
    at["start"] = 0
    assert gains(network, features(*planes, levels * np.float32(1.4)), wanted) == {}, "tried far from the octave's end"
    at["start"] = 0
    assert gains(lambda tiles: (rng.standard_normal((len(tiles), 16, 16, 1)).astype(np.float32),), seen, wanted) == {}
