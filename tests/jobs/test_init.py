"""`ae init`: a YAML that fits its source, and that `ae check` takes, wherever it is run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from pyarrow import csv

from ae_plugin import config
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.check import check
from ae_plugin.jobs.init import init
from tests.running import tree
from tests.shop import make_orders


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, the working folder in it."""
    monkeypatch.delenv("AE_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(rows: int = 60) -> pa.Table:
    return pa.table({"order_id": range(rows), "weight": np.random.default_rng(0).normal(size=rows)})


def put(path: Path, content: pa.Table | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = table() if content is None else content
    if ".csv" in path.name:
        with pa.CompressedOutputStream(path, "gzip") if path.suffix == ".gz" else pa.OSFile(str(path), "wb") as sink:
            csv.write_csv(content, sink)
    else:
        pq.write_table(content, path)
    return path


def works(path: Path) -> config.Pipeline:
    """The YAML loads, and its source is found with it."""
    pipeline = config.load(path)
    assert check(pipeline).files > 0
    return pipeline


# What is written.


def test_a_folder_of_files(here: Path) -> None:
    put(here / "orders/a.parquet")
    path = init("orders")
    assert path == Path("orders.yaml")
    pipeline = works(path)
    assert (pipeline.name, pipeline.source.format, pipeline.source.keys) == ("orders", "parquet", ["order_id"])
    assert pipeline.source.partition_by == [] and pipeline.train.partitions is None
    assert pipeline.output == str(here / "out/orders")
    raw = yaml.safe_load(path.read_text())
    assert (raw["source"]["uri"], raw["output"]) == ("orders", "out/orders"), "relative, so that it can be moved"
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("folders", "keys"),
    [
        (["date=2024-01-01"], ["date"]),
        (["year=2024/month=01", "year=2024/month=02"], ["year", "month"]),
        (["plain"], []),
    ],
)
def test_hive_keys_come_from_the_folders(here: Path, folders: list[str], keys: list[str]) -> None:
    for folder in folders:
        put(here / "orders" / folder / "a.parquet")
    pipeline = works(init("orders"))
    assert pipeline.source.partition_by == keys
    assert pipeline.train.partitions == (28 if keys else None)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv_is_seen(here: Path, name: str) -> None:
    put(here / "orders" / name)
    for source in ("orders", f"orders/{name}", "orders/*.csv*"):
        pipeline = works(init(source, force=True, name="mine"))
        assert pipeline.source.format == "csv"
        assert pipeline.source.keys == ["order_id"]


@pytest.mark.parametrize("source", ["orders", "orders/", "./orders", "orders/a.parquet", "orders/*.parquet"])
def test_folders_files_and_globs(here: Path, source: str) -> None:
    put(here / "orders/a.parquet")
    works(init(source))


def test_an_absolute_source(here: Path) -> None:
    put(here / "elsewhere/orders/a.parquet")
    assert works(init(str(here / "elsewhere/orders"))).source.uri == str(here / "elsewhere/orders")


COLUMNS: dict[str, tuple[pa.Array, str]] = {
    "id": (pa.array(range(50)), "key"),
    "order_id": (pa.array(np.random.default_rng(0).permutation(50)), "key"),
    "uuid": (pa.array([f"u{i}" for i in range(50)]), "key"),
    "line": (pa.array(range(7, 57)), "key"),
    "paid": (pa.array(np.random.default_rng(0).permutation(50)), "learned"),
    "customer_id": (pa.array([i % 9 for i in range(50)]), "learned"),
    "shop_id": (pa.array([i if i else None for i in range(50)]), "learned"),
    "weight": (pa.array(np.random.default_rng(0).normal(size=50)), "learned"),
    "is_anomaly": (pa.array([i % 9 == 0 for i in range(50)]), "excluded"),
    "Label": (pa.array([i % 9 for i in range(50)]), "excluded"),
    "target": (pa.array(["a"] * 50), "excluded"),
}


def test_keys_and_labels_are_told_from_the_rest(here: Path) -> None:
    put(here / "orders/a.parquet", pa.table({name: column for name, (column, _) in COLUMNS.items()}))
    source = works(init("orders")).source
    assert source.keys == [name for name, (_, role) in COLUMNS.items() if role == "key"]
    assert source.exclude == [name for name, (_, role) in COLUMNS.items() if role == "excluded"]


def test_a_key_that_the_outputs_have_already_is_none(here: Path) -> None:
    """A running number called `row` would make a YAML that does not load."""
    put(here / "orders/a.parquet", table().append_column("row", pa.array(range(60))))
    assert "row" not in works(init("orders")).source.keys


def test_an_hour_is_no_key_though_the_first_day_holds_each_once(here: Path) -> None:
    rows = range(1, 24 + 168)
    both = pa.table({"no": rows, "hour": [row % 24 for row in rows]})
    put(here / "air/week=2024-01-01/a.parquet", both.slice(0, 23))
    put(here / "air/week=2024-01-08/a.parquet", both.slice(23))
    assert works(init("air")).source.keys == ["no"]


def test_every_type_of_column(here: Path) -> None:
    put(here / "orders/a.parquet", make_orders(60))
    assert works(init("orders")).source.keys == ["order_id"]


def test_a_table_without_rows(here: Path) -> None:
    put(here / "orders/a.parquet", table(0))
    works(init("orders"))


# Names.


@pytest.mark.parametrize(
    "folder", ["Orders 2024", "2024", "Ünïcode", "UPPER", "a.b.c", "x" * 90, "___", "-", "data[1]", "o'clock", "名前"]
)
def test_any_folder_gives_a_name_that_is_one(here: Path, folder: str) -> None:
    put(here / folder / "a.parquet")
    path = init(folder)
    assert works(path).name == path.stem


@pytest.mark.parametrize("name", ["My Shop", "../evil", "a/b", "Ü", "1st", "x" * 64, "a\n"])
def test_a_name_that_is_none_is_refused_before_anything_is_written(here: Path, name: str) -> None:
    put(here / "work/orders/a.parquet")
    before = tree(here)
    with pytest.raises(ConfigError):
        init("work/orders", name=name)
    assert tree(here) == before


def test_a_name_of_one_s_own(here: Path) -> None:
    put(here / "orders/a.parquet")
    path = init("orders", name="mine")
    assert path == Path("mine.yaml")
    assert works(path).output == str(here / "out/mine")


# Where it is written, and where its paths start.


def test_into_dags_pipelines_where_there_is_one(here: Path) -> None:
    put(here / "orders/a.parquet")
    (here / "dags/pipelines").mkdir(parents=True)
    path = init("orders")
    assert path == Path("dags/pipelines/orders.yaml")
    assert works(path) == works("orders")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["deep/er/x.yaml", "x.yml", "dags/pipelines/x.yaml", "dags/x.yaml", "elsewhere/x.yaml"]
)
@pytest.mark.parametrize("dags", [False, True])
def test_a_path_of_one_s_own(here: Path, path: str, dags: bool) -> None:
    put(here / "orders/a.parquet")
    if dags:
        (here / "dags/pipelines").mkdir(parents=True)
    for given in (Path(path), here / path):
        assert init("orders", path=given, force=True) == given
        assert works(given).output == str(here / "out/orders")


