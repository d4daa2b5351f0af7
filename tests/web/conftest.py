"""A site with a pipeline that has everything, one of pictures, one that has nothing, and spoilt ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ae_plugin.errors import UnfamiliarError
from ae_plugin.jobs.score import score
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import Folder
from ae_plugin.store.staging import JOURNALS
from tests.conftest import Trained
from tests.shop import FRESH, Shop, day, make_orders, spoil, write_day
from tests.web.site import Site, served

EVIL = "<img src=x onerror=alert(1)>"
REFUSED = FRESH + 2


@dataclass(frozen=True)
class Served:
    """A site, and the pipelines on it."""

    site: Site
    root: Path
    shop: Shop
    boards: Shop


def foreign(table: pa.Table) -> pa.Table:
    """Orders of another world: refused."""
    factors = {"quantity": 90, "weight": 1_000.0, "price": 70}
    for name, factor in factors.items():
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        values = [None if value is None else type(value)(value * factor) for value in table.column(name).to_pylist()]
        table = table.set_column(place, field, [pa.array(values, field.type)])
    for name in ("product", "customer"):
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(place, field, [pa.array([EVIL] * table.num_rows, field.type)])
    return table


@pytest.fixture(scope="module")
def web(trained: Trained, boards: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two folders of YAMLs: the DAGs', and another under AE_ROOT, as with a bundle from git."""
    root = tmp_path_factory.mktemp("site")
    shop, pictures = trained.shop.copy(root / "shop"), boards.shop.copy(root / "boards")
    folder, bundle = root / "elsewhere/pipelines", root / "dags/pipelines"
    for each in (folder, bundle):
        each.mkdir(parents=True)

    def put(where: Path, one: Shop, **changes: Any) -> None:
        source = {**one.settings["source"], "uri": str(one.source)}
        settings = {**one.settings, "source": source, "output": str(one.output), **changes}
        (where / f"{settings['name']}.yaml").write_text(json.dumps(settings))

    put(bundle, shop)
    put(bundle, pictures)
    put(folder, shop, name="fresh", output=str(root / "nothing"))
    put(folder, shop, name="tampered", output=str(root / "tampered"))
    put(folder, shop, name="pointless", output=str(root / "pointless"))
    (folder / "broken.yaml").write_text("name: broken\ncolour: red\n")
    for name in ("tampered", "pointless"):
        shutil.copytree(shop.output / "_models", root / f"{name}/_models")
    (root / "tampered/_models/v0001/model.json").write_text("{}")
    (root / "pointless/_models/champion.json").write_text("no pointer")
    write_day(shop.source, FRESH, spoil(make_orders(240, day(FRESH), first_id=FRESH * 100_000)))
    evil = make_orders(240, day(FRESH + 1))
    for name, value in (("product", EVIL), ("quantity", -9999)):
        place, field = evil.schema.get_field_index(name), evil.schema.field(name)
        evil = evil.set_column(place, field, [pa.array([value, *evil.column(name).to_pylist()[1:]], field.type)])
    write_day(shop.source, FRESH + 1, evil)
    write_day(shop.source, REFUSED, foreign(make_orders(200, day(REFUSED))))
    for number in (FRESH, FRESH + 1, REFUSED):
        with suppress(UnfamiliarError):
            score(shop.pipeline, day(number))
    for partition in sorted(path.name for path in pictures.source.iterdir())[-2:]:
        with suppress(UnfamiliarError):
            score(pictures.pipeline, partition)
    stop_a_commit(shop)
    with served(root, root / "elsewhere") as site:
        yield Served(site, root, shop, pictures)


def stop_a_commit(shop: Shop) -> None:
    """As a run that is killed while it moves its files leaves it."""
    commit = Commit(Folder(str(shop.output)), "date=2000-01-01")
    commit.folder.write(commit.staged("scores/date=2000-01-01/part-0.parquet"), b"rows")
    steps = {"moves": commit.moves, "removals": [], "stage": commit.stage.name}
    commit.folder.write(f"{JOURNALS}/{commit.stage.id}.json", json.dumps(steps).encode())
    commit.stage.release()
