"""Fixtures: pipelines trained once a session, on orders and on real flights."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from ae_plugin.models.catalog import KINDS
from tests.boards import write_boards
from tests.running import ROOT
from tests.shop import LAST_TRAINED, ORDERS, Shop, day, train_and_promote, write_days
from tests.stores import Bucket, Proxy, environment, proxied, s3_server

FLIGHTS = ROOT / "sample_data/flights"


class OneProcessPerFile(LoadScopeScheduling):
    """With several processes (`-n 2`) a file stays in one, and so do all files that share a real Airflow.

    A scheduler of our own, since xdist's `loadgroup` groups nothing under pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "e2e" if "e2e" in Path(file).parts else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneProcessPerFile:
    return OneProcessPerFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no process is left alone with it in the end."""
    slow = ("e2e/", "contracts/", "jobs/", "models/")

    def order(item: pytest.Item) -> int:
        where = item.path.relative_to(ROOT / "tests").as_posix()
        return next((place for place, folder in enumerate(slow) if where.startswith(folder)), len(slow))

    items.sort(key=order)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command that a test runs in this process sends the log to its own stderr: the next test has it back."""
    root = logging.getLogger("ae_plugin")
    before = root.handlers[:], root.level, root.propagate
    yield
    root.handlers[:], root.propagate = before[0], before[2]
    root.setLevel(before[1])
    logging.captureWarnings(False)


@dataclass(frozen=True)
class Trained:
    """A trained pipeline that tests must not change: copy it first."""

    shop: Shop
    report: Any
    kind: str


@pytest.fixture(scope="session")
def train_kind(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Trains one model of a kind, once: orders of ten days, and two more days to score."""

    @cache
    def train(kind: str) -> Trained:
        shop = Shop(tmp_path_factory.mktemp(f"shop-{kind}"), ORDERS).write()
        shop = shop.set(model={"kind": kind}, train={"until": day(LAST_TRAINED)})
        write_days(shop.source, LAST_TRAINED + 1, 240)
        write_days(shop.source, 2, 300, first=LAST_TRAINED + 1)
        return Trained(shop, train_and_promote(shop), kind)

    return train


@pytest.fixture(scope="session", params=sorted(KINDS))
def each(request: pytest.FixtureRequest, train_kind: Callable[[str], Trained]) -> Trained:
    """One trained pipeline for each kind of model."""
    return train_kind(request.param)


@pytest.fixture(scope="session")
def trained(train_kind: Callable[[str], Trained]) -> Trained:
    """A trained pipeline, whatever its kind."""
    return train_kind("dense")


@pytest.fixture
def shop(trained: Trained, tmp_path: Path) -> Shop:
    """A copy of the trained pipeline of its own, nothing scored yet."""
    return trained.shop.copy(tmp_path / "shop")


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Ten real days of flights, trained on a little."""
    root = tmp_path_factory.mktemp("flights")
    for number in range(1, 13):
        name = f"date=2013-01-{number:02d}"
        shutil.copytree(FLIGHTS / name, root / "flights" / name)
    settings = {
        "name": "flights",
        "source": {"uri": "flights", "partition_by": "date"},
        "train": {"until": "2013-01-10", "steps": 200, "contamination": "auto"},
        "output": "out",
    }
    shop = Shop(root, settings).write()
    return Trained(shop, train_and_promote(shop), "auto")


@pytest.fixture(scope="session")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A pipeline of pictures, trained on a little; copy it before it is changed."""
    shop = write_boards(tmp_path_factory.mktemp("boards"))
    return Trained(shop, train_and_promote(shop), "pictures")


@pytest.fixture(scope="session")
def s3() -> Iterator[Proxy]:
    """A real S3 server, seen through a proxy that can have bad days."""
    with s3_server() as where, proxied(*where) as proxy:
        yield proxy


@pytest.fixture
def bucket(s3: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket of its own, reached with the credentials of this environment; gives up after two tries."""
    import fsspec
    import s3fs

    for name, value in environment(s3.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"retries": {"max_attempts": 1}}})
    s3fs.S3FileSystem.clear_instance_cache()
    s3.anew()
    found = Bucket(uuid.uuid4().hex, s3)
    found.make()
    yield found
    s3.anew()
    s3fs.S3FileSystem.clear_instance_cache()
