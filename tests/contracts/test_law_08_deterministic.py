"""Law 8: same data, config, seed and versions: the same model weights and outputs on one machine."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ae_plugin.models.catalog import KINDS
from tests.running import ae_process
from tests.shop import FRESH, LAST_TRAINED, ORDERS, Shop, day, make_orders, spoil, write_day, write_days

OUTPUTS = ("scores", "cells", "denoised")


def trained_and_scored(shop: Shop) -> dict[str, Any]:
    """Train, promote and score a faulty day, each in a process of its own; what came of it, without names and times."""
    for words in (["train"], ["promote", "--force"], ["score", "--partition", day(FRESH)]):
        verb, *rest = words
        process = ae_process("--quiet", verb, shop.yaml, *rest)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    card = json.loads((shop.output / "_models/v0001/model.json").read_text())
    report = json.loads((shop.output / "_models/v0001/report.json").read_text())
    files = {name: shop.output / name / f"date={day(FRESH)}/part-0.parquet" for name in OUTPUTS}
    assert shop.read("cells", FRESH).num_rows > 5, "nothing to compare"
    return {
        **{name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()},
        **{name: digest for name, digest in card["files"].items() if name != "report.json"},
        "columns": card["columns"],
        "loss_curve": report["loss_curve"],
        "gate": report["gate"],
    }


def make(root: Path, kind: str, seed: int) -> Shop:
    shop = Shop(root, ORDERS).write().set(model={"kind": kind, "seed": seed})
    shop = shop.set(train={"until": day(LAST_TRAINED), "steps": 120}, score={"alert_rate": 0.05})
    write_days(shop.source, LAST_TRAINED + 1, 150)
    write_day(shop.source, FRESH, spoil(make_orders(300, day(FRESH))))
    return shop


@pytest.fixture(scope="module", params=sorted(KINDS))
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, dict[str, Any]]:
    shop = make(tmp_path_factory.mktemp("first") / "shop", request.param, 7)
    return shop, trained_and_scored(shop)


def test_the_same_again_to_the_byte(first: tuple[Shop, dict[str, Any]], tmp_path: Path) -> None:
    """Elsewhere, in other processes, from copies of the files."""
    shop, wanted = first
    shutil.copytree(shop.source, tmp_path / "again/orders")
    again = Shop(tmp_path / "again", shop.settings).write()
    assert trained_and_scored(again) == wanted


def test_another_seed_learns_other_weights(first: tuple[Shop, dict[str, Any]], tmp_path: Path) -> None:
    shop, wanted = first
    found = trained_and_scored(make(tmp_path / "other", shop.settings["model"]["kind"], 8))
    assert found["weights.safetensors"] != wanted["weights.safetensors"]
    assert found["scores"] != wanted["scores"]
    assert found["loss_curve"] != wanted["loss_curve"]


def test_scoring_again_gives_the_same_bytes(first: tuple[Shop, dict[str, Any]], tmp_path: Path) -> None:
    shop, wanted = first
    process = ae_process("score", shop.yaml, "--partition", day(FRESH), "--output", tmp_path / "again")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    for name in OUTPUTS:
        path = tmp_path / "again" / name / f"date={day(FRESH)}/part-0.parquet"
        assert sha256(path.read_bytes()).hexdigest() == wanted[name], name
