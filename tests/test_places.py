"""Places: what a URI names, and that what is written lies apart from what is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ae_plugin import config
from ae_plugin.errors import ConfigError
from ae_plugin.places import check_apart, check_uri, local_path, split_connection, with_connection
from ae_plugin.store.files import Folder
from tests.running import run_ae, unchanged
from tests.shop import FRESH, Shop, day

APART = [
    ("lake/orders", "lake/orders_out"),
    ("lake/orders", "lake/out"),
    ("lake/orders/*.parquet", "lake/out"),
    ("s3://lake/orders", "s3://lake/out"),
    ("s3://lake/orders", "gs://lake/orders"),
    ("s3://lake/orders", "lake/orders"),
    ("simplecache::s3://lake/orders", "s3://lake/out"),
    ("memory://lake/orders", "memory://lake/out"),
    ("s3://here@lake/orders", "s3://here@lake/out"),
    ("abfs://lake@one.dfs.core.windows.net/orders", "abfs://lake@two.dfs.core.windows.net/orders"),
]
OVERLAP = [
    ("lake/orders", "lake/orders"),
    ("lake/orders", "./lake//orders/"),
    ("lake/denoised", "lake"),
    ("lake", "lake/out"),
    ("lake/orders/date=*/*.parquet", "lake/orders/out"),
    ("lake/orders-*.parquet", "lake/out"),
    ("file://HERE/lake/orders", "lake/orders/out"),
    ("HERE/lake", "lake/out"),
    ("link", "lake/orders/out"),
    ("lake/orders", "link/out"),
    ("lake/odd[1]", "lake/odd[1]/out"),
    ("s3://lake/orders", "s3a://lake/orders/out"),
    ("s3://lake", "s3://lake/out"),
    ("simplecache::s3://lake/orders", "s3://lake/orders"),
    ("memory://lake", "memory:///lake/out"),
    ("s3://here@lake/orders", "s3://lake/orders/out"),
    ("s3://here@lake/orders/*.parquet", "s3a://there@lake/orders"),
]
CONNECTIONS = [
    ("s3://my_conn@lake/orders", "my_conn", "s3://lake/orders"),
    ("gs://my-conn.1@lake/a@b/c", "my-conn.1", "gs://lake/a@b/c"),
    ("abfs://my_conn@lake/orders", "my_conn", "abfs://lake/orders"),
    ("s3://my_conn@lake.of.ours/orders", "my_conn", "s3://lake.of.ours/orders"),
    ("s3://lake/a@b", "", "s3://lake/a@b"),
    ("abfs://lake@one.dfs.core.windows.net/x", "", "abfs://lake@one.dfs.core.windows.net/x"),
    ("sftp://user@host/x", "", "sftp://user@host/x"),
    ("/data/s3://a@b/x", "", "/data/s3://a@b/x"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lake/orders").mkdir(parents=True)
    (tmp_path / "lake/odd[1]").mkdir()
    (tmp_path / "link").symlink_to("lake/orders")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("source", "output"), APART)
def test_places_that_lie_apart(here: Path, source: str, output: str) -> None:
    check_apart(source.replace("HERE", str(here)), output)


@pytest.mark.parametrize(("source", "output"), OVERLAP)
def test_places_that_overlap(here: Path, source: str, output: str) -> None:
    with pytest.raises(ConfigError, match=r"^there: .* must lie apart"):
        check_apart(source.replace("HERE", str(here)), output, where="there")


@pytest.mark.parametrize("uri", ["s3://", "zip://", "s3:///", "simplecache::s3://", "file://"])
def test_a_scheme_alone_names_no_place(uri: str) -> None:
    with pytest.raises(ValueError, match="names no place"):
        check_uri(uri)


@pytest.mark.parametrize(("uri", "connection", "plain"), CONNECTIONS)
def test_the_connection_that_a_uri_names(uri: str, connection: str, plain: str) -> None:
    """As ObjectStoragePath reads it; other schemes have users before the `@`."""
    assert check_uri(uri) == uri
    assert split_connection(uri) == (connection, plain)
    assert with_connection(connection, plain) == uri


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://@lake/orders", "names no connection before the '@'"),
        ("s3://my_conn@/orders", "names no bucket after the '@'"),
        ("s3://my_conn@", "names no bucket after the '@'"),
        ("simplecache::s3://my_conn@lake/orders", "cannot be named in a chain"),
        ("s3://AKIAKEY:hush@lake/orders", "a key and its secret stand before the '@'"),
    ],
)
def test_what_is_no_connection_is_said(uri: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        check_uri(uri)
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError) as refused:  # in Python nothing checks it before
        Folder(uri)
    assert "hush" not in str(refused.value) and "\n" not in str(refused.value)


def test_what_looks_like_a_chain_is_a_path_where_it_has_no_scheme(here: Path) -> None:
    assert local_path("data/d=a::b#c?") == f"{here}/data/d=a::b#c?"
    assert local_path(f"file://{here}/d=a::b") == f"{here}/d=a::b"
    assert local_path("/data/d=s3://x/y") == "/data/d=s3:/x/y"
    assert local_path("s3://lake/x") is None and local_path("simplecache::s3://lake/x") is None


# On the command line.


def test_a_source_inside_the_output_is_never_scored_over(shop: Shop) -> None:
    """Scoring would replace the source's files by its own."""
    shutil.copytree(shop.source, shop.output / "denoised")
    shop = shop.set(source={"uri": "out/denoised"})
    for verb in (["train"], ["check"], ["score", "--partition", day(FRESH)]):
        with unchanged(shop.root):
            done = run_ae("--quiet", verb[0], shop.yaml, *verb[1:])
        assert done.code == 2 and "must lie apart" in done.complaint and len(done.err.splitlines()) == 1
    with pytest.raises(ConfigError):
        config.load(shop.yaml)


@pytest.mark.parametrize("output", ["orders", "orders/", "./orders/out", ".", "link", "FILE://orders/x"])
def test_an_output_of_one_s_own_lies_apart_from_the_source(
    shop: Shop, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.root)
    (shop.root / "link").symlink_to(shop.source)
    output = output.replace("FILE://", f"file://{shop.root}/")
    with unchanged(shop.root):
        done = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--output", output)
    assert done.code == 2 and done.complaint.startswith("ae: --output: ") and "must lie apart" in done.complaint


def test_an_output_lies_apart_from_the_input_too(shop: Shop) -> None:
    elsewhere = shop.root / "elsewhere"
    shutil.copytree(shop.source / f"date={day(FRESH)}", elsewhere)
    for output in (elsewhere, elsewhere / "out", shop.source / "out"):
        with unchanged(shop.root):
            done = run_ae("--quiet", "score", shop.yaml, "--input", elsewhere, "--output", output)
        assert done.code == 2 and "must lie apart" in done.complaint
    assert run_ae("--quiet", "score", shop.yaml, "--input", elsewhere, "--output", shop.root / "new").code == 0


def test_a_link_in_the_source_does_not_lead_into_the_output(shop: Shop) -> None:
    assert run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)).code == 0
    folder = shop.source / f"date={day(FRESH)}"
    shutil.rmtree(folder)
    folder.symlink_to(shop.output / f"denoised/date={day(FRESH)}")
    with unchanged(shop.root):
        done = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH))
    assert done.code == 2 and "must lie apart" in done.complaint
    # What was repaired may be scored again by itself: it goes to a folder of its own.
    assert run_ae("--quiet", "score", shop.yaml, "--input", os.path.realpath(folder)).code in (0, 3)
