"""Law 8: same data, config, seed and versions: the same model weights and outputs on one machine."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ae_plugin.models.catalog import KINDS
from tests.boards import good, put_day, scratched, write_boards
from tests.running import ae_process, run_ae, tree
from tests.shop import FRESH, LAST_TRAINED, ORDERS, Shop, day, make_orders, spoil, write_day, write_days

OUTPUTS = {"pictures": ("scores", "denoised", "heatmaps")} | dict.fromkeys(KINDS, ("scores", "cells", "denoised"))
FOUND = {"pictures": "heatmaps"} | dict.fromkeys(KINDS, "cells")


def trained_and_scored(shop: Shop, kind: str, *, apart: bool = True) -> dict[str, Any]:
    """Train, promote and score a faulty day, each in a process of its own; what came of it, without names and times."""
    for verb, *rest in (["train"], ["promote", "--force"], ["score", "--partition", day(FRESH)]):
        words = "--quiet", verb, shop.yaml, *rest
        if not apart:
            assert run_ae(*words).code == 0
            continue
        process = ae_process(*words)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
    card = json.loads((shop.output / "_models/v0001/model.json").read_text())
    report = json.loads((shop.output / "_models/v0001/report.json").read_text())
    assert shop.read(FOUND[kind], FRESH).num_rows > 5, "nothing to compare"
    return {
        **scored_files(shop.output, kind),
        **{name: digest for name, digest in card["files"].items() if name != "report.json"},
        "card": {name: value for name, value in card.items() if name not in ("files", "partitions", "created_at")},
        "loss_curve": report["loss_curve"],
        "gate": report["gate"],
    }


def scored_files(output: Path, kind: str) -> dict[str, dict[str, str]]:
    """Every file of the scored day, with its hash."""
    return {name: tree(output / name / f"date={day(FRESH)}") for name in OUTPUTS[kind]}


def make(root: Path, kind: str, seed: int) -> Shop:
    if kind == "pictures":
        shop = write_boards(root, history=12, steps=20).set(model={"seed": seed}, score={"alert_rate": 0.1})
        put_day(shop.source, FRESH, {**good(20, FRESH), **scratched(20, FRESH)})
        return shop
    shop = Shop(root, ORDERS).write().set(model={"kind": kind, "seed": seed})
    shop = shop.set(train={"until": day(LAST_TRAINED), "steps": 120}, score={"alert_rate": 0.05})
    write_days(shop.source, LAST_TRAINED + 1, 150)
    write_day(shop.source, FRESH, spoil(make_orders(300, day(FRESH))))
    return shop


@dataclass(frozen=True)
class First:
    """A pipeline, and what came of training and scoring with it."""

    kind: str
    shop: Shop
    wanted: dict[str, Any]


@pytest.fixture(scope="module", params=[*sorted(KINDS), "pictures"])
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> First:
    shop = make(tmp_path_factory.mktemp("first") / "shop", request.param, 7)
    return First(request.param, shop, trained_and_scored(shop, request.param))


def test_the_same_again_to_the_byte(first: First, tmp_path: Path) -> None:
    """Elsewhere, in other processes, from copies of the files."""
    shutil.copytree(first.shop.source, tmp_path / "again" / first.shop.source.name)
    again = Shop(tmp_path / "again", first.shop.settings).write()
    assert trained_and_scored(again, first.kind) == first.wanted


def test_another_seed_learns_other_weights(first: First, tmp_path: Path) -> None:
    found = trained_and_scored(make(tmp_path / "other", first.kind, 8), first.kind, apart=False)
    for name in ("weights.safetensors", "scores", "loss_curve"):
        assert found[name] != first.wanted[name], name


def test_scoring_again_gives_the_same_bytes(first: First, tmp_path: Path) -> None:
    process = ae_process("score", first.shop.yaml, "--partition", day(FRESH), "--output", tmp_path / "again")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    for name, files in scored_files(tmp_path / "again", first.kind).items():
        assert files and files == first.wanted[name], name
