"""Errors: what may succeed when it is tried again, and what cannot; both are one line."""

from __future__ import annotations

import asyncio
import compileall
import errno
import gzip
import os
import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.engines.local import reading
from ae_plugin.errors import DataError, StoreError, UserError, is_transient
from ae_plugin.store.files import Folder, writing
from tests.running import ROOT, ae_process
from tests.shop import FRESH, Shop, day

LATER = ["ENOSPC", "EIO", "EAGAIN", "ETIMEDOUT", "ECONNRESET", "EMFILE", "ENOMEM", "EDQUOT", "ESTALE", "EBUSY"]
NEVER = ["ENOENT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "EEXIST"]


@pytest.mark.parametrize("name", [*LATER, *NEVER])
def test_what_the_system_says_decides(name: str) -> None:
    code = getattr(errno, name)
    for context, kind in ((reading, DataError), (writing, StoreError)):
        with pytest.raises(kind) as caught, context("somewhere"):
            raise OSError(code, os.strerror(code))
        assert caught.value.transient == (name in LATER)
        assert caught.value.exit_code == 2
        assert os.strerror(code) in str(caught.value)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (TimeoutError("no answer"), True),
        (ConnectionResetError("gone"), True),
        (asyncio.TimeoutError(), True),
        (PermissionError("access denied"), False),  # as object stores raise it, without a code
        (FileNotFoundError("no such bucket"), False),
        (gzip.BadGzipFile("not a gzipped file"), False),
        (OSError("Corrupt snappy compressed data."), False),  # as Arrow raises it
        (KeyError("our bug"), False),
    ],
)
def test_errors_without_a_code(error: Exception, transient: bool) -> None:
    assert is_transient(error) == transient


def test_an_object_store_s_own_exceptions_are_one_line() -> None:
    """botocore, aiohttp and others raise what is no OSError when a store cannot be reached."""
    kind = type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})
    for context in (reading, writing):
        with pytest.raises(UserError, match="Could not connect") as caught, context("s3://lake/orders"):
            raise kind("Could not connect")
        assert caught.value.transient


def test_our_own_bugs_stay_bugs() -> None:
    for context in (reading, writing):
        with pytest.raises(KeyError), context("somewhere"):
            raise KeyError("bug")


@pytest.mark.parametrize("damage", ["text", "empty", "page"])
def test_a_broken_file_stays_broken(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "part-0.parquet"
    pq.write_table(pa.table({"a": range(100_000)}), path)
    data = bytearray(path.read_bytes())
    data[2000:4000] = bytes(byte ^ 0x5A for byte in data[2000:4000])
    path.write_bytes({"text": b"PAR1 no PAR1", "empty": b"", "page": bytes(data)}[damage])
    with pytest.raises(DataError) as caught, reading(str(path)):
        pq.ParquetFile(path).read()
    assert not caught.value.transient


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/dev/full")
    with pytest.raises(StoreError, match="No space left") as caught, writing(str(tmp_path)):
        (tmp_path / "out").write_bytes(b"x" * 100_000)
    assert caught.value.transient


def test_an_output_that_cannot_grow_is_one_line(shop: Shop) -> None:
    """A real limit of the system, met while scores are written."""
    compileall.compile_dir(ROOT / "ae_plugin", quiet=1)  # else the limit cuts what Python compiles
    limit = (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    words = ["-q", "score", shop.yaml, "--partition", day(FRESH)]
    with ae_process(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "Traceback" not in err
    assert err.count("\n") == 1 and "File too large). Make room, or try again" in err


def test_a_folder_that_is_none_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as caught:
        Folder(str(tmp_path / "file/out")).makedirs()
    assert not caught.value.transient
