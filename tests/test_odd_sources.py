"""Sources that are hard to name, to reach or to read: taken as they are, or one clear line."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import yaml

import ae_plugin
from ae_plugin.config import Pipeline
from ae_plugin.engines.local import Reader
from ae_plugin.errors import AeError, ConfigError, DataError, StoreError
from ae_plugin.jobs.init import init
from ae_plugin.sections import Source
from ae_plugin.store.files import Folder, list_files, list_source
from tests.running import run_ae, unchanged
from tests.shop import FRESH, Shop, day, make_orders

ODD_NAMES = ["a::b", "a[1]b", "a*b", "a?b", "a#b", "a%20b", "{a,b}", "file::x", "a b", "ä", "a:b@c"]


def put(path: Path, rows: int = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(make_orders(rows), path)
    return path


# Names.


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_partition_of_any_name_is_scored(shop: Shop, name: str) -> None:
    (shop.source / f"date={day(FRESH)}").rename(shop.source / f"date=9{name}")
    done = run_ae("--quiet", "score", shop.yaml, "--partition", f"9{name}", "--json")
    assert done.code in (0, 3), done.err
    assert len(list(shop.output.glob("_runs/*.json"))) == 1
    if done.code == 0:
        written = shop.output / f"scores/date=9{name}/part-0.parquet"
        with written.open("rb") as file:
            assert pq.read_table(file).num_rows == done.json["rows"] > 0


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_and_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    put(tmp_path / name / f"{name}.parquet")
    put(tmp_path / "ab/ab.parquet")
    for uri in (tmp_path / name, tmp_path / name / f"{name}.parquet", f"file://{tmp_path}/{name}"):
        [file] = list_source(Source(uri=str(uri)))
        assert file.uri == f"file://{tmp_path}/{name}/{name}.parquet"
        assert sum(batch.num_rows for batch in Reader([file], "parquet").batches()) == 5


def test_a_name_that_is_not_there_is_a_glob(tmp_path: Path) -> None:
    for name in ("d=1/x.parquet", "d=2/x.parquet", "d=2/_x.parquet", "d=2/deep/x.parquet", "e=1/x.parquet"):
        put(tmp_path / name)

    def found(pattern: str) -> list[str]:
        base, files = list_files(f"{tmp_path}/{pattern}")
        assert base == str(tmp_path)
        return sorted(name.removeprefix(f"{tmp_path}/") for name in files)

    assert found("d=*/x.parquet") == found("d=[12]/*.parquet") == found("d=?/*") == ["d=1/x.parquet", "d=2/x.parquet"]
    assert found("d=2*/**/*.parquet") == ["d=2/deep/x.parquet", "d=2/x.parquet"]
    assert found("*.parquet") == []


# Links.


def test_links_are_followed(shop: Shop) -> None:
    folder = shop.source / f"date={day(FRESH)}"
    before = list_source(shop.pipeline.source)
    folder.rename(shop.root / "elsewhere")
    folder.symlink_to("../elsewhere")
    assert [file.partition for file in list_source(shop.pipeline.source)] == [file.partition for file in before]
    assert run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)).code == 0


def test_links_that_lead_back_up_end(tmp_path: Path) -> None:
    put(tmp_path / "src/d=1/x.parquet")
    for link, target in (("src/d=1/up", ".."), ("src/d=1/self", "."), ("src/d=3", "d=1"), ("src/l", str(tmp_path))):
        (tmp_path / link).symlink_to(target)
    files = list_source(Source(uri=str(tmp_path / "src")))
    assert [file.uri.removeprefix(f"file://{tmp_path}/src/") for file in files] == ["d=1/x.parquet", "d=3/x.parquet"]
    base, found = list_files(f"{tmp_path}/src/**/*.parquet")
    assert (base, len(found)) == (f"{tmp_path}/src", 2)


# Filesystems that cannot.

UNREACHABLE = [
    *("github://x", "dbfs://x", "generic://x", "ftp://127.0.0.1:1/x", "hdfs://x/y", "zip://x", "data://x"),
    *("http://127.0.0.1:1/x", "reference://x", "blockcache::http://127.0.0.1:1/x", "nosuch://x", "data:,x"),
    *("zip://a.parquet::/nowhere.zip", "s3://", "zip://", "memory://"),
]


@pytest.mark.parametrize("uri", UNREACHABLE)
def test_a_source_that_cannot_be_reached_is_one_line(
    shop: Shop, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop.set(source={"uri": uri})
    for words in (["check", shop.yaml], ["init", uri]):
        with unchanged(tmp_path):
            done = run_ae("--quiet", *words)
        assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    shop.write()
    with unchanged(tmp_path):
        done = run_ae("--quiet", "score", shop.yaml, "--input", uri)
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    with pytest.raises(AeError) as caught:
        ae_plugin.load(uri)
    assert caught.value.exit_code in (2, 4)


@pytest.mark.parametrize("uri", [uri for uri in UNREACHABLE if not uri.startswith("data:,")])
def test_an_output_that_cannot_be_reached_is_one_line(
    shop: Shop, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with unchanged(tmp_path):
        done = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--output", uri)
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err


def test_the_root_is_a_folder() -> None:
    assert (Folder("/").path, Folder("/").uri, Folder("/").at("x")) == ("/", "/", "//x")


# Fields that name columns.


@pytest.mark.parametrize("field", ["keys", "exclude", "partition_by"])
def test_a_column_is_named_once(field: str) -> None:
    with pytest.raises(ValueError, match=r"'id' is there twice"):
        Source.model_validate({"uri": "orders", field: ["id", "x", "id"]})


@pytest.mark.parametrize("name", ["row", "error", "column", "p_value", "expected"])
def test_a_hive_key_is_no_column_of_the_outputs(name: str) -> None:
    with pytest.raises(ValueError, match=rf"source.partition_by: '{name}'"):
        Pipeline.model_validate({"name": "p", "source": {"uri": "orders", "partition_by": name}, "output": "out"})


# CSV by other delimiters.


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_csv_is_read_by_the_delimiter_of_its_header(tmp_path: Path, mark: str) -> None:
    orders = make_orders(80).select(["order_id", "product", "quantity", "weight"])
    (tmp_path / "orders").mkdir()
    pc.write_csv(orders, tmp_path / "orders/a.csv", pc.WriteOptions(delimiter=mark))
    # Another file may have another delimiter, and be compressed.
    pc.write_csv(orders.slice(40), tmp_path / "b.csv", pc.WriteOptions(delimiter=";"))
    (tmp_path / "orders/b.csv.gz").write_bytes(gzip.compress((tmp_path / "b.csv").read_bytes()))
    settings: dict[str, Any] = {
        "name": "p",
        "source": {"uri": "orders", "format": "csv", "keys": ["order_id"]},
        "train": {"steps": 20},
        "score": {"on_unfamiliar": "score"},
        "output": "out",
    }
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(settings))
    assert run_ae("--quiet", "train", tmp_path / "p.yaml").code == 0
    run_ae("--quiet", "promote", tmp_path / "p.yaml", "--force")
    done = run_ae("--quiet", "score", tmp_path / "p.yaml", "--json")
    assert done.code == 0 and done.json["runs"][0]["rows"] == 120
    assert pq.read_schema(tmp_path / "out/denoised/part-0.parquet").names == orders.column_names


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("a;b,c;d", ["a", "b,c", "d"]),
        ('"a;b;c",d', ["a;b;c", "d"]),
        ("alone", ["alone"]),
        ("a,b;c", ["a", "b;c"]),
        ("\ufeffa|b", ["a", "b"]),
    ],
)
def test_the_delimiter_is_the_most_frequent_outside_quotes(tmp_path: Path, header: str, names: list[str]) -> None:
    (tmp_path / "x.csv").write_text(f"{header}\n", encoding="utf-8")
    assert Reader(list_source(Source(uri=str(tmp_path / "x.csv"), format="csv")), "csv").schema.names == names


# The YAML that init writes.


def test_hive_keys_come_from_below_the_source_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "env=prod/orders/date=1/x.parquet")
    for source, wanted in {
        "env=prod/orders": "date",
        "env=prod/orders/date=*/x.parquet": "date",
        "env=prod/orders/date=1": None,
        "env=prod/orders/date=1/x.parquet": None,
        ".": ["env", "date"],
    }.items():
        written = yaml.safe_load(init(source, path=Path("p.yaml"), force=True).read_text())
        assert written["source"].get("partition_by") == wanted
        assert run_ae("--quiet", "check", "p.yaml").code == 0, "its output lies apart, too"
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_a_yaml_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "orders/x.parquet")
    (tmp_path / "folder").mkdir()
    for words in (
        ["--path", "/proc/x.yaml"],
        ["--path", "folder", "--force"],
        ["--path", "folder"],
        ["--path", "orders/x.parquet/y/z.yaml"],
        ["--path", f"new/{'x' * 300}.yaml"],
        ["--name", "x" * 300],
    ):
        with unchanged(tmp_path):
            done = run_ae("--quiet", "init", "orders", *words)
        assert (done.code, len(done.err.splitlines()), done.out) == (2, 1, ""), done.err


def test_errors_of_a_listing_say_what_the_filesystem_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^ftp://127.0.0.1:1/x: cannot be opened \(.*refused.*\)") as caught:
        list_source(Source(uri="ftp://127.0.0.1:1/x"))
    assert caught.value.transient
    with pytest.raises(DataError, match=r"cannot be listed \(NotImplementedError\)"):
        list_source(Source(uri="data://x"))
    with pytest.raises(StoreError, match=r"cannot be read \(NotImplementedError\)") as cannot:
        Folder("data://x").names()
    assert not cannot.value.transient