def test_inside_dags(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "dags/orders/a.parquet")
    monkeypatch.chdir(here / "dags")
    assert works(init("orders")).source.uri == str(here / "dags/orders")


def test_under_ae_root(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "orders/a.parquet")
    monkeypatch.setenv("AE_ROOT", str(here / "root"))
    works(init("orders"))


def test_a_source_that_lies_where_outputs_go(here: Path) -> None:
    """The output must be another folder than the source."""
    put(here / "out/orders/a.parquet")
    pipeline = works(init("out/orders"))
    assert not f"{pipeline.output}/".startswith(f"{pipeline.source.uri}/")


def test_an_existing_yaml_is_left_alone_unless_forced(here: Path) -> None:
    put(here / "orders/a.parquet")
    path = init("orders")
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists already.*--force"):
        init("orders")
    assert path.read_text() == "mine"
    init("orders", force=True)
    works(path)


@pytest.mark.parametrize("source", ["nothing", "", "../orders", "empty", "nothing/*.parquet", "gopher://x"])
def test_nothing_to_read(here: Path, source: str) -> None:
    (here / "empty").mkdir()
    before = tree(here)
    with pytest.raises((ConfigError, DataError)):
        init(source)
    assert tree(here) == before


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere", "nowhere: does not exist"),
        ("nowhere/*.png", "does not exist"),
        ("texts", "texts: holds no Parquet, CSV or picture files"),
        ("texts/*.png", "holds no Parquet, CSV or picture files"),
    ],
)
def test_what_is_missing_is_told_from_what_is_empty(here: Path, source: str, says: str) -> None:
    (here / "texts").mkdir()
    (here / "texts/a.txt").write_text("a")
    with pytest.raises(DataError) as refused:
        init(source)
    assert says in str(refused.value)


def test_files_that_cannot_be_read(here: Path) -> None:
    (here / "orders").mkdir()
    (here / "orders/a.parquet").write_bytes(b"garbage")
    with pytest.raises(DataError, match=r"a\.parquet"):
        init("orders")
    assert not (here / "orders.yaml").exists()


def test_the_yaml_moves_with_its_project(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "one/orders/a.parquet")
    monkeypatch.chdir(here / "one")
    init("orders")
    shutil.move(here / "one", here / "two")
    monkeypatch.chdir(here)
    found: Any = works(here / "two/orders.yaml")
    assert found.source.uri == str(here / "two/orders")


def test_a_folder_of_pictures(here: Path) -> None:
    for day in (1, 2):
        for name in ("a.png", "b.PNG", "c.jpg"):
            path = here / f"boards/day={day}/{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    (here / "boards/notes.txt").write_text("not a picture")
    path = init("boards")
    written = yaml.safe_load(path.read_text())
    assert written["source"] == {"uri": "boards", "format": "images", "partition_by": "day"}
    found = check(config.load(path))
    assert (found.partitions, found.files) == (2, 6) and found.columns[:2] == ["file: string", "image: binary"]
